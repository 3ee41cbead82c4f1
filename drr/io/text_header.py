"""What MetaImage and NRRD share: a text header, and voxels inside the file or beside it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from drr.errors import ReadError
from drr.io.inflate import Inflater
from drr.io.stored import check_size
from drr.io.voxels import Mapped, Voxels, read_hu

__all__ = ["beside", "data_files", "lines", "number", "numbers", "read_parts"]

HEADER_LIMIT = 1 << 20
"""Bytes of text beyond which a file is taken for something else."""


def lines(file: BinaryIO, name: str) -> Iterator[str]:
    """Header lines, stripped, without running away in a binary file."""
    while True:
        line = file.readline(HEADER_LIMIT)
        if not line:
            return
        if file.tell() > HEADER_LIMIT:
            raise ReadError(f"{name}: its header does not end; the file is corrupt")
        yield line.decode("utf-8", "replace").strip()


def numbers(text: str, key: str, name: str, count: int | None = None) -> NDArray[np.float64]:
    try:
        values = np.array([float(v) for v in re.split(r"[\s,()]+", text) if v])
    except ValueError:
        values = np.array([math.nan])
    if values.size == 0 or not np.isfinite(values).all() or (count and values.size != count):
        wanted = f"{count} numbers" if count else "numbers"
        raise ReadError(f"{name}: {key} is {text!r}; {wanted} are needed, so repair the header")
    return values


def number(fields: dict[str, str], key: str, default: float, name: str) -> float:
    return float(numbers(fields[key], key, name, 1)[0]) if key in fields else default


def beside(path: Path, data: str) -> Path:
    """A data file that a header names, relative to the header."""
    file = path.parent / data
    if not file.is_file():
        raise ReadError(
            f"{path}: its voxels are in {data!r}, which is not there; put both into one folder"
        )
    return file


def data_files(path: Path, data: str, slices: int) -> list[Path]:
    """One file, or a printf pattern with first, last and step: one file per slice."""
    words = data.split()
    if data.upper() == "LIST" or data.upper().startswith("LIST "):
        text = path.read_text("utf-8", "replace").splitlines()
        at = next(i for i, line in enumerate(text) if re.match(r"\s*ElementDataFile\s*=", line))
        return [beside(path, line.strip()) for line in text[at + 1 :] if line.strip()]
    if len(words) >= 3 and "%" in words[0] and all(re.fullmatch(r"-?\d+", w) for w in words[1:3]):
        if not re.fullmatch(r"[^%]*%0?\d{0,2}d[^%]*", words[0]):
            raise ReadError(f"{path}: the data file pattern {words[0]!r} is not understood")
        first, last = int(words[1]), int(words[2])
        step = int(words[3]) if len(words) > 3 and re.fullmatch(r"-?\d+", words[3]) else 1
        numbers = range(first, last + (1 if step > 0 else -1), step or 1)
        if len(numbers) != slices:
            raise ReadError(
                f"{path}: names {len(numbers)} data files for {slices} slices; repair the header"
            )
        return [beside(path, words[0] % number) for number in numbers]
    return [beside(path, data)]


def read_parts(
    parts: list[Path],
    shape: tuple[int, int, int],
    dtype: np.dtype,
    *,
    codec: str,
    skip: int,
    slope: float,
    intercept: float,
    affine: NDArray[np.float64] | None,
    limit: int,
    threads: int | None,
) -> Voxels:
    """Voxels from one file, or from files that each hold the same number of slices."""
    if shape[0] % len(parts):
        raise ReadError(
            f"{parts[0]}: {len(parts)} data files cannot share {shape[0]} slices evenly; "
            "repair the header"
        )
    share = (shape[0] // len(parts), shape[1], shape[2])
    check_size(shape, dtype.itemsize, str(parts[0]), limit)
    return read_hu(
        (source for part in parts for source in _open(part, share, dtype, codec, skip, limit)),
        shape,
        dtype,
        slope=slope,
        intercept=intercept,
        affine=affine,
        parts=len(parts),
        name=str(parts[0]),
        threads=threads,
    )


def _open(
    path: Path, shape: tuple[int, int, int], dtype: np.dtype, codec: str, skip: int, limit: int
) -> Iterator[Inflater | Mapped]:
    """One source, open until the next is asked for."""
    name, size = str(path), path.stat().st_size
    wanted = math.prod(shape) * dtype.itemsize
    if skip < 0:  # -1: the voxels are the file's last bytes
        skip = size - wanted if not codec else 0
    if not codec:
        check_size(shape, dtype.itemsize, name, limit, size - skip)
    with path.open("rb") as file:
        if not codec:
            yield Mapped(file, skip)
        else:
            file.seek(skip)
            yield Inflater(file, name=name, limit=limit, codec=codec)
