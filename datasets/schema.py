"""The file of a data set: what is in it, under which names, and how pixels are stored.

`n` samples, in plan order, are the first axis of everything below `samples` and `views`; every
image is one chunk, so that one sample is read alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from drr.errors import DRRError

if TYPE_CHECKING:
    import h5py

__all__ = [
    "ATTRIBUTES",
    "DATASETS",
    "FINGERPRINTS",
    "FORMAT",
    "IMAGES",
    "LATER",
    "MASK_STEP_MM",
    "PIXELS",
    "SCHEMA_VERSION",
    "VIEW_DATASETS",
    "Column",
    "DatasetError",
    "content_digest",
    "dequantise",
    "image_options",
    "pixels_digest",
    "quantise_line_integrals",
    "quantise_thickness",
    "schema_table",
    "text_dtype",
]

FORMAT = "drr-dataset"
SCHEMA_VERSION = 1


class DatasetError(DRRError):
    """A data set that cannot be built, or a file that is not a sound one."""


class Column(NamedTuple):
    """One dataset of the file.

    Parameters
    ----------
    dtype
        NumPy's name of it; `text` is UTF-8 of variable length.
    length
        Length of the first axis: `n` samples, `failures`, ..., or `any`.
    meaning
        For people, with unit and fill code.
    """

    dtype: str
    length: str
    meaning: str


ATTRIBUTES: dict[str, str] = {
    "format": f"`{FORMAT}`",
    "schema_version": "version of this layout, a whole number",
    "notice": "not for diagnosis",
    "drr_version": "of the package that wrote the file",
    "configuration": "JSON: views, look, beam, storage, seed; all that made the images",
    "versions": "JSON: Python, libraries and CPU",
    "plan": "SHA-256 of the configuration and all studies",
    "source_kind": "how the source was recognised: `ct-rate`, `manifest`, ...",
    "source_found": "the same in words",
    "licence": "terms of use; empty where the source does not say",
    "attribution": "whom to cite; empty where the source does not say",
    "content_sha256": "digest of names, attributes, columns and images (`content_digest`)",
}
"""Attributes of the file's root; text but for the version."""

DATASETS: dict[str, Column] = {
    "samples/name": Column("text", "n", "unique name of the sample"),
    "samples/patient": Column("text", "n", "pseudonym; samples of one patient share it"),
    "samples/scan": Column("text", "n", "acquisition; its reconstructions share it"),
    "samples/split": Column("text", "n", "`train`, `valid`, ...; empty: nobody decided"),
    "samples/sex": Column("text", "n", "`M`, `F`, `O`; empty: unknown"),
    "samples/age": Column("float32", "n", "years; NaN: unknown"),
    "samples/path": Column(
        "text", "n", "the CT, relative to the source's root; where paths are hidden, its sample"
    ),
    "samples/series": Column("text", "n", "series of a DICOM input; empty: the only one"),
    "samples/reader": Column("text", "n", "rules by which voxels became HU"),
    "samples/metadata": Column("text", "n", "JSON: the source's other columns"),
    "samples/notes": Column("text", "n", "JSON list: what reader and clean-up did"),
    "samples/source_sha256": Column(
        "text", "n", "of the CT's file or, of a folder, its files; linkable unless `unlinkable`"
    ),
    "samples/voxels_sha256": Column(
        "text", "n", "of the CT's voxels as they were read; linkable unless `unlinkable`"
    ),
    "samples/segmentation_sha256": Column(
        "text", "n", "of its segmentation, linkable likewise; empty: not used"
    ),
    "samples/fingerprint": Column("text", "n", "of its files on the builder's disk; not hashed"),
    "samples/labels": Column("int8", "n", "(n, labels) 1, 0, -1 uncertain, -128 unknown"),
    "samples/segmentation": Column("text", "n", "its segmentation's path or stand-in; empty: none"),
    "mask_labels": Column("int32", "masks", "labels whose thickness `masks` holds"),
    "label_names": Column("text", "labels", "of the columns of `samples/labels`"),
    "reports/clinical_information": Column("text", "n", "empty: not given"),
    "reports/technique": Column("text", "n", "empty: not given"),
    "reports/findings": Column("text", "n", "empty: not given"),
    "reports/impressions": Column("text", "n", "empty: not given"),
    "patients/name": Column("text", "patients", "every patient once"),
    "patients/samples": Column("int64", "patients", "samples of the patient"),
    "failures/name": Column("text", "failures", "sample that was planned and is missing"),
    "failures/patient": Column("text", "failures", "its patient"),
    "failures/path": Column("text", "failures", "its CT, as `samples/path`"),
    "failures/reason": Column("text", "failures", "what was wrong and what to do"),
    "failures/fingerprint": Column("text", "failures", "as of samples; empty: is tried again"),
    "problems/name": Column("text", "problems", "what could not be planned, or its pseudonym"),
    "problems/place": Column("text", "problems", "where the source states it; may be empty"),
    "problems/reason": Column("text", "problems", "what was wrong and what to do"),
    "notes": Column("text", "notes", "on the source, one sentence each"),
}
"""Everything but views and splits; a split's samples are listed in `splits/<name>`, int64."""

FINGERPRINTS = ("samples/fingerprint", "failures/fingerprint")
"""Of one disk, with its time stamps: they are no content, and the same data set elsewhere has
others."""

LATER = ("samples/segmentation_sha256", *FINGERPRINTS)
"""What files of earlier builds lack; a build over them makes their samples again."""

VIEW_DATASETS: dict[str, Column] = {
    "picture": Column("uint8", "n", "(n, rows, columns) grey levels, 0 black, 255 white"),
    "line_integrals": Column(
        "uint16", "n", "(n, rows, columns) stored value * scale + offset, or float32 as it is"
    ),
    "scale": Column("float64", "n", "one step of the stored line integrals; 1 for float32"),
    "offset": Column("float64", "n", "line integral of stored 0; 0 for float32"),
    "masks": Column(
        "uint16", "n", "(n, masks, rows, columns) 1/100 mm of each label along each ray; 0: none"
    ),
    "masks_sha256": Column(
        "text", "n", "of the values' bytes, little-endian; empty: no segmentation"
    ),
    "picture_sha256": Column("text", "n", "of the image's bytes, little-endian"),
    "line_integrals_sha256": Column("text", "n", "of the stored values' bytes, little-endian"),
    "record": Column("text", "n", "JSON as beside an image: how it was made (`drr.record`)"),
    "source": Column("float64", "n", "(n, 3) X-ray source in LPS mm; NaN: parallel beam"),
    "direction": Column("float64", "n", "(n, 3) of a parallel beam; NaN: there is a source"),
    "detector_center": Column("float64", "n", "(n, 3) LPS mm"),
    "u": Column("float64", "n", "(n, 3) mm from one pixel to the next along a row, LPS"),
    "v": Column("float64", "n", "(n, 3) mm from one pixel to the next down a column, LPS"),
}
"""In every group `views/<view>`; a quantity that was not stored has no image and no digest."""

IMAGES = ("picture", "line_integrals")
PIXELS = (*IMAGES, "masks")
MASK_STEP_MM = 0.01

LEVELS = 65535
_BLOCK = 4096


def schema_table() -> str:
    """The layout as Markdown, for the documentation."""
    lines = ["| attribute | meaning |", "|---|---|"]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in ATTRIBUTES.items()]
    lines += ["", "| dataset | type | rows | meaning |", "|---|---|---|---|"]
    views = {f"views/<view>/{name}": column for name, column in VIEW_DATASETS.items()}
    splits = {"splits/<split>": Column("int64", "any", "rows of the split's samples")}
    for name, column in (DATASETS | splits | views).items():
        lines.append(f"| `{name}` | {column.dtype} | {column.length} | {column.meaning} |")
    return "\n".join(lines)


def text_dtype() -> Any:
    """UTF-8 of variable length."""
    import h5py

    return h5py.string_dtype("utf-8")


def image_options(shape: tuple[int, ...], dtype: str, compression: int) -> dict[str, Any]:
    """Chunks and built-in filters of a dataset of images: one image a chunk.

    Parameters
    ----------
    shape
        Shape of one chunk: rows and columns, after a 1 for each other axis.
    dtype
        `uint8`, `uint16` or `float32`; stored little-endian.
    compression
        Level of DEFLATE from 1 to 9, or 0 for none.
    """
    options: dict[str, Any] = {"dtype": np.dtype(dtype).newbyteorder("<"), "chunks": (1, *shape)}
    if compression:
        # High bytes of neighbouring pixels are alike: together they shrink.
        wide = np.dtype(dtype).itemsize > 1
        options |= {"compression": "gzip", "compression_opts": compression, "shuffle": wide}
    return options


def quantise_line_integrals(
    values: NDArray[np.float32],
) -> tuple[NDArray[np.uint16], float, float]:
    """Line integrals as uint16 with a step and an offset of their own.

    The full range of the image is spread over all levels, so an error is at most half a step:
    for a chest with line integrals from 0 to 8 that is 6e-5.

    Returns
    -------
    Stored values, scale, offset: `stored * scale + offset` are the line integrals again.
    """
    low, high = float(values.min()), float(values.max())
    scale = (high - low) / LEVELS or 1.0
    steps = np.rint((values.astype(np.float64) - low) / scale)
    return np.clip(steps, 0, LEVELS).astype(np.uint16), scale, low


def quantise_thickness(mm: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Thickness in steps of `MASK_STEP_MM`, at most 655.35 mm."""
    # Sums of ones and minus ones may end a hair below zero.
    return np.clip(np.rint(mm / MASK_STEP_MM), 0, LEVELS).astype(np.uint16)


def dequantise(stored: NDArray[Any], scale: float, offset: float) -> NDArray[np.float32]:
    """Line integrals, float32, of what `line_integrals` holds."""
    if stored.dtype == np.float32:
        return stored
    return (stored * np.float64(scale) + np.float64(offset)).astype(np.float32)


def pixels_digest(image: NDArray[Any]) -> str:
    """SHA-256 of an image's values, rows after rows, little-endian."""
    little = np.ascontiguousarray(image, image.dtype.newbyteorder("<"))
    return hashlib.sha256(little.tobytes()).hexdigest()


def content_digest(file: h5py.File) -> str:
    """SHA-256 of what a file holds, however it is laid out on disk.

    Attributes and columns count with their names, types, shapes and values. Images count through
    the columns of their digests, so that this is quick; who doubts the pixels compares those.
    Fingerprints of the sources' files do not count.
    """
    digest = hashlib.sha256()
    for name, value in sorted(file.attrs.items()):
        if name != "content_sha256":
            digest.update(json.dumps(["attribute", name, str(value)]).encode())
    for path, dataset in walk(file):
        if path in FINGERPRINTS:
            continue
        digest.update(json.dumps([path, str(dataset.dtype), list(dataset.shape)]).encode())
        if path.rsplit("/", 1)[-1] in PIXELS and path.startswith("views/"):
            continue
        text = dataset.dtype.kind == "O"
        # In blocks: the records of a large data set need not fit into memory.
        for start in range(0, len(dataset), _BLOCK):
            rows = slice(start, start + _BLOCK)
            if text:
                digest.update(json.dumps(list(dataset.asstr()[rows])).encode())
            else:
                digest.update(np.ascontiguousarray(dataset[rows]).tobytes())
    return digest.hexdigest()


def walk(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """Every dataset and its path, in order of the paths."""
    import h5py

    paths: list[str] = []
    file.visit(paths.append)
    for path in sorted(paths):
        if isinstance(file[path], h5py.Dataset):
            yield path, file[path]
