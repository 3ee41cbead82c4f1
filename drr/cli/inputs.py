"""Which CTs the arguments of a command mean."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from drr.errors import ReadError

__all__ = ["CT", "find_cts"]

VOLUME_SUFFIXES = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".nhdr")
# Taken off to name outputs, but in a folder only the ones above are looked for.
NAMED_SUFFIXES = (*VOLUME_SUFFIXES, ".npy", ".npz", ".zip", ".dcm")


@dataclass(frozen=True)
class CT:
    """One scan to read.

    Parameters
    ----------
    path
        A file, or a folder of DICOM files.
    name
        What its outputs are called: the file's name without its suffix.
    """

    path: Path
    name: str


def find_cts(arguments: Sequence[str]) -> list[CT]:
    """Expand files, folders and glob patterns, in order and each CT once.

    A folder that holds NIfTI, MetaImage or NRRD files stands for each of them; any other folder is
    one CT of DICOM files. Slices of one DICOM series are one CT. CTs of the same name are told
    apart by the folders they lie in.

    Raises
    ------
    ReadError
        For an argument that is not there, a pattern that matches nothing, a folder of both kinds.
    """
    paths: dict[str, Path] = {}
    for argument in arguments:
        for path in _matches(argument):
            for file in _of_folder(path) if path.is_dir() else [path]:
                paths.setdefault(os.path.realpath(file), file)
    return _distinct([CT(path, _name(path)) for path in _one_per_series(list(paths.values()))])


def _matches(argument: str) -> list[Path]:
    if not argument:
        raise ReadError("the name of the CT is empty; give a file or folder")
    if os.path.exists(argument):
        return [Path(argument)]
    if not glob.has_magic(argument):
        raise ReadError(f"{argument}: no such file or folder; check the path")
    found = sorted(glob.glob(argument, recursive=True))
    if not found:
        raise ReadError(f"{argument}: no file or folder matches this pattern; check the path")
    return [Path(match) for match in found]


def _of_folder(folder: Path) -> list[Path]:
    try:
        files = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise ReadError(f"{folder}: cannot be listed: {error.strerror}") from None
    volumes = [file for file in files if file.name.lower().endswith(VOLUME_SUFFIXES)]
    if not volumes:
        return [folder]
    if any(file.suffix.lower() == ".dcm" for file in files):
        raise ReadError(
            f"{folder}: holds both DICOM files and {volumes[0].name}; name the file, or put the "
            "DICOM files into a folder of their own"
        )
    return volumes


def _one_per_series(paths: list[Path]) -> list[Path]:
    """Keep the first file of each DICOM series, since reading it finds the others beside it."""
    suffixes = tuple(suffix for suffix in NAMED_SUFFIXES if suffix != ".dcm")
    loose = [p for p in paths if p.is_file() and not p.name.lower().endswith(suffixes)]
    if len(loose) < 2:
        return paths
    from pydicom import dcmread

    seen: set[tuple[Path, str]] = set()
    repeated: set[Path] = set()
    for path in loose:
        try:
            header = dcmread(path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
            series = (path.parent, str(header.SeriesInstanceUID))
        except Exception:  # no DICOM, or damaged in any way; for the reader to explain
            continue
        if series in seen:
            repeated.add(path)
        seen.add(series)
    return [path for path in paths if path not in repeated]


def _name(path: Path) -> str:
    path = Path(os.path.abspath(path))
    if not path.is_dir():
        for suffix in NAMED_SUFFIXES:
            if path.name.lower().endswith(suffix) and len(path.name) > len(suffix):
                return path.name[: -len(suffix)]
    return path.name or "ct"


def _distinct(cts: list[CT]) -> list[CT]:
    """Prepend names of folders, outwards, until no two CTs share a name."""
    for depth in range(16):
        counts = Counter(ct.name for ct in cts)
        if max(counts.values(), default=0) < 2:
            break
        parents = [Path(os.path.abspath(ct.path)).parents for ct in cts]
        cts = [
            replace(ct, name=f"{above[depth].name}_{ct.name}")
            if counts[ct.name] > 1 and depth < len(above) and above[depth].name
            else ct
            for ct, above in zip(cts, parents, strict=True)
        ]
    # `scan.nii` beside `scan.mha`, and what else folders cannot tell apart.
    counts = Counter(ct.name for ct in cts)
    return [
        replace(ct, name=f"{ct.name}_{index}") if counts[ct.name] > 1 else ct
        for index, ct in enumerate(cts, start=1)
    ]
