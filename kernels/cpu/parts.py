"""A volume whose voxels need not lie in one array."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cpu.kept import Kept

__all__ = ["Part", "Parts"]


@dataclass(frozen=True, eq=False)
class Part:
    """Slices of a volume that lie in one array.

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
    kept
        Which of the voxels count; the others are air. None where all do.
    """

    start: int
    stop: int
    voxels: NDArray[np.int16]
    at: int
    strides: tuple[int, int, int]
    kept: Kept | None = None

    @property
    def runs(self) -> NDArray[np.int32]:
        """What is kept of every row, flat; see `Kept`. Empty where all is."""
        return np.empty(0, np.int32) if self.kept is None else self.kept.runs.reshape(-1)

    @property
    def groups(self) -> NDArray[np.int32]:
        """`(stop,)`, the group of runs of each slice from `start` on; empty where all is kept."""
        if self.kept is None:
            return np.empty(0, np.int32)
        return np.concatenate([np.zeros(self.start, np.int32), self.kept.groups])


@dataclass(frozen=True, eq=False)
class Parts:
    """What was read, where it is kept, between slices that continue it.

    Parameters
    ----------
    below, above
        `(n, rows, columns)` int16 slices before the first and after the last of the scan.
    kept
        The scan between them.
    """

    below: NDArray[np.int16]
    kept: Kept
    above: NDArray[np.int16]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along z, y and x."""
        _, _, rows, columns = self.kept.box
        return len(self.below) + len(self.kept.values) + len(self.above), rows, columns

    @cached_property
    def array(self) -> NDArray[np.int16]:
        """`(nz, ny, nx)` int16 copy in one array, made on first use."""
        out = np.empty(self.shape, np.int16)
        scan, end = self._edges
        out[:scan], out[end:] = self.below, self.above
        self.kept.copy_to(out, scan)
        return out

    @property
    def apart(self) -> tuple[Part, ...]:
        """Where the voxels lie."""
        scan, end = self._edges
        nz, rows, columns = self.shape
        y0, x0, _, _ = self.kept.box
        _, ny, nx = self.kept.values.shape
        own = (1, columns, rows * columns)
        parts = (
            Part(0, scan, self.below.reshape(-1), 0, own),
            Part(
                *(scan, end, self.kept.values.reshape(-1)),
                *((y0 - scan * ny) * nx + x0, (1, nx, ny * nx), self.kept),
            ),
            Part(end, nz, self.above.reshape(-1), -end * rows * columns, own),
        )
        return tuple(part for part in parts if part.stop > part.start)

    def within(self, voxels: NDArray[np.int16], strides: tuple[int, int, int]) -> tuple[Part, ...]:
        """The same slices in one array that holds all of them."""
        return tuple(Part(part.start, part.stop, voxels, 0, strides) for part in self.apart)

    @property
    def _edges(self) -> tuple[int, int]:
        """The scan's first slice, and its end."""
        return len(self.below), len(self.below) + len(self.kept.values)
