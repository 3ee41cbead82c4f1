"""Deflated DICOM: the data set inflated as far as it is read, and no further than it may."""

from __future__ import annotations

import io
import os
import zlib
from typing import IO

from drr.errors import ReadError
from drr.io.packed.inflate import gibibytes

__all__ = ["DEFLATED", "Deflated", "is_deflated"]

DEFLATED = b"1.2.840.10008.1.2.1.99"
EXPLICIT_LITTLE_ENDIAN = b"1.2.840.10008.1.2.1"

START = 144
"""Bytes before the rest of the file meta information: preamble, prefix, group length."""

CHUNK = 1 << 16  # compressed bytes read at a time


def is_deflated(head: bytes) -> bool:
    """Whether first bytes are those of a file with a deflated data set."""
    return DEFLATED in head[: _meta_end(head)]


class Deflated(io.RawIOBase):
    """The file as it would be without compression, to be read and sought like any other.

    Parameters
    ----------
    file
        At its first byte.
    name
        What error messages call the file.
    limit
        Bytes beyond which reading raises a `ReadError`.
    """

    def __init__(self, file: IO[bytes], *, name: str, limit: int) -> None:
        head = file.read(START)
        meta = head + file.read(min(_meta_end(head) - len(head), 1 << 20))
        # The same length, so that the group length stays right.
        plain = EXPLICIT_LITTLE_ENDIAN.ljust(len(DEFLATED), b"\0")
        self._known = bytearray(meta.replace(DEFLATED, plain))
        self._file, self._name, self._limit = file, name, limit
        self._inflate = zlib.decompressobj(-15)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        if whence == os.SEEK_END:
            self._reach(self._limit + 1)
            offset += len(self._known)
        elif whence == os.SEEK_CUR:
            offset += self._at
        if offset < 0:
            raise ValueError(f"cannot seek to byte {offset}")
        self._at = offset
        return offset

    def read(self, size: int | None = -1, /) -> bytes:
        stop = self._limit + 1 if size is None or size < 0 else self._at + size
        self._reach(stop)
        data = bytes(self._known[self._at : stop])
        self._at += len(data)
        return data

    def _reach(self, stop: int) -> None:
        """Inflate until the byte `stop`, if there are so many."""
        while len(self._known) < stop and not self._inflate.eof:
            packed = self._inflate.unconsumed_tail or self._file.read(CHUNK)
            if not packed:
                return
            most = min(stop, self._limit + 1) - len(self._known)
            try:
                self._known += self._inflate.decompress(packed, max(most, CHUNK))
            except zlib.error as error:
                raise ReadError(
                    f"{self._name}: the deflated data set is corrupt ({error}); copy it again"
                ) from None
            if len(self._known) > self._limit:
                raise ReadError(
                    f"{self._name}: expands beyond {gibibytes(self._limit)}; raise max_bytes if "
                    "it really is that large"
                )


def _meta_end(head: bytes) -> int:
    return START + int.from_bytes(head[START - 4 : START], "little")
