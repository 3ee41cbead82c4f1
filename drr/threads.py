"""One pool of threads a process, made on first use, for kernels that release the GIL.

Serial kernels over ranges of work, run by plain Python threads, survive fork and any number of
calling threads; OpenMP hangs after a fork and Numba's own layer aborts under several threads.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from drr.sharing import in_child_of_fork

__all__ = ["available_cpus", "each", "run", "split"]

# One at most. A child of a fork would inherit its parent's, but none of its threads.
_pools: dict[str, ThreadPoolExecutor] = {}
in_child_of_fork(_pools.clear)


def available_cpus() -> int:
    """CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def split(count: int, parts: int) -> list[tuple[int, int]]:
    """Cut `range(count)` into at most `parts` contiguous, non-empty, nearly equal ranges."""
    parts = max(1, min(parts, count))
    edges = [count * i // parts for i in range(parts + 1)]
    return list(itertools.pairwise(edges))


def run(task: Callable[[int, int], object], ranges: list[tuple[int, int]], threads: int) -> None:
    """Call `task(start, stop)` for every range, on this thread and at most `threads - 1` others.

    Ranges are handed out one by one, so uneven ones balance. An exception of any range is raised
    once all threads have ended.
    """
    waiting = deque(ranges)

    def work() -> None:
        while waiting:
            try:
                start, stop = waiting.popleft()
            except IndexError:
                return
            task(start, stop)

    helpers: list[Future[None]] = []
    # While the interpreter shuts down it starts no more threads: then all is done here.
    with contextlib.suppress(RuntimeError):
        helpers = [_pool().submit(work) for _ in range(min(threads, len(ranges)) - 1)]
    try:
        work()
    finally:
        # After an error the others end with the range they are in; who has not begun need not.
        waiting.clear()
        helpers = [helper for helper in helpers if not helper.cancel()]
        wait(helpers)
    for helper in helpers:
        helper.result()


def each(jobs: Sequence[Callable[[], Any]], threads: int) -> list[Any]:
    """What the jobs return, in their order; each is done by one of the threads."""
    results: list[Any] = [None] * len(jobs)

    def task(start: int, stop: int) -> None:
        for k in range(start, stop):
            results[k] = jobs[k]()

    run(task, [(k, k + 1) for k in range(len(jobs))], threads)
    return results


def _pool() -> ThreadPoolExecutor:
    pool = _pools.get("drr")
    if pool is None:
        # setdefault is atomic: two threads that race here agree on one pool without a lock.
        pool = _pools.setdefault(
            "drr", ThreadPoolExecutor(max(1, available_cpus() - 1), thread_name_prefix="drr")
        )
    return pool
