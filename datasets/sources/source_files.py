"""The files that a study is made from: which they are, and whether they are what they were."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from drr.datasets.schema import DatasetError
from drr.datasets.study import Study

__all__ = ["Digests", "file_digest", "fingerprint", "source_files", "stamp", "study_digests"]

_HEADERS = (".mhd", ".nhdr")
_PAIRS = {".hdr": ".img", ".img": ".hdr", ".hdr.gz": ".img.gz", ".img.gz": ".hdr.gz"}
_HEADER_BYTES = 1 << 20


class Digests(NamedTuple):
    """Of the content of a study's files; that of the segmentation is empty where none is used."""

    source: str
    segmentation: str


def source_files(path: Path) -> list[Path]:
    """A file with those that hold its voxels, or all files of a folder and its folders, in order.

    Raises
    ------
    OSError
        For what is not there or cannot be looked into.
    """
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    return [path, *_beside(path)]


def fingerprint(study: Study, root: str | Path) -> str:
    """Digest of names, sizes and times of the study's files: whether they were touched.

    Of this disk, not of the content: no digest of a data set has it in it.

    Raises
    ------
    DatasetError
        For a file that is not there.
    """
    return _state(study, root, strict=False)


def stamp(key: str, study: Study, root: str | Path) -> str:
    """What a finished data set keeps, to see at a glance whether its sample is still right.

    A digest of the key, and of all that the file system says of the study's files, down to when
    their entries were last changed: a file that was replaced by one of the same size and time is
    noticed, and without that disk nobody can tell which names and sizes it stands for.

    Parameters
    ----------
    key
        The study's of `Plan.keys`.
    """
    try:
        state = _state(study, root, strict=True)
    except DatasetError:
        state = ""
    return hashlib.sha256(json.dumps([key, state]).encode()).hexdigest()


def study_digests(study: Study, root: str | Path, *, segmentation: bool = True) -> Digests:
    """SHA-256 of a study's files: of a file, or of names and digests where there are several.

    Parameters
    ----------
    segmentation
        Whether it is used.

    Raises
    ------
    DatasetError
        For what cannot be read.
    """
    volume, mask = _paths(study, root)
    return Digests(_digest(volume), _digest(mask) if segmentation and mask is not None else "")


def _paths(study: Study, root: str | Path) -> tuple[Path, Path | None]:
    return study.file(root), study.segmentation_file(root)


def _digest(path: Path) -> str:
    try:
        if not path.is_dir() and not _beside(path):
            return file_digest(path)
        base = path if path.is_dir() else path.parent
        digests = [(f.relative_to(base).as_posix(), file_digest(f)) for f in source_files(path)]
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from None
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


def _state(study: Study, root: str | Path, *, strict: bool) -> str:
    found: list[list[object]] = []
    current = study.path
    try:
        for name, path in zip((study.path, study.segmentation), _paths(study, root), strict=True):
            current = name or current
            for file in () if path is None else source_files(path):
                status = file.stat()
                # Rights, too: a file that could not be read may be readable now.
                readable = os.access(file, os.R_OK)
                found.append([file.name, status.st_size, status.st_mtime_ns, readable])
                if strict:
                    found[-1].append(status.st_ctime_ns)
    except OSError as error:
        raise DatasetError(
            f"{current}: cannot be read ({error.strerror or error}); put it back or leave it out"
        ) from None
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def _beside(path: Path) -> list[Path]:
    """Files beside a header that hold its voxels, as far as they are there."""
    name = path.name.lower()
    if name.endswith(_HEADERS):
        named = set(_named(path))
        return sorted(
            file
            for file in path.parent.iterdir()
            if file != path
            and (file.name.lower() in named or f"%{file.suffix.lower()}" in named)
            and file.is_file()
        )
    for suffix, other in _PAIRS.items():
        if name.endswith(suffix):
            pair = path.with_name(path.name[: -len(suffix)] + other)
            return [pair] if pair.is_file() else []
    return []


def _named(header: Path) -> Iterator[str]:
    """Names of files that a MetaImage or NRRD header may mean, in lower case.

    Of numbered files, `%` and their suffix.
    """
    with header.open("rb") as file:
        text = file.read(_HEADER_BYTES).decode("utf-8", "replace").lower()
    for line in text.splitlines():
        words = line.replace("=", ":").rpartition(":")[2].strip().replace("\\", "/")
        name = words.rpartition("/")[2]
        yield name
        if "%" in name:
            yield "%" + Path(name.split()[0]).suffix


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
