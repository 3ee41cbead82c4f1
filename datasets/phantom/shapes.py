"""Solids whose line integrals are known exactly, and their voxel pictures, for tests.

`chord` gives the length in mm that a ray from a source to a pixel spends in the solid; `voxelize`
makes a CT volume of it with partial-volume voxels at the surface. Everything is LPS mm, float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drr.errors import VolumeError
from drr.volume import Volume

__all__ = ["Box", "Cylinder", "Ellipsoid", "Gaussian", "Shape", "impulse", "sphere", "voxelize"]

Floats = NDArray[np.float64]
Vector = tuple[float, float, float]
Matrix = tuple[Vector, Vector, Vector]

IDENTITY: Matrix = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


class Shape(Protocol):
    """What `voxelize` needs of a shape."""

    def density(self, points: ArrayLike) -> Floats:
        """`(...)` share from 0 to 1 of the shape's material at points `(..., 3)`."""
        ...

    def varies(self, points: ArrayLike, reach: float) -> NDArray[np.bool_]:
        """`(...)` whether the density may change within `reach` mm of points `(..., 3)`."""
        ...

    def chord(self, source: ArrayLike, pixel: ArrayLike) -> Floats:
        """`(...)` mm: the integral of `density` along the segments from source to pixel."""
        ...

    @property
    def volume(self) -> float:
        """mm^3: the integral of `density` over space."""
        ...


@dataclass(frozen=True)
class _Placed:
    """A shape with a centre, three half-extents and its own axes.

    Parameters
    ----------
    center
        `(3,)` mm.
    semi_axes
        `(3,)` mm along the rows of `rotation`.
    rotation
        `(3, 3)` orthonormal; its rows are the directions of the axes.
    """

    center: Vector
    semi_axes: Vector
    rotation: Matrix = IDENTITY

    def __post_init__(self) -> None:
        semi = np.asarray(self.semi_axes, dtype=np.float64)
        if semi.shape != (3,) or not np.isfinite(semi).all() or (semi <= 0).any():
            raise VolumeError(f"semi-axes must be three lengths above 0 mm, not {self.semi_axes}")
        matrix = np.asarray(self.rotation, dtype=np.float64)
        if matrix.shape != (3, 3) or not np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-9):
            raise VolumeError(f"rotation must be orthonormal, not {self.rotation}")

    def local(self, points: ArrayLike) -> Floats:
        """`(..., 3)` points in units of the semi-axes, along the shape's own axes."""
        offset = np.asarray(points, dtype=np.float64) - np.array(self.center)
        return np.asarray(offset @ np.array(self.rotation).T / np.array(self.semi_axes))

    def level(self, points: ArrayLike) -> Floats:
        """`(...)`, at most 1 inside the shape; falls by no more than 1 per smallest semi-axis."""
        return np.asarray(np.linalg.norm(self.local(points), axis=-1))

    def density(self, points: ArrayLike) -> Floats:
        """`(...)` 1 inside, 0 outside."""
        return np.asarray(self.level(points) <= 1, dtype=np.float64)

    def varies(self, points: ArrayLike, reach: float) -> NDArray[np.bool_]:
        """`(...)` whether the surface may be within `reach` mm of the points."""
        return np.asarray(np.abs(self.level(points) - 1) <= reach / min(self.semi_axes))


def _segment(shape: _Placed, source: ArrayLike, pixel: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Start and direction in local units, and length in mm, of segments from source to pixel."""
    start, end = np.broadcast_arrays(
        np.asarray(source, dtype=np.float64), np.asarray(pixel, dtype=np.float64)
    )
    a = shape.local(start)
    return a, shape.local(end) - a, np.linalg.norm(end - start, axis=-1)


def _quadratic(a: Floats, d: Floats) -> tuple[Floats, Floats]:
    """Where `|a + t d| = 1`, in order; an empty interval where it never is."""
    dd, ad = (d * d).sum(-1), (a * d).sum(-1)
    nearest = a - (ad / np.maximum(dd, 1e-300))[..., None] * d
    # The squared distance of the nearest point, not b^2 - 4ac, which cancels for far sources.
    half = np.sqrt(np.maximum(1 - (nearest * nearest).sum(-1), 0) / np.maximum(dd, 1e-300))
    # Along the axis of a cylinder there is no crossing: all or nothing.
    along = dd < 1e-24
    middle = np.where(along, 0, -ad / np.maximum(dd, 1e-300))
    half = np.where(along, np.where((a * a).sum(-1) < 1, np.inf, 0), half)
    return middle - half, middle + half


@dataclass(frozen=True)
class Ellipsoid(_Placed):
    """A solid ellipsoid; see `_Placed` for its parameters."""

    def chord(self, source: ArrayLike, pixel: ArrayLike) -> Floats:
        a, d, length = _segment(self, source, pixel)
        near, far = _quadratic(a, d)
        return np.asarray(np.clip(np.minimum(far, 1) - np.maximum(near, 0), 0, None) * length)

    @property
    def volume(self) -> float:
        return 4 / 3 * math.pi * math.prod(self.semi_axes)


def sphere(center: Vector, radius: float) -> Ellipsoid:
    """A ball."""
    return Ellipsoid(center, (radius, radius, radius))


@dataclass(frozen=True)
class Box(_Placed):
    """A cuboid; `semi_axes` are half its edges. A slab is a flat one."""

    def level(self, points: ArrayLike) -> Floats:
        return np.asarray(np.abs(self.local(points)).max(-1))

    def chord(self, source: ArrayLike, pixel: ArrayLike) -> Floats:
        a, d, length = _segment(self, source, pixel)
        near, far = _slabs(a, d)
        return np.asarray(np.clip(np.minimum(far, 1) - np.maximum(near, 0), 0, None) * length)

    @property
    def volume(self) -> float:
        return 8 * math.prod(self.semi_axes)


def _slabs(a: Floats, d: Floats) -> tuple[Floats, Floats]:
    """Where the rays enter and leave `|x| <= 1` in every coordinate (Kay and Kajiya 1986)."""
    still = np.abs(d) < 1e-15
    step = np.where(still, 1.0, d)
    one, two = (-1 - a) / step, (1 - a) / step
    inside = np.abs(a) <= 1
    near = np.where(still, np.where(inside, -np.inf, np.inf), np.minimum(one, two))
    far = np.where(still, np.where(inside, np.inf, -np.inf), np.maximum(one, two))
    return near.max(-1), far.min(-1)


@dataclass(frozen=True)
class Cylinder(_Placed):
    """An elliptic cylinder; the third semi-axis is half its height."""

    def level(self, points: ArrayLike) -> Floats:
        p = self.local(points)
        return np.asarray(np.maximum(np.linalg.norm(p[..., :2], axis=-1), np.abs(p[..., 2])))

    def chord(self, source: ArrayLike, pixel: ArrayLike) -> Floats:
        a, d, length = _segment(self, source, pixel)
        near, far = _quadratic(a[..., :2], d[..., :2])
        low, high = _slabs(a[..., 2:], d[..., 2:])
        near = np.maximum(np.maximum(near, low), 0)
        far = np.minimum(np.minimum(far, high), 1)
        return np.asarray(np.clip(far - near, 0, None) * length)

    @property
    def volume(self) -> float:
        return 2 * math.pi * math.prod(self.semi_axes)


@dataclass(frozen=True)
class Gaussian(_Placed):
    """A smooth bump `exp(-r^2 / 2)`; `semi_axes` are its standard deviations in mm."""

    def density(self, points: ArrayLike) -> Floats:
        return np.asarray(np.exp(-0.5 * self.level(points) ** 2))

    def varies(self, points: ArrayLike, reach: float) -> NDArray[np.bool_]:
        # Beyond six standard deviations the bump is below any int16.
        return np.asarray(self.level(points) <= 6 + reach / min(self.semi_axes))

    def chord(self, source: ArrayLike, pixel: ArrayLike) -> Floats:
        a, d, length = _segment(self, source, pixel)
        speed = np.maximum(np.linalg.norm(d, axis=-1), 1e-300)
        at = (a * d).sum(-1) / speed
        nearest = a - (at / speed)[..., None] * d
        along = _normal_integral(at, at + speed)
        return np.asarray(np.exp(-0.5 * (nearest * nearest).sum(-1)) * along / speed * length)

    @property
    def volume(self) -> float:
        return math.sqrt(2 * math.pi) ** 3 * math.prod(self.semi_axes)


def _normal_integral(low: Floats, high: Floats) -> Floats:
    """Integral of `exp(-t^2 / 2)` from low to high."""
    error_function = np.vectorize(math.erf, otypes=[np.float64])
    root = math.sqrt(2)
    return np.asarray(
        math.sqrt(math.pi / 2) * (error_function(high / root) - error_function(low / root))
    )


def impulse(
    shape: tuple[int, int, int],
    index: tuple[int, int, int],
    *,
    affine: ArrayLike | None = None,
    hu: int = 1000,
    background: int = -1000,
) -> Volume:
    """One voxel of `hu` at array index `(z, y, x)` in `background`.

    Raises
    ------
    VolumeError
        When the index lies outside `shape`.
    """
    if any(not 0 <= i < n for i, n in zip(index, shape, strict=True)):
        raise VolumeError(f"impulse: index {index} lies outside a volume of shape {shape}")
    voxels = np.full(shape, background, dtype=np.int16)
    voxels[index] = hu
    return Volume(
        hu=voxels, affine=np.eye(4) if affine is None else np.asarray(affine), name="impulse"
    )


def voxelize(
    shapes: Shape | Sequence[Shape],
    shape: tuple[int, int, int],
    affine: ArrayLike,
    *,
    hu: float | Sequence[float] = 1000.0,
    background: float = -1000.0,
    samples: int = 8,
) -> Volume:
    """A CT volume of shapes in air; each voxel holds its mean.

    Parameters
    ----------
    shapes
        One or several. Where they overlap their excess over the background adds, as their chords
        do.
    shape
        `(nz, ny, nx)`.
    affine
        `(4, 4)`, voxel index (x, y, z) to LPS mm; any rotation, right-handed.
    hu
        HU of the full material, one for all or one for each.
    background
        HU around the shapes.
    samples
        Sub-samples along each axis in voxels where the shape is not uniform.

    Returns
    -------
    Volume, rounded to whole HU.
    """
    matrix = np.asarray(affine, dtype=np.float64)
    several: list[Shape] = list(shapes) if isinstance(shapes, Sequence) else [shapes]
    values = np.broadcast_to(np.asarray(hu, dtype=np.float64), len(several))
    total = np.full(shape, background, dtype=np.float64)
    for each, value in zip(several, values, strict=True):
        total += (value - background) * _coverage(each, shape, matrix, samples)
    return Volume.from_stored(total, matrix, name="shapes")


def _coverage(each: Shape, shape: tuple[int, int, int], affine: Floats, samples: int) -> Floats:
    """`(nz, ny, nx)` mean density of each voxel."""
    nz, ny, nx = shape
    half_diagonal = 0.5 * float(np.linalg.norm(np.abs(affine[:3, :3]).sum(1)))
    sub = (np.arange(samples) + 0.5) / samples - 0.5
    fine = np.stack(np.meshgrid(sub, sub, sub, indexing="ij"), axis=-1).reshape(-1, 3)
    fine = fine @ affine[:3, :3].T
    mean = np.empty(shape)
    y, x = np.meshgrid(np.arange(ny), np.arange(nx), indexing="ij")
    for k in range(nz):  # slice by slice to bound the memory
        index = np.stack([x, y, np.full_like(x, k)], axis=-1)
        points = index @ affine[:3, :3].T + affine[:3, 3]
        mean[k] = each.density(points)
        mixed = np.argwhere(each.varies(points, half_diagonal))
        for start in range(0, len(mixed), 2048):
            part = tuple(mixed[start : start + 2048].T)
            mean[k][part] = each.density(points[part][:, None, :] + fine).mean(axis=1)
    return mean
