"""The files of a store of prepared scans: what is in each, written and read."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.checks import Plain
from drr.datasets.schema import DatasetError
from drr.datasets.study import Study
from drr.errors import DocumentError, DRRError, printable
from drr.files.arrays import map_npy, read_npz
from drr.files.documents import check_keys, read_json
from drr.patient.anatomy import Anatomy
from drr.patient.extension import Extension

__all__ = [
    "INDEX",
    "STORE_FORMAT",
    "STORE_VERSION",
    "Entry",
    "anatomy_bytes",
    "array_bytes",
    "mapped_voxels",
    "read_anatomy",
    "read_index",
]

STORE_FORMAT = "drr-prepared-store"
STORE_VERSION = 1
INDEX = "store.json"

MAX_SCANS = 10_000_000
MAX_INDEX_BYTES = 4 << 30
"""Of the index: two kilobytes a scan."""

MAX_ANATOMY_BYTES = 1 << 30
"""Of the masks of one scan, which are coarse: a megabyte."""

_INDEX_KEYS: dict[str, Any] = {
    **dict.fromkeys(("format", "drr", "licence", "attribution"), str),
    "version": int,
    **dict.fromkeys(("options", "failures"), dict),
    **dict.fromkeys(("label_names", "volumes"), list),
}


@dataclass(frozen=True, kw_only=True)
class Entry(Plain):
    """One prepared scan.

    Parameters
    ----------
    sample, patient, split, sex, age, labels
        As in `Study`; `split` and `sex` are None where unknown.
    key
        Digest of the study and the options: what the files were made from.
    sha256
        Digest of the scan's voxels as they were read.
    shape, spacing
        Voxels along z, y and x; mm along x, y and z.
    files
        Size in bytes and SHA-256 of each file.
    notes
        What was done to the scan.
    """

    sample: str
    patient: str
    split: str | None
    sex: str | None
    age: float | None
    labels: tuple[int, ...]
    key: str
    sha256: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    affine: tuple[tuple[float, ...], ...]
    cleaned: bool
    extension: Mapping[str, Any] | None
    mask_affine: tuple[tuple[float, ...], ...] | None
    files: Mapping[str, tuple[int, str]]
    notes: tuple[str, ...]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Entry:
        """Inverse of `to_dict`, also after JSON made lists of tuples.

        Raises
        ------
        DatasetError
            For what is no such entry, by key.
        """
        try:
            check_keys(values, _ENTRY_KEYS)
            entry = cls(**{name: _tuples(value) for name, value in values.items()})
            _check(entry)
        except (DRRError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            text = printable(error, most=200)
            raise DatasetError(f"the entry of a prepared scan cannot be used: {text}") from None
        return entry


_ENTRY_KEYS: dict[str, Any] = {
    **dict.fromkeys(("sample", "patient", "key", "sha256"), str),
    **dict.fromkeys(("split", "sex"), (str, type(None))),
    "age": (float, type(None)),
    **dict.fromkeys(("labels", "shape", "spacing", "affine", "notes"), list),
    "cleaned": bool,
    "extension": (dict, type(None)),
    "mask_affine": (list, type(None)),
    "files": dict,
}


def _check(entry: Entry) -> None:
    """Refuse an entry whose values cannot be, or whose names lead out of its folder."""
    # Names, labels, sex and age are a study's.
    Study(
        sample=entry.sample,
        patient=entry.patient,
        path="ct",
        split=entry.split,
        labels=_whole("labels", entry.labels),
        sex=entry.sex,
        age=entry.age,
    )
    if len(_whole("shape", entry.shape)) != 3 or min(entry.shape) < 1:
        raise DatasetError(f"shape must be three whole numbers above zero, got {entry.shape}")
    if _finite("spacing", entry.spacing).shape != (3,) or min(entry.spacing) <= 0:
        raise DatasetError(f"spacing must be three numbers above zero, got {entry.spacing}")
    for name in ("affine", "mask_affine"):
        affine = getattr(entry, name)
        if affine is not None and _finite(name, affine).shape != (4, 4):
            raise DatasetError(f"{name} must be 4 x 4 numbers")
    if entry.extension is not None:
        Extension.from_dict(entry.extension)
    if not all(isinstance(note, str) for note in entry.notes):
        raise DatasetError("notes must be texts")
    needed = ("hu.npy", "anatomy.npz", *(("mask.npy",) if entry.mask_affine is not None else ()))
    if set(entry.files) != set(needed):
        raise DatasetError(f"files must be {', '.join(needed)}, got {', '.join(entry.files)}")
    for size, digest in entry.files.values():
        if type(size) is not int or size < 0 or not re.fullmatch("[0-9a-f]{64}", str(digest)):
            raise DatasetError("files must have a size and a digest each")


def _whole(name: str, values: Any) -> tuple[int, ...]:
    if any(type(value) is not int for value in values):
        raise DatasetError(f"{name} must be whole numbers")
    return tuple(values)


def _finite(name: str, values: Any) -> NDArray[np.float64]:
    numbers = np.array(values)
    # In mm: what is further away than 1000 km is a mistake, and squares of it would overflow.
    if numbers.dtype.kind not in "if" or not (np.abs(numbers) <= 1e9).all():
        raise DatasetError(f"{name} must be finite numbers up to 1e9")
    return numbers.astype(np.float64)


def read_index(folder: Path) -> dict[str, Any]:
    """The index of a store, its kinds of values checked.

    Raises
    ------
    DatasetError
        For a folder that is no store, or one of another version or damaged.
    """
    path = folder / INDEX
    try:
        index = read_json(path, most=MAX_INDEX_BYTES, keys=MAX_SCANS)
    except OSError:
        raise DatasetError(
            f"{folder}: has no {INDEX}: it is no store of prepared scans, or an unfinished one; "
            "run 'drr prepare' (again)"
        ) from None
    except DocumentError as error:
        raise DatasetError(f"{path}: {error}; run 'drr prepare' again") from None
    if not isinstance(index, dict) or index.get("format") != STORE_FORMAT:
        raise DatasetError(f"{path}: is not the index of a store of prepared scans")
    if index.get("version") != STORE_VERSION:
        raise DatasetError(
            f"{path}: is a store of version {index.get('version')}, this release reads "
            f"{STORE_VERSION}; run 'drr prepare' into a new folder"
        )
    try:
        check_keys(index, _INDEX_KEYS)
        texts = [*index["label_names"], *index["failures"].values()]
        if not all(isinstance(text, str) for text in texts):
            raise DocumentError("label_names and failures must be texts")
        if len(set(index["label_names"])) < len(index["label_names"]):
            raise DocumentError("label_names must be different")
    except DocumentError as error:
        raise DatasetError(f"{path}: {error}; run 'drr prepare' again") from None
    return index


def mapped_voxels(path: Path) -> NDArray[np.int16]:
    """Voxels of a file, mapped; nothing that is done to them reaches the file."""
    try:
        voxels = map_npy(path)
    except (OSError, DocumentError) as error:
        raise DatasetError(f"{path}: cannot be read ({error}); run 'drr prepare' again") from None
    if voxels.dtype != np.int16 or voxels.ndim != 3:
        raise DatasetError(f"{path}: holds no int16 volume; run 'drr prepare' again")
    return voxels


def array_bytes(values: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(values, "<i2"), allow_pickle=False)
    return buffer.getvalue()


def anatomy_bytes(anatomy: Anatomy) -> bytes:
    buffer = io.BytesIO()
    masks = {"body": anatomy.body, "lungs": anatomy.lungs, "outside": anatomy.outside_view}
    arrays: dict[str, Any] = {
        "affine": anatomy.affine,
        "factors": np.array(anatomy.factors),
        "shape": np.array(anatomy.body.shape),
        "found": np.array(anatomy.found),
        "truncated_sides": np.array(anatomy.truncated_sides, "U9"),
        "notes": np.array(anatomy.notes, "U") if anatomy.notes else np.empty(0, "U1"),
    }
    arrays |= {name: np.packbits(mask) for name, mask in masks.items() if mask is not None}
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def read_anatomy(folder: Path) -> Anatomy:
    path = folder / "anatomy.npz"
    try:
        stored = read_npz(path, most=MAX_ANATOMY_BYTES)
        shape = _whole("shape", stored["shape"].tolist())
        if len(shape) != 3 or min(shape) < 1:
            raise DatasetError(f"a mask of shape {shape}")
        masks = {
            name: _unpacked(name, stored[name], shape)
            for name in ("body", "lungs", "outside")
            if name in stored
        }
        first, second, third = _whole("factors", stored["factors"].tolist())
        affine = _finite("affine", stored["affine"])
        if affine.shape != (4, 4) or min(first, second, third) < 1:
            raise DatasetError("a grid that cannot be")
        return Anatomy(
            body=masks["body"],
            affine=affine,
            factors=(first, second, third),
            lungs=masks.get("lungs"),
            truncated_sides=tuple(map(str, stored["truncated_sides"].tolist())),
            found=bool(stored["found"]),
            outside_view=masks.get("outside"),
            notes=tuple(map(str, stored["notes"].tolist())),
        )
    except (OSError, DRRError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        text = printable(error, most=200)
        raise DatasetError(f"{path}: cannot be read ({text}); run 'drr prepare' again") from None


def _unpacked(name: str, packed: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    count = math.prod(shape)
    if packed.dtype != np.uint8 or packed.shape != (-(-count // 8),):
        raise DatasetError(f"{name} is no mask of shape {shape}")
    return np.unpackbits(packed, count=count).reshape(shape) > 0


def _tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_tuples(part) for part in value)
    if isinstance(value, dict):
        return {key: _tuples(part) for key, part in value.items()}
    return value
