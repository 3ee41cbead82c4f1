"""The quantities that vary between radiographs: their names, ranges, units and what they change.

This table is the only one: draws, policies, records and docs/randomisation.md follow from it.
"""

# ruff: noqa: RUF009 - what is called for defaults makes dataclass fields
from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Generic, TypeVar

from drr.checks import Recorded
from drr.errors import PolicyError

__all__ = ["CHANCES", "CORNERS", "LIMITS", "Quantities"]

CORNERS = ("top left", "top right", "bottom left", "bottom right")

N = TypeVar("N")
C = TypeVar("C")
P = TypeVar("P")


def _quantity(low: float, high: float, unit: str, change: str) -> Any:
    """A quantity that is a number within limits, beyond which the picture would be none."""
    metadata = {"limits": (low, high), "unit": unit, "change": change}
    return field(default=None, metadata=metadata)


def _chance(change: str) -> Any:
    """A quantity that is there or not."""
    return field(default=False, metadata={"chance": True, "change": change})


def _place(change: str) -> Any:
    """A quantity that is one of `CORNERS`."""
    return field(default=CORNERS[0], metadata={"change": change})


@dataclass(frozen=True, kw_only=True, repr=False)
class Quantities(Recorded, Generic[N, C, P]):
    """Everything that can vary, in the order in which it is applied; None and False change nothing.

    A `Draw` has numbers, truth values and a corner here, a `Policy` ranges, probabilities and
    corners. Every line gives the least and the greatest number, the unit and what it changes.
    """

    error = PolicyError

    # Before the projection.
    lung: N | None = _quantity(0, 20, "factor", "attenuation up to -500 HU")
    fat: N | None = _quantity(0, 20, "factor", "attenuation at -100 HU")
    soft_tissue: N | None = _quantity(0, 20, "factor", "attenuation from 20 to 120 HU")
    bone: N | None = _quantity(0, 20, "factor", "attenuation from 300 HU on")
    energy_kev: N | None = _quantity(20, 150, "keV", "photon energy of a monoenergetic beam")
    kvp: N | None = _quantity(60, 150, "kV", "tube voltage of a polychromatic beam")
    primary_angle: N | None = _quantity(-360, 360, "degrees", "added to the view's")
    secondary_angle: N | None = _quantity(-90, 90, "degrees", "added to the view's")
    detector_rotation: N | None = _quantity(-360, 360, "degrees", "added to the view's")
    offset_across: N | None = _quantity(-2000, 2000, "mm", "added to the view's")
    offset_down: N | None = _quantity(-2000, 2000, "mm", "added to the view's")
    source_to_detector_distance: N | None = _quantity(100, 10000, "mm", "instead of the view's")
    source_to_detector_factor: N | None = _quantity(
        0.1, 10, "factor", "the view's distance; the tube moves, patient and detector stay"
    )
    source_to_isocenter_distance: N | None = _quantity(100, 10000, "mm", "instead of the view's")
    field_size: N | None = _quantity(0.05, 20, "factor", "the detector's height and width")
    receptor_air_kerma: N | None = _quantity(
        0.001, 1000, "microgray", "air kerma at the detector, for its quantum noise"
    )
    # On the picture.
    clip: N | None = _quantity(
        0, 49.9, "%", "this percentile at either end is stretched to black and white"
    )
    flip: C = _chance("left for right")
    rotation: N | None = _quantity(-360, 360, "degrees", "anticlockwise; black comes in")
    scale: N | None = _quantity(0.05, 20, "factor", "size of what the picture shows")
    shear_across: N | None = _quantity(-44, 44, "degrees", "affine map about the middle")
    shear_down: N | None = _quantity(-44, 44, "degrees", "affine map about the middle")
    shift_across: N | None = _quantity(-1, 1, "of the width", "to the right")
    shift_down: N | None = _quantity(-1, 1, "of the height", "down")
    blur: N | None = _quantity(
        0, 20, "1/512 of the longer side", "sigma of a Gaussian; mirrored at the border"
    )
    # Over 1.36/512 of the longer side: the customary 3 x 3 kernel in a picture of 256 pixels.
    sharpness: N | None = _quantity(0, 10, "factor", "0 smooths, 1 changes nothing, above sharpens")
    clahe: N | None = _quantity(1, 256, "mean bins", "clip limit; 8 x 8 tiles, 256 bins")
    gamma: N | None = _quantity(0.05, 20, "exponent", "grey levels; above 1 darkens")
    gain: N | None = _quantity(0, 10, "factor", "grey levels, about black")
    contrast: N | None = _quantity(0, 10, "factor", "grey levels, about the picture's mean")
    brightness: N | None = _quantity(-1, 1, "of white", "added to grey levels")
    noise: N | None = _quantity(
        0, 1, "of white", "sigma of Gaussian noise, whose seed is the draw's `noise_seed`"
    )
    border_top: N | None = _quantity(0, 0.9, "of the height", "covered edge")
    border_bottom: N | None = _quantity(0, 0.9, "of the height", "covered edge")
    border_left: N | None = _quantity(0, 0.9, "of the width", "covered edge")
    border_right: N | None = _quantity(0, 0.9, "of the width", "covered edge")
    border_white: C = _chance("covered edges are white, not black")
    marker_height: N | None = _quantity(0.02, 0.5, "of the height", "a side marker, this high")
    marker_corner: P = _place("the corner that the marker is next to")
    marker_across: N | None = _quantity(0, 1, "of the width", "the marker's distance from there")
    marker_down: N | None = _quantity(0, 1, "of the height", "the marker's distance from there")
    marker_grey: N | None = _quantity(0, 1, "of white", "the marker's grey level")
    invert: C = _chance("white for black, last of all")


LIMITS: dict[str, tuple[float, float]] = {
    f.name: f.metadata["limits"] for f in fields(Quantities) if "limits" in f.metadata
}
"""What every number may be; beyond it the picture would be none."""

CHANCES = tuple(f.name for f in fields(Quantities) if "chance" in f.metadata)
"""Names of the quantities that are there or not."""
