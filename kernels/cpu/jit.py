"""How the CPU kernels are compiled: nogil, cached on disk, and never in the way.

Numba keys its cache by the file a kernel is defined in and so misses edits of callees in other
files. Here the cache folder carries a digest of all kernel sources: any edit starts a new one.
Where no folder is writable the kernels are compiled afresh in each process instead of failing.
"""

from __future__ import annotations

import functools
import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, overload

import numba
from numba.core import config

__all__ = ["cache_folder", "jit"]

F = TypeVar("F", bound=Callable[..., Any])

# Maxima need not care for NaN: that makes them vectors. Volumes are int16 and attenuation is
# checked, so no NaN gets here. Contraction and reordering stay off: what they do depends on how
# the compiler came to a kernel (fresh or from a cached callee), and images must repeat to the bit.
FAST = {"nsz", "nnan"}


@overload
def jit(function: F) -> F: ...
@overload
def jit(*, fast: bool = ..., inline: bool = ...) -> Callable[[F], F]: ...
def jit(function: Any = None, *, fast: bool = False, inline: bool = False) -> Any:
    """Compile a kernel on first use: no GIL, no bounds checks, C's division, cached on disk.

    Parameters
    ----------
    fast
        For loops over rows: let minima and maxima ignore NaN and signed zeros.
    inline
        Inline into calling kernels (for tiny helpers in hot loops).
    """
    if function is None:
        return functools.partial(jit, fast=fast, inline=inline)
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "boundscheck": False}
    if fast:
        options["fastmath"] = FAST
    if inline:
        options["inline"] = "always"
    folder = cache_folder()
    if folder is None:
        return numba.njit(**options)(function)
    # Numba reads the folder once, when a function is decorated.
    previous = vars(config)["CACHE_DIR"]
    vars(config)["CACHE_DIR"] = str(folder)
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:
        return numba.njit(**options)(function)
    finally:
        vars(config)["CACHE_DIR"] = previous


@functools.lru_cache(maxsize=1)
def cache_folder() -> Path | None:
    """Folder of the compiled kernels, or None where nothing is writable.

    `DRR_CACHE_DIR` wins, then `NUMBA_CACHE_DIR`, the user's cache folder, and a private folder
    in the system's temporary one.
    """
    for base in _candidates():
        folder = base / f"kernels-{_sources_digest()}"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not _is_ours(folder):
                continue
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError:
            continue
    return None


def _candidates() -> list[Path]:
    found = [Path(os.environ[k]) for k in ("DRR_CACHE_DIR", "NUMBA_CACHE_DIR") if os.environ.get(k)]
    if sys.platform == "win32":
        user = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local")
    elif sys.platform == "darwin":
        user = Path(os.path.expanduser("~/Library/Caches"))
    else:
        user = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    owner = getattr(os, "getuid", lambda: "user")()
    return [*found, user / "drr-rate", Path(tempfile.gettempdir()) / f"drr-rate-{owner}"]


def _is_ours(folder: Path) -> bool:
    """Cached code is executed, so it must not come from a folder that others can write to."""
    if not hasattr(os, "getuid"):
        return True
    status = folder.stat()
    return status.st_uid == os.getuid() and not status.st_mode & stat.S_IWOTH


def _sources_digest() -> str:
    digest = hashlib.sha256(numba.__version__.encode())
    folder = Path(__file__).parent
    for source in sorted([*folder.parent.glob("*.py"), *folder.rglob("*.py")]):
        digest.update(source.name.encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]
