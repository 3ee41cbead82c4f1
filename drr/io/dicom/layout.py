"""Where a pixel's value lies in its word, and what to make of headers that do not say or err.

A word has `BitsAllocated` bits, a value `BitsStored` of them. Whether the value is signed and which
bit is its highest is asked of the words where the header does not say it or says what DICOM has
retired; one answer serves all slices, and two possible answers are none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from drr.errors import ReadError
from drr.io.dicom.elements import integer
from drr.io.stored import INT16

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Evidence", "Layout", "settle"]

DENSE = 2000.0
"""HU that only metal and enamel exceed."""

SHARE_DENSE = 0.05
"""Of a slice's pixels, more than which are never that dense."""

BELOW_AIR = -1200.0
"""HU below air and its noise."""

SHARE_BELOW_AIR = 0.01


@dataclass(frozen=True)
class Layout:
    """How a header describes its words.

    Parameters
    ----------
    allocated, stored
        Bits of a word and of a value.
    high
        The bit of the word, from 0, that is the value's highest.
    signed
        Two's complement or not; None where the header does not say.
    """

    allocated: int
    stored: int
    high: int
    signed: bool | None

    @classmethod
    def of(cls, dataset: Dataset) -> Layout:
        allocated = integer(dataset, "BitsAllocated")
        stored = integer(dataset, "BitsStored", allocated)
        representation = integer(dataset, "PixelRepresentation", -1)
        return cls(
            allocated,
            stored,
            integer(dataset, "HighBit", stored - 1),
            bool(representation) if representation in (0, 1) else None,
        )

    @property
    def is_sure(self) -> bool:
        """Whether nothing has to be asked of the words."""
        return self.signed is not None and self.high == self.stored - 1

    @property
    def shift(self) -> int:
        """Bits of the word below the value."""
        return self.high + 1 - self.stored

    def words(self, decoded: NDArray[Any]) -> NDArray[Any]:
        """Words as unsigned numbers."""
        return decoded.view(f"{decoded.dtype.byteorder}u{decoded.dtype.itemsize}")


@dataclass(frozen=True)
class Evidence:
    """What one slice's words say about a layout that is not sure.

    Parameters
    ----------
    bits
        Those that are set in any word.
    low_bits
        Whether all words are values in their low bits.
    signed, unsigned
        Whether the slice could be a CT's if its values were.
    matters
        Whether the two differ.
    """

    bits: int
    low_bits: bool
    signed: bool
    unsigned: bool
    matters: bool

    @classmethod
    def of(cls, decoded: NDArray[Any], layout: Layout, slope: float, intercept: float) -> Evidence:
        words = layout.words(decoded).astype(np.int64)
        half, whole = 1 << (layout.stored - 1), 1 << layout.stored
        low = words
        if layout.signed:
            low = words - ((words >> (layout.allocated - 1)) << layout.allocated)
        least, most = (-half, half - 1) if layout.signed else (0, whole - 1)
        values = words & (whole - 1)
        upper = values[values >= half]
        hu = np.sort(slope * upper + intercept)
        below = hu - slope * whole
        return cls(
            bits=int(np.bitwise_or.reduce(words, axis=None)),
            low_bits=bool(least <= low.min() and low.max() <= most),
            signed=_is_air_or_more(below),
            unsigned=_is_bone_or_less(hu, words.size),
            matters=upper.size > 0,
        )


def settle(layout: Layout, evidence: Sequence[Evidence], *, name: str) -> tuple[Layout, list[str]]:
    """A layout that is sure, and notes on what was assumed.

    Parameters
    ----------
    layout
        Layout that is in doubt.
    evidence
        Evidence from all slices that have it.
    name
        What error messages call the input.

    Raises
    ------
    ReadError
        Where the words leave it open.
    """
    notes = []
    if layout.high != layout.stored - 1:
        bits = int(np.bitwise_or.reduce([found.bits for found in evidence]))
        low = all(found.low_bits for found in evidence)
        high = layout.shift > 0 and bits & ((1 << layout.shift) - 1) == 0
        if low == high or layout.signed is None:
            raise ReadError(
                f"{name}: HighBit is {layout.high} of {layout.stored} bits stored, and whether the "
                "values lie in the low or the high bits cannot be told; correct HighBit"
            )
        notes.append(
            f"HighBit is {layout.high} of {layout.stored} bits stored; by their values, the pixels "
            f"lie in the {'low' if low else 'high'} bits."
        )
        layout = replace(layout, high=layout.stored - 1) if low else layout
    if layout.signed is None:
        layout = replace(layout, signed=_is_signed(evidence, name))
        if any(found.matters for found in evidence):
            notes.append(
                "PixelRepresentation is missing; by their values, the pixels are "
                f"{'signed' if layout.signed else 'unsigned'}."
            )
    return layout, notes


def _is_signed(evidence: Sequence[Evidence], name: str) -> bool:
    found = [slice_ for slice_ in evidence if slice_.matters]
    signed = all(slice_.signed for slice_ in found)
    unsigned = all(slice_.unsigned for slice_ in found)
    if found and signed == unsigned:
        raise ReadError(
            f"{name}: PixelRepresentation is missing, and whether pixels are signed cannot be told "
            "from their values; set it to 0 (unsigned) or 1 (signed)"
        )
    return bool(found) and signed


def _is_bone_or_less(hu: NDArray[Any], pixels: int) -> bool:
    """Whether sorted HU are those of bone and a little metal."""
    if not hu.size:
        return True
    dense = hu.size - np.searchsorted(hu, DENSE, "right")
    return bool(dense <= SHARE_DENSE * pixels and hu[-1] <= INT16.max)


def _is_air_or_more(hu: NDArray[Any]) -> bool:
    """Whether sorted HU are those of air, lung and fat, or one value that pads."""
    if not hu.size or hu[0] == hu[-1]:
        return True
    return bool(np.searchsorted(hu, BELOW_AIR) <= SHARE_BELOW_AIR * hu.size)
