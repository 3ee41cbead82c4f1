"""What every reader shares: voxels as stored become int16 HU, once, without detours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.errors import ReadError, printable
from drr.io.packed.inflate import gibibytes
from drr.unusual import Unusual

__all__ = [
    "Stored",
    "check_grid",
    "check_size",
    "check_spacing",
    "millimetres",
    "rescale",
]

INT16 = np.iinfo(np.int16)

UNITS = {"m": 1000.0, "cm": 10.0, "mm": 1.0, "um": 0.001, "µm": 0.001, "micron": 0.001}
"""mm per unit of length, by the names NRRD and MetaImage use."""

LONGEST_AXIS = 1 << 24
"""Voxels along one axis beyond which its number is taken for damage."""

FARTHEST = 1e9
"""mm from the frame's origin; beyond it, coordinates no longer tell one voxel from the next."""

PLAUSIBLE_SPACING = (0.005, 100.0)
"""mm; outside it the unit of length, declared or not, is taken for an error."""


@dataclass(frozen=True)
class Stored:
    """A file's voxels and where they lie, in the file's own index order.

    Parameters
    ----------
    hu
        `(n2, n1, n0)` int16 HU, slowest index first.
    affine
        `(4, 4)`, index `(i0, i1, i2, 1)` to LPS mm; None where the file does not say, and then
        `no_affine` says what is missing.
    format
        The container's name, for people.
    notes, identifiers
        As in `drr.Volume`.
    digests
        As in `drr.io.voxels.Voxels`, of `hu`.
    not_hu
        What the file itself says its values are, as a clause, where that is not HU: `their
        rescale type is MGML (mg/ml of a material)`.
    """

    hu: NDArray[np.int16]
    affine: NDArray[np.float64] | None
    format: str
    no_affine: str = ""
    notes: tuple[str, ...] = ()
    identifiers: Mapping[str, str] = field(default_factory=dict)
    digests: tuple[bytes, ...] | None = None
    not_hu: str = ""


def check_grid(shape: Sequence[int], name: str) -> tuple[int, int, int]:
    """`(n2, n1, n0)` from sizes listed fastest first, or `ReadError` if it is not a volume."""
    sizes = [int(n) for n in shape]
    if any(n < 1 for n in sizes):
        raise ReadError(f"{name}: the header gives the size {sizes}; every axis needs a voxel")
    longest = max(sizes, default=0)
    if longest > LONGEST_AXIS:
        raise ReadError(
            f"{name}: the header gives an axis of {printable(longest, most=30)} voxels; the file "
            "is corrupt"
        )
    spatial, rest = sizes[:3], sizes[3:]
    if math.prod(rest) > 1:
        raise ReadError(
            f"{name}: the image has {len(sizes)} dimensions, {sizes}; a CT volume has three, "
            "so extract one frame first"
        )
    if len(spatial) < 3 or min(spatial) < 2:
        raise ReadError(
            f"{name}: the image of size {' x '.join(map(str, sizes))} is a single slice; "
            "a CT volume needs at least two voxels along each of three axes"
        )
    n0, n1, n2 = spatial
    return n2, n1, n0


def check_size(
    shape: Sequence[int], itemsize: int, name: str, limit: int, available: int | None = None
) -> None:
    """Refuse a header that promises more than `limit`, or more than the `available` bytes."""
    size = math.prod(int(n) for n in shape) * itemsize
    if max(size, math.prod(int(n) for n in shape) * 2) > limit:
        raise ReadError(
            f"{name}: its header promises {gibibytes(size)} of voxels, beyond the limit of "
            f"{gibibytes(limit)}; raise max_bytes if it really is that large"
        )
    if available is not None and available < size:
        raise ReadError(
            f"{name}: holds {max(available, 0)} of the {size} bytes of voxels its header promises, "
            "so it is truncated; copy or download it again"
        )


def rescale(
    stored: NDArray[Any],
    slope: float,
    intercept: float,
    *,
    out: NDArray[np.int16],
    name: str,
    found: Unusual | None = None,
) -> None:
    """`out = slope * stored + intercept`, rounded to the nearest even.

    Integers with an integer slope and intercept stay integers throughout.

    Parameters
    ----------
    found
        Collects what is not finite and what is beyond int16, for `drr.unusual.settle` to decide;
        without it that is refused.

    Raises
    ------
    ReadError
        For a slope or intercept that makes no HU, and without `found` for such values.
    """
    if slope == 0 or not (math.isfinite(slope) and math.isfinite(intercept)):
        raise ReadError(
            f"{name}: the rescale slope {slope:g} with intercept {intercept:g} makes no HU; "
            "repair the header first"
        )
    if stored.dtype.kind in "iub" and float(slope).is_integer() and float(intercept).is_integer():
        whole, offset = int(slope), int(intercept)
        ends = [whole * int(v) + offset for v in (stored.min(), stored.max())]
        if min(ends) >= INT16.min and max(ends) <= INT16.max:
            # The result fits, so arithmetic modulo 2^16 is exact, whatever the stored width.
            np.copyto(out, stored, casting="unsafe")
            if whole != 1:
                out *= _modulo(whole)
            if offset != 0:
                out += _modulo(offset)
            return
    values = stored.astype(np.float64)
    if slope != 1:
        values *= slope
    if intercept != 0:
        values += intercept
    low, high = values.min(), values.max()
    if not (low >= INT16.min - 0.5 and high < INT16.max + 0.5):  # NaN compares with nothing
        if found is None:
            raise ReadError(
                f"{name}: values from {low:.6g} to {high:.6g} do not fit int16, so they are not "
                "HU; check the rescale slope and intercept"
            )
        unsigned = stored.dtype.kind == "u"
        found.mark(values, span=slope * 2.0 ** (8 * stored.itemsize) if unsigned else None)
    np.copyto(out, np.rint(values, out=values), casting="unsafe")


def millimetres(
    affine: NDArray[np.float64], unit: str, name: str
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """An affine in `unit` as one in mm, and a note if that changed anything."""
    if unit == "mm":
        return affine, ()
    if unit not in UNITS:
        raise ReadError(
            f"{name}: lengths are in {unit!r}; mm are needed, so correct the header's unit"
        )
    scaled = affine.copy()
    scaled[:3] *= UNITS[unit]
    return scaled, (f"Lengths were converted from {unit} to mm.",)


def check_spacing(affine: NDArray[np.float64], name: str) -> None:
    """Refuse voxels far smaller or larger than a CT's: their lengths are not in mm."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    farthest = float(np.abs(affine[:3, 3]).max())
    if farthest > FARTHEST:
        raise ReadError(
            f"{name}: its first voxel lies {farthest:g} mm from the origin; correct the header"
        )
    low, high = PLAUSIBLE_SPACING
    if spacing.min() < low or spacing.max() > high:
        raise ReadError(
            f"{name}: voxels of {' x '.join(f'{s:g}' for s in spacing)} mm are not a CT's; "
            "correct the spacing in the header, or its unit of length"
        )


def _modulo(value: int) -> np.int16:
    wrapped: np.int16 = np.int16((value + 32768) % 65536 - 32768)
    return wrapped
