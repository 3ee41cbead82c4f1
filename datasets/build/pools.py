"""Where studies are worked on: processes of this machine, or a Dask cluster's.

Both give `concurrent.futures` futures, and both say by an error in `Pool.killed` that a worker died
with the work, so that the builder need not know which of them it has.

The processes of this machine share no lock and no queue, as those of a `ProcessPoolExecutor` do: a
worker that is killed, at whatever moment, takes nothing with it but the study it was at.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

from drr.datasets.schema import DatasetError
from drr.errors import MissingDependencyError
from drr.files.documents import read_json
from drr.memory import total_memory

__all__ = ["DaskPool", "LocalPool", "Pool", "WorkerKilledError", "available_workers"]

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

    def close(self, *, now: bool = False) -> None:
        """Let workers finish what they are at, or stop them `now`."""


def available_workers() -> int:
    """One for each processor this process may use, as far as memory goes."""
    from drr.threads import available_cpus

    processors, memory = available_cpus(), total_memory()
    if memory is None:
        return processors
    return max(1, min(processors, memory // BYTES_PER_WORKER))


class WorkerKilledError(Exception):
    """A process of this machine ended before it had done its work.

    Parameters
    ----------
    how
        Name of the signal that ended it, or empty.
    """

    def __init__(self, how: str = "") -> None:
        super().__init__(how)
        self.how = how


class LocalPool:
    """Processes of this machine, each with its share of the processors.

    Parameters
    ----------
    workers
        How many.
    gpus
        As `CUDA_VISIBLE_DEVICES` names them, dealt out to the workers in turn; none for the CPU.
    """

    killed: tuple[type[BaseException], ...] = (WorkerKilledError,)
    deaths = 1

    def __init__(self, workers: int, *, gpus: tuple[str, ...] = ()) -> None:
        from drr.threads import available_cpus

        self.threads = max(1, available_cpus() // workers)
        names = [gpus[n % len(gpus)] if gpus else None for n in range(workers)]
        self._workers = [_Worker(self.threads, name) for name in names]
        self._idle = list(reversed(self._workers))
        # A thread for each worker, which waits for what it sends.
        self._executor = ThreadPoolExecutor(workers)

    @property
    def slots(self) -> int:
        return len(self._workers)

    def submit(self, work: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        return self._executor.submit(self._do, work, arguments)

    def close(self, *, now: bool = False) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)
        if now:
            for worker in self._workers:
                worker.kill()
        self._executor.shutdown(wait=True)
        for worker in self._workers:
            worker.end()

    def _do(self, work: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        # There are as many workers as threads; the last that was busy has all it needs loaded.
        worker = self._idle.pop()
        try:
            return worker.do(work, arguments)
        finally:
            self._idle.append(worker)


class _WorkerError(Exception):
    """Where in a worker an error came from, as text."""


class _Worker:
    """A process with a pipe, started when there is work, and again after it was killed."""

    def __init__(self, threads: int, gpu: str | None) -> None:
        self._arguments = (threads, gpu)
        self._process: BaseProcess | None = None
        self._stopped = False
        self._lock = threading.Lock()  # of the two above

    def do(self, work: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """The result of some work, or what it raises; `WorkerKilledError` when none will come."""
        with self._lock:
            if self._stopped:
                raise WorkerKilledError
            if self._process is None:
                self._start()
        try:
            self._pipe.send((work, arguments))
            result, error, trace = self._pipe.recv()
        except (EOFError, OSError):
            raise WorkerKilledError(self.end()) from None
        if error is not None:
            raise error from _WorkerError(trace)
        return result

    def kill(self) -> None:
        """At once, and for good."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.kill()

    def end(self) -> str:
        """Wait until it has ended, which it does when nothing can be sent to it any more.

        Returns
        -------
        The name of the signal that ended it, or empty.
        """
        with self._lock:
            if self._process is None:
                return ""
            self._pipe.close()
            self._process.join()
            code = self._process.exitcode or 0
            self._process = None
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name if code < 0 else ""
        return ""

    def _start(self) -> None:
        # Started afresh, never forked: threads and locks of this process do not survive a fork.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        with theirs:
            # Only the worker keeps its end, so that the pipe breaks when it ends.
            process = context.Process(target=_serve, args=(theirs, *self._arguments), daemon=True)
            process.start()
        self._process = process


class DaskPool:
    """The workers of a Dask cluster; they see the source and the output under the same paths.

    Parameters
    ----------
    address
        Address of the scheduler, such as `tcp://node:8786`, or its file (`--scheduler-file`).
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

    def close(self, *, now: bool = False) -> None:
        with contextlib.suppress(Exception):
            self._executor.shutdown(wait=not now)
        self._client.close()


def _address(address: str) -> str:
    """What a scheduler's file says, or the address itself; `ValueError` for another file."""
    if not Path(address).is_file():
        return address
    values = read_json(Path(address))
    if not isinstance(values, dict) or not isinstance(values.get("address"), str):
        raise ValueError("the file names no address")
    return str(values["address"])


def _serve(pipe: Connection, threads: int, gpu: str | None) -> None:
    """Be a worker: do what comes through the pipe until it is closed."""
    # Before anything is imported that counts processors.
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
        os.environ[name] = str(threads)
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    # Ctrl-C reaches every process of the terminal; the builder decides for its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A worker whose builder was killed has no one to work for.
    parent = multiprocessing.parent_process()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        while True:
            sent = pipe.recv_bytes()
            answer: tuple[Any, Exception | None, str]
            try:
                work, arguments = pickle.loads(sent)  # may import, and fail
                answer = (work(*arguments), None, "")
            except Exception as error:
                # A traceback does not go through a pipe, its text does.
                answer = (None, error, traceback.format_exc())
            pipe.send(answer)


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)
