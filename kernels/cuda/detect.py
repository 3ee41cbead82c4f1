"""Whether a GPU answers, and at which stage it does not; looked for when somebody asks."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import sys
from dataclasses import dataclass
from functools import cache

__all__ = ["CUPY_WHEELS", "STAGES", "Detection", "detect"]

STAGES = ("package", "driver", "import", "device", "compiler", "kernel")
"""In the order in which they are tried; but wheels that clash are looked for where a driver is."""

CUPY_WHEELS = {"cupy-cuda12x": 12000, "cupy-cuda13x": 13000, "cupy": 0}
"""Distributions of CuPy, of which one may be installed, and the CUDA version of the driver that
each needs at least, as the driver counts: 1000 times the major and 10 times the minor version."""

INSTALL = "pip install 'drr-rate[cuda13]' (drivers from 580 on) or 'drr-rate[cuda12]' (from 525 on)"
DRIVER = "install NVIDIA's driver, or on a cluster ask for a node with a GPU"

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"

# Of the driver's error codes (CUDA Driver API, enum cudaError_enum).
NO_DEVICE, SYSTEM_DRIVER_MISMATCH, COMPAT_NOT_SUPPORTED = 100, 803, 804

PROBE = 'extern "C" __global__ void probe(int* out) { out[threadIdx.x] = 3 * threadIdx.x; }'


@dataclass(frozen=True, kw_only=True)
class Detection:
    """What was found.

    Parameters
    ----------
    available
        Whether the CUDA back-end can run.
    stage
        The one of `STAGES` that failed; empty when none did.
    reason, fix
        What was wrong there and what to do; empty when nothing was.
    device
        Name of the GPU that runs by default; None without one.
    """

    available: bool
    stage: str
    reason: str
    fix: str
    device: str | None


@cache
def detect() -> Detection:
    """Look for a GPU, once a process; whatever is wrong with the installation, it is an answer."""
    # Cheapest first: most machines have no driver, and importing CuPy takes a second.
    for look in (_package, _library, _wheels, _driver):
        if (failed := look()) is not None:
            return failed
    try:
        import cupy
    except Exception as error:  # a broken installation raises many types
        return _failed(
            "import", f"CuPy cannot be imported: {_line(error)}", f"reinstall: {INSTALL}"
        )
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        return _failed("device", f"the CUDA runtime fails: {_line(error)}", DRIVER)
    if count == 0:
        return _no_device()
    try:
        module = cupy.RawModule(code=PROBE)
        module.compile()
    except Exception as error:
        return _failed("compiler", *_compiler(_line(error)))
    try:
        out = cupy.zeros(32, dtype=cupy.int32)
        module.get_function("probe")((1,), (32,), (out,))
        found = out.get().tolist()
        properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    except Exception as error:
        reason = f"the GPU cannot run a kernel: {_line(error)}"
        return _failed("kernel", reason, "see with nvidia-smi whether another program fills it")
    if found != [3 * i for i in range(32)]:
        return _failed(
            "kernel", "the GPU computes wrong numbers", "do not use it before it is mended"
        )
    name = properties["name"]
    device = name.decode(errors="replace") if isinstance(name, bytes) else str(name)
    return Detection(available=True, stage="", reason="", fix="", device=device)


def _failed(stage: str, reason: str, fix: str) -> Detection:
    return Detection(available=False, stage=stage, reason=reason, fix=fix, device=None)


def _package() -> Detection | None:
    if importlib.util.find_spec("cupy") is None:
        return _failed("package", "CuPy is not installed", INSTALL)
    return None


def _wheels() -> Detection | None:
    wheels = _installed_wheels()
    if len(wheels) > 1:
        names = " and ".join(wheels)
        reason = f"{names} are both installed, and overwrite each other's files"
        return _failed("package", reason, f"pip uninstall {' '.join(wheels)}, then {INSTALL}")
    return None


def _installed_wheels() -> list[str]:
    from importlib import metadata  # takes longer than all else where there is no driver

    found = []
    for name in CUPY_WHEELS:
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        found.append(name)
    return found


def _library() -> Detection | None:
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return _failed("driver", f"there is no NVIDIA driver ({LIBRARY} is not found)", DRIVER)
    return None


def _driver() -> Detection | None:
    """Ask the driver's library itself, which says more than CuPy does."""
    driver = ctypes.CDLL(LIBRARY)
    version = ctypes.c_int(0)
    known = driver.cuDriverGetVersion(ctypes.byref(version)) == 0
    needed = max((CUPY_WHEELS[name] for name in _installed_wheels()), default=0)
    if known and version.value < needed:
        have, want = (f"{v // 1000}.{v % 1000 // 10}" for v in (version.value, needed))
        fix = f"update the driver, or {INSTALL}"
        return _failed("driver", f"the driver knows CUDA {have}, CuPy needs {want}", fix)
    status = driver.cuInit(0)
    if status == NO_DEVICE:
        return _no_device()
    if status in (SYSTEM_DRIVER_MISMATCH, COMPAT_NOT_SUPPORTED):
        reason = f"the driver's library and its kernel module differ (cuInit returned {status})"
        return _failed("driver", reason, "restart the machine after an update of the driver")
    if status:
        return _failed("driver", f"the driver does not start (cuInit returned {status})", DRIVER)
    return None


def _no_device() -> Detection:
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None:
        reason = f"no GPU is visible: CUDA_VISIBLE_DEVICES is {hidden!r}"
        return _failed("device", reason, "unset it, or name a GPU that there is")
    return _failed("device", "the driver finds no GPU", DRIVER)


def _compiler(text: str) -> tuple[str, str]:
    if re.search(r"gpu-architecture|arch", text):
        reason = f"this GPU is newer than the compiler (NVRTC) that is installed: {text}"
        return reason, "pip install --upgrade 'drr-rate[cuda13]'"
    if re.search(r"(?i)nvrtc|not found|cannot open|No such file", text):
        return f"the compiler (NVRTC) is not found or does not load: {text}", INSTALL
    return f"a kernel does not compile: {text}", INSTALL


def _line(error: Exception) -> str:
    """The error in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
