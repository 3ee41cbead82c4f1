"""Files written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from drr.errors import WriteError

__all__ = ["refuse_existing", "write_files"]

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
            # A short name of its own: the final one may already be as long as names can be.
            parts[path] = path.parent / f".drr-{secrets.token_hex(6)}.part"
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
