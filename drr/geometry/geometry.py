"""The geometry of one radiograph: where the source, the detector and its pixels are.

Everything a kernel needs and nothing else, in the patient's frame (LPS, mm). `drr.geometry.views`
makes geometries from the names radiographers use.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from drr.checks import Recorded, items, text
from drr.errors import GeometryError
from drr.geometry.figure import draw_geometry
from drr.kernels.rays import Rays, rays_in_voxels
from drr.sharing import kept_property

__all__ = ["Geometry", "Vector", "project_point"]

Vector = tuple[float, float, float]

# Coordinates further out than this (1000 km) are mistakes, and squares of them would overflow.
_FARTHEST = 1e9


@dataclass(frozen=True, kw_only=True)
class Geometry(Recorded):
    """Source, detector and pixels of one view; immutable, and `eval(repr(g)) == g`.

    Parameters
    ----------
    source
        `(3,)` LPS mm of the focal spot; None for a parallel beam.
    direction
        `(3,)` unit vector from tube to detector of a parallel beam; None for a cone beam.
    detector_center
        `(3,)` LPS mm of the middle of the detector.
    u, v
        `(3,)` mm from one pixel centre to the next along a row (towards the image's right) and
        down a column.
    shape
        Rows and columns.
    view_position
        DICOM View Position or a free name; empty when unnamed. Has no effect on the image.

    Raises
    ------
    GeometryError
        When the vectors cannot make an image: not finite, pixels of no area, a source in the
        detector plane, rays that run along the detector.
    """

    error = GeometryError

    source: Vector | None = None
    direction: Vector | None = None
    detector_center: Vector
    u: Vector
    v: Vector
    shape: tuple[int, int]
    view_position: str = ""

    def __post_init__(self) -> None:
        if (self.source is None) == (self.direction is None):
            raise GeometryError(
                "a geometry needs either a source (cone beam) or a direction (parallel beam), "
                f"not {'neither' if self.source is None else 'both'}"
            )
        for name in ("source", "direction", "detector_center", "u", "v"):
            value = getattr(self, name)
            if value is not None or name not in ("source", "direction"):
                self._set(**{name: _vector(name, value)})
        self._set(shape=check_shape("detector shape", self.shape))
        text("view_position", self.view_position, error=GeometryError)
        area = float(np.linalg.norm(self.normal))
        if area < 1e-12 * max(1.0, self.column_pitch * self.row_pitch):
            raise GeometryError(
                f"the pixel steps u={self.u} and v={self.v} span no area; "
                "give two non-zero vectors that are not parallel"
            )
        if self.direction is not None:
            length = math.hypot(*self.direction)
            if length < 1e-12:
                raise GeometryError("the beam direction (0, 0, 0) points nowhere")
            if abs(length - 1.0) > 1e-12:
                self._set(direction=tuple(value / length for value in self.direction))
        if abs(np.dot(self.central_ray, self.normal / area)) < 1e-3:
            raise GeometryError(
                "the central ray runs along the detector instead of onto it: "
                f"source-to-detector direction {self.central_ray.round(6).tolist()}, "
                f"detector normal {(self.normal / area).round(6).tolist()}"
            )

    @property
    def rows(self) -> int:
        return self.shape[0]

    @property
    def columns(self) -> int:
        return self.shape[1]

    @property
    def column_pitch(self) -> float:
        """mm between neighbouring columns (the length of `u`)."""
        return math.hypot(*self.u)

    @property
    def row_pitch(self) -> float:
        """mm between neighbouring rows (the length of `v`)."""
        return math.hypot(*self.v)

    @property
    def detector_size(self) -> tuple[float, float]:
        """Height and width in mm, outer edge to outer edge."""
        return self.rows * self.row_pitch, self.columns * self.column_pitch

    @property
    def detector_corners(self) -> NDArray[np.float64]:
        """`(4, 3)` LPS mm of the outer corners, clockwise from the image's top left."""
        across = np.array([-0.5, 0.5, 0.5, -0.5])[:, None] * self.columns * np.array(self.u)
        down = np.array([-0.5, -0.5, 0.5, 0.5])[:, None] * self.rows * np.array(self.v)
        return np.asarray(np.array(self.detector_center) + across + down)

    @kept_property
    def normal(self) -> NDArray[np.float64]:
        """`(3,)` u x v, not normalised."""
        return _read_only(_cross(self.u, self.v))

    @kept_property
    def central_ray(self) -> NDArray[np.float64]:
        """`(3,)` unit vector from the source to the middle of the detector."""
        if self.source is None:
            return _read_only(np.array(self.direction, dtype=np.float64))
        ray = np.subtract(self.detector_center, self.source)
        length = math.hypot(*ray.tolist())
        if length < 1e-9:
            raise GeometryError(
                f"the source {self.source} lies on the middle of the detector; move them apart"
            )
        return _read_only(ray / length)

    @kept_property
    def source_to_detector_distance(self) -> float:
        """mm along the detector's normal (DICOM 0018,1110); infinite for a parallel beam."""
        if self.source is None:
            return math.inf
        toward = float(np.dot(np.subtract(self.detector_center, self.source), self.normal))
        return abs(toward) / math.hypot(*self.normal.tolist())

    @property
    def viewed_from(self) -> Literal["detector", "tube"]:
        """From which side the image is seen: `detector` when u x v points to the source."""
        return "detector" if float(np.dot(self.normal, self.central_ray)) < 0 else "tube"

    @property
    def positioner_angles(self) -> tuple[float, float]:
        """Positioner primary and secondary angle in degrees (DICOM 0018,1510 and 0018,1511).

        Primary in (-180, 180], 0 for a beam along the body axis; secondary in [-90, 90].
        """
        # Adding 0.0 turns -0.0 into 0.0, so that AP is always 180 and never -180.
        x, y, z = (float(component) + 0.0 for component in self.central_ray)
        secondary = math.degrees(math.atan2(z, math.hypot(x, y)))
        primary = math.degrees(math.atan2(x, -y)) if math.hypot(x, y) > 1e-9 else 0.0
        return primary, secondary

    def pixel_centers(self) -> NDArray[np.float64]:
        """`(rows, columns, 3)` LPS mm of every pixel's centre."""
        down = np.arange(self.rows)[:, None, None] - (self.rows - 1) / 2
        across = np.arange(self.columns)[None, :, None] - (self.columns - 1) / 2
        return np.asarray(
            np.array(self.detector_center) + across * np.array(self.u) + down * np.array(self.v)
        )

    def rays(self, affine: NDArray[np.float64]) -> Rays:
        """The rays of all pixels in the index space of a volume, as the kernels take them.

        Parameters
        ----------
        affine
            `(4, 4)` voxel index (x, y, z) to LPS mm.
        """
        return rays_in_voxels(
            source=self.source,
            direction=self.direction,
            detector_center=self.detector_center,
            u=self.u,
            v=self.v,
            shape=self.shape,
            affine=affine,
        )

    def svg(self, volume: Any = None) -> str:
        """SVG of the set-up from the front, the left side and the feet; see
        `drr.geometry.figure`."""
        return draw_geometry(self, volume)

    def _repr_svg_(self) -> str:
        return self.svg()


def project_point(geometry: Geometry, point: Sequence[float]) -> tuple[float, float]:
    """Row and column, in pixels, where the ray through a point meets the detector.

    Parameters
    ----------
    geometry
        The view.
    point
        `(3,)` LPS mm.

    Returns
    -------
    row, column
        Fractional; whole numbers are pixel centres, so the detector spans -0.5 to rows - 0.5 and
        -0.5 to columns - 0.5. The plane goes on beyond that, and so do the numbers returned.

    Raises
    ------
    GeometryError
        When no ray of a cone beam runs through the point: it is level with or behind the source.
    """
    target = np.array(_vector("point", point))
    center, normal = np.array(geometry.detector_center), geometry.normal
    if geometry.source is None:
        start, ray = target, geometry.central_ray
    else:
        start = np.array(geometry.source)
        ray = target - start
    forward = float(np.dot(ray, normal)) * math.copysign(
        1.0, float(np.dot(geometry.central_ray, normal))
    )
    if forward <= 1e-12 * float(np.linalg.norm(normal)):
        raise GeometryError(
            f"the point {tuple(target.tolist())} is not in front of the source "
            f"{geometry.source}; only points between the source and infinity have an image"
        )
    hit = start - center + ray * (np.dot(center - start, normal) / np.dot(ray, normal))
    # Coordinates along u and v, which need be neither perpendicular nor of equal length.
    scale = np.dot(normal, normal)
    across = np.dot(_cross(hit.tolist(), geometry.v), normal) / scale
    down = np.dot(_cross(geometry.u, hit.tolist()), normal) / scale
    return float(down + (geometry.rows - 1) / 2), float(across + (geometry.columns - 1) / 2)


def as_vector(values: NDArray[np.float64]) -> Vector:
    """`(3,)` numbers as a tuple without negative zeros."""
    x, y, z = (float(value) + 0.0 for value in values)
    return x, y, z


def _cross(first: Sequence[float], second: Sequence[float]) -> NDArray[np.float64]:
    """Written out: `np.cross` takes fifty times as long, and views are placed by the dozen."""
    (a, b, c), (d, e, f) = first, second
    return np.array([b * f - c * e, c * d - a * f, a * e - b * d])


def _read_only(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """As what is kept must be."""
    vector.flags.writeable = False
    return vector


def _vector(name: str, value: Any) -> Vector:
    wanted = "three numbers in mm"
    try:
        # Text has digits, too: ("1", "2", "3") must not become (1, 2, 3).
        given = items(name, value, 3, error=GeometryError, wanted=wanted)
        if any(isinstance(component, str) for component in given):
            raise TypeError
        x, y, z = (float(component) for component in given)
    except (TypeError, ValueError, OverflowError):
        raise GeometryError(f"{name} must be {wanted}, got {value!r}") from None
    if not all(map(math.isfinite, (x, y, z))):
        raise GeometryError(f"{name} must be finite, got {value!r}")
    if max(abs(x), abs(y), abs(z)) > _FARTHEST:
        raise GeometryError(
            f"{name} must be in mm and within {_FARTHEST:g} mm of the origin, got {value!r}"
        )
    return x, y, z


def check_shape(name: str, value: Any) -> tuple[int, int]:
    """Rows and columns: two whole numbers above zero, of whatever type."""
    try:
        rows, columns = (int(n) for n in value)
        exact = (rows, columns) == tuple(value)
    except (TypeError, ValueError, OverflowError):
        exact = False
    if not exact or rows < 1 or columns < 1:
        raise GeometryError(f"{name} must be two whole numbers above zero, got {value!r}")
    return rows, columns
