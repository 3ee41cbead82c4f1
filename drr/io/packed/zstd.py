"""Zstandard, which Python has from 3.14 on; before, the package `zstandard` brings it."""

from __future__ import annotations

import sys
from typing import Any

from drr.errors import MissingDependencyError

__all__ = ["decompressor"]

PIECE = 256
"""Compressed bytes given at a time: at most 11 MiB of output, since a block of 4 bytes can stand
for 128 KiB."""

MOST_WINDOW = 1 << 27
"""Bytes that a stream may ask to look back; what `zstd --long` takes at most by default."""


def decompressor(name: str) -> Any:
    """One stream's decompressor, with the methods of `bz2.BZ2Decompressor`.

    Parameters
    ----------
    name
        What the error message calls the file.

    Raises
    ------
    MissingDependencyError
        Where nothing decompresses Zstandard.
    """
    if sys.version_info >= (3, 14):
        from compression import zstd

        option = zstd.DecompressionParameter.window_log_max
        return zstd.ZstdDecompressor(options={option: MOST_WINDOW.bit_length() - 1})
    try:
        import zstandard
    except ImportError:
        raise MissingDependencyError(
            f"{name}: is compressed with Zstandard; unpack it (zstd -d), or "
            "pip install zstandard to read it as it is"
        ) from None
    return _Stream(zstandard.ZstdDecompressor(max_window_size=MOST_WINDOW).decompressobj())


class _Stream:
    """`zstandard`'s decompressor, which knows no limit, fed with so little that it needs none."""

    def __init__(self, frame: Any) -> None:
        self._frame = frame
        self._waiting = memoryview(b"")  # compressed
        self._ready = memoryview(b"")  # decompressed

    @property
    def eof(self) -> bool:
        return bool(self._frame.eof) and not self._ready

    @property
    def needs_input(self) -> bool:
        return not self._ready and not self._waiting

    @property
    def unused_data(self) -> bytes:
        """Compressed bytes after the end of the stream."""
        return bytes(self._frame.unused_data) + bytes(self._waiting)

    def decompress(self, data: bytes, most: int, /) -> bytes:
        """At most so many bytes; none where more input is needed."""
        if data:
            self._waiting = memoryview(bytes(self._waiting) + data)
        while not self._ready and self._waiting and not self._frame.eof:
            piece, self._waiting = self._waiting[:PIECE], self._waiting[PIECE:]
            self._ready = memoryview(self._frame.decompress(piece))
        part, self._ready = self._ready[:most], self._ready[most:]
        return bytes(part)
