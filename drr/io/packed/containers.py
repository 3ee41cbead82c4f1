"""The files of a folder, a zip or a tar archive, each readable without the compression around it.

Nothing is unpacked to disk under its own name, so names in an archive lead nowhere; links, devices
and whatever else is no regular file are left out.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from drr.errors import ReadError, printable
from drr.io.packed.inflate import DEFAULT_LIMIT, gibibytes
from drr.io.packed.tar import Member, is_tar, tar_members
from drr.io.packed.unpack import codec_of, open_seekable, open_unpacked, plausible_size, unpack

__all__ = ["Source", "file_source", "folder_files", "is_zip", "open_archive"]

MOST_FILES = 100_000
"""Files in a folder or archive beyond which it is taken for a mistake."""

MOST_UNPACKED = 1 << 26
"""Bytes that one compressed file among others may always expand to: any single slice."""

SLICE_RATIO = 100
"""Beyond them, decompressed bytes for each compressed one; an enhanced CT has about 3."""

PEEKED = 4096
"""Bytes of a compressed file that are looked at before all of it is unpacked."""


@dataclass(frozen=True)
class Source:
    """One file, on disk or in an archive; opened without the compression around it."""

    label: str
    open: Callable[[], IO[bytes]]


def file_source(path: Path, *, label: str = "", wanted: Callable[[bytes], bool]) -> Source:
    """A file on disk; arguments as for `folder_files`."""
    return Source(
        label or str(path),
        lambda: _opened(path.open("rb"), wanted, lambda: path.stat().st_size, str(path)),
    )


def folder_files(
    folder: Path, *, recurse: bool = True, wanted: Callable[[bytes], bool]
) -> list[Source]:
    """The regular files of a folder, sorted by path; what they hold is not looked at.

    Parameters
    ----------
    folder
        Hidden files in it are passed over.
    recurse
        Whether to go into the folders in it.
    wanted
        Tells by first bytes which compressed files to unpack; of others only these are there.
    """
    found: list[Path] = []

    def refuse(error: OSError) -> None:
        raise ReadError(f"{error.filename}: cannot be read ({error.strerror}); check permissions")

    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders.sort()
        found += [Path(parent, file) for file in sorted(files) if not file.startswith(".")]
        if len(found) > MOST_FILES:
            raise ReadError(
                f"{folder}: holds more than {MOST_FILES} files; name the series' own folder"
            )
        if not recurse:
            break
    return [
        file_source(path, label=str(path.relative_to(folder)), wanted=wanted)
        for path in found
        if _is_regular(path)
    ]


def is_zip(head: bytes) -> bool:
    """Whether first bytes are those of a zip."""
    return head.startswith(b"PK\x03\x04")


@contextlib.contextmanager
def open_archive(
    path: Path, *, limit: int, wanted: Callable[[bytes], bool]
) -> Iterator[list[Source] | None]:
    """The files in a zip or tar, compressed or not, readable inside the `with` block.

    Parameters
    ----------
    path
        Content decides; for a file that is neither, None comes.
    limit
        Bytes that the archive and the files in it may expand to.
    wanted
        As for `folder_files`.

    Raises
    ------
    ReadError
        For an archive that is damaged, encrypted or beyond the limits.
    """
    with open_unpacked(path, limit=limit) as unpacked:
        head = unpacked.stream.peek(512)[:512]
    if not is_zip(head) and not is_tar(head):
        yield None
        return
    opened = _zip if is_zip(head) else _tar
    with (
        open_seekable(path, limit=limit) as (file, _),
        opened(file, path, limit, wanted) as sources,
    ):
        yield sources


@contextlib.contextmanager
def _zip(
    file: BinaryIO, path: Path, limit: int, wanted: Callable[[bytes], bool]
) -> Iterator[list[Source]]:
    try:
        archive = zipfile.ZipFile(file)
    except Exception as error:  # zipfile raises almost anything for a damaged directory
        raise ReadError(
            f"{path}: not a whole zip file ({printable(error, most=100)}); copy it again"
        ) from None
    with archive:
        members = [info for info in archive.infolist() if not info.is_dir()]
        total = sum(info.file_size for info in members)
        if len(members) > MOST_FILES or total > limit:
            raise ReadError(
                f"{path}: unpacks to {len(members)} files and {gibibytes(total)}, beyond the limit "
                f"of {MOST_FILES} files and {gibibytes(limit)}; raise max_bytes to read it"
            )
        if total > plausible_size(file.seek(0, os.SEEK_END)):
            raise ReadError(
                f"{path}: unpacks to {gibibytes(total)}, far beyond what a CT of its size does; "
                "unpack it yourself if you trust it"
            )
        if any(info.flag_bits & 1 for info in members):
            raise ReadError(f"{path}: the zip is encrypted; unpack it first")

        def source(info: zipfile.ZipInfo) -> Source:
            label = info.filename
            name = f"{path}: {label}"
            return Source(
                label, lambda: _opened(archive.open(info), wanted, lambda: info.file_size, name)
            )

        yield [source(info) for info in sorted(members, key=lambda info: info.filename)]


@contextlib.contextmanager
def _tar(
    file: BinaryIO, path: Path, limit: int, wanted: Callable[[bytes], bool]
) -> Iterator[list[Source]]:
    turn = threading.Lock()

    def source(member: Member) -> Source:
        return Source(
            member.name,
            lambda: _opened(
                io.BufferedReader(_Piece(file, turn, member)),
                wanted,
                lambda: member.size,
                f"{path}: {member.name}",
            ),
        )

    members = tar_members(file, name=str(path), most=MOST_FILES)
    yield [source(member) for member in sorted(members, key=lambda member: member.name)]


class _Piece(io.RawIOBase):
    """A stretch of an open file, of whose position threads take turns."""

    def __init__(self, file: BinaryIO, turn: threading.Lock, member: Member) -> None:
        self._file, self._turn, self._member = file, turn, member
        self._at = 0
        self.name = member.name  # pydicom asks files for it

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._member.size}[whence]
        if start + offset < 0:
            raise ValueError(f"cannot seek to byte {start + offset}")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        size = min(len(buffer), max(self._member.size - self._at, 0))
        with self._turn:
            self._file.seek(self._member.start + self._at)
            data = self._file.read(size)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _opened(
    file: IO[bytes], wanted: Callable[[bytes], bool], size: Callable[[], int], name: str
) -> IO[bytes]:
    """The file itself, or what is in it where it is compressed, `size()` bytes long."""
    try:
        packed = codec_of(file.peek(8)[:8]) is not None  # type: ignore[attr-defined]
    except BaseException:
        file.close()
        raise
    if not packed:
        return file
    with file:
        most = max(MOST_UNPACKED, SLICE_RATIO * size())
        reader = cast(io.BufferedReader, file)
        stream = unpack(reader, name=name, limit=DEFAULT_LIMIT, plausible=most).stream
        head = stream.read(PEEKED)
        return io.BytesIO(head + stream.read() if wanted(head) else head)


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False
