"""`drr.read`: any CT volume, told by its content rather than its name."""

from __future__ import annotations

import dataclasses
import os
import stat
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drr.errors import ReadError, VolumeError
from drr.io.inflate import DEFAULT_LIMIT, GZIP_MAGIC, Inflater
from drr.io.stored import Stored, check_spacing
from drr.plausible import doubtful_size, has_no_geometry
from drr.verdict import assess
from drr.volume import Volume

if TYPE_CHECKING:
    from drr.io.dicom_series import Series

__all__ = ["read", "read_described", "series_in"]

# What people hand over by mistake, by its first bytes.
FOREIGN = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"BM": "a BMP picture",
    b"II*\0": "a TIFF picture",
    b"MM\0*": "a TIFF picture",
    b"%PDF": "a PDF document",
    b"\x89HDF": "an HDF5 file",
    b"CDF": "a NetCDF file",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"version https://git-lfs": "a Git LFS pointer, not the data it stands for",
}

IDENTITY = (
    "The affine is the identity, as tools write that know no geometry: voxels were taken for cubes "
    "of 1 mm, and if they are none, sizes and sides are wrong."
)

ACCEPTED = "NIfTI, MetaImage, NRRD, DICOM (folder, zip or file) and NumPy are read"


def read(
    path: str | os.PathLike[str],
    *,
    series: str | int | None = None,
    affine: ArrayLike | None = None,
    max_bytes: int = DEFAULT_LIMIT,
    threads: int | None = None,
) -> Volume:
    """Read a CT volume in Hounsfield units.

    Parameters
    ----------
    path
        NIfTI (`.nii`, `.nii.gz`, `.hdr`/`.img`), MetaImage (`.mha`, `.mhd`), NRRD (`.nrrd`,
        `.nhdr`), NumPy (`.npy`, `.npz`), or DICOM: a folder, a zip, or one file of a series,
        whose other files are then looked for beside it. Content decides, not the name, and
        exactly this path is read.
    series
        Which series of a DICOM input: its UID, number, description, or `#1` for its place in the
        listing. Without it the only CT volume is read, localizers and derived images aside.
    affine
        `(4, 4)`, index `(i0, i1, i2, 1)` of the file (fastest first) to LPS mm, in place of the
        file's own, for files that have none or a wrong one.
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
    return read_described(path, series=series, affine=affine, max_bytes=max_bytes, threads=threads)[
        0
    ]


def read_described(
    path: str | os.PathLike[str],
    *,
    series: str | int | None = None,
    affine: ArrayLike | None = None,
    max_bytes: int = DEFAULT_LIMIT,
    threads: int | None = None,
) -> tuple[Volume, str]:
    """`read`, and the name of the file's format."""
    path = Path(path)
    try:
        stored = _read_stored(path, series, max_bytes, threads)
        notes = stored.notes
        if affine is not None:
            stored = dataclasses.replace(stored, affine=_matrix(affine, path))
            notes += ("The affine was given by the caller, not by the file.",)
        if stored.affine is None:
            raise ReadError(f"{path}: {stored.no_affine}")
        volume = Volume.from_stored(
            stored.hu,
            stored.affine,
            name=path.name or str(path),
            notes=notes,
            identifiers=stored.identifiers,
        )
        check_spacing(volume.affine, str(path))
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
        notes += (IDENTITY,)
    volume = dataclasses.replace(volume, verdict=verdict, notes=notes)
    if stored.digests is not None and np.may_share_memory(volume.hu, stored.hu):
        # Made while the voxels came in; they hold for that memory, not for a reordered copy.
        vars(volume)["sha256"] = volume.digest_of(stored.digests)
    return volume, stored.format


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
    from drr.io.dicom import list_series

    path = Path(path)
    try:
        if _kind(path, max_bytes) != "dicom":
            raise ReadError(f"{path}: only DICOM has series; this is another format")
        return list_series(path, limit=max_bytes)
    except OSError as error:
        raise ReadError(f"{path}: cannot be read ({error.strerror or error})") from None


def _read_stored(path: Path, series: str | int | None, limit: int, threads: int | None) -> Stored:
    kind = _kind(path, limit)
    if kind == "dicom":
        from drr.io.dicom import read_dicom

        return read_dicom(path, series=series, limit=limit, threads=threads)
    if series is not None:
        raise ReadError(f"{path}: only DICOM has series to choose from; leave series= out")
    reader: Any
    if kind == "nifti":
        from drr.io.nifti import read_nifti as reader
    elif kind == "metaimage":
        from drr.io.metaimage import read_metaimage as reader
    elif kind == "nrrd":
        from drr.io.nrrd import read_nrrd as reader
    elif kind == "npy":
        from drr.io.numpy import read_npy as reader
    else:
        from drr.io.numpy import read_npz as reader
    stored: Stored = reader(path, limit=limit, threads=threads)
    return stored


def _kind(path: Path, limit: int) -> str:
    """Which reader a path needs, or `ReadError` that says what it is instead."""
    from drr.io.dicom_files import is_dicom
    from drr.io.metaimage import is_metaimage
    from drr.io.nifti import is_nifti
    from drr.io.nrrd import is_nrrd
    from drr.io.numpy import NPY_MAGIC

    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        return "dicom"
    if not stat.S_ISREG(mode):
        raise ReadError(f"{path}: is neither a file nor a folder")
    with path.open("rb") as file:
        head = file.read(1024)
        if not head:
            raise ReadError(f"{path}: is empty; copy or download it again")
        if head.startswith(GZIP_MAGIC):
            file.seek(0)
            head = Inflater(file, name=str(path), limit=limit).read(1024)
            if is_nifti(head):
                return "nifti"
            raise ReadError(
                f"{path}: is gzip, but holds no NIfTI image; unpack it and read what is inside"
            )
    if head.startswith(b"PK\x03\x04"):
        return "npz" if _is_npz(path) else "dicom"
    if is_dicom(head):
        return "dicom"
    checks = {"metaimage": is_metaimage, "nrrd": is_nrrd, "nifti": is_nifti}
    for kind, check in checks.items():
        if check(head):
            return kind
    if head.startswith(NPY_MAGIC):
        return "npy"
    for magic, meaning in FOREIGN.items():
        if head.startswith(magic):
            raise ReadError(f"{path}: is {meaning}, not a CT volume; {ACCEPTED}")
    if path.suffix.lower() in (".img", ".raw", ".zraw"):
        raise ReadError(f"{path}: holds bare voxels; read the header file that belongs to it")
    if len(head) < 348 and path.name.lower().endswith((".nii", ".nii.gz", ".hdr")):
        raise ReadError(f"{path}: ends within its header, so it is truncated; copy it again")
    raise ReadError(f"{path}: is not a CT volume in a known format; {ACCEPTED}")


def _is_npz(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError):
        return path.suffix.lower() == ".npz"
    return path.suffix.lower() == ".npz" or (
        bool(names) and all(name.endswith(".npy") for name in names)
    )
