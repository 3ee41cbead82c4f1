"""Compressed frames: cut out of a file, and what each says of itself before it is decoded.

A decoder believes the sizes in a frame's own header, allocates by them and, in C, may crash over
them. They are held against the file's header and the data's length here, before one sees them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from drr.errors import ReadError, printable

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Encoded", "check", "split"]

SMALL = 1 << 22
"""Pixels that any frame may have: constant ones shrink to next to nothing."""

PIXELS_PER_BYTE = 800
"""Of larger frames, the most that were compressed into each byte; films with loss reach 60."""

SMALLEST_TILE = 1 << 8
"""Pixels of a JPEG 2000 tile on average, of images of more than one."""

# Start of frame markers, of JPEG (ITU-T T.81, table B.1) and of JPEG-LS (T.87, C.1.1).
_START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC} | {0xF7}
_LONELY = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_SCAN, _END = 0xDA, 0xD9

_RLE = "1.2.840.10008.1.2.5"
_JPEG = "1.2.840.10008.1.2.4."
_JPEG_2000 = tuple(f"{_JPEG}{number}" for number in (90, 91, 92, 93, 201, 202, 203))


@dataclass(frozen=True)
class Encoded:
    """One compressed frame and what the file says of it.

    Parameters
    ----------
    data
        As compressed.
    syntax
        UID of the transfer syntax.
    rows, columns, allocated, stored, signed
        Size of the decoded image, bits of a word, bits of a value, two's complement or not.
    """

    data: bytes
    syntax: str
    rows: int
    columns: int
    allocated: int
    stored: int
    signed: bool

    @property
    def size(self) -> int:
        """Bytes of the decoded frame."""
        return self.rows * self.columns * self.allocated // 8


@dataclass(frozen=True)
class _Stated:
    """What a frame says of itself."""

    rows: int
    columns: int
    components: int
    precision: int
    tiles: int = 1


def split(dataset: Dataset, frames: int, *, name: str) -> list[bytes]:
    """The compressed frames of a file, each whole.

    Raises
    ------
    ReadError
        For damaged fragments or offset tables, and for more or fewer frames than the file states.
    """
    from pydicom.encaps import generate_frames

    data = dataset.PixelData
    tables = [dataset.get(f"ExtendedOffsetTable{part}") for part in ("", "Lengths")]
    extended: Any = tuple(tables) if all(isinstance(table, bytes) for table in tables) else None
    found: list[bytes] = []
    total = 0
    try:
        for frame in generate_frames(data, number_of_frames=frames, extended_offsets=extended):
            total += len(frame)
            if len(found) == frames or total > len(data):
                raise ValueError("its offset table names more than there is")
            found.append(frame)
    except Exception as error:  # struct, overflow and others, by where the damage is
        raise ReadError(
            f"{name}: its compressed frames cannot be found ({printable(error, most=150)}); "
            "copy it again"
        ) from None
    if len(found) < frames:
        raise ReadError(
            f"{name}: holds {len(found)} of the {frames} frames its header promises; copy it again"
        )
    return found


def check(frame: Encoded, *, name: str) -> None:
    """Refuse a frame that contradicts the file's header or is too short for its size.

    Raises
    ------
    ReadError
        With both sizes.
    """
    try:
        if frame.syntax == _RLE:
            _check_rle(frame)
            return
        if frame.syntax in _JPEG_2000:
            stated = _jpeg_2000(frame.data)
        elif frame.syntax.startswith(_JPEG):
            stated = _jpeg(frame.data)
        else:
            raise ValueError("nothing here decodes it")
        _compare(frame, stated)
    except (ValueError, IndexError, struct.error) as error:
        reason = printable(error) if isinstance(error, ValueError) else "it ends early"
        raise ReadError(
            f"{name}: its compressed pixels cannot be decoded ({reason}); copy it again, or "
            "decompress the original first (gdcmconv --raw)"
        ) from None


def _compare(frame: Encoded, stated: _Stated) -> None:
    if (stated.rows, stated.columns) != (frame.rows, frame.columns):
        raise ValueError(
            f"they are {stated.columns} x {stated.rows}, the header says "
            f"{frame.columns} x {frame.rows}"
        )
    if stated.components != 1:
        raise ValueError(f"they have {stated.components} components, not grey levels alone")
    if not 2 <= stated.precision <= frame.allocated:
        raise ValueError(f"they have {stated.precision} bits, the header says {frame.allocated}")
    pixels = frame.rows * frame.columns
    if stated.tiles > 1 and stated.tiles * SMALLEST_TILE > pixels + SMALL // 64:
        raise ValueError(f"they are cut into {stated.tiles} tiles")
    if pixels > SMALL and pixels > PIXELS_PER_BYTE * len(frame.data):
        raise ValueError(f"{len(frame.data)} bytes for {frame.columns} x {frame.rows} pixels")


def _jpeg(data: bytes) -> _Stated:
    """The start of frame of JPEG (ITU-T T.81, B.2.2) and JPEG-LS (T.87)."""
    if data[:2] != b"\xff\xd8":
        raise ValueError("they do not begin as JPEG does")
    at = 2
    while True:
        if data[at] != 0xFF:
            raise ValueError("its markers are damaged")
        marker = data[at + 1]
        if marker == 0xFF:  # filling
            at += 1
            continue
        if marker in _LONELY:
            at += 2
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        if marker in _START_OF_FRAME:
            precision, rows, columns, components = struct.unpack_from(">BHHB", data, at + 4)
            return _Stated(rows, columns, components, precision)
        if marker in (_SCAN, _END) or length < 2:
            raise ValueError("they do not say their size")
        at += 2 + length


def _jpeg_2000(data: bytes) -> _Stated:
    """The SIZ marker segment of JPEG 2000 (ITU-T T.800, A.5.1)."""
    at = data.find(b"\xff\x4f\xff\x51")
    if at < 0:
        raise ValueError("they do not begin as JPEG 2000 does")
    right, bottom, left, top, width, height, tile_left, tile_top, components = struct.unpack_from(
        ">8LH", data, at + 8
    )
    precision, *steps = struct.unpack_from(">BBB", data, at + 42)
    if components == 1 and steps != [1, 1]:
        raise ValueError("they are subsampled")
    if not (tile_left <= left < right and tile_top <= top < bottom and width and height):
        raise ValueError("their tiles lie outside the image")
    tiles = -((tile_left - right) // width) * -((tile_top - bottom) // height)
    return _Stated(bottom - top, right - left, components, (precision & 0x7F) + 1, tiles)


def _check_rle(frame: Encoded) -> None:
    """The header of an RLE frame (PS3.5 G.5): a segment for each byte of a word, in order."""
    segments, *offsets = struct.unpack_from("<16L", frame.data)
    if segments != frame.allocated // 8:
        raise ValueError(f"{segments} segments for words of {frame.allocated // 8} bytes")
    ends = [*offsets[1:segments], len(frame.data)]
    pixels = frame.rows * frame.columns
    for start, end in zip(offsets, ends, strict=False):
        if not 64 <= start <= end:
            raise ValueError("its segments are damaged")
        # Two bytes for each pixel at worst, and whatever an encoder left at the end.
        if end - start > 2 * pixels + 1024 or 64 * (end - start) < pixels:
            raise ValueError(f"a segment of {end - start} bytes for {pixels} pixels")
