"""From a file's bytes to HU as the patient lies, block by block and all at once.

Inflating is serial and takes longest. While this thread inflates one block of slices, others
convert, reorder and digest the blocks before it; plain files are mapped, and every thread takes
its own blocks. Beyond the volume itself only a few blocks are held.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drr.errors import ReadError, VolumeError
from drr.io.stored import rescale
from drr.threads import available_cpus, run
from drr.unusual import Unusual, settle
from drr.volume import check_affine, nearest_lps_axes, slice_digest

__all__ = ["Mapped", "PatientOrder", "Stream", "Voxels", "read_hu"]

BLOCK = 1 << 22
"""Bytes of stored voxels that are worked on at a time: near the size of a core's cache."""

MOST_HELPERS = 3
"""Threads beside the one that inflates; more find nothing to do."""

AHEAD = 2
"""Blocks before the one that is inflated, for which helpers have memory ready."""


class Stream(Protocol):
    """Bytes that come one after another."""

    def readinto(self, buffer: memoryview, /) -> int | None: ...


@dataclass(frozen=True)
class Mapped:
    """Voxels that lie uncompressed in an open file, from a byte `offset` on."""

    file: BinaryIO
    offset: int


@dataclass(frozen=True)
class Voxels:
    """What was read.

    Parameters
    ----------
    hu
        `(n2, n1, n0)` int16 in the file's index order; its memory may run otherwise.
    digests
        `drr.volume.slice_digest` of each slice along the first axis of that memory; None where
        slices of the file are not slices of the memory, or voxels changed after all were read.
    notes
        What was done with numbers that are no HU, see `drr.unusual`.
    """

    hu: NDArray[np.int16]
    digests: tuple[bytes, ...] | None
    notes: tuple[str, ...] = ()


class PatientOrder:
    """An array to be filled in a file's index order, laid out in memory as `drr.Volume` wants it.

    Parameters
    ----------
    shape
        `(n2, n1, n0)` of the file, slowest index first.
    affine
        `(4, 4)`, index `(i0, i1, i2, 1)` to LPS; only its directions matter. None, or an affine
        that is none, leaves the file's order.

    Attributes
    ----------
    found
        Collects the numbers that are no HU while the array is filled.
    """

    def __init__(self, shape: tuple[int, int, int], affine: ArrayLike | None) -> None:
        axes, flips = (0, 1, 2), (False, False, False)
        if affine is not None:
            # Volume.from_stored says what is wrong with one that is no affine.
            with contextlib.suppress(VolumeError):
                axes, flips = nearest_lps_axes(check_affine(affine, "volume"))
        memory = np.empty([shape[axis] for axis in axes], np.int16)
        unflipped = memory[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
        self.hu: NDArray[np.int16] = unflipped.transpose(np.argsort(axes))
        self._memory = memory
        self._reversed = flips[0]
        self.found = Unusual()
        self._digests: list[bytes] | None = [b""] * shape[0] if axes[0] == 0 else None

    def digest(self, start: int, stop: int) -> None:
        """Digest the file's slices from `start` to `stop`, which must be complete."""
        if self._digests is None:
            return
        for place in range(start, stop):
            z = len(self._digests) - 1 - place if self._reversed else place
            self._digests[z] = slice_digest(self._memory[z])

    def finish(self, name: str) -> Voxels:
        """What was filled in, once all is; `ReadError` for numbers that cannot be HU."""
        try:
            notes = settle(self._memory, self.found, name=name)
        except VolumeError as error:
            raise ReadError(str(error)) from None
        digests = None if self._digests is None or self.found else tuple(self._digests)
        return Voxels(self.hu, digests, notes)


def read_hu(
    sources: Iterable[Stream | Mapped],
    shape: tuple[int, int, int],
    dtype: np.dtype,
    *,
    slope: float = 1.0,
    intercept: float = 0.0,
    affine: ArrayLike | None = None,
    parts: int = 1,
    name: str,
    threads: int | None = None,
) -> Voxels:
    """Read voxels and rescale them to HU.

    Parameters
    ----------
    sources
        Where the voxels are: `parts` of them, each with the same number of slices. The next is
        asked for when the one before has been read.
    shape
        `(n2, n1, n0)`, slowest index first.
    dtype
        Data type of the stored voxels, any byte order.
    slope, intercept
        HU are `slope * stored + intercept`, rounded to the nearest even.
    affine
        As for `PatientOrder`.
    name
        What error messages call the file.
    threads
        CPU threads in all; every available one by default.

    Raises
    ------
    ReadError
        For voxels that end early or cannot be HU.
    """
    if dtype.kind not in "iufb":
        raise ReadError(
            f"{name}: voxels of type {dtype} (colour, complex or vectors) are not CT numbers"
        )
    target = PatientOrder(shape, affine)
    work = _Work(target, dtype, slope, intercept, name, threads or available_cpus())
    share = shape[0] // parts
    for part, source in enumerate(sources):
        if isinstance(source, Mapped):
            work.map(source, part * share, share)
        else:
            work.stream(source, part * share, share)
    return target.finish(name)


class _Work:
    """Fills a target with slices `first` to `first + count` from one source at a time."""

    def __init__(
        self,
        target: PatientOrder,
        dtype: np.dtype,
        slope: float,
        intercept: float,
        name: str,
        threads: int,
    ) -> None:
        self.target, self.dtype, self.name, self.threads = target, dtype, name, threads
        self.slope, self.intercept = slope, intercept
        self.as_stored = dtype == np.int16 and slope == 1 and intercept == 0
        self.slice_shape = target.hu.shape[1:]
        self.slice_bytes = math.prod(self.slice_shape) * dtype.itemsize
        self.step = max(1, BLOCK // self.slice_bytes)

    def map(self, source: Mapped, first: int, count: int) -> None:
        """Blocks of a plain file, each mapped, so that no page stays that has been read."""
        turn = threading.Lock()

        def task(start: int, stop: int) -> None:
            size = self.slice_bytes * (stop - start)
            data, before = _bytes_at(
                source.file, source.offset + self.slice_bytes * (start - first), size, turn
            )
            if len(data) < before + size:
                self.ended(self.slice_bytes * (start - first) + len(data), count)
            flat = np.frombuffer(data, self.dtype, size // self.dtype.itemsize, before)
            self.take(flat.reshape(stop - start, *self.slice_shape), start)

        run(task, self.blocks(first, count), self.threads)

    def stream(self, source: Stream, first: int, count: int) -> None:
        """Read block by block here, while helpers work on the blocks before."""
        hu, blocks = self.target.hu, self.blocks(first, count)
        straight = self.as_stored and hu.flags.c_contiguous
        with _Helpers(min(self.threads - 1, MOST_HELPERS)) as helpers:
            free: queue.SimpleQueue[NDArray[Any]] = queue.SimpleQueue()

            def take_and_free(block: NDArray[Any], start: int, stop: int) -> None:
                try:
                    self.take(block[: stop - start], start)
                finally:
                    free.put(block)

            if not straight:
                for _ in range(min(helpers.most + 1, len(blocks))):
                    free.put(np.empty((self.step, *self.slice_shape), self.dtype))
            for n, (start, stop) in enumerate(blocks):
                if straight and helpers.most and n + AHEAD < len(blocks):
                    helpers.do(_touch, hu[slice(*blocks[n + AHEAD])])
                block = hu[start:stop] if straight else free.get()
                done = _fill(source, block[: stop - start])
                if done < self.slice_bytes * (stop - start):
                    self.ended(self.slice_bytes * (start - first) + done, count)
                if straight:
                    helpers.do(self.target.digest, start, stop)
                else:
                    helpers.do(take_and_free, block, start, stop)
            if finish := getattr(source, "finish", None):
                finish()

    def blocks(self, first: int, count: int) -> list[tuple[int, int]]:
        stop = first + count
        return [(k, min(k + self.step, stop)) for k in range(first, stop, self.step)]

    def take(self, block: NDArray[Any], start: int) -> None:
        """Stored slices, from `start` on, into the target."""
        if not self.as_stored:
            values = np.empty(block.shape, np.int16)
            with np.errstate(all="ignore"):  # what rescale refuses need not be warned of too
                for stored, out in zip(block, values, strict=True):
                    rescale(
                        stored,
                        self.slope,
                        self.intercept,
                        out=out,
                        name=self.name,
                        found=self.target.found,
                    )
            block = values
        np.copyto(self.target.hu[start : start + len(block)], block)
        self.target.digest(start, start + len(block))

    def ended(self, done: int, count: int) -> NoReturn:
        raise ReadError(
            f"{self.name}: the voxels end after {done} of {self.slice_bytes * count} bytes, so it "
            "is truncated; copy or download it again"
        )


def _bytes_at(file: BinaryIO, offset: int, size: int, turn: threading.Lock) -> tuple[Any, int]:
    """A buffer and where in it the bytes at `offset` begin; shorter where the file ends."""
    before = offset % mmap.ALLOCATIONGRANULARITY
    try:
        return mmap.mmap(
            file.fileno(), before + size, access=mmap.ACCESS_READ, offset=offset - before
        ), before
    except (OSError, ValueError):  # nothing that can be mapped, or a file shorter by now
        with turn:
            file.seek(offset)
            return file.read(size), 0


def _fill(stream: Stream, block: NDArray[Any]) -> int:
    """Read a contiguous block's bytes; returns how many there were."""
    buffer = memoryview(block.reshape(-1).view(np.uint8).data)
    done = 0
    while done < len(buffer) and (count := stream.readinto(buffer[done:])):
        done += count
    return done


def _touch(block: NDArray[Any]) -> None:
    """Write to every page of new memory, so that the system clears it now and on this thread."""
    block.reshape(-1).view(np.uint8)[:: mmap.PAGESIZE] = 0


class _Helpers:
    """Other threads that do jobs in the order given, a few waiting at most.

    Without other threads a job is done at once. An exception of a job comes out of a later `do`
    or, at the latest, at the end of the `with` block.
    """

    def __init__(self, threads: int) -> None:
        self.most = 2 * threads
        self._pool = ThreadPoolExecutor(threads, "drr-read") if threads > 0 else None
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> _Helpers:
        return self

    def do(self, job: Callable[..., None], *arguments: Any) -> None:
        if self._pool is None:
            job(*arguments)
            return
        while len(self._waiting) >= self.most:
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(job, *arguments))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._pool is None:
            return
        self._pool.shutdown(wait=True, cancel_futures=kind is not None)
        if kind is None:
            for job in self._waiting:
                job.result()
