"""A film's grey levels, 0 black to 1 white, from the files that film data sets come in."""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from drr.errors import ReadError, printable

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["SUFFIXES", "read_film"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm", ".dicom")

LARGEST = 1 << 30
"""Bytes of one film's pixels."""

PIXELS_A_BYTE = 10_000
"""At most; DEFLATE packs 8256 pixels of one bit into a byte."""

SHOWN = ("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth")
"""Elements by which stored values become grey levels."""


def read_film(content: bytes, *, name: str) -> NDArray[np.float32]:
    """Grey levels of a film, as it is to be shown: bone bright.

    Pictures: 8 bits are divided by 255, 16 bits by 65535; colours become luminance. DICOM: the
    stored values after rescaling, through the file's own window if it has one (PS3.3 C.11.2.1.2),
    else from the smallest to the largest; MONOCHROME1 is inverted.

    Parameters
    ----------
    content
        Bytes of the file.
    name
        For messages.

    Returns
    -------
    `(rows, columns)` float32 from 0 to 1.

    Raises
    ------
    ReadError
        For what is no picture, is broken, or holds values that are not finite.
    """
    values = _dicom(content, name) if content[128:132] == b"DICM" else _picture(content, name)
    if not np.isfinite(values).all():
        raise ReadError(f"{name}: has pixels that are not finite; leave the film out")
    return np.clip(values, 0, 1).astype(np.float32)


def _picture(content: bytes, name: str) -> NDArray[Any]:
    from PIL import Image

    try:
        # No other formats: some that Pillow knows run programs, and none is a film's.
        formats = ("PNG", "JPEG", "TIFF", "BMP")
        with (
            _no_warnings(),  # of tags that films can do without
            Image.open(io.BytesIO(content), formats=formats) as image,
        ):
            if math.prod(image.size) > PIXELS_A_BYTE * len(content):
                raise ReadError(f"{image.size} pixels cannot be in {len(content)} bytes")
            mode = image.mode
            if mode not in ("L", "I", "F") and not mode.startswith("I;16"):
                image = image.convert("RGB" if "A" in mode or mode == "P" else mode).convert("L")
                mode = "L"
            values = np.asarray(image, np.float32)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever a broken file leads to
        text = printable(error, most=150)
        raise ReadError(f"{name}: cannot be read as a picture ({text}); copy it again") from None
    if values.ndim != 2 or not values.size:
        raise ReadError(f"{name}: has pixels of shape {values.shape}; a film has rows and columns")
    if mode == "F":
        low, high = float(values.min()), float(values.max())
        if low < 0 or high > 1:
            raise ReadError(
                f"{name}: its grey levels run from {low:g} to {high:g}; floating point films must "
                "lie between 0 and 1"
            )
        return values
    return values / np.float32(255 if mode == "L" else 65535)


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _dicom(content: bytes, name: str) -> NDArray[Any]:
    from drr.io.dicom.files import PIXELS, load
    from drr.io.packed.containers import Source

    source = Source(name, lambda: io.BytesIO(content))
    dataset = load(source, limit=LARGEST, keywords=(*PIXELS, *SHOWN))
    if dataset is None:
        raise ReadError(f"{name}: cannot be read as DICOM")
    values = _stored(dataset, name).astype(np.float64)
    slope = _number(dataset, "RescaleSlope", 1.0)
    intercept = _number(dataset, "RescaleIntercept", 0.0)
    centre, width = (_number(dataset, f"Window{key}", np.nan) for key in ("Center", "Width"))
    values = values * slope + intercept
    if np.isfinite(centre) and width > 1:
        shown = (values - (centre - 0.5)) / (width - 1) + 0.5
    else:
        low, high = values.min(), values.max()
        shown = (values - low) / ((high - low) or 1.0)
    shown = np.clip(shown, 0, 1)
    inverted = str(dataset.get("PhotometricInterpretation", "")).strip() == "MONOCHROME1"
    return 1 - shown if inverted else shown


def _stored(dataset: Dataset, name: str) -> NDArray[Any]:
    """Stored values; unsigned, as those of radiographs are, where the file does not say."""
    from drr.io.dicom.decode import lasting_decoders
    from drr.io.dicom.layout import Evidence, settle
    from drr.io.dicom.pixels import Pixels
    from drr.io.dicom.values import Words, stored_values

    pixels = Pixels(dataset, name=name, limit=LARGEST, decoders=lasting_decoders())
    if pixels.frames > 1:
        raise ReadError(f"{name}: has {pixels.frames} frames; a film has one")
    layout = replace(pixels.layout, signed=pixels.layout.signed is True)
    decoded = pixels.words(0)
    if not layout.is_sure:
        layout, _ = settle(layout, [Evidence.of(decoded, layout, 1.0, 0.0)], name=name)
    return stored_values(decoded, Words.of(dataset, layout), [], name=name)


def _number(dataset: Dataset, keyword: str, default: float) -> float:
    """A DICOM number, of several the first; the default where there is none."""
    from drr.io.dicom.numbers import number

    value = dataset.get(keyword)
    if hasattr(value, "append"):
        value = value[0] if len(value) else None
    found = number(value)
    return default if found is None else found
