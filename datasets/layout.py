"""Whether a data set's file is laid out as its schema says; nothing is taken for granted.

Files come from other people. So every object is reached by the names that the schema knows and is
looked at before its values are: links, data in other files, filters that are loaded as plug-ins,
and sizes that the file cannot hold are wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from drr.datasets.schema import (
    ATTRIBUTES,
    DATASETS,
    IMAGES,
    LATER,
    PIXELS,
    VIEW_DATASETS,
    Column,
)
from drr.errors import printable
from drr.isolated import alive

if TYPE_CHECKING:
    import h5py

__all__ = ["columns", "problems_of_layout"]

MAX_IMAGE_BYTES = 1 << 30
"""Of one image; those of the largest detectors take 100 MB."""

MAX_OBJECTS = 10_000
"""Groups and datasets; a view has 14 of them."""

ROWS = 512
"""Of a column that are read at a time."""

_SPLIT = Column("int64", "any", "rows of the split's samples")
_DEPTH = 3  # views/pa/picture
_LONG = ("record", "clinical_information", "technique", "findings", "impressions")
# DEFLATE, shuffle, Fletcher's checksum, SZIP, n-bit, scale-offset: compiled in, never loaded.
_FILTERS = range(1, 7)
_DIMENSIONS = {"labels": 2, "picture": 3, "line_integrals": 3, "masks": 4}
_DIMENSIONS |= dict.fromkeys(("source", "direction", "detector_center", "u", "v"), 2)
_FOREIGN = (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError, ArithmeticError)


def problems_of_layout(file: h5py.File, *, complete: bool) -> Iterator[str]:
    """What is wrong with a file's structure, one sentence each.

    Parameters
    ----------
    complete
        Whether what is missing, or more than the schema names, is wrong.
    """
    yield from _attributes(file, complete=complete)
    found: dict[str, Any] = {}
    yield from _objects(file, "", found)
    groups = {name for name, thing in found.items() if not _is_dataset(thing)}
    datasets = {name: thing for name, thing in found.items() if name not in groups}
    for name in ("samples", "views", "samples/name"):
        if name not in (datasets if "/" in name else groups):
            yield f"{name}: is missing"
            return
    views = [name.removeprefix("views/") for name in found if name.count("/") == 1 and
             name.startswith("views/")]  # fmt: skip
    for view in views:
        if f"views/{view}" not in groups:
            yield f"views/{view}: is no group"
    expected = _expected(views, datasets)
    if complete:
        yield from _complete(file, views, datasets, expected)
    lengths: dict[str, int] = {}
    for name in sorted(datasets, key=lambda name: name != "samples/name"):
        alive()
        dataset = datasets[name]
        column = _SPLIT if name.startswith("splits/") else expected.get(name)
        if column is not None:
            yield from _guarded(name, partial(_sound, name, dataset, file))
            yield from _guarded(
                name, partial(_shape, name, dataset, column, lengths, strict=complete)
            )
        elif complete:
            yield f"{printable(name, most=100)}: is not in the schema"
    labels, names = datasets.get("samples/labels"), datasets.get("label_names")
    if labels is not None and names is not None and labels.ndim == 2 and names.ndim == 1 and (
        labels.shape[1] != len(names)
    ):  # fmt: skip
        yield f"samples/labels: {labels.shape[1]} columns for {len(names)} names"


def columns(file: h5py.File, *, everything: bool) -> list[str]:
    """Read every column of a sound layout in blocks, and every index of images; what went wrong."""
    problems: list[str] = []
    splits = [f"splits/{name}" for name in file.get("splits", ())]
    for name in [*DATASETS, *splits, *_in_views(file)]:
        quantity = name.rsplit("/", 1)[-1]
        if name not in file or (quantity in _LONG and not everything):
            continue
        dataset = file[name]
        pixels = quantity in PIXELS and name.startswith("views/")
        work = _chunks if pixels else _values
        problems += _guarded(name, partial(work, name, dataset, file))
    return problems


def _guarded(name: str, found: Callable[[], Iterator[str]]) -> list[str]:
    try:
        return list(found())
    except _FOREIGN as error:
        return [f"{name}: cannot be read ({printable(error, most=150) or type(error).__name__})"]


def _attributes(file: h5py.File, *, complete: bool) -> Iterator[str]:
    if complete:
        for name in ATTRIBUTES:
            if name not in file.attrs:
                yield f"the attribute {name!r} is missing"
    for name in ATTRIBUTES:
        yield from _guarded(f"the attribute {name!r}", partial(_attribute, file, name))


def _attribute(file: h5py.File, name: str) -> Iterator[str]:
    if name != "schema_version" and not isinstance(file.attrs.get(name, ""), str):
        yield f"the attribute {name!r} is no text"


def _objects(group: h5py.Group, prefix: str, found: dict[str, Any]) -> Iterator[str]:
    """Every object by its path; links to elsewhere are wrong, and so is what lies too deep."""
    import h5py

    try:
        for key in group:
            alive()
            name = f"{prefix}{key}"
            shown = printable(name, most=100)
            if len(found) >= MAX_OBJECTS:
                yield f"has more than {MAX_OBJECTS} groups and datasets"
                return
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                yield f"{shown}: is a link; a data set holds its data itself"
                continue
            thing = group[key]
            found[name] = thing
            if isinstance(thing, h5py.Group):
                if name.count("/") + 1 >= _DEPTH:
                    yield f"{shown}: is a group where none can be"
                else:
                    yield from _objects(thing, f"{name}/", found)
    except _FOREIGN as error:
        yield f"{prefix or 'the file'}: cannot be read ({printable(error, most=150)})"


def _expected(views: list[str], datasets: dict[str, Any]) -> dict[str, Column]:
    expected = dict(DATASETS)
    for view in views:
        for name, column in VIEW_DATASETS.items():
            quantity = name.removesuffix("_sha256")
            # Quantities that were not stored have nothing.
            of = "line_integrals" if quantity in ("scale", "offset") else quantity
            if of not in PIXELS or f"views/{view}/{of}" in datasets:
                expected[f"views/{view}/{name}"] = column
    return expected


def _complete(
    file: h5py.File, views: list[str], datasets: dict[str, Any], expected: dict[str, Column]
) -> Iterator[str]:
    from drr.files.documents import parse_json

    try:
        wanted = parse_json(file.attrs["configuration"])["view_names"]
        if len(datasets["samples/name"]) and set(views) != set(wanted):
            yield f"views are {', '.join(views)}, the configuration names {', '.join(wanted)}"
    except _FOREIGN as error:
        yield f"the configuration cannot be read ({printable(error, most=150)})"
    for view in views:
        if not any(f"views/{view}/{name}" in datasets for name in IMAGES):
            yield f"views/{view}: has neither pictures nor line integrals"
    for name in expected:
        if name not in datasets and name not in LATER:
            yield f"{name}: is missing"


def _sound(name: str, dataset: h5py.Dataset, file: h5py.File) -> Iterator[str]:
    """What must hold before a value is read."""
    import h5py

    made = dataset.id.get_create_plist()
    if dataset.is_virtual or made.get_external_count():
        yield f"{name}: has its values in other files; a data set holds its data itself"
    filters = [made.get_filter(i)[0] for i in range(made.get_nfilters())]
    if any(number not in _FILTERS for number in filters):
        yield f"{name}: is compressed by a filter that is none of HDF5's own ({filters})"
    image = math.prod(dataset.shape[1:]) * dataset.dtype.itemsize
    chunk = math.prod(dataset.chunks or (1,)) * dataset.dtype.itemsize
    if max(image, chunk) > MAX_IMAGE_BYTES:
        yield f"{name}: has images or chunks of {max(image, chunk)} bytes"
    # Every row takes some bytes, however well it is compressed, so that there is an end to reading.
    size = file.id.get_filesize()
    if dataset.ndim and len(dataset) > size:
        yield f"{name}: has {len(dataset)} rows in a file of {size} bytes"
    if dataset.dtype.kind == "O" and h5py.check_string_dtype(dataset.dtype) is None:
        yield f"{name}: holds what is neither text nor numbers"


def _shape(
    name: str, dataset: h5py.Dataset, column: Column, lengths: dict[str, int], *, strict: bool
) -> Iterator[str]:
    import h5py

    text = h5py.check_string_dtype(dataset.dtype)
    kind = "text" if text is not None and text.length is None else dataset.dtype.name
    floats = name.endswith("/line_integrals") and kind == "float32"
    if kind != column.dtype and not floats:
        yield f"{name}: holds {kind}, not {column.dtype}"
        return
    quantity = name.rsplit("/", 1)[-1]
    wanted = _DIMENSIONS.get(quantity, 1) if "/" in name else 1
    if dataset.ndim == 0:
        yield f"{name}: has 0 axes, not {wanted}"
        return
    length = len(dataset) if column is _SPLIT else lengths.setdefault(column.length, len(dataset))
    if len(dataset) != length:
        yield f"{name}: has {len(dataset)} rows where others have {length}"
    if dataset.ndim != wanted:
        yield f"{name}: has {dataset.ndim} axes, not {wanted}"
    elif quantity in PIXELS:
        if 0 in dataset.shape[1:]:
            yield f"{name}: has images without pixels"
        if strict and dataset.chunks != (*(1,) * (wanted - 2), *dataset.shape[-2:]):
            yield f"{name}: its chunks are {dataset.chunks}, not one image each"
    elif wanted == 2 and quantity != "labels" and dataset.shape[1] != 3:
        yield f"{name}: has {dataset.shape[1]} columns, not 3"


def _values(name: str, dataset: h5py.Dataset, _: h5py.File) -> Iterator[str]:
    for start in range(0, len(dataset), ROWS):
        dataset[start : start + ROWS]
        alive()
    yield from ()


def _chunks(name: str, dataset: h5py.Dataset, file: h5py.File) -> Iterator[str]:
    """Go through the index of an image's chunks, which damage can make endless."""
    if dataset.chunks is None:
        return
    counts = [-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True)]
    most, end = math.prod(counts), file.id.get_filesize()
    raw = math.prod(dataset.chunks) * dataset.dtype.itemsize
    seen, wrong = 0, ""

    def one(chunk: Any) -> bool | None:
        nonlocal seen, wrong
        seen += 1
        alive()
        if seen > most:
            wrong = f"has more chunks than its {most} images"
        elif chunk.size > 2 * raw + 4096:
            wrong = f"has a chunk of {chunk.size} bytes for an image of {raw}"
        elif chunk.byte_offset is None or chunk.byte_offset + chunk.size > end:
            wrong = "has chunks beyond the end of the file, which was cut off"
        return True if wrong else None

    if hasattr(dataset.id, "chunk_iter"):
        dataset.id.chunk_iter(one)
    else:  # HDF5 before 1.12.3
        for i in range(min(dataset.id.get_num_chunks(), most + 1)):
            if one(dataset.id.get_chunk_info(i)):
                break
    if wrong:
        yield f"{name}: {wrong}"


def _in_views(file: h5py.File) -> Iterator[str]:
    for view in file["views"]:
        for name in VIEW_DATASETS:
            yield f"views/{view}/{name}"


def _is_dataset(thing: Any) -> bool:
    import h5py

    return isinstance(thing, h5py.Dataset)
