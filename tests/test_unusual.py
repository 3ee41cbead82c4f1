"""`drr.unusual`: numbers beyond CT's, through the readers that meet them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

import drr
from drr.datasets.phantom.thorax import thorax
from drr.errors import ReadError, VolumeError
from drr.padding import PADDING
from drr.volume import Volume

Read = Callable[..., Volume]


@pytest.fixture(scope="module")
def scan() -> Volume:
    return thorax(48, seed=3)


@pytest.fixture(params=["memory", "nifti", "npz", "sagittal"])
def read(request: pytest.FixtureRequest, tmp_path: Path, scan: Volume) -> Read:
    """Brings `(nz, ny, nx)` values of the scan into a volume, by one way or another."""

    def by(values: np.ndarray, slope: float = 1, intercept: float = 0) -> Volume:
        if request.param in ("memory", "npz"):
            values = (
                values if (slope, intercept) == (1, 0) else values.astype(float) * slope + intercept
            )
        if request.param == "memory":
            return Volume.from_stored(values, scan.affine, name="scan")
        if request.param == "npz":
            np.savez(tmp_path / "scan.npz", hu=values, affine=scan.affine)
            return drr.read(tmp_path / "scan.npz")
        axes = (2, 1, 0) if request.param == "nifti" else (1, 0, 2)  # stored slowest last
        affine = np.diag([-1.0, -1, 1, 1]) @ scan.affine
        affine = affine[:, [*(2 - axis for axis in axes), 3]]
        image = nibabel.Nifti1Image(values.transpose(axes), affine)
        image.header.set_slope_inter(slope, intercept)
        image.header.set_xyzt_units("mm")
        nibabel.save(image, tmp_path / "scan.nii")
        return drr.read(tmp_path / "scan.nii", threads=2)

    return by


def around(scan: Volume) -> np.ndarray:
    _, ny, nx = scan.shape
    y, x = np.mgrid[:ny, :nx]
    outside = np.hypot((2 * y - ny + 1) / ny, (2 * x - nx + 1) / nx) > 1
    return np.broadcast_to(outside, scan.shape)


def same_digest(volume: Volume) -> bool:
    return volume.sha256 == Volume(hu=volume.hu, affine=volume.affine).sha256


@pytest.mark.parametrize("value", [np.nan, -np.inf, -3.4e38, -1e9, 3.4e38, 1e20])
def test_padding_of_float_volumes(read: Read, scan: Volume, value: float) -> None:
    empty = around(scan)
    volume = read(np.where(empty, value, scan.hu).astype(np.float32))
    np.testing.assert_array_equal(volume.hu, np.where(empty, PADDING, scan.hu))
    (note,) = [n for n in volume.notes if "taken for padding" in n]
    assert note.startswith(f"{np.count_nonzero(empty)} voxels")
    assert same_digest(volume)


@pytest.mark.parametrize("value", [np.nan, -3.4e38])
def test_slabs_and_slices_of_padding(read: Read, scan: Volume, value: float) -> None:
    values = scan.hu.astype(np.float32)
    values[:, :, :4] = values[-3:] = value
    volume = read(values)
    expected = scan.hu.copy()
    expected[:, :, :4] = expected[-3:] = PADDING
    np.testing.assert_array_equal(volume.hu, expected)


@pytest.mark.parametrize("stored", [63536, 65535, 65000, 40000])
def test_unsigned_padding_is_the_negative_number_it_was(
    read: Read, scan: Volume, stored: int
) -> None:
    values = (np.maximum(scan.hu, -1024).astype(int) + 1024).astype(np.uint16)
    empty = around(scan)
    values[empty] = stored
    volume = read(values.astype(np.uint16), 1, -1024)
    expected = np.maximum(scan.hu, -1024)
    np.testing.assert_array_equal(volume.hu[~empty], expected[~empty])
    # Where intercepts were added before, nothing is known of unsigned numbers.
    (padding,) = np.unique(volume.hu[empty])
    assert padding == (stored - 65536 - 1024 if volume.name == "scan.nii" else PADDING)
    assert any(f"up to {stored - 1024} HU" in note for note in volume.notes)


def test_metal_beyond_int16(read: Read, scan: Volume) -> None:
    values = scan.hu.astype(np.int32)
    values[20, 20, 10:20] = 45000
    volume = read(values)
    expected = scan.hu.copy()
    expected[20, 20, 10:20] = 32767
    np.testing.assert_array_equal(volume.hu, expected)
    assert any("10 voxels of up to 45000 HU, metal" in note for note in volume.notes)
    assert same_digest(volume)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_divisions_that_failed(read: Read, scan: Volume, value: float) -> None:
    values = scan.hu.astype(np.float32)
    values[20, 20, 20:23] = value
    values[30, 30, 30] = value
    volume = read(values)
    failed = ~np.isfinite(values)
    np.testing.assert_array_equal(volume.hu[~failed], scan.hu[~failed])
    # What neighbours make of it: no hole and no metal.
    around = scan.hu[19:22, 19:22, 19:24]
    assert around.min() <= volume.hu[20, 20, 21] <= around.max()
    assert any("4 voxels inside the scan" in note for note in volume.notes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda hu: np.where(hu > 100, np.nan, hu), "inside the scan are NaN"),
        (lambda hu: np.full(hu.shape, np.nan), "all voxels are NaN"),
        (lambda hu: hu * 100.0, "do not fit int16"),
        (lambda hu: np.where(hu > 300, 40000.0, hu), "do not fit int16"),
        (lambda hu: np.where(hu == hu.max(), 1e30, hu), "do not fit int16"),
        (lambda hu: np.where(hu == hu.max(), -1e6, hu), "do not fit int16"),
        (
            lambda hu: np.where(hu == hu.max(), -1e6, np.where(hu > 500, np.nan, hu)),
            "do not fit|NaN",
        ),
    ],
)
def test_what_can_be_no_hu_is_refused(
    read: Read, scan: Volume, make: Callable[[np.ndarray], np.ndarray], message: str
) -> None:
    with pytest.raises((ReadError, VolumeError), match=message) as error:
        read(make(scan.hu.astype(np.float64)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [32767.49, -32768.5, 32767.0, -32768.0])
def test_the_ends_of_int16_are_in_it(read: Read, scan: Volume, value: float) -> None:
    values = scan.hu.astype(np.float64)
    values[20, 20, 20] = value
    volume = read(values)
    assert volume.hu[20, 20, 20] == round(value)
    assert not any("voxels" in note for note in volume.notes)
