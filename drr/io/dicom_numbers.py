"""Numbers of DICOM attributes, as writers that do not keep to the standard leave them too."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from drr.errors import ReadError

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["number", "numbers"]

_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")


def number(value: Any) -> float | None:
    """A finite number, in which a comma may stand for the decimal point; None for anything else."""
    written = getattr(value, "original_string", None) or value  # what the file says, unrounded
    if isinstance(written, bytes):
        written = written.decode("latin-1")
    if isinstance(written, str):
        written = written.strip(" \0")
        if not _NUMBER.fullmatch(written):
            return None
        written = written.replace(",", ".")
    try:
        found = float(written)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def numbers(dataset: Dataset, keyword: str, name: str) -> list[float]:
    """The numbers of an attribute, in order.

    Raises
    ------
    ReadError
        Where it is absent, empty or not numbers.
    """
    raw = dataset.get(keyword)
    if isinstance(raw, bytes):
        raw = raw.decode("latin-1")
    if isinstance(raw, str):  # several values in an element whose VR has one
        raw = raw.split("\\")
    values = list(raw) if isinstance(raw, (list, tuple)) or hasattr(raw, "append") else [raw]
    found = [number(value) for value in values]
    if not found or any(value is None for value in found):
        raise ReadError(f"{name}: {keyword} is missing or not a number; repair it")
    return [value for value in found if value is not None]
