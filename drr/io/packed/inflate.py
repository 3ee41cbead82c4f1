"""Decompression that cannot run away.

A file of a few kilobytes can expand to terabytes. Here the caller asks for as many bytes as the
header promises and gets no more; the rest of the stream is only drained to verify its checksum,
and only up to the stated limit.

gzip and zlib are inflated by ISA-L, about twice as fast as zlib, or by zlib where there is none.
"""

from __future__ import annotations

import bz2
import functools
import io
import lzma
import zlib
from typing import Any, BinaryIO, Protocol

from drr.errors import ReadError

__all__ = ["DEFAULT_LIMIT", "MAGIC", "Inflater", "drain", "gibibytes", "skip"]

DEFAULT_LIMIT = 8 * 2**30
"""Bytes that one input may expand to or claim, unless `max_bytes` says otherwise."""

CHUNK = 1 << 16  # compressed bytes read at a time
# Decompressed bytes made at a time: few enough to stay in the core's cache, enough to spare the
# interpreter's lock, which is taken after each.
PART = 1 << 18
SLACK = 1 << 24
"""Decompressed bytes that may follow the voxels."""

XZ_MEMORY = 1 << 28
"""Bytes that the dictionary of an xz stream may take; `xz -9` asks for 65 MiB."""

GZIP_MAGIC = b"\x1f\x8b"
MAGIC = {
    "zlib": GZIP_MAGIC,
    "bzip2": b"BZh",
    "xz": b"\xfd7zXZ\0",
    "zstd": b"\x28\xb5\x2f\xfd",
}
"""First bytes by `codec`; zlib's own streams have none that could be told."""


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Inflater(io.RawIOBase):
    """A readable stream of the decompressed bytes of a gzip, zlib, bzip2, xz or zstd file.

    Parameters
    ----------
    file
        Open at the first compressed byte.
    name
        What error messages call the file.
    limit
        Decompressed bytes beyond which reading stops with an error.
    codec
        `"zlib"` (gzip or zlib, told apart by their headers), `"bzip2"`, `"xz"` or `"zstd"`.
    plausible
        Decompressed bytes beyond which it is no CT, whatever `limit` says; see
        `drr.io.packed.unpack`.
    """

    def __init__(
        self,
        file: BinaryIO,
        *,
        name: str,
        limit: int,
        codec: str = "zlib",
        plausible: int | None = None,
    ) -> None:
        self._file = file
        self._name = name
        self._limit = limit
        self._plausible = limit if plausible is None else plausible
        self._codec = codec
        self._produced = 0
        self._pending = b""  # compressed bytes not yet taken by the decompressor
        self._decompressor = self._start()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        """`size` bytes, or fewer at the end of the stream; all of them without a size."""
        if size < 0:
            return self.readall()
        parts = []
        while size > 0 and (part := self._next(size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def readinto(self, buffer: Any, /) -> int:
        """Fill `buffer` (bytes); returns how many were there to be had."""
        filled = 0
        while filled < len(buffer) and (part := self._next(min(len(buffer) - filled, PART))):
            buffer[filled : filled + len(part)] = part
            filled += len(part)
        return filled

    def finish(self) -> None:
        """Read to the end, so that the stream's checksum is verified."""
        drain(self, self._name)

    def _start(self) -> _Decompressor:
        if self._codec == "bzip2":
            return bz2.BZ2Decompressor()
        if self._codec == "xz":
            return lzma.LZMADecompressor(memlimit=XZ_MEMORY)
        if self._codec == "zstd":
            from drr.io.packed.zstd import decompressor

            return decompressor(self._name)
        isal = _isal()
        if isal is None:
            return zlib.decompressobj(47)
        if len(self._pending) < 2:
            self._pending += self._file.read(CHUNK)
        zipped = self._pending.startswith(GZIP_MAGIC)
        started: _Decompressor = isal.IgzipDecompressor(
            isal.DECOMP_GZIP if zipped else isal.DECOMP_ZLIB
        )
        return started

    def _next(self, size: int) -> bytes:
        """Between 1 and `size` bytes; empty at the end of the stream."""
        while True:
            if self._decompressor.eof and not self._next_member():
                return b""
            data = self._pending
            if not data and self._wants_input():
                data = self._file.read(CHUNK)
                if not data:
                    raise ReadError(
                        f"{self._name}: the compressed data ends early after {self._produced} "
                        "bytes, so the file is truncated; copy or download it again"
                    )
            try:
                part = self._decompressor.decompress(data, size)
            except MemoryError:
                raise
            except Exception as error:  # every decompressor has its own
                raise ReadError(
                    f"{self._name}: the compressed data is corrupt ({error}); "
                    "copy or download the file again"
                ) from None
            self._pending = getattr(self._decompressor, "unconsumed_tail", b"")
            self._produced += len(part)
            if self._produced > self._limit:
                raise ReadError(
                    f"{self._name}: expands beyond {gibibytes(self._limit)}; "
                    "raise max_bytes if it really is that large"
                )
            if self._produced > self._plausible:
                raise ReadError(
                    f"{self._name}: expands beyond {gibibytes(self._plausible)}, more than any CT "
                    "of its size does; unpack it yourself if you trust it"
                )
            if part:
                return part

    def _wants_input(self) -> bool:
        return bool(getattr(self._decompressor, "needs_input", True))

    def _next_member(self) -> bool:
        """Go on to a concatenated stream; zeros or foreign bytes after one end it all."""
        magic = MAGIC[self._codec]
        rest = self._decompressor.unused_data
        if len(rest) < len(magic):
            rest += self._file.read(CHUNK)
        if not rest.startswith(magic):
            return False
        self._pending = rest
        self._decompressor = self._start()
        return True


def skip(stream: _Readable, count: int, name: str) -> None:
    """Read past so many bytes.

    Raises
    ------
    ReadError
        Where there are fewer.
    """
    while count > 0:
        part = stream.read(min(count, 1 << 20))
        if not part:
            raise ReadError(f"{name}: ends before its voxels, so it is truncated; copy it again")
        count -= len(part)


def drain(stream: _Readable, name: str) -> None:
    """Read to the end of a stream that should end after its voxels.

    Raises
    ------
    ReadError
        Where it goes on, and what reading it raises.
    """
    rest = 0
    while part := stream.read(PART):
        rest += len(part)
        if rest > SLACK:
            raise ReadError(
                f"{name}: goes on far beyond the voxels its header promises; "
                "its header is wrong or it is not what it seems"
            )


@functools.cache
def _isal() -> Any:
    """The module of ISA-L's decompressor, or None."""
    try:
        from isal import igzip_lib
    except ImportError:
        return None
    return igzip_lib


def gibibytes(size: int) -> str:
    """`8589934592` -> `8 GiB`."""
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= scale:
            return f"{size / scale:.4g} {unit}"
    return f"{size} bytes"
