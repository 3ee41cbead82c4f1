"""Painting simple solids into a CT volume with soft, partial-volume edges.

An anatomy is a table of primitives, one row each, painted in order: tapered tubes with an
elliptical cross-section (ribs, vessels) and superellipsoids (organs, vertebral bodies). Only the
voxels in a primitive's box are touched. All lengths are mm in the phantom's own frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drr.kernels.cpu.compiler.jit import jit

__all__ = ["Grid", "ellipsoid", "hollow", "paint", "smooth_path", "tube"]

Rows = NDArray[np.float64]

# Columns of a primitive: kind, HU, label, then its shape.
WIDTH = 20
TUBE, ELLIPSOID = 0, 1
# Beyond any radius: a tube's end that is a half-ball.
ROUND = 1e3


@dataclass(frozen=True)
class Grid:
    """A box of voxels: shape (nz, ny, nx), spacing and centre of voxel 0 along x, y, z in mm."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]

    @classmethod
    def over(
        cls, shape: tuple[int, int, int], low: tuple[float, ...], high: tuple[float, ...]
    ) -> Grid:
        """Fill the box from `low` to `high` (outer faces, x, y, z)."""
        counts = shape[::-1]
        dx, dy, dz = ((top - bottom) / n for bottom, top, n in zip(low, high, counts, strict=True))
        return cls(shape, (dx, dy, dz), (low[0] + dx / 2, low[1] + dy / 2, low[2] + dz / 2))

    @property
    def voxel(self) -> float:
        """Edge in mm of a cube of a voxel's volume: the width of a partial-volume edge."""
        return math.prod(self.spacing) ** (1 / 3)

    def axes(self) -> tuple[Rows, Rows, Rows]:
        """Voxel centres along x, y and z."""
        nz, ny, nx = self.shape
        x, y, z = (
            np.asarray(start + step * np.arange(n), dtype=np.float64)
            for start, step, n in zip(self.origin, self.spacing, (nx, ny, nz), strict=True)
        )
        return x, y, z

    def slab(self, start: int, stop: int) -> Grid:
        """Slices `start` to `stop` of this grid."""
        _, ny, nx = self.shape
        x, y, z = self.origin
        return Grid((stop - start, ny, nx), self.spacing, (x, y, z + start * self.spacing[2]))


def tube(
    points: ArrayLike,
    radius: ArrayLike,
    *,
    hu: float,
    label: int = 0,
    normal: ArrayLike | None = None,
    height: ArrayLike | None = None,
) -> Rows:
    """Rows of a tube along a polyline.

    Parameters
    ----------
    points
        `(n, 3)` mm.
    radius
        Half-thickness in mm, one or `(n,)`.
    normal
        `(3,)` or `(n, 3)` direction in which `radius` counts; with `height`, the half-thickness
        across it, the cross-section becomes an ellipse.
    hu, label
        What it is made of; label 0 leaves the label map alone.
    """
    points = np.asarray(points, dtype=np.float64)
    n = len(points)
    thick = np.broadcast_to(np.asarray(radius, dtype=np.float64), n)
    high = thick if height is None else np.broadcast_to(np.asarray(height, dtype=np.float64), n)
    across = np.broadcast_to((0.0, 0.0, 1.0) if normal is None else np.asarray(normal), (n, 3))
    rows = np.zeros((n - 1, WIDTH))
    rows[:, 0], rows[:, 1], rows[:, 2] = TUBE, hu, label
    rows[:, 3:6], rows[:, 6:9] = points[:-1], points[1:]
    middle = across[:-1] + across[1:]
    rows[:, 9:12] = middle / np.linalg.norm(middle, axis=1, keepdims=True)
    rows[:, 12], rows[:, 13] = thick[:-1], thick[1:]
    rows[:, 14], rows[:, 15] = high[:-1], high[1:]
    # Ends are round. Between segments each reaches on just far enough to close the bend's outer
    # side: a soft edge painted twice would be too dense.
    step = np.diff(points, axis=0)
    along = step / np.maximum(np.linalg.norm(step, axis=1, keepdims=True), 1e-9)
    cosine = np.clip((along[:-1] * along[1:]).sum(1), -0.5, 1)
    bend = np.sqrt((1 - cosine) / (1 + cosine)) * np.maximum(thick, high)[1:-1]
    rows[:, 16:18] = ROUND
    rows[1:, 16] = rows[:-1, 17] = bend
    return rows


def ellipsoid(
    center: ArrayLike,
    semi_axes: ArrayLike,
    *,
    hu: float,
    label: int = 0,
    axes: ArrayLike | None = None,
    exponent: float = 2.0,
) -> Rows:
    """One row: a superellipsoid `(x^2 + y^2)^(p/2) + |z|^p <= 1` along its own axes.

    Parameters
    ----------
    center, semi_axes
        `(3,)` mm.
    axes
        `(3, 3)` rows are the directions of the three semi-axes; the patient's when not given.
    exponent
        2 is an ellipsoid; larger values approach a cylinder along the third axis.
    """
    directions = np.eye(3) if axes is None else np.asarray(axes, dtype=np.float64)
    lengths = np.asarray(semi_axes, dtype=np.float64)
    row = np.zeros((1, WIDTH))
    row[0, :3] = ELLIPSOID, hu, label
    row[0, 3:6] = np.asarray(center)
    row[0, 6:15] = (directions / lengths[:, None]).ravel()
    row[0, 15] = exponent
    scaled = np.abs(directions * lengths[:, None])
    # A cylinder's box is never larger than the box of its enclosing cuboid.
    row[0, 16:19] = np.sqrt((scaled**2).sum(0)) if exponent == 2 else scaled.sum(0)
    return row


def hollow(rows: Rows, *, wall: float, hu: float) -> Rows:
    """The same solids followed by their insides: a shell of `wall` mm around `hu` marrow."""
    inner = rows.copy()
    inner[:, 1] = hu
    inner[:, 2] = 0
    tubes = inner[:, 0] == TUBE
    inner[tubes, 12:16] -= wall
    matrices = inner[~tubes, 6:15].reshape(-1, 3, 3)
    lengths = 1 / np.linalg.norm(matrices, axis=2, keepdims=True)
    inner[~tubes, 6:15] = (matrices * lengths / np.maximum(lengths - wall, 0.1)).reshape(-1, 9)
    room = np.ones(len(inner), dtype=bool)
    room[tubes] = inner[tubes, 12:16].min(axis=1) > 0.2
    return np.concatenate([rows, inner[room]])


def smooth_path(points: ArrayLike, count: int) -> Rows:
    """`(count, 3)` points of the Catmull-Rom spline through `points` (`(n, k)` in general)."""
    knots = np.asarray(points, dtype=np.float64)
    padded = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    at = np.linspace(0, len(knots) - 1, count)
    i = np.minimum(at.astype(int), len(knots) - 2)
    t = (at - i)[:, None]
    a, b, c, d = (padded[i + k] for k in range(4))
    return np.asarray(
        b + t / 2 * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    )


def paint(hu: NDArray[np.int16], labels: NDArray[np.uint8], grid: Grid, rows: Rows) -> None:
    """Paint primitives in order into `hu` and, where they cover half a voxel, into `labels`.

    Parameters
    ----------
    hu, labels
        `(nz, ny, nx)`, changed in place.
    grid
        Where these voxels lie, in the frame of `rows`.
    """
    _paint(hu, labels, np.array(grid.origin), np.array(grid.spacing), grid.voxel, rows)


@jit
def _paint(hu, labels, origin, spacing, voxel, rows):  # type: ignore[no-untyped-def]
    for index in range(rows.shape[0]):
        row = rows[index]
        if row[0] == TUBE:
            _paint_tube(hu, labels, origin, spacing, voxel, row)
        else:
            _paint_ellipsoid(hu, labels, origin, spacing, voxel, row)


@jit
def _range(low, high, origin, spacing, count):  # type: ignore[no-untyped-def]
    first = max(0, math.ceil((low - origin) / spacing))
    last = min(count, math.floor((high - origin) / spacing) + 1)
    return first, last


@jit
def _blend(hu, labels, z, y, x, cover, value, label):  # type: ignore[no-untyped-def]
    old = hu[z, y, x]
    hu[z, y, x] = math.floor(old + cover * (value - old) + 0.5)
    if label > 0 and cover >= 0.5:
        labels[z, y, x] = label


@jit
def _paint_tube(hu, labels, origin, spacing, voxel, row):  # type: ignore[no-untyped-def]
    nz, ny, nx = hu.shape
    value, label = row[1], int(row[2])
    ax, ay, az = row[3], row[4], row[5]
    ux, uy, uz = row[6] - ax, row[7] - ay, row[8] - az
    length2 = max(ux * ux + uy * uy + uz * uz, 1e-12)
    length = math.sqrt(length2)
    before, after = -row[16] / length, 1.0 + row[17] / length
    # Thinner than half a voxel: as thick as that, and fainter by the ratio, so that the mass
    # of a fine vessel does not depend on the grid.
    least = 0.5 * voxel
    reach = max(max(row[12], row[13]), max(row[14], row[15]), least) + 0.5 * voxel
    x0, x1 = _range(min(ax, row[6]) - reach, max(ax, row[6]) + reach, origin[0], spacing[0], nx)
    y0, y1 = _range(min(ay, row[7]) - reach, max(ay, row[7]) + reach, origin[1], spacing[1], ny)
    z0, z1 = _range(min(az, row[8]) - reach, max(az, row[8]) + reach, origin[2], spacing[2], nz)
    for z in range(z0, z1):
        pz = origin[2] + z * spacing[2] - az
        for y in range(y0, y1):
            py = origin[1] + y * spacing[1] - ay
            for x in range(x0, x1):
                px = origin[0] + x * spacing[0] - ax
                t = (px * ux + py * uy + pz * uz) / length2
                if t < before or t > after:
                    continue
                t = min(1.0, max(0.0, t))
                qx, qy, qz = px - t * ux, py - t * uy, pz - t * uz
                thick = row[12] + t * (row[13] - row[12])
                high = row[14] + t * (row[15] - row[14])
                a, b = max(thick, least), max(high, least)
                along = qx * row[9] + qy * row[10] + qz * row[11]
                n2 = along * along
                h2 = max(qx * qx + qy * qy + qz * qz - n2, 0.0)
                # First-order distance to the ellipse: (f - 1) / |grad f|.
                f = math.sqrt(n2 / (a * a) + h2 / (b * b))
                slope = math.sqrt(n2 / (a * a * a * a) + h2 / (b * b * b * b))
                distance = (f - 1.0) * f / slope if slope > 1e-12 else -min(a, b)
                cover = min(1.0, 0.5 - distance / voxel)
                if cover > 0.0:
                    cover *= (thick / a) * (high / b)
                    _blend(hu, labels, z, y, x, cover, value, label)


@jit
def _paint_ellipsoid(hu, labels, origin, spacing, voxel, row):  # type: ignore[no-untyped-def]
    nz, ny, nx = hu.shape
    value, label, p = row[1], int(row[2]), row[15]
    m = row[6:15]
    x0, x1 = _range(row[3] - row[16] - voxel, row[3] + row[16] + voxel, origin[0], spacing[0], nx)
    y0, y1 = _range(row[4] - row[17] - voxel, row[4] + row[17] + voxel, origin[1], spacing[1], ny)
    z0, z1 = _range(row[5] - row[18] - voxel, row[5] + row[18] + voxel, origin[2], spacing[2], nz)
    for z in range(z0, z1):
        pz = origin[2] + z * spacing[2] - row[5]
        for y in range(y0, y1):
            py = origin[1] + y * spacing[1] - row[4]
            for x in range(x0, x1):
                px = origin[0] + x * spacing[0] - row[3]
                a = m[0] * px + m[1] * py + m[2] * pz
                b = m[3] * px + m[4] * py + m[5] * pz
                c = m[6] * px + m[7] * py + m[8] * pz
                round2 = a * a + b * b
                if p == 2.0:
                    f = math.sqrt(round2 + c * c)
                    weight_round, weight_c = 1.0, 1.0
                else:
                    f = (round2 ** (0.5 * p) + abs(c) ** p) ** (1.0 / p)
                    weight_round = max(round2, 1e-12) ** (0.5 * p - 1.0)
                    weight_c = max(abs(c), 1e-6) ** (p - 2.0)
                # grad f = f^(1-p) M^T (w a, w b, v c); the distance is (f - 1) / |grad f|.
                ga, gb, gc = weight_round * a, weight_round * b, weight_c * c
                gx = m[0] * ga + m[3] * gb + m[6] * gc
                gy = m[1] * ga + m[4] * gb + m[7] * gc
                gz = m[2] * ga + m[5] * gb + m[8] * gc
                slope = math.sqrt(gx * gx + gy * gy + gz * gz) * max(f, 1e-6) ** (1.0 - p)
                distance = (f - 1.0) / slope if slope > 1e-12 else -voxel
                cover = min(1.0, 0.5 - distance / voxel)
                if cover > 0.0:
                    _blend(hu, labels, z, y, x, cover, value, label)
