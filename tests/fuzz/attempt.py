"""One damaged input through the command line, and what is right about its end.

Three outcomes are right: the command does its work and what it made holds; the input is refused by
one line on stderr that names the file, with exit status 2 and nothing left behind; both within
limits of time and memory. Everything else is a finding.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fuzz.targets import TARGETS, Target

__all__ = ["attempt", "damaged", "judge"]

MOST_SECONDS = 15.0
"""Processor seconds of one command at most; sound seeds take 0.01 to 0.5."""

MOST_GROWTH = 1 << 30
"""Bytes that the process may grow by for an input of a few kilobytes."""


def damaged(name: str, number: int) -> dict[str, bytes]:
    """The files of a target's input with this number: always the same ones."""
    target = TARGETS[name]
    random = np.random.default_rng([number, *name.encode()])
    seed = target.seed()
    files = dict(seed)
    which = [file for file in seed if file in target.damage or not target.damage]
    file = which[int(random.integers(len(which)))]
    for _ in range(20):
        files[file] = target.mutation(seed[file], random)
        if files[file] != seed[file]:
            break
    return files


def attempt(name: str, number: int) -> tuple[str, str]:
    """What is wrong with the end of an input (empty where nothing is), and what was said."""
    return judge(TARGETS[name], damaged(name, number))


def judge(target: Target, files: dict[str, bytes]) -> tuple[str, str]:
    """What is wrong with the end of a command on these files, and what it said on stderr."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    before = Path.cwd()
    try:
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        os.chdir(folder)
        start, size = time.process_time(), _peak(anew=True)
        status, said = _run(target.command)
        seconds, grown = time.process_time() - start, _peak() - size
        wrong = _wrong_with(status, said, target)
        if not wrong and seconds > MOST_SECONDS:
            wrong = f"took {seconds:.0f} s"
        if not wrong and grown > MOST_GROWTH:
            wrong = f"took {grown >> 20} MiB"
        if not wrong and status == 2:
            left = _files(folder) - set(files) - set(target.may_stay)
            wrong = f"left {sorted(left)[0]}" if left else ""
        if not wrong and status == 0:
            wrong = target.check(folder)
        return wrong, said
    finally:
        os.chdir(before)
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: tuple[str, ...] | Callable[[], object]) -> tuple[int, str]:
    from drr.cli import _exit_code, main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        if not isinstance(command, tuple):
            # What the command line makes of an error is what is judged of a function's, too.
            return _exit_code(lambda: command() and None), err.getvalue()
        try:
            main(list(command), prog_name="drr")
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
    return status, err.getvalue()


def _wrong_with(status: int, said: str, target: Target) -> str:
    lines = said.splitlines()
    if status not in (0, 2):
        return f"status {status}: {lines[-2] if len(lines) > 1 else said}"
    if any(not (line.isprintable() and line.startswith("drr: ")) for line in lines):
        return "lines that are no message, or not printable"
    if status == 0:
        return ""
    errors = [line for line in lines if line.startswith("drr: error: ")]
    if len(errors) != 1 and not target.many_errors:
        return f"{len(errors)} errors"
    if any(len(line) > 520 for line in errors):
        return "a message of more than 500 characters"
    if any("not enough memory" in line for line in errors):
        return "ran out of memory"
    names = {part for file in target.seed() for part in (file, *Path(file).parts)}
    if target.names_file and not any(name in line for line in errors for name in names):
        return "a message that names no file"
    return ""


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def _peak(*, anew: bool = False) -> int:
    """Bytes that the process has held at most, or 0 where the system is not Linux.

    Not `getrusage`, whose peak is inherited from the process that started this one.
    """
    process = Path("/proc/self")
    if not (process / "clear_refs").exists():
        return 0
    if anew:
        (process / "clear_refs").write_text("5")  # proc(5): the peak becomes the present size
    found = re.search(r"VmHWM:\s+(\d+) kB", (process / "status").read_text())
    return int(found[1]) * 1024 if found else 0
