"""Join parts into a data set's file, in plan order, whoever finished first.

What a finished file holds already is taken from it. Compressed images are copied as they are. The
file has another name until all of it is on disk; an older one stays until then.
"""

from __future__ import annotations

import contextlib
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
from drr.datasets.build.part import open_part
from drr.datasets.build.plan import Plan, public_metadata, public_series
from drr.datasets.build.rows import Sources, copy_rows, like
from drr.datasets.schema import (
    DATASETS,
    FORMAT,
    SCHEMA_VERSION,
    content_digest,
    text_dtype,
    walk,
)
from drr.datasets.study import Problem, Study
from drr.errors import WriteError
from drr.files.atomic import temporary_path
from drr.record import NOTICE

if TYPE_CHECKING:
    import h5py

__all__ = ["Kept", "assemble", "attributes", "one_line", "sample_columns"]

_PART_COLUMNS = tuple(
    f"samples/{name}" for name in ("notes", "segmentation_sha256", "source_sha256", "voxels_sha256")
)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Studies of a plan that are taken from a finished file, by their place in the plan.

    Parameters
    ----------
    path
        The file.
    rows
        Sample names of the rows.
    failures
        Reasons of the others.
    stamps
        Stamps of all source files, as they are now.
    """

    path: Path
    rows: Mapping[int, int]
    failures: Mapping[int, str]
    stamps: Mapping[int, str]


@dataclass
class _Found:
    """What there is: who has images, what each column is like, and who has none."""

    indices: list[int] = field(default_factory=list)
    columns: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)
    stamps: dict[int, str] = field(default_factory=dict)

    def add(self, index: int, stamp: str, reason: str) -> None:
        self.stamps[index] = stamp
        if reason:
            self.failures[index] = reason
        else:
            self.indices.append(index)


def assemble(
    plan: Plan,
    paths: Sequence[Path],
    out: Path,
    *,
    killed: Mapping[int, str],
    kept: Kept | None = None,
    salt: bytes | None = None,
) -> tuple[str, int]:
    """Write the file of a plan of which everything is there.

    Parameters
    ----------
    paths
        Path of each study's part.
    killed
        Reasons of the studies that have no part, by their place in the plan.
    kept
        What a finished file gives, which may be the one that is replaced; these need no part.
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
    part = temporary_path(out.parent)
    try:
        with contextlib.ExitStack() as stack:
            old = None if kept is None else stack.enter_context(open_part(kept.path))
            sources = Sources(paths=paths, rows=kept.rows if kept else {}, finished=old)
            found = _examine(sources, killed, kept, plan.configuration.compression)
            _check_space(sources, found.indices, out)
            digest = _write(plan, found, sources, part, salt)
        _to_disk(part)
        os.replace(part, out)
    except BaseException as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError | RuntimeError):
            raise WriteError(
                f"{out}: cannot be written ({error}); make room or choose another disk. All parts "
                "are kept and the same command goes on"
            ) from None
        raise
    return digest, len(found.indices)


def _examine(
    sources: Sources, killed: Mapping[int, str], kept: Kept | None, compression: int
) -> _Found:
    found, old = _Found(), sources.finished
    odd: str | None = None  # of all rows of the finished file, which are alike
    for index, path in enumerate(sources.paths):
        if index in killed:
            found.add(index, "", killed[index])
        elif kept is not None and index in kept.failures:
            found.add(index, kept.stamps[index], kept.failures[index])
        elif kept is not None and old is not None and index in kept.rows:
            found.columns = found.columns or _columns_of(old, compression)
            odd = _odd(old, found) if odd is None else odd
            found.add(index, "" if odd else kept.stamps[index], odd)
        else:
            with open_part(path) as part:
                reason, stamp = str(part.attrs["reason"]), str(part.attrs["stamp"])
                if not reason:
                    found.columns = found.columns or _columns_of(part, compression)
                    if reason := _odd(part, found):
                        stamp = ""  # another first sample may have its size: tried again
                found.add(index, stamp, reason)
    return found


def _columns_of(file: h5py.File, compression: int) -> dict[str, dict[str, Any]]:
    """What a part holds, or a finished file in its place, and how it shall be laid out."""
    return {
        name: like(name, dataset, compression)
        for name, dataset in walk(file)
        if name.startswith("views/") or name in _PART_COLUMNS
    }


def _odd(part: h5py.File, found: _Found) -> str:
    """Why a part does not go with the first; empty if it does."""
    for name, first in found.columns.items():
        here, there = part[name].shape[1:], first["shape"]
        if here != there:
            return (
                f"{name} is {here[-2:]} pixels and the first {there[-2:]}; all samples of a view "
                "are of one size"
            )
    return ""


def _write(plan: Plan, found: _Found, sources: Sources, target: Path, salt: bytes | None) -> str:
    import h5py

    # New, so never through a link; and by nobody else, so without HDF5's lock.
    with h5py.File(target, "x", locking=False) as file:
        for name, value in attributes(plan).items():
            file.attrs[name] = value
        for path, values in _columns(plan, found).items():
            _put(file, path, DATASETS[path].dtype, values)
        splits = [plan.cohort.studies[index].split for index in found.indices]
        for split in sorted({name for name in splits if name}):
            members = [row for row, name in enumerate(splits) if name == split]
            file[f"splits/{split}"] = np.array(members, np.int64)
        if not found.columns:  # not one CT could be used
            for name in _PART_COLUMNS:
                _put(file, name, "text", [])
            file.create_group("views")
        copy_rows(file, found.columns, found.indices, sources, salt=salt)
        digest = content_digest(file)
        file.attrs["content_sha256"] = digest
    return digest


def attributes(plan: Plan) -> dict[str, Any]:
    """Of the root of a plan's file."""
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
    cohort = plan.cohort
    studies = [cohort.studies[index] for index in found.indices]
    counts = Counter(study.patient for study in studies)
    failed = [cohort.studies[index] for index in found.failures]
    columns: dict[str, Any] = {
        **{f"samples/{name}": values for name, values in sample_columns(plan, studies).items()},
        "samples/labels": cohort.codes[found.indices],
        "samples/fingerprint": [found.stamps[index] for index in found.indices],
        "label_names": cohort.label_names,
        "mask_labels": plan.configuration.masks,
        "patients/name": list(counts),
        "patients/samples": list(counts.values()),
        "failures/name": [s.sample for s in failed],
        "failures/patient": [s.patient for s in failed],
        "failures/path": [s.path for s in failed],
        "failures/reason": [one_line(reason) for reason in found.failures.values()],
        "failures/fingerprint": [found.stamps[index] for index in found.failures],
        "problems/name": [p.name for p in cohort.problems],
        "problems/place": [p.place for p in cohort.problems],
        "problems/reason": [p.reason for p in cohort.problems],
        "notes": cohort.notes,
    }
    for name in ("clinical_information", "technique", "findings", "impressions"):
        columns[f"reports/{name}"] = [getattr(s.report, name) for s in studies]
    return columns


def sample_columns(plan: Plan, studies: Sequence[Study]) -> dict[str, list[Any]]:
    """What the plan says of each of some studies, by the name of its column in `samples`."""
    keep = plan.configuration.keep_identifiers
    return {
        "name": [s.sample for s in studies],
        "patient": [s.patient for s in studies],
        "scan": [s.scan for s in studies],
        "split": [s.split or "" for s in studies],
        "sex": [s.sex or "" for s in studies],
        "age": [np.nan if s.age is None else s.age for s in studies],
        "path": [s.path for s in studies],
        "series": [public_series(s, keep_identifiers=keep) for s in studies],
        "reader": [s.reader for s in studies],
        "segmentation": [s.segmentation or "" for s in studies],
        "metadata": [
            json.dumps(public_metadata(s, keep_identifiers=keep), sort_keys=True) for s in studies
        ],
    }


def one_line(reason: str) -> str:
    """A reason as the file holds it: one line, as those of problems."""
    return Problem(name="", reason=reason).reason


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


def _check_space(sources: Sources, indices: Sequence[int], out: Path) -> None:
    parts = [sources.paths[index] for index in indices if index not in sources.rows]
    needed = sum(path.stat().st_size for path in parts)
    if sources.finished is not None and sources.rows:
        needed += Path(sources.finished.filename).stat().st_size
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
