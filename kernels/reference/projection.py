"""Slow float64 twins of the kernels, written to be read and to be right.

Both take attenuation `mu` in 1/mm on the voxel grid and one bundle of rays, and integrate along
each ray from the source to the pixel (a parallel beam: through the whole volume).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from drr.kernels.rays import Rays

__all__ = ["joseph", "siddon"]

# Start, direction and first parameter of a ray to its integral.
Integrand = Callable[[NDArray[np.float64], NDArray[np.float64], float], float]


def siddon(mu: NDArray[np.floating], rays: Rays) -> NDArray[np.float64]:
    """Exact radiological paths through piecewise-constant voxels.

    R. L. Siddon, "Fast calculation of the exact radiological path for a three-dimensional CT
    array", Med. Phys. 12(2), 1985: collect the parametric values at which the ray crosses the
    planes between voxels, sort them, and sum length times attenuation between neighbours.

    Parameters
    ----------
    mu
        `(nz, ny, nx)` 1/mm.
    rays
        One view.

    Returns
    -------
    `(rows, columns)` float64, dimensionless.
    """
    counts = np.array(mu.shape[::-1])

    def integrate(start: NDArray[np.float64], direction: NDArray[np.float64], t0: float) -> float:
        # The ray is start + t * direction for t in [t0, 1].
        t1 = 1.0
        crossings = []
        for axis in range(3):
            planes = np.arange(counts[axis] + 1) - 0.5
            if direction[axis] == 0.0:
                if not planes[0] <= start[axis] <= planes[-1]:
                    return 0.0
                continue
            t = (planes - start[axis]) / direction[axis]
            t0, t1 = max(t0, float(t.min())), min(t1, float(t.max()))
            crossings.append(t)
        if t1 <= t0:
            return 0.0
        t = np.concatenate([[t0, t1], *crossings])
        t = np.unique(t[(t >= t0) & (t <= t1)])
        middle = start + ((t[1:] + t[:-1]) / 2)[:, None] * direction
        index = np.clip(np.floor(middle + 0.5).astype(int), 0, counts - 1)
        values = mu[index[:, 2], index[:, 1], index[:, 0]].astype(np.float64)
        return float(np.sum(np.diff(t) * values) * _length(direction, rays))

    return _for_each_ray(rays, mu.shape, integrate)


def joseph(mu: NDArray[np.floating], rays: Rays) -> NDArray[np.float64]:
    """Sums over the planes of the ray's dominant axis, bilinear within each plane.

    P. M. Joseph, "An improved algorithm for reprojecting rays through pixel images", IEEE Trans.
    Med. Imaging 1(3), 1982. Beyond the outermost voxel centres the value falls linearly to zero
    over one voxel, so that no mass is lost at the border. A plane stands for the unit interval
    around it; the part of that interval behind the source or beyond the pixel does not count.
    """
    padded = np.pad(mu.astype(np.float64), 1)

    def integrate(start: NDArray[np.float64], direction: NDArray[np.float64], t0: float) -> float:
        axis = int(np.argmax(np.abs(direction)))
        planes = np.arange(mu.shape[2 - axis])
        entry, exit_ = start[axis] + np.array([t0, 1.0]) * direction[axis]
        low, high = min(entry, exit_), max(entry, exit_)
        covered = np.clip(np.minimum(planes + 0.5, high) - np.maximum(planes - 0.5, low), 0, 1)
        t = (planes - start[axis]) / direction[axis]
        total = 0.0
        for plane, weight, point in zip(
            planes, covered, start + t[:, None] * direction, strict=True
        ):
            if weight:
                total += weight * _bilinear(padded, axis, int(plane), point)
        return total * _length(direction, rays) / abs(direction[axis])

    return _for_each_ray(rays, mu.shape, integrate)


def _bilinear(padded: NDArray[np.float64], axis: int, plane: int, point: NDArray) -> float:
    image = np.take(padded, plane + 1, axis=2 - axis)
    column, row = (point[a] + 1.0 for a in range(3) if a != axis)
    i, j = int(np.floor(column)), int(np.floor(row))
    if not (0 <= i < image.shape[1] - 1 and 0 <= j < image.shape[0] - 1):
        return 0.0
    f, g = column - i, row - j
    return float(
        (1 - g) * ((1 - f) * image[j, i] + f * image[j, i + 1])
        + g * ((1 - f) * image[j + 1, i] + f * image[j + 1, i + 1])
    )


def _for_each_ray(
    rays: Rays, volume_shape: tuple[int, ...], integrate: Integrand
) -> NDArray[np.float64]:
    rows, columns = rays.shape
    out = np.empty((rows, columns))
    # A parallel beam has no source: start far enough behind the pixel, end far enough beyond it.
    reach = np.linalg.norm(volume_shape) + np.linalg.norm(rays.origin) + 1.0
    reach += np.linalg.norm(rays.u) * columns + np.linalg.norm(rays.v) * rows
    for row in range(rows):
        for column in range(columns):
            pixel = rays.origin + column * rays.u + row * rays.v
            if rays.is_parallel:
                step = rays.source[:3] / np.linalg.norm(rays.source[:3]) * reach
                out[row, column] = integrate(pixel, step, -1.0)
            else:
                out[row, column] = integrate(rays.source[:3], pixel - rays.source[:3], 0.0)
    return out


def _length(direction: NDArray[np.float64], rays: Rays) -> float:
    return float(np.sqrt(direction @ rays.metric @ direction))
