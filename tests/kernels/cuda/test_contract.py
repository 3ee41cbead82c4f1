"""The stand-in against the installed CuPy, name by name; CuPy imports without a GPU."""

from __future__ import annotations

import inspect
import types

import numpy as np
import pytest
from cuda_host import cupy_stand_in, nvrtc
from cuda_host.install import installed
from cuda_host.machine import machine

# What the stand-in adds, or CuPy's compiled code hides from `inspect`.
CLASSES = {
    "ndarray": cupy_stand_in.ndarray,
    "RawModule": cupy_stand_in.RawModule,
    "cuda.Device": cupy_stand_in._Device,
    "cuda.Stream": cupy_stand_in._Stream,
    "cuda.ExternalStream": cupy_stand_in._ExternalStream,
    "cuda.Event": cupy_stand_in._Event,
    "cuda.MemoryPool": cupy_stand_in._Pool,
}


@pytest.fixture(scope="module")
def cupy():
    return pytest.importorskip(
        "cupy", reason="no CuPy: pip install cupy-cuda13x", exc_type=Exception
    )


def public(module, prefix=""):
    """Names of CuPy's that a module of the stand-in offers."""
    for name, value in vars(module).items():
        if name.startswith("_"):
            continue
        if isinstance(value, types.ModuleType):
            if value.__name__.startswith("cupy"):
                yield prefix + name
                yield from public(value, f"{prefix}{name}.")
        elif prefix or getattr(value, "__module__", None) in (cupy_stand_in.__name__, "numpy"):
            yield prefix + name


NAMES = list(public(cupy_stand_in))


def find(root, name):
    for part in name.split("."):
        root = getattr(root, part)
    return root


def parameters(function):
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    return None if any(p.kind is p.VAR_KEYWORD for p in found) else [p.name for p in found]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_one_of_cupys(cupy, name):
    real, ours = find(cupy, name), find(cupy_stand_in, name)
    if isinstance(ours, type) and issubclass(ours, Exception):
        assert issubclass(real, Exception)
    given, taken = parameters(ours), parameters(real)
    if callable(ours) and given is not None and taken is not None:
        assert set(given) <= set(taken), (given, taken)


def test_enough_is_offered():
    assert len(NAMES) > 40
    assert {"empty", "RawModule", "cuda.Stream", "cuda.runtime.getDeviceCount"} <= set(NAMES)


@pytest.mark.parametrize("name", CLASSES)
def test_every_member_is_one_of_cupys(cupy, name):
    real = find(cupy, name)
    for member, ours in inspect.getmembers(CLASSES[name]):
        if member.startswith("_") and not (member[:2] == "__" and member in vars(CLASSES[name])):
            continue
        if member in ("__dict__", "__weakref__", "__module__", "__doc__", "__annotations__"):
            continue
        if member == "__array_ufunc__" or member in ("__init__", "__eq__", "__hash__"):
            continue
        if member in ("ptr", "device_id") and hasattr(cupy.cuda.Stream.null, member):
            continue  # attributes of CuPy's instances, not of its class
        assert hasattr(real, member), member
        given, taken = parameters(ours), parameters(getattr(real, member))
        if callable(ours) and given and taken:
            assert set(given) <= set(taken), (member, given, taken)


@pytest.mark.parametrize(
    "value", [1.5, 3, True, np.float32(1), np.int32(1), np.int64(1), np.float64(1)]
)
def test_numbers_reach_a_kernel_in_the_width_the_stand_in_demands(cupy, value):
    """CuPy packs a Python float as eight bytes: a float parameter would read its lower half."""
    from cupy._core._scalar import CScalar

    packed = CScalar(value).dtype
    if isinstance(value, np.generic):
        assert packed == value.dtype
    else:
        assert packed.itemsize == (1 if value is True else 8)


def test_the_options_that_cupy_adds_are_compiled_with(cupy):
    source = inspect.getsource(cupy.cuda.compiler)
    for option in nvrtc.ADDED_BY_CUPY:
        assert option in source, option
    # Contraction is left to us; a default of CuPy's would come on top of the launcher's option.
    assert "fmad" not in source
    assert "use_fast_math" not in source


def test_without_a_gpu_both_raise_the_same(cupy):
    if cupy.cuda.is_available():
        pytest.skip("a GPU answers here")
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError) as real:
        cupy.cuda.runtime.getDeviceCount()
    assert isinstance(real.value, RuntimeError)
    with installed(devices=0) as ours, pytest.raises(RuntimeError) as stood_in:
        ours.cuda.runtime.getDeviceCount()
    if real.value.status == stood_in.value.status:
        assert str(stood_in.value) == str(real.value)
    assert machine.launches == []
    # A module is made lazily by both: asking it for a kernel is what fails.
    module = cupy.RawModule(code='extern "C" __global__ void k() {}', options=("-std=c++17",))
    with pytest.raises(RuntimeError):
        module.get_function("k")


def test_an_out_of_memory_error_can_be_caught_alike(cupy):
    assert issubclass(cupy.cuda.memory.OutOfMemoryError, MemoryError)
    assert issubclass(cupy_stand_in.cuda.memory.OutOfMemoryError, MemoryError)
    assert str(cupy.cuda.memory.OutOfMemoryError(512, 1024)) == str(
        cupy_stand_in.cuda.memory.OutOfMemoryError(512, 1024)
    )
