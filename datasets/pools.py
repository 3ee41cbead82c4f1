"""Where studies are worked on: processes of this machine, or a Dask cluster's.

Both give `concurrent.futures` futures, and both say by an error in `Pool.killed` that a worker died
with the work, so that the builder need not know which of them it has.
"""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Protocol

from drr.datasets.schema import DatasetError
from drr.errors import MissingDependencyError

__all__ = ["DaskPool", "LocalPool", "Pool", "available_workers"]

BYTES_PER_WORKER = 3 << 30
"""Memory to count on for each worker: a CT of 600 slices, its clean copy and what reading takes."""

LOST = "the cluster's scheduler is gone; start it again and give the same command, which goes on"


class Pool(Protocol):
    """What the builder needs of a pool."""

    killed: tuple[type[BaseException], ...]
    deaths: int  # of workers that such an error stands for
    threads: int

    @property
    def slots(self) -> int:
        """Studies that are worked on at a time."""

    def submit(self, work: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        """Have a worker do it."""

    def renew(self) -> None:
        """After a worker was killed: make the pool usable again."""

    def close(self, *, now: bool = False) -> None:
        """Let workers finish what they are at, or stop them `now`."""


def available_workers() -> int:
    """One for each processor this process may use, as far as memory goes."""
    from drr.kernels.cpu.threads import available_cpus

    processors = available_cpus()
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        with contextlib.suppress(OSError, ValueError):
            # A container's limit; "max" where it has none.
            memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (AttributeError, OSError, ValueError):
        return processors
    return max(1, min(processors, memory // BYTES_PER_WORKER))


class LocalPool:
    """Processes of this machine, each with its share of the processors.

    Parameters
    ----------
    workers
        How many.
    gpus
        As `CUDA_VISIBLE_DEVICES` names them, dealt out to the workers in turn; none for the CPU.
    """

    killed: tuple[type[BaseException], ...] = (BrokenProcessPool,)
    deaths = 1

    def __init__(self, workers: int, *, gpus: tuple[str, ...] = ()) -> None:
        self._workers = workers
        self._gpus = gpus
        from drr.kernels.cpu.threads import available_cpus

        self.threads = max(1, available_cpus() // workers)
        self._others = {child.pid for child in multiprocessing.active_children()}
        self._start()

    @property
    def slots(self) -> int:
        return self._workers

    def submit(self, work: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        return self._pool.submit(work, *arguments)

    def renew(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._start()

    def close(self, *, now: bool = False) -> None:
        if now:
            for child in multiprocessing.active_children():
                if child.pid not in self._others:
                    child.kill()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _start(self) -> None:
        # Started afresh, never forked: threads and locks of this process do not survive a fork.
        context = multiprocessing.get_context("spawn")
        gpus = context.SimpleQueue()
        for worker in range(self._workers if self._gpus else 0):
            gpus.put(self._gpus[worker % len(self._gpus)])
        self._pool = ProcessPoolExecutor(
            self._workers,
            mp_context=context,
            initializer=_start_worker,
            initargs=(self.threads, gpus if self._gpus else None),
        )


class DaskPool:
    """The workers of a Dask cluster; they see the source and the output under the same paths.

    Parameters
    ----------
    address
        Of the scheduler, such as `tcp://node:8786`, or the file it writes (`--scheduler-file`).
    timeout
        Seconds to wait for its answer.

    Raises
    ------
    DatasetError
        When no scheduler answers.
    MissingDependencyError
        Without `dask.distributed`.
    """

    deaths = 3  # the scheduler gives work to others before it says so
    threads = 1

    def __init__(self, address: str, *, timeout: float = 15.0) -> None:
        try:
            from distributed import Client
            from distributed.scheduler import KilledWorker
        except ImportError:
            raise MissingDependencyError(
                "a Dask cluster needs the package dask.distributed; install it with "
                "pip install 'drr-rate[cluster]'"
            ) from None
        self.killed: tuple[type[BaseException], ...] = (KilledWorker,)
        try:
            self._client = Client(_address(address), timeout=timeout, set_as_default=False)
        except (OSError, ValueError) as error:
            raise DatasetError(
                f"no Dask scheduler answers at {address!r} ({error}); start one with "
                "'dask scheduler' and workers with 'dask worker ADDRESS --nthreads 1'"
            ) from None
        self._slots, self._asked = 1, -math.inf
        self._executor = self._client.get_executor(pure=False)

    @property
    def slots(self) -> int:
        # Workers come and go; without one, work waits at the scheduler.
        if time.monotonic() > self._asked + 2:
            try:
                self._slots = max(1, sum(self._client.nthreads().values()))
            except OSError:
                raise DatasetError(LOST) from None
            self._asked = time.monotonic()
        return self._slots

    def submit(self, work: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        try:
            future: Future[Any] = self._executor.submit(work, *arguments)
        except (OSError, CancelledError):
            raise DatasetError(LOST) from None
        return future

    def renew(self) -> None:
        """Nothing: the scheduler gives work to the workers that are left."""

    def close(self, *, now: bool = False) -> None:
        with contextlib.suppress(Exception):
            self._executor.shutdown(wait=not now)
        self._client.close()


def _address(address: str) -> str:
    """What a scheduler's file says, or the address itself; `ValueError` for another file."""
    if not Path(address).is_file():
        return address
    values = json.loads(Path(address).read_text(encoding="utf-8"))
    if not isinstance(values, dict) or not isinstance(values.get("address"), str):
        raise ValueError("the file names no address")
    return str(values["address"])


def _start_worker(threads: int, gpus: Any) -> None:
    """Settle a worker before it imports anything that counts processors."""
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
        os.environ[name] = str(threads)
    if gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus.get()
    # Ctrl-C reaches every process of the terminal; the builder decides for its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A worker whose builder was killed would wait for work for ever.
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)
