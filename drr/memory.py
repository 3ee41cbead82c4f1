"""How much memory there is, and a refusal of what cannot fit before it is asked for."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from drr.errors import ProjectionError

__all__ = ["available_memory", "check_memory", "total_memory"]

_MEMORY_INFO = Path("/proc/meminfo")
# Of a container, which may have less than the machine; "max" where it has no limit.
_CONTAINER = Path("/sys/fs/cgroup")


def total_memory() -> int | None:
    """Bytes that this process may hope for on a machine of its own; None where that is unknown."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
    with contextlib.suppress(OSError, ValueError):
        memory = min(memory, int((_CONTAINER / "memory.max").read_text()))
    return memory


def available_memory() -> int | None:
    """Bytes that are free, or would be given back by the system; `total_memory` at the most.

    None where neither is known.
    """
    memory = total_memory()
    if memory is None:
        return None
    with contextlib.suppress(OSError, ValueError, KeyError):
        memory = min(memory, 1024 * _numbers(_MEMORY_INFO)["MemAvailable:"])
    with contextlib.suppress(OSError, ValueError, KeyError):
        limit = int((_CONTAINER / "memory.max").read_text())
        # Files that are read once are let go of when the room is wanted.
        files = _numbers(_CONTAINER / "memory.stat")["inactive_file"]
        used = int((_CONTAINER / "memory.current").read_text()) - files
        memory = min(memory, max(limit - used, 0))
    return memory


def check_memory(needed: int, what: str) -> None:
    """Refuse what needs more memory than there is: systems promise it and kill who uses it.

    Parameters
    ----------
    needed
        Bytes, at the least.
    what
        What needs the bytes, in the plural, for the message.

    Raises
    ------
    ProjectionError
        That says how much is needed, and how much there is.
    """
    available = available_memory()
    if available is not None and needed > available:
        raise ProjectionError(
            f"{what} need {-(-needed // 10**9):,} GB of memory, and {available // 10**9:,} GB are "
            "available; ask for fewer pixels, or for fewer views at once"
        )


def _numbers(path: Path) -> dict[str, int]:
    """The first number of every line behind its first word."""
    lines = (line.split() for line in path.read_text().splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) > 1}
