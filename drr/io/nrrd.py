"""NRRD: `.nrrd`, and `.nhdr` with its data beside it.

Read here rather than through ITK, so that voxels go straight into int16, expansion stays bounded
and a bad file gives one clear line.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from drr.errors import ReadError, printable
from drr.io.beside import Neighbours
from drr.io.nrrd_geometry import Placed, place
from drr.io.packed.unpack import open_unpacked
from drr.io.stored import Stored, check_grid
from drr.io.text_header import (
    HeaderLines,
    Layout,
    data_files,
    read_inside,
    read_parts,
    whole_number,
    whole_numbers,
)

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

CODECS = {
    "raw": "",
    **dict.fromkeys(("ascii", "text", "txt"), "text"),
    **dict.fromkeys(("gzip", "gz"), "zlib"),
    **dict.fromkeys(("bzip2", "bz2"), "bzip2"),
}

ALIASES = {"datafile": "data file", "byteskip": "byte skip", "lineskip": "line skip"}


def is_nrrd(head: bytes) -> bool:
    """Whether the first bytes are a NRRD header."""
    return re.match(rb"NRRD000\d\r?\n", head) is not None


def read_nrrd(
    path: Path,
    *,
    limit: int,
    threads: int | None = None,
    outside: bool = False,
    assume_axial: bool = False,
) -> Stored:
    """Read a NRRD file.

    `drr.io.nrrd_geometry` says where its voxels lie, and what `assume_axial` changes. Axes that
    are none of the volume's may hold one element only. Data files are looked for as
    `drr.io.beside` says.
    """
    name = str(path)
    with open_unpacked(path, limit=limit) as unpacked:
        lines = HeaderLines(unpacked.stream, name)
        fields, listed = _header(lines, name)
        sizes = whole_numbers(fields.get("sizes", ""), "sizes", name)
        if whole_number(fields, "dimension", len(sizes), name) != len(sizes):
            raise ReadError(
                f"{name}: its dimension is {fields['dimension']} and 'sizes' has {len(sizes)} "
                "numbers; repair the header"
            )
        placed = place(fields, len(sizes), name, assume_axial=assume_axial)
        layout = _layout(fields, sizes, placed, name)
        notes = placed.notes
        if "data file" in fields:
            beside = Neighbours(path, outside=outside)
            parts = data_files(fields["data file"], listed, layout.shape[0], beside)
            voxels, more = read_parts(parts, layout, limit=limit, threads=threads)
            notes += tuple(beside.notes)
        else:
            voxels, more = read_inside(
                unpacked, lines.taken, layout, name=name, limit=limit, threads=threads
            )
    encoding = f" ({fields['encoding'].lower()})" if layout.codec else ""
    return Stored(
        voxels.hu,
        placed.affine,
        f"NRRD{encoding}{unpacked.label}",
        no_affine=placed.why_not,
        notes=notes + more + voxels.notes,
        digests=voxels.digests,
    )


def _layout(fields: dict[str, str], sizes: list[int], placed: Placed, name: str) -> Layout:
    others = [n for axis, n in enumerate(sizes) if axis not in placed.axes]
    shape = check_grid([sizes[axis] for axis in placed.axes] + others, name)
    encoding = fields.get("encoding", "raw").lower()
    if encoding not in CODECS:
        raise ReadError(
            f"{name}: encoding {printable(encoding, most=40)!r} is not read here; "
            "save it raw or gzip"
        )
    codec = CODECS[encoding]
    skip = whole_number(fields, "byte skip", 0, name)
    if skip < (0 if codec else -1):
        raise ReadError(f"{name}: 'byte skip' is {skip}; repair the header")
    return Layout(
        shape=shape,
        dtype=_dtype(fields, codec, name),
        codec=codec,
        skip_lines=0 if skip < 0 else whole_number(fields, "line skip", 0, name),
        skip=skip,
        affine=placed.affine,
    )


def _dtype(fields: dict[str, str], codec: str, name: str) -> np.dtype:
    kind = " ".join(fields.get("type", "").lower().split())
    if kind not in TYPES:
        raise ReadError(
            f"{name}: voxels of type {printable(kind, most=40) or 'missing'!r} are not CT numbers"
        )
    dtype = np.dtype(TYPES[kind])
    if dtype.itemsize == 1 or codec == "text":
        return dtype
    endian = fields.get("endian", "").lower()
    if endian not in ("little", "big"):
        raise ReadError(f"{name}: does not say its byte order; add 'endian: little' or 'big'")
    return dtype.newbyteorder(">" if endian == "big" else "<")


def _header(lines: HeaderLines, name: str) -> tuple[dict[str, str], list[str]]:
    """Fields by lower-case name, and the files listed after them."""
    fields: dict[str, str] = {}
    text = iter(lines)
    next(text, "")  # the magic
    for line in text:
        if not line:
            break
        if line.startswith("#") or re.match(r"[^:]*:=", line):
            continue
        key, separator, value = line.partition(":")
        if not separator:
            raise ReadError(
                f"{name}: the header line {printable(line, most=40)!r} is not 'field: value'"
            )
        key, value = key.strip().lower(), value.strip()
        key = ALIASES.get(key, key)
        if fields.setdefault(key, value) != value and key not in ("content", "number"):
            raise ReadError(f"{name}: its header gives {key!r} twice, differently; repair it")
        if key == "data file" and value.split()[:1] and value.split()[0].upper() == "LIST":
            return fields, [line for line in text if line]
    return fields, []
