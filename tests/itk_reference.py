"""ITK, whose own filters are references of the tests."""

from __future__ import annotations

import ctypes
import functools
import sys
from typing import Any

import pytest

__all__ = ["itk"]


@functools.cache
def itk() -> Any:
    """ITK, from the package's dev extra, or a skip that prints how to get it."""
    module = pytest.importorskip(
        "itk", reason="ITK is the reference here: pip install itk-twoprojectionregistration"
    )
    module.Euler3DTransform  # noqa: B018 - loads SWIG's runtime
    # The table of types of SWIG, which wraps ITK: freed when the interpreter ends, after the
    # types themselves, it crashes. So it is never freed.
    for name, runtime in list(sys.modules.items()):
        if name.startswith("swig_runtime_data"):
            for table in vars(runtime).values():
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(table))
    return module
