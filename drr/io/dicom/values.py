"""From decoded words to stored values.

Words hold more than their values: overlays, rubbish and the padding of scanners that wrote a
negative number into unsigned pixels. What can be told apart is; what could be a value is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from drr.errors import ReadError
from drr.io.dicom.layout import Layout

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["OVERLAYS", "Remark", "Words", "notes_on", "stored_values"]

LOWEST_PADDING = -5000
"""Of stored values: scanners pad with -1, -1000, -1024, -2000, -2048, -3024."""

SHARE_ODD = 0.05
"""Of a slice's pixels, more than which do not lie beyond the bits that are declared."""

OVERLAYS = tuple((group << 16 | 0x0100, group << 16 | 0x0102) for group in range(0x6000, 0x6020, 2))
"""Tags of bits allocated and bit position, of every overlay."""

RUBBISH, WIDER = "rubbish", "wider"
_NOTES = {
    RUBBISH: "Bits above those that are stored hold something else in {slices} slices; "
    "they do not count.",
    WIDER: "{pixels} pixels of {slices} slices lie beyond the bits that are said to be stored; "
    "they were taken as they are.",
}


@dataclass(frozen=True)
class Remark:
    """What was done to how many pixels of a slice."""

    kind: str
    pixels: int


@dataclass(frozen=True)
class Words:
    """What a header says of its words, beside their layout.

    Parameters
    ----------
    layout
        Layout of the words, which is sure.
    padding
        The word that pads, as an unsigned number.
    overlays
        The bits of overlays, set.
    """

    layout: Layout
    padding: int | None = None
    overlays: int = 0

    @classmethod
    def of(cls, dataset: Dataset, layout: Layout) -> Words:
        return cls(layout, _padding(dataset, layout.allocated), _overlays(dataset, layout))


def stored_values(
    decoded: NDArray[Any], words: Words, remarks: list[Remark], *, name: str
) -> NDArray[Any]:
    """The values in a slice's words.

    Parameters
    ----------
    decoded
        Words as their decoder gave them, signed or not.
    words
        What the header says of them.
    remarks
        List to which a remark is appended for everything that was done.
    name
        What error messages call the file.

    Raises
    ------
    ReadError
        Where pixels lie beyond the bits that are declared and could be values or not.
    """
    layout = words.layout
    full = decoded if layout.signed else layout.words(decoded)
    if layout.signed:
        full = full.view(f"{full.dtype.byteorder}i{full.dtype.itemsize}")
    if layout.shift:
        full = full >> layout.shift
    low, high = 0, (1 << layout.stored) - 1
    if layout.signed:
        low, high = -(1 << (layout.stored - 1)), (1 << (layout.stored - 1)) - 1
    if layout.stored == layout.allocated or (low <= full.min() and full.max() <= high):
        return full
    full = full.astype(np.int64)
    masked = full & ((1 << layout.stored) - 1)
    if layout.signed:
        masked -= (masked > high).astype(np.int64) << layout.stored
    odd = (full & ~words.overlays) != (masked & ~words.overlays)
    values = masked.copy()
    if words.padding is not None:
        pads = full % (1 << layout.allocated) == words.padding
        values[pads] = _negative(words.padding, layout.allocated)
        odd &= ~pads
    if not odd.any():
        return values
    kind, keep = _sort_out(full, masked, odd, layout)
    if kind == "?":
        raise ReadError(
            f"{name}: {int(odd.sum())} pixels have bits above the {layout.stored} stored; if they "
            f"are values, set BitsStored to {int(full[odd].max()).bit_length()} and HighBit to "
            "match; if not, clear those bits"
        )
    if kind:
        remarks.append(Remark(kind, int(odd.sum())))
    if keep:
        values[odd] = full[odd]
        if not layout.signed:
            values[odd] = _negative(int(full[odd][0]), layout.allocated)
    return values


def _padding(dataset: Dataset, bits: int) -> int | None:
    value = dataset.get("PixelPaddingValue")
    if isinstance(value, bytes):  # implicit VR, neither US nor SS
        return int.from_bytes(value[: bits // 8], "little")
    return value % (1 << bits) if isinstance(value, int) else None


def _overlays(dataset: Dataset, layout: Layout) -> int:
    """The bits of words in which the file says that overlays lie (retired, PS3.3 C.9.2)."""
    found = 0
    for bits, position in OVERLAYS:
        place = dataset[position].value if bits in dataset and position in dataset else None
        if isinstance(place, int) and layout.stored <= place < layout.allocated:
            found |= 1 << place
    return found


def _sort_out(
    full: NDArray[np.int64], masked: NDArray[np.int64], odd: NDArray[np.bool_], layout: Layout
) -> tuple[str, bool]:
    """What the bits above the stored ones are (`?`: open), and whether they count."""
    share = odd.mean()
    first = int(full[odd][0])
    alike = bool((full[odd] == first).all())
    if alike and LOWEST_PADDING <= _negative(first, layout.allocated) < 0:
        return "", True
    if not layout.signed:
        return (RUBBISH, False) if share > 0.5 else ("?", False)
    # Negative numbers that fill their words show that these are to be read whole.
    negative = full[(full < 0) & ~odd]
    filled = negative.size > 0 and bool((negative != negative[0]).any())
    if bool((full[odd] >= 0).all() and (full[odd] >> layout.stored == 0).all()) and not filled:
        return "", False  # two's complement of the stored bits alone
    if filled and share <= SHARE_ODD:
        return WIDER, True
    return (RUBBISH, False) if share > 0.5 and not filled else ("?", False)


def notes_on(remarks: Iterable[Remark]) -> tuple[str, ...]:
    """One note for each kind of remark."""
    found: dict[str, list[int]] = {}
    for remark in remarks:
        found.setdefault(remark.kind, []).append(remark.pixels)
    return tuple(
        _NOTES[kind].format(pixels=sum(found[kind]), slices=len(found[kind]))
        for kind in _NOTES
        if kind in found
    )


def _negative(word: int, bits: int) -> int:
    """Two's complement of an unsigned word; negative numbers as they are."""
    return word - (1 << bits) if word >> (bits - 1) & 1 and word >= 0 else word
