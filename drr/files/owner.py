"""Which process a file belongs to, told by its name: whether that process has certainly ended."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["OWNER", "Owner"]

OWNER = r"(?P<system>[0-9a-f]{12})-(?P<pid>\d{1,19})-(?P<start>\d{1,19})"
"""Pattern of `str(Owner)`, for names of files."""


@dataclass(frozen=True)
class Owner:
    """A process, among all that may see a folder.

    Parameters
    ----------
    system
        Digest of what tells one machine, and one container on it, from another.
    pid
        Number of the process there.
    start
        When it started, in the system's ticks; 0 where the system does not say.
    """

    system: str
    pid: int
    start: int

    @classmethod
    def this(cls) -> Owner:
        """The process that asks."""
        pid = os.getpid()
        return cls(_system(), pid, _start(pid) or 0)

    @classmethod
    def parse(cls, name: re.Match[str]) -> Owner:
        """The process that a match of `OWNER` names."""
        return cls(name["system"], int(name["pid"]), int(name["start"]))

    def __str__(self) -> str:
        return f"{self.system}-{self.pid}-{self.start}"

    def has_ended(self) -> bool:
        """Whether it certainly has; False for a process of another machine or container."""
        if self.system != _system() or os.name == "nt":  # where asking would kill it
            return False
        try:
            os.kill(self.pid, 0)
        except (ProcessLookupError, OverflowError):
            return True
        except OSError:
            pass  # it is there, and somebody else's
        # Numbers are used again; a process that was killed may wait for its parent to notice.
        start = _start(self.pid)
        return start is not None and start != self.start


@cache
def _system() -> str:
    words = [platform.node()]
    with contextlib.suppress(OSError):
        words.append(Path("/etc/machine-id").read_text("ascii", "replace").strip())
    with contextlib.suppress(OSError):
        words.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\0".join(words).encode("utf-8", "replace")).hexdigest()[:12]


def _start(pid: int) -> int | None:
    """When a process started; -1 for one that has ended, None where the system does not say."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
        # After the name, which may hold anything: the state, and 19 fields on the start.
        fields = text.rpartition(")")[2].split()
        return -1 if fields[0] in "ZX" else int(fields[19])
    except (OSError, ValueError, IndexError):
        return None
