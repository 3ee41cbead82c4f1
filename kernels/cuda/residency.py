"""Volumes on the device, and which of them stay there between calls."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cuda.errors import CudaError, CudaMemoryError, megabytes
from drr.kernels.cuda.modules import kernel
from drr.kernels.cuda.upload import upload
from drr.sharing import in_child_of_fork

__all__ = ["DeviceVolume", "VolumeCache", "make_room", "volumes"]

# Planes are counted in float32 and in the grid of the kernel that exchanges x and y.
MOST_PLANES = 65535
MOST_IN_PLANE = 2**31 - 1


class DeviceVolume:
    """Voxels on one device, and their copy with x and y exchanged once a view needs it.

    Parameters
    ----------
    voxels
        `(nz, ny, nx)` int16 CuPy array, C-contiguous; not copied.
    kind
        What images of it become: `numpy`, `cupy` or `torch`.
    """

    def __init__(self, voxels: Any, *, kind: str = "numpy") -> None:
        import cupy

        check_voxels(voxels)
        self.voxels = voxels
        self.kind = kind
        # In whose order the voxels are written, and their memory given back.
        self._home = cupy.cuda.get_current_stream()
        self._swapped: Any = None
        self._lock = threading.Lock()

    @classmethod
    def from_host(
        cls, voxels: NDArray[np.int16], *, device: int = 0, threads: int | None = None
    ) -> DeviceVolume:
        """Upload voxels; see `upload`.

        Raises
        ------
        CudaMemoryError
            When they do not fit.
        """
        import cupy

        check_voxels(voxels)
        with cupy.cuda.Device(device), cupy.cuda.Stream.null:
            try:
                return cls(with_room(lambda: upload(voxels, threads=threads)))
            except cupy.cuda.memory.OutOfMemoryError:
                free, total = cupy.cuda.runtime.memGetInfo()
                raise CudaMemoryError(
                    f"the volume takes {megabytes(voxels.nbytes)} of device memory and "
                    f"{megabytes(free)} of {megabytes(total)} are free; end other programs on "
                    "the GPU, or use backend='cpu'"
                ) from None

    @property
    def device(self) -> int:
        return int(self.voxels.device.id)

    @property
    def shape(self) -> tuple[int, int, int]:
        nz, ny, nx = self.voxels.shape
        return nz, ny, nx

    @property
    def nbytes(self) -> int:
        """Bytes on the device, the copy included."""
        return int(self.voxels.nbytes) * (1 if self._swapped is None else 2)

    def swapped(self) -> Any:
        """`(nz, nx, ny)` copy, or None where there is no room for one."""
        import cupy

        with self._lock:
            if self._swapped is None:
                nz, ny, nx = self.shape
                with self._home:
                    try:
                        out = cupy.empty((nz, nx, ny), np.int16)
                    except cupy.cuda.memory.OutOfMemoryError:
                        return None
                    sizes = np.int32(nx), np.int32(ny), np.int32(nz)
                    kernel("swap_xy")(
                        (-(-ny // 32), -(-nx // 8), nz), (32, 8, 1), (self.voxels, *sizes, out)
                    )
                self._swapped = out
            return self._swapped

    @contextmanager
    def read_by_current_stream(self) -> Iterator[None]:
        """Order what the current stream reads after what wrote it, and before what follows."""
        import cupy

        stream = cupy.cuda.get_current_stream()
        if stream.ptr == self._home.ptr:
            yield
            return
        stream.wait_event(self._home.record())
        try:
            yield
        finally:
            self._home.wait_event(stream.record())


class VolumeCache:
    """Host volumes that stay on their device for as long as their array lives.

    An array is known by its identity: its voxels must not be written to while it is here.

    Parameters
    ----------
    limit
        Bytes on all devices together; the volumes not used for longest go first. None for half of
        the memory of the current device.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        self._kept: OrderedDict[tuple[int, int], tuple[weakref.ref, DeviceVolume]] = OrderedDict()
        self._lock = threading.RLock()

    @property
    def limit(self) -> int:
        if self._limit is None:
            import cupy

            return int(cupy.cuda.runtime.memGetInfo()[1]) // 2
        return self._limit

    @limit.setter
    def limit(self, limit: int | None) -> None:
        if limit is not None and (type(limit) is not int or limit < 0):
            raise CudaError(f"the limit is a number of bytes, zero or more, got {limit!r}")
        self._limit = limit
        if self._kept:
            self.trim()

    @property
    def nbytes(self) -> int:
        """Bytes on the devices."""
        with self._lock:
            return sum(volume.nbytes for _, volume in self._kept.values())

    def get(
        self,
        voxels: NDArray[np.int16],
        *,
        device: int = 0,
        threads: int | None = None,
    ) -> DeviceVolume:
        """The volume on a device, uploaded if it is not there."""
        key = id(voxels), device
        with self._lock:
            found = self._kept.get(key)
            if found is not None and found[0]() is voxels:
                self._kept.move_to_end(key)
                return found[1]
            # Before the upload, so that both never have to fit at once.
            self.trim(room=voxels.nbytes)
            volume = DeviceVolume.from_host(voxels, device=device, threads=threads)
            reference = weakref.ref(voxels, lambda _: self._kept.pop(key, None))
            self._kept[key] = reference, volume
            return volume

    def trim(self, *, room: int = 0) -> None:
        """Let go of volumes until those kept, and `room` bytes more, are within the limit."""
        with self._lock:
            limit = self.limit
            while self._kept and self.nbytes + room > limit:
                self._kept.popitem(last=False)

    def unlock(self) -> None:
        """In the child of a fork, where CUDA does not work and no other thread has the lock."""
        self._lock = threading.RLock()

    def clear(self) -> None:
        """Let go of all volumes."""
        with self._lock:
            self._kept.clear()


# Of `drr.project`; set `volumes.limit` to change how much stays on the GPU.
volumes = VolumeCache()
in_child_of_fork(volumes.unlock)


def check_voxels(voxels: Any) -> None:
    """Refuse what the kernels cannot index."""
    if voxels.ndim != 3 or voxels.dtype != np.int16 or not voxels.flags.c_contiguous:
        raise CudaError(
            f"voxels must be a C-contiguous int16 array of shape (nz, ny, nx), got {voxels.dtype} "
            f"of shape {tuple(voxels.shape)}"
        )
    nz, ny, nx = voxels.shape
    if min(nz, ny, nx) < 1 or nz > MOST_PLANES or ny * nx > MOST_IN_PLANE:
        raise CudaError(
            f"a volume of {nx} x {ny} x {nz} voxels is beyond the CUDA kernels, which take up to "
            f"{MOST_PLANES} planes of 2^31 voxels; use backend='cpu'"
        )


def with_room(allocate: Any) -> Any:
    """What `allocate` returns, tried again without cached memory if there was too little."""
    import cupy

    try:
        return allocate()
    except cupy.cuda.memory.OutOfMemoryError:
        pass
    # Outside the handler, whose traceback would keep what was allocated alive.
    make_room()
    return allocate()


def make_room() -> None:
    """Give back all memory of the device that nobody uses, that of cached volumes included."""
    import cupy

    volumes.clear()
    cupy.cuda.runtime.deviceSynchronize()
    cupy.get_default_memory_pool().free_all_blocks()
