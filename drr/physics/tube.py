"""What the tube and its collimator do to the beam: heel effect and field border."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drr.geometry.geometry import Geometry
from drr.kernels.cpu.image.nodes import Nodes
from drr.physics.part import Effect, check_name, check_number, check_pair

__all__ = ["Collimation", "Heel"]

_ANODES = ("top", "bottom", "left", "right")

# 1/mm of tungsten at 60 keV: 3.713 cm^2/g (Hubbell and Seltzer, NISTIR 5632) times 19.3 g/cm^3.
_TUNGSTEN = 7.166


@dataclass(frozen=True, kw_only=True)
class Heel(Effect):
    """The anode's own shadow: the beam is weaker towards the anode.

    X-rays start below the anode's surface, at `depth` along the electrons' path, and leave it
    through depth cos(anode_angle) / sin(take-off angle) of tungsten; the take-off angle is the
    anode angle less how far the ray leans towards the anode (S. L. Fritz and W. H. Livingston,
    "A comparison of computed and measured heel effect for various target angles", Med. Phys. 9(2),
    1982). Intensities are relative to the central ray. The depth is fitted to spekpy's spectra at
    120 kVp, which tests/physics/test_detector.py repeats.

    Parameters
    ----------
    anode_angle
        Degrees between the anode's surface and the central ray, 6 to 45.
    anode
        The image's side at which the anode is: `top`, `bottom`, `left` or `right`. Chest tubes
        have it at the top, where the patient is thinner.
    depth
        mm, 0 to 0.05.
    """

    anode_angle: float = 12.0
    anode: str = "top"
    depth: float = 0.007

    def __post_init__(self) -> None:
        self._set(anode_angle=check_number("anode_angle", self.anode_angle, "degrees", 6, 45))
        self._set(depth=check_number("heel depth", self.depth, "mm", 0, 0.05))
        check_name("side for the anode", self.anode, _ANODES)

    def intensity(self, geometry: Geometry, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Intensity at points of the detector over that on the central ray.

        Parameters
        ----------
        geometry
            A cone beam.
        points
            `(..., 3)` LPS mm.

        Returns
        -------
        `(...)`; zero where the anode cuts the beam off.
        """
        central = geometry.central_ray
        sideways = {
            "top": np.negative(geometry.v),
            "bottom": np.array(geometry.v),
            "left": np.negative(geometry.u),
            "right": np.array(geometry.u),
        }[self.anode]
        sideways = sideways - central * np.dot(sideways, central)
        sideways /= np.linalg.norm(sideways)
        angle = math.radians(self.anode_angle)
        normal = math.sin(angle) * central - math.cos(angle) * sideways
        rays = points - np.array(geometry.source)
        sine = np.einsum("...i,i->...", rays, normal) / np.sqrt(np.sum(rays * rays, axis=-1))
        path = self.depth * math.cos(angle) / np.maximum(sine, 1e-9)
        central_path = self.depth * math.cos(angle) / math.sin(angle)
        intensity = np.exp(-_TUNGSTEN * np.minimum(path - central_path, 100.0))
        return np.where(sine > 0, intensity, 0.0)

    def nodes(self, geometry: Geometry) -> Nodes:
        """Intensity every 8 mm of the detector, as the kernels take it."""
        steps = [max(1, round(8.0 / p)) for p in (geometry.row_pitch, geometry.column_pitch)]
        down, across = (
            np.arange(-(-count // step) + 1) * step
            for count, step in zip(geometry.shape, steps, strict=True)
        )
        points = (
            np.array(geometry.detector_center)
            + (down - (geometry.rows - 1) / 2)[:, None, None] * np.array(geometry.v)
            + (across - (geometry.columns - 1) / 2)[None, :, None] * np.array(geometry.u)
        )
        return Nodes(
            values=self.intensity(geometry, points), first=(0, 0), step=(steps[0], steps[1])
        )


@dataclass(frozen=True, kw_only=True)
class Collimation(Effect):
    """A rectangular field with the focal spot's penumbra; beyond it only leakage and scatter.

    Parameters
    ----------
    size
        Height and width of the field at the detector, mm.
    center
        mm from the detector's middle along the image's rows (towards its right) and columns
        (down), as `View.offset`.
    leakage
        Fraction of the beam that passes the blades, up to 0.1.
    collimator_distance
        mm from the focal spot to the blades' edges. The penumbra is as wide as the focal spot
        times (source-to-detector distance / collimator distance - 1); a parallel beam or a point
        source has none.
    """

    size: tuple[float, float]
    center: tuple[float, float] = (0.0, 0.0)
    leakage: float = 0.001
    collimator_distance: float = 250.0

    def __post_init__(self) -> None:
        self._set(size=check_pair("collimation size", self.size, "mm", 0, 2000, above=True))
        self._set(center=check_pair("collimation center", self.center, "mm", -1000, 1000))
        self._set(leakage=check_number("collimation leakage", self.leakage, "", 0, 0.1))
        distance = check_number("collimator_distance", self.collimator_distance, "mm", 50, 1000)
        self._set(collimator_distance=distance)

    def penumbra(self, geometry: Geometry, focal_spot: float | None) -> float:
        """Full width in mm of the field's edge at the detector."""
        if geometry.source is None or not focal_spot:
            return 0.0
        magnified = geometry.source_to_detector_distance / self.collimator_distance - 1
        return focal_spot * max(0.0, magnified)

    def profiles(
        self, geometry: Geometry, focal_spot: float | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What passes the blades in every row and in every column; their product is the field.

        Mean over each pixel: a step smoothed by the penumbra, then by the pixel's own width.
        """
        penumbra = self.penumbra(geometry, focal_spot)
        across, down = self.center
        height, width = self.size
        rows, columns = (
            _opening(count, pitch, middle, size, penumbra)
            for count, pitch, middle, size in (
                (geometry.rows, geometry.row_pitch, down, height),
                (geometry.columns, geometry.column_pitch, across, width),
            )
        )
        # Either pair of blades lets the leakage through.
        return rows + (1 - rows) * self.leakage, columns + (1 - columns) * self.leakage


def _opening(
    count: int, pitch: float, middle: float, size: float, penumbra: float
) -> NDArray[np.float64]:
    position = np.asarray((np.arange(count) - (count - 1) / 2) * pitch - middle)
    return _edge(position + size / 2, pitch, penumbra) - _edge(position - size / 2, pitch, penumbra)


def _edge(x: NDArray[np.floating], pitch: float, penumbra: float) -> NDArray[np.float64]:
    """A unit step at zero convolved with two boxes, one pixel and one penumbra wide."""
    if penumbra < 1e-3 * pitch:
        return np.asarray(np.clip(x / pitch + 0.5, 0.0, 1.0), dtype=np.float64)
    total, difference = (penumbra + pitch) / 2, (penumbra - pitch) / 2
    terms = ((1, total), (-1, difference), (-1, -difference), (1, -total))
    twice = sum(sign * np.maximum(x + shift, 0.0) ** 2 for sign, shift in terms)
    return np.asarray(np.clip(twice / (2 * penumbra * pitch), 0.0, 1.0), dtype=np.float64)
