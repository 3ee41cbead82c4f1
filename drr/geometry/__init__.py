"""Where the X-ray source, the detector and the patient are."""
