"""From line integrals to the grey levels of a picture."""
