"""From slices at known positions to a regular grid.

Rules, all relative to the median distance between neighbouring slices along their normal:
gaps from half to one and a half of it are accepted; slices within a tenth of it of a regular grid
are taken as regular; anything else between is resampled linearly; a wider gap means missing
slices, a narrower one overlapping acquisitions, and both are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drr.errors import ReadError

__all__ = ["SAME_POSITION", "Stack", "distances", "resample", "stack_slices"]

SAME_POSITION = 0.01
"""mm along the normal; slices closer than this share a position."""

REGULAR = 0.1
WIDEST = 1.5
NARROWEST = 0.5
SIDEWAYS = 0.5
"""Fraction of a pixel by which a slice may lie beside the line through the others."""


@dataclass(frozen=True)
class Stack:
    """A regular grid through slices that are sorted along their normal.

    `origin` and `step` are `(3,)` LPS mm; `samples`, where the slices are unevenly spaced, gives
    for each slice of the grid its place among the sorted ones, counted from 0.
    """

    origin: NDArray[np.float64]
    step: NDArray[np.float64]
    samples: NDArray[np.float64] | None
    notes: tuple[str, ...]


def distances(positions: NDArray[np.float64], normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """`(n,)` mm of each `(n, 3)` position along the unit normal."""
    return np.asarray(positions @ normal)


def stack_slices(
    positions: NDArray[np.float64],
    normal: NDArray[np.float64],
    *,
    pixel: float,
    labels: Sequence[str],
    name: str,
) -> Stack:
    """Lay a regular grid through slices.

    Parameters
    ----------
    positions
        `(n, 3)` LPS mm of each slice's first pixel centre, sorted along the normal, no two alike.
    normal
        `(3,)` unit normal of all slices.
    pixel
        mm, the smaller pixel spacing.
    labels
        What messages call each slice.

    Raises
    ------
    ReadError
        For missing or overlapping slices and for slices shifted sideways.
    """
    along = distances(positions, normal)
    gaps = np.diff(along)
    usual = float(np.median(gaps))
    wide = np.flatnonzero(gaps > WIDEST * usual)
    if wide.size:
        count = int(sum(max(round(gaps[k] / usual) - 1, 1) for k in wide))
        where = "; ".join(
            f"{gaps[k]:.4g} mm between {labels[k]} and {labels[k + 1]}" for k in wide[:3]
        )
        more = f" and {wide.size - 3} more gaps" if wide.size > 3 else ""
        raise ReadError(
            f"{name}: about {count} slice{'s are' if count > 1 else ' is'} missing: {where}{more}, "
            f"where {usual:.4g} mm is usual; bring the complete series"
        )
    narrow = np.flatnonzero(gaps < NARROWEST * usual)
    if narrow.size:
        k = int(narrow[0])
        raise ReadError(
            f"{name}: slices overlap: {labels[k]} and {labels[k + 1]} are {gaps[k]:.4g} mm apart "
            f"where {usual:.4g} mm is usual; separate the acquisitions in this series"
        )
    fraction = (along - along[0]) / (along[-1] - along[0])
    line = positions[0] + fraction[:, None] * (positions[-1] - positions[0])
    beside = np.linalg.norm(positions - line, axis=1)
    if beside.max() > SIDEWAYS * pixel:
        k = int(beside.argmax())
        raise ReadError(
            f"{name}: {labels[k]} lies {beside[k]:.3g} mm beside the line through the other "
            "slices, as after a table shift; separate the acquisitions in this series"
        )
    notes: tuple[str, ...] = ()
    regular = np.linspace(along[0], along[-1], len(along))
    samples = None
    count = len(along)
    if np.abs(along - regular).max() > REGULAR * usual:
        count = round((along[-1] - along[0]) / usual) + 1
        regular = np.linspace(along[0], along[-1], count)
        samples = np.interp(regular, along, np.arange(len(along)))
        notes += (
            f"Slice spacing varies from {gaps.min():.4g} to {gaps.max():.4g} mm; {len(along)} "
            f"slices were resampled linearly to {count}, {regular[1] - regular[0]:.4g} mm apart.",
        )
    step = (positions[-1] - positions[0]) / (count - 1)
    tilt = float(np.degrees(np.arccos(np.clip(step @ normal / np.linalg.norm(step), -1, 1))))
    if tilt > 0.1:
        notes += (
            f"The slices are sheared by {tilt:.1f} degrees (gantry tilt); the affine keeps it.",
        )
    return Stack(positions[0], step, samples, notes)


def resample(slices: NDArray[np.int16], samples: NDArray[np.float64]) -> NDArray[np.int16]:
    """Linear interpolation between neighbouring slices, rounded to the nearest even."""
    out = np.empty((len(samples), *slices.shape[1:]), np.int16)
    for target, sample in zip(out, samples, strict=True):
        low = min(int(sample), len(slices) - 2)
        weight = sample - low
        target[...] = np.rint((1 - weight) * slices[low] + weight * slices[low + 1])
    return out
