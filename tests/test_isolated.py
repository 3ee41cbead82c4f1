"""Work in another process: what it returns, what it raises, and how it may die."""

from __future__ import annotations

import os
import sys

import pytest

from drr.errors import ReadError
from drr.isolated import Isolated, IsolatedError


def test_answers_and_errors_come_back() -> None:
    with Isolated() as isolated:
        assert isolated.call("math:sqrt", 2.0, seconds=60) == 2.0**0.5
        with pytest.raises(ValueError, match="domain"):
            isolated.call("math:sqrt", -1.0, seconds=60)
        with pytest.raises(ReadError, match=r"\\x1b"):
            isolated.call("test_isolated:refuse", "\x1b", seconds=60)
        assert isolated.call("os:getpid", seconds=60) != os.getpid()


def test_a_process_that_died_is_started_again() -> None:
    with Isolated() as isolated:
        first = isolated.call("os:getpid", seconds=60)
        with pytest.raises(IsolatedError, match=r"crashed \(SIGABRT\)"):
            isolated.call("os:abort", seconds=60)
        with pytest.raises(IsolatedError, match="longer than 0.5 s"):
            isolated.call("time:sleep", 60, seconds=0.5)
        assert isolated.call("os:getpid", seconds=60) != first


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux")
def test_memory_is_limited_by_the_call() -> None:
    with Isolated(max_bytes=1 << 30) as isolated:
        with pytest.raises(IsolatedError, match="more memory"):
            isolated.call("builtins:bytes", 1 << 30, seconds=60)
        size = isolated.call("test_isolated:allocate", 1 << 30, seconds=60, max_bytes=3 << 30)
        assert size == 1 << 30
        with pytest.raises(IsolatedError, match="more memory"):
            isolated.call("test_isolated:allocate", 1 << 30, seconds=60, max_bytes=1 << 30)


def refuse(text: str) -> None:
    raise ReadError(text)


def allocate(size: int) -> int:
    return len(bytes(size))
