"""The folder beside an output in which its parts lie until it is whole: ours, locked, and removed.

Somebody else's folder of that name is never written into or removed, and in ours only what a build
puts there.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from drr.datasets.schema import DatasetError
from drr.errors import WriteError
from drr.files.atomic import write_files
from drr.files.lock import BusyError, locked

__all__ = ["clear_parts", "locked_parts", "part_paths", "parts_folder"]

MARKER = "drr-parts.txt"
"""Says that the folder is ours."""

_TEXT = b"Parts of a data set that 'drr build' has not finished; it removes them.\n"
_LOCK = "lock"
_LOCKS = re.compile(r"lock(-.*)?")
_PART = re.compile(r"[0-9a-f]{32}\.h5|\.drr-[0-9a-z-]+\.part")
_FOLDER = re.compile(r"[0-9a-f]{2}")


def parts_folder(out: Path) -> Path:
    """Where the parts of an output lie until it is whole."""
    return out.with_name(f"{out.name}.parts")


def part_paths(keys: tuple[str, ...], parts: Path) -> list[Path]:
    """Of each study's part; in 256 folders, since some file systems are slow with many files."""
    return [parts / key[:2] / f"{key}.h5" for key in keys]


@contextlib.contextmanager
def locked_parts(parts: Path) -> Iterator[None]:
    """The folder of parts, for this process alone; the system frees it when the process ends.

    Raises
    ------
    DatasetError
        When another build has it, or when it is not ours.
    """
    busy = "another build works on this output; wait for it, or choose another"
    try:
        _adopt(parts)
        with locked(parts / _LOCK, busy=busy):
            if not (parts / MARKER).is_file():
                write_files({parts / MARKER: _TEXT}, force=True)
            try:
                yield
            except BaseException:
                if all(map(_is_base, os.listdir(parts))):  # refused before anything was made
                    clear_parts(parts)
                raise
    except BusyError as error:
        raise DatasetError(str(error)) from None
    finally:
        # Where there are no locks, this process's own stood in it until now.
        with contextlib.suppress(OSError):
            parts.rmdir()


def clear_parts(parts: Path) -> bool:
    """Remove a folder of parts, by who has it locked; whether nothing of others lies in it."""
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(parts)):
            if _FOLDER.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                for part in list(os.scandir(entry.path)):
                    if _PART.fullmatch(part.name):
                        os.unlink(part.path)
                with contextlib.suppress(OSError):
                    os.rmdir(entry.path)
            elif _PART.fullmatch(entry.name):
                os.unlink(entry.path)
        if any(not _is_base(name) for name in os.listdir(parts)):
            return False
        # The mark last: a folder with nothing but locks is taken for ours, too.
        (parts / MARKER).unlink(missing_ok=True)
        (parts / _LOCK).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            parts.rmdir()
    return True


def _adopt(parts: Path) -> None:
    """Make the folder, or see that it is one of a build that was stopped."""
    try:
        with contextlib.suppress(FileExistsError):
            parts.mkdir()
        if parts.is_symlink() or not parts.is_dir():
            raise DatasetError(f"{parts}: is in the way of the parts; choose another output")
        names = os.listdir(parts)
    except OSError as error:
        raise WriteError(
            f"{parts}: cannot be made ({error.strerror}); choose another output"
        ) from None
    if MARKER not in names and not all(map(_is_base, names)):
        raise DatasetError(
            f"{parts}: is a folder that no build made (it has no {MARKER}), where parts would be; "
            "rename it or choose another output"
        )


def _is_base(name: str) -> bool:
    return name == MARKER or _LOCKS.fullmatch(name) is not None or _PART.fullmatch(name) is not None
