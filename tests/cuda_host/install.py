"""The stand-in in CuPy's place, for as long as a test needs it."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cuda_host import cupy_stand_in
from cuda_host.build import needs_compiler
from cuda_host.machine import machine

__all__ = ["installed"]

PARTS = ("runtime", "driver", "memory", "compiler", "nvrtc")


@contextmanager
def installed(**options: Any) -> Iterator[types.ModuleType]:
    """Import the stand-in as `cupy`, on a new machine (`cuda_host.machine.Machine`).

    Skips the test where there is no compiler. What still waits in a stream at the end is run, so
    that a fault in it is found.
    """
    needs_compiler()
    before = {name: m for name, m in sys.modules.items() if name.split(".")[0] == "cupy"}
    for name in before:
        del sys.modules[name]
    machine.reset(**options)
    cupy_stand_in._streams[:] = [cupy_stand_in._Stream.null]
    sys.modules["cupy"] = cupy_stand_in
    sys.modules["cupy.cuda"] = cupy_stand_in.cuda
    for name in PARTS:
        sys.modules[f"cupy.cuda.{name}"] = getattr(cupy_stand_in.cuda, name)
    try:
        yield cupy_stand_in
        machine.synchronize()
        machine.check_canaries()
    finally:
        for name in [n for n in sys.modules if n.split(".")[0] == "cupy"]:
            del sys.modules[name]
        sys.modules.update(before)
