"""Host voxels to the device through two pinned buffers, which the copy engine reads directly."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.threads import available_cpus, run, split

__all__ = ["CHUNK_BYTES", "upload"]

# Of a buffer, but for slices that are larger: it holds one at least. Filling one overlaps with
# sending the other; more than this is no faster.
CHUNK_BYTES = 8 << 20


def upload(voxels: NDArray[np.int16], *, threads: int | None = None) -> Any:
    """Copy to the current device, in order of its current stream.

    Parameters
    ----------
    voxels
        `(nz, ny, nx)` int16, C-contiguous.
    threads
        CPU threads that fill the buffers; all available ones by default.

    Returns
    -------
    CuPy array of the same shape. The host's voxels have been read when this returns.
    """
    import cupy

    out = cupy.empty(voxels.shape, np.int16)
    stream = cupy.cuda.get_current_stream()
    nz, ny, nx = voxels.shape
    count = min(nz, max(1, CHUNK_BYTES // (2 * ny * nx)))
    buffers = [_pinned(count, ny, nx) for _ in range(min(2, -(-nz // count)))]
    events = [cupy.cuda.Event(disable_timing=True) for _ in buffers]
    for turn, start in enumerate(range(0, nz, count)):
        buffer, event = buffers[turn % 2], events[turn % 2]
        # Before its first use an event counts as reached.
        event.synchronize()
        filled = buffer[: nz - start]
        _copy(voxels[start : start + count], filled, threads or available_cpus())
        out[start : start + count].set(filled, stream=stream)
        event.record(stream)
    for event in events:
        event.synchronize()
    return out


def _copy(slices: NDArray[np.int16], out: NDArray[np.int16], threads: int) -> None:
    source, target = slices.reshape(-1), out.reshape(-1)

    def task(start: int, stop: int) -> None:
        target[start:stop] = source[start:stop]

    run(task, split(source.size, threads), threads)


def _pinned(count: int, ny: int, nx: int) -> NDArray[np.int16]:
    import cupy

    memory = cupy.cuda.alloc_pinned_memory(2 * count * ny * nx)
    return np.frombuffer(memory, np.int16, count * ny * nx).reshape(count, ny, nx)
