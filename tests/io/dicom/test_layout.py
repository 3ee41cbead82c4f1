"""Sign and bits of pixels whose headers do not say them, decided by their values or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_files import compress_with_gdcm, fails, hu_of, save_series
from pydicom import Dataset, dcmread
from scipy.ndimage import gaussian_filter

import drr

SHAPE = (4, 24, 20)


@pytest.fixture
def hu() -> np.ndarray:
    """`(4, 24, 20)` HU of a body in air: lungs, fat, soft tissue and bone."""
    y, x = np.indices(SHAPE)[1:]
    radius = np.hypot((y - 11.5) / 12, (x - 9.5) / 10)
    hu = np.select([radius > 0.9, radius > 0.75, radius > 0.4], [-1000, -100, 40], -800)
    hu[:, 11:13, 9:11] = 1200
    noise = gaussian_filter(np.random.default_rng(4).normal(0, 60, SHAPE), 0.7)
    return np.clip(hu + noise, -1024, 3071).astype(np.int16)


def without_sign(folder: Path, stored: np.ndarray, **attributes: object) -> Path:
    return save_series(folder, stored, PixelRepresentation=None, **attributes)


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("codec", ["native", "JPEG2000"])
def test_signed_pixels_that_do_not_say_so(
    tmp_path: Path, hu: np.ndarray, bits: int, codec: str
) -> None:
    """Of 12 bits, -1000 was 3096."""
    words = (hu.view(np.uint16) & ((1 << bits) - 1)).astype(np.uint16)
    folder = save_series(
        tmp_path / "scan", words, BitsStored=bits, HighBit=bits - 1, RescaleIntercept=0
    )
    for file in folder.iterdir():
        if codec != "native":
            compress_with_gdcm(file, codec)
        dataset = drop_sign(file, bits)
        assert "PixelRepresentation" not in dataset
    volume = drr.read(folder)
    np.testing.assert_array_equal(volume.hu, hu)
    assert any("PixelRepresentation is missing" in n and "signed" in n for n in volume.notes)


def drop_sign(file: Path, bits: int) -> Dataset:
    dataset = dcmread(file)
    del dataset.PixelRepresentation
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.save_as(file)
    return dataset


@pytest.mark.parametrize("bits", [12, 16])
def test_unsigned_pixels_that_do_not_say_so(tmp_path: Path, hu: np.ndarray, bits: int) -> None:
    stored = (hu.astype(int) + 1024).astype(np.uint16)
    folder = without_sign(tmp_path / "scan", stored, BitsStored=bits, HighBit=bits - 1)
    volume = drr.read(folder)
    np.testing.assert_array_equal(volume.hu, hu)
    # Of 16 bits, none reaches the highest, so that nothing had to be decided.
    told = any("by their values, the pixels are unsigned" in note for note in volume.notes)
    assert told == (bits == 12)


def test_a_sign_that_does_not_matter(tmp_path: Path) -> None:
    stored = np.random.default_rng(4).integers(0, 2048, SHAPE).astype(np.uint16)
    volume = drr.read(without_sign(tmp_path / "scan", stored))
    np.testing.assert_array_equal(volume.hu, hu_of(stored))
    assert volume.notes == ()


def test_a_sign_that_cannot_be_told(tmp_path: Path, hu: np.ndarray) -> None:
    # Noise, and a few pixels that are dense bone or padding.
    noise = np.random.default_rng(4).integers(0, 4096, SHAPE).astype(np.uint16)
    fails(without_sign(tmp_path / "noise", noise), "set it to 0 .unsigned. or 1 .signed.")
    few = np.full(SHAPE, 1000, np.uint16)
    few[:, 0, 0] = 2096
    fails(without_sign(tmp_path / "few", few), "whether pixels are signed cannot be told")


def test_padding_shows_the_sign(tmp_path: Path, hu: np.ndarray) -> None:
    stored = (hu.astype(int) + 1024).astype(np.uint16)
    stored[:, :3, :3] = stored[:, -3:, -3:] = 63536
    folder = without_sign(tmp_path / "scan", stored, BitsStored=16, HighBit=15)
    volume = drr.read(folder)
    assert (volume.hu[:, :3, :3] == -3024).all()
    np.testing.assert_array_equal(volume.hu[:, 4:-4], hu[:, 4:-4])


@pytest.mark.parametrize("value", [2, 65535])
def test_a_damaged_sign_is_a_missing_one(tmp_path: Path, hu: np.ndarray, value: int) -> None:
    words = hu.view(np.uint16)
    folder = save_series(
        tmp_path / "scan",
        words,
        BitsStored=16,
        HighBit=15,
        RescaleIntercept=0,
        PixelRepresentation=value,
    )
    np.testing.assert_array_equal(drr.read(folder).hu, hu)


# ---- HighBit -------------------------------------------------------------------------------------


@pytest.mark.parametrize("high", [15, 7, 14])
def test_high_bit_left_over(tmp_path: Path, hu: np.ndarray, high: int) -> None:
    stored = (hu.astype(int) + 1024).astype(np.uint16)
    volume = drr.read(save_series(tmp_path / "scan", stored, HighBit=high))
    np.testing.assert_array_equal(volume.hu, hu)
    assert any(f"HighBit is {high}" in n and "in the low bits" in n for n in volume.notes)


def test_values_in_the_high_bits(tmp_path: Path, hu: np.ndarray) -> None:
    stored = (hu.astype(int) + 1024).astype(np.uint16)
    volume = drr.read(save_series(tmp_path / "scan", stored << 4, HighBit=15))
    np.testing.assert_array_equal(volume.hu, hu)
    assert any("in the high bits" in note for note in volume.notes)


@pytest.mark.parametrize("shift", [0, 4])
def test_signed_values_and_a_high_bit(tmp_path: Path, hu: np.ndarray, shift: int) -> None:
    signed = np.clip(hu, -1024, 2047)
    folder = save_series(
        tmp_path / "scan", signed << shift, BitsStored=12, HighBit=15, RescaleIntercept=0
    )
    np.testing.assert_array_equal(drr.read(folder).hu, signed)


def test_a_high_bit_that_cannot_be_told(tmp_path: Path, hu: np.ndarray) -> None:
    stored = (hu.astype(int) + 1024).astype(np.uint16)
    fails(save_series(tmp_path / "both", stored & 0xFF0, HighBit=15), "correct HighBit")
    fails(save_series(tmp_path / "none", stored | 0x8000, HighBit=15), "correct HighBit")
    fails(save_series(tmp_path / "sign", stored, HighBit=15, PixelRepresentation=None), "HighBit")
