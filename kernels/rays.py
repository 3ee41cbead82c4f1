"""One view's rays in voxel index space, the common input of every kernel.

In index space voxel (i, j, k) is the unit cube centred on its index, whatever the spacing,
obliquity or gantry tilt of the scan; straight lines stay straight. Lengths come back to mm
through the metric tensor of the affine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Rays", "rays_in_voxels"]


@dataclass(frozen=True, eq=False)
class Rays:
    """A bundle of rays, one for every detector pixel.

    Parameters
    ----------
    source
        `(4,)` homogeneous voxel index: `(x, y, z, 1)` of the focal spot, or `(x, y, z, 0)`, the
        direction from tube to detector of a parallel beam.
    origin
        `(3,)` voxel index of the centre of pixel (row 0, column 0).
    u, v
        `(3,)` steps in voxels to the next column and the next row.
    shape
        Rows and columns.
    metric
        `(3, 3)` mm^2: the squared length of an index-space vector w is `w @ metric @ w`.
    """

    source: NDArray[np.float64]
    origin: NDArray[np.float64]
    u: NDArray[np.float64]
    v: NDArray[np.float64]
    shape: tuple[int, int]
    metric: NDArray[np.float64]

    @property
    def is_parallel(self) -> bool:
        return bool(self.source[3] == 0.0)

    @property
    def central_direction(self) -> NDArray[np.float64]:
        """`(3,)` index-space direction of the ray through the middle of the detector."""
        if self.is_parallel:
            return self.source[:3]
        rows, columns = self.shape
        center = self.origin + self.u * (columns - 1) / 2 + self.v * (rows - 1) / 2
        return np.asarray(center - self.source[:3])

    def packed(self, order: Sequence[int] = (0, 1, 2)) -> NDArray[np.float64]:
        """`(7, 3)` source, origin, u, v and the metric for kernels, axes in another order."""
        index = list(order)
        rows = [self.source[index], self.origin[index], self.u[index], self.v[index]]
        return np.concatenate([rows, self.metric[np.ix_(index, index)]])

    def subdivided(self, across: int, down: int) -> Rays:
        """The rays of a detector whose every pixel is split into `down` x `across`."""
        u, v = self.u / across, self.v / down
        origin = self.origin - u * (across - 1) / 2 - v * (down - 1) / 2
        shape = (self.shape[0] * down, self.shape[1] * across)
        return Rays(self.source, origin, u, v, shape, self.metric)


def rays_in_voxels(
    *,
    source: ArrayLike | None,
    direction: ArrayLike | None,
    detector_center: ArrayLike,
    u: ArrayLike,
    v: ArrayLike,
    shape: tuple[int, int],
    affine: ArrayLike,
) -> Rays:
    """Carry a geometry given in world mm into the index space of a volume.

    Parameters
    ----------
    source, direction, detector_center, u, v, shape
        As in `drr.geometry.geometry.Geometry`, mm.
    affine
        `(4, 4)` voxel index (x, y, z, 1) to world mm.
    """
    affine = np.asarray(affine, dtype=np.float64)
    to_voxel = np.linalg.inv(affine)
    linear, shift = to_voxel[:3, :3], to_voxel[:3, 3]
    across, down = linear @ np.asarray(u, float), linear @ np.asarray(v, float)
    center = linear @ np.asarray(detector_center, float) + shift
    origin = center - across * (shape[1] - 1) / 2 - down * (shape[0] - 1) / 2
    if source is not None:
        start = np.append(linear @ np.asarray(source, float) + shift, 1.0)
    else:
        start = np.append(linear @ np.asarray(direction, float), 0.0)
    metric = affine[:3, :3].T @ affine[:3, :3]
    return Rays(start, origin, across, down, (int(shape[0]), int(shape[1])), metric)
