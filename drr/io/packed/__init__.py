"""Compressed files and archives: gzip, bzip2, xz, Zstandard, ZIP and tar, within limits."""
