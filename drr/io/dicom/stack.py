"""From slices at known positions to a regular grid.

Rules for the gaps between neighbouring slices, along their normal. The usual gap is the median,
or, where the spacing changes along the scan, that of the block of equally spaced slices which a
gap is in or beside:

- Slices within a tenth of the usual gap of a regular grid are taken as regular, and so are those
  whose positions are a regular grid's, rounded to 0.01, 0.1, 0.5 or 1 mm.
- Gaps from half to one and a half of the usual one are accepted, and the slices resampled
  linearly. A wider gap means missing slices, a narrower one overlapping acquisitions, and both
  are refused.

Sideways, slices lie on a straight line, which may be oblique to their normal (gantry tilt, or a
field of view that drifts evenly). Those that lie further than a tenth of a pixel beside the line
that most of them follow are moved back onto it, and refused where that is more than a quarter of
the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from drr.errors import ReadError
from drr.io.dicom.gaps import check_gaps, even_places, resampled_places

__all__ = [
    "SAME_POSITION",
    "Plane",
    "Stack",
    "move_sideways",
    "resample",
    "stack_slices",
]

SAME_POSITION = 0.01
"""mm along the normal; slices closer than this share a position."""

SIDEWAYS = 0.1
"""Pixels by which a slice may lie beside the line through the others."""

FURTHEST = 0.25
"""Of the picture; slices that lie further beside the others show something else."""

AIR = -1024
"""HU of what a slice does not show once it was moved."""


@dataclass(frozen=True)
class Plane:
    """What slices that are parallel to each other share.

    Parameters
    ----------
    along_row, along_column
        `(3,)` unit vectors towards the next column and the next row.
    spacing
        mm between rows, mm between columns.
    shape
        Rows, columns.
    """

    along_row: NDArray[np.float64]
    along_column: NDArray[np.float64]
    spacing: tuple[float, float]
    shape: tuple[int, int]

    @property
    def normal(self) -> NDArray[np.float64]:
        """`(3,)` unit vector of which slices come one after another."""
        normal = np.cross(self.along_row, self.along_column)
        return np.asarray(normal / np.linalg.norm(normal))

    def pixels(self, offsets: NDArray[np.float64]) -> NDArray[np.float64]:
        """`(n, 2)` rows and columns of `(n, 3)` mm."""
        axes = np.array([self.along_column / self.spacing[0], self.along_row / self.spacing[1]])
        return np.asarray(offsets @ axes.T)


@dataclass(frozen=True)
class Stack:
    """A regular grid through slices that are sorted along their normal.

    Parameters
    ----------
    origin, step
        `(3,)` LPS mm of the first slice's first pixel, and from each slice to the next.
    samples
        Where the slices are unevenly spaced: for each slice of the grid its place among the
        sorted ones, counted from 0.
    beside
        Where slices do not lie on a line: `(n, 2)` rows and columns by which each lies beside it.
    """

    origin: NDArray[np.float64]
    step: NDArray[np.float64]
    samples: NDArray[np.float64] | None = None
    beside: NDArray[np.float64] | None = None
    notes: tuple[str, ...] = field(default=())


def stack_slices(
    positions: NDArray[np.float64],
    plane: Plane,
    *,
    labels: Sequence[str],
    numbers: NDArray[np.int64] | None = None,
    name: str,
) -> Stack:
    """Lay a regular grid through slices.

    Parameters
    ----------
    positions
        `(n, 3)` LPS mm of each slice's first pixel centre, sorted along the normal, no two alike.
    plane
        Plane that every slice is parallel to.
    labels
        What messages call each slice.
    numbers
        `(n,)` instance numbers, which skip where slices are missing; None where they are unknown.

    Raises
    ------
    ReadError
        For missing or overlapping slices and for slices far beside the others.
    """
    normal = plane.normal
    along = positions @ normal
    notes: tuple[str, ...] = ()
    samples = None
    even, more = even_places(along, numbers)
    if even is None:
        check_gaps(along, numbers, labels=labels, name=name)
        even, samples, more = resampled_places(along)
    notes += more
    start, across, beside = _line(positions, along, plane)
    if beside is not None:
        furthest = np.abs(beside) / plane.shape
        if furthest.max() > FURTHEST:
            k = int(furthest.max(axis=1).argmax())
            away = np.linalg.norm(beside[k] * plane.spacing)
            raise ReadError(
                f"{name}: {labels[k]} lies {away:.3g} mm beside the line through the other "
                "slices, as after a table shift; choose one acquisition (--acquisition)"
            )
        moved = np.abs(beside).max(axis=1) > SIDEWAYS
        most = np.linalg.norm(beside * plane.spacing, axis=1).max()
        notes += (
            f"{moved.sum()} slices lie up to {most:.3g} mm beside the line through the others, as "
            "after a table shift; they were moved to where they lie in the patient.",
        )
    spacing = (even[-1] - even[0]) / (len(even) - 1)
    step = spacing * (normal + across)
    origin = start + even[0] * (normal + across)
    return Stack(origin, step, samples, beside, notes + _tilt_notes(step, normal))


def resample(slices: NDArray[np.int16], samples: NDArray[np.float64]) -> NDArray[np.int16]:
    """Linear interpolation between neighbouring slices, rounded to the nearest even."""
    out = np.empty((len(samples), *slices.shape[1:]), np.int16)
    for target, sample in zip(out, samples, strict=True):
        low = min(int(sample), len(slices) - 2)
        weight = sample - low
        target[...] = np.rint((1 - weight) * slices[low] + weight * slices[low + 1])
    return out


def move_sideways(slices: NDArray[np.int16], beside: NDArray[np.float64]) -> None:
    """Move each slice, in place, by `(n, 2)` rows and columns, fractions of them linearly.

    What lies outside a slice becomes air.
    """
    for picture, (rows, columns) in zip(slices, beside, strict=True):
        if max(abs(rows), abs(columns)) > 1e-3:
            moved = _moved(_moved(picture.astype(np.float64), rows).T, columns).T
            picture[...] = np.rint(moved)


def _moved(picture: NDArray[np.float64], by: float) -> NDArray[np.float64]:
    """The picture moved down its rows."""
    count = len(picture)
    wanted = np.arange(count) - by
    low = np.clip(np.floor(wanted).astype(int), 0, max(count - 2, 0))
    weight = np.clip(wanted - low, 0, 1)[:, None]
    moved = (1 - weight) * picture[low] + weight * picture[np.minimum(low + 1, count - 1)]
    # Half a pixel beyond the last centres is still the slice's own.
    moved[(wanted < -0.5) | (wanted > count - 0.5)] = AIR
    return np.asarray(moved)


def _line(
    positions: NDArray[np.float64], along: NDArray[np.float64], plane: Plane
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64] | None]:
    """The line that slices lie on: its point at 0 mm, mm sideways a mm, and who lies beside it."""
    normal = plane.normal
    sideways = positions - along[:, None] * normal
    across = (sideways[-1] - sideways[0]) / (along[-1] - along[0])
    start = sideways[0] - along[0] * across
    beside = plane.pixels(sideways - start - along[:, None] * across)
    if np.abs(beside).max() <= SIDEWAYS:
        return start, across, None
    # Positions that were rounded: the ends may be, by as much as any other.
    fit = np.polynomial.polynomial.polyfit(along, sideways, 1)
    beside = plane.pixels(sideways - fit[0] - along[:, None] * fit[1])
    if np.abs(beside).max() <= SIDEWAYS:
        return fit[0], fit[1], None
    # The line that most slices follow: medians, which a step from one half to the other leaves.
    reach = max(1, len(along) // 8)
    slopes = (sideways[reach:] - sideways[:-reach]) / (along[reach:] - along[:-reach])[:, None]
    across = np.median(slopes, axis=0)
    across -= (across @ normal) * normal
    # A value that slices have, so that of two halves one stays as it is.
    start = np.quantile(sideways - along[:, None] * across, 0.5, axis=0, method="lower")
    start -= (start @ normal) * normal
    return start, across, plane.pixels(sideways - start - along[:, None] * across)


def _tilt_notes(step: NDArray[np.float64], normal: NDArray[np.float64]) -> tuple[str, ...]:
    direction = step / np.linalg.norm(step)
    tilt = float(np.degrees(np.arccos(np.clip(direction @ normal, -1, 1))))
    if tilt <= 0.1:
        return ()
    # The table moves along the patient, and a tilted gantry does not.
    tilted = np.abs(direction).max() > np.abs(normal).max()
    cause = "gantry tilt" if tilted else "a field of view that drifts"
    return (f"The slices are sheared by {tilt:.1f} degrees ({cause}); the affine keeps it.",)
