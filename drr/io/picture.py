"""Pictures: PNG with 8 or 16 bits, and TIFF that holds the line integrals as float32."""

from __future__ import annotations

import io
import math
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["encode_png", "encode_tiff", "quantise"]

RECORD_KEY = "drr-record"

# Of PNG (W3C Recommendation, second edition, 2003): colour type, unit and filter.
SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREYSCALE, METRE, ROW_ABOVE = 0, 1, 2


def quantise(picture: NDArray[np.float32], *, bits: int) -> NDArray[Any]:
    """Round a picture in [0, 1] to whole numbers from 0 to 2**bits - 1.

    Returns
    -------
    NDArray
        uint8 for 8 bits, uint16 for 16.
    """
    from drr.kernels.cpu.image.curve import whole_levels

    out = np.empty(picture.shape, np.uint8 if bits == 8 else np.uint16)
    whole_levels(picture, out)
    return out


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
    rows, columns = pixels.shape
    depth = 8 * pixels.itemsize
    text = zlib.compress(record.encode())
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", columns, rows, depth, GREYSCALE, 0, 0, 0)),
        *_physical_size(pixel_pitch),
        (b"iTXt", RECORD_KEY.encode() + b"\0\1\0\0\0" + text),
        (b"IDAT", _deflated(_differences(pixels))),
        (b"IEND", b""),
    )
    return SIGNATURE + b"".join(_chunk(kind, content) for kind, content in chunks)


def _physical_size(pixel_pitch: tuple[float, float]) -> list[tuple[bytes, bytes]]:
    """The chunk that states it; none where PNG has no number for it, as for pixels of 1 nm."""
    per_metre = [1000 / pitch if pitch > 0 else math.inf for pitch in pixel_pitch]
    if not all(1 <= count < 1 << 31 for count in per_metre):
        return []
    return [(b"pHYs", struct.pack(">IIB", *map(round, per_metre), METRE))]


def _differences(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Rows of bytes, each less the row above it, behind the number of that filter."""
    raw = pixels.astype(pixels.dtype.newbyteorder(">")).view(np.uint8)
    rows, size = raw.shape
    lines = np.empty((rows, 1 + size), np.uint8)
    lines[:, 0] = ROW_ABOVE
    lines[0, 1:] = raw[0]
    np.subtract(raw[1:], raw[:-1], out=lines[1:, 1:])
    return lines


def _deflated(lines: NDArray[np.uint8]) -> bytes:
    """Zlib stream of the lines.

    Differences of grainy pixels hardly repeat, so that searching long for repetitions gains
    nothing. ISA-L takes a fifth of the time of zlib where that looks for runs only.
    """
    try:
        from isal import isal_zlib
    except ImportError:
        packer = zlib.compressobj(6, strategy=zlib.Z_RLE)
        return packer.compress(lines.data) + packer.flush()
    return bytes(isal_zlib.compress(lines.data, 1))


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(content, zlib.crc32(kind))
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


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
