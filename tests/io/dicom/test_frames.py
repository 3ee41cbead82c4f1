"""What a compressed frame says of itself is held against the header before it is decoded."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dicom_files import compress_with_gdcm, fails, save_series
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

import drr
from drr.errors import ReadError
from drr.io.dicom.frames import Encoded, check, split

SIZE = (64, 48)  # rows, columns


def frame(data: bytes, syntax: str, rows: int = SIZE[0], columns: int = SIZE[1]) -> Encoded:
    return Encoded(data, syntax, rows, columns, 16, 12, False)


def jpeg(
    rows: int, columns: int, *, precision: int = 12, components: int = 1, marker: int = 0xC3
) -> bytes:
    start = struct.pack(">HBHHB3x", 11, precision, rows, columns, components)
    comment = b"\xff\xfe" + struct.pack(">H", 6) + b"\xff\xc0ab"
    return b"\xff\xd8" + comment + b"\xff" + bytes([0xFF, marker]) + start + b"\xff\xda" + bytes(80)


def jpeg_2000(
    rows: int,
    columns: int,
    *,
    tile: tuple[int, int] | None = None,
    precision: int = 12,
    components: int = 1,
    step: int = 1,
    origin: int = 0,
) -> bytes:
    width, height = tile or (columns, rows)
    size = (columns + origin, rows + origin, origin, origin, width, height, origin, origin)
    segment = struct.pack(">HH8LHBBB", 41, 0, *size, components, precision - 1, step, step)
    return b"\xff\x4f\xff\x51" + segment + bytes(80)


def rle(*segments: bytes, count: int | None = None, offsets: list[int] | None = None) -> bytes:
    starts = [64 + sum(map(len, segments[:k])) for k in range(len(segments))]
    starts = offsets or starts
    header = [len(segments) if count is None else count, *starts]
    return struct.pack("<16L", *header, *[0] * (16 - len(header))) + b"".join(segments)


FULL = b"\x81\x00" * (SIZE[0] * SIZE[1] // 128)  # a segment of zeros: runs of 128


@pytest.mark.parametrize(
    ("data", "syntax"),
    [
        (jpeg(*SIZE), JPEGLosslessSV1),
        (jpeg(*SIZE, marker=0xF7), JPEGLSLossless),
        (jpeg_2000(*SIZE), JPEG2000Lossless),
        (jpeg_2000(*SIZE, tile=(16, 16), origin=5), JPEG2000Lossless),
        (b"\0\0\0\x0cjP  " + jpeg_2000(*SIZE), JPEG2000Lossless),
        (rle(FULL, FULL), RLELossless),
    ],
)
def test_whole_frames_pass(data: bytes, syntax: str) -> None:
    check(frame(data, syntax), name="a.dcm")


@pytest.mark.parametrize(
    ("data", "syntax", "reason"),
    [
        (jpeg(64, 49), JPEGLosslessSV1, "they are 49 x 64, the header says 48 x 64"),
        (jpeg(*SIZE, precision=17), JPEGLosslessSV1, "17 bits"),
        (jpeg(*SIZE, precision=0), JPEGLosslessSV1, "0 bits"),
        (jpeg(*SIZE, components=3), JPEGLosslessSV1, "3 components"),
        (jpeg(0, 48), JPEGLSLossless, "48 x 0"),
        (jpeg(*SIZE)[:18], JPEGLosslessSV1, "ends early"),
        (b"\xff\xd8\xff\xda" + bytes(20), JPEGLosslessSV1, "do not say their size"),
        (b"\xff\xd8\xff\xe0\0\0" + bytes(20), JPEGLosslessSV1, "do not say their size"),
        (b"\xff\xd8\xff\xe0\0\x04" + bytes(20), JPEGLosslessSV1, "markers are damaged"),
        (b"", JPEGLosslessSV1, "do not begin"),
        (b"", JPEG2000Lossless, "do not begin"),
        (jpeg_2000(200_000, 200_000), JPEG2000Lossless, "200000 x 200000"),
        (jpeg_2000(*SIZE, tile=(1, 1)), JPEG2000Lossless, "3072 tiles"),
        (jpeg_2000(*SIZE, tile=(0, 16)), JPEG2000Lossless, "tiles lie outside"),
        (jpeg_2000(*SIZE, components=16384), JPEG2000Lossless, "16384 components"),
        (jpeg_2000(*SIZE, precision=38), JPEG2000Lossless, "38 bits"),
        (jpeg_2000(*SIZE, step=2), JPEG2000Lossless, "subsampled"),
        (jpeg_2000(*SIZE)[:30], JPEG2000Lossless, "ends early"),
        (rle(count=0), RLELossless, "0 segments for words of 2 bytes"),
        (rle(FULL), RLELossless, "1 segments"),
        (rle(FULL, FULL, count=15), RLELossless, "15 segments"),
        (rle(FULL, FULL, offsets=[64, 60]), RLELossless, "segments are damaged"),
        (rle(FULL, FULL, offsets=[64, 1 << 31]), RLELossless, "a segment of 2147483584 bytes"),
        (rle(FULL, b"\x81\0"), RLELossless, "2 bytes for 3072 pixels"),
        (rle(FULL * 200, FULL), RLELossless, "9600 bytes for 3072 pixels"),
        (b"\2\0\0\0", RLELossless, "ends early"),
        (b"abc", "1.2.840.10008.1.2.4.100", "do not begin"),
        (b"abc", "1.2.840.10008.1.2.8.1", "nothing here decodes it"),
    ],
)
def test_contradictions_are_refused_in_a_line(data: bytes, syntax: str, reason: str) -> None:
    with pytest.raises(ReadError, match=reason) as error:
        check(frame(data, syntax), name="a.dcm")
    assert str(error.value).startswith("a.dcm: ")


def test_large_frames_take_bytes() -> None:
    """12 kB are no image of 900 million pixels, even if all headers agree on it."""
    data = jpeg_2000(30_000, 30_000) + bytes(12_000)
    with pytest.raises(ReadError, match="bytes for 30000 x 30000 pixels"):
        check(frame(data, JPEG2000Lossless, 30_000, 30_000), name="a.dcm")
    check(frame(jpeg_2000(2048, 2048), JPEG2000Lossless, 2048, 2048), name="constant.dcm")


def encapsulated(data: bytes, **attributes: bytes) -> Dataset:
    dataset = Dataset()
    dataset.PixelData = data
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def test_frames_are_cut_out() -> None:
    frames = [b"first!", b"second", b"third!"]
    for table in (True, False):
        dataset = encapsulated(encapsulate(frames, has_bot=table))
        assert split(dataset, 3, name="a.dcm") == frames
    pieces = encapsulated(encapsulate([b"first!second"], fragments_per_frame=2))
    assert split(pieces, 1, name="a.dcm") == [b"first!second"]


TWO = encapsulate([b"first!", b"second"], has_bot=False)


@pytest.mark.parametrize(
    ("dataset", "reason"),
    [
        (encapsulated(b""), "cannot be found"),
        (encapsulated(b"\xfe\xff\x00\xe0\x03\0\0\0abc"), "cannot be found"),
        (encapsulated(TWO[:22] + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"), "cannot be found"),
        (encapsulated(encapsulate([b"only 1"])), "holds 1 of the 2 frames"),
        (encapsulated(encapsulate([b"first!", b"second", b"third!"])), "more than there is"),
        (
            encapsulated(
                TWO,
                ExtendedOffsetTable=bytes(8) + b"\xff" * 8,
                ExtendedOffsetTableLengths=b"\x06\0\0\0\0\0\0\0" * 2,
            ),
            "cannot be found",
        ),
        (
            encapsulated(
                TWO,
                ExtendedOffsetTable=bytes(16),
                ExtendedOffsetTableLengths=(b"\x20" + bytes(7)) * 2,
            ),
            "more than there is",
        ),
    ],
)
def test_damaged_offset_tables(dataset: Dataset, reason: str) -> None:
    with pytest.raises(ReadError, match=rf"^a\.dcm: .*{reason}"):
        split(dataset, 2, name="a.dcm")


def no_segments(data: bytearray, start: int) -> None:
    data[start] = 0


def seventeen_bits(data: bytearray, start: int) -> None:
    data[data.find(b"\xff\xc3", start) + 4] = 17


def huge(data: bytearray, start: int) -> None:
    at = data.find(b"\xff\x51", start)
    for place in (6, 10, 22, 26):
        data[at + place : at + place + 4] = (200_000).to_bytes(4, "big")


@pytest.mark.parametrize(
    ("codec", "damage", "reason"),
    [
        ("RLE", no_segments, "0 segments"),
        ("JPEG", seventeen_bits, "17 bits"),
        ("JPEG2000", huge, "200000 x 200000"),
    ],
)
def test_one_byte_kills_nothing(
    tmp_path: Path, codec: str, damage: Callable[[bytearray, int], None], reason: str
) -> None:
    """GDCM divides by zero, writes past its end, or takes gigabytes over these."""
    pixels = np.random.default_rng(4).integers(0, 4096, (3, 32, 32)).astype(np.uint16)
    folder = save_series(tmp_path / "scan", pixels)
    for file in folder.iterdir():
        if codec == "RLE":
            dataset = dcmread(file)
            dataset.compress(RLELossless)
            dataset.save_as(file)
        else:
            compress_with_gdcm(file, codec)
    data = bytearray((folder / "ct001.dcm").read_bytes())
    start = data.rindex(b"\xe0\x7f\x10\x00")
    table = data.index(b"\xfe\xff\x00\xe0", start)
    damage(data, data.index(b"\xfe\xff\x00\xe0", table + 4) + 8)
    (folder / "ct001.dcm").write_bytes(data)
    fails(folder, rf"ct001\.dcm: its compressed pixels cannot be decoded \(.*{reason}")
    assert drr.read(save_series(tmp_path / "next", pixels)).shape == (3, 32, 32)
