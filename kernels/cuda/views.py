"""Rays to the constants that the kernels read: `View` of rays.cuh, worked out in float64."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from drr.kernels.rays import Rays

__all__ = ["VIEW_FLOATS", "follows_x", "is_swapped", "is_turned", "packed", "turned"]

VIEW_FLOATS = 34


def is_swapped(rays: Rays) -> bool:
    """Whether pixels along a row follow the volume's y more than its x.

    Then a copy with x and y exchanged is what a warp, 32 pixels along a row, reads in one piece.
    """
    along = _lanes(rays)
    return bool(abs(along[1]) > abs(along[0]))


def is_turned(rays: Rays) -> bool:
    """Whether pixels along a row follow the volume's slow axis, z, and those down a column do not.

    Then warps run down the columns: the detector's rows and columns are exchanged.
    """
    return _slowness(rays.u) > max(_slowness(rays.v), 0.8)


def follows_x(rays: Rays, *, swapped: bool = False) -> bool:
    """Whether x (y where both are exchanged) is the fastest axis of any ray, or nearly so."""
    rows, columns = rays.shape
    for row in (0, rows - 1):
        for column in (0, columns - 1):
            pixel = rays.origin + column * rays.u + row * rays.v
            direction = np.abs(rays.source[:3] if rays.is_parallel else pixel - rays.source[:3])
            x, y = direction[[1, 0]] if swapped else direction[:2]
            if x > 0.99 * max(y, direction[2]):
                return True
    return False


def turned(rays: Rays) -> Rays:
    """The same rays with the detector's rows and columns exchanged."""
    return replace(rays, u=rays.v, v=rays.u, shape=rays.shape[::-1])


def packed(
    rays: Rays,
    volume_shape: tuple[int, int, int],
    *,
    sub: tuple[int, int] = (1, 1),
    swapped: bool = False,
    image: int = 0,
    least: float = -math.inf,
) -> NDArray[np.float32]:
    """Constants of one view.

    Parameters
    ----------
    rays
        In the index space of the scan.
    volume_shape
        `(nz, ny, nx)` of the scan.
    sub
        Sub-pixels of a pixel, across and down.
    swapped
        Whether the kernel is given the copy with x and y exchanged.
    image
        Which of the images the kernel writes.
    least
        What no line integral is below; rounding alone would take some a little further.

    Returns
    -------
    `(VIEW_FLOATS,)` float32 in the order of `View`.
    """
    middle = (np.array(volume_shape[::-1]) - 1) / 2
    center = _center(rays) - middle
    direction = rays.central_direction
    # Steps of s in which the central ray goes one voxel along its fastest axis.
    length = np.abs(direction).max()
    direction = direction / length
    if rays.is_parallel:
        reach = np.linalg.norm(volume_shape) + np.linalg.norm(rays.u) * rays.shape[1]
        reach += np.linalg.norm(rays.v) * rays.shape[0] + 1.0
        nearest = -float(center @ direction) / float(direction @ direction)
        point, point_u, point_v = center + nearest * direction, rays.u, rays.v
        direction_u = direction_v = np.zeros(3)
        start, stop = -reach, reach
    else:
        source = rays.source[:3] - middle
        nearest = -float(source @ direction) / float(direction @ direction)
        direction_u, direction_v = rays.u / length, rays.v / length
        point = source + nearest * direction
        point_u, point_v = nearest * direction_u, nearest * direction_v
        start, stop = -nearest, length - nearest
    vectors = np.stack([point, point_u, point_v, direction, direction_u, direction_v])
    metric = rays.metric
    if swapped:
        vectors = vectors[:, [1, 0, 2]]
        metric = metric[np.ix_([1, 0, 2], [1, 0, 2])]
    doubled = 2 * metric[[0, 0, 1], [1, 2, 2]]
    across, down = sub
    return np.concatenate(
        [
            vectors.ravel(),
            [start, stop],
            np.diag(metric),
            doubled,
            [across, down, 1 / across, 1 / down, 1 / (across * down), swapped, image, least],
        ]
    ).astype(np.float32)


def _center(rays: Rays) -> NDArray[np.float64]:
    rows, columns = rays.shape
    return np.asarray(rays.origin + rays.u * (columns - 1) / 2 + rays.v * (rows - 1) / 2)


def _lanes(rays: Rays) -> NDArray[np.float64]:
    """Direction in which the rays of a warp lie next to each other."""
    return rays.v if is_turned(rays) else rays.u


def _slowness(step: NDArray[np.float64]) -> float:
    """How much of a pixel's step is along z, from 0 to 1."""
    return float(abs(step[2]) / max(np.linalg.norm(step), np.finfo(float).tiny))
