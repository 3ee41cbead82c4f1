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
    VIEW_DATASETS,
    content_digest,
    text_dtype,
)
from drr.datasets.study import Problem
from drr.errors import WriteError
from drr.record import NOTICE

if TYPE_CHECKING:
    import h5py

__all__ = ["assemble", "plan_of"]

_MADE = ("notes", "source_sha256", "voxels_sha256")


@dataclass
class _Gathered:
    """The small columns of all parts that have images, and who has none."""

    indices: list[int] = field(default_factory=list)
    samples: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in _MADE})
    views: dict[str, dict[str, list[Any]]] = field(default_factory=dict)
    images: dict[tuple[str, str], tuple[tuple[int, ...], np.dtype, dict[str, Any]]] = field(
        default_factory=dict
    )
    failures: dict[int, str] = field(default_factory=dict)


def assemble(
    plan: Plan, paths: Sequence[Path], out: Path, *, killed: Mapping[int, str]
) -> tuple[str, int]:
    """Write the file of a plan whose parts are all there.

    Parameters
    ----------
    paths
        Of each study's part.
    killed
        Reasons of the studies that have no part, by their place in the plan.

    Returns
    -------
    Digest of the content, and the number of samples.

    Raises
    ------
    WriteError
        For a full disk and the like. Nothing half-written is left, and the parts are kept.
    """
    gathered = _gather(plan, paths, killed)
    _check_space(paths, gathered.indices, out)
    part = out.with_name(f".{out.name}.assembling")
    try:
        digest = _write(plan, paths, gathered, part)
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
    return digest, len(gathered.indices)


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


def _gather(plan: Plan, paths: Sequence[Path], killed: Mapping[int, str]) -> _Gathered:
    found = _Gathered()
    shapes: dict[tuple[str, str], tuple[int, ...]] = {}
    for index, path in enumerate(paths):
        if index in killed:
            found.failures[index] = killed[index]
            continue
        with open_part(path) as part:
            if reason := str(part.attrs["reason"]):
                found.failures[index] = reason
                continue
            for view, group in part["views"].items():
                for name in PIXELS:
                    if name in group:
                        shapes.setdefault((view, name), group[name].shape)
            odd = [
                f"{view} is {part['views'][view][name].shape[-2:]} pixels and the first "
                f"{shape[-2:]}"
                for (view, name), shape in shapes.items()
                if part["views"][view][name].shape != shape
            ]
            if odd:
                found.failures[index] = f"{odd[0]}; all samples of a view are of one size"
                continue
            found.indices.append(index)
            for name in _MADE:
                found.samples[name].append(part["samples"][name].asstr()[0])
            for view, group in part["views"].items():
                columns = found.views.setdefault(view, {})
                for name, dataset in group.items():
                    if name in PIXELS:
                        filters = {
                            "compression": dataset.compression,
                            "compression_opts": dataset.compression_opts,
                            "shuffle": dataset.shuffle,
                            "chunks": dataset.chunks,
                        }
                        found.images[view, name] = (dataset.shape[1:], dataset.dtype, filters)
                    else:
                        text = dataset.dtype.kind == "O"
                        value = dataset.asstr()[0] if text else dataset[0]
                        columns.setdefault(name, []).append(value)
    return found


def _write(plan: Plan, paths: Sequence[Path], found: _Gathered, target: Path) -> str:
    import h5py

    with h5py.File(target, "w", libver=("earliest", "v112")) as file:
        for name, value in _attributes(plan).items():
            file.attrs[name] = value
        for path, values in _columns(plan, found).items():
            _put(file, path, DATASETS[path].dtype, values)
        splits = [plan.cohort.studies[index].split for index in found.indices]
        for split in sorted({name for name in splits if name}):
            members = [row for row, name in enumerate(splits) if name == split]
            file[f"splits/{split}"] = np.array(members, np.int64)
        for view in plan.configuration.view_names:
            for name, values in found.views.get(view, {}).items():
                _put(file, f"views/{view}/{name}", VIEW_DATASETS[name].dtype, values)
        _copy_images(file, paths, found)
        digest = content_digest(file)
        file.attrs["content_sha256"] = digest
    return digest


def _copy_images(file: h5py.File, paths: Sequence[Path], found: _Gathered) -> None:
    """Chunk by chunk, as they were compressed."""
    targets = {
        key: file.create_dataset(
            f"views/{key[0]}/{key[1]}", (len(found.indices), *shape), dtype, **filters
        )
        for key, (shape, dtype, filters) in found.images.items()
    }
    for row, index in enumerate(found.indices):
        with open_part(paths[index]) as part:
            for (view, name), target in targets.items():
                source = part["views"][view][name].id
                for number in range(source.get_num_chunks()):
                    offset = source.get_chunk_info(number).chunk_offset
                    mask, content = source.read_direct_chunk(offset)
                    target.id.write_direct_chunk((row, *offset[1:]), content, mask)


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


def _columns(plan: Plan, found: _Gathered) -> dict[str, Any]:
    """Everything but views and splits, by path."""
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
    columns |= {f"samples/{name}": values for name, values in found.samples.items()}
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
