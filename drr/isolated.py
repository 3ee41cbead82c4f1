"""Work in another process with limits, for libraries that one damaged file can crash or hang."""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import IO, Any

from drr.errors import DRRError

__all__ = ["Isolated", "IsolatedError", "alive"]

# The child finds this package where its parent did, whatever that did to its path.
_START = (
    "import sys, pickle; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from drr.isolated import serve; serve()"
)
_LENGTH = struct.Struct("<Q")
# Pools of threads reserve address space by the number of CPUs, which the limit is not meant for.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class IsolatedError(DRRError):
    """The other process ended without an answer; the message says how."""


class Isolated:
    """A process that calls functions for this one, one at a time, and may die of it.

    It is started with the first call and again after it died. Threads take turns; after a fork the
    child of the fork starts one of its own.

    Parameters
    ----------
    max_bytes
        Address space that the process may take, where the system can limit it; a call may set
        another limit.

    Examples
    --------
    >>> with Isolated() as isolated:
    ...     isolated.call("math:sqrt", 2.0, seconds=60)
    1.4142135623730951
    """

    def __init__(self, *, max_bytes: int | None = None) -> None:
        self._max_bytes = max_bytes
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()
        self._turn = threading.Lock()

    def __enter__(self) -> Isolated:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def call(
        self, function: str, *arguments: Any, seconds: float, max_bytes: int | None = None
    ) -> Any:
        """What a function returns, or raise what it raises.

        Parameters
        ----------
        function
            As `package.module:name`.
        arguments
            Anything that pickles, as must what is returned.
        seconds
            After which the process is killed, counted anew whenever the function calls `alive`.
        max_bytes
            Address space from this call on; None leaves the limit as it is.

        Raises
        ------
        IsolatedError
            When the process crashed, or took longer or more memory than it may, or what it returns
            or raises does not pickle.
        """
        if self._owner != os.getpid():
            # The parent's process and lock came along with a fork and are not this process's.
            self._process, self._turn, self._owner = None, threading.Lock(), os.getpid()
        with self._turn:
            if self._process is not None and self._process.poll() is not None:
                self._stop()  # it was killed while nobody asked anything of it
            process = self._process = self._process or _start(self._max_bytes)
            watch = _Watch(process, seconds)
            try:
                _send(process.stdin, (function, arguments, max_bytes, seconds))
                while (received := _receive(process.stdout)) is None:
                    watch.restart()
                answer, error = received
            except (EOFError, OSError):
                self._stop()
                raise IsolatedError(_ending(process, watch.late, seconds)) from None
            except BaseException:
                # Interrupted: the answer that is still to come must not be taken for the next one.
                self._stop()
                raise
            finally:
                watch.end()
                if watch.late:  # killed while its answer was on the way
                    self._stop()
        if isinstance(error, MemoryError):
            raise IsolatedError("it needs more memory than it may take") from None
        if error is not None:
            raise error
        return answer

    def close(self) -> None:
        """End the process."""
        if self._owner == os.getpid():
            with self._turn:
                self._stop()

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    if pipe is not None:
                        pipe.close()
            process.wait()


class _Watch:
    """Kills a process that gives no sign of life for so many seconds."""

    def __init__(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        self._process, self._seconds = process, seconds
        self.late = False
        self._timer = self._started()

    def restart(self) -> None:
        self.end()
        self._timer = self._started()

    def end(self) -> None:
        self._timer.cancel()

    def _started(self) -> threading.Timer:
        timer = threading.Timer(self._seconds, self._kill)
        timer.daemon = True
        timer.start()
        return timer

    def _kill(self) -> None:
        self.late = True
        self._process.kill()


def _start(max_bytes: int | None) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", _START],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | _ONE_THREAD,
    )
    try:
        assert process.stdin is not None
        pickle.dump(sys.path, process.stdin)
        _send(process.stdin, max_bytes)
    except OSError:  # it ended already; the call will notice
        pass
    return process


def _ending(process: subprocess.Popen[bytes], late: bool, seconds: float) -> str:
    code = process.returncode
    if late:
        return f"it took longer than {seconds:g} s"
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"the library crashed ({signal.Signals(-code).name})"
    return f"the library ended its process (status {code})"


def _send(pipe: IO[bytes] | None, value: Any) -> None:
    assert pipe is not None
    _write(pipe, pickle.dumps(value, pickle.HIGHEST_PROTOCOL))


def _write(pipe: IO[bytes], content: bytes) -> None:
    pipe.write(_LENGTH.pack(len(content)))
    pipe.write(content)
    pipe.flush()


def _receive(pipe: IO[bytes] | None) -> Any:
    assert pipe is not None
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (size,) = _LENGTH.unpack(head)
    content = pipe.read(size)
    if len(content) < size:
        raise EOFError
    try:
        return pickle.loads(content)
    except Exception as error:  # whatever classes do when they are made again
        raise IsolatedError(f"its answer cannot be read ({error})") from None


def alive() -> None:
    """Say, in the other process, that work goes on; elsewhere this does nothing.

    Called in loops whose every turn is short, however many there are.
    """
    if _SIGNS is not None:
        _SIGNS.give()


class _Signs:
    """Of life, to the one who waits; and an end to a life that nobody waits for any more."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe, self._last, self._seconds = pipe, 0.0, 0.0

    def begin(self, seconds: float) -> None:
        self._seconds = seconds
        self._set_alarm()

    def give(self) -> None:
        now = time.monotonic()
        if now - self._last > 0.05:
            self._last = now
            _send(self._pipe, None)
            self._set_alarm()

    def end(self) -> None:
        if hasattr(signal, "alarm"):
            signal.alarm(0)

    def _set_alarm(self) -> None:
        # Whoever waits kills in time, unless it was killed itself. The system's alarm ends a
        # process also where a library loops and lets no thread of Python's run.
        if hasattr(signal, "alarm"):
            signal.alarm(min(math.ceil(self._seconds) + 5, 1 << 30))


_SIGNS: _Signs | None = None
"""Where `alive` tells; None in a process that nobody waits for."""


def serve() -> None:
    """Be the other process: call what comes through standard input until it is closed."""
    global _SIGNS
    pipe = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # Libraries print; what they print must not be taken for an answer.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    _limit(_receive(sys.stdin.buffer))
    _SIGNS = _Signs(pipe)
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with contextlib.suppress(EOFError, OSError):
        while True:
            function, arguments, max_bytes, seconds = _receive(sys.stdin.buffer)
            _limit(max_bytes)
            _SIGNS.begin(seconds)
            answer: tuple[Any, Exception | None]
            try:
                answer = (_named(function)(*arguments), None)
            except Exception as error:
                answer = (None, error)
            _SIGNS.end()
            _write(pipe, _pickled(answer))


def _pickled(answer: tuple[Any, Exception | None]) -> bytes:
    try:
        return pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # whatever a class does when it is taken apart
        what = type(answer[0] if answer[1] is None else answer[1]).__name__
        text = f"its {what} cannot be handed over ({answer[1] or error})"
        return pickle.dumps((None, IsolatedError(text)), pickle.HIGHEST_PROTOCOL)


def _named(function: str) -> Callable[..., Any]:
    module, _, name = function.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def _limit(max_bytes: int | None) -> None:
    if max_bytes is None or os.name == "nt":
        return
    import resource

    # Not every system lets a process limit its own address space. A later call may need more.
    with contextlib.suppress(OSError, ValueError):
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        soft = max_bytes if most == resource.RLIM_INFINITY else min(max_bytes, most)
        resource.setrlimit(resource.RLIMIT_AS, (soft, most))
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
