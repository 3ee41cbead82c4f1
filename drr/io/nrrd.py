"""NRRD: `.nrrd`, and `.nhdr` with its data beside it.

Read here rather than through ITK, so that voxels go straight into int16, expansion stays bounded
and a bad file gives one clear line.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drr.errors import ReadError
from drr.io.stored import Stored, check_grid, millimetres
from drr.io.text_header import beside, data_files, lines, number, numbers, read_parts

__all__ = ["is_nrrd", "read_nrrd"]

TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(
        ("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"
    ),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(
        ("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"), "i8"
    ),
    **dict.fromkeys(
        ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), "u8"
    ),
    "float": "f4",
    "double": "f8",
}

# Signs that turn each named space into LPS.
SPACES = {
    **dict.fromkeys(("left-posterior-superior", "lps"), (1, 1, 1)),
    **dict.fromkeys(("right-anterior-superior", "ras"), (-1, -1, 1)),
    **dict.fromkeys(("left-anterior-superior", "las"), (1, -1, 1)),
}


def is_nrrd(head: bytes) -> bool:
    """Whether the first bytes are a NRRD header."""
    return re.match(rb"NRRD000\d\r?\n", head) is not None


def read_nrrd(path: Path, *, limit: int, threads: int | None = None) -> Stored:
    """Read a NRRD file.

    The patient's axes come from `space` (LPS, RAS or LAS) and `space directions`; without them
    the file has no affine. Axes without a direction may hold one element only.
    """
    name = str(path)
    fields, detached, start = _header(path)
    kind = fields.get("type", "").lower()
    if kind not in TYPES:
        raise ReadError(f"{name}: voxels of type {kind or 'missing'!r} are not CT numbers")
    dtype = np.dtype(TYPES[kind])
    if dtype.itemsize > 1:
        endian = fields.get("endian", "").lower()
        encoded_as_text = fields.get("encoding", "raw").lower() in ("ascii", "text", "txt")
        if endian not in ("little", "big") and not encoded_as_text:
            raise ReadError(f"{name}: does not say its byte order; add 'endian: little' or 'big'")
        dtype = dtype.newbyteorder(">" if endian == "big" else "<")
    sizes = [int(n) for n in numbers(fields.get("sizes", ""), "sizes", name)]
    affine, why_not, spatial, notes = _affine(fields, len(sizes), name)
    others = [n for axis, n in enumerate(sizes) if axis not in spatial]
    shape = check_grid([sizes[axis] for axis in spatial] + others, name)
    encoding = fields.get("encoding", "raw").lower()
    codecs = {"raw": "", "gzip": "zlib", "gz": "zlib", "bzip2": "bzip2", "bz2": "bzip2"}
    if encoding not in codecs:
        raise ReadError(f"{name}: encoding {encoding!r} is not read here; save it raw or gzip")
    skip = int(number(fields, "byte skip", 0, name))
    if number(fields, "line skip", 0, name) or (skip and codecs[encoding]):
        raise ReadError(
            f"{name}: 'line skip', and 'byte skip' in compressed data, are not read here; "
            "save the volume in one file"
        )
    voxels = read_parts(
        detached or [path],
        shape,
        dtype,
        codec=codecs[encoding],
        skip=skip if detached or skip < 0 else start + skip,
        slope=1.0,
        intercept=0.0,
        affine=affine,
        limit=limit,
        threads=threads,
    )
    label = f"NRRD ({encoding})" if codecs[encoding] else "NRRD"
    notes += voxels.notes
    return Stored(voxels.hu, affine, label, no_affine=why_not, notes=notes, digests=voxels.digests)


def _header(path: Path) -> tuple[dict[str, str], list[Path], int]:
    """Fields by lower-case key, detached data files, and where the header ends."""
    name = str(path)
    fields: dict[str, str] = {}
    files: list[Path] = []
    listing = detached = False
    with path.open("rb") as file:
        text = lines(file, name)
        next(text)
        for line in text:
            if not line and not listing:
                break
            if listing:
                if line:
                    files.append(beside(path, line))
                continue
            if line.startswith("#") or ":=" in line:
                continue
            key, separator, value = line.partition(":")
            if not separator:
                raise ReadError(f"{name}: the header line {line[:40]!r} is not 'field: value'")
            key, value = key.strip().lower(), value.strip()
            if key in ("data file", "datafile"):
                detached = True
                if value.upper().startswith("LIST"):
                    listing = True
                else:
                    fields["data file"] = value
            else:
                fields[key] = value
        start = file.tell()
    if "byteskip" in fields:
        fields["byte skip"] = fields.pop("byteskip")
    if "lineskip" in fields:
        fields["line skip"] = fields.pop("lineskip")
    if "data file" in fields:
        sizes = numbers(fields.get("sizes", ""), "sizes", name)
        files = data_files(path, fields["data file"], int(sizes[-1]))
    if detached and not files:
        raise ReadError(f"{name}: its header lists no data file")
    return fields, files, start


def _affine(
    fields: dict[str, str], dimensions: int, name: str
) -> tuple[NDArray[np.float64] | None, str, list[int], tuple[str, ...]]:
    """LPS affine or the reason for none, the spatial axes, and notes."""
    if "space directions" not in fields or "space" not in fields:
        return (
            None,
            (
                "has no 'space' with 'space directions', so it does not say where its voxels lie; "
                "save it with its orientation, or pass affine= to drr.read"
            ),
            list(range(min(3, dimensions))),
            (),
        )
    space = fields["space"].lower()
    if space not in SPACES:
        raise ReadError(
            f"{name}: the space {fields['space']!r} is not the patient's; "
            "left-posterior-superior, right-anterior-superior or left-anterior-superior are read"
        )
    vectors = re.findall(r"none|\([^)]*\)", fields["space directions"].lower())
    if len(vectors) != dimensions:
        raise ReadError(
            f"{name}: {len(vectors)} space directions for {dimensions} axes; repair the header"
        )
    spatial = [axis for axis, vector in enumerate(vectors) if vector != "none"]
    if len(spatial) != 3:
        raise ReadError(
            f"{name}: {len(spatial)} of its axes have a direction in space; a volume needs three"
        )
    signs = np.array(SPACES[space], np.float64)
    affine = np.eye(4)
    for column, axis in enumerate(spatial):
        affine[:3, column] = signs * numbers(vectors[axis], "space directions", name, 3)
    notes: tuple[str, ...] = ()
    if "space origin" in fields:
        affine[:3, 3] = signs * numbers(fields["space origin"], "space origin", name, 3)
    else:
        notes += ("The header gives no 'space origin'; the first voxel was put at 0, 0, 0.",)
    units = set(re.findall(r'"([^"]*)"', fields.get("space units", ""))) - {""}
    if len(units) > 1:
        raise ReadError(f"{name}: mixes the units of length {sorted(units)}; use mm")
    unit = next(iter(units), "mm").lower()
    affine, converted = millimetres(affine, {"millimeter": "mm"}.get(unit, unit), name)
    return affine, "", spatial, notes + converted
