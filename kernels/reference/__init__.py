"""Slow float64 twins of the kernels, written to be read and to be right."""
