"""Masks on coarse grids: dilation, erosion and connected components."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cpu.jit import int32, jit, uint64

__all__ = ["Components", "Mask", "components", "dilate", "erode", "outermost", "shadow"]

Mask = NDArray[np.bool_]


def dilate(mask: Mask, radii: tuple[int, int, int], *, cross: bool = False) -> Mask:
    """Dilation by a box of `radii` voxels (z, y, x), or by their cross; nothing lies outside."""
    radii_y, radii_x = (min(radii[axis], mask.shape[axis] - 1) for axis in (1, 2))
    # With room behind rows and planes the mask can be shifted as one row of bytes, which is
    # fastest: nothing gets around into the next row.
    nz, ny, nx = mask.shape
    padded = np.zeros((nz, ny + radii_y, nx + radii_x), bool)
    padded[:, :ny, :nx] = mask
    source = padded.reshape(-1)
    grown = source.copy()
    row, plane = padded.shape[2], padded.shape[1] * padded.shape[2]
    for pitch, radius in ((1, radii_x), (row, radii_y), (plane, min(radii[0], nz - 1))):
        for shift in range(pitch, pitch * radius + 1, pitch):
            grown[shift:] |= source[:-shift]
            grown[:-shift] |= source[shift:]
        if not cross and radius:
            source = grown.copy()
    return np.ascontiguousarray(grown.reshape(padded.shape)[:, :ny, :nx])


def erode(mask: Mask, radii: tuple[int, int, int]) -> Mask:
    """Erosion by a box of `radii` voxels (z, y, x); the mask goes on beyond the array."""
    return ~dilate(~mask, radii)


def shadow(mask: Mask, *, backward: bool = False) -> Mask:
    """The mask and all behind it along the second axis (y), or with `backward` all in front."""
    cast: Mask = np.array(mask, order="C")
    step = 1
    while step < mask.shape[1]:
        if backward:
            cast[:, :-step] |= cast[:, step:]
        else:
            cast[:, step:] |= cast[:, :-step]
        step *= 2
    return cast


def outermost(mask: Mask) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """`(nz, ny)` first voxel of the mask in every row along x, and the one after the last.

    Both are the row's length where it holds none.
    """
    nz, ny, nx = mask.shape
    start, stop = np.empty((2, nz, ny), np.int32)
    _outermost(_bytes(mask), nz * ny, nx, start.reshape(-1), stop.reshape(-1))
    return start, stop


def _bytes(mask: Mask) -> NDArray[np.uint8]:
    """As kernels take it."""
    return np.ascontiguousarray(mask).view(np.uint8).reshape(-1)


@dataclass(frozen=True, eq=False)
class Components:
    """Connected components of a mask, as the runs of voxels along x that make them up.

    Parameters
    ----------
    shape
        Of the mask.
    rows, starts, stops
        `(runs,)` int32: row (z * ny + y), first voxel along x, and the one after the last.
    numbers
        `(runs,)` int32, 0, 1, ...: the component of each run. They are in order of the array.
    sizes
        `(components,)` int64 voxels.
    """

    shape: tuple[int, int, int]
    rows: NDArray[np.int32]
    starts: NDArray[np.int32]
    stops: NDArray[np.int32]
    numbers: NDArray[np.int32]
    sizes: NDArray[np.int64]

    def mask(self, chosen: NDArray[np.bool_]) -> Mask:
        """The voxels of the chosen components; `chosen` is `(components,)`."""
        out = np.zeros(self.shape, bool)
        _paint(*self._runs, _bytes(chosen), _bytes(out))
        return out

    def sums(self, values: NDArray) -> NDArray[np.int64]:
        """`(components,)` sum of an array of the mask's shape, int16 or a mask.

        Of a mask that is how much of it lies in each.
        """
        total = np.zeros(self.sizes.size, np.int64)
        flat = _bytes(values) if values.dtype == bool else np.ascontiguousarray(values).reshape(-1)
        _sum(*self._runs, flat, total)
        return total

    def at_edge(self) -> NDArray[np.bool_]:
        """`(components,)` whether they reach the edge of an axial plane."""
        _, ny, nx = self.shape
        y = self.rows % ny
        reach = (y == 0) | (y == ny - 1) | (self.starts == 0) | (self.stops == nx)
        found = np.zeros(self.sizes.size, bool)
        found[self.numbers[reach]] = True
        return found

    @property
    def _runs(self) -> tuple[Any, ...]:
        """For kernels: the width of a row first."""
        return self.shape[2], self.rows, self.starts, self.stops, self.numbers


def components(mask: Mask, *, planes: bool = False) -> Components:
    """Components connected by faces, in space or plane by plane of the first axis.

    Runs along x are joined with those they touch in the row and plane before, by union-find: L. He,
    Y. Chao and K. Suzuki, "A run-based two-scan labeling algorithm", IEEE Trans. Image Process.
    2008.
    """
    nz, ny, nx = mask.shape
    # A run starts or stops where a voxel differs from the one before; every row gets an end.
    padded = np.zeros(nz * ny * (nx + 1) + 1, bool)
    padded[1:].reshape(nz * ny, nx + 1)[:, :nx] = mask.reshape(nz * ny, nx)
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    rows, starts, stops, numbers = np.empty((4, edges.size // 2), np.int32)
    first = np.empty(nz * ny + 1, np.int64)
    _find_runs(edges, nz * ny, nx + 1, rows, starts, stops, first)
    sizes, found = np.zeros(rows.size, np.int64), np.zeros(1, np.int64)
    _join_runs(first, nz * ny, ny, int(planes), starts, stops, numbers, sizes, found)
    return Components((nz, ny, nx), rows, starts, stops, numbers, sizes[: found[0]].copy())


@jit
def _find_runs(edges, row_count, pitch, rows, starts, stops, first):
    """Runs between every other edge; `first[r]` becomes the first of row r."""
    run = 0
    for r in range(row_count):
        first[r] = run
        begin = r * pitch
        while run < rows.size and edges[2 * run] < begin + pitch:
            rows[run] = r
            starts[run] = edges[2 * run] - begin
            stops[run] = edges[2 * run + 1] - begin
            run += 1
    first[row_count] = run


@jit
def _outermost(mask, row_count, nx, start, stop):
    width, one = uint64(nx), uint64(1)
    for r in range(row_count):
        row, low, high = uint64(r * nx), uint64(0), width
        while low < width and mask[row + low] == 0:
            low += one
        while high > low and mask[row + high - one] == 0:
            high -= one
        start[r], stop[r] = low, high


@jit
def _root(parents, run):
    while parents[run] != run:
        parents[run] = parents[parents[run]]
        run = parents[run]
    return run


@jit
def _join_runs(first, row_count, ny, planes, starts, stops, numbers, sizes, found):
    """Number the components; `first[r]` is the first run of row r."""
    parents = numbers
    for r in range(row_count):
        for run in range(first[r], first[r + 1]):
            parents[run] = run
        # With the row before, then with that of the plane before.
        for step in range(1 if planes else 2):
            other = r - 1 if step == 0 else r - ny
            if other < 0 or (step == 0 and r % ny == 0):
                continue
            p, q = first[r], first[other]
            while p < first[r + 1] and q < first[other + 1]:
                if starts[p] < stops[q] and starts[q] < stops[p]:
                    a, b = _root(parents, p), _root(parents, q)
                    # The earlier run is the root, so that numbers come out in order.
                    if a < b:
                        parents[b] = a
                    else:
                        parents[a] = b
                if stops[p] < stops[q]:
                    p += 1
                else:
                    q += 1
    count = 0
    for run in range(first[row_count]):
        # Parents come before their children, so they have their final number already.
        if parents[run] == run:
            numbers[run] = count
            count += 1
        else:
            numbers[run] = numbers[parents[run]]
        sizes[numbers[run]] += stops[run] - starts[run]
    found[0] = count


@jit
def _paint(nx, rows, starts, stops, numbers, chosen, out):
    for run in range(rows.size):
        if chosen[numbers[run]]:
            # With unsigned indices such loops become vector instructions.
            start = uint64(rows[run] * nx + starts[run])
            for x in range(uint64(stops[run] - starts[run])):
                out[start + x] = 1


@jit
def _sum(nx, rows, starts, stops, numbers, values, total):
    for run in range(rows.size):
        s = int32(0)
        start = uint64(rows[run] * nx + starts[run])
        for x in range(uint64(stops[run] - starts[run])):
            s += values[start + x]
        total[numbers[run]] += s
