"""Names and places of the regular files in a tar archive.

Python's `tarfile` goes round forever on sizes below zero (CVE-2025-8194) and takes quadratic time
for some headers (CVE-2024-6232) in releases that people still run, and we need this little of it.
POSIX.1-2001 (ustar and pax) and GNU tar's long names and large sizes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from drr.errors import ReadError

__all__ = ["Member", "is_tar", "tar_members"]

BLOCK = 512
MOST_HEADER = 1 << 20
"""Bytes of one extended header: names and attributes."""

REGULAR = (0, ord("0"), ord("7"))
"""Types of regular files; the last is a contiguous one."""

WITHOUT_DATA = b"123456"
"""Types of links, devices, folders and pipes; their size says nothing about the archive."""


@dataclass(frozen=True)
class Member:
    """A regular file in an archive: `size` bytes from byte `start` on."""

    name: str
    start: int
    size: int


def is_tar(head: bytes) -> bool:
    """Whether first bytes are a member's header with the right checksum, magic or not."""
    block = head[:BLOCK]
    return len(block) == BLOCK and block[0] != 0 and _checksum_fits(block)


def tar_members(file: BinaryIO, *, name: str, most: int) -> list[Member]:
    """The regular files; links, devices and folders are left out.

    Parameters
    ----------
    file
        Can be sought in.
    name
        What error messages call it.
    most
        Members beyond which it is refused.

    Raises
    ------
    ReadError
        For an archive that is damaged, ends early or has files with holes.
    """
    found = []
    for count, (kind, member) in enumerate(_members(file, name)):
        if count >= most:
            raise ReadError(f"{name}: holds more than {most} files; unpack the series you want")
        if kind in REGULAR:
            found.append(member)
    return found


def _members(file: BinaryIO, name: str) -> Iterator[tuple[int, Member]]:
    size = file.seek(0, os.SEEK_END)
    at, long_name = 0, ""
    pax: dict[str, str] = {}
    while True:
        file.seek(at)
        block = file.read(BLOCK)
        if not block:  # cut between two files, which would lose slices in silence
            raise ReadError(f"{name}: ends without its end mark, so it is truncated; copy it again")
        if not block.strip(b"\0"):
            return
        if len(block) < BLOCK or not _checksum_fits(block):
            raise ReadError(f"{name}: not a whole tar archive (byte {at}); copy it again")
        kind, start = block[156], at + BLOCK
        length = _number(block[124:136]) if "size" not in pax else _digits(pax["size"])
        if length is None:
            raise ReadError(f"{name}: a damaged tar archive (size at byte {at}); copy it again")
        if kind in WITHOUT_DATA:
            length = 0
        if start + length > size:
            raise ReadError(f"{name}: ends within a file of it, so it is truncated; copy it again")
        at = start + -(-length // BLOCK) * BLOCK
        if kind in b"LKxgX":
            if length > MOST_HEADER:
                raise ReadError(f"{name}: a tar header of {length} bytes; the archive is damaged")
            content = file.read(length)
            if kind == ord("L"):
                long_name = _text(content)
            elif kind in b"xX":
                pax = _records(content)
            continue
        if kind == ord("S"):
            raise ReadError(f"{name}: holds files with holes (sparse); unpack it first")
        plain = _text(block[:100])
        if block[257:263] == b"ustar\0" and block[345]:
            plain = f"{_text(block[345:500])}/{plain}"
        yield kind, Member(pax.get("path") or long_name or plain, start, length)
        long_name, pax = "", {}


def _checksum_fits(block: bytes) -> bool:
    # The sum of all bytes, its own field taken as blanks.
    stated = _number(block[148:156])
    return stated is not None and stated == sum(block[:148]) + sum(block[156:]) + 8 * ord(" ")


def _number(field: bytes) -> int | None:
    """Octal digits, or GNU's binary numbers; None for anything else and what is below zero."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if any(digit not in b"01234567" for digit in digits):
        return None
    return int(digits or b"0", 8)


def _digits(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _records(content: bytes) -> dict[str, str]:
    """Of a pax header: `LENGTH KEY=VALUE` and a line feed, the length counting all of it."""
    found: dict[str, str] = {}
    at = 0
    while at < len(content):
        stop = content.find(b" ", at, at + 20)
        length = _digits(content[at:stop].decode("latin-1")) if stop > 0 else None
        if not length or at + length > len(content):
            break
        key, _, value = content[stop + 1 : at + length - 1].partition(b"=")
        found[_text(key)] = _text(value)
        at += length
    return found


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
