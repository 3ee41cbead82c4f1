"""Collimation: the field of a chest film is fitted to the lungs, in whatever view it is taken.

The decision for what such a field would otherwise show of the scan's ends: the scan is extended
first (`extension_needed` says how far, `drr.patient.extension` does it), then collimated. Air that
is really there, beside the neck or in front of the chest, stays and is black, as on any film.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from drr.errors import GeometryError
from drr.geometry.geometry import Geometry
from drr.geometry.views import View
from drr.patient.anatomy import Anatomy
from drr.volume import Volume

__all__ = ["FRAMING_PARAMETERS", "extension_needed", "fit_to_lungs"]

FRAMING_PARAMETERS = {
    "above_mm": 35.0,
    "below_mm": 35.0,
    "beside_mm": 35.0,
    "around_body_mm": 15.0,
    "adult_lungs_mm": 240.0,
}
"""Margins of the collimated field around the lungs' shadow, mm at the detector, for records.

Positioning textbooks collimate the adult chest film from the vertebra prominens, 3 to 5 cm above
the apices, to below the costophrenic angles, and sideways to the skin (K. L. Bontrager and
J. Lampignano, "Textbook of Radiographic Positioning and Related Anatomy", chest: PA and lateral);
the European guidelines ask for the whole rib cage above the diaphragm (EUR 16260 EN, 1996).
Lungs less high than `adult_lungs_mm` get margins smaller in proportion."""

# How often the centre of the field is moved to where the shadow's middle is. Each time what is
# left shrinks to some 5 %, the spread of magnification within a chest.
_CENTERINGS = 5


def fit_to_lungs(
    view: View,
    anatomy: Anatomy,
    *,
    above: float = FRAMING_PARAMETERS["above_mm"],
    below: float = FRAMING_PARAMETERS["below_mm"],
    beside: float = FRAMING_PARAMETERS["beside_mm"],
) -> View:
    """Collimate a view to the lungs, as a radiographer does, and centre the central ray on them.

    The field is the smallest around the lungs' shadow and its margins that has the proportions of
    the view's `shape` (square by default), so that pixels are square. The size and the centre
    follow the outline of the lungs without jumps: views that turn by a little change by a little.
    Where no lungs were found the field is fitted to the body.

    Parameters
    ----------
    view
        Any view. Its `detector_size` is the largest field there can be; its `offset` moves the
        fitted field off its centre.
    anatomy
        Anatomy of the patient, from `drr.patient.anatomy.find_anatomy`.
    above, below, beside
        Margins around the lungs' shadow in mm at the detector, towards the image's top, bottom
        and both sides; scaled down for lungs that are smaller than an adult's.

    Returns
    -------
    The view with `detector_size` and `offset` changed; as any view, it is placed by `View.place`.

    Raises
    ------
    GeometryError
        When a margin is no length, or the view cannot be placed.
    """
    for name, margin in (("above", above), ("below", below), ("beside", beside)):
        if not isinstance(margin, int | float) or not 0 <= margin < math.inf:
            raise GeometryError(f"the margin {name} must be mm, zero or more, got {margin!r}")
    centred = replace(view, offset=(0.0, 0.0)) if any(view.offset) else view
    if anatomy.lungs is None or anatomy.lungs_box is None:
        points = anatomy.surface_points()
        above = below = beside = FRAMING_PARAMETERS["around_body_mm"]
    else:
        points = anatomy.lungs_points
        height = float(np.ptp(anatomy.lungs_box[:, 2]))
        scale = min(1.0, height / FRAMING_PARAMETERS["adult_lungs_mm"])
        above, below, beside = above * scale, below * scale, beside * scale
    geometry = centred.place(anatomy)
    across, down, magnification = _on_detector(geometry, points)
    before, after = np.array([beside, above]), np.array([beside, below])
    position = np.stack([across, down])
    (x, y), (width, height) = _spans(position, magnification, before, after)
    rows, columns = view.shape
    # mm from one pixel to the next, the same both ways.
    limit = min(view.detector_size[0] / rows, view.detector_size[1] / columns)
    pitch = min(max(height / rows, width / columns), limit)
    return replace(
        view,
        detector_size=(_tidy(pitch * rows), _tidy(pitch * columns)),
        offset=(_tidy(x + view.offset[0]), _tidy(y + view.offset[1])),
    )


def extension_needed(geometry: Geometry, volume: Volume, anatomy: Anatomy) -> tuple[float, float]:
    """How far beyond the scan's ends the rays of a view run through where the body goes on.

    Parameters
    ----------
    geometry
        The view, from `View.place`.
    volume
        The scan, before it is extended.
    anatomy
        Anatomy of that volume. Without lungs nothing says that a chest goes on beyond it, and
        nothing is needed.

    Returns
    -------
    superior_mm, inferior_mm
        Along the volume's z axis, from the outer face of its last and first slice; zero where the
        scan covers the field.
    """
    if anatomy.lungs is None:
        return 0.0, 0.0
    lowest, highest = _reach(geometry, volume, anatomy)
    thickness = float(volume.spacing[2])
    return (
        max(0.0, (highest - (volume.shape[0] - 0.5)) * thickness),
        max(0.0, (-0.5 - lowest) * thickness),
    )


def _reach(geometry: Geometry, volume: Volume, anatomy: Anatomy) -> tuple[float, float]:
    """Lowest and highest voxel index z of rays within the body's extent along x and y.

    Rays in the middle of the field end nowhere that those at its border do not enclose.
    """
    target = _border(geometry)
    if geometry.source is None:
        far = 2.0 * float(np.ptp(np.vstack([volume.corners, target]), axis=0).sum())
        start, target = (
            target - far * geometry.central_ray,
            target + far * geometry.central_ray,
        )
    else:
        start = np.array([geometry.source])
    to_voxel = volume.world_to_voxel
    start, target = (p @ to_voxel[:3, :3].T + to_voxel[:3, 3] for p in (start, target))
    step = target - start
    faces = []
    for axis in (0, 1):
        block = np.flatnonzero(anatomy.footprint.any(axis=axis))
        faces.append(np.array([block[0], block[-1] + 1]) * anatomy.factors[2 - axis] - 0.5)
    # By axis (x and y), face and ray: how far along the ray it meets the face.
    along = step.T[:2]
    along = np.where(np.abs(along) < 1e-9, 1e-9, along)
    hits = (np.array(faces)[:, :, None] - start.T[:2, None]) / along[:, None]
    enter = hits.min(axis=1).max(axis=0, initial=0.0)
    leave = hits.max(axis=1).min(axis=0, initial=1.0)
    hit = enter < leave
    if not hit.any():
        return 0.0, 0.0
    z, rise = np.broadcast_to(start[..., 2], hit.shape)[hit], step[hit, 2]
    ends = np.concatenate([z + enter[hit] * rise, z + leave[hit] * rise])
    return float(ends.min()), float(ends.max())


def _border(geometry: Geometry, steps: int = 64) -> NDArray[np.float64]:
    """`(4 * steps, 3)` points along the detector's border, LPS mm."""
    corners = geometry.detector_corners
    sides = corners[[1, 2, 3, 0]] - corners
    way = np.arange(steps)[:, None] / steps
    return np.asarray(corners[:, None] + way * sides[:, None]).reshape(-1, 3)


def _on_detector(
    geometry: Geometry, points: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Per point: mm along rows and columns from the central ray, and magnification."""
    relative = points - np.array(geometry.detector_center)
    across = relative @ (np.array(geometry.u) / geometry.column_pitch)
    down = relative @ (np.array(geometry.v) / geometry.row_pitch)
    if geometry.source is None:
        return across, down, np.ones(len(points))
    distance = geometry.source_to_detector_distance
    from_source = distance + relative @ geometry.central_ray
    # Points beside the source have no image; they would make the field infinite.
    from_source = np.maximum(from_source, 0.1 * distance)
    return across, down, distance / from_source


def _spans(
    position: NDArray[np.float64],
    magnification: NDArray[np.float64],
    before: NDArray[np.float64],
    after: NDArray[np.float64],
) -> tuple[list[float], list[float]]:
    """Where the central ray must go to be in the middle of the shadow, and the shadow's length.

    Of rows and columns at once: `position` is `(2, n)`, the margins `(2,)`. Source and detector
    move together, so what is nearer the source moves faster in the image.
    """
    mean = float(magnification.mean())
    center = np.zeros(2)
    for last in (False,) * _CENTERINGS + (True,):
        shadow = (position - center[:, None]) * magnification
        low, high = shadow.min(axis=1) - before, shadow.max(axis=1) + after
        if not last:
            center += (low + high) / 2 / mean
    return center.tolist(), (2 * np.maximum(-low, high)).tolist()


def _tidy(length: float) -> float:
    """To a hundredth of a mm, so that records are short and views of equal numbers are equal."""
    return round(length, 2) + 0.0
