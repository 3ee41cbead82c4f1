"""Which CTs the arguments of a command mean."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from drr.errors import ReadError
from drr.files.names import ARCHIVES, VOLUMES, suffix_of

__all__ = ["CT", "find_cts"]

# Taken off to name outputs, but in a folder only those of volumes are looked for.
NAMED_SUFFIXES = (*VOLUMES, *ARCHIVES, ".npy", ".npz", ".dcm")


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
    volumes = [file for file in files if suffix_of(file.name, VOLUMES)]
    if not volumes:
        return [folder]
    if any(_is_dicom(file) for file in files if file not in volumes):
        raise ReadError(
            f"{folder}: holds both DICOM files and {volumes[0].name}; name the file, or put the "
            "DICOM files into a folder of their own"
        )
    return volumes


def _one_per_series(paths: list[Path]) -> list[Path]:
    """Keep the first file of each DICOM series, since reading it finds the others beside it."""
    suffixes = tuple(suffix for suffix in NAMED_SUFFIXES if suffix != ".dcm")
    loose = [p for p in paths if p.is_file() and suffix_of(p.name, suffixes) is None]
    if len(loose) < 2:
        return paths
    from drr.io.dicom.files import is_dicom, load_header
    from drr.io.dicom.groups import Header, group_headers
    from drr.io.packed.containers import file_source
    from drr.io.packed.inflate import DEFAULT_LIMIT

    by_folder: dict[Path, list[Header]] = {}
    for path in loose:
        source = file_source(path, wanted=is_dicom)
        try:
            found = load_header(source, limit=DEFAULT_LIMIT)
        except ReadError:
            continue  # for the reader to explain
        if found is not None:
            by_folder.setdefault(path.parent, []).append(Header(source, *found))
    groups = [group for headers in by_folder.values() for group in group_headers(headers)]
    repeated = {Path(header.source.label) for group in groups for header in group.headers[1:]}
    return [path for path in paths if path not in repeated]


def _is_dicom(path: Path) -> bool:
    from drr.io.dicom.files import is_dicom

    if suffix_of(path.name, (".dcm",)):
        return True
    try:
        with path.open("rb") as file:
            return is_dicom(file.read(132))
    except OSError:
        return False


def _name(path: Path) -> str:
    path = Path(os.path.abspath(path))
    suffix = None if path.is_dir() else suffix_of(path.name, NAMED_SUFFIXES)
    if suffix is not None and len(path.name) > len(suffix):
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
