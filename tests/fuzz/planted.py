"""Faults for the tests of the fuzzer: each must be found."""

from __future__ import annotations

import os
import time
from pathlib import Path

from drr.errors import ReadError
from fuzz.attempt import judge
from fuzz.targets import Target

__all__ = ["FAULTS", "attempt", "judged"]


def traceback() -> None:
    raise KeyError("a.txt")


def unnamed_file() -> None:
    raise ReadError("something is wrong; mend it")


def half_written() -> None:
    Path("out.png").write_bytes(b"half")
    raise ReadError("a.txt: is damaged; copy it again")


def hungry() -> None:
    bytearray(2 << 30)


FAULTS = {
    traceback: "status 1",
    unnamed_file: "names no file",
    half_written: "left out.png",
    hungry: "MiB",
}
"""Functions of one file `a.txt`, and what must be said of each."""


def judged(name: str) -> tuple[str, str]:
    """What the fuzzer says of a fault."""
    target = Target("planted", lambda: {"a.txt": b""}, globals()[name])
    return judge(target, target.seed())


def attempt(name: str, number: int) -> tuple[str, str]:
    """Dies of the first input, hangs at the second; the third is right."""
    if number == 0:
        os.abort()
    if number == 1:
        time.sleep(60)
    return "", ""
