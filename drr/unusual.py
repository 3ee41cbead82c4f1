"""Numbers beyond CT's: what was not scanned, metal beyond int16, and divisions that failed.

Float volumes hold NaN or -3.4e38 where nothing was scanned, unsigned ones 63536 or 65535; scales
for metal go beyond 32767 HU; metal correction leaves some infinite voxels. While voxels become
int16 they are marked and counted (`Unusual`); once all are there, `settle` decides by where they
lie what they are, and refuses what can be none of that.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from drr.errors import VolumeError
from drr.kernels.cpu.body.morphology import Mask, components
from drr.padding import PADDING, corner_regions, smallest_region, whole_slices

__all__ = ["Unusual", "settle"]

INT16 = np.iinfo(np.int16)

GREATEST_METAL = 100_000.0
"""HU; dense metal on extended scales reaches some 50,000."""

MOST_METAL = 0.002
"""Fraction of all voxels that may be metal beyond int16."""

MOST_FAILED = 1e-4
"""Fraction of all voxels inside the scan that may be NaN or infinite, or the few below."""

FEW_FAILED = 8

_LOST, _METAL = INT16.min, INT16.max  # how they are marked


@dataclass(eq=False)
class Unusual:
    """Voxels that are not finite or not int16, counted by any number of threads.

    Parameters
    ----------
    not_finite, far, metal
        Voxels that are NaN or infinite; that are below int16 or above any metal; and between.
    low, high
        HU of those that are finite, least and greatest.
    as_signed
        HU that the greatest would be had its unsigned number been meant as a negative one; None
        where stored numbers are not unsigned.
    """

    not_finite: int = 0
    far: int = 0
    metal: int = 0
    low: float = np.inf
    high: float = -np.inf
    as_signed: float | None = None
    _turn: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __bool__(self) -> bool:
        return bool(self.not_finite or self.far or self.metal)

    def mark(self, values: NDArray[np.float64], *, span: float | None = None) -> None:
        """Bring HU into int16's range, in place, and count those that were not.

        Parameters
        ----------
        values
            HU, rounded to whole numbers or not.
        span
            HU between a negative number and the unsigned one that it was written as.
        """
        finite = np.isfinite(values)
        far = finite & ((values < INT16.min - 0.5) | (values > GREATEST_METAL))
        metal = finite & ~far & (values >= INT16.max + 0.5)
        strange = values[far | metal]
        values[~finite | far] = _LOST
        values[metal] = _METAL
        with self._turn:
            self.not_finite += int(np.count_nonzero(~finite))
            self.far += int(np.count_nonzero(far))
            self.metal += int(np.count_nonzero(metal))
            if strange.size:
                self.low = min(self.low, float(strange.min()))
                self.high = max(self.high, float(strange.max()))
                self.as_signed = None if span is None else self.high - span


def settle(hu: NDArray[np.int16], found: Unusual, *, name: str) -> tuple[str, ...]:
    """Decide what marked voxels are and give them HU, in place.

    Not finite: padding where they reach the edge of a slice; else, if few, the mean of their
    neighbours. Far beyond any CT number: padding, where regions reach the edge of a slice. Beyond
    int16: padding where regions hold corners of a slice; else, if few, metal.

    Parameters
    ----------
    hu
        `(nz, ny, nx)` int16, C-contiguous, in the patient's order.

    Returns
    -------
    What was done, a sentence each.

    Raises
    ------
    VolumeError
        For voxels that can be neither.
    """
    notes: list[str] = []
    if found.metal:
        notes += _settle_metal(hu, found, name)
    if found.far:
        notes += _settle_far(hu, found, name)
    if found.not_finite:
        notes += _settle_not_finite(hu, name)
    return tuple(notes)


def _settle_metal(hu: NDArray[np.int16], found: Unusual, name: str) -> list[str]:
    notes = []
    slices, regions = corner_regions(hu, _METAL)
    padding = PADDING
    if found.as_signed is not None and INT16.min <= found.as_signed < -1024:
        padding = int(found.as_signed)
    _put(hu, slices, regions, padding)
    outside = int(np.count_nonzero(regions))
    if outside:
        notes.append(
            f"{outside} voxels outside the field of view hold up to {found.high:.6g} HU, beyond "
            f"int16; they were taken for padding and became {padding}."
        )
    metal = max(found.metal - outside, 0)
    if metal > MOST_METAL * hu.size:
        raise _beyond(name, found)
    if metal:
        notes.append(
            f"{metal} voxels of up to {found.high:.6g} HU, metal, became {INT16.max}, the most "
            "that is kept."
        )
    return notes


def _settle_far(hu: NDArray[np.int16], found: Unusual, name: str) -> list[str]:
    parts = components(hu == _LOST, planes=True)
    padding = parts.at_edge() & (parts.sizes >= smallest_region(hu))
    outside = int(parts.sizes[padding].sum())
    # What is left over may not be finite, but must not be a number of this kind.
    if outside < found.far or int(parts.sizes[~padding].sum()) > found.not_finite:
        raise _beyond(name, found)
    hu[parts.mask(padding)] = PADDING
    return [
        f"{outside} voxels at the edge of the field of view hold numbers such as {found.low:.6g}; "
        f"they were taken for padding and became {PADDING} HU."
    ]


def _settle_not_finite(hu: NDArray[np.int16], name: str) -> list[str]:
    parts = components(hu == _LOST, planes=True)
    at_edge = parts.at_edge()
    outside, inside = int(parts.sizes[at_edge].sum()), int(parts.sizes[~at_edge].sum())
    if outside == hu.size:
        raise VolumeError(f"{name}: all voxels are NaN or infinite; write the volume again")
    if inside > max(FEW_FAILED, MOST_FAILED * hu.size):
        raise VolumeError(
            f"{name}: {inside} voxels inside the scan are NaN or infinite; "
            "replace them (air is -1000) first"
        )
    notes = []
    if outside:
        mask = parts.mask(at_edge)
        hu[mask] = PADDING
        notes.append(
            f"{outside} voxels at the edge of the field of view"
            f"{whole_slices(np.arange(len(hu)), mask)} are NaN or infinite; they were taken for "
            f"padding and became {PADDING} HU."
        )
    if inside:
        _heal(hu, parts.mask(~at_edge))
        notes.append(
            f"{inside} voxels inside the scan were NaN or infinite; they became the mean of their "
            "neighbours."
        )
    return notes


def _heal(hu: NDArray[np.int16], failed: Mask) -> None:
    """Voxels become the mean of what is around them, from the outside of a group inwards."""
    places = np.argwhere(failed)
    while places.size:
        left, means = [], []
        for z, y, x in places:
            around = tuple(slice(max(n - 1, 0), n + 2) for n in (z, y, x))
            good = hu[around][~failed[around]]
            if good.size:
                means.append(((z, y, x), round(float(good.mean()))))
            else:
                left.append((z, y, x))
        for place, mean in means:
            hu[place] = mean
            failed[place] = False
        if not means:
            break
        places = np.array(left)


def _put(hu: NDArray[np.int16], slices: NDArray[np.intp], regions: Mask, value: int) -> None:
    for place, mask in zip(slices, regions, strict=True):
        hu[place][mask] = value


def _beyond(name: str, found: Unusual) -> VolumeError:
    return VolumeError(
        f"{name}: values from {found.low:.6g} to {found.high:.6g} do not fit int16, so they are "
        "not HU; check the rescale slope and intercept"
    )
