"""DICOM: series to volumes, and radiographs as DX and RT Image objects."""
