"""Exchanging x and y of planes of voxels, eight by eight in registers.

Neither Numba nor its compiler vectorises a transposition of int16; interleaving whole rows is many
times faster than moving voxels one by one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cpu.compiler.jit import jit
from drr.kernels.cpu.compiler.vectors import exchange_block, prefetch
from drr.threads import available_cpus, run, split

__all__ = ["exchange", "transposed_copy"]


def transposed_copy(volume: NDArray[np.int16], *, threads: int | None = None) -> NDArray[np.int16]:
    """`(nz, nx, ny)` copy, so that views along x stream memory as frontal ones do."""
    nz, ny, nx = volume.shape
    out = np.empty((nz, nx, ny), np.int16)

    def copy(start: int, stop: int) -> None:
        exchange_planes(volume.reshape(-1), ny, nx, start, stop, out.reshape(-1))

    threads = available_cpus() if threads is None else threads
    run(copy, split(nz, threads), threads)
    return out


@jit
def exchange_planes(voxels, ny, nx, z_start, z_stop, out):
    """Write planes [z_start, z_stop) of `(nz, ny, nx)` as `(nz, nx, ny)`."""
    for z in range(z_start, z_stop):
        for x in range(0, nx, 32):
            plane = z * ny * nx
            exchange(voxels, plane + x, nx, ny, min(32, nx - x), out, plane + x * ny, ny)


@jit
def exchange(voxels, at, stride, rows, columns, out, to, out_stride):
    """Write rows and columns of a plane, found from `at` on, exchanged from `to` on."""
    whole = columns // 8 * 8
    for row in range(0, rows // 8 * 8, 8):
        for r in range(8):
            prefetch(voxels, at + (row + 16 + r) * stride)
        for column in range(0, whole, 8):
            exchange_block(
                voxels,
                at + row * stride + column,
                stride,
                out,
                to + column * out_stride + row,
                out_stride,
            )
    for row in range(rows):
        for column in range(whole if row < rows // 8 * 8 else 0, columns):
            out[to + column * out_stride + row] = voxels[at + row * stride + column]
