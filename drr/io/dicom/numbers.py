"""Numbers of DICOM attributes, as writers that do not keep to the standard leave them too."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from drr.errors import ReadError, printable

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["number", "numbers"]

_NUMBER = re.compile(r"[+-]?([0-9]+([.,][0-9]*)?|[.,][0-9]+)([eE][+-]?[0-9]+)?")


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
    if raw is None or raw == "":
        raise ReadError(f"{name}: {keyword} is missing; repair the header")
    if isinstance(raw, bytes):
        raw = raw.decode("latin-1")
    if isinstance(raw, str):  # several values in an element whose VR has one
        raw = raw.split("\\")
    values = list(raw) if isinstance(raw, (list, tuple)) or hasattr(raw, "append") else [raw]
    found: list[float] = []
    for value in values:
        if (read := number(value)) is None:
            written = printable(getattr(value, "original_string", value), most=40)
            raise ReadError(
                f"{name}: {keyword} holds what is no number ({written!r}); repair the header"
            )
        found.append(read)
    if not found:
        raise ReadError(f"{name}: {keyword} is missing; repair the header")
    return found
