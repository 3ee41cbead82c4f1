"""Kernels to machine code; nothing outside this folder needs to know how."""
