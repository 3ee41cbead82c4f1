"""Join parts into a data set's file, in plan order, whoever finished first.

Compressed images are copied as they are. The file has another name until all of it is on disk.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import drr
from drr.datasets.part import open_part
from drr.datasets.plan import Plan, public_metadata, public_series
from drr.datasets.schema import (
    DATASETS,
    FORMAT,
    PIXELS,
    SCHEMA_VERSION,
    content_digest,
    text_dtype,
    walk,
)
from drr.datasets.study import Problem
from drr.errors import WriteError
from drr.record import NOTICE, salted, unlinked

if TYPE_CHECKING:
    import h5py

__all__ = ["assemble", "plan_of"]

_BLOCK = 256  # rows that are held in memory


@dataclass
class _Found:
    """What the parts hold: who has images, what each column is like, and who has none."""

    indices: list[int] = field(default_factory=list)
    columns: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)


def assemble(
    plan: Plan,
    paths: Sequence[Path],
    out: Path,
    *,
    killed: Mapping[int, str],
    salt: bytes | None = None,
) -> tuple[str, int]:
    """Write the file of a plan whose parts are all there.

    Parameters
    ----------
    paths
        Of each study's part.
    killed
        Reasons of the studies that have no part, by their place in the plan.
    salt
        Mixed into digests of the CTs, where nobody is to know the CTs by them.

    Returns
    -------
    Digest of the content, and the number of samples.

    Raises
    ------
    WriteError
        For a full disk and the like. Nothing half-written is left, and the parts are kept.
    """
    found = _examine(paths, killed)
    _check_space(paths, found.indices, out)
    part = out.with_name(f".{out.name}.assembling")
    try:
        digest = _write(plan, paths, found, part, salt)
        _to_disk(part)
        os.replace(part, out)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError | RuntimeError):
            raise WriteError(
                f"{out}: cannot be written ({error}); make room or choose another disk. All parts "
                "are kept and the same command goes on"
            ) from None
        raise
    return digest, len(found.indices)


def plan_of(path: Path) -> str | None:
    """Digest of the plan that a file was built from; None for anything else."""
    if not path.is_file():
        return None
    try:
        with open_part(path) as file:
            if file.attrs.get("format") == FORMAT:
                return str(file.attrs["plan"])
    except (OSError, KeyError):
        pass
    return None


def _examine(paths: Sequence[Path], killed: Mapping[int, str]) -> _Found:
    found = _Found()
    for index, path in enumerate(paths):
        if index in killed:
            found.failures[index] = killed[index]
            continue
        with open_part(path) as part:
            reason = str(part.attrs["reason"]) or _odd(part, found)
            if reason:
                found.failures[index] = reason
                continue
            found.indices.append(index)
            if not found.columns:
                found.columns = {name: _like(dataset) for name, dataset in walk(part)}
    return found


def _odd(part: h5py.File, found: _Found) -> str:
    """Why a part does not go with the first; empty if it does."""
    for name, like in found.columns.items():
        here, there = part[name].shape[1:], like["shape"]
        if here != there:
            return (
                f"{name} is {here[-2:]} pixels and the first {there[-2:]}; all samples of a view "
                "are of one size"
            )
    return ""


def _like(dataset: h5py.Dataset) -> dict[str, Any]:
    """Options of `create_dataset` for many such rows."""
    options = {"shape": dataset.shape[1:], "dtype": dataset.dtype}
    if dataset.dtype.kind == "O":
        options["dtype"] = text_dtype()
    if dataset.chunks is not None:
        options |= {
            "chunks": dataset.chunks,
            "compression": dataset.compression,
            "compression_opts": dataset.compression_opts,
            "shuffle": dataset.shuffle,
        }
    return options


def _write(
    plan: Plan, paths: Sequence[Path], found: _Found, target: Path, salt: bytes | None
) -> str:
    import h5py

    with h5py.File(target, "w") as file:
        for name, value in _attributes(plan).items():
            file.attrs[name] = value
        for path, values in _columns(plan, found).items():
            _put(file, path, DATASETS[path].dtype, values)
        splits = [plan.cohort.studies[index].split for index in found.indices]
        for split in sorted({name for name in splits if name}):
            members = [row for row, name in enumerate(splits) if name == split]
            file[f"splits/{split}"] = np.array(members, np.int64)
        if not found.columns:  # not one CT could be used
            for name in ("notes", "source_sha256", "voxels_sha256"):
                _put(file, f"samples/{name}", "text", [])
            file.create_group("views")
        _copy(file, paths, found, salt)
        digest = content_digest(file)
        file.attrs["content_sha256"] = digest
    return digest


def _copy(file: h5py.File, paths: Sequence[Path], found: _Found, salt: bytes | None) -> None:
    """Everything that parts hold, row after row; images as they were compressed."""
    count = len(found.indices)
    for name, like in found.columns.items():
        file.create_dataset(name, **like | {"shape": (count, *like["shape"])})
    images = [name for name in found.columns if name.rsplit("/", 1)[-1] in PIXELS]
    columns = [name for name in found.columns if name not in images]
    for start in range(0, count, _BLOCK):
        values: dict[str, list[Any]] = {name: [] for name in columns}
        block = found.indices[start : start + _BLOCK]
        for row, index in enumerate(block, start):
            with open_part(paths[index]) as part:
                for name in columns:
                    values[name].append(part[name][0])
                for name in images:
                    _copy_chunks(part[name].id, file[name].id, row)
        for name in columns:
            if salt is not None:
                values[name] = [_unlinked(name, value, salt) for value in values[name]]
            file[name][start : start + len(block)] = values[name]


def _unlinked(column: str, value: Any, salt: bytes) -> Any:
    """A value without what tells the CT to whoever has it: its digests are mixed with the salt."""
    last = column.rsplit("/", 1)[-1]
    if last in ("source_sha256", "voxels_sha256"):
        return salted(_text(value), salt)
    if last != "record":
        return value
    record = json.loads(value)
    record["projection"] = unlinked(record["projection"], salt)
    return json.dumps(record, sort_keys=True, allow_nan=False)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _copy_chunks(source: Any, target: Any, row: int) -> None:
    for number in range(source.get_num_chunks()):
        offset = source.get_chunk_info(number).chunk_offset
        mask, content = source.read_direct_chunk(offset)
        target.write_direct_chunk((row, *offset[1:]), content, mask)


def _attributes(plan: Plan) -> dict[str, Any]:
    cohort = plan.cohort
    return {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "notice": NOTICE,
        "drr_version": drr.__version__,
        "configuration": json.dumps(plan.configuration.to_dict(), sort_keys=True),
        "versions": json.dumps(_versions(), sort_keys=True),
        "plan": plan.digest,
        "source_kind": cohort.kind,
        "source_found": cohort.found,
        "licence": cohort.licence,
        "attribution": cohort.attribution,
    }


def _columns(plan: Plan, found: _Found) -> dict[str, Any]:
    """What the plan says of the samples that there are, by path."""
    keep = plan.configuration.keep_identifiers
    cohort = plan.cohort
    studies = [cohort.studies[index] for index in found.indices]
    counts = Counter(study.patient for study in studies)
    failed = [cohort.studies[index] for index in found.failures]
    # Reasons are one line, as those of problems.
    reasons = [Problem(name="", reason=reason).reason for reason in found.failures.values()]
    columns: dict[str, Any] = {
        "samples/name": [s.sample for s in studies],
        "samples/patient": [s.patient for s in studies],
        "samples/scan": [s.scan for s in studies],
        "samples/split": [s.split or "" for s in studies],
        "samples/sex": [s.sex or "" for s in studies],
        "samples/age": [np.nan if s.age is None else s.age for s in studies],
        "samples/path": [s.path for s in studies],
        "samples/series": [public_series(s, keep_identifiers=keep) for s in studies],
        "samples/reader": [s.reader for s in studies],
        "samples/segmentation": [s.segmentation or "" for s in studies],
        "samples/metadata": [
            json.dumps(public_metadata(s, keep_identifiers=keep), sort_keys=True) for s in studies
        ],
        "samples/labels": cohort.codes[found.indices],
        "label_names": cohort.label_names,
        "mask_labels": plan.configuration.masks,
        "patients/name": list(counts),
        "patients/samples": list(counts.values()),
        "failures/name": [s.sample for s in failed],
        "failures/patient": [s.patient for s in failed],
        "failures/path": [s.path for s in failed],
        "failures/reason": reasons,
        "problems/name": [p.name for p in cohort.problems],
        "problems/place": [p.place for p in cohort.problems],
        "problems/reason": [p.reason for p in cohort.problems],
        "notes": cohort.notes,
    }
    for name in ("clinical_information", "technique", "findings", "impressions"):
        columns[f"reports/{name}"] = [getattr(s.report, name) for s in studies]
    return columns


def _put(file: h5py.File, path: str, dtype: str, values: Any) -> None:
    if dtype == "text":
        file.create_dataset(path, data=np.array(list(values), object), dtype=text_dtype())
    else:
        file.create_dataset(path, data=np.array(values, dtype))


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    import h5py
    import llvmlite.binding as llvm

    found = {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu": str(llvm.get_host_cpu_name()),
        "hdf5": h5py.version.hdf5_version,
    }
    for name in ("numpy", "numba", "llvmlite", "h5py", "SimpleITK", "nibabel", "pydicom"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _check_space(paths: Sequence[Path], indices: Sequence[int], out: Path) -> None:
    needed = sum(paths[index].stat().st_size for index in indices)
    free = shutil.disk_usage(out.parent).free
    if free < needed:
        raise WriteError(
            f"{out}: needs {needed / 1e9:.2f} GB and its disk has {free / 1e9:.2f} GB left; make "
            "room. All parts are kept and the same command goes on"
        )


def _to_disk(path: Path) -> None:
    """Wait until the file's bytes are on disk, so that its name never stands for less."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
