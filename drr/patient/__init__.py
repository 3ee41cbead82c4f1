"""The patient in the scan: found, cleaned, continued beyond the field of view, and framed."""
