"""Files and folders written whole or not at all.

What is being written has a name of its own in the folder where it shall be, which says which
process writes it: `.drr-<process>-<random>.part`. What a killed process leaves under such a name is
removed when the next one writes into that folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from drr.errors import WriteError
from drr.files.owner import OWNER, Owner

__all__ = ["place_folder", "refuse_existing", "remove_remains", "temporary_path", "write_files"]

_PART = re.compile(rf"\.drr-{OWNER}-[0-9a-f]{{12}}\.part")

_MOST_NAMES = 20_000
"""Of a folder, that are looked at for remains: some hold millions."""

_ADVICE = {
    errno.EACCES: "choose a folder you may write to",
    errno.EPERM: "choose a folder you may write to",
    errno.EROFS: "choose a folder you may write to",
    errno.ENOSPC: "free some space or choose another disk",
    errno.EDQUOT: "free some space or choose another disk",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def write_files(contents: Mapping[Path, bytes], *, force: bool = False) -> None:
    """Write several files that belong together, each under its final name only when complete.

    Every file is written and flushed to disk under a temporary name in its own folder first; only
    when all of them are there do they take their names, in the order given. A failure at any point
    removes what this call made, and with `force` an older file stays until its successor is whole.

    Parameters
    ----------
    contents
        The bytes of each file.
    force
        Replace files that exist.

    Raises
    ------
    WriteError
        For a file that exists, a folder that is missing or not writable, a full disk.
    """
    refuse_existing(contents, force=force)
    parts: dict[Path, Path] = {}
    placed: list[Path] = []
    current = next(iter(contents), Path())
    try:
        for path, content in contents.items():
            current = path
            parts[path] = temporary_path(path.parent)
            _write(parts[path], content)
        refuse_existing(contents, force=force)
        for path, part in parts.items():
            current = path
            existed = os.path.lexists(path)
            os.replace(part, path)
            if not existed:
                placed.append(path)
    except BaseException as error:
        for path in [*parts.values(), *placed]:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
            advice = _ADVICE.get(error.errno or 0, "check the path")
            raise WriteError(f"{current}: cannot be written: {reason}; {advice}") from None
        raise


def temporary_path(folder: Path) -> Path:
    """A new name in a folder, for what takes its final one when it is whole.

    It is short, since the final one may already be as long as names can be, and nobody can guess
    it. Open it so that it must be new all the same (mode `x`, `mkdir`), which follows no link.
    """
    where = os.path.abspath(folder)
    if where not in _swept:
        _swept.add(where)
        remove_remains(folder)
    return folder / f".drr-{Owner.this()}-{secrets.token_hex(6)}.part"


def place_folder(made: Path, final: Path) -> None:
    """Give a finished folder its name; one that has it stays until then, and goes.

    Raises
    ------
    OSError
        When it cannot; then both are as they were.
    """
    old = made.with_suffix(".old")
    existed = os.path.lexists(final)
    if existed:
        os.replace(final, old)
    try:
        os.replace(made, final)
    except OSError:
        if existed:
            os.replace(old, final)
        raise
    if existed:
        os.replace(old, made)  # from here on a remainder, should this process be killed
        shutil.rmtree(made, ignore_errors=True)


def remove_remains(folder: Path) -> None:
    """Remove what processes of this user and machine that have ended were still writing here."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in islice(entries, _MOST_NAMES):
            found = _PART.fullmatch(entry.name)
            if found is None or not Owner.parse(found).has_ended():
                continue
            if hasattr(os, "geteuid") and entry.stat(follow_symlinks=False).st_uid != os.geteuid():
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)


_swept: set[str] = set()  # folders in which this process has looked for remains


def refuse_existing(paths: Mapping[Path, object] | list[Path], *, force: bool) -> None:
    """Raise `WriteError` when one of the paths cannot become a file without harm."""
    # os.path, not pathlib: it answers False where a name is too long to be looked up.
    for path in paths:
        if not os.path.isdir(path.parent):
            raise WriteError(f"{path}: the folder {path.parent} does not exist; create it first")
        exists = os.path.lexists(path)
        if exists and not (os.path.isfile(path) or _is_dangling(path)):
            raise WriteError(f"{path}: exists and is not a file; choose another name")
        if exists and not force:
            raise WriteError(
                f"{path}: exists already; choose another name, or pass force=True (--force) to "
                "replace it"
            )


def _is_dangling(path: Path) -> bool:
    return os.path.islink(path) and not os.path.exists(path)


def _write(path: Path, content: bytes) -> None:
    with open(path, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
