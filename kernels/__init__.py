"""Projection kernels: arrays in, line integrals out. They know nothing of files or patients.

`reference` holds slow float64 twins that read like the textbook; `cpu` the Numba kernels.
All of them work in voxel index space (`drr.kernels.rays`).
"""
