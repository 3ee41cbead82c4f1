"""Damage to bytes, to numbers and lines of text, to JSON values, to DICOM elements, to HDF5."""

from __future__ import annotations

import copy
import io
import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["damage_bytes", "damage_dicom", "damage_hdf5", "damage_json", "damage_text"]

Random = np.random.Generator
Mutation = Callable[[bytes, Random], bytes]

NASTY_TEXT = (
    "", " ", "0", "-1", "1", "2", "255", "256", "65536", "-32769", "2147483648", "4294967296",
    "9223372036854775808", "1e300", "1e-300", "-1e300", "1e999", "nan", "inf", "-inf", "12.9",
    "-1_309.5", "0x10", "1,5", "9" * 400, "1e", "None", "true", "LIST", "%02d", "%s", "../x",
    "/etc/hostname", "C:\\x.raw", "=1+1", "a\tb", "\x00", "\x1b[31m", "\u202egnp.x", "\ud83d\ude00",
    "é", "{", "[", '"', "'", ",", "|", "\\", "x" * 5000,
)  # fmt: skip
NASTY_JSON: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 5, 10**18, 10**30, 10**400, 1.5, -0.0, 1e300, 1e-300, "", "x",
    "1", "\x00\x1b[31m", "\u202e", "../x", "/etc/hostname", "x" * 5000, [], {}, [[]], [1], ["x"],
    [[1, 2, 3]], {"x": 1}, [None], [True], [1e300] * 3, list(range(2000)),
)  # fmt: skip
NASTY_FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-38, 3.4e38, 1e-9, 1e9, float("nan"), float("inf"), 0.5)


def _pick(random: Random, choices: Any) -> Any:
    return choices[int(random.integers(len(choices)))]


def _nasty_field(random: Random) -> bytes:
    """A number as headers hold it, of any width and byte order."""
    order = _pick(random, "<>")
    if random.random() < 0.3:
        return struct.pack(order + _pick(random, "fd"), float(_pick(random, NASTY_FLOATS)))
    code, bits = _pick(random, (("B", 8), ("H", 16), ("I", 32), ("Q", 64)))
    value = _pick(random, (0, 1, 2, 3, 7, 2**bits - 1, 2 ** (bits - 1), 2 ** (bits - 1) - 1, 255))
    return struct.pack(order + code, value)


def damage_bytes(data: bytes, random: Random, *, times: int | None = None) -> bytes:
    """Flip bits, overwrite, insert, delete, copy, cut or lengthen, one to four times.

    Half of the damage goes to the first 512 bytes, where most headers lie.
    """
    changed = bytearray(data)
    for _ in range(times or int(random.integers(1, 5))):
        end = len(changed) if random.random() < 0.5 else min(512, len(changed))
        at = int(random.integers(end)) if end else 0
        kind = int(random.integers(8))
        length = int(min(2 ** random.integers(0, 9), len(changed)))
        if kind <= 1 and changed:
            changed[at] ^= 1 << int(random.integers(8))
        elif kind == 2 and changed:
            changed[at] = int(random.integers(256))
        elif kind == 3:
            field = _nasty_field(random)
            changed[at : at + len(field)] = field
        elif kind == 4:
            changed[at:at] = random.bytes(length)
        elif kind == 5:
            del changed[at : at + length]
        elif kind == 6:
            start = int(random.integers(len(changed))) if changed else 0
            changed[at : at + length] = changed[start : start + length]
        elif random.random() < 0.7:
            del changed[at:]
        else:
            changed += random.bytes(length)
    return bytes(changed)


def damage_text(data: bytes, random: Random) -> bytes:
    """Exchange words, numbers and lines; sometimes bytes as well."""
    if random.random() < 0.2:
        return damage_bytes(data, random)
    lines = data.split(b"\n")
    # Bodies of voxels follow some headers; their lines count as one.
    head = lines[: int(random.integers(1, 40))]
    for _ in range(int(random.integers(1, 4))):
        at = int(random.integers(len(head)))
        kind = int(random.integers(6))
        if kind == 0:
            head.insert(at, _pick(random, head))
        elif kind == 1 and len(head) > 1:
            del head[at]
        elif kind == 2:
            head[at] = _pick(random, NASTY_TEXT).encode("utf-8", "surrogatepass")
        else:
            head[at] = _damage_words(head[at], random)
    return b"\n".join([*head, *lines[len(head) :]])


def _damage_words(line: bytes, random: Random) -> bytes:
    separator = _pick(random, [s for s in (b" ", b",", b"=", b":") if s in line] or [b" "])
    words = line.split(separator)
    at = int(random.integers(len(words)))
    kind = int(random.integers(5))
    if kind == 0:
        words.insert(at, _pick(random, words))
    elif kind == 1 and len(words) > 1:
        del words[at]
    else:
        words[at] = _pick(random, NASTY_TEXT).encode("utf-8", "surrogatepass")
    return separator.join(words)


def damage_json(data: bytes, random: Random) -> bytes:
    """Exchange, remove, rename or repeat values at any depth of a JSON document."""
    if random.random() < 0.15:
        return damage_text(data, random)
    value = json.loads(data)
    for _ in range(int(random.integers(1, 3))):
        places = list(_places(value))
        if not places:
            break
        holder, key = _pick(random, places)
        kind = int(random.integers(6))
        if kind == 0 and isinstance(holder, dict):
            holder[_pick(random, NASTY_TEXT)] = holder.pop(key)
        elif kind == 1:
            del holder[key]
        elif kind == 2:
            _, other = _pick(
                random, [(h, h[k]) for h, k in places if k in h or isinstance(h, list)]
            )
            holder[key] = copy.deepcopy(other) if _size(other) < 1000 else None
        elif isinstance(holder[key], int | float) and random.random() < 0.5:
            holder[key] = _pick(random, (-1, 0.1, 1e6, 1e-9, 3, 10**12)) * (holder[key] or 1)
        else:
            holder[key] = copy.deepcopy(_pick(random, NASTY_JSON))
    return json.dumps(value).encode()


def _places(value: Any) -> Any:
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def _size(value: Any) -> int:
    return len(json.dumps(value))


def damage_dicom(data: bytes, random: Random) -> bytes:
    """Exchange values, VRs, lengths and places of elements of an explicit little-endian file."""
    if random.random() < 0.3:
        return damage_bytes(data, random)
    elements = _elements(data)
    for _ in range(int(random.integers(1, 4))):
        at = int(random.integers(len(elements)))
        tag, vr, value = elements[at]
        kind = int(random.integers(8))
        if kind == 0 and len(elements) > 2:
            del elements[at]
        elif kind == 1:
            elements.insert(at, _pick(random, elements))
        elif kind == 2:
            names = (b"UT", b"SQ", b"UN", b"OW", b"DS", b"IS", b"US", b"SS", b"UI", b"AT", b"FD")
            elements[at] = (tag, _pick(random, (*names, b"XX")), value)
        elif kind == 3:
            elements[at] = (tag, vr, damage_bytes(value, random, times=1) if value else b"x")
        elif kind == 4:
            elements[at] = (tag, vr, _pick(random, elements)[2])
        elif kind == 5:
            elements[at] = (tag, vr, _nasty_field(random))
        elif kind == 6:
            elements[at] = (random.bytes(4), vr, value)
        else:
            text = _pick(random, NASTY_TEXT).encode("utf-8", "surrogatepass")[:200]
            elements[at] = (tag, vr, b"\\".join([text] * int(random.integers(1, 4))))
    return data[:132] + b"".join(_element(*element) for element in elements)


LONG = (b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UR", b"UT", b"UN", b"SV", b"UV")


def _elements(data: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Tag, VR and value of every element; what cannot be split is the value of the last."""
    found, at = [], 132
    while at + 8 <= len(data):
        tag, vr = data[at : at + 4], data[at + 4 : at + 6]
        head = 12 if vr in LONG else 8
        length = int.from_bytes(data[at + head - (4 if head == 12 else 2) : at + head], "little")
        length = min(length, len(data) - at - head)
        found.append((tag, vr, data[at + head : at + head + length]))
        at += head + length
    return found


def _element(tag: bytes, vr: bytes, value: bytes) -> bytes:
    if vr in LONG:
        # Pixel data in fragments has an undefined length.
        fragments = vr == b"OB" and value[:4] == b"\xfe\xff\x00\xe0"
        length = 0xFFFFFFFF if fragments else len(value)
        return tag + vr + b"\0\0" + length.to_bytes(4, "little") + value
    return tag + vr + min(len(value), 65535).to_bytes(2, "little") + value


def damage_hdf5(data: bytes, random: Random) -> bytes:
    """Exchange, remove or link data sets and attributes; half of the time damage bytes."""
    if random.random() < 0.5:
        return damage_bytes(data, random)
    import h5py

    buffer = io.BytesIO(data)
    with h5py.File(buffer, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        for _ in range(int(random.integers(1, 3))):
            name = _pick(random, names)
            try:
                if name not in file:
                    continue
            except RuntimeError:  # links in a circle, of which this is one
                continue
            kind = int(random.integers(6))
            if kind == 0:
                del file[name]
            elif kind == 1 and len(file.attrs):
                key = _pick(random, list(file.attrs))
                file.attrs[key] = _pick(random, (1, 1.5, "x", np.zeros(3), "{}", "[" * 2000, ""))
            elif kind == 2 and len(file.attrs):
                del file.attrs[_pick(random, list(file.attrs))]
            elif kind == 3:
                del file[name]
                target = _pick(random, names)
                links = (h5py.SoftLink("/" + target), h5py.ExternalLink("other.h5", "/x"))
                file[name] = _pick(random, links)
            else:
                _replace_data(file, name, random)
    return buffer.getvalue()


def _replace_data(file: Any, name: str, random: Random) -> None:
    import h5py

    before = file[name]
    shape = before.shape if isinstance(before, h5py.Dataset) else (2,)
    del file[name]
    shape = _pick(random, (shape, shape[:-1], (*shape, 1), (0,), tuple(n + 1 for n in shape)))
    dtype = _pick(random, ("f4", "i1", "u2", "S3", "?", "f8", h5py.string_dtype()))
    file.create_dataset(name, shape=shape, dtype=dtype)
