"""`drr.read`: any CT volume, told by its content rather than its name."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import operator
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drr.errors import DRRError, ReadError, VolumeError, printable
from drr.io.formats import find_format
from drr.io.packed.inflate import DEFAULT_LIMIT
from drr.io.stored import Stored, check_spacing
from drr.patient.hu_check import assess
from drr.patient.plausible import doubtful_size, has_no_geometry
from drr.volume import Volume

if TYPE_CHECKING:
    from drr.io.dicom.series import Series

__all__ = ["read", "read_described", "series_in"]

IDENTITY = (
    "The affine is the identity, as tools write that know no geometry: voxels were taken for cubes "
    "of 1 mm, and if they are none, sizes and sides are wrong."
)


def read(
    path: str | os.PathLike[str],
    *,
    series: str | int | None = None,
    acquisition: str | int | None = None,
    affine: ArrayLike | None = None,
    outside: bool = False,
    assume_axial: bool = False,
    max_bytes: int = DEFAULT_LIMIT,
    threads: int | None = None,
) -> Volume:
    """Read a CT volume in Hounsfield units.

    Parameters
    ----------
    path
        NIfTI (`.nii`, `.hdr`/`.img`), MetaImage (`.mha`, `.mhd`), NRRD (`.nrrd`, `.nhdr`), NumPy
        (`.npy`, `.npz`), or DICOM: a folder, a zip or tar, or one file of a series, whose other
        files are then looked for beside it. Each may be compressed with gzip, bzip2, xz or
        Zstandard, as may every slice. Content decides, not the name, and exactly this path is
        read.
    series
        Which series of a DICOM input: its UID, number, description, or `#1` for its place in the
        listing. Without it the only CT volume is read, localizers and derived images aside.
    acquisition
        Which of the acquisitions or phases that share a DICOM series, where slices of several lie
        at the same places: its acquisition number, or what the error that lists them calls it.
    affine
        `(4, 4)`, index `(i0, i1, i2, 1)` of the file (fastest first) to LPS mm, in place of the
        file's own, for files that have none or a wrong one.
    outside
        Let the header of a `.mhd`, `.nhdr` or the like name data files outside its own folder.
    assume_axial
        For files that do not say where left, back and head are. NRRD: the array's axes, with
        spacings only, or those of the scanner's or an unnamed space run there in this order.
        DICOM: rows run to the left and columns to the back where no orientation is left. It
        mirrors the patient where that is wrong.
    max_bytes
        Refuse inputs that promise or expand to more bytes of voxels than this (8 GiB).
    threads
        CPU threads; all available ones by default.

    Returns
    -------
    Volume
        int16 HU, slope and intercept applied exactly once, axes towards +z, +y and +x, its
        `verdict` on the values and `notes` on what was done.

    Raises
    ------
    ReadError
        For an input that is not one readable CT volume; one line that names the file.

    Notes
    -----
    NIfTI: the sform where its code is above 0, else the qform; RAS becomes LPS. Non-integer HU
    are rounded to the nearest even integer; nothing is clamped.
    """
    return read_described(
        path,
        series=series,
        acquisition=acquisition,
        affine=affine,
        outside=outside,
        assume_axial=assume_axial,
        max_bytes=max_bytes,
        threads=threads,
    )[0]


def read_described(
    path: str | os.PathLike[str],
    *,
    series: str | int | None = None,
    acquisition: str | int | None = None,
    affine: ArrayLike | None = None,
    outside: bool = False,
    assume_axial: bool = False,
    max_bytes: int = DEFAULT_LIMIT,
    threads: int | None = None,
) -> tuple[Volume, str]:
    """`read`, and the name of the file's format."""
    path, max_bytes = Path(path), operator.index(max_bytes)
    try:
        choice = {"series": series, "acquisition": acquisition}
        options = {"outside": outside, "assume_axial": assume_axial}
        # Numbers of damaged headers overflow; what comes of them is checked, and needs no warning.
        with np.errstate(all="ignore"):
            stored = _read_stored(path, choice, options, limit=max_bytes, threads=threads)
            volume = _placed(stored, affine, path)
    except VolumeError as error:
        text = str(error).removeprefix(f"{path.name}: ")
        raise ReadError(f"{path}: {text}") from None
    except FileNotFoundError as error:
        raise ReadError(f"{error.filename or path}: no such file or folder") from None
    except PermissionError as error:
        raise ReadError(
            f"{error.filename or path}: may not be read; check its permissions"
        ) from None
    except OSError as error:
        raise ReadError(f"{path}: cannot be read ({error.strerror or error})") from None
    except MemoryError:
        raise ReadError(f"{path}: does not fit into this machine's memory") from None
    verdict = assess(volume, not_hu=stored.not_hu)
    verdict = dataclasses.replace(verdict, size=doubtful_size(volume))
    if affine is None and not verdict.size and has_no_geometry(volume):
        volume = dataclasses.replace(volume, notes=(*volume.notes, IDENTITY))
    volume = dataclasses.replace(volume, verdict=verdict)
    if stored.digests is not None and np.may_share_memory(volume.hu, stored.hu):
        # Made while the voxels came in; they hold for that memory, not for a reordered copy.
        vars(volume)["sha256"] = volume.digest_of(stored.digests)
    return volume, stored.format


def _placed(stored: Stored, affine: ArrayLike | None, path: Path) -> Volume:
    """The volume where the caller, or else the file, says that it lies."""
    notes = stored.notes
    matrix = stored.affine
    if affine is not None:
        matrix = _matrix(affine, path)
        notes += ("The affine was given by the caller, not by the file.",)
    if matrix is None:
        raise ReadError(f"{path}: {stored.no_affine}")
    volume = Volume.from_stored(
        stored.hu,
        matrix,
        name=path.name or str(path),
        notes=notes,
        identifiers=stored.identifiers,
    )
    check_spacing(volume.affine, str(path))
    return volume


def _matrix(affine: ArrayLike, path: Path) -> NDArray[np.float64]:
    try:
        return np.asarray(affine, np.float64)
    except (TypeError, ValueError):
        raise ReadError(f"{path}: affine= is not a 4x4 matrix of numbers") from None


def series_in(
    path: str | os.PathLike[str], *, max_bytes: int = DEFAULT_LIMIT
) -> tuple[Series, ...]:
    """The series of a DICOM folder, zip or file, CT volumes or not, ordered by number.

    Raises
    ------
    ReadError
        Where there is no DICOM.
    """
    from drr.io.dicom.volume import list_series

    path = Path(path)
    try:
        if find_format(path, max_bytes)[1] != "dicom":
            raise ReadError(f"{path}: only DICOM has series; this is another format")
        with _parsing(path, "DICOM"):
            return list_series(path, limit=max_bytes)
    except OSError as error:
        raise ReadError(f"{path}: cannot be read ({error.strerror or error})") from None


READERS = {
    "dicom": ("DICOM", "drr.io.dicom.volume:read_dicom", ("assume_axial",)),
    "nifti": ("NIfTI", "drr.io.nifti:read_nifti", ()),
    "metaimage": ("MetaImage", "drr.io.metaimage:read_metaimage", ("outside",)),
    "nrrd": ("NRRD", "drr.io.nrrd:read_nrrd", ("outside", "assume_axial")),
    "npy": ("NumPy", "drr.io.numpy:read_npy", ()),
    "npz": ("NumPy", "drr.io.numpy:read_npz", ()),
}
"""By kind: the format's name, its reader and which of the options that reader takes."""


def _read_stored(
    path: Path,
    choice: dict[str, str | int | None],
    options: dict[str, bool],
    *,
    limit: int,
    threads: int | None,
) -> Stored:
    file, kind = find_format(path, limit)
    for option, value in choice.items():
        if value is not None and kind != "dicom":
            several = option if option == "series" else f"{option}s"
            raise ReadError(f"{path}: only DICOM has {several} to choose from; leave {option}= out")
    format_name, function, taken = READERS[kind]
    module, _, name = function.partition(":")
    reader = getattr(importlib.import_module(module), name)
    chosen: dict[str, Any] = {option: options[option] for option in taken}
    if kind == "dicom":
        chosen |= choice
    with _parsing(path, format_name):
        stored: Stored = reader(file, limit=limit, threads=threads, **chosen)
    if file != path:
        note = "The header beside this image was read, and the image through it."
        stored = dataclasses.replace(stored, notes=(note, *stored.notes))
    return stored


@contextlib.contextmanager
def _parsing(path: Path, format_name: str) -> Iterator[None]:
    """What a format's reader did not foresee in a file is said of the file, in one line.

    The exception itself stays the error's cause; what is done with the voxels once they are read
    lies outside, so that mistakes of ours there are not blamed on files.
    """
    try:
        yield
    except (DRRError, OSError, MemoryError):
        raise
    except Exception as error:
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise ReadError(
            f"{path}: is damaged {format_name} ({printable(text, most=120)}); copy it again"
        ) from error
