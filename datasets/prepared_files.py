"""The files of a store of prepared scans: what is in each, written and read."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.anatomy import Anatomy
from drr.datasets.schema import DatasetError

__all__ = [
    "INDEX",
    "STORE_FORMAT",
    "STORE_VERSION",
    "Entry",
    "anatomy_bytes",
    "array_bytes",
    "file_digest",
    "mapped_voxels",
    "read_anatomy",
    "read_index",
]

STORE_FORMAT = "drr-prepared-store"
STORE_VERSION = 1
INDEX = "store.json"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One prepared scan.

    Parameters
    ----------
    sample, patient, split, sex, age, labels
        As in `Study`; `split` and `sex` are None where unknown.
    key
        Digest of the study and the options: what the files were made from.
    sha256
        Of the scan's voxels as they were read.
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

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Entry:
        """Inverse of `to_dict`, also after JSON made lists of tuples."""
        names = {f.name for f in fields(cls)}
        if set(values) != names:
            wrong = sorted(set(values) ^ names)
            raise DatasetError(f"the entry of a prepared scan lacks or has too much: {wrong[0]!r}")
        return cls(**{name: _tuples(value) for name, value in values.items()})


def read_index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX
    try:
        index = json.loads(path.read_text("utf-8"))
    except OSError:
        raise DatasetError(
            f"{folder}: has no {INDEX}: it is no store of prepared scans, or an unfinished one; "
            "run 'drr prepare' (again)"
        ) from None
    except ValueError as error:
        raise DatasetError(f"{path}: is not JSON ({error}); run 'drr prepare' again") from None
    if not isinstance(index, dict) or index.get("format") != STORE_FORMAT:
        raise DatasetError(f"{path}: is not the index of a store of prepared scans")
    if index.get("version") != STORE_VERSION:
        raise DatasetError(
            f"{path}: is a store of version {index.get('version')}, this release reads "
            f"{STORE_VERSION}; run 'drr prepare' into a new folder"
        )
    needed = ("options", "label_names", "volumes", "failures")
    if missing := [name for name in needed if name not in index]:
        raise DatasetError(f"{path}: lacks {missing[0]!r}; run 'drr prepare' again")
    return index


def mapped_voxels(path: Path) -> NDArray[np.int16]:
    """Voxels of a file, mapped; nothing that is done to them reaches the file."""
    try:
        # Copy on write: the kernels are compiled for arrays that may be written to.
        voxels = np.asarray(np.load(path, mmap_mode="c", allow_pickle=False))
    except (OSError, ValueError) as error:
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
        with np.load(path, allow_pickle=False) as stored:
            shape = tuple(stored["shape"].tolist())
            masks = {
                name: np.unpackbits(stored[name], count=math.prod(shape)).reshape(shape) > 0
                for name in ("body", "lungs", "outside")
                if name in stored
            }
            factors = stored["factors"].tolist()
            return Anatomy(
                body=masks["body"],
                affine=stored["affine"],
                factors=(factors[0], factors[1], factors[2]),
                lungs=masks.get("lungs"),
                truncated_sides=tuple(stored["truncated_sides"].tolist()),
                found=bool(stored["found"]),
                outside_view=masks.get("outside"),
                notes=tuple(stored["notes"].tolist()),
            )
    except (OSError, ValueError, KeyError) as error:
        raise DatasetError(f"{path}: cannot be read ({error}); run 'drr prepare' again") from None


def file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_tuples(part) for part in value)
    if isinstance(value, dict):
        return {key: _tuples(part) for key, part in value.items()}
    return value
