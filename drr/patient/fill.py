"""Fill: voxels that were never scanned and hold one exact value that is not air's.

Resamplers and croppers write 0 HU, water, where they have no data, some exports the greatest value
of their scale; both around the round field of view and in whole slices. Scanned matter has noise,
so that an exactly constant region at the corners of a slice is fill. What scanners themselves
write, at or below -1024 HU, is known to be padding everywhere and needs no search.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cpu.body.morphology import Mask
from drr.padding import CORNER_REGIONS, PADDING, corner_regions, corners, whole_slices
from drr.volume import Volume

__all__ = ["FILL_PARAMETERS", "Fill", "find_fill", "with_notes", "without_fill"]

FILL_PARAMETERS = {
    "air_hu": -950,
    **CORNER_REGIONS,
    "alike": 0.5,
    "most_values": 4,
}
"""Limits of `find_fill`, for records. Constant values up to `air_hu` are air and stay; regions are
fractions of a slice; where more than a fraction `alike` of neighbouring voxels are the same, the
volume has no noise to tell matter from fill by, as in a digital test object."""

_LEAST_PAIRS = 32  # neighbours without which nothing can be said of the noise


@dataclass(frozen=True, eq=False)
class Fill:
    """Where one value fills what was not scanned.

    Parameters
    ----------
    value
        HU.
    slices
        `(n,)` the slices that hold some.
    mask
        `(n, ny, nx)` bool, of these slices.
    """

    value: int
    slices: NDArray[np.intp]
    mask: Mask

    @property
    def note(self) -> str:
        """What there is, for people."""
        return (
            f"{np.count_nonzero(self.mask)} voxels at the edges"
            f"{whole_slices(self.slices, self.mask)} are exactly {self.value} HU, so nothing was "
            "scanned there"
        )


def without_fill(volume: Volume, found: tuple[Fill, ...] | None = None) -> Volume:
    """The volume with padding in place of fill, and notes; itself where there is none.

    Parameters
    ----------
    volume
        HU in the patient's frame.
    found
        Its fill, from `find_fill`; looked for by default.
    """
    found = find_fill(volume.hu) if found is None else found
    if not found:
        return volume
    hu = volume.hu.copy()
    for fill in found:
        for place, mask in zip(fill.slices, fill.mask, strict=True):
            hu[place][mask] = PADDING
    return with_notes(replace(volume, hu=hu), found, "it became air")


def with_notes(volume: Volume, found: tuple[Fill, ...], what: str) -> Volume:
    """The volume with notes on its fill and what was done about it."""
    if not found:
        return volume
    notes = (f"fill: {fill.note}; {what}" for fill in found)
    return replace(volume, notes=(*volume.notes, *notes))


def find_fill(hu: NDArray[np.int16]) -> tuple[Fill, ...]:
    """Find the fill of a `(nz, ny, nx)` volume; none in nearly all, which costs next to nothing.

    A region of one value counts where it holds two corners of a slice, itself or with others of
    that value: so metal at the edge of the field, at the top of its scale, does not.
    """
    p = FILL_PARAMETERS
    at = corners(hu)
    shared = (at[:, :, None] == at[:, None, :]).sum(axis=2) >= p["corners"]
    values, counts = np.unique(at[shared & (at > p["air_hu"])], return_counts=True)
    found = []
    for value in values[np.argsort(-counts, kind="stable")][: int(p["most_values"])].tolist():
        slices, mask = corner_regions(hu, value)
        if slices.size and _has_noise(hu, value):
            found.append(Fill(value, slices, mask))
    return tuple(found)


def _has_noise(hu: NDArray[np.int16], value: int) -> bool:
    """Whether neighbours differ where there is neither fill nor air."""
    nz, ny, _ = hu.shape
    sample = hu[:: max(1, nz // 32), :: max(1, ny // 64)]
    first, second = sample[..., :-1], sample[..., 1:]
    air = FILL_PARAMETERS["air_hu"]
    # Padding and the fill itself are constant by nature; other fill is told from its own value.
    matter = (first != value) & (second != value) & (first > air) & (second > air)
    pairs = np.count_nonzero(matter)
    alike = np.count_nonzero((first == second) & matter)
    return bool(pairs >= _LEAST_PAIRS and alike < FILL_PARAMETERS["alike"] * pairs)
