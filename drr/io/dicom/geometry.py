"""Which slices of a series share orientation, matrix and pixel spacing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from drr.errors import ReadError
from drr.io.dicom.slices import Frame

__all__ = ["one_geometry"]

STRAY_SLICES = 3
"""At most so many slices of another geometry are taken for unmarked localizers and left out."""

SAME_SPACING = 0.005
"""Relative; pixel spacings that differ by less are one, rounded (a reconstruction diameter of
350 mm that is kept in whole mm differs by 0.3 %)."""

OTHER_SPACING = 0.05
"""Relative; slices that differ by more show another field of view."""

SAME_DIRECTION = 2e-3
"""Of direction cosines: 0.1 degrees, which moves a voxel 250 mm off the middle by 0.5 mm."""

TURNED = 0.98
"""Cosine between normals (11 degrees); a localizer is turned further, or has another matrix."""


def one_geometry(path: Path, frames: list[Frame]) -> tuple[list[Frame], tuple[str, ...]]:
    """The slices that share orientation, matrix and pixel spacing, if nearly all do."""
    if not frames:
        raise ReadError(f"{path}: no slice of the series has a position and orientation")
    groups: list[list[Frame]] = []
    for frame in frames:
        group = next((group for group in groups if _match(group[0], frame)), None)
        if group is None:
            groups.append([frame])
        else:
            group.append(frame)
    groups.sort(key=len, reverse=True)
    stray = sum(len(group) for group in groups[1:])
    too_many = stray > min(STRAY_SLICES, len(groups[0]) // 4)
    if too_many or any(_nearly_match(groups[0][0], group[0]) for group in groups[1:]):
        parts = "; ".join(_describe(group) for group in groups[:4])
        raise ReadError(
            f"{path}: the series mixes {len(groups)} kinds of slices: {parts}; "
            "keep one kind in the folder"
        )
    chosen, notes = _one_spacing(groups[0])
    if stray:
        notes += (
            f"{stray} slices of another orientation or matrix, as localizers have, were left out.",
        )
    return chosen, notes


def _match(one: Frame, other: Frame) -> bool:
    """Whether two slices may belong to one grid."""
    return (
        one.shape == other.shape
        and np.allclose(one.spacing, other.spacing, rtol=SAME_SPACING, atol=0)
        and np.allclose(one.along_row, other.along_row, rtol=0, atol=SAME_DIRECTION)
        and np.allclose(one.along_column, other.along_column, rtol=0, atol=SAME_DIRECTION)
    )


def _nearly_match(one: Frame, other: Frame) -> bool:
    """Whether a slice is too much like the others to be a localizer."""
    return (
        one.shape == other.shape
        and np.allclose(one.spacing, other.spacing, rtol=OTHER_SPACING, atol=0)
        and abs(float(one.normal @ other.normal)) > TURNED
    )


def _one_spacing(frames: list[Frame]) -> tuple[list[Frame], tuple[str, ...]]:
    """Slices whose pixel spacing was rounded differently, with that of most of them."""
    usual = Counter(frame.spacing for frame in frames).most_common(1)[0][0]
    most = float(np.abs(np.array([frame.spacing for frame in frames]) / usual - 1).max())
    if most < 1e-6:
        return frames, ()
    return [replace(frame, spacing=usual) for frame in frames], (
        f"PixelSpacing differs by up to {100 * most:.2g} % between slices, as rounding leaves it; "
        f"the {usual[0]:.6g} x {usual[1]:.6g} mm of most slices were taken for all.",
    )


def _describe(group: list[Frame]) -> str:
    first = group[0]
    plane = ("sagittal", "coronal", "axial")[int(np.abs(first.normal).argmax())]
    rows, columns = first.shape
    return f"{len(group)} {plane} of {columns} x {rows} at {first.spacing[1]:.4g} mm"
