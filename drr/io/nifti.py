"""NIfTI-1 and NIfTI-2: `.nii`, `.nii.gz` and `.hdr`/`.img` pairs.

The voxels are read straight into int16; what the header means is settled here.
"""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from drr.errors import ReadError
from drr.io.inflate import GZIP_MAGIC, Inflater
from drr.io.nifti_header import announces, decode_header, qform, sform, voxel_dtype
from drr.io.stored import Stored, check_grid, check_size, millimetres
from drr.io.voxels import Mapped, read_hu

__all__ = ["is_nifti", "read_nifti"]

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
SPACE_UNITS = {1: "m", 2: "mm", 3: "um"}
AGREEMENT = 0.01
"""Fraction of the spacing by which two statements of geometry may differ without a note."""


def is_nifti(head: bytes) -> bool:
    """Whether (decompressed) first bytes are a NIfTI header, either byte order, or ANALYZE's."""
    return len(head) >= 348 and (announces(head, 348) or announces(head, 540))


def read_nifti(path: Path, *, limit: int, threads: int | None = None) -> Stored:
    """Read a NIfTI file.

    The affine is the sform where its code is above 0, else the qform where its code is above 0;
    with neither there is no affine. RAS becomes LPS. `scl_slope` and `scl_inter` are applied once,
    unless the slope is 0 or not a number (the standard's "no scaling"). Lengths in metres or
    micrometres become mm; an unknown unit is taken for mm, with a note.

    Raises
    ------
    ReadError
        For a file that is not one CT volume, is truncated, corrupt or beyond `limit` bytes.
    """
    name = str(path)
    with path.open("rb") as file:
        stream, zipped = _open(file, name, limit)
        head = stream.read(348)
        if announces(head, 540):
            head += stream.read(540 - 348)
        header, version, paired = _decode(head, name)
        dtype, shape = _layout(header, name)
        offset = _offset(header, paired, name)
        slope, intercept = _scaling(header, name)
        affine, why_not, notes = _affine(header, name)
        with contextlib.ExitStack() as stack:
            taken = len(head)
            if paired:
                path, taken = _image_beside(path), 0
                file = stack.enter_context(path.open("rb"))
                stream, zipped = _open(file, str(path), limit)
            available = None if zipped else path.stat().st_size - offset
            check_size(shape, dtype.itemsize, str(path), limit, available)
            if zipped:
                _skip(stream, offset - taken, str(path))
            voxels = read_hu(
                [stream if zipped else Mapped(file, offset)],
                shape,
                dtype,
                slope=slope,
                intercept=intercept,
                affine=affine,
                name=str(path),
                threads=threads,
            )
    kind = f"NIfTI-{version}" + (" pair" if paired else "") + (" (gzip)" if zipped else "")
    if (slope, intercept) != (1, 0):
        notes += (f"The header's slope {slope:g} and intercept {intercept:g} were applied.",)
    notes += voxels.notes
    return Stored(voxels.hu, affine, kind, no_affine=why_not, notes=notes, digests=voxels.digests)


def _open(file: BinaryIO, name: str, limit: int) -> tuple[Any, bool]:
    zipped = file.read(2) == GZIP_MAGIC
    file.seek(0)
    return (Inflater(file, name=name, limit=limit) if zipped else file), zipped


def _decode(head: bytes, name: str) -> tuple[Any, int, bool]:
    """Header, NIfTI version and whether the voxels are in an `.img` beside it."""
    second = announces(head, 540)
    if len(head) < (540 if second else 348):
        raise ReadError(f"{name}: ends within its header, so it is truncated; copy it again")
    magic = head[4:8] if second else head[344:348]
    if magic[:2] not in (b"n+", b"ni"):
        raise ReadError(
            f"{name}: looks like ANALYZE 7.5, which does not record left and right; "
            "convert it to NIfTI with the orientation you know it to have"
        )
    return decode_header(head), 2 if second else 1, magic[:2] == b"ni"


def _layout(header: Any, name: str) -> tuple[np.dtype, tuple[int, int, int]]:
    count = int(header["dim"][0])
    if not 1 <= count <= 7:
        raise ReadError(f"{name}: its header claims {count} dimensions; the file is corrupt")
    shape = check_grid(header["dim"][1 : count + 1], name)
    try:
        dtype = voxel_dtype(header)
    except KeyError:
        raise ReadError(
            f"{name}: voxel data type {int(header['datatype'])} is not one of NIfTI's"
        ) from None
    return dtype, shape


def _offset(header: Any, paired: bool, name: str) -> int:
    offset = float(header["vox_offset"])
    least = 0 if paired else int(header["sizeof_hdr"]) + 4
    if not math.isfinite(offset) or offset < 0 or offset > 2**32:
        raise ReadError(f"{name}: the header puts the voxels at byte {offset:g}; it is corrupt")
    return max(int(offset), least)


def _scaling(header: Any, name: str) -> tuple[float, float]:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not math.isfinite(slope):
        return 1.0, 0.0
    if not math.isfinite(intercept):
        raise ReadError(
            f"{name}: scl_slope is {slope:g} but scl_inter is {intercept}; repair the header"
        )
    return slope, intercept


def _affine(header: Any, name: str) -> tuple[NDArray[np.float64] | None, str, tuple[str, ...]]:
    """LPS affine in mm, or None and the reason; and notes."""
    notes: tuple[str, ...] = ()
    unit_code = int(header["xyzt_units"]) & 7
    if unit_code == 0:
        notes += ("The header does not say its unit of length; mm were assumed.",)
    elif unit_code not in SPACE_UNITS:
        raise ReadError(f"{name}: unknown unit of length, code {unit_code}; correct xyzt_units")
    by_sform = int(header["sform_code"]) > 0
    by_qform = int(header["qform_code"]) > 0
    if not by_sform and not by_qform:
        return (
            None,
            (
                "neither sform nor qform says where its voxels lie (both codes are 0); "
                "write one into the header, or pass affine= to drr.read"
            ),
            notes,
        )
    steps = np.array(header["pixdim"][1:4], np.float64)
    from_qform = None
    if by_qform:
        if by_sform and not (np.isfinite(steps).all() and (steps > 0).all()):
            notes += (f"The header's pixdim {steps.tolist()} was ignored; the sform was used.",)
        else:
            if not (np.isfinite(steps).all() and (steps > 0).all()):
                raise ReadError(
                    f"{name}: the voxel spacing (pixdim) is {steps.tolist()} mm; "
                    "it must be positive, so repair the header"
                )
            try:
                from_qform = qform(header)
            except ValueError:
                if not by_sform:
                    raise ReadError(
                        f"{name}: the quaternion of its qform is not a rotation; repair the header"
                    ) from None
    matrix = sform(header) if by_sform else np.array(from_qform)
    if by_sform and from_qform is not None:
        tolerance = AGREEMENT * float(steps.min())
        shape = np.array([max(int(n) - 1, 1) for n in header["dim"][1:4]])
        if (np.abs((matrix - from_qform)[:3, :3] * shape) > tolerance * 10).any() or (
            np.abs((matrix - from_qform)[:3, 3]) > tolerance * 10
        ).any():
            notes += ("sform and qform disagree; the sform was used.",)
    if unit_code in SPACE_UNITS:
        matrix, converted = millimetres(matrix, SPACE_UNITS[unit_code], name)
        notes += converted
    return RAS_TO_LPS @ matrix, "", notes


def _skip(stream: Any, count: int, name: str) -> None:
    while count > 0:
        part = stream.read(min(count, 1 << 20))
        if not part:
            raise ReadError(f"{name}: ends before its voxels, so it is truncated; copy it again")
        count -= len(part)


def _image_beside(path: Path) -> Path:
    """The `.img` or `.img.gz` that belongs to a `.hdr`."""
    stem = path.name[: path.name.lower().rfind(".hdr")] if ".hdr" in path.name.lower() else None
    candidates = [path.with_name(f"{stem}{end}") for end in (".img", ".img.gz", ".IMG")]
    image = next((p for p in candidates if stem is not None and p.is_file()), None)
    if image is None:
        raise ReadError(
            f"{path}: the header of a .hdr/.img pair, and its .img is not beside it; "
            "put both files into one folder"
        )
    return image
