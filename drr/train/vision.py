"""torchvision and torchxrayvision, also where torch and torchvision are of different builds.

A torchvision that was built for CUDA cannot load its own operators beside a torch without CUDA, and
then fails to import although classifiers and transforms need none of them. Declaring the twelve
operators (boxes, regions of interest, deformable convolutions) is enough.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

from drr.errors import MissingDependencyError

__all__ = ["OPERATORS", "import_vision", "needs_declaring"]

OPERATORS = (
    "nms", "qnms", "deform_conv2d", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool",
    "_deform_conv2d_backward", "_roi_align_backward", "_roi_pool_backward",
    "_ps_roi_align_backward", "_ps_roi_pool_backward",
)  # fmt: skip
"""Operators that torchvision 0.28 defines in C++; calling one that is only declared fails."""

_declared: list[Any] = []  # a library's operators exist as long as it does


def import_vision(name: str = "torchvision") -> ModuleType:
    """Import `torchvision`, `torchxrayvision` or a module of theirs.

    Raises
    ------
    MissingDependencyError
        Where it is not installed.
    """
    try:
        _import_torchvision()
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{name} needs {error.name}; install it with: pip install 'drr-rate[train]'"
        ) from None


def needs_declaring() -> bool:
    """Return whether torchvision could be imported only after its operators were declared."""
    import_vision()
    return bool(_declared)


def _import_torchvision() -> None:
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error) or _declared:
            raise
        from torch.library import Library

        library = Library("torchvision", "DEF")
        for operator in OPERATORS:
            library.define(f"{operator}(Tensor values) -> Tensor")
        _declared.append(library)
        # What the failed attempt left behind is imported anew.
        for module in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[module]
        importlib.import_module("torchvision")
