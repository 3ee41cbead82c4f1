"""g++ as the device compiler: a kernel source behind shim.h becomes a shared library."""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

__all__ = [
    "CompilationError",
    "build",
    "expanded",
    "kernel_names",
    "needs_compiler",
    "shared_library",
]

SHIM = Path(__file__).with_name("shim.h")
COMPILER = os.environ.get("CXX", "g++")
# No contraction: a product is rounded before it is added unless the source says fmaf.
FLAGS = ("-march=native", "-ffp-contract=off", "-fno-math-errno", "-fPIC", "-shared", "-pthread")
# Extra flags of the sanitizers, which work in a process started with their runtime (sanitizers.py).
MODES = {
    "plain": ("-O2",),
    "memory": (
        "-O1",
        "-g",
        "-fsanitize=address,undefined,float-cast-overflow",
        "-fno-sanitize-recover=all",
    ),
    "races": ("-O1", "-g", "-fsanitize=thread", "-DHOST_RACES"),
}
KERNEL = re.compile(r"__global__[^;{}()]*?(?:__launch_bounds__\s*\([^)]*\)[^;{}()]*?)?\b(\w+)\s*\(")


class CompilationError(Exception):
    """g++ refused a source; the message is g++'s."""


def needs_compiler() -> None:
    """Skip the calling test where there is no g++."""
    if shutil.which(COMPILER) is None:
        pytest.skip(f"no C++ compiler {COMPILER!r} to stand in for a GPU (set CXX)")


@cache
def folder() -> Path:
    """Where this process keeps what it compiles; gone when it ends."""
    path = tempfile.mkdtemp(prefix="drr-cuda-host-")
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return Path(path)


@cache
def shared_library(source: str, flags: tuple[str, ...], suffix: str = ".cpp") -> ctypes.CDLL:
    """Compile a C or C++ source and load it; the same source is compiled once a process."""
    name = hashlib.sha256(repr((source, flags)).encode()).hexdigest()[:24]
    path = folder() / (name + suffix)
    path.write_text(source)
    library = path.with_suffix(".so")
    command = [COMPILER, "-w", *FLAGS, *flags, str(path), "-o", str(library)]
    if suffix == ".c":
        command[1:1] = ["-x", "c"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise CompilationError(done.stderr)
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:  # a function that only a GPU has
        raise CompilationError(str(error)) from None


@cache
def expanded(code: str, options: tuple[str, ...]) -> str:
    """A source after its macros are expanded, CUDA's own words left as they are."""
    done = subprocess.run(
        [COMPILER, "-E", "-P", "-x", "c++", *host_options(options), "-"],
        input=code,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise CompilationError(done.stderr)
    return done.stdout


def kernel_names(code: str, options: tuple[str, ...]) -> list[str]:
    """Names of the `__global__` functions of a source."""
    return list(dict.fromkeys(KERNEL.findall(expanded(code, options))))


def host_options(options: Sequence[str]) -> list[str]:
    """The NVRTC options that mean the same to g++."""
    return [o for o in options if re.match(r"-[DIU]|--?std=", o)]


def build(code: str, options: tuple[str, ...], *, mode: str = "plain") -> ctypes.CDLL:
    """A library with `launch_NAME` and `signature_NAME` for every kernel of a CUDA source.

    Parameters
    ----------
    code, options
        As given to `cupy.RawModule`.
    mode
        `plain`, `memory` (address and undefined-behaviour sanitizers) or `races` (thread
        sanitizer).
    """
    exports = "".join(f"HOST_EXPORT({name})\n" for name in kernel_names(code, options))
    # Names of other files in the source's messages would be of no help to its author.
    source = f'#include "{SHIM}"\n#line 1 "kernels.cu"\n{code}\n#line 1 "exports"\n{exports}'
    library = shared_library(
        source, ("-std=c++17", "-fvisibility=hidden", *MODES[mode], *host_options(options))
    )
    for name in kernel_names(code, options):
        launch = getattr(library, f"launch_{name}")
        launch.restype = None
        launch.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_int] * 2
        getattr(library, f"signature_{name}").restype = ctypes.c_char_p
    return library
