"""MetaImage: `.mha`, and `.mhd` with its data beside it.

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
from drr.io.text_header import data_files, lines, number, numbers, read_parts

__all__ = ["is_metaimage", "read_metaimage"]

TRUE = ("true", "1", "yes")

TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}


def is_metaimage(head: bytes) -> bool:
    """Whether the first bytes are a MetaImage header."""
    return re.match(rb"\s*(ObjectType|NDims|Comment|DimSize)\s*=", head) is not None


def read_metaimage(path: Path, *, limit: int, threads: int | None = None) -> Stored:
    """Read a MetaImage file.

    `Offset` and `TransformMatrix` are in LPS. A missing `TransformMatrix` is the identity, as the
    format defines, with a note. `AnatomicalOrientation` only repeats the matrix and is not used.
    """
    name = str(path)
    fields, start = _header(path)
    if int(number(fields, "elementnumberofchannels", 1, name)) != 1:
        raise ReadError(f"{name}: has several channels a voxel; a CT volume has one")
    if fields.get("binarydata", "True").lower() not in TRUE:
        raise ReadError(f"{name}: its voxels are text, not binary; convert the file first")
    slope = number(fields, "elementtointensityfunctionslope", 1.0, name)
    intercept = number(fields, "elementtointensityfunctionoffset", 0.0, name)
    kind = fields.get("elementtype", "")
    if kind.upper() not in TYPES:
        raise ReadError(f"{name}: ElementType {kind or 'missing'!r} is not one of MetaImage's")
    msb = fields.get("binarydatabyteordermsb", fields.get("elementbyteordermsb", "False"))
    dtype = np.dtype(TYPES[kind.upper()]).newbyteorder(">" if msb.lower() in TRUE else "<")
    sizes = numbers(fields.get("dimsize", ""), "DimSize", name)
    shape = check_grid([int(n) for n in sizes], name)
    affine, notes = _affine(fields, len(sizes), name)
    packed = fields.get("compresseddata", "False").lower() in TRUE
    header_size = int(number(fields, "headersize", 0, name))
    data = fields["elementdatafile"]
    if data.upper() == "LOCAL":
        parts, header_size = [path], start
    else:
        parts = data_files(path, data, shape[0])
    voxels = read_parts(
        parts,
        shape,
        dtype,
        codec="zlib" if packed else "",
        skip=header_size,
        slope=slope,
        intercept=intercept,
        affine=affine,
        limit=limit,
        threads=threads,
    )
    label = "MetaImage (zlib)" if packed else "MetaImage"
    notes += voxels.notes
    return Stored(voxels.hu, affine, label, notes=notes, digests=voxels.digests)


def _header(path: Path) -> tuple[dict[str, str], int]:
    """Fields by lower-case key, and where the header ends."""
    name, fields = str(path), {}
    with path.open("rb") as file:
        for line in lines(file, name):
            key, separator, value = line.partition("=")
            if not separator:
                raise ReadError(f"{name}: the header line {line[:40]!r} is not 'key = value'")
            fields[key.strip().lower()] = value.strip()
            if key.strip().lower() == "elementdatafile":
                return fields, file.tell()
    raise ReadError(f"{name}: the header ends without ElementDataFile, so it is truncated")


def _affine(
    fields: dict[str, str], dimensions: int, name: str
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    notes: tuple[str, ...] = ()

    def first(*keys: str) -> str | None:
        return next((fields[key] for key in keys if key in fields), None)

    text = first("elementspacing", "elementsize")
    if text is None:
        raise ReadError(f"{name}: has no ElementSpacing, so the size of its voxels is unknown")
    spacing = numbers(text, "ElementSpacing", name, dimensions)[:3]
    if (spacing <= 0).any():
        raise ReadError(
            f"{name}: the voxel spacing is {spacing.tolist()} mm; it must be positive, "
            "so repair the header"
        )
    text = first("offset", "position", "origin")
    offset = np.zeros(3) if text is None else numbers(text, "Offset", name, dimensions)[:3]
    text = first("transformmatrix", "orientation", "rotation")
    if text is None:
        notes += ("The header gives no TransformMatrix; axes towards +LPS were assumed.",)
        directions = np.eye(3)
    else:
        matrix = numbers(text, "TransformMatrix", name, dimensions**2)
        # One row of the file per index axis: its direction in LPS.
        directions = matrix.reshape(dimensions, dimensions)[:3, :3].T
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    affine[:3, 3] = offset
    affine, converted = millimetres(affine, fields.get("distanceunits", "mm").lower(), name)
    return affine, notes + converted
