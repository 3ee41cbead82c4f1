"""One process at a time, also on file systems that know no locks."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import random
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from drr.errors import WriteError
from drr.files.owner import OWNER, Owner

__all__ = ["BusyError", "locked"]

_HELD = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK}
_PAUSES = (0.05, 0.1, 0.2, 0.4)


class BusyError(WriteError):
    """Another process has the lock; the message names it where that is known."""


@contextlib.contextmanager
def locked(path: Path, *, busy: str) -> Iterator[None]:
    """Hold a lock, which the system frees when the process ends, however that is.

    Where the file system knows no locks (some NFS, Lustre, FUSE: ENOLCK, EOPNOTSUPP, ENOSYS) each
    process has a file of its own beside `path`, which names it. Those of processes of this machine
    that have ended are removed; one of another machine counts until somebody removes it, and the
    message says which it is.

    Parameters
    ----------
    path
        The lock's file, in a folder that exists. It stays.
    busy
        What it means that somebody else has it, and what to do.

    Raises
    ------
    BusyError
        When another process has it.
    WriteError
        When the file cannot be.
    """
    mine = None
    try:
        handle = _open(path)
    except OSError as error:
        raise WriteError(
            f"{path}: cannot be written ({error.strerror}); choose another place"
        ) from None
    with handle:
        try:
            _lock(handle)
        except OSError as error:
            if error.errno in _HELD:
                raise BusyError(f"{path.parent}: {busy}") from None
            mine = _claim(path, busy)
        try:
            if not _is_there(handle, path):  # whoever had it has just removed it
                raise BusyError(f"{path.parent}: {busy}")
            yield
        finally:
            if mine is not None:
                _release(mine)


def _open(path: Path) -> IO[bytes]:
    # Never through a link, which may lead to somebody else's file.
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    return open(path, "rb+", 0, opener=lambda name, _: os.open(name, flags, 0o666))


def _is_there(handle: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle.fileno()), os.lstat(path))
    except OSError:
        return False


def _lock(handle: IO[bytes]) -> None:
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


_ours: set[Path] = set()
_ours_guard = threading.Lock()


def _claim(path: Path, busy: str) -> Path:
    """Make this process's own file, and keep it if nobody else has one.

    Everybody makes theirs before they look, so of two that start together one at least sees the
    other. Only files of processes that have ended are removed by others, and no name ever comes
    again: there is no moment at which a file that counts could be taken away.
    """
    node = re.sub(r"[^A-Za-z0-9.]", "_", platform.node())[:64] or "host"
    mine = path.with_name(f"{path.name}-{node}-{Owner.this()}").absolute()
    with _ours_guard:
        if mine in _ours:
            raise BusyError(f"{path.parent}: {busy}")
        _ours.add(mine)
    try:
        for pause in (*_PAUSES, None):
            os.close(os.open(mine, os.O_CREAT | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0), 0o666))
            other = _other(path, mine)
            if other is None:
                return mine
            # Two that start together both step back, for times of their own.
            mine.unlink(missing_ok=True)
            if pause is not None:
                time.sleep(random.uniform(0.5, 1.5) * pause)
    except BaseException as error:
        _release(mine)
        if isinstance(error, OSError):
            raise WriteError(
                f"{mine}: cannot be written ({error.strerror}); choose another place"
            ) from None
        raise
    _release(mine)
    assert other is not None
    file, node, owner = other
    raise BusyError(
        f"{path.parent}: {busy}. It is process {owner.pid} on {node}; if that has ended, remove "
        f"{file.name} there"
    )


def _other(path: Path, mine: Path) -> tuple[Path, str, Owner] | None:
    """A file of another process that may still run; those of others that do not are removed."""
    pattern = re.compile(rf"{re.escape(path.name)}-(?P<node>[A-Za-z0-9._]+)-{OWNER}")
    for name in os.listdir(path.parent):
        found = pattern.fullmatch(name)
        if found is None or name == mine.name:
            continue
        owner = Owner.parse(found)
        file = path.with_name(name)
        if not owner.has_ended():
            return file, found["node"], owner
        with contextlib.suppress(OSError):
            file.unlink()
    return None


def _release(mine: Path) -> None:
    with contextlib.suppress(OSError):
        mine.unlink(missing_ok=True)
    with _ours_guard:
        _ours.discard(mine)
