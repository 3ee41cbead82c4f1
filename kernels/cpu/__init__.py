"""Numba kernels: serial, without the global interpreter lock, run by our own thread pool."""
