"""NVIDIA's run-time compiler through ctypes: no driver, no GPU and no CuPy needed."""

from __future__ import annotations

import ctypes
import importlib.metadata
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

__all__ = ["PINNED", "Compiled", "NvrtcError", "compile_for", "needs_nvrtc", "supported", "version"]

# The register budget holds for this compiler; another allocates registers a little differently.
PINNED = "13.5"
WHEELS = ("nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12")
# What CuPy adds to the options it is given (`cupy.cuda.compiler`; kernels/cuda/test_contract.py
# checks).
ADDED_BY_CUPY = ("-ftz=true", "--device-as-default-execution-space")


class NvrtcError(Exception):
    """NVRTC refused a source; the message is its log."""


@dataclass(frozen=True)
class Compiled:
    """A cubin (`sm_XX`) or PTX (`compute_XX`) and what the compiler said about it."""

    binary: bytes
    log: str

    def resources(self) -> dict[str, dict[str, int]]:
        """Registers and bytes of stack, spill stores and loads of each kernel, from ptxas."""
        found = {}
        pattern = (
            r"Compiling entry function '(\w+)'.*?"
            r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads.*?"
            r"Used (\d+) registers"
        )
        for m in re.finditer(pattern, self.log, re.S):
            stack, stores, loads, registers = (int(m[i]) for i in range(2, 6))
            found[m[1]] = {"registers": registers, "stack": stack, "spills": stores + loads}
        return found


@cache
def library() -> ctypes.CDLL | None:
    for wheel in WHEELS:
        try:
            files = importlib.metadata.files(wheel) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for file in files:
            if re.fullmatch(r"libnvrtc\.so\.\d+|nvrtc64_\d+_0\.dll", file.name):
                return ctypes.CDLL(str(Path(str(file.locate()))))
    return None


def needs_nvrtc() -> None:
    """Skip the calling test where no wheel of NVRTC is installed."""
    if library() is None:
        pytest.skip("no NVRTC: pip install nvidia-cuda-nvrtc (Linux or Windows)")


def loaded() -> ctypes.CDLL:
    found = library()
    assert found is not None
    return found


def version() -> str:
    major, minor = ctypes.c_int(), ctypes.c_int()
    loaded().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return f"{major.value}.{minor.value}"


@cache
def supported() -> tuple[int, ...]:
    """Compute capabilities this NVRTC compiles for, such as 75 and 90."""
    count = ctypes.c_int()
    loaded().nvrtcGetNumSupportedArchs(ctypes.byref(count))
    found = (ctypes.c_int * count.value)()
    loaded().nvrtcGetSupportedArchs(found)
    return tuple(found)


@cache
def compile_for(arch: str, code: str, options: Sequence[str]) -> Compiled:
    """Compile with the options a `cupy.RawModule` is given, and those that CuPy adds.

    Parameters
    ----------
    arch
        `sm_90` for a cubin, `compute_90` for PTX.
    code
        CUDA C++.
    options
        A tuple, as given to `cupy.RawModule`.

    Raises
    ------
    NvrtcError
        The source does not compile.
    """
    nvrtc = loaded()
    program = ctypes.c_void_p()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), code.encode(), b"kernels.cu", 0, None, None)
    given = [f"-arch={arch}", "--ptxas-options=-v", *options, *ADDED_BY_CUPY]
    array = (ctypes.c_char_p * len(given))(*[o.encode() for o in given])
    failed = nvrtc.nvrtcCompileProgram(program, len(given), array)
    log = output(program, "ProgramLog").rstrip(b"\0").decode()
    if failed:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
        raise NvrtcError(log)
    binary = output(program, "CUBIN" if arch.startswith("sm_") else "PTX")
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return Compiled(binary, log)


def output(program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    getattr(loaded(), f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    getattr(loaded(), f"nvrtcGet{what}")(program, buffer)
    return buffer.raw
