"""Whether a geometry makes a radiograph of this patient, or a blank or incomplete one."""

from __future__ import annotations

import itertools
import math
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drr.errors import GeometryError
from drr.geometry.geometry import Geometry, project_point

__all__ = ["Body", "check_geometry"]


class Body(Protocol):
    """What placing a view needs to know of a patient; `drr.patient.anatomy.Anatomy` is one."""

    @property
    def thorax_center(self) -> Any:
        """`(3,)` LPS mm of the point that the central ray aims at."""

    def support(self, direction: ArrayLike) -> float:
        """Largest dot product, in mm, of any point of the body with a `(3,)` unit vector."""

    def contains(self, point: ArrayLike) -> bool:
        """Whether a `(3,)` LPS point lies inside the body."""


def check_geometry(
    geometry: Geometry, body: Body, *, allow_detector_inside_body: bool = False
) -> None:
    """Refuse a geometry whose image would be blank or would lack a part of the patient.

    Parameters
    ----------
    geometry
        Any geometry, from a view or from explicit vectors.
    body
        The patient.
    allow_detector_inside_body
        Accept that what lies beyond the detector's plane is missing from the image.

    Raises
    ------
    GeometryError
        When the source is inside the body; the body is behind the source, behind the detector
        or beside the rays; or a cone beam's detector cuts the body.
    """
    center = np.array(geometry.detector_center)
    toward = geometry.normal / math.hypot(*geometry.normal.tolist())
    toward = toward * math.copysign(1.0, float(toward @ geometry.central_ray))
    nearest, furthest = -body.support(-toward), body.support(toward)
    plane = float(center @ toward)
    if geometry.source is not None:
        source = np.array(geometry.source)
        if body.contains(source):
            further = max(float(source @ toward) - nearest, 0.0)
            distance = geometry.source_to_detector_distance + further
            raise GeometryError(
                f"the source {_mm(source)} lies inside the body; move it {math.ceil(further)} mm "
                "away from the detector, to a source-to-detector distance above "
                f"{math.ceil(distance)} mm"
            )
        if furthest <= float(source @ toward):
            raise GeometryError(
                f"the body lies behind the source {_mm(source)}, which looks away from it towards "
                f"the detector {_mm(center)}; move the source to the other side of the body"
            )
        if nearest >= plane:
            raise GeometryError(
                f"the detector {_mm(center)} is on the wrong side, between the source "
                f"{_mm(source)} and the body; move it beyond the body"
            )
    if _rays_miss(geometry, body):
        target = np.asarray(body.thorax_center, dtype=np.float64)
        beside = np.linalg.norm(np.cross(target - center, geometry.central_ray))
        raise GeometryError(
            f"no ray meets the body: the central ray onto the detector {_mm(center)} passes the "
            f"middle of the thorax {_mm(target)} at {beside:.0f} mm; aim it there or use a "
            "larger detector"
        )
    cut = furthest - plane
    if geometry.source is not None and cut > 1e-6 and not allow_detector_inside_body:
        raise GeometryError(
            f"the detector's plane cuts the body: the last {cut:.0f} mm would be missing from the "
            f"image; move the detector {math.ceil(cut)} mm further from the source"
        )


def _rays_miss(geometry: Geometry, body: Body) -> bool:
    """Whether a plane separates the bundle of rays from the body.

    Separating axis theorem with the axes for a pyramid (cone beam) or prism (parallel beam) and
    a box, and the body's own extent along each: it never takes a hit for a miss.
    """
    if _sees(geometry, np.asarray(body.thorax_center, dtype=np.float64)):
        return False  # the middle of the thorax is in no doubt, and nearly always seen
    corners = geometry.detector_corners
    if geometry.source is not None:
        bundle = np.vstack([corners, geometry.source])
        sides = corners - np.array(geometry.source)
    else:
        # A parallel beam runs through the whole patient, wherever the detector is.
        ray = geometry.central_ray
        along = corners @ ray
        reach = max(body.support(ray) - along.min(), body.support(-ray) + along.max(), 1.0)
        bundle = np.vstack([corners - reach * ray, corners + reach * ray])
        sides = ray[None]
    edges = np.vstack([geometry.u, geometry.v, sides, np.eye(3)])
    for first, second in itertools.combinations(edges, 2):
        axis = np.cross(first, second)
        length = np.linalg.norm(axis)
        if length < 1e-9 * np.linalg.norm(first) * np.linalg.norm(second):
            continue
        axis = axis / length
        along = bundle @ axis
        if along.min() > body.support(axis) or along.max() < -body.support(-axis):
            return True
    return False


def _sees(geometry: Geometry, point: NDArray[np.float64]) -> bool:
    """Whether a ray through the point ends on the detector, and not before it."""
    if geometry.source is not None:
        normal = geometry.normal
        near, far = (
            np.dot(np.subtract(geometry.detector_center, p), normal)
            for p in (point, geometry.source)
        )
        if not 0 < near / far < 1:
            return False
    row, column = project_point(geometry, tuple(point.tolist()))
    return -0.5 < row < geometry.rows - 0.5 and -0.5 < column < geometry.columns - 0.5


def _mm(point: NDArray[np.float64]) -> str:
    return f"({', '.join(f'{value:.0f}' for value in point)})"
