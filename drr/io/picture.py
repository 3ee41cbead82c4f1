"""Pictures: PNG with 8 or 16 bits, and TIFF that holds the line integrals as float32."""

from __future__ import annotations

import io
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["encode_png", "encode_tiff", "quantise"]

RECORD_KEY = "drr-record"


def quantise(picture: NDArray[np.float32], *, bits: int) -> NDArray[Any]:
    """Round a picture in [0, 1] to whole numbers from 0 to 2**bits - 1.

    Returns
    -------
    NDArray
        uint8 for 8 bits, uint16 for 16.
    """
    levels = (1 << bits) - 1
    dtype = np.uint8 if bits == 8 else np.uint16
    # float64: in float32 the product with 65535 is off by more than the rounding it precedes.
    return np.rint(np.clip(picture, 0.0, 1.0).astype(np.float64) * levels).astype(dtype)


def encode_png(pixels: NDArray[Any], *, pixel_pitch: tuple[float, float], record: str) -> bytes:
    """PNG of uint8 or uint16 pixels.

    Parameters
    ----------
    pixels
        `(rows, columns)`.
    pixel_pitch
        mm between columns and between rows at the detector, stored as pHYs: printed at that size
        the picture is as large as the film it stands for, not as the patient.
    record
        JSON text, stored as the compressed iTXt chunk `drr-record`.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_itxt(RECORD_KEY, record, zip=True)
    buffer = io.BytesIO()
    # Differences of grainy pixels hardly repeat: looking for runs alone is four to five times
    # faster than the usual search and gives files as small (8 bits: -2 %, 16 bits: +1 %).
    Image.fromarray(pixels).save(
        buffer,
        "PNG",
        pnginfo=text,
        dpi=_dots_per_inch(pixel_pitch),
        compress_type=zlib.Z_RLE,
    )
    return buffer.getvalue()


def encode_tiff(
    line_integrals: NDArray[np.float32], *, pixel_pitch: tuple[float, float], record: str
) -> bytes:
    """TIFF of float32 pixels; resolution as in `encode_png`, the record in ImageDescription."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(line_integrals).save(
        buffer, "TIFF", description=record, dpi=_dots_per_inch(pixel_pitch), software="drr-rate"
    )
    return buffer.getvalue()


def _dots_per_inch(pixel_pitch: tuple[float, float]) -> tuple[float, float]:
    return 25.4 / pixel_pitch[0], 25.4 / pixel_pitch[1]
