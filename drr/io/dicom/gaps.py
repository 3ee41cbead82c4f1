"""Distances between slices: which are even, which are uneven, and which show that some are missing.

`drr.io.dicom.stack` states the rules.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from drr.errors import ReadError

__all__ = ["check_gaps", "even_places", "resampled_places"]

REGULAR = 0.1
WIDEST = 1.5
NARROWEST = 0.5

QUANTA = (1.0, 0.5, 0.1, 0.01)
"""mm to which archives round positions."""

SMALL_QUANTUM = 0.25
LARGEST_QUANTUM = 0.85
"""Of the spacing: a small one is always plausible, a larger one where no instance number is
skipped, since positions 0, 1, 2, 4 may also be those of slices of which one is missing."""

FINEST = 16
"""At most so many times as many slices are made of unevenly spaced ones."""

BLOCK = 3
ALIKE = 0.1
"""So many gaps in a row that differ by less than this, relatively, are a block."""


def even_places(
    along: NDArray[np.float64], numbers: NDArray[np.int64] | None
) -> tuple[NDArray[np.float64] | None, tuple[str, ...]]:
    """Evenly spaced places that slices are at, and a note where rounding hides them; else None.

    Parameters
    ----------
    along
        `(n,)` mm, ascending.
    numbers
        `(n,)` instance numbers; None where they are unknown.
    """
    count = len(along)
    ends = np.linspace(along[0], along[-1], count)
    spacing = (along[-1] - along[0]) / (count - 1)
    if np.abs(along - ends).max() <= REGULAR * spacing:
        return ends, ()
    quantum = next((q for q in QUANTA if _are_multiples(along, q)), None)
    if quantum is None or quantum > LARGEST_QUANTUM * spacing:
        return None, ()
    consecutive = numbers is not None and (np.abs(np.diff(numbers)) == 1).all()
    if quantum > SMALL_QUANTUM * spacing and not consecutive:
        return None, ()
    start, slope = np.polynomial.polynomial.polyfit(np.arange(count), along, 1)
    places = start + slope * np.arange(count)
    gaps = np.diff(along)
    if np.abs(along - places).max() > 0.75 * quantum or np.ptp(gaps) > 1.01 * quantum:
        return None, ()
    return places, (
        f"Positions are rounded to {quantum:g} mm; the {count} slices were taken as evenly "
        f"{slope:.4g} mm apart.",
    )


def check_gaps(
    along: NDArray[np.float64],
    numbers: NDArray[np.int64] | None,
    *,
    labels: Sequence[str],
    name: str,
) -> None:
    """Refuse places between which slices are missing or acquisitions overlap.

    Parameters
    ----------
    along, numbers
        As for `even_places`.
    labels
        What messages call each slice.
    name
        What messages call the series.

    Raises
    ------
    ReadError
        With the gaps that say so.
    """
    gaps = np.diff(along)
    low, high = _usual(gaps)
    wide = np.flatnonzero((gaps > WIDEST * high) | _skips(gaps, low, numbers))
    if wide.size:
        usual = float(np.median(gaps))
        count = int(sum(max(round(gaps[k] / low[k]) - 1, 1) for k in wide))
        where = "; ".join(
            f"{gaps[k]:.4g} mm between {labels[k]} and {labels[k + 1]}" for k in wide[:3]
        )
        more = f" and {wide.size - 3} more gaps" if wide.size > 3 else ""
        several = ", or choose one acquisition (--acquisition)" if 4 * wide.size > len(gaps) else ""
        raise ReadError(
            f"{name}: about {count} slice{'s are' if count > 1 else ' is'} missing: {where}{more}, "
            f"where {usual:.4g} mm is usual; bring the complete series{several}"
        )
    narrow = np.flatnonzero(gaps < NARROWEST * low)
    if narrow.size:
        k = int(narrow[0])
        raise ReadError(
            f"{name}: slices overlap: {labels[k]} and {labels[k + 1]} are {gaps[k]:.4g} mm apart "
            f"where {low[k]:.4g} mm is usual; choose one acquisition of this series (--acquisition)"
        )


def resampled_places(
    along: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[str, ...]]:
    """Even places for unevenly spaced slices, what to sample there, and a note.

    As many as there are slices, or, of blocks with different spacings, as fine as the finest.
    """
    gaps = np.diff(along)
    blocks = _blocks(gaps)
    extent = along[-1] - along[0]
    spacing = extent / len(gaps)
    if blocks:
        finest = min(usual for _, _, usual in blocks)
        spacing = min(spacing, max(finest, spacing / FINEST))
    count = round(extent / spacing) + 1
    even = np.linspace(along[0], along[-1], count)
    note = (
        f"Slice spacing varies from {gaps.min():.4g} to {gaps.max():.4g} mm; {len(along)} "
        f"slices were resampled linearly to {count}, {even[1] - even[0]:.4g} mm apart."
    )
    return even, np.interp(even, along, np.arange(len(along))), (note,)


def _are_multiples(along: NDArray[np.float64], quantum: float) -> bool:
    return bool(np.abs(along / quantum - np.rint(along / quantum)).max() < 1e-4)


def _blocks(gaps: NDArray[np.float64]) -> list[tuple[int, int, float]]:
    """Start, stop and median of every run of gaps that are alike."""
    found = []
    start = 0
    while start < len(gaps):
        stop = start + 1
        while stop < len(gaps) and abs(gaps[stop] - gaps[start]) <= ALIKE * gaps[start]:
            stop += 1
        if stop - start >= BLOCK:
            found.append((start, stop, float(np.median(gaps[start:stop]))))
        start = stop
    return found


def _usual(gaps: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For every gap the least and the largest that are usual at its place."""
    blocks = _blocks(gaps)
    if not blocks:
        usual = np.full(len(gaps), np.median(gaps))
        return usual, usual
    starts, stops, medians = (np.array(column) for column in zip(*blocks, strict=True))
    places = np.arange(len(gaps))
    # Of a gap in a block both are that block; elsewhere, the blocks on either side.
    before = np.searchsorted(starts, places, "right") - 1
    after = np.searchsorted(stops, places, "right")
    before, after = np.maximum(before, 0), np.minimum(after, len(blocks) - 1)
    beside = medians[[before, after]]
    return beside.min(axis=0), beside.max(axis=0)


def _skips(
    gaps: NDArray[np.float64], low: NDArray[np.float64], numbers: NDArray[np.int64] | None
) -> NDArray[np.bool_]:
    """Wider gaps than the finest block's over which instance numbers run ahead as well."""
    nothing = np.zeros(len(gaps), np.bool_)
    if numbers is None:
        return nothing
    steps = np.diff(numbers)
    if not ((steps > 0).all() or (steps < 0).all()):
        return nothing
    fine = np.abs(steps[gaps <= WIDEST * low.min()])
    return np.asarray((gaps > WIDEST * low.min()) & (np.abs(steps) > WIDEST * np.median(fine)))
