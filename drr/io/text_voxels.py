"""Voxels written as decimal numbers, turned into bytes block by block."""

from __future__ import annotations

import re
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from drr.errors import ReadError

__all__ = ["TextVoxels"]

CHUNK = 1 << 20
LONGEST = 64
"""Characters of one number."""

BLANK = b" \t\r\n\v\f"
WHOLE = re.compile(rb"[-+0-9 \t\r\n\v\f]*")
# With nan and inf, as teem writes them; whether a volume may have such voxels is told later.
REAL = re.compile(rb"[-+0-9.eEnNaAiIfF \t\r\n\v\f]*")
EXACT = 1 << 53
"""Whole numbers up to this are exact in float64."""


class TextVoxels:
    """A stream of the bytes of numbers that a file holds as text.

    Parameters
    ----------
    file
        At the first number; blanks stand between numbers.
    dtype
        Data type of the voxels; numbers that it cannot hold are refused.
    name
        What error messages call the file.
    """

    def __init__(self, file: BinaryIO, dtype: np.dtype, *, name: str) -> None:
        self._file, self._dtype, self._name = file, dtype, name
        self._rest = b""  # text of a number that may go on
        self._ready = memoryview(b"")
        self._ended = False

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill `buffer`; returns how many bytes were there to be had."""
        filled = 0
        while filled < len(buffer) and (self._ready or self._more()):
            part = self._ready[: len(buffer) - filled]
            buffer[filled : filled + len(part)] = part
            self._ready = self._ready[len(part) :]
            filled += len(part)
        return filled

    def finish(self) -> None:
        """Refuse numbers beyond the voxels."""
        if self._ready or self._more():
            raise ReadError(f"{self._name}: has more numbers than voxels; repair the header")

    def _more(self) -> bool:
        """Whether there are further voxels, which then are ready."""
        while not self._ended:
            chunk = self._file.read(CHUNK)
            self._ended = not chunk
            text = self._rest + chunk
            # The last number may go on in the next chunk.
            end = len(text) if self._ended else max(text.rfind(bytes([b])) for b in BLANK) + 1
            text, self._rest = text[:end], text[end:]
            if len(self._rest) > LONGEST:
                raise self._damaged()
            if words := text.split():
                self._ready = memoryview(self._parse(text, words).view(np.uint8).data)
                return True
        return False

    def _parse(self, text: bytes, words: list[bytes]) -> NDArray[Any]:
        whole = self._dtype.kind in "iu"
        if not (WHOLE if whole else REAL).fullmatch(text) or max(map(len, words)) > LONGEST:
            raise self._damaged()
        try:
            values = np.array(words).astype(np.float64)
        except ValueError:
            raise self._damaged() from None
        if whole:
            limits = np.iinfo(self._dtype)
            if values.min() < max(limits.min, -EXACT) or values.max() > min(limits.max, EXACT):
                raise self._damaged()
        return values.astype(self._dtype)

    def _damaged(self) -> ReadError:
        return ReadError(
            f"{self._name}: its text is not {self._dtype.name} numbers between blanks; "
            "save it again, raw or gzip"
        )
