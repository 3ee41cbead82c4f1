"""The camera of the DRR-RATE recipe, and where it stands in the patient.

`drr.published.recipe` has the recipe; `drr.kernels.cpu.projection.itk_camera` the same camera in
the published program's own arithmetic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from drr.errors import GeometryError, ProjectionError
from drr.geometry.geometry import Geometry, Vector, as_vector
from drr.published.recipe import DrrRate
from drr.volume import Volume

__all__ = ["Box", "Pose"]


@dataclass(frozen=True, eq=False)
class Box:
    """The volume as the program sees it: an array, its spacing, and no directions."""

    hu: NDArray[np.int16]
    spacing: NDArray[np.float64]
    to_patient: NDArray[np.float64]  # (4, 4), mm from the box's corner to LPS mm

    @classmethod
    def of(cls, volume: Volume, order: str) -> Box:
        """The box of a volume in `stored` or `patient` order."""
        if not isinstance(volume, Volume):
            raise ProjectionError(
                f"DRR-RATE needs a Volume (from drr.read), got {type(volume).__name__}"
            )
        axes, flips = (0, 1, 2), (False, False, False)
        hu = volume.hu
        if order == "stored":
            axes, flips, hu = volume.stored_axes, volume.stored_flips, volume.stored_order()
        spacing, to_patient = np.empty(3), np.eye(4)
        for axis, (stored_axis, flip) in enumerate(zip(axes, flips, strict=True)):
            # Array axis a runs along index 2 - a.
            column, stored = volume.affine[:3, 2 - axis], 2 - stored_axis
            spacing[stored] = np.linalg.norm(column)
            to_patient[:3, stored] = (-column if flip else column) / spacing[stored]
            edge = volume.shape[axis] - 0.5 if flip else -0.5
            to_patient[:3, 3] += edge * column
        to_patient[:3, 3] += volume.affine[:3, 3]
        return cls(hu, spacing, to_patient)

    @property
    def size(self) -> NDArray[np.float64]:
        """`(3,)` mm, fastest index first."""
        return np.array(self.hu.shape[::-1]) * self.spacing


@dataclass(frozen=True, eq=False)
class Pose:
    """The camera against the box: source, forward, across and up in box mm, and how far it goes.

    `planes` is the detector's distance in units of the published plane's.
    """

    source: NDArray[np.float64]
    forward: NDArray[np.float64]
    across: NDArray[np.float64]
    up: NDArray[np.float64]
    planes: int

    @classmethod
    def of(cls, box: Box, recipe: DrrRate, rotation: Vector, name: str) -> Pose:
        """Turn and move the box's middle before the camera, as the recipe says.

        Raises
        ------
        GeometryError
            When any part of the box is level with the source or behind it.
        """
        # The recipe turns the box; seen from the box the camera turns the other way, so its axes
        # are the rows of the rotation.
        across, forward, up = _rotation_matrix(rotation)
        distance = recipe.source_to_isocenter_distance
        shift = np.array(recipe.translation) + np.array([0.0, distance, 0.0])
        half = box.size / 2
        source = half - (shift[0] * across + shift[1] * forward + shift[2] * up)
        reach = float(np.abs(forward) @ half)
        nearest, furthest = shift[1] - reach, shift[1] + reach
        if nearest <= 0:
            raise GeometryError(
                f"{name}: the source lies inside the scan or level with it, {-nearest:.0f} mm "
                f"behind its nearest corner; the box measures {_mm(box.size)}, so raise "
                "source_to_isocenter_distance or the translation along y, or correct the spacing"
            )
        return cls(source, forward, across, up, max(1, math.ceil(furthest / distance)))

    def geometry(self, box: Box, recipe: DrrRate) -> Geometry:
        """The same rays in the patient, ending beyond the scan."""
        turn, far = box.to_patient[:3, :3], float(self.planes)
        center = self.source + far * recipe.source_to_isocenter_distance * self.forward
        geometry = Geometry(
            source=as_vector(turn @ self.source + box.to_patient[:3, 3]),
            detector_center=as_vector(turn @ center + box.to_patient[:3, 3]),
            u=as_vector(turn @ self.across * (far * recipe.pitch[0])),
            v=as_vector(turn @ -self.up * (far * recipe.pitch[1])),
            shape=recipe.shape,
        )
        return replace(geometry, view_position=_view_position(geometry))


def _rotation_matrix(degrees: Vector) -> NDArray[np.float64]:
    """Rz Ry Rx; exact at quarter turns."""
    matrix = np.eye(3)
    for axis, angle in enumerate(degrees):
        whole, rest = divmod(angle, 90.0)
        cosine, sine = math.cos(math.radians(rest)), math.sin(math.radians(rest))
        for _ in range(int(whole) % 4):
            cosine, sine = -sine, cosine
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = cosine
        turn[a, b], turn[b, a] = -sine, sine
        matrix = turn @ matrix
    return matrix


def _view_position(geometry: Geometry) -> str:
    """DICOM's term for the side the beam leaves by, within 15 degrees; never LL."""
    primary, secondary = geometry.positioner_angles
    if abs(secondary) > 15:
        return ""
    for name, angle in (("PA", 0.0), ("AP", 180.0), ("RL", -90.0)):
        if abs((primary - angle + 180) % 360 - 180) <= 15:
            return name
    return ""


def _mm(values: NDArray[np.float64]) -> str:
    return " x ".join(f"{value:.0f}" for value in values) + " mm"
