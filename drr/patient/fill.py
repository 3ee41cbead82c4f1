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

from drr.kernels.cpu.body.morphology import Mask, components
from drr.volume import Volume

__all__ = ["FILL_PARAMETERS", "PADDING", "Fill", "corner_regions", "find_fill", "smallest_region"]
__all__ += ["whole_slices", "with_notes", "without_fill"]

FILL_PARAMETERS = {
    "air_hu": -950,
    "smallest_region": 0.001,
    "smallest_region_voxels": 4,
    "corners": 2,
    "alike": 0.5,
    "most_values": 4,
}
"""Limits of `find_fill`, for records. Constant values up to `air_hu` are air and stay; regions are
fractions of a slice; where more than a fraction `alike` of neighbouring voxels are the same, the
volume has no noise to tell matter from fill by, as in a digital test object."""

PADDING = -2048
"""HU written where nothing was scanned: below all CT numbers, as scanners write it."""

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


def whole_slices(slices: NDArray[np.intp], mask: Mask) -> str:
    """Which slices a mask covers wholly, for notes: empty, or ` (all of slices 1 to 4, 9)`."""
    whole = slices[mask.all(axis=(1, 2))]
    if not whole.size:
        return ""
    runs = np.split(whole, np.flatnonzero(np.diff(whole) > 1) + 1)
    numbers = [f"{r[0] + 1}" if r.size == 1 else f"{r[0] + 1} to {r[-1] + 1}" for r in runs]
    return f" (all of slices {', '.join(numbers)} from the feet)"


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
    corners = _corners(hu)
    shared = (corners[:, :, None] == corners[:, None, :]).sum(axis=2) >= p["corners"]
    values, counts = np.unique(corners[shared & (corners > p["air_hu"])], return_counts=True)
    found = []
    for value in values[np.argsort(-counts, kind="stable")][: int(p["most_values"])].tolist():
        slices, mask = corner_regions(hu, value)
        if slices.size and _has_noise(hu, value):
            found.append(Fill(value, slices, mask))
    return tuple(found)


def corner_regions(hu: NDArray[np.int16], value: int) -> tuple[NDArray[np.intp], Mask]:
    """The regions of one value that hold corners of slices, where they hold two or more.

    Returns
    -------
    slices, mask
        `(n,)` slices with such regions, and their `(n, ny, nx)` voxels.
    """
    p = FILL_PARAMETERS
    slices = np.flatnonzero((_corners(hu) == value).sum(axis=1) >= p["corners"])
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
    enough = counts >= p["corners"]
    return slices[enough], parts.mask(chosen)[enough]


def smallest_region(hu: NDArray[np.int16]) -> float:
    """Voxels in a slice that are enough to be a region."""
    p = FILL_PARAMETERS
    return max(p["smallest_region_voxels"], p["smallest_region"] * hu[0].size)


def _corners(hu: NDArray[np.int16]) -> NDArray[np.int16]:
    """`(nz, 4)` values."""
    return np.asarray(hu[:, [0, 0, -1, -1], [0, -1, 0, -1]])


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
