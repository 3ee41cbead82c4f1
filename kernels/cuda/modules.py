"""Compiled kernels, one for each number of channels."""

from __future__ import annotations

from functools import cache
from typing import Any

from drr.kernels.cuda.sources import OPTIONS, module_source

__all__ = ["MOST_CHANNELS", "kernel"]

# Channels that one launch projects: with more, the registers of a thread do not hold them all.
MOST_CHANNELS = 2


def kernel(name: str, *, channels: int = 1) -> Any:
    """A kernel for the current device, compiled at first use; CuPy keeps it on disk."""
    return _module(channels).get_function(name)


@cache
def _module(channels: int) -> Any:
    import cupy

    return cupy.RawModule(code=module_source(channels=channels), options=OPTIONS)
