"""Masks on coarse grids: dilation, erosion and connected components."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cpu.compiler.jit import int32, int64, jit, uint8, uint64
from drr.kernels.cpu.compiler.vectors import bits_set, zeros_below

__all__ = ["Components", "Mask", "components", "dilate", "erode", "outermost", "shadow"]

Mask = NDArray[np.bool_]


def dilate(mask: Mask, radii: tuple[int, int, int], *, cross: bool = False) -> Mask:
    """Dilation by a box of `radii` voxels (z, y, x), or by their cross; nothing lies outside."""
    z, y, x = radii
    if cross:
        grown = mask.copy()
        for arm in ((z, 0, 0), (0, y, 0), (0, 0, x)):
            if any(arm):
                grown |= dilate(mask, arm)
        return grown
    return _along_z(_in_planes(mask, y, x, inverted=False), z)


def erode(mask: Mask, radii: tuple[int, int, int]) -> Mask:
    """Erosion by a box of `radii` voxels (z, y, x); the mask goes on beyond the array."""
    z, y, x = radii
    eroded = _in_planes(mask, y, x, inverted=True)
    return eroded if z == 0 else ~_along_z(~eroded, z)


def _in_planes(mask: Mask, radius_y: int, radius_x: int, *, inverted: bool) -> Mask:
    """Dilation of the mask, or of what is not in it, plane by plane."""
    nz, ny, nx = mask.shape
    radius_y, radius_x = min(radius_y, ny - 1), min(radius_x, nx - 1)
    room = np.empty((2, (ny + 2 * radius_y) * (nx + 2 * radius_x)), np.uint8)
    grown = np.empty(mask.shape, bool)
    _dilate(_bytes(mask), nz, ny, nx, radius_y, radius_x, int(inverted), *room, _bytes(grown))
    return grown


def _along_z(mask: Mask, radius: int) -> Mask:
    if radius == 0:
        return mask
    grown = mask.copy()
    for shift in range(1, min(radius, len(mask) - 1) + 1):
        grown[shift:] |= mask[:-shift]
        grown[:-shift] |= mask[shift:]
    return grown


def shadow(mask: Mask, *, backward: bool = False) -> Mask:
    """The mask and all behind it along the second axis (y), or with `backward` all in front."""
    cast = np.empty(mask.shape, bool)
    _cast(_bytes(mask), *mask.shape, int(backward), _bytes(cast))
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
        Shape of the mask.
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
    # Rows end with an empty voxel at least, and are whole words of eight.
    words = nx // 8 + 1
    padded = np.zeros((nz * ny, 8 * words), bool)
    padded[:, :nx] = mask.reshape(nz * ny, nx)
    edges = padded.view("<u8").reshape(-1)
    count = np.zeros(1, np.int64)
    _find_edges(edges, words, count)
    rows, starts, stops, numbers = np.empty((4, count[0] // 2), np.int32)
    first = np.empty(nz * ny + 1, np.int64)
    _find_runs(edges, nz * ny, words, rows, starts, stops, first)
    sizes, found = np.zeros(rows.size, np.int64), np.zeros(1, np.int64)
    _join_runs(first, nz * ny, ny, int(planes), starts, stops, numbers, sizes, found)
    return Components((nz, ny, nx), rows, starts, stops, numbers, sizes[: found[0]].copy())


@jit
def _dilate(mask, nz, ny, nx, radius_y, radius_x, inverted, one, other, out):
    """A plane at a time, which stays in the cache, with room around, so that rows do not mix.

    Windows grow by their own length: each holds the maximum of two that overlap.
    """
    pitch = nx + 2 * radius_x
    size = pitch * (ny + 2 * radius_y)
    flip = uint8(inverted)
    for z in range(nz):
        for i in range(uint64(size)):
            one[i] = 0
        for y in range(ny):
            old, new = uint64((z * ny + y) * nx), uint64((y + radius_y) * pitch + radius_x)
            for x in range(uint64(nx)):
                one[new + x] = mask[old + x] ^ flip
        for axis in range(2):
            length, step = (2 * radius_x + 1, 1) if axis == 0 else (2 * radius_y + 1, pitch)
            grown = 1
            while grown < length:
                more = min(grown, length - grown)
                end, ahead = uint64(size - more * step), uint64(more * step)
                for i in range(end):
                    other[i] = one[i] | one[i + ahead]
                for i in range(end, uint64(size)):
                    other[i] = one[i]
                one, other = other, one
                grown += more
        for y in range(ny):
            old, new = uint64(y * pitch), uint64((z * ny + y) * nx)
            for x in range(uint64(nx)):
                out[new + x] = one[old + x] ^ flip


@jit
def _cast(mask, nz, ny, nx, backward, out):
    for z in range(nz):
        for n in range(ny):
            y = ny - 1 - n if backward else n
            row = uint64((z * ny + y) * nx)
            if n == 0:
                for x in range(uint64(nx)):
                    out[row + x] = mask[row + x]
            else:
                before = row + uint64(nx) if backward else row - uint64(nx)
                for x in range(uint64(nx)):
                    out[row + x] = mask[row + x] | out[before + x]


@jit
def _find_edges(words, per_row, count):
    """Mark, in place, the voxels of eight a word that differ from the one before in their row."""
    total = 0
    for row in range(0, words.size, per_row):
        before = uint64(0)
        for n in range(per_row):
            word = words[uint64(row + n)]
            edges = word ^ (word << uint64(8) | before)
            before = word >> uint64(56)
            words[uint64(row + n)] = edges
            total += int64(bits_set(edges))
    count[0] = total


@jit
def _find_runs(edges, row_count, per_row, rows, starts, stops, first):
    """Runs between every other edge; `first[r]` becomes the first of row r."""
    run, inside = 0, 0
    for r in range(row_count):
        first[r] = run
        for n in range(per_row):
            word = edges[uint64(r * per_row + n)]
            while word:
                x = 8 * n + int64(zeros_below(word) >> uint64(3))
                if inside:
                    rows[run] = r
                    stops[run] = x
                    run += 1
                else:
                    starts[run] = x
                inside = 1 - inside
                word &= word - uint64(1)
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
