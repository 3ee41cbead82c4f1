"""The compression around a file, told by its first bytes and looked through, whatever its name.

A file named `.nii.gz` may be plain, and one named `.nii` compressed, even twice.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from drr.errors import ReadError
from drr.io.packed.inflate import CHUNK, MAGIC, Inflater, drain

__all__ = [
    "Unpacked",
    "codec_of",
    "open_seekable",
    "open_unpacked",
    "plausible_size",
    "unpack",
]

MOST_LAYERS = 3
"""Compressions around each other; browsers and archives add one, sync tools another."""

MOST_RATIO = 1100
"""Decompressed bytes for each compressed one; deflate reaches 1032, a CT seldom 10."""

ALWAYS = 1 << 28
"""Decompressed bytes that any file may expand to, whatever its own size."""


class _Buffered(io.BufferedReader):
    """An inflater that can be looked into and read line by line."""

    def __init__(self, inflater: Inflater, name: str) -> None:
        super().__init__(inflater, CHUNK)
        self._name = name

    def finish(self) -> None:
        """As `Inflater.finish`."""
        drain(self, self._name)


@dataclass(frozen=True)
class Unpacked:
    """A file without the compression around it.

    Parameters
    ----------
    stream
        At its first byte; the file itself where nothing is around it.
    layers
        What was around it, outermost first, as `Inflater` calls it; empty for a plain file.
    """

    stream: io.BufferedReader
    layers: tuple[str, ...]

    @property
    def label(self) -> str:
        """` (gzip)` and the like, empty for a plain file."""
        names = ", ".join("gzip" if layer == "zlib" else layer for layer in self.layers)
        return f" ({names})" if names else ""


def codec_of(head: bytes) -> str | None:
    """How a file that begins so is compressed; None for one that is not."""
    return next((codec for codec, magic in MAGIC.items() if head.startswith(magic)), None)


def plausible_size(packed: int) -> int:
    """Bytes to which so many compressed ones may expand."""
    return max(ALWAYS, MOST_RATIO * packed)


def unpack(file: io.BufferedReader, *, name: str, limit: int, plausible: int) -> Unpacked:
    """Look through the compression around a file, whatever its name says.

    Parameters
    ----------
    file
        At its first byte.
    name, limit, plausible
        As for `Inflater`.

    Raises
    ------
    ReadError
        For more than `MOST_LAYERS` of it, and, while reading, as `Inflater`.
    """
    layers: tuple[str, ...] = ()
    while codec := codec_of(file.peek(8)[:8]):
        if len(layers) == MOST_LAYERS:
            raise ReadError(f"{name}: is compressed more than {MOST_LAYERS} times; unpack it first")
        inflater = Inflater(file, name=name, limit=limit, codec=codec, plausible=plausible)
        file = _Buffered(inflater, name)
        layers += (codec,)
    return Unpacked(file, layers)


@contextlib.contextmanager
def open_unpacked(path: Path, *, limit: int) -> Iterator[Unpacked]:
    """`unpack` of a file on disk, open inside the `with` block."""
    with path.open("rb") as file:
        plausible = plausible_size(path.stat().st_size)
        yield unpack(file, name=str(path), limit=limit, plausible=plausible)


@contextlib.contextmanager
def open_seekable(path: Path, *, limit: int) -> Iterator[tuple[BinaryIO, str]]:
    """The file without compression around it, to be read in any order, and its `Unpacked.label`.

    What was compressed lies in a file without a name, which goes with the `with` block.
    """
    with open_unpacked(path, limit=limit) as unpacked:
        if not unpacked.layers:
            yield unpacked.stream, ""
            return
        import shutil
        import tempfile

        with tempfile.TemporaryFile() as whole:
            shutil.copyfileobj(unpacked.stream, whole, 1 << 20)
            whole.seek(0)
            yield cast(BinaryIO, whole), unpacked.label
