"""MetaImage: `.mha`, and `.mhd` with its data beside it.

Read here rather than through ITK, so that voxels go straight into int16, expansion stays bounded
and a bad file gives one clear line.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drr.errors import ReadError, printable
from drr.io.beside import Neighbours
from drr.io.packed.unpack import open_unpacked
from drr.io.stored import Stored, check_grid, millimetres
from drr.io.text_header import (
    HeaderLines,
    Layout,
    data_files,
    number,
    numbers,
    read_inside,
    read_parts,
    whole_number,
    whole_numbers,
)

__all__ = ["is_metaimage", "read_metaimage"]

WORDS = {
    **dict.fromkeys(("true", "t", "1", "yes"), True),
    **dict.fromkeys(("false", "f", "0", "no"), False),
}

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

KEY = re.compile(
    rb"\s{0,9}(ObjectType|ObjectSubType|NDims|Name|ID|ParentID|Comment|Color|CompressedData\w*|"
    rb"BinaryData\w*|TransformMatrix|Orientation|Rotation|Offset|Position|Origin|DistanceUnits|"
    rb"CenterOfRotation|AnatomicalOrientation|AcquisitionDate|Modality|HeaderSize|DimSize|"
    rb"SequenceID|Element\w{3,40})[ \t]*=",
    re.IGNORECASE,
)
"""The format's own keys, which voxels do not spell by chance."""

UPRIGHT = ("RAI", "LPS")
"""`AnatomicalOrientation` of axes towards +LPS: where they come from, as ITK has it, or lead to."""


def is_metaimage(head: bytes) -> bool:
    """Whether the first bytes are a MetaImage header, whichever key comes first."""
    return (
        re.match(rb"(\xef\xbb\xbf)?\s*[A-Za-z]\w*[ \t]*=", head) is not None
        and re.search(
            rb"^(\xef\xbb\xbf)?\s*"
            rb"(ObjectType|NDims|Comment|DimSize|Element(Type|Spacing|DataFile))[ \t]*=",
            head,
            re.MULTILINE | re.IGNORECASE,
        )
        is not None
    )


def read_metaimage(
    path: Path, *, limit: int, threads: int | None = None, outside: bool = False
) -> Stored:
    """Read a MetaImage file.

    `Offset` and `TransformMatrix` are in LPS. A missing `TransformMatrix` is the identity, as the
    format defines, with a note, unless `AnatomicalOrientation` says otherwise; beside a matrix it
    only repeats it and is not used. Data files are looked for as `drr.io.beside` says.
    """
    name = str(path)
    with open_unpacked(path, limit=limit) as unpacked:
        lines = HeaderLines(unpacked.stream, name)
        fields, listed = _header(lines, name)
        layout, notes = _layout(fields, name)
        if fields["elementdatafile"].upper() == "LOCAL":
            voxels, more = read_inside(
                unpacked, lines.taken, layout, name=name, limit=limit, threads=threads
            )
        else:
            beside = Neighbours(path, outside=outside)
            parts = data_files(fields["elementdatafile"], listed, layout.shape[0], beside)
            layout = _after_header_size(fields, layout, name)
            voxels, more = read_parts(parts, layout, limit=limit, threads=threads)
            more += tuple(beside.notes)
    label = f"MetaImage{' (zlib)' if layout.codec else ''}{unpacked.label}"
    notes += more + voxels.notes
    return Stored(voxels.hu, layout.affine, label, notes=notes, digests=voxels.digests)


def _header(lines: HeaderLines, name: str) -> tuple[dict[str, str], list[str]]:
    """Fields by lower-case key, and the files listed after them."""
    fields: dict[str, str] = {}
    text = iter(lines)
    for line in text:
        match = re.fullmatch(r"\ufeff?\s*([A-Za-z]\w*)\s*=\s*(.*)", line, re.ASCII)
        if match is None:
            if "elementdatafile" in fields:
                break
            if not line:
                continue
            raise ReadError(
                f"{name}: the header line {printable(line, most=40)!r} is not 'key = value'"
            )
        key, value = match[1].lower(), match[2]
        if fields.setdefault(key, value) != value and key != "comment":
            raise ReadError(f"{name}: its header gives {key!r} twice, differently; repair it")
        words = value.upper().split()
        if key == "elementdatafile" and words[:1] == ["LIST"]:
            return fields, [line for line in text if line]
        # The format has it last, but hands and scripts that edit headers forget that.
        local = fields.get("elementdatafile", "").upper() == "LOCAL"
        if local and not lines.next_begins(KEY):
            return fields, []
    if "elementdatafile" not in fields:
        raise ReadError(f"{name}: the header ends without ElementDataFile, so it is truncated")
    return fields, []


def _layout(fields: dict[str, str], name: str) -> tuple[Layout, tuple[str, ...]]:
    if whole_number(fields, "elementnumberofchannels", 1, name) != 1:
        raise ReadError(f"{name}: has several channels a voxel; a CT volume has one")
    if not _flag(fields, "binarydata", True, name):
        raise ReadError(f"{name}: its voxels are text, not binary; convert the file first")
    kind = fields.get("elementtype", "")
    if kind.upper() not in TYPES:
        raise ReadError(
            f"{name}: ElementType {printable(kind, most=40) or 'missing'!r} is not one of "
            "MetaImage's"
        )
    orders = {
        _flag(fields, key, False, name)
        for key in ("binarydatabyteordermsb", "elementbyteordermsb")
        if key in fields
    }
    if len(orders) > 1:
        raise ReadError(f"{name}: its header gives two byte orders; repair it")
    sizes = whole_numbers(fields.get("dimsize", ""), "DimSize", name)
    if whole_number(fields, "ndims", len(sizes), name) != len(sizes):
        raise ReadError(
            f"{name}: NDims is {fields['ndims']} and DimSize has {len(sizes)} numbers; repair the "
            "header"
        )
    shape = check_grid(sizes, name)
    affine, notes = _affine(fields, len(sizes), name)
    return Layout(
        shape=shape,
        dtype=np.dtype(TYPES[kind.upper()]).newbyteorder(">" if orders == {True} else "<"),
        codec="zlib" if _flag(fields, "compresseddata", False, name) else "",
        slope=number(fields, "elementtointensityfunctionslope", 1.0, name),
        intercept=number(fields, "elementtointensityfunctionoffset", 0.0, name),
        affine=affine,
    ), notes


def _after_header_size(fields: dict[str, str], layout: Layout, name: str) -> Layout:
    """The layout in a data file, of which `HeaderSize` bytes come first; -1: all but the voxels."""
    size = whole_number(fields, "headersize", 0, name)
    if size < -1:
        raise ReadError(f"{name}: HeaderSize is {size}; repair the header")
    if layout.codec:
        return dataclasses.replace(layout, start=max(size, 0))
    return dataclasses.replace(layout, skip=size)


def _flag(fields: dict[str, str], key: str, default: bool, name: str) -> bool:
    if key not in fields:
        return default
    value = WORDS.get(fields[key].lower())
    if value is None:
        raise ReadError(
            f"{name}: {key} is {printable(fields[key], most=40)!r}, neither True nor False; "
            "repair the header"
        )
    return value


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
        stated = fields.get("anatomicalorientation", "").upper().strip(" ?")
        if stated and stated not in UPRIGHT:
            raise ReadError(
                f"{name}: has no TransformMatrix, and AnatomicalOrientation "
                f"{printable(stated, most=20)!r} is read in two ways; add the matrix"
            )
        notes += ("The header gives no TransformMatrix; axes towards +LPS were assumed.",)
        directions = np.eye(3)
    else:
        matrix = numbers(text, "TransformMatrix", name, dimensions**2)
        # One row of the file per index axis: its direction in LPS.
        rows = matrix.reshape(dimensions, dimensions)
        if rows[:3, 3:].any() or rows[3:, :3].any():
            raise ReadError(f"{name}: TransformMatrix mixes space with a fourth axis; repair it")
        directions = rows[:3, :3].T
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    affine[:3, 3] = offset
    affine, converted = millimetres(affine, fields.get("distanceunits", "mm").lower(), name)
    return affine, notes + converted
