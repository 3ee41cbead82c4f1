"""Rows of a data set's file from where they are: parts of one row each, and a finished file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from drr.datasets.build.part import open_part
from drr.datasets.schema import PIXELS, image_options, text_dtype
from drr.files.documents import parse_json
from drr.record import salted, unlinked

if TYPE_CHECKING:
    import h5py

__all__ = ["Sources", "copy_rows", "like"]

_BLOCK = 256  # rows that are held in memory


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where the rows of studies are, by their places in the plan.

    Parameters
    ----------
    paths
        Path of each study's part.
    rows
        Rows that are taken from `finished` instead.
    finished
        An open file, or None.
    """

    paths: Sequence[Path]
    rows: Mapping[int, int]
    finished: h5py.File | None


def like(name: str, dataset: h5py.Dataset, compression: int) -> dict[str, Any]:
    """Options of `create_dataset` for many rows like those of a part or a finished file."""
    options = {"shape": dataset.shape[1:], "dtype": dataset.dtype}
    if dataset.dtype.kind == "O":
        return options | {"dtype": text_dtype()}
    if _is_image(name):
        # As the configuration says, not as somebody may have packed the file since.
        chunk = (1,) * (dataset.ndim - 3) + dataset.shape[-2:]
        return options | image_options(chunk, dataset.dtype.name, compression)
    return options


def copy_rows(
    file: h5py.File,
    columns: Mapping[str, Mapping[str, Any]],
    indices: Sequence[int],
    of: Sources,
    *,
    salt: bytes | None = None,
) -> None:
    """Everything that parts and a finished file hold; images as they were compressed.

    Parameters
    ----------
    file
        Open HDF5 file to write to.
    columns
        Options (`like`) of each dataset, by its path.
    indices
        Places in the plan of the studies that have images, in order.
    salt
        Mixed into digests of the CTs that come from parts; those of a finished file are already.
    """
    for name, options in columns.items():
        file.create_dataset(name, **{**options, "shape": (len(indices), *options["shape"])})
    images = [name for name in columns if _is_image(name)]
    others = [name for name in columns if name not in images]
    for start in range(0, len(indices), _BLOCK):
        block = indices[start : start + _BLOCK]
        values: dict[str, dict[int, Any]] = {name: {} for name in others}
        before = [index for index in block if index in of.rows]
        if before and of.finished is not None:
            for name in others:
                found = _read(of.finished[name], [of.rows[index] for index in before])
                values[name] |= zip(before, found, strict=True)
        for row, index in enumerate(block, start):
            if of.finished is not None and index in of.rows:
                for name in images:
                    _copy_image(of.finished[name], of.rows[index], file[name], row)
                continue
            with open_part(of.paths[index]) as part:
                for name in others:
                    value = part[name][0]
                    values[name][index] = value if salt is None else _unlinked(name, value, salt)
                for name in images:
                    _copy_image(part[name], 0, file[name], row)
        for name in others:
            file[name][start : start + len(block)] = [values[name][index] for index in block]


def _unlinked(column: str, value: Any, salt: bytes) -> Any:
    """A value without what tells the CT to whoever has it: its digests are mixed with the salt."""
    last = column.rsplit("/", 1)[-1]
    text = value.decode() if isinstance(value, bytes) else value
    if last in ("source_sha256", "voxels_sha256", "segmentation_sha256"):
        return salted(text, salt) if text else text
    if last != "record":
        return value
    record = parse_json(text)
    record["projection"] = unlinked(record["projection"], salt)
    return json.dumps(record, sort_keys=True, allow_nan=False)


def _is_image(name: str) -> bool:
    return name.startswith("views/") and name.rsplit("/", 1)[-1] in PIXELS


def _read(dataset: h5py.Dataset, rows: Sequence[int]) -> Iterator[Any]:
    """Rows in the order given; at once where they are close, as they mostly are."""
    first, last = min(rows), max(rows)
    if last - first > 4 * _BLOCK:
        yield from (dataset[row] for row in rows)
        return
    some = dataset[first : last + 1]
    yield from (some[row - first] for row in rows)


def _copy_image(source: h5py.Dataset, row: int, target: h5py.Dataset, place: int) -> None:
    if _layout(source) != _layout(target):
        target[place] = source[row]
        return
    for offset in np.ndindex(source.shape[1:-2]):
        mask, content = source.id.read_direct_chunk((row, *offset, 0, 0))
        target.id.write_direct_chunk((place, *offset, 0, 0), content, mask)


def _layout(dataset: h5py.Dataset) -> tuple[Any, ...]:
    """What the bytes of a chunk depend on, besides its pixels and how hard they were compressed."""
    filters = (dataset.compression, dataset.shuffle, dataset.fletcher32, dataset.scaleoffset)
    return (dataset.chunks, dataset.dtype, *filters)
