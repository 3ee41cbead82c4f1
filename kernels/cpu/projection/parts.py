"""A volume whose voxels need not lie in one array."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cpu.compiler.jit import jit, uint64
from drr.kernels.cpu.projection.kept import ENTRY, Kept, add_excess
from drr.sharing import kept_property
from drr.threads import available_cpus, run, split

__all__ = ["Part", "Parts", "Repeated", "Side"]


@dataclass(frozen=True, eq=False)
class Part:
    """Some voxels of a volume that lie in one array.

    Parameters
    ----------
    start, stop
        The first slice along z, and the end.
    voxels
        Flat int16.
    at
        Where voxel (0, 0, 0) of the volume would lie in `voxels`.
    strides
        Distances in `voxels` of neighbours along x, y and z.
    runs, groups
        Which voxels of every row are of this part, and for each slice from `start` on the group of
        slices that they are listed under; see `Kept`. None where all are.
    numbers
        For each slice from `start` on, which slice of the array it is, where that is not its own
        number.
    """

    start: int
    stop: int
    voxels: NDArray[np.int16]
    at: int
    strides: tuple[int, int, int]
    runs: NDArray[np.int32] | None = None
    groups: NDArray[np.int32] | None = None
    numbers: NDArray[np.int32] | None = None

    def slices(self, stop: int) -> NDArray[np.int32]:
        """Which slice of the array every slice of the volume is, up to `stop`."""
        if self.numbers is None:
            return np.arange(stop, dtype=np.int32)
        return np.concatenate([np.zeros(self.start, np.int32), self.numbers])

    @property
    def listed(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Runs, flat, and the group of every slice of the volume up to `stop`; or nothing."""
        if self.runs is None or self.groups is None:
            return np.empty(0, np.int32), np.empty(0, np.int32)
        groups = np.concatenate([np.zeros(self.start, np.int32), self.groups])
        return self.runs.reshape(-1), groups


@dataclass(frozen=True, eq=False)
class Repeated:
    """Slices of which some are the same.

    Parameters
    ----------
    values
        `(m, rows, columns)` int16: those that differ.
    numbers
        `(n,)` int32: for each slice, which of them it is.
    """

    values: NDArray[np.int16]
    numbers: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Side:
    """Columns of a volume at one side of the scan.

    Parameters
    ----------
    values
        `(nz, m, n)` int16: as many slices as the scan has, and of their rows those from the first
        to the last that has any of the columns; one where none has.
    row, column
        Of the volume, the first in `values`.
    bounds
        `(rows, 2)` int32: the first column of the volume in each row, and the end.
    """

    values: NDArray[np.int16]
    row: int
    column: int
    bounds: NDArray[np.int32]

    @property
    def runs(self) -> NDArray[np.int32]:
        """One of every row, the same in all slices; see `Kept`."""
        runs = np.zeros((1, len(self.bounds), ENTRY), np.int32)
        runs[0, :, 0] = self.bounds[:, 0] < self.bounds[:, 1]
        runs[0, :, 1:3] = self.bounds
        return runs

    def write(self, start: int, out: NDArray[np.int16]) -> None:
        """Write the columns to `(n, rows, columns)` slices of the scan, from `start` on."""
        _, rows, width = self.values.shape
        _write_columns(
            *(self.values[start:].reshape(-1), rows, width, self.bounds.reshape(-1)),
            *(self.row, self.column, out.reshape(-1), *out.shape),
        )

    def add_excess(
        self,
        total: NDArray[np.float32],
        start: int,
        stop: int,
        low: int,
        high: int,
        background: int,
    ) -> None:
        """Add the columns of slices, clamped and less a background, to `(rows, columns)` sums."""
        _, rows, width = self.values.shape
        at = (start * rows - self.row) * width - self.column
        add_excess(
            *(self.values.reshape(-1), at, width, rows * width),
            *(self.runs.reshape(-1), np.zeros(stop - start, np.int32), *total.shape),
            *(np.int16(-32768), np.float32(low), np.float32(high), np.float32(background)),
            total.reshape(-1),
        )


@dataclass(frozen=True, eq=False)
class Parts:
    """What was read, where it is kept, between slices and columns that continue it.

    Parameters
    ----------
    below, above
        Slices before the first and after the last of the scan.
    kept
        The scan between them, and nothing of it in the columns of the sides.
    sides
        Columns of the scan's slices that lie elsewhere.
    """

    below: Repeated
    kept: Kept
    above: Repeated
    sides: tuple[Side, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along z, y and x."""
        _, _, rows, columns = self.kept.box
        return self._edges[1] + self.above.numbers.size, rows, columns

    @property
    def nbytes(self) -> int:
        """Of all in one array."""
        nz, rows, columns = self.shape
        return 2 * nz * rows * columns

    @kept_property
    def array(self) -> NDArray[np.int16]:
        """`(nz, ny, nx)` int16 copy in one array, made on first use."""
        out = np.empty(self.shape, np.int16)
        self.write(0, out)
        return out

    def write(self, start: int, out: NDArray[np.int16], *, threads: int | None = None) -> None:
        """Write slices of the volume from `start` on.

        Parameters
        ----------
        start
            The first.
        out
            `(n, ny, nx)` int16, C-contiguous.
        threads
            CPU threads; all available ones by default.
        """
        threads = threads or available_cpus()
        scan, end = self._edges
        edges = (0, scan, self.below), (scan, end, None), (end, self.shape[0], self.above)

        def task(first: int, last: int) -> None:
            for begin, finish, repeated in edges:
                low, high = max(start + first, begin), min(start + last, finish)
                if low >= high:
                    continue
                slices = out[low - start : high - start]
                if repeated is not None:
                    numbers = repeated.numbers[low - begin : high - begin]
                    # Other than the default, this mode writes to where it is asked to.
                    np.take(repeated.values, numbers, axis=0, out=slices, mode="clip")
                    continue
                self.kept.write(low - scan, slices)
                for side in self.sides:
                    side.write(low - scan, slices)

        run(task, split(len(out), 2 * threads), threads)

    def mean_slice(
        self, start: int, stop: int, low: int, high: int, mean: NDArray[np.float32]
    ) -> None:
        """Write the mean of slices of the scan, their values clamped, to `(rows, columns)`."""
        # Whole numbers, so that the sums are exact.
        background = int(self.kept.parameters["background"])
        mean[:] = 0
        self.kept.add_excess(mean, start, stop, low, high)
        for side in self.sides:
            side.add_excess(mean, start, stop, low, high, background)
        mean += (stop - start) * background
        mean /= stop - start

    @property
    def apart(self) -> tuple[Part, ...]:
        """Where the voxels lie."""
        scan, end = self._edges
        nz, rows, columns = self.shape
        y0, x0, _, _ = self.kept.box
        _, ny, nx = self.kept.values.shape
        own = (1, columns, rows * columns)
        parts = [
            Part(0, scan, self.below.values.reshape(-1), 0, own, numbers=self.below.numbers),
            Part(
                *(scan, end, self.kept.values.reshape(-1), (y0 - scan * ny) * nx + x0),
                *((1, nx, ny * nx), self.kept.runs, self.kept.groups),
            ),
            Part(end, nz, self.above.values.reshape(-1), 0, own, numbers=self.above.numbers),
        ]
        for side in self.sides:
            _, count, width = side.values.shape
            at = -(scan * count + side.row) * width - side.column
            strides, groups = (1, width, count * width), np.zeros(end - scan, np.int32)
            parts.append(Part(scan, end, side.values.reshape(-1), at, strides, side.runs, groups))
        return tuple(part for part in parts if part.stop > part.start)

    def within(self, voxels: NDArray[np.int16], strides: tuple[int, int, int]) -> tuple[Part, ...]:
        """The slices of scan and ends in one array that holds all; sides are not set apart."""
        scan, end = self._edges
        edges = (0, scan), (scan, end), (end, self.shape[0])
        return tuple(Part(a, b, voxels, 0, strides) for a, b in edges if b > a)

    @property
    def _edges(self) -> tuple[int, int]:
        """The scan's first slice, and its end."""
        scan = self.below.numbers.size
        return scan, scan + len(self.kept.values)


@jit
def _write_columns(values, rows, width, bounds, row, column, out, count, out_rows, out_width):
    """Columns of `rows` rows from `row` on, each within its bounds, to `count` slices."""
    for slice_ in range(count):
        for n in range(rows):
            first, end = bounds[2 * (row + n)], bounds[2 * (row + n) + 1]
            old = uint64((slice_ * rows + n) * width + first - column)
            new = uint64((slice_ * out_rows + row + n) * out_width + first)
            for x in range(uint64(max(end - first, 0))):
                out[new + x] = values[old + x]
