"""Masks on coarse grids: dilation, erosion and connected components."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cpu.jit import jit

__all__ = ["Components", "Mask", "components", "dilate", "erode", "shadow"]

Mask = NDArray[np.bool_]


def dilate(mask: Mask, radii: tuple[int, int, int], *, cross: bool = False) -> Mask:
    """Dilation by a box of `radii` voxels (z, y, x), or by their cross; nothing lies outside."""
    mask = np.ascontiguousarray(mask)
    if cross:
        grown: Mask = mask.copy()
        for axis, radius in enumerate(radii):
            only = tuple(radius if other == axis else 0 for other in range(3))
            grown |= dilate(mask, (only[0], only[1], only[2]))
        return grown
    out = np.empty_like(mask)
    _dilate(mask.view(np.uint8), *radii, out.view(np.uint8))
    return out


def erode(mask: Mask, radii: tuple[int, int, int]) -> Mask:
    """Erosion by a box of `radii` voxels (z, y, x); the mask goes on beyond the array."""
    return ~dilate(~mask, radii)


def shadow(mask: Mask, *, backward: bool = False) -> Mask:
    """The mask and all behind it along the second axis (y), or with `backward` all in front."""
    cast: Mask = np.array(mask[:, ::-1] if backward else mask, order="C")
    for y in range(1, mask.shape[1]):
        cast[:, y] |= cast[:, y - 1]
    return cast[:, ::-1] if backward else cast


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
        _paint(*(*self._runs, chosen, out.reshape(-1, self.shape[2])))
        return out

    def sums(self, values: NDArray) -> NDArray[np.int64]:
        """`(components,)` sum of an array of the mask's shape: of a mask, how much is in it."""
        total = np.zeros(self.sizes.size, np.int64)
        rows = np.ascontiguousarray(values).reshape(-1, self.shape[2])
        _sum(*(*self._runs, rows.view(np.uint8) if rows.dtype == bool else rows, total))
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
        return self.rows, self.starts, self.stops, self.numbers


def components(mask: Mask, *, planes: bool = False) -> Components:
    """Components connected by faces, in space or plane by plane of the first axis.

    Runs along x are joined with those they touch in the row and plane before, by union-find: L. He,
    Y. Chao and K. Suzuki, "A run-based two-scan labeling algorithm", IEEE Trans. Image Process.
    2008.
    """
    nz, ny, nx = mask.shape
    rows = np.ascontiguousarray(mask).reshape(nz * ny, nx).view(np.uint8)
    first = np.empty(nz * ny + 1, np.int32)
    count = _count_runs(rows, first)
    starts, stops, numbers = (np.empty(count, np.int32) for _ in range(3))
    sizes = np.zeros(count, np.int64)
    found = _join_runs(rows, ny, planes, first, starts, stops, numbers, sizes)
    row_of = np.repeat(np.arange(nz * ny, dtype=np.int32), np.diff(first))
    return Components((nz, ny, nx), row_of, starts, stops, numbers, sizes[:found].copy())


@jit
def _dilate(mask, rz, ry, rx, out):
    nz, ny, nx = mask.shape
    line = np.empty(nx, np.uint8)
    # A row is or-ed over z and y into a line, then the line over x into the result.
    for z in range(nz):
        for y in range(ny):
            line[:] = 0
            for a in range(max(z - rz, 0), min(z + rz + 1, nz)):
                for b in range(max(y - ry, 0), min(y + ry + 1, ny)):
                    row = mask[a, b]
                    for x in range(nx):
                        line[x] |= row[x]
            new = out[z, y]
            for x in range(nx):
                new[x] = line[x]
            for step in range(1, min(rx, nx - 1) + 1):
                later, earlier = new[step:], line[: nx - step]
                for x in range(earlier.size):
                    later[x] |= earlier[x]
                later, earlier = line[step:], new[: nx - step]
                for x in range(earlier.size):
                    earlier[x] |= later[x]


@jit
def _count_runs(rows, first):
    """Runs before each row; their number."""
    total = 0
    for r in range(rows.shape[0]):
        first[r] = total
        row = rows[r]
        # Where a voxel differs from the one before, a run starts or stops.
        steps = np.int32(row[0]) + np.int32(row[row.size - 1])
        before, after = row[: row.size - 1], row[1:]
        for x in range(after.size):
            steps += before[x] ^ after[x]
        total += steps // 2
    first[rows.shape[0]] = total
    return total


@jit
def _root(parents, run):
    while parents[run] != run:
        parents[run] = parents[parents[run]]
        run = parents[run]
    return run


@jit
def _join_rows(parents, starts, stops, p, p_end, q, q_end):
    """Join the runs p to p_end of one row with those of another that they touch."""
    while p < p_end and q < q_end:
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


@jit
def _join_runs(rows, ny, planes, first, starts, stops, numbers, sizes):
    parents = numbers
    nx = rows.shape[1]
    for r in range(rows.shape[0]):
        row = rows[r]
        run, stop = first[r], first[r + 1]
        x = 0
        while run < stop:
            while row[x] == 0:
                x += 1
            starts[run] = x
            while x < nx and row[x] != 0:
                x += 1
            stops[run] = x
            parents[run] = run
            run += 1
        if r % ny > 0:
            _join_rows(parents, starts, stops, first[r], stop, first[r - 1], first[r])
        if not planes and r >= ny:
            _join_rows(parents, starts, stops, first[r], stop, first[r - ny], first[r - ny + 1])
    count = 0
    for run in range(parents.size):
        # Parents come before their children, so they have their final number already.
        if parents[run] == run:
            numbers[run] = count
            count += 1
        else:
            numbers[run] = numbers[parents[run]]
        sizes[numbers[run]] += stops[run] - starts[run]
    return count


@jit
def _paint(rows, starts, stops, numbers, chosen, out):
    for run in range(rows.size):
        if chosen[numbers[run]]:
            out[rows[run], starts[run] : stops[run]] = True


@jit
def _sum(rows, starts, stops, numbers, values, total):
    for run in range(rows.size):
        part = values[rows[run], starts[run] : stops[run]]
        s = np.int32(0)
        for x in range(part.size):
            s += part[x]
        total[numbers[run]] += s
