"""Regions of one value at the corners of slices: voxels that no scanner measured."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cpu.body.morphology import Mask, components

__all__ = [
    "CORNER_REGIONS",
    "PADDING",
    "corner_regions",
    "corners",
    "smallest_region",
    "whole_slices",
]

PADDING = -2048
"""HU written where nothing was scanned: below all CT numbers, as scanners write it."""

CORNER_REGIONS = {"smallest_region": 0.001, "smallest_region_voxels": 4, "corners": 2}
"""Limits of `corner_regions`: the size of a region, as a fraction of its slice and in voxels, and
how many corners of a slice regions of one value hold."""


def whole_slices(slices: NDArray[np.intp], mask: Mask) -> str:
    """Which slices a mask covers wholly, for notes: empty, or ` (all of slices 1 to 4, 9)`."""
    whole = slices[mask.all(axis=(1, 2))]
    if not whole.size:
        return ""
    runs = np.split(whole, np.flatnonzero(np.diff(whole) > 1) + 1)
    numbers = [f"{r[0] + 1}" if r.size == 1 else f"{r[0] + 1} to {r[-1] + 1}" for r in runs]
    return f" (all of slices {', '.join(numbers)} from the feet)"


def corner_regions(hu: NDArray[np.int16], value: int) -> tuple[NDArray[np.intp], Mask]:
    """The regions of one value that hold corners of slices, where they hold two or more.

    Returns
    -------
    slices, mask
        `(n,)` slices with such regions, and their `(n, ny, nx)` voxels.
    """
    slices = np.flatnonzero((corners(hu) == value).sum(axis=1) >= CORNER_REGIONS["corners"])
    _, ny, nx = hu.shape
    parts = components(np.asarray(hu[slices] == value), planes=True)
    large = (parts.sizes >= smallest_region(hu))[parts.numbers]
    first, last = parts.rows % ny == 0, parts.rows % ny == ny - 1
    counts = np.zeros(slices.size, np.intp)
    chosen = np.zeros(parts.sizes.size, bool)
    for row in (first, last):
        for column in (parts.starts == 0, parts.stops == nx):
            runs = np.flatnonzero(row & column & large)
            np.add.at(counts, parts.rows[runs] // ny, 1)
            chosen[parts.numbers[runs]] = True
    enough = counts >= CORNER_REGIONS["corners"]
    return slices[enough], parts.mask(chosen)[enough]


def smallest_region(hu: NDArray[np.int16]) -> float:
    """Voxels in a slice that are enough to be a region."""
    p = CORNER_REGIONS
    return max(p["smallest_region_voxels"], p["smallest_region"] * hu[0].size)


def corners(hu: NDArray[np.int16]) -> NDArray[np.int16]:
    """`(nz, 4)` values."""
    return np.asarray(hu[:, [0, 0, -1, -1], [0, -1, 0, -1]])
