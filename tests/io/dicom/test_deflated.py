"""Deflated DICOM is inflated as far as it is read, and no further than it may."""

from __future__ import annotations

import io
import os
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from dicom_files import ct_slice, fails, save_series, write
from pydicom.uid import DeflatedExplicitVRLittleEndian

import drr
from drr.errors import ReadError
from drr.io.dicom.deflated import Deflated, is_deflated


def packed(body: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(body) + packer.flush()


@pytest.fixture
def plain(tmp_path: Path) -> bytes:
    """A deflated slice."""
    pixels = np.arange(30, dtype=np.uint16).reshape(6, 5)
    path = write(tmp_path / "a.dcm", ct_slice(pixels, (0, 0, 0)), DeflatedExplicitVRLittleEndian)
    return path.read_bytes()


def test_reads_and_seeks_as_any_file(plain: bytes) -> None:
    assert is_deflated(plain[:4096])
    start = 144 + int.from_bytes(plain[140:144], "little")
    expected = plain[:start].replace(b"1.2.1.99", b"1.2.1\0\0\0") + zlib.decompress(
        plain[start:], -15
    )
    stream = Deflated(io.BytesIO(plain), name="a.dcm", limit=1 << 20)
    assert stream.read(4) == expected[:4]
    assert stream.seek(-2, os.SEEK_CUR) == 2
    assert stream.read(300) == expected[2:302]
    assert stream.seek(0, os.SEEK_END) == len(expected)
    assert stream.read(5) == b""
    stream.seek(128)
    assert stream.read() == expected[128:]


def test_a_name_in_the_data_set_is_no_transfer_syntax(tmp_path: Path) -> None:
    pixels = np.random.default_rng(4).integers(0, 4096, (3, 6, 5)).astype(np.uint16)
    folder = save_series(
        tmp_path / "scan", pixels, SeriesDescription="not 1.2.840.10008.1.2.1.99 deflated"
    )
    assert drr.read(folder).shape == (3, 6, 5)


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux")
def test_memory_follows_what_is_there(tmp_path: Path) -> None:
    """Not the limit: a file of a few hundred bytes asked for 8 GiB."""
    import resource

    pixels = np.random.default_rng(4).integers(0, 4096, (3, 6, 5)).astype(np.uint16)
    folder = save_series(tmp_path / "scan", pixels, syntax=DeflatedExplicitVRLittleEndian)
    drr.read(folder)  # all is imported
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (1 << 29), hard))
    try:
        assert drr.read(folder, threads=1).shape == (3, 6, 5)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_a_bomb_after_the_pixels_is_refused(plain: bytes, tmp_path: Path) -> None:
    """By what the header promises, far below the limit."""
    pixels = np.zeros((2, 6, 5), np.uint16)
    folder = save_series(tmp_path / "scan", pixels, syntax=DeflatedExplicitVRLittleEndian)
    file = folder / "ct000.dcm"
    raw = file.read_bytes()
    start = 144 + int.from_bytes(raw[140:144], "little")
    file.write_bytes(raw[:start] + packed(zlib.decompress(raw[start:], -15) + bytes(1 << 27)))
    fails(folder, r"ct000\.dcm: expands beyond 64 MiB")


def test_a_bomb_in_the_header_is_refused(plain: bytes) -> None:
    start = 144 + int.from_bytes(plain[140:144], "little")
    bomb = plain[:start] + packed(bytes(1 << 24))
    stream = Deflated(io.BytesIO(bomb), name="a.dcm", limit=1 << 22)
    with pytest.raises(ReadError, match=r"a\.dcm: expands beyond 4 MiB"):
        stream.read()


def test_damage_is_named(plain: bytes, tmp_path: Path) -> None:
    start = 144 + int.from_bytes(plain[140:144], "little")
    (tmp_path / "a.dcm").write_bytes(plain[:start] + b"\xff" * 400)
    fails(tmp_path / "a.dcm", "the deflated data set is corrupt")
    for end in (135, 150, start, start + 20, len(plain) - 30):
        (tmp_path / "a.dcm").write_bytes(plain[:end])
        with pytest.raises(ReadError, match=r"a\.dcm"):
            drr.read(tmp_path / "a.dcm")
