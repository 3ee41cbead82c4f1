"""What words hold beside their values: overlays, rubbish, padding; and metal beyond int16."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_files import fails, hu_of, save_series
from pydicom import Dataset

import drr

SHAPE = (4, 24, 20)


@pytest.fixture
def pixels() -> np.ndarray:
    """`(4, 24, 20)` stored values of a 12-bit scanner."""
    return np.random.default_rng(4).integers(0, 4096, SHAPE).astype(np.uint16)


def round_field(pixels: np.ndarray) -> np.ndarray:
    """Where padding lies."""
    y, x = np.indices(SHAPE[1:])
    return np.broadcast_to(np.hypot(y - 11.5, x - 9.5) > 12, SHAPE)


def noted(volume: drr.Volume, words: str) -> bool:
    return any(words in note for note in volume.notes)


# ---- bits above the stored ones ------------------------------------------------------------------


def test_an_overlay_in_the_pixels(tmp_path: Path, pixels: np.ndarray) -> None:
    drawn = pixels.copy()
    drawn[:, 5, 3:15] |= 1 << 13

    def declare(_: int, dataset: Dataset) -> None:
        dataset.add_new(0x60020100, "US", 16)
        dataset.add_new(0x60020102, "US", 13)

    volume = drr.read(save_series(tmp_path / "scan", drawn, edit=declare))
    np.testing.assert_array_equal(volume.hu, hu_of(pixels))
    # The same without a word about it could be metal.
    fails(save_series(tmp_path / "bare", drawn), "12 pixels have bits above the 12 stored")


def test_rubbish_in_all_pixels(tmp_path: Path, pixels: np.ndarray) -> None:
    rubbish = np.random.default_rng(5).integers(0, 16, SHAPE).astype(np.uint16) << 12
    volume = drr.read(save_series(tmp_path / "scan", pixels | rubbish))
    np.testing.assert_array_equal(volume.hu, hu_of(pixels))
    assert noted(volume, "hold something else in 4 slices")


def test_metal_beyond_the_bits_stored_is_not_cut_off(tmp_path: Path, pixels: np.ndarray) -> None:
    """4500 of 12 bits became 404, which is lung."""
    metal = pixels.copy()
    metal[2, 8:12, 5:9] = np.random.default_rng(5).integers(4200, 5000, (4, 4))
    fails(save_series(tmp_path / "scan", metal), "set BitsStored to 13")


def test_signed_words_beyond_the_bits_stored(tmp_path: Path, pixels: np.ndarray) -> None:
    """Negative numbers fill their words, so bone of 2500 HU is no -1596."""
    signed = np.clip(hu_of(pixels), -1024, 2047)
    signed[:, 3, 4:6] = 2500
    signed[:, 0] = -3024
    signed[:, 0, 5] = -2900
    folder = save_series(tmp_path / "scan", signed, BitsStored=12, HighBit=11, RescaleIntercept=0)
    volume = drr.read(folder)
    np.testing.assert_array_equal(volume.hu[:, 1:], signed[:, 1:])


# ---- beyond int16 --------------------------------------------------------------------------------


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize(("word", "expected"), [(63536, -3024), (65535, -1025), (40000, -26560)])
def test_padding_of_unsigned_pixels(
    tmp_path: Path, pixels: np.ndarray, word: int, expected: int, declared: bool
) -> None:
    outside = round_field(pixels)
    padded = np.where(outside, np.uint16(word), pixels)
    more = {"PixelPaddingValue": word} if declared else {}
    folder = save_series(tmp_path / "scan", padded, BitsStored=16, HighBit=15, **more)
    volume = drr.read(folder)
    np.testing.assert_array_equal(volume.hu[~outside], hu_of(pixels)[~outside])
    assert (volume.hu[outside] == expected).all()
    assert noted(volume, f"{int(outside.sum())} voxels outside the field of view hold up to")


def test_padding_of_twelve_bit_pixels_that_is_not_declared(
    tmp_path: Path, pixels: np.ndarray
) -> None:
    outside = round_field(pixels)
    volume = drr.read(save_series(tmp_path / "scan", np.where(outside, np.uint16(63536), pixels)))
    assert (volume.hu[outside] == -3024).all()
    np.testing.assert_array_equal(volume.hu[~outside], hu_of(pixels)[~outside])


def test_signed_padding_below_int16(tmp_path: Path, pixels: np.ndarray) -> None:
    outside = round_field(pixels)
    signed = np.where(outside, np.int16(-32768), pixels.astype(np.int16))
    volume = drr.read(save_series(tmp_path / "scan", signed, BitsStored=16, HighBit=15))
    assert (volume.hu[outside] == -2048).all()
    np.testing.assert_array_equal(volume.hu[~outside], hu_of(pixels)[~outside])


@pytest.mark.parametrize("alike", [True, False])
def test_metal_beyond_int16(tmp_path: Path, pixels: np.ndarray, alike: bool) -> None:
    """The extended scale of scanners: slope 10."""
    stored = (pixels % 400 + 1024 - 100).astype(np.uint16)
    metal = stored.copy()
    metal[2, 8, 5:8] = 5500 if alike else (5000, 5001, 5002)
    options = {"RescaleSlope": 10, "RescaleIntercept": -10240, "BitsStored": 16, "HighBit": 15}
    volume = drr.read(save_series(tmp_path / "scan", metal, **options))
    expected = stored.astype(int) * 10 - 10240
    expected[2, 8, 5:8] = 32767
    np.testing.assert_array_equal(volume.hu, expected)
    assert noted(volume, "3 voxels of up to")


def test_what_is_beyond_int16_everywhere_is_refused(tmp_path: Path, pixels: np.ndarray) -> None:
    fails(save_series(tmp_path / "high", pixels, RescaleSlope=100), "do not fit int16")
    fails(save_series(tmp_path / "low", pixels, RescaleIntercept=-36000), "do not fit int16")


def test_monochrome1_is_how_to_show_it(tmp_path: Path, pixels: np.ndarray) -> None:
    folder = save_series(tmp_path / "scan", pixels, PhotometricInterpretation="MONOCHROME1")
    volume = drr.read(folder)
    np.testing.assert_array_equal(volume.hu, hu_of(pixels))
    assert noted(volume, "MONOCHROME1")
