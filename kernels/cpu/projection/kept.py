"""The body in the voxels as they were read: what `cut` would keep of every row, without a copy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cpu.body.block_classes import CLASS, INSIDE, OUTSIDE, block_classes
from drr.kernels.cpu.body.cut import gather, judge, looked_at, nearness
from drr.kernels.cpu.body.morphology import Mask
from drr.kernels.cpu.compiler.jit import float32 as f4
from drr.kernels.cpu.compiler.jit import int32, int64, jit, uint8, uint64
from drr.kernels.cpu.compiler.vectors import LANES
from drr.threads import available_cpus, each, split

__all__ = ["ENTRY", "Kept", "add_excess", "keep"]

# Runs of voxels that a row may have: a body and two arms need three, ragged skin a few more.
MOST = 12
# Numbers that tell of a row: how many runs, and where each begins and ends.
ENTRY = 2 * MOST + 1
# Of what is outside, about so many rows are counted: of a few slices, all.
COUNTED = 2048


@dataclass(frozen=True, eq=False)
class Kept:
    """What is kept of a volume, row by row, in a box of its rows and columns.

    Parameters
    ----------
    values
        `(nz, ny, nx)` int16 as read.
    classes
        Of blocks, `(kz, ky, kx)` uint8; see `block_classes`.
    factors, parameters
        What `cut` takes.
    box
        First row and column of a box, then its rows and columns; it may reach beyond the volume.
    runs
        `(groups, rows, ENTRY)` int32: the number of runs, then first voxel and end of each along
        x, counted from the box's first column.
    groups
        `(nz,)` int32: the group of each slice; slices of a group keep the same voxels.
    dense_count, padding_count
        About how many voxels outside are above `dense`, and at or below `padding`.
    """

    values: NDArray[np.int16]
    classes: NDArray[np.uint8]
    factors: tuple[int, int, int]
    parameters: dict[str, Any]
    box: tuple[int, int, int, int]
    runs: NDArray[np.int32]
    groups: NDArray[np.int32]
    dense_count: int
    padding_count: int

    def write(
        self,
        start: int,
        out: NDArray[np.int16],
        *,
        rows: tuple[int, int] | None = None,
        columns: tuple[int, int] | None = None,
    ) -> None:
        """Write slices from `start` on, or some of their rows and columns; the rest is background.

        `out` is `(slices, rows, columns)` int16, C-contiguous.
        """
        y0, x0, count, width = self.box
        (top, bottom), (first, end) = rows or (0, count), columns or (0, width)
        if out.shape[1:] != (bottom - top, end - first):
            raise ValueError(
                f"slices of {out.shape[1:]} cannot take rows {rows}, columns {columns}"
            )
        _, ny, nx = self.values.shape
        limits = (np.int16(self.parameters[name]) for name in ("padding", "background"))
        _paint(
            *(self.values.reshape(-1), (start * ny + y0) * nx + x0, nx, ny * nx),
            *(self.runs.reshape(-1), self.groups[start : start + len(out)]),
            *(count, top, bottom, first, *limits, out.reshape(-1), end - first, len(out)),
            *(self.classes.reshape(-1), *self.classes.shape[1:], *self.factors, start, y0, x0),
        )

    def slices(
        self,
        start: int,
        stop: int,
        *,
        rows: tuple[int, int] | None = None,
        columns: tuple[int, int] | None = None,
    ) -> NDArray[np.int16]:
        """`(stop - start, rows, columns)` int16 copy of slices, or of some rows and columns."""
        _, _, count, width = self.box
        (top, bottom), (first, end) = rows or (0, count), columns or (0, width)
        out = np.empty((stop - start, bottom - top, end - first), np.int16)
        self.write(start, out, rows=rows, columns=columns)
        return out

    def add_excess(
        self, total: NDArray[np.float32], start: int, stop: int, low: int, high: int
    ) -> None:
        """Add slices, clamped and less the background, to `(rows, columns)` sums."""
        y0, x0, _, _ = self.box
        _, ny, nx = self.values.shape
        add_excess(
            *(self.values.reshape(-1), (start * ny + y0) * nx + x0, nx, ny * nx),
            *(self.runs.reshape(-1), self.groups[start:stop], *total.shape),
            np.int16(self.parameters["padding"]),
            *(np.float32(v) for v in (low, high, self.parameters["background"])),
            total.reshape(-1),
        )

    def at(self, y: NDArray[np.integer], x: NDArray[np.integer]) -> NDArray[np.int16]:
        """`(nz, n)` int16: in every slice, what is kept at rows and columns of the box."""
        found = np.empty((len(self.values), y.size), np.int16)
        y0, x0, rows, _ = self.box
        _, ny, nx = self.values.shape
        _look_up(
            *(self.values.reshape(-1), y0 * nx + x0, nx, ny * nx),
            *(self.runs.reshape(-1), self.groups, rows),
            *(y.astype(np.int32).ravel(), x.astype(np.int32).ravel()),
            *(np.int16(self.parameters["background"]), found.reshape(-1)),
        )
        return found

    def between(self, first: NDArray[np.int32], end: NDArray[np.int32]) -> Kept:
        """What is kept in the columns from `first` to `end`, `(rows,)`, of each row."""
        limits = first.astype(np.int32), np.maximum(end, first).astype(np.int32)
        return replace(self, runs=self._runs_in(self.box, *limits))

    def within(self, box: tuple[int, int, int, int]) -> Kept:
        """The same in another box, which holds this one."""
        if box == self.box:
            return self
        _, _, rows, columns = box
        limits = np.zeros(rows, np.int32), np.full(rows, columns, np.int32)
        return replace(self, box=box, runs=self._runs_in(box, *limits))

    def _runs_in(
        self, box: tuple[int, int, int, int], first: NDArray[np.int32], end: NDArray[np.int32]
    ) -> NDArray[np.int32]:
        """The runs in rows of another box, within limits for each of them."""
        (y0, x0, _, _), (top, left, rows, _) = self.box, box
        runs = np.empty((len(self.runs), rows, ENTRY), np.int32)
        _move(
            *(self.runs.reshape(-1), *self.runs.shape[:2], y0 - top, x0 - left, first, end),
            *(runs.reshape(-1), rows),
        )
        return runs


def keep(
    values: NDArray[np.int16],
    mask: Mask,
    factors: tuple[int, int, int],
    *,
    box: tuple[int, int, int, int],
    threads: int | None = None,
    beside: Callable[[], object] | None = None,
    **parameters: Any,
) -> Kept | None:
    """Find what `cut` would keep, with the same parameters; None where rows have too many runs.

    Parameters
    ----------
    values, mask, factors, parameters
        As `cut` takes them.
    box
        First row and column, then the numbers of rows and columns, of a box that holds all that
        is kept (see `cut.kept_box`), and may reach beyond the volume.
    beside
        Is called once, by one of the threads, while the others are at work.
    """
    nz, ny, nx = values.shape
    together, lanes = parameters["together"]
    of_plane = -(-factors[0] // together)
    z = np.arange(nz)
    groups = (z // factors[0] * of_plane + z % factors[0] // together).astype(np.int32)
    _, _, rows, _ = box
    # As many groups as are written: the last plane of blocks may have fewer slices.
    runs = np.empty((int(groups[-1]) + 1, rows, ENTRY), np.int32)
    counts = np.zeros((len(mask), 3), np.int64)
    every = 1 + len(mask) * ny // COUNTED
    classes = block_classes(mask, factors, values.shape, lanes)
    near = nearness(factors)
    tissue, rise, air = (parameters[name] for name in ("tissue", "rise", "air"))
    threads = threads or available_cpus()

    def task(start: int, stop: int) -> None:
        _keep(
            *(values.reshape(-1), *values.shape, classes.reshape(-1), *mask.shape[1:]),
            *(*factors, together, lanes, tissue, rise, air),
            *(np.int16(parameters["padding"]), np.int16(parameters["dense"]), every, *near),
            *(np.empty(ny * nx + LANES, np.float32), np.empty(ny * nx, np.uint8)),
            *(*box[:3], runs.reshape(-1), of_plane),
            *(np.empty(2 * mask.shape[2] + 1, np.int64), counts.reshape(-1), start, stop),
        )

    # More ranges than threads: slices cost unequally.
    jobs = [partial(task, *limits) for limits in split(len(mask), 4 * threads)]
    each(jobs if beside is None else [beside, *jobs], threads)
    dense, padding, too_many = counts.sum(axis=0).tolist()
    if too_many:
        return None
    return Kept(values, classes, factors, parameters, box, runs, groups, dense, padding)


@jit
def _keep(
    flat, nz, ny, nx, classes, by, bx, fz, fy, fx, together, lanes, tissue, rise, air,
    padding, dense, every, near_y, near_x, seen, judged, y0, x0, rows, runs, of_plane,
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
            every, k % every, counts, 3 * k,
        )  # fmt: skip
        for z0 in range(k * fz, end, together):
            z1 = min(z0 + together, end)
            gather(
                flat, classes, first, by, bx, fy, fx, ny, nx, z0, z1, padding, seen, judged,
            )  # fmt: skip
            judge(
                seen, judged, classes, first, by, bx, fy, fx, ny, nx,
                lanes, looked_at(z0, z1), tissue, rise, air, near_y, near_x,
            )  # fmt: skip
            _write_runs(
                classes, first, bx, fy, fx, ny, nx, judged, y0, x0, rows, runs,
                group * rows * ENTRY, spans, counts, 3 * k + 2,
            )  # fmt: skip
            group += 1


@jit
def _move(old, groups, old_rows, down, right, first, end, new, rows):
    """Runs of each group to rows further down and columns further right, within limits."""
    for group in range(groups):
        for row in range(rows):
            to, at = (group * rows + row) * ENTRY, row - down
            if at < 0 or at >= old_rows:
                new[to] = 0
                continue
            entry = (group * old_rows + at) * ENTRY
            new[to] = old[entry]
            for n in range(1, 1 + 2 * old[entry]):
                new[to + n] = min(max(old[entry + n] + right, first[row]), end[row])


@jit
def _paint(
    flat, at, stride, plane, runs, groups, rows, top, bottom, column, padding, background, out,
    width, count, classes, by, bx, fz, fy, fx, z, y0, x0,
):  # fmt: skip
    """Copy what is kept of slices from z on; padding, but for the inside's, is background too."""
    line = -width
    for slice_ in range(count):
        for row in range(top, bottom):
            entry = (groups[slice_] * rows + row) * ENTRY
            here = at + slice_ * plane + row * stride + column
            line += width
            cursor = 0
            for n_run in range(runs[entry]):
                begin = min(max(runs[entry + 1 + 2 * n_run] - column, 0), width)
                end = min(max(runs[entry + 2 + 2 * n_run] - column, 0), width)
                for x in range(uint64(line + cursor), uint64(line + max(begin, cursor))):
                    out[x] = background
                old, new = uint64(here + begin), uint64(line + begin)
                padded = int32(0)
                for x in range(uint64(max(end - begin, 0))):
                    value = flat[old + x]
                    padded |= int32(value <= padding)
                    out[new + x] = value if value > padding else background
                if padded:
                    blocks = ((z + slice_) // fz * by + (y0 + row) // fy) * bx
                    for x in range(begin, end):
                        kind = classes[blocks + (x0 + column + x) // fx] & CLASS
                        if kind == INSIDE:
                            out[uint64(line + x)] = flat[uint64(here + x)]
                cursor = max(end, cursor)
            for x in range(uint64(line + cursor), uint64(line + width)):
                out[x] = background


@jit
def add_excess(
    flat, at, stride, plane, runs, groups, rows, columns, padding, low, high, background, total
):  # fmt: skip
    """Add up what is kept of slices, clamped, less the background, row by row."""
    for row in range(rows):
        for slice_ in range(groups.size):
            entry = (groups[slice_] * rows + row) * ENTRY
            here = at + slice_ * plane + row * stride
            for n_run in range(runs[entry]):
                begin = max(runs[entry + 1 + 2 * n_run], 0)
                end = min(runs[entry + 2 + 2 * n_run], columns)
                old, new = uint64(here + begin), uint64(row * columns + begin)
                for x in range(uint64(max(end - begin, 0))):
                    value = flat[old + x]
                    excess = min(max(f4(value), low), high) - background
                    total[new + x] += excess if value > padding else f4(0)


@jit
def _look_up(flat, at, stride, plane, runs, groups, rows, y, x, background, found):
    for slice_ in range(groups.size):
        for n in range(y.size):
            value = background
            entry = (groups[slice_] * rows + y[n]) * ENTRY
            for n_run in range(runs[entry]):
                if runs[entry + 1 + 2 * n_run] <= x[n] < runs[entry + 2 + 2 * n_run]:
                    value = flat[at + slice_ * plane + y[n] * stride + x[n]]
            found[slice_ * y.size + n] = value


@jit
def _write_runs(
    classes, first, bx, fy, fx, ny, nx, judged, y0, x0, rows, runs, entry, spans, counts, count
):  # fmt: skip
    n_spans = 0
    for y in range(y0, y0 + rows):
        if y < 0 or y >= ny:
            runs[entry] = 0
            entry += ENTRY
            continue
        if y == max(y0, 0) or y % fy == 0:
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
                x, stop = uint64(line + at), uint64(line + spans[span + 2])
                while True:
                    gone = uint8(begin < 0)
                    while x < stop and judged[x] & uint8(1) == gone:
                        x += uint64(1)
                    if x == stop:
                        break
                    if begin < 0:
                        begin = int64(x) - line
                        continue
                    if n < MOST:
                        runs[entry + 2 * n + 1] = begin - x0
                        runs[entry + 2 * n + 2] = int64(x) - line - x0
                    n, begin = n + 1, -1
        counts[count] += n > MOST
        runs[entry] = min(n, MOST)
        entry += ENTRY


@jit
def _count_outside(
    flat, classes, first, by, bx, fy, fx, ny, nx, z, slices, padding, dense, every, start,
    counts, count,
):  # fmt: skip
    """Count in the first slice of a plane of blocks, in every so-manieth row from one on."""
    n_dense, n_padding = int32(0), int32(0)
    for y in range(start, ny, every):
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
    counts[count] += n_dense * slices * every
    counts[count + 1] += n_padding * slices * every
