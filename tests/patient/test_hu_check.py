"""Verdicts on values: real HU and what is mistaken for them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import drr
from drr.errors import VolumeError
from drr.patient.hu_check import assess


@pytest.fixture(scope="module")
def lung_dx(request: pytest.FixtureRequest) -> np.ndarray:
    """HU of a real chest CT without contrast, every second voxel."""
    data: Path = request.getfixturevalue("test_data")
    volume = drr.read(data / "ct" / "lung_dx_a0001" / "a0001_5mm_kernelB_dicom.zip")
    return np.ascontiguousarray(volume.hu[:, ::2, ::2])


@pytest.fixture
def chest() -> np.ndarray:
    """A body of soft tissue, fat, lung and bone with a scanner's noise, in air."""
    rng = np.random.default_rng(9)
    _, y, x = np.mgrid[-1:1:24j, -1:1:64j, -1:1:64j]
    hu = np.full(x.shape, -1000.0)
    radius = np.hypot(x, y * 1.3)
    hu[radius < 0.9] = -100
    hu[radius < 0.8] = 40
    hu[np.hypot(np.abs(x) - 0.35, y) < 0.25] = -850
    hu[np.hypot(x, y - 0.5) < 0.1] = 300
    return np.rint(hu + rng.normal(0, 20, hu.shape)).clip(-1024, 3071).astype(np.int16)


def test_hounsfield_units(chest: np.ndarray) -> None:
    verdict = assess(chest)
    assert verdict.kind == "hu"
    assert verdict.is_hu
    assert verdict.offset == 0
    assert verdict.advice == ""


@pytest.mark.parametrize("value", [-1024, -2000, -2048, -3024, -8192])
def test_padding(chest: np.ndarray, value: int) -> None:
    corner = np.hypot(*np.mgrid[-1:1:64j, -1:1:64j]) > 1.05
    chest = np.maximum(chest, -1020)
    chest[:, corner] = value
    verdict = assess(chest)
    assert verdict.kind == "hu"
    assert [v for v, _ in verdict.padding] == [value]
    assert verdict.padding[0][1] == pytest.approx((chest == value).mean(), rel=0.02)
    assert str(value) in verdict.summary


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(
    ("shift", "kind"),
    [
        (-1024, "double-rescaled"),
        (-1000, "double-rescaled"),
        (-8192, "double-rescaled"),
        (1024, "not-rescaled"),
        (1000, "not-rescaled"),
        (8192, "not-rescaled"),
    ],
)
def test_shifted_scales(chest: np.ndarray, shift: int, kind: str, padded: bool) -> None:
    if padded:
        chest[:, :6] = -2048 if shift < 0 else -1024
    verdict = assess((chest + shift).astype(np.int16))
    assert verdict.kind == kind
    assert not verdict.is_hu
    # 1000 and 1024 cannot be told apart to the last unit.
    assert abs(verdict.offset + shift) <= 24
    assert str(abs(verdict.offset)) in verdict.advice


def test_the_intercept_is_told_by_muscle(lung_dx: np.ndarray) -> None:
    for shift in (1024, -1024, 1000):
        assert assess((lung_dx + shift).astype(np.int16)).offset == -shift


@pytest.mark.parametrize("shift", [-1024, 1024, -8192])
def test_shifted_scales_of_a_real_scan(lung_dx: np.ndarray, shift: int) -> None:
    verdict = assess((lung_dx + shift).astype(np.int16))
    assert verdict.kind == ("double-rescaled" if shift < 0 else "not-rescaled")
    assert abs(verdict.offset + shift) <= 24


def test_real_scans(test_data: Path, lung_dx: np.ndarray) -> None:
    verdict = assess(lung_dx)
    assert verdict.kind == "hu"
    assert [value for value, _ in verdict.padding] == [-1024]
    crop = drr.read(test_data / "ct" / "3DCT_lung.mha")
    assert crop.verdict.kind == "hu"
    assert crop.verdict.padding == ()


def test_segmentation(test_data: Path) -> None:
    assert drr.read(test_data / "ct" / "lidc_idri_0001" / "mask.nii.gz").verdict.kind == "labels"


@pytest.mark.parametrize("values", [(0, 1), (0, 1, 2, 3), (-1, 0, 1)])
def test_masks_and_normalised_values(values: tuple[int, ...]) -> None:
    labels = np.zeros((12, 12, 12), np.int16)
    for k, value in enumerate(values):
        labels[:, :, 4 * k : 4 * k + 3] = value
    assert assess(labels).kind == "labels"


def test_pictures(lung_dx: np.ndarray, test_data: Path) -> None:
    windowed = np.rint(np.clip((lung_dx + 1000) / 1500, 0, 1) * 255).astype(np.int16)
    assert assess(windowed).kind == "picture"
    with zipfile.ZipFile(test_data / "cxr" / "nih" / "films_320px.zip") as archive:
        name = next(n for n in archive.namelist() if n.lower().endswith((".jpg", ".jpeg")))
        film = np.asarray(Image.open(archive.open(name)).convert("L"), np.int16)
    verdict = assess(np.stack([film] * 3))
    assert verdict.kind == "picture"
    assert not verdict.is_hu


def test_magnetic_resonance() -> None:
    # Rician background, two broad tissues and a bright tail, as magnitude images have.
    rng = np.random.default_rng(3)
    shape = (16, 64, 64)
    signal = np.zeros(shape)
    signal[:, 12:52, 12:52] = 420
    signal[:, 20:44, 20:44] = 700
    signal[:, 30:34, 30:34] = 1400
    values = np.hypot(signal + rng.normal(0, 60, shape), rng.normal(0, 60, shape))
    verdict = assess(values.astype(np.int16))
    assert verdict.kind == "mr-like"
    assert not verdict.is_hu


def test_soft_tissue_only() -> None:
    rng = np.random.default_rng(3)
    verdict = assess(rng.normal(40, 30, (16, 32, 32)).astype(np.int16))
    assert verdict.kind == "hu"
    assert "little or no air" in verdict.summary


def test_not_a_body() -> None:
    rng = np.random.default_rng(3)
    noise = rng.integers(-20000, 20000, (8, 32, 32)).astype(np.int16)
    assert assess(noise).kind == "unclear"
    constant = assess(np.full((4, 4, 4), -1000, np.int16))
    assert constant.kind == "constant"
    assert "-1000" in constant.summary


def test_orientation_does_not_matter(chest: np.ndarray) -> None:
    whole = assess(chest)
    for axes in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        turned = np.ascontiguousarray(chest.transpose(axes)[::-1])
        assert assess(turned).kind == whole.kind


def test_plain_values(chest: np.ndarray) -> None:
    verdict = assess(chest)
    assert json.loads(json.dumps(verdict.to_dict()))["kind"] == "hu"
    assert str(verdict).startswith("Hounsfield units")
    volume = drr.Volume.from_stored(chest, np.eye(4))
    assert assess(volume) == verdict


def test_wrong_arrays() -> None:
    for bad in (np.zeros((2, 2, 2)), np.zeros((2, 2), np.int16), np.zeros((0, 2, 2), np.int16)):
        with pytest.raises(VolumeError, match="three-dimensional int16"):
            assess(bad)
