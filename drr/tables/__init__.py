"""Tables of physics as data: mass attenuation and X-ray spectra, with how they were made."""
