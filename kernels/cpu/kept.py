"""The body in the voxels as they were read: what `cut` would keep of every row, without a copy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cpu.cut import (
    CLASS,
    INSIDE,
    OUTSIDE,
    block_classes,
    cut,
    gather,
    judge,
    nearness,
)
from drr.kernels.cpu.jit import int32, jit, uint8, uint64
from drr.kernels.cpu.threads import available_cpus, run, split
from drr.kernels.cpu.vectors import LANES
from drr.kernels.morphology import Mask

__all__ = ["ENTRY", "Kept", "keep"]

# Runs of voxels that a row may have: a body and two arms need three, ragged skin a few more.
MOST = 12
# Numbers that tell of a row: how many runs, and where each begins and ends.
ENTRY = 2 * MOST + 1
# Of what is outside, every so-manieth row of the first slice of a plane of blocks is counted.
EVERY = 4


@dataclass(frozen=True, eq=False)
class Kept:
    """What is kept of a volume, row by row, in a box of its rows and columns.

    Parameters
    ----------
    values
        `(nz, ny, nx)` int16 as read.
    mask, factors, parameters
        What `cut` takes.
    box
        First row and column of the box, then its rows and columns.
    runs
        `(groups, rows, ENTRY)` int32: the number of runs, then first voxel and end of each along
        x, counted from the box's first column.
    groups
        `(nz,)` int32: the group of each slice; slices of a group keep the same voxels.
    dense_count, padding_count
        About how many voxels outside are above `dense`, and at or below `padding`.
    """

    values: NDArray[np.int16]
    mask: Mask
    factors: tuple[int, int, int]
    parameters: dict[str, Any]
    box: tuple[int, int, int, int]
    runs: NDArray[np.int32]
    groups: NDArray[np.int32]
    dense_count: int
    padding_count: int

    def copy_to(
        self,
        out: NDArray[np.int16],
        z: int,
        *,
        planes: tuple[int, int] | None = None,
        threads: int | None = None,
    ) -> None:
        """Write what is kept, slice 0 to slice `z` of an array of the box's rows and columns.

        Values at or below `padding` in the skin become background, as everything outside does:
        neither attenuates.
        """
        y0, x0, _, _ = self.box
        at = (z, -y0, -x0)
        cut(
            *(self.values, self.mask, self.factors, out),
            **self.parameters,
            at=at,
            planes=planes,
            threads=threads,
        )

    def slices(self, start: int, stop: int) -> NDArray[np.int16]:
        """`(stop - start, rows, columns)` int16 of what is kept, as it was read, in air."""
        y0, x0, rows, columns = self.box
        _, ny, nx = self.values.shape
        out = np.full((stop - start, rows, columns), self.parameters["background"], np.int16)
        for z in range(start, stop):
            _paint(
                *(self.values.reshape(-1), (z * ny + y0) * nx + x0, nx),
                *(self.runs[self.groups[z]].reshape(-1), rows, columns, out[z - start].reshape(-1)),
            )
        return out


def keep(
    values: NDArray[np.int16],
    mask: Mask,
    factors: tuple[int, int, int],
    *,
    box: tuple[int, int, int, int],
    threads: int | None = None,
    **parameters: Any,
) -> Kept | None:
    """Find what `cut` would keep, with the same parameters; None where rows have too many runs.

    Parameters
    ----------
    values, mask, factors, parameters
        As `cut` takes them.
    box
        First row and column, then the numbers of rows and columns, of a box that holds all that
        is kept; see `cut.kept_box`.
    """
    nz, ny, nx = values.shape
    together, lanes = parameters["together"]
    of_plane = -(-factors[0] // together)
    z = np.arange(nz)
    groups = (z // factors[0] * of_plane + z % factors[0] // together).astype(np.int32)
    y0, x0, rows, columns = box
    runs = np.empty((len(mask) * of_plane, rows, ENTRY), np.int32)
    counts = np.zeros((len(mask), 3), np.int64)
    classes, near = block_classes(mask), nearness(factors)
    limits = (parameters[name] for name in ("tissue", "rise", "air"))
    tissue, rise, air = limits
    threads = threads or available_cpus()

    def task(start: int, stop: int) -> None:
        _keep(
            *(values.reshape(-1), *values.shape, classes.reshape(-1), *mask.shape[1:]),
            *(*factors, together, lanes, tissue, rise, air),
            *(np.int16(parameters["padding"]), np.int16(parameters["dense"]), *near),
            *(np.empty(ny * nx + LANES, np.float32), np.empty(ny * nx, np.uint8)),
            *(*box, runs.reshape(-1), of_plane),
            *(np.empty(2 * mask.shape[2] + 1, np.int64), counts.reshape(-1), start, stop),
        )

    # More ranges than threads: slices cost unequally.
    run(task, split(len(mask), 4 * threads), threads)
    dense, padding, too_many = counts.sum(axis=0).tolist()
    if too_many:
        return None
    return Kept(values, mask, factors, parameters, box, runs, groups, dense, padding)


@jit
def _keep(
    flat, nz, ny, nx, classes, by, bx, fz, fy, fx, together, lanes, tissue, rise, air,
    padding, dense, near_y, near_x, seen, judged, y0, x0, rows, columns, runs, of_plane,
    spans, counts, start, stop,
):  # fmt: skip
    """Judge planes of blocks as `cut` does, and write down the runs that are kept.

    Counted of each plane at `counts[3 * k]`: outside voxels that are dense, and padding; rows with
    too many runs.
    """
    for k in range(start, stop):
        first, end = k * by * bx, min(k * fz + fz, nz)
        group = k * of_plane
        _count_outside(
            flat, classes, first, by, bx, fy, fx, ny, nx, k * fz, end - k * fz, padding, dense,
            counts, 3 * k,
        )  # fmt: skip
        for z0 in range(k * fz, end, together):
            z1 = min(z0 + together, end)
            gather(
                flat, classes, first, by, bx, fy, fx, ny, nx, z0, z1, padding, seen, judged,
            )  # fmt: skip
            judge(
                seen, judged, classes, first, by, bx, fy, fx, ny, nx,
                lanes, z1 - z0, tissue, rise, air, near_y, near_x,
            )  # fmt: skip
            _write_runs(
                classes, first, bx, fy, fx, nx, judged, y0, x0, rows, runs,
                group * rows * ENTRY, spans, counts, 3 * k + 2,
            )  # fmt: skip
            group += 1


@jit
def _paint(flat, at, stride, runs, rows, columns, out):
    for row in range(rows):
        entry = row * ENTRY
        for run in range(runs[entry]):
            begin, end = runs[entry + 1 + 2 * run], runs[entry + 2 + 2 * run]
            old, new = uint64(at + row * stride + begin), uint64(row * columns + begin)
            for x in range(uint64(end - begin)):
                out[new + x] = flat[old + x]


@jit
def _write_runs(
    classes, first, bx, fy, fx, nx, judged, y0, x0, rows, runs, entry, spans, counts, count
):  # fmt: skip
    n_spans = 0
    for y in range(y0, y0 + rows):
        if y == y0 or y % fy == 0:
            # Spans of blocks: first voxel, and whether each is inside; what is outside ends one.
            n_spans, i = 0, 0
            blocks = first + y // fy * bx
            while i < bx:
                kind = classes[blocks + i] & CLASS
                spans[n_spans] = i * fx
                spans[n_spans + 1] = 0 if kind == OUTSIDE else 1 if kind == INSIDE else 2
                while i < bx and (
                    classes[blocks + i] & CLASS == kind
                    or (spans[n_spans + 1] == 2 and OUTSIDE < classes[blocks + i] & CLASS < INSIDE)
                ):
                    i += 1
                n_spans += 2
            spans[n_spans] = nx
        line = y * nx
        begin, n = -1, 0
        for span in range(0, n_spans + 1, 2):
            at, kind = spans[span], 0 if span == n_spans else spans[span + 1]
            if kind == 1:
                begin = at if begin < 0 else begin
            elif kind == 0:
                if begin >= 0:
                    if n < MOST:
                        runs[entry + 2 * n + 1] = begin - x0
                        runs[entry + 2 * n + 2] = at - x0
                    n, begin = n + 1, -1
            else:
                for x in range(at, spans[span + 2]):
                    gone = judged[uint64(line + x)] & uint8(1) != 0
                    if gone == (begin < 0):
                        continue
                    if not gone:
                        begin = x
                        continue
                    if n < MOST:
                        runs[entry + 2 * n + 1] = begin - x0
                        runs[entry + 2 * n + 2] = x - x0
                    n, begin = n + 1, -1
        counts[count] += n > MOST
        runs[entry] = min(n, MOST)
        entry += ENTRY


@jit
def _count_outside(
    flat, classes, first, by, bx, fy, fx, ny, nx, z, slices, padding, dense, counts, count
):  # fmt: skip
    n_dense, n_padding = int32(0), int32(0)
    for y in range(0, ny, EVERY):
        blocks, row = first + y // fy * bx, (z * ny + y) * nx
        i = 0
        while i < bx:
            x0 = i * fx
            while i < bx and classes[blocks + i] & CLASS == OUTSIDE:
                i += 1
            if i * fx > x0:
                old, size = uint64(row + x0), uint64(min(i * fx, nx) - x0)
                row_dense, row_padding = int32(0), int32(0)
                for x in range(size):
                    row_dense += flat[old + x] > dense
                    row_padding += flat[old + x] <= padding
                n_dense += row_dense
                n_padding += row_padding
            i += 1
    counts[count] += n_dense * slices * EVERY
    counts[count + 1] += n_padding * slices * EVERY
