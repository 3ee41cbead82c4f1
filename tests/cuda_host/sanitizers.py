"""Python started with a sanitizer's runtime, so that libraries built for it can be loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from cuda_host.build import COMPILER, folder, needs_compiler

__all__ = ["needs_sanitizers", "run"]

TESTS = Path(__file__).resolve().parent.parent
RUNTIMES = {"memory": ("libasan.so", "libubsan.so"), "races": ("libtsan.so",)}
SETTINGS = {
    # Python itself leaks by design; what matters are reads and writes.
    "memory": {"ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1"},
    "races": {"TSAN_OPTIONS": "halt_on_error=1:exitcode=66:report_signal_unsafe=0"},
}


@cache
def runtimes(mode: str) -> tuple[str, ...]:
    found = []
    for name in RUNTIMES[mode]:
        done = subprocess.run(
            [COMPILER, f"-print-file-name={name}"], capture_output=True, text=True
        )
        path = done.stdout.strip()
        if os.path.isabs(path):
            found.append(path)
    return tuple(found) if len(found) == len(RUNTIMES[mode]) else ()


def needs_sanitizers(mode: str) -> None:
    """Skip the calling test where the compiler has no runtime of this sanitizer."""
    needs_compiler()
    if not sys.platform.startswith("linux"):
        pytest.skip("sanitizers are preloaded into Python on Linux only")
    if not runtimes(mode):
        pytest.skip(f"{COMPILER} has no {', '.join(RUNTIMES[mode])}")


def run(mode: str, script: str, *arguments: str) -> tuple[bool, str]:
    """Run Python code under the sanitizers of a mode (`cuda_host.build.MODES`).

    Returns
    -------
    Whether it ended well, and the sanitizer's line about it or else its whole standard error.
    """
    environment = {
        **os.environ,
        **SETTINGS[mode],
        "LD_PRELOAD": ":".join(runtimes(mode)),
        "PYTHONPATH": str(TESTS),
        # What an aborted process compiled is cleared away with what this one did.
        "TMPDIR": str(folder()),
        # Threads of the libraries would only be noise to the thread sanitizer.
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONMALLOC": "malloc",
    }
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=500,
    )
    marks = ("runtime error:", "ERROR: AddressSanitizer", "WARNING: ThreadSanitizer")
    told = [line for line in done.stderr.splitlines() if any(m in line for m in marks)]
    return done.returncode == 0, told[0].strip() if told else done.stderr
