"""`drr.patient.fill`: what was never scanned and says so by holding one value."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import drr
from drr.datasets.phantom.thorax import thorax
from drr.padding import PADDING
from drr.patient.anatomy import find_anatomy
from drr.patient.cleaning import clean
from drr.patient.fill import find_fill, without_fill
from drr.patient.prepare import prepare
from drr.volume import Volume


@pytest.fixture(scope="module")
def scan() -> Volume:
    return thorax(48, seed=3)


def around(volume: Volume) -> np.ndarray:
    """Outside the round field of view."""
    _, ny, nx = volume.shape
    y, x = np.mgrid[:ny, :nx]
    return np.asarray(np.hypot((2 * y - ny + 1) / ny, (2 * x - nx + 1) / nx) > 1)


def shapes(volume: Volume) -> dict[str, np.ndarray]:
    """Masks of what resamplers, croppers and round fields leave empty."""
    nz, ny, nx = volume.shape
    z, y, x = np.mgrid[:nz, :ny, :nx]
    return {
        "round": np.broadcast_to(around(volume), volume.shape),
        "ends": (z < 3) | (z >= nz - 2),
        "column": x < 1,
        "rows": y >= ny - 5,
        "turned": np.abs(x - nx / 2) + np.abs(y - ny / 2) > 0.8 * nx,
        "wedge": x + z < nx / 3,
    }


@pytest.mark.parametrize("value", [0, 1, -500, 40, 3071, 32767])
@pytest.mark.parametrize("shape", ["round", "ends", "column", "rows", "turned", "wedge"])
def test_fill_is_found_to_the_voxel(scan: Volume, value: int, shape: str) -> None:
    empty = shapes(scan)[shape]
    hu = np.where(empty, np.int16(value), scan.hu)
    volume = replace(scan, hu=hu)
    filled = without_fill(volume)
    assert volume.hu is hu  # which is not touched
    assert (filled.hu[empty] == PADDING).all()
    # A voxel beside fill may have its value by chance.
    assert np.count_nonzero(filled.hu[~empty] != scan.hu[~empty]) < 0.001 * empty.size
    (note,) = filled.notes[len(scan.notes) :]
    assert f"exactly {value} HU" in note
    assert ("all of slices 1 to 3, 47 to 48 from the feet" in note) == (shape == "ends")


def test_several_fills_at_once(scan: Volume) -> None:
    hu = scan.hu.copy()
    hu[:, around(scan)] = 3071
    hu[:2] = 0
    assert sorted(fill.value for fill in find_fill(hu)) == [0, 3071]


@pytest.mark.parametrize("value", [-1000, -1024, -2000, -3024, -951])
def test_air_and_padding_are_left_alone(scan: Volume, value: int) -> None:
    hu = scan.hu.copy()
    hu[:, around(scan)] = value
    assert find_fill(hu) == ()


def test_metal_and_bone_at_the_top_of_the_scale_stay(scan: Volume) -> None:
    hu = scan.hu.copy()
    hu[10:30, 20:30, :9] = 3071  # at a side
    hu[10:30, :9, :9] = 3071  # in one corner
    assert find_fill(hu) == ()
    clamped = np.clip(scan.hu, -1000, 300)
    assert find_fill(clamped) == ()


def test_values_that_meet_by_chance_are_no_fill() -> None:
    noise = np.random.default_rng(0).normal(40, 3, (40, 60, 60))
    assert find_fill(np.rint(noise).astype(np.int16)) == ()


@pytest.mark.parametrize("size", [1, 2, 3, 8, 40])
def test_objects_without_noise_are_matter(size: int) -> None:
    tank = np.zeros((size, size, size), np.int16)
    assert find_fill(tank) == ()
    tank[size // 4 : size // 2, size // 4 : size // 2] = 300
    assert find_fill(tank) == ()


def test_the_body_and_its_picture_are_those_without_fill(scan: Volume) -> None:
    hu = scan.hu.copy()
    hu[:, around(scan)] = 0
    filled = replace(scan, hu=hu)
    padded = without_fill(filled)
    here, there = find_anatomy(filled), find_anatomy(padded)
    np.testing.assert_array_equal(here.body, there.body)
    assert here.body.mean() < find_anatomy(scan).body.mean() + 0.02
    np.testing.assert_array_equal(clean(filled).hu, clean(padded).hu)
    for look in ("film", "raw"):
        a, b = (drr.project(v, look=look).line_integrals for v in (filled, padded))
        np.testing.assert_array_equal(a, b)
    # In place, too.
    clean(filled, out=hu)
    np.testing.assert_array_equal(hu, clean(padded).hu)


def test_what_prepare_keeps_and_says(scan: Volume) -> None:
    hu = scan.hu.copy()
    hu[-4:] = 3071
    filled = replace(scan, hu=hu)
    ready = prepare(filled)
    assert ready.sha256 == filled.sha256
    assert (ready.source.hu[-4:] == PADDING).all()
    assert any("it became air" in note for note in ready.notes)
    assert ready.volume.hu.max() < 3071
    left = prepare(filled, clean=False, beyond=False)
    assert any("without clean-up it is projected" in note for note in left.notes)
    np.testing.assert_array_equal(left.volume.hu, hu)
    np.testing.assert_array_equal(left.anatomy.body, ready.anatomy.body)


def test_the_published_recipe_takes_fill_as_it_is(scan: Volume) -> None:
    hu = scan.hu.copy()
    hu[:, around(scan)] = 0
    volume = replace(scan, hu=hu)
    image = drr.project(volume, "ap", look="drr-rate")
    assert (
        image.line_integrals.max()
        > drr.project(scan, "ap", look="drr-rate").line_integrals.max() * 0.9
    )
    assert image.record["input"]["sha256"] == volume.sha256


def test_real_scans(test_data: Path) -> None:
    for name in ("lidc_idri_0001/cxr.nii.gz", "lung_dx_a0001/a0001_5mm_kernelB_dicom.zip"):
        volume = drr.read(test_data / "ct" / name)
        assert without_fill(volume) is volume
    # The result of a registration, with 0 wherever its scan had nothing.
    (fill,) = find_fill(drr.read(test_data / "ct" / "3DCT_lung.mha").hu)
    assert fill.value == 0
