"""From Hounsfield units to what a detector measures: attenuation, beam, scatter and noise."""
