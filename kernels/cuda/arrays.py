"""Arrays of NumPy, CuPy and torch, in and out, without a copy on the device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from drr.kernels.cuda.errors import CudaError
from drr.kernels.cuda.residency import DeviceVolume

__all__ = ["returned", "taken"]

# DLDeviceType of the DLPack standard.
DLPACK_CPU, DLPACK_CUDA = 1, 2


@contextmanager
def taken(volume: Any, device: int | None = None) -> Iterator[DeviceVolume]:
    """A volume on its device, with that device and the stream of its library made current.

    Parameters
    ----------
    volume
        `(nz, ny, nx)` int16: NumPy array, CuPy array, torch tensor, anything else with DLPack, or
        a `DeviceVolume`.
    device
        Number of the GPU; that of the volume, or 0 for one in the host's memory.

    Raises
    ------
    CudaError
        For anything else, or a volume that is on another device.
    """
    import cupy

    where = _device_of(volume)
    if where is not None and device not in (None, where):
        raise CudaError(
            f"the volume is on GPU {where} and GPU {device} was asked for; copy it there, or leave "
            "the device out"
        )
    number = (device or 0) if where is None else where
    count = cupy.cuda.runtime.getDeviceCount()
    if not 0 <= number < count:
        raise CudaError(f"there is no GPU {number}; this machine has {count}, counted from 0")
    with cupy.cuda.Device(number), _stream_of(volume, number):
        if isinstance(volume, DeviceVolume):
            yield volume
        elif where is None:
            kind = "torch" if _is_torch(volume) else "numpy"
            voxels = np.asarray(volume.numpy() if _is_torch(volume) else volume)
            resident = DeviceVolume.from_host(voxels, device=number)
            resident.kind = kind
            yield resident
        elif isinstance(volume, cupy.ndarray):
            yield DeviceVolume(volume, kind="cupy")
        else:
            kind = "torch-cuda" if _is_torch(volume) else "cupy"
            yield DeviceVolume(cupy.from_dlpack(volume), kind=kind)


def returned(images: Any, kind: str) -> Any:
    """Images as the library of the volume has them."""
    if kind in ("torch", "torch-cuda"):
        import torch
        from torch.utils.dlpack import from_dlpack

        return torch.from_numpy(images) if kind == "torch" else from_dlpack(images)
    return images


def _device_of(volume: Any) -> int | None:
    """Number of the GPU that holds a volume, None for the host."""
    if isinstance(volume, DeviceVolume):
        return volume.device
    if isinstance(volume, np.ndarray):
        return None
    if not hasattr(volume, "__dlpack_device__"):
        raise CudaError(
            f"a volume is a NumPy, CuPy or torch array, not {type(volume).__name__}; "
            "convert it first"
        )
    kind, number = volume.__dlpack_device__()
    if kind == DLPACK_CPU:
        return None
    if kind != DLPACK_CUDA:
        raise CudaError(
            f"the volume is on a device of DLPack type {int(kind)}, which is neither the host "
            "nor an NVIDIA GPU; copy it to one of them"
        )
    return int(number)


def _is_torch(volume: Any) -> bool:
    return type(volume).__module__.partition(".")[0] == "torch"


@contextmanager
def _stream_of(volume: Any, device: int) -> Iterator[None]:
    """Torch's current stream for a tensor on the GPU, CuPy's otherwise."""
    if _is_torch(volume) and volume.is_cuda:
        import cupy
        import torch

        stream = torch.cuda.current_stream(device).cuda_stream
        with cupy.cuda.ExternalStream(stream, device):
            yield
    else:
        yield
