"""Which format a file has: by what it holds, under whatever compression, not by its name."""

from __future__ import annotations

import re
import stat
import zipfile
from pathlib import Path

from drr.errors import ReadError
from drr.io.packed.containers import is_zip
from drr.io.packed.tar import is_tar
from drr.io.packed.unpack import open_seekable, open_unpacked

__all__ = ["find_format"]

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
    b"version https://git-lfs": "a Git LFS pointer, not the data it stands for",
}

ACCEPTED = "NIfTI, MetaImage, NRRD, DICOM (folder, zip, tar or file) and NumPy are read"


def find_format(path: Path, limit: int) -> tuple[Path, str]:
    """The file to read, the header of a pair whose image was named, and its format.

    Returns
    -------
    file, format
        The format is `"dicom"`, `"nifti"`, `"metaimage"`, `"nrrd"`, `"npy"` or `"npz"`.

    Raises
    ------
    ReadError
        For anything else; the message says what it is instead.
    """
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        return path, "dicom"
    if not stat.S_ISREG(mode):
        raise ReadError(f"{path}: is neither a file nor a folder")
    if header := _header_of_image(path, limit):
        return header, "nifti"
    with open_unpacked(path, limit=limit) as unpacked:
        head = unpacked.stream.read(1024)
        if unpacked.layers and not head:
            raise ReadError(f"{path}: is compressed, but holds nothing; copy it again")
    if not head:
        raise ReadError(f"{path}: is empty; copy or download it again")
    if is_zip(head):
        return path, "npz" if _is_npz(path, limit) else "dicom"
    if kind := _kind_by_content(head):
        return path, kind
    for magic, meaning in FOREIGN.items():
        if head.startswith(magic):
            raise ReadError(f"{path}: is {meaning}, not a CT volume; {ACCEPTED}")
    if path.suffix.lower() in (".img", ".raw", ".zraw"):
        raise ReadError(f"{path}: holds bare voxels; read the header file that belongs to it")
    if len(head) < 348 and path.name.lower().endswith((".nii", ".nii.gz", ".hdr")):
        raise ReadError(f"{path}: ends within its header, so it is truncated; copy it again")
    packed = f"is compressed{unpacked.label}, and what is in it is" if unpacked.layers else "is"
    raise ReadError(f"{path}: {packed} not a CT volume in a known format; {ACCEPTED}")


def _kind_by_content(head: bytes) -> str | None:
    from drr.io.dicom.files import is_dicom
    from drr.io.metaimage import is_metaimage
    from drr.io.nifti import is_nifti
    from drr.io.nrrd import is_nrrd
    from drr.io.numpy import is_npy

    checks = {
        "dicom": lambda head: is_dicom(head) or is_tar(head),
        "metaimage": is_metaimage,
        "nrrd": is_nrrd,
        "nifti": is_nifti,
        "npy": is_npy,
    }
    return next((kind for kind, check in checks.items() if check(head)), None)


def _header_of_image(path: Path, limit: int) -> Path | None:
    """The `.hdr` beside an `.img` that was named in its place."""
    from drr.io.nifti import is_nifti, neighbour

    if not re.search(r"\.img(\.\w+)?$", path.name, re.IGNORECASE):
        return None
    try:
        header = neighbour(path)
        with open_unpacked(header, limit=limit) as unpacked:
            return header if is_nifti(unpacked.stream.read(1024)) else None
    except ReadError:
        return None


def _is_npz(path: Path, limit: int) -> bool:
    named = re.search(r"\.npz(\.\w+)?$", path.name, re.IGNORECASE) is not None
    try:
        with open_seekable(path, limit=limit) as (file, _), zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (OSError, MemoryError):
        raise
    except Exception:  # the reader says what is wrong with it
        return named
    return named or (bool(names) and all(name.endswith(".npy") for name in names))
