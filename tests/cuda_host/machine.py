"""The stand-in's hardware: devices with little memory, streams that really run late, launches.

Stricter than a GPU in what it lets pass. Work waits in its stream until somebody synchronises, so
a result read too early, a pinned buffer reused too soon or two streams without an event between
them give poison instead of luck. Fresh memory is poisoned and every buffer has canaries.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Buffer", "CanaryError", "Launch", "Machine", "Queue", "machine"]

GUARD = 1024  # bytes of canary on each side: a warp's row of floats and more
CANARY, POISON = 0xA5, 0xFF  # poison reads as NaN or -1
ALIGNMENT, GRANULE = 256, 512  # of cudaMalloc, and of CuPy's pool


class CanaryError(MemoryError):
    """A kernel wrote outside a device buffer."""


@dataclass(frozen=True)
class Launch:
    """One kernel launch as it was asked for."""

    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    stream: int
    device: int


class Queue:
    """Work of one stream, done when somebody waits for it."""

    numbers = itertools.count(0x5000, 0x10)

    def __init__(self, pointer: int | None = None) -> None:
        self.pointer = next(self.numbers) if pointer is None else pointer
        self.waiting: list[Callable[[], None]] = []

    def submit(self, work: Callable[[], None]) -> None:
        self.waiting.append(work)

    def synchronize(self) -> None:
        while self.waiting:
            self.waiting.pop(0)()


@dataclass
class Machine:
    """All state of the stand-in; `reset` makes it new.

    Parameters
    ----------
    devices
        How many GPUs answer.
    memory
        Bytes of each.
    mode
        How kernels are compiled: `plain`, `memory` or `races` (`cuda_host.build`).
    backwards
        Run blocks and threads last to first; the result must not change.
    ptx
        Architecture whose PTX is executed instead of the source, such as 90; None for the source.
    """

    devices: int = 1
    memory: int = 1 << 30
    mode: str = "plain"
    backwards: bool = False
    ptx: int | None = None
    workers: int = field(default_factory=lambda: min(os.cpu_count() or 1, 4))
    device: int = 0
    used: dict[int, int] = field(default_factory=dict)
    pinned: dict[int, int] = field(default_factory=dict)
    launches: list[Launch] = field(default_factory=list)
    sources: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    uploaded: int = 0
    downloaded: int = 0
    # Called with (name, grid, block, arguments, library) instead of running; for traces.
    intercept: Callable[..., None] | None = None
    queues: dict[int, Queue] = field(default_factory=dict)
    buffers: weakref.WeakSet = field(default_factory=weakref.WeakSet)
    generation: int = 0

    def reset(self, **options: Any) -> None:
        generation = self.generation + 1
        self.__init__(**options)  # type: ignore[misc]
        self.generation = generation
        self.queues[0] = Queue(0)

    def queue(self, pointer: int) -> Queue:
        return self.queues.setdefault(pointer, Queue(pointer))

    def synchronize(self) -> None:
        for queue in list(self.queues.values()):
            queue.synchronize()

    def check_canaries(self) -> None:
        for buffer in list(self.buffers):
            buffer.check()

    def is_pinned(self, array: NDArray) -> bool:
        start, end = array.ctypes.data, array.ctypes.data + array.nbytes
        return any(at <= start and end <= at + size for at, size in self.pinned.items())


machine = Machine()
machine.reset()


class Buffer:
    """Device memory: poisoned, aligned, between canaries, counted."""

    def __init__(self, size: int, device: int) -> None:
        self.size, self.device = size, device
        taken = -(-size // GRANULE) * GRANULE
        machine.used[device] = machine.used.get(device, 0) + taken
        weakref.finalize(self, release, machine.generation, device, taken)
        if machine.mode == "memory":
            # Exactly what was asked for, so that the sanitizer's red zones begin at once.
            libc = ctypes.CDLL(None)
            libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
            libc.free.argtypes = [ctypes.c_void_p]
            address = libc.malloc(max(size, 1))
            weakref.finalize(self, libc.free, address)
            self.whole = None
            raw = (ctypes.c_uint8 * size).from_address(address)
            self.bytes = np.frombuffer(raw, np.uint8) if size else np.empty(0, np.uint8)
        else:
            self.whole = np.full(size + 2 * GUARD + ALIGNMENT, CANARY, np.uint8)
            self.start = GUARD + -(self.whole.ctypes.data + GUARD) % ALIGNMENT
            self.bytes = self.whole[self.start : self.start + size]
        self.bytes[:] = POISON
        machine.buffers.add(self)

    def check(self) -> None:
        if self.whole is None:
            return
        before, after = self.whole[: self.start], self.whole[self.start + self.size :]
        if (before != CANARY).any() or (after != CANARY).any():
            raise CanaryError(f"a kernel wrote outside a device buffer of {self.size} bytes")


def release(generation: int, device: int, size: int) -> None:
    if generation == machine.generation:
        machine.used[device] -= size
