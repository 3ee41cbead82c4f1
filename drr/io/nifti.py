"""NIfTI-1 and NIfTI-2: `.nii`, `.nii.gz` and `.hdr`/`.img` pairs.

The voxels are read straight into int16; what the header means is settled here.
"""

from __future__ import annotations

import contextlib
import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from drr.errors import ReadError
from drr.io.nifti_geometry import lps_affine
from drr.io.nifti_header import announces, decode_header, voxel_dtype
from drr.io.packed.inflate import skip
from drr.io.packed.unpack import open_unpacked
from drr.io.stored import Stored, check_grid, check_size
from drr.io.voxels import Mapped, read_hu

__all__ = ["is_nifti", "neighbour", "read_nifti"]

ENDS = {".hdr": ".img", ".img": ".hdr"}


def is_nifti(head: bytes) -> bool:
    """Whether (decompressed) first bytes are a NIfTI header, either byte order, or ANALYZE's."""
    return len(head) >= 348 and (announces(head, 348) or announces(head, 540))


def read_nifti(path: Path, *, limit: int, threads: int | None = None) -> Stored:
    """Read a NIfTI file, or a `.hdr`/`.img` pair of which `path` is the header.

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
    with contextlib.ExitStack() as stack:
        unpacked = stack.enter_context(open_unpacked(path, limit=limit))
        head = unpacked.stream.read(348)
        if announces(head, 540):
            head += unpacked.stream.read(540 - 348)
        header, version, paired = _decode(head, name)
        dtype, sizes, notes = _layout(header, name)
        slope, intercept, more = _scaling(header, name)
        notes += more
        affine, why_not, more = lps_affine(header, name)
        notes += more
        if 1 in sizes[:3] and len(longer := [n for n in sizes if n > 1]) == 3:
            # Which of the affine's axes these are, the header does not say.
            affine, sizes, why_not = None, longer, _not_placed(sizes)
        shape = check_grid(sizes, name)
        taken = len(head)
        offset = _offset(header, unpacked.stream.read(4) if not paired else b"", name)
        taken += 0 if paired else 4
        if paired:
            path, taken = neighbour(path), 0
            unpacked = stack.enter_context(open_unpacked(path, limit=limit))
        available = None if unpacked.layers else path.stat().st_size - offset
        check_size(shape, dtype.itemsize, str(path), limit, available)
        if unpacked.layers:
            skip(unpacked.stream, offset - taken, str(path))
        voxels = read_hu(
            [unpacked.stream if unpacked.layers else Mapped(unpacked.stream, offset)],
            shape,
            dtype,
            slope=slope,
            intercept=intercept,
            affine=affine,
            name=str(path),
            threads=threads,
        )
    kind = f"NIfTI-{version}{' pair' if paired else ''}{unpacked.label}"
    if (slope, intercept) != (1, 0):
        notes += (f"The header's slope {slope:g} and intercept {intercept:g} were applied.",)
    notes += voxels.notes
    return Stored(voxels.hu, affine, kind, no_affine=why_not, notes=notes, digests=voxels.digests)


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


def _layout(header: Any, name: str) -> tuple[np.dtype, list[int], tuple[str, ...]]:
    """Type of the voxels, sizes of all axes, fastest first, and notes."""
    count = int(header["dim"][0])
    if not 1 <= count <= 7:
        raise ReadError(f"{name}: its header claims {count} dimensions; the file is corrupt")
    sizes = [int(n) for n in header["dim"][1 : count + 1]]
    notes: tuple[str, ...] = ()
    if 0 in sizes[3:]:
        # Some write the dimensions of a series with no number of volumes; there is one.
        notes += (f"The header gives the size {sizes}; axes of no length were left out.",)
        sizes = sizes[:3] + [n or 1 for n in sizes[3:]]
    try:
        dtype = voxel_dtype(header)
    except KeyError:
        raise ReadError(
            f"{name}: voxel data type {int(header['datatype'])} is not one of NIfTI's"
        ) from None
    return dtype, sizes, notes


def _not_placed(sizes: list[int]) -> str:
    return (
        f"has the size {sizes}, and its affine belongs to the first three axes, of which one has a "
        "single voxel; save it without such axes, or pass affine= to drr.read"
    )


def _offset(header: Any, extender: bytes, name: str) -> int:
    """The byte of the first voxel; `extender` follows the header of a single file."""
    offset = float(header["vox_offset"])
    least = int(header["sizeof_hdr"]) + len(extender)
    if not extender:
        least = 0
    if offset == 0 and extender[:1] not in (b"", b"\0"):
        raise ReadError(f"{name}: has extensions but not where its voxels begin; set vox_offset")
    if not float(offset).is_integer() or not (offset == 0 or least <= offset <= 2**32):
        raise ReadError(f"{name}: the header puts the voxels at byte {offset:g}; it is corrupt")
    return max(int(offset), least)


def _scaling(header: Any, name: str) -> tuple[float, float, tuple[str, ...]]:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not math.isfinite(slope):
        return 1.0, 0.0, ()
    if math.isnan(intercept):
        return slope, 0.0, ("The header's intercept is not a number; 0 was taken.",)
    if not math.isfinite(intercept):
        raise ReadError(
            f"{name}: scl_slope is {slope:g} but scl_inter is {intercept}; repair the header"
        )
    return slope, intercept, ()


def neighbour(path: Path) -> Path:
    """The `.img` that belongs to a `.hdr`, or the other way round, compressed or not.

    Raises
    ------
    ReadError
        Where it is not in the same folder.
    """
    match = re.fullmatch(r"(.*)(\.hdr|\.img)(\.\w+)?", path.name, re.IGNORECASE)
    if match:
        wanted = (match[1] + ENDS[match[2].lower()]).lower()
        ends = ("", ".gz", ".bz2", ".xz", ".zst")
        names = [wanted + end for end in ends]
        found = [p for p in sorted(path.parent.iterdir()) if p.name.lower() in names]
        # Beside `ct.hdr` and `CT.hdr` the one in the same case; uncompressed before compressed.
        found.sort(key=lambda p: (not p.name.startswith(match[1]), names.index(p.name.lower())))
        if found and found[0].is_file():
            return found[0]
    kind = "image" if match and match[2].lower() == ".img" else "header"
    other = ".hdr" if kind == "image" else ".img"
    raise ReadError(
        f"{path}: the {kind} of a .hdr/.img pair, and its {other} is not beside it; "
        "put both files into one folder"
    )
