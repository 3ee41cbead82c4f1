"""The part of CuPy that the launcher uses, run on the CPU and stricter than CuPy.

`cuda_host.installed` puts this module in CuPy's place. Every public name here is one of CuPy's
(kernels/cuda/test_contract.py compares them with the real package, which imports without a GPU).
What CuPy lets pass and a GPU then gets wrong is an error here: a Python number where the kernel
takes a float (CuPy passes eight bytes), an array of another type or layout than the parameter's, an
array of another device, a grid beyond the limits.
"""

from __future__ import annotations

import ctypes
import math
import re
import sys
import types
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy import float32, float64, int8, int16, int32, int64, uint8, uint16, uint32, uint64  # noqa: F401
from numpy.typing import ArrayLike

from cuda_host import build as _build
from cuda_host import nvrtc as _nvrtc
from cuda_host import ptx as _ptx
from cuda_host.machine import GRANULE, Buffer, Launch, Queue, machine

__version__ = "14.0.0"


# -- errors --
class _CUDARuntimeError(RuntimeError):
    def __init__(self, status: int) -> None:
        self.status = status
        names = {
            2: "cudaErrorMemoryAllocation: out of memory",
            35: "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime"
            " version",
            100: "cudaErrorNoDevice: no CUDA-capable device is detected",
            101: "cudaErrorInvalidDevice: invalid device ordinal",
        }
        super().__init__(names.get(status, f"error {status}"))


class _CUDADriverError(RuntimeError):
    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__({1: "CUDA_ERROR_INVALID_VALUE", 500: "CUDA_ERROR_NOT_FOUND"}[status])


class _OutOfMemoryError(MemoryError):
    def __init__(self, size: int, total: int, limit: int = 0) -> None:
        super().__init__(
            f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes)."
        )


class _CompileException(Exception):  # noqa: N818
    def __init__(self, msg: str, source: str, name: str, options: Any, backend: str = "nvrtc"):
        super().__init__(msg)
        self._msg = msg

    def get_message(self) -> str:
        return self._msg


def _invalid(message: str) -> _CUDADriverError:
    error = _CUDADriverError(1)
    error.args = (f"{error}: {message}",)
    return error


# -- arrays --
class ndarray:  # noqa: N801
    """A device array; not a NumPy array, and no NumPy function takes it for one."""

    __array_ufunc__ = None
    __array_priority__ = 100

    def __init__(self, shape, dtype=float, memptr=None, strides=None, order="C"):
        if memptr is not None or strides is not None or order != "C":
            raise TypeError("the stand-in makes C-ordered arrays of its own memory")
        shape = (shape,) if np.isscalar(shape) else tuple(int(n) for n in shape)
        dtype = np.dtype(dtype)
        size = int(np.prod(shape, dtype=object)) * dtype.itemsize
        device = _current_device()
        used = machine.used.get(device, 0)
        if used + -(-size // GRANULE) * GRANULE > machine.memory:
            raise _OutOfMemoryError(size, used)
        self._buffer = Buffer(size, device)
        self._view = self._buffer.bytes.view(dtype).reshape(shape)

    @classmethod
    def _of(cls, buffer: Buffer, view: np.ndarray) -> ndarray:
        array = object.__new__(cls)
        array._buffer, array._view = buffer, view
        return array

    @property
    def shape(self):
        return self._view.shape

    @property
    def strides(self):
        return self._view.strides

    @property
    def dtype(self):
        return self._view.dtype

    @property
    def ndim(self):
        return self._view.ndim

    @property
    def size(self):
        return self._view.size

    @property
    def nbytes(self):
        return self._view.nbytes

    @property
    def itemsize(self):
        return self._view.itemsize

    @property
    def flags(self):
        return self._view.flags

    @property
    def T(self):  # noqa: N802
        return self.transpose()

    @property
    def device(self):
        return _Device(self._buffer.device)

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self._view.ctypes.data, device_id=self._buffer.device)

    def __len__(self):
        return len(self._view)

    def __array__(self, *args, **kwargs):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed."
            " Please use `.get()` to construct a NumPy array explicitly."
        )

    def get(self, stream=None, order="C", out=None, blocking=True):
        queue = _queue(stream)
        host = np.empty(self.shape, self.dtype) if out is None else out
        if host.shape != self.shape or host.dtype != self.dtype:
            raise ValueError("out has another shape or type")
        if out is None and self.dtype.kind == "f":
            host.fill(np.nan)
        machine.downloaded += self.nbytes
        view = self._view

        def copy() -> None:
            host[...] = view

        queue.submit(copy)
        if blocking:
            queue.synchronize()
            machine.check_canaries()
        return host

    def set(self, arr, stream=None):
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if arr.dtype != self.dtype or arr.shape != self.shape:
            raise ValueError("Shape or type mismatch")
        if not self.flags.c_contiguous:
            raise RuntimeError("Cannot set to non-contiguous array")
        machine.uploaded += arr.nbytes
        # Pageable memory is staged before the call returns; pinned memory is read later.
        source = arr if machine.is_pinned(arr) else arr.copy()
        view = self._view

        def copy() -> None:
            view[...] = source

        _queue(stream).submit(copy)

    def fill(self, value):
        view = self._view
        _queue(None).submit(lambda: view.fill(value))

    def __getitem__(self, key):
        if isinstance(key, np.ndarray | list):
            raise TypeError("the stand-in takes slices and integers")
        return ndarray._of(self._buffer, self._view[key])

    def __setitem__(self, key, value):
        if isinstance(value, np.ndarray) and value.ndim:
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        target, source = self._view[key], value._view if isinstance(value, ndarray) else value

        def copy() -> None:
            target[...] = source

        _queue(None).submit(copy)

    def _viewed(self, view: np.ndarray) -> ndarray:
        if self.size and not np.shares_memory(view, self._view):
            raise ValueError("the stand-in does not copy here: make the array contiguous first")
        return ndarray._of(self._buffer, view)

    def reshape(self, *shape, order="C"):
        return self._viewed(self._view.reshape(*shape))

    def ravel(self, order="C"):
        return self._viewed(self._view.ravel())

    def view(self, dtype=None):
        return self._viewed(self._view.view(dtype) if dtype is not None else self._view)

    def transpose(self, *axes):
        return self._viewed(self._view.transpose(*axes))

    def squeeze(self, axis=None):
        return self._viewed(self._view.squeeze(axis))

    def copy(self, order="C"):
        result = empty(self.shape, self.dtype)
        result[...] = self
        return result

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        if not copy and self.dtype == dtype:
            return self
        result = empty(self.shape, dtype)
        result[...] = self
        return result

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        # The consumer's stream waits for ours; with no stream the caller takes care.
        _queue(None).synchronize()
        return self._view.__dlpack__()

    def __dlpack_device__(self):
        return 2, self._buffer.device

    @property
    def __cuda_array_interface__(self):
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.data.ptr, False),
            "version": 3,
            "strides": None if self.flags.c_contiguous else self.strides,
            "stream": _current_stream().ptr or 1,
        }


def empty(shape, dtype=float, order="C"):
    return ndarray(shape, dtype)


def zeros(shape, dtype=float, order="C"):
    result = ndarray(shape, dtype)
    result.fill(0)
    return result


def empty_like(prototype, dtype=None, order="K", subok=None, shape=None):
    return ndarray(prototype.shape if shape is None else shape, dtype or prototype.dtype)


def zeros_like(a, dtype=None, order="K", subok=None, shape=None):
    return zeros(a.shape if shape is None else shape, dtype or a.dtype)


def array(obj: ArrayLike | ndarray, dtype=None, copy=True, order="K", subok=False, ndmin=0):
    if isinstance(obj, ndarray):
        return obj.astype(obj.dtype if dtype is None else dtype)
    host = np.ascontiguousarray(obj, dtype)
    result = ndarray(host.shape, host.dtype)
    result.set(host.copy())
    return result


def asarray(a, dtype=None, order=None, *, blocking=False):
    if isinstance(a, ndarray) and (dtype is None or a.dtype == dtype):
        return a
    return array(a, dtype)


def ascontiguousarray(a, dtype=None):
    if isinstance(a, ndarray) and a.flags.c_contiguous and (dtype is None or a.dtype == dtype):
        return a
    return array(a, dtype)


def asnumpy(a, stream=None, order="C", out=None, *, blocking=True):
    if isinstance(a, ndarray):
        return a.get(stream=stream, out=out, blocking=blocking)
    return np.asarray(a)


def from_dlpack(array, *, device=None, copy=None):
    kind, device_id = array.__dlpack_device__()
    if kind != 2:
        raise TypeError("array is not on a CUDA device")

    class OnTheHost:
        def __dlpack_device__(self):
            return 1, 0

        def __dlpack__(self, **kwargs):
            return array.__dlpack__(stream=_current_stream().ptr or 1)

    view = np.from_dlpack(OnTheHost())
    buffer = Buffer(0, device_id)
    buffer.owner = array
    return ndarray._of(buffer, view)


def get_array_module(*args):
    return sys.modules[__name__] if any(isinstance(a, ndarray) for a in args) else np


# -- kernels --
class _Function:
    def __init__(self, module: RawModule, name: str) -> None:
        self._module, self.name = module, name
        library = module._library
        self._signature = getattr(library, f"signature_{name}")().decode().split()
        bound = re.search(
            rf"__launch_bounds__\s*\(([\d\s*]+)[^)]*\)\s*(?:void\s+)?{name}\b", module._expanded
        )
        factors = [int(n) for n in bound[1].split("*")] if bound else [1024]
        self.max_threads_per_block = math.prod(factors)

    def __call__(self, grid, block, args, *, shared_mem=0, enable_cooperative_groups=False):
        grid, block = _three(grid), _three(block)
        if min(grid + block) < 1:
            raise _invalid(f"{self.name}: empty launch {grid} x {block}")
        if grid[0] > 2**31 - 1 or max(grid[1:]) > 65535:
            raise _invalid(f"{self.name}: grid {grid} exceeds (2147483647, 65535, 65535)")
        threads = block[0] * block[1] * block[2]
        if max(block[:2]) > 1024 or block[2] > 64 or threads > self.max_threads_per_block:
            raise _invalid(f"{self.name}: block {block} exceeds {self.max_threads_per_block}")
        if shared_mem or enable_cooperative_groups:
            raise _invalid(f"{self.name}: the stand-in has no shared memory")
        if len(args) != len(self._signature):
            raise _invalid(f"{self.name}: {len(args)} arguments for {self._signature}")
        pairs = list(zip(args, self._signature, strict=True))
        packed = [self._packed(i, a, kind) for i, (a, kind) in enumerate(pairs)]
        stream = _current_stream()
        launch = Launch(self.name, grid, block, stream.ptr, _current_device())
        machine.launches.append(launch)
        library, intercept = self._module._executable(), machine.intercept

        def run() -> None:
            # Keeps the arrays alive as the stream-ordered pool of CuPy does.
            pointers = (ctypes.c_void_p * len(packed))(*[ctypes.addressof(p) for p in packed])
            g, b = (ctypes.c_uint * 3)(*grid), (ctypes.c_uint * 3)(*block)
            if intercept is not None:
                intercept(self.name, g, b, pointers, self._module)
            elif isinstance(library, _ptx.Program):
                _ptx.execute(library, self.name, g, b, pointers, machine.workers)
            else:
                run = getattr(library, f"launch_{self.name}")
                run(g, b, pointers, machine.workers, int(machine.backwards))
            del args_alive[:]
            machine.check_canaries()

        args_alive = list(args)
        _queue(stream).submit(run)

    def _packed(self, i: int, argument: Any, kind: str) -> Any:
        where = f"{self.name}, argument {i}"
        if kind[0] in "PC":
            if not isinstance(argument, ndarray):
                raise _invalid(f"{where}: a device array is wanted, not {type(argument).__name__}")
            if _kind(argument.dtype) != kind[1:]:
                raise _invalid(f"{where}: {argument.dtype} for a pointer to {kind[1:]}")
            if not argument.flags.c_contiguous:
                raise _invalid(f"{where}: not C-contiguous")
            if argument._buffer.device != _current_device():
                raise _invalid(f"{where}: on device {argument._buffer.device}, not the current one")
            return ctypes.c_uint64(argument.data.ptr)
        if not isinstance(argument, np.generic) or _kind(argument.dtype) != kind:
            raise _invalid(f"{where}: {argument!r} ({type(argument).__name__}) for {kind}")
        return (ctypes.c_char * argument.nbytes).from_buffer_copy(argument.tobytes())


class RawModule:
    """CUDA source, compiled when the first kernel is asked for."""

    def __init__(
        self, *, code=None, path=None, options=(), backend="nvrtc", translate_cucomplex=False,
        enable_cooperative_groups=False, name_expressions=None, jitify=False,
    ):  # fmt: skip
        if code is None or path is not None or backend != "nvrtc" or name_expressions or jitify:
            raise TypeError("the stand-in takes code for NVRTC, with extern C kernels")
        if not isinstance(options, tuple):
            raise TypeError("options is a tuple")
        self._code, self._options = code, options
        machine.sources.append((code, options))
        self._compiled: Any = None

    def compile(self, log_stream=None):
        _current_device()
        if self._compiled is None:
            try:
                self._compiled = _build.build(self._code, self._options, mode=machine.mode)
            except _build.CompilationError as error:
                raise _CompileException(str(error), self._code, "", self._options) from None

    @property
    def _library(self) -> ctypes.CDLL:
        self.compile()
        return self._compiled

    @property
    def _expanded(self) -> str:
        return _build.expanded(self._code, self._options)

    def _executable(self) -> Any:
        return self._library if machine.ptx is None else self._program(machine.ptx)

    def _program(self, capability: int) -> _ptx.Program:
        ptx = _nvrtc.compile_for(f"compute_{capability}", self._code, self._options).binary
        return _ptx.load_program(ptx.rstrip(b"\0").decode())

    def get_function(self, name):
        self.compile()
        if name not in _build.kernel_names(self._code, self._options):
            raise _CUDADriverError(500)
        return _Function(self, name)


def RawKernel(code, name, options=(), backend="nvrtc", **kwargs):  # noqa: N802
    return RawModule(code=code, options=tuple(options), backend=backend).get_function(name)


def _kind(dtype: np.dtype) -> str:
    return dtype.kind + str(dtype.itemsize)


def _three(size: Sequence[int]) -> tuple[int, int, int]:
    values = tuple(int(n) for n in size)
    if len(values) > 3:
        raise ValueError("a launch has at most three dimensions")
    x, y, z = values + (1,) * (3 - len(values))
    return x, y, z


# -- devices and streams --
def _device_count() -> int:
    if machine.devices == 0:
        raise _CUDARuntimeError(35)
    return machine.devices


def _current_device() -> int:
    _device_count()
    return machine.device


class _Device:
    def __init__(self, device=None):
        self.id = _current_device() if device is None else int(device)
        if not 0 <= self.id < _device_count():
            raise _CUDARuntimeError(101)
        self._before: list[int] = []

    def __int__(self):
        return self.id

    def __eq__(self, other):
        return isinstance(other, _Device) and other.id == self.id

    def __hash__(self):
        return hash(self.id)

    def __enter__(self):
        self._before.append(machine.device)
        machine.device = self.id
        return self

    def __exit__(self, *args):
        machine.device = self._before.pop()

    def use(self):
        machine.device = self.id
        return self

    def synchronize(self):
        machine.synchronize()

    @property
    def compute_capability(self):
        return "90"

    @property
    def mem_info(self):
        return _memory_info()

    @property
    def attributes(self):
        return {"MultiProcessorCount": 2, "MaxGridDimX": 2**31 - 1, "MaxGridDimY": 65535}


def _memory_info() -> tuple[int, int]:
    return machine.memory - machine.used.get(_current_device(), 0), machine.memory


class _BaseStream:
    ptr = 0
    device_id = 0

    def __enter__(self):
        _streams.append(self)
        return self

    def __exit__(self, *args):
        _streams.pop()

    def use(self):
        _streams[-1] = self
        return self

    def synchronize(self):
        machine.queue(self.ptr).synchronize()

    @property
    def done(self):
        return not machine.queue(self.ptr).waiting

    def record(self, event=None):
        event = _Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event):
        machine.queue(self.ptr).submit(event.synchronize)


class _Stream(_BaseStream):
    null: _Stream

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        self.ptr = 0 if null else Queue().pointer
        self.device_id = machine.device
        if not null:
            machine.queue(self.ptr)


class _ExternalStream(_BaseStream):
    def __init__(self, ptr, device_id=-1):
        self.ptr = int(ptr)
        self.device_id = device_id


class _Event:
    """Recorded at a place of a stream; reached when all work before that place is done."""

    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self._queue: Queue | None = None
        self._reached = False
        self._time = 0.0

    def record(self, stream=None):
        self._queue = _queue(stream)
        self._reached = False

        def reached() -> None:
            self._reached = True

        self._queue.submit(reached)

    def synchronize(self):
        while self._queue is not None and not self._reached:
            self._queue.waiting.pop(0)()

    @property
    def done(self):
        return self._queue is None or self._reached


_Stream.null = _Stream(null=True)
_streams: list[Any] = [_Stream.null]


def _current_stream(device_id=-1) -> Any:
    return _streams[-1]


def _queue(stream: Any) -> Queue:
    return machine.queue(_current_stream().ptr if stream is None else stream.ptr)


class _Pool:
    def used_bytes(self):
        return machine.used.get(_current_device(), 0)

    def total_bytes(self):
        return machine.used.get(_current_device(), 0)

    def free_bytes(self):
        return 0

    def n_free_blocks(self):
        return 0

    def free_all_blocks(self, stream=None):
        pass


_pool = _Pool()


def get_default_memory_pool():
    return _pool


def get_default_pinned_memory_pool():
    return _pool


def _alloc_pinned_memory(size):
    _device_count()

    class PinnedMemoryPointer(ctypes.c_uint8 * max(size, 1)):
        pass

    memory = PinnedMemoryPointer()
    address = ctypes.addressof(memory)
    memory.ptr = address
    ctypes.memset(address, 0xFF, size)
    machine.pinned[address] = size
    weakref.finalize(memory, machine.pinned.pop, address, None)
    return memory


def _module(name: str, **names: Any) -> types.ModuleType:
    module = types.ModuleType(f"cupy.{name}")
    vars(module).update(names)
    return module


cuda = _module(
    "cuda",
    runtime=_module(
        "cuda.runtime",
        CUDARuntimeError=_CUDARuntimeError,
        getDeviceCount=_device_count,
        getDevice=_current_device,
        memGetInfo=_memory_info,
        driverGetVersion=lambda: 13000 if machine.devices else 0,
        runtimeGetVersion=lambda: 13000,
        deviceSynchronize=machine.synchronize,
        getDeviceProperties=lambda device: {
            "name": b"CPU behind a stand-in for CuPy",
            "major": 9,
            "minor": 0,
            "multiProcessorCount": 2,
            "totalGlobalMem": machine.memory,
            "maxGridSize": (2**31 - 1, 65535, 65535),
        },
    ),
    driver=_module("cuda.driver", CUDADriverError=_CUDADriverError),
    memory=_module("cuda.memory", OutOfMemoryError=_OutOfMemoryError),
    compiler=_module("cuda.compiler", CompileException=_CompileException),
    nvrtc=_module(
        "cuda.nvrtc", getVersion=lambda: (13, 0), NVRTCError=type("NVRTCError", (RuntimeError,), {})
    ),
    Device=_Device,
    Stream=_Stream,
    ExternalStream=_ExternalStream,
    Event=_Event,
    get_current_stream=_current_stream,
    is_available=lambda: machine.devices > 0,
    alloc_pinned_memory=_alloc_pinned_memory,
)
