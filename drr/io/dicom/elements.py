"""The values of DICOM elements, whatever a damaged or careless file made of them.

pydicom converts a value when it is first asked for, by the value representation that the file
states, and raises almost anything where the two do not fit. Here all values are converted at once,
and those on which pixels and their places depend are held against what they must be.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from drr.errors import printable

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.uid import UID

__all__ = ["BadElementError", "convert", "integer", "text", "transfer_syntax"]

WHOLE = (
    "NumberOfFrames",
    "SamplesPerPixel",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
)
"""Whole numbers; with a wrong or missing one pixels would be taken for others."""

DECIMAL = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "RescaleSlope",
    "RescaleIntercept",
)
"""Decimal numbers; damaged ones stay as text, so that no default takes their place; what text is a
number, `drr.io.dicom.numbers` says."""

WORDS = ("ImageType", "FrameType")

NESTED = (
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "CTImageFrameTypeSequence",
)
"""Sequences that are looked into."""

_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,16}(\.0*)?")


class BadElementError(ValueError):
    """An element that holds something else than it must."""


def convert(dataset: Dataset) -> None:
    """Convert every value in place, nested ones too; elements that cannot be are removed.

    Raises
    ------
    BadElementError
        For an element of `WHOLE` or `NESTED` that is there and damaged.
    """
    from pydicom.datadict import keyword_for_tag

    for tag in list(dataset.keys()):
        keyword = keyword_for_tag(tag)
        try:
            element = dataset[tag]
            value = element.value
        except RecursionError:
            raise
        except Exception:  # an absent value is asked for again and then named
            _set_aside(dataset, tag, keyword)
            continue
        if keyword in WHOLE:
            _check_whole(keyword, value)
        elif keyword in NESTED and element.VR != "SQ":
            raise BadElementError(f"{keyword} is no sequence but {printable(element.VR, most=10)}")
        elif keyword in WORDS and not _is_words(value):
            _set_aside(dataset, tag, keyword)
        elif element.VR == "SQ":
            for item in value:
                convert(item)


def text(dataset: Dataset, keyword: str) -> str:
    """A value as printable text; empty where it is absent."""
    value = dataset.get(keyword)
    return "" if value is None else printable(value, most=200)


def integer(dataset: Dataset, keyword: str, default: int = 0) -> int:
    """A whole number, or the default where it is absent, empty or damaged."""
    value = dataset.get(keyword)
    try:
        return default if value is None else int(value)
    except (TypeError, ValueError, OverflowError):
        return default


def transfer_syntax(dataset: Dataset) -> UID | None:
    """How the file is encoded; None where it does not say, as before DICOM had a file format."""
    from pydicom.config import IGNORE
    from pydicom.uid import UID

    try:
        value = dataset.file_meta.TransferSyntaxUID
    except Exception:  # absent, or a damaged element that is converted only now
        return None
    return UID(str(value).strip(" \0"), IGNORE)


def _set_aside(dataset: Dataset, tag: Any, keyword: str) -> None:
    """Keep the text of a number that is none; remove anything else, or refuse."""
    if keyword in WHOLE or keyword in NESTED:
        raise BadElementError(f"{keyword} is damaged")
    raw = dataset.get_item(tag)
    del dataset[tag]
    if keyword in DECIMAL:
        written = getattr(raw, "value", None)
        if isinstance(written, bytes):
            written = written.decode("latin-1")
        parts = (getattr(part, "original_string", str(part)) for part in _parts(written))
        dataset.add_new(tag, "UT", "\\".join(parts))


def _check_whole(keyword: str, value: Any) -> None:
    if value is None or value == "":
        return
    written = (getattr(value, "original_string", None) or str(value)).strip(" \0\t\r\n")
    if isinstance(value, bytes) or not _WHOLE_NUMBER.fullmatch(written):
        raise BadElementError(f"{keyword} is {printable(written, most=40)!r}, not a whole number")


def _is_words(value: Any) -> bool:
    return all(isinstance(part, str) for part in _parts(value))


def _parts(value: Any) -> list[Any]:
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        return [value]
    return list(value)
