"""How axial slices lie whose Image Orientation (Patient) was removed, where nothing is left open.

Rows of an axial slice run to the patient's left or right, columns to the back or front, and a
wrong choice mirrors the patient. Patient Position says which choices there are (a patient on the
side is none of them), and the first pixel's place says which it is: the gantry's centre, where
x and y are about 0, lies inside the reconstructed field, not a field's width beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from drr.io.dicom.elements import integer, text
from drr.io.dicom.groups import words
from drr.io.dicom.numbers import number

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["axial_cosines", "missing_place"]

# Whether rows run towards +x and columns towards +y: as a scanner shows the patient from the feet,
# or turned so that the picture is as for a supine patient, head first.
SIGNS = {
    "HFS": ((1, 1),),
    "HFP": ((-1, -1), (1, 1)),
    "FFS": ((-1, 1), (1, 1)),
    "FFP": ((1, -1), (1, 1)),
}

CLEAR = 0.5
"""The field's centre lies nearer than so much of the distance that it would have otherwise."""

SIDEWAYS = 0.1
"""mm by which slices may lie beside each other and still be perpendicular to z."""

TURNED = {"LOCALIZER", "MPR", "REFORMATTED", "PROJECTION IMAGE", "CSA MPR", "CORONAL", "SAGITTAL"}
"""Image Types of slices that may lie in any plane."""


def axial_cosines(
    datasets: Sequence[Dataset], *, assumed: bool = False
) -> tuple[NDArray[np.float64], str] | None:
    """`(6,)` Image Orientation (Patient) that slices without one have, and the note that says so.

    None where the headers leave a choice, or contradict it; `assumed` makes the choice.
    """
    if assumed:
        return np.array([1.0, 0, 0, 0, 1, 0]), (
            "ImageOrientationPatient is missing; the slices were taken as axial with rows towards "
            "the patient's left and columns towards the back, as the caller said."
        )
    first = datasets[0]
    stance = text(first, "PatientPosition").upper()
    if stance not in SIGNS or not all(_may_be_axial(each, first) for each in datasets):
        return None
    positions = np.array([_position(each) for each in datasets])
    if np.abs(positions[:, :2] - positions[0, :2]).max() > SIDEWAYS:
        return None
    spacing = [number(value) or 0.0 for value in words(first.get("PixelSpacing"))]
    half = np.array([integer(first, "Columns") - 1, integer(first, "Rows") - 1]) / 2
    half *= [spacing[-1], spacing[0]]
    centres = {sign: np.abs(positions[0, :2] + half * sign) for sign in SIGNS[stance]}
    chosen = min(centres, key=lambda sign: float(centres[sign].sum()))
    others = np.abs(positions[0, :2] - half * chosen)
    if not (centres[chosen] < CLEAR * others).all() or _contradicts(first, chosen):
        return None
    left, back = chosen
    towards = ("left" if left > 0 else "right", "back" if back > 0 else "front")
    return np.array([left, 0, 0, 0, back, 0], np.float64), (
        "ImageOrientationPatient is missing; the slices were taken as axial with rows towards the "
        f"patient's {towards[0]} and columns towards the {towards[1]}, as patient position "
        f"{stance} and the place of their first pixel have it."
    )


def missing_place(datasets: Sequence[Dataset]) -> str:
    """What is missing to place slices, and what to do."""
    if any("ImagePositionPatient" in dataset for dataset in datasets):
        return (
            "no slice of the series has a position and orientation: ImageOrientationPatient is "
            "missing, and patient position and first pixels do not settle it; a guess "
            "might mirror the patient, so read it with assume_axial=True (--assume-axial) only if "
            "rows run to the patient's left and columns to the back"
        )
    return (
        "no slice of the series has a position and orientation; SliceLocation does not tell which "
        "end is the head, so bring files that kept ImagePositionPatient"
    )


def _may_be_axial(dataset: Dataset, first: Dataset) -> bool:
    alike = ("PatientPosition", "PixelSpacing", "Rows", "Columns", "PatientOrientation")
    return (
        not TURNED.intersection(words(dataset.get("ImageType")))
        and not number(dataset.get("GantryDetectorTilt"))
        and all(text(dataset, keyword) == text(first, keyword) for keyword in alike)
        and _position(dataset) is not None
    )


def _position(dataset: Dataset) -> list[float] | None:
    values = [number(value) for value in words(dataset.get("ImagePositionPatient"))]
    found = [value for value in values if value is not None]
    return found if len(found) == len(values) == 3 else None


def _contradicts(dataset: Dataset, signs: tuple[int, int]) -> bool:
    """Whether Patient Orientation says otherwise (the letters of a row's and a column's end)."""
    said = [word for word in words(dataset.get("PatientOrientation")) if word]
    expected = ["L" if signs[0] > 0 else "R", "P" if signs[1] > 0 else "A"]
    return bool(said) and [word[0] for word in said] != expected
