"""The CUDA back-end: plain `.cu` sources and their CuPy launcher."""
