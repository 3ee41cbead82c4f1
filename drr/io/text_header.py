"""What MetaImage and NRRD share: a text header, and voxels inside the file or beside it."""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from drr.errors import ReadError, printable
from drr.io.beside import Neighbours
from drr.io.packed.inflate import Inflater, skip
from drr.io.packed.unpack import Unpacked, plausible_size
from drr.io.stored import check_size
from drr.io.text_voxels import TextVoxels
from drr.io.voxels import Mapped, Stream, Voxels, read_hu

__all__ = [
    "HeaderLines",
    "Layout",
    "data_files",
    "number",
    "numbers",
    "read_inside",
    "read_parts",
    "whole_number",
    "whole_numbers",
]

HEADER_LIMIT = 1 << 20
"""Bytes of text beyond which a file is taken for something else."""

MOST_LINES = 1 << 20
"""Lines that may be skipped before the voxels."""

# What Python takes for numbers beside these (1_000, inf, other alphabets' digits) is a damaged one.
NUMBER = re.compile(r"[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,4})?", re.ASCII)
WHOLE = re.compile(r"[+-]?\d{1,18}(\.0{0,18})?", re.ASCII)


class HeaderLines:
    """Header lines, stripped, without running away in a binary file.

    Attributes
    ----------
    taken
        Bytes of the file that were lines so far.
    """

    def __init__(self, stream: io.BufferedReader, name: str) -> None:
        self._stream, self._name = stream, name
        self.taken = 0

    def next_begins(self, pattern: re.Pattern[bytes]) -> bool:
        """Whether what comes after the lines so far begins so."""
        return pattern.match(self._stream.peek(256)) is not None

    def __iter__(self) -> Iterator[str]:
        while line := self._stream.readline(HEADER_LIMIT):
            self.taken += len(line)
            if self.taken > HEADER_LIMIT:
                raise ReadError(f"{self._name}: its header does not end; the file is corrupt")
            yield line.decode("utf-8", "replace").strip()


def numbers(text: str, key: str, name: str, count: int | None = None) -> NDArray[np.float64]:
    """Finite decimal numbers between blanks, commas or brackets."""
    words = _words(text)
    values = np.array([float(w) if NUMBER.fullmatch(w) else math.nan for w in words])
    if not words or not np.isfinite(values).all() or (count and values.size != count):
        wanted = f"{count} numbers" if count else "numbers"
        raise ReadError(
            f"{name}: {key} is {printable(text, most=60)!r}; {wanted} are needed, so repair the "
            "header"
        )
    return values


def number(fields: dict[str, str], key: str, default: float, name: str) -> float:
    """The only number of a field, or the default where there is no such field."""
    return float(numbers(fields[key], key, name, 1)[0]) if key in fields else default


def whole_numbers(text: str, key: str, name: str) -> list[int]:
    """As `numbers`, each without a fraction."""
    words = _words(text)
    if not words or not all(WHOLE.fullmatch(word) for word in words):
        raise ReadError(
            f"{name}: {key} is {printable(text, most=60)!r}; whole numbers are needed, so repair "
            "the header"
        )
    return [int(word.partition(".")[0]) for word in words]


def whole_number(fields: dict[str, str], key: str, default: int, name: str) -> int:
    """As `number`, without a fraction."""
    if key not in fields:
        return default
    values = whole_numbers(fields[key], key, name)
    if len(values) != 1:
        raise ReadError(
            f"{name}: {key} has {len(values)} numbers instead of one; repair the header"
        )
    return values[0]


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\s,()]+", text) if word]


def data_files(data: str, listed: list[str], slices: int, beside: Neighbours) -> list[Path]:
    """The data files that a header names, in their order.

    Parameters
    ----------
    data
        One name, or a printf pattern with first, last and step for a file for each slice, or LIST.
    listed
        The names after LIST.
    slices
        Number of slices of the volume.
    beside
        Where the files are looked for.
    """
    name = str(beside.header)
    words = data.split()
    if words and words[0].upper() == "LIST":
        if not listed:
            raise ReadError(f"{name}: its header lists no data file; repair it")
        if len(listed) > slices:
            raise ReadError(
                f"{name}: lists {len(listed)} data files for {slices} slices; repair the header"
            )
        return [beside.find(each) for each in listed]
    if not (len(words) >= 3 and "%" in words[0] and all(WHOLE.fullmatch(w) for w in words[1:3])):
        return [beside.find(data)]
    if not re.fullmatch(r"[^%]*%0?\d{0,2}d[^%]*", words[0], re.ASCII):
        raise ReadError(f"{name}: the data file pattern {words[0]!r} is not understood")
    first, last, *step = whole_numbers(" ".join(words[1:4]), "its range of data files", name)
    stride = step[0] if step else 1
    count = (last - first) // stride + 1 if stride else 0
    if count != slices:
        raise ReadError(
            f"{name}: names {max(count, 0)} data files for {slices} slices; repair the header"
        )
    return [beside.find(words[0] % (first + k * stride)) for k in range(count)]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How voxels lie in a file and what they mean.

    Parameters
    ----------
    shape
        `(n2, n1, n0)` of the volume, slowest index first.
    dtype
        Data type of the stored voxels.
    codec
        As for `drr.io.packed.inflate.Inflater`; `"text"` for decimal numbers, empty for plain
        bytes.
    start
        Bytes of the file before compressed voxels.
    skip_lines
        Lines after those, as they lie in the file.
    skip
        Bytes before the voxels, once decompressed; -1: the voxels are the last ones of the file.
    slope, intercept, affine
        As for `drr.io.voxels.read_hu`.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    codec: str = ""
    start: int = 0
    skip_lines: int = 0
    skip: int = 0
    slope: float = 1.0
    intercept: float = 0.0
    affine: NDArray[np.float64] | None = None


def read_inside(
    unpacked: Unpacked, at: int, layout: Layout, *, name: str, limit: int, threads: int | None
) -> tuple[Voxels, tuple[str, ...]]:
    """Voxels that follow the header, which ended at byte `at`, and notes."""
    check_size(layout.shape, layout.dtype.itemsize, name, limit)
    stream = unpacked.stream
    size = None if unpacked.layers else os.fstat(stream.fileno()).st_size
    source, notes = _source(stream, at, size, layout, layout.shape, name, limit)
    return _voxels([source], layout, 1, name, threads), notes


def read_parts(
    parts: list[Path], layout: Layout, *, limit: int, threads: int | None
) -> tuple[Voxels, tuple[str, ...]]:
    """Voxels from one file, or from files that each hold the same number of slices, and notes."""
    shape = layout.shape
    if shape[0] % len(parts):
        raise ReadError(
            f"{parts[0]}: {len(parts)} data files cannot share {shape[0]} slices evenly; "
            "repair the header"
        )
    share = (shape[0] // len(parts), shape[1], shape[2])
    check_size(shape, layout.dtype.itemsize, str(parts[0]), limit)
    notes: list[str] = []

    def sources() -> Generator[Stream | Mapped, None, None]:
        for part in parts:  # each open until the next is asked for
            with part.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                source, more = _source(file, 0, size, layout, share, str(part), limit)
                notes.extend(note for note in more if note not in notes)
                yield source

    with contextlib.closing(sources()) as opened:
        voxels = _voxels(opened, layout, len(parts), str(parts[0]), threads)
    return voxels, tuple(notes)


def _voxels(
    sources: Iterable[Stream | Mapped], layout: Layout, parts: int, name: str, threads: int | None
) -> Voxels:
    return read_hu(
        sources,
        layout.shape,
        layout.dtype,
        slope=layout.slope,
        intercept=layout.intercept,
        affine=layout.affine,
        parts=parts,
        name=name,
        threads=threads,
    )


def _source(
    file: io.BufferedReader,
    at: int,
    size: int | None,
    layout: Layout,
    shape: tuple[int, int, int],
    name: str,
    limit: int,
) -> tuple[Stream | Mapped, tuple[str, ...]]:
    """Where a file's voxels come from, and notes.

    `file` is at byte `at` of `size`, or of None where it is decompressed as it is read and cannot
    be sought in.
    """
    wanted = math.prod(shape) * layout.dtype.itemsize
    skip(file, layout.start, name)
    at += layout.start + _skip_lines(file, layout.skip_lines, name)
    if layout.codec == "text":
        skip(file, layout.skip, name)
        return TextVoxels(file, layout.dtype, name=name), ()
    if layout.codec:
        plausible = limit if size is None else plausible_size(size)
        stream = Inflater(file, name=name, limit=limit, codec=layout.codec, plausible=plausible)
        skip(stream, layout.skip, name)
        return stream, ()
    if size is None:
        if layout.skip < 0:
            raise ReadError(f"{name}: its voxels are the last bytes of it, so unpack it first")
        skip(file, layout.skip, name)
        return file, ()
    start = at + layout.skip if layout.skip >= 0 else size - wanted
    check_size(shape, layout.dtype.itemsize, name, limit, size - max(start, at))
    surplus = size - start - wanted
    note = f"{surplus} bytes after the voxels that the header promises were not read."
    return Mapped(file, start), (note,) if surplus else ()


def _skip_lines(file: BinaryIO, count: int, name: str) -> int:
    if not 0 <= count <= MOST_LINES:
        raise ReadError(f"{name}: its header skips {count} lines; repair it")
    taken = 0
    for _ in range(count):
        line = file.readline(HEADER_LIMIT)
        if not line.endswith(b"\n"):
            raise ReadError(f"{name}: has not the {count} lines that its header skips; repair it")
        taken += len(line)
    return taken
