from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import drr
from drr.errors import VolumeError
from drr.patient.anatomy import find_anatomy
from drr.patient.cleaning import clean
from drr.patient.extension import EXTENSION_PARAMETERS, Extension, extend, repeated
from drr.patient.outline import OUTLINE_PARAMETERS, estimate_outline
from drr.volume import Volume

SPACING = (2.0, 2.0, 4.0)


def scan(noise: float = 0.0, shape: tuple[int, int, int] = (24, 120, 180)) -> Volume:
    """A trunk with spine, ribs and gas that all run along z."""
    _, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    x, y = (x - (shape[2] - 1) / 2) * 2, (y - (shape[1] - 1) / 2) * 2
    hu = np.full(shape, -1000, np.int16)
    hu[np.broadcast_to((x / 150) ** 2 + (y / 95) ** 2 < 1, shape)] = 20
    hu[np.broadcast_to(np.hypot(x, y - 50) < 20, shape)] = 300
    hu[np.broadcast_to(np.hypot(np.abs(x) - 130, y) < 5, shape)] = 800
    hu[np.broadcast_to(np.hypot(x - 30, y + 40) < 12, shape)] = -1000
    if noise:
        spread = np.random.default_rng(1).normal(0, noise, shape)
        hu = np.rint(hu + spread).astype(np.int16)
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = (-100, 50, 700)
    return Volume(hu=hu, affine=affine, name="scan", notes=("read",))


def round_field(radius: float, half_width: float = 150, half_depth: float = 95) -> Volume:
    """An elliptical body of tissue in a round field of view that may cut it."""
    shape = (10, 160, 160)
    _, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    x, y = (x - 79.5) * 2, (y - 79.5) * 2
    hu = np.full(shape, -1000, np.int16)
    hu[np.broadcast_to((x / half_width) ** 2 + (y / half_depth) ** 2 < 1, shape)] = 20
    hu[np.broadcast_to(np.hypot(x, y) > radius, shape)] = -2048
    return Volume(hu=hu, affine=np.diag([2.0, 2.0, 4.0, 1.0]))


def test_the_scan_stays_where_it_is() -> None:
    volume = scan()
    extended = extend(volume, find_anatomy(volume), superior_mm=30, inferior_mm=9)
    assert extended.shape == (24 + 3 + 8, 120, 180)
    np.testing.assert_array_equal(extended.hu[3:27], volume.hu)
    for index in ((0, 0, 0), (5, 7, 11)):
        moved = (index[0], index[1], index[2] + 3)
        np.testing.assert_allclose(
            extended.affine @ [*moved, 1], volume.affine @ [*index, 1], atol=1e-9
        )
    assert extended.notes[0] == "read"
    assert "12 mm below the scan" in extended.notes[1]
    assert "32 mm above the scan" in extended.notes[2]
    assert "not anatomy" in extended.notes[1]
    assert extended.name == volume.name


def test_a_tilted_gantry_goes_on_along_its_slices() -> None:
    volume = scan()
    affine = volume.affine.copy()
    affine[1, 2] = 1.3
    tilted = Volume(hu=volume.hu, affine=affine)
    extended = extend(tilted, find_anatomy(tilted), inferior_mm=20)
    count = extended.shape[0] - tilted.shape[0]
    assert count == math.ceil(20 / tilted.spacing[2])
    np.testing.assert_allclose(extended.affine @ [0, 0, count, 1], affine[:, 3])


def test_ends_go_on_without_a_step_and_fade_where_they_should() -> None:
    volume = scan()
    extended = extend(volume, find_anatomy(volume), superior_mm=60, inferior_mm=60).hu
    for ends in (extended[:16][::-1], extended[-16:]):
        # The first slice beyond is nearly the last one of the scan.
        assert np.abs(ends[0].astype(int) - volume.hu[0]).max() < 60
        water = np.maximum(0, 1 + ends / 1000.0).sum(axis=1) * 2
        expected = np.maximum(0, 1 + volume.hu[0] / 1000.0).sum(axis=0) * 2
        # Frontal sums change slowly from slice to slice, and keep the patient's thickness.
        assert np.abs(np.diff(water, axis=0)).max() < 4
        assert np.abs(water - expected).max() < 20
        assert np.median(np.abs(water - expected)) < 1
        # The spine goes on, ribs and gas fade.
        assert ends[-1][85, 90] > 150
        assert ends[-1][60, 90 + 65] < 300
        assert ends[-1][40, 90 + 15] > -500
        # The skin stays where it is.
        np.testing.assert_array_equal(ends[-1] > -500, _filled(volume.hu[0] > -500))


def _filled(mask: np.ndarray) -> np.ndarray:
    filled = mask.copy()
    filled[30:50, 95:115] = True
    return filled


def test_noise_makes_no_streaks() -> None:
    volume = scan(noise=60.0)
    far = extend(volume, find_anatomy(volume), superior_mm=60).hu[-1]
    center = far[50:70, 60:80]
    assert np.std(center) < 10


@pytest.mark.parametrize("in_place", [False, True])
def test_clean_extends_as_extend_does(in_place: bool) -> None:
    volume = round_field(135)
    anatomy = find_anatomy(volume)
    extension = Extension(superior_mm=20, inferior_mm=12, sides=True)
    cleaned = clean(volume, anatomy)
    expected = extend(cleaned, anatomy, **extension.to_dict())
    out = np.empty(expected.shape, np.int16) if in_place else None
    both = clean(volume, anatomy, extension=extension, out=out)
    np.testing.assert_array_equal(both.hu, expected.hu)
    np.testing.assert_array_equal(both.affine, expected.affine)
    assert both.notes == expected.notes
    assert out is None or both.hu is out


def test_out_of_the_unextended_shape_is_refused() -> None:
    volume = scan()
    with pytest.raises(VolumeError, match=r"shape \(26, 120, 180\)"):
        clean(volume, extension=Extension(superior_mm=8), out=volume.hu)


def test_nothing_to_extend_is_the_volume_itself() -> None:
    volume = scan()
    anatomy = find_anatomy(volume)
    assert extend(volume, anatomy) is volume
    assert extend(volume, anatomy, sides=True) is volume
    assert not Extension()
    assert clean(volume, anatomy, extension=Extension()).shape == volume.shape


def test_threads_do_not_matter() -> None:
    volume = round_field(130)
    anatomy = find_anatomy(volume)
    added = {"superior_mm": 40, "inferior_mm": 30, "sides": True}
    one, many = (extend(volume, anatomy, **added, threads=n).hu for n in (1, 5))
    np.testing.assert_array_equal(one, many)


@pytest.mark.parametrize("shape", [(1, 40, 40), (3, 1, 30), (2, 30, 1), (1, 1, 1)])
@pytest.mark.parametrize("value", [-1000, 40])
def test_tiny_and_flat_volumes(shape: tuple[int, int, int], value: int) -> None:
    volume = Volume(hu=np.full(shape, value, np.int16), affine=np.eye(4))
    extended = extend(volume, find_anatomy(volume), superior_mm=3, inferior_mm=2, sides=True)
    assert extended.shape[0] == shape[0] + 5
    assert (extended.hu[:, : shape[1], : shape[2]] == value).all()


# --- The round field of view ------------------------------------------------------------------


@pytest.mark.parametrize("radius", [120, 130, 140])
def test_a_cut_ellipse_is_completed(radius: float) -> None:
    volume = round_field(radius)
    anatomy = find_anatomy(volume)
    assert anatomy.truncated_sides == ("right", "left")
    whole = extend(clean(volume, anatomy), anatomy, sides=True)
    assert whole.shape == volume.shape
    assert (whole.hu[:, [0, 5, -5, -1]] == -1000).all(), "the corners are air"
    inside, expected = whole.hu > -500, round_field(1000).hu > -500
    # On a coarse grid the estimate is rough; it stays short of the truth rather than beyond it.
    assert 2 * radius < inside.any(axis=(0, 1)).sum() * 2 < 300 + 12
    before = ((volume.hu > -500) != expected).mean()
    assert (inside != expected).mean() < 0.9 * before
    assert (inside & ~expected).mean() < 0.1 * before
    # The fill is soft tissue or fat, whatever the cut tissue was.
    added = whole.hu[:, :160, :160][(volume.hu == -2048) & (whole.hu[:, :160, :160] > -1000)]
    assert added.max() <= OUTLINE_PARAMETERS["highest_hu"]
    assert "of the body's outline is cut" in whole.notes[-1]
    # A crop leaves out nothing but air, and the fill is not cropped.
    cropped = clean(volume, anatomy, extension=Extension(sides=True), crop=True)
    assert cropped.hu.size < whole.hu.size
    assert (cropped.hu > -1000).sum() == (whole.hu > -1000).sum()
    at = np.rint(whole.world_to_voxel @ cropped.affine[:, 3]).astype(int)
    box = tuple(slice(a, a + n) for a, n in zip(at[2::-1], cropped.shape, strict=True))
    np.testing.assert_array_equal(cropped.hu, whole.hu[box])


def test_a_body_wider_than_the_array_widens_it() -> None:
    volume = round_field(159, half_width=185)
    anatomy = find_anatomy(volume)
    whole = extend(volume, anatomy, sides=True)
    added = whole.shape[2] - volume.shape[2]
    assert 8 <= added <= 44
    first = round((volume.affine[0, 3] - whole.affine[0, 3]) / 2)
    inside = volume.hu > -500
    np.testing.assert_array_equal(whole.hu[:, :, first : first + 160][inside], volume.hu[inside])
    width = (whole.hu > -500).any(axis=(0, 1)).sum() * 2
    assert width == pytest.approx(370, abs=30)


def test_a_body_that_the_field_does_not_cut_is_left_alone() -> None:
    volume = round_field(155)
    assert estimate_outline(volume, find_anatomy(volume)) is None


def test_a_field_inside_the_body_has_no_outline_to_go_on_with() -> None:
    volume = round_field(90)
    anatomy = find_anatomy(volume)
    assert anatomy.truncated
    assert estimate_outline(volume, anatomy) is None


# --- Bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["superior_mm", "inferior_mm"])
@pytest.mark.parametrize("value", [-1, 401, math.nan, math.inf, "30", None, True])
def test_lengths_that_are_none_are_refused(name: str, value: Any) -> None:
    with pytest.raises(VolumeError, match=rf"{name} must be a length from 0 to 400 mm"):
        Extension(**{name: value})
    volume = scan()
    with pytest.raises(VolumeError, match=name):
        extend(volume, find_anatomy(volume), **{name: value})


def test_sides_are_true_or_false() -> None:
    with pytest.raises(VolumeError, match="sides must be True or False, not 'left'"):
        Extension(sides="left")  # type: ignore[arg-type]


def test_unknown_keys_are_refused_with_the_nearest() -> None:
    with pytest.raises(VolumeError, match="'superior'; did you mean 'superior_mm'"):
        Extension.from_dict({"superior": 3})


def test_an_extension_is_a_record() -> None:
    extension = Extension(superior_mm=12, sides=True)
    assert eval(repr(extension)) == extension
    assert Extension.from_dict(json.loads(json.dumps(extension.to_dict()))) == extension
    assert json.dumps({**EXTENSION_PARAMETERS, **OUTLINE_PARAMETERS})


def test_anatomy_of_another_volume_is_refused() -> None:
    volume = scan()
    other = find_anatomy(Volume(hu=volume.hu[:12].copy(), affine=volume.affine))
    with pytest.raises(VolumeError, match="find_anatomy"):
        extend(volume, other, superior_mm=10)


# --- Real scans -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["ct/lidc_idri_0001/cxr.nii.gz", "ct/lung_dx_a0001/a0001_5mm_kernelB_dicom.zip"]
)
def test_no_end_shows_in_real_scans(test_data: Path, name: str) -> None:
    volume = drr.read(test_data / name)
    anatomy = find_anatomy(volume)
    step = volume.spacing[2]
    extension = Extension(superior_mm=40, inferior_mm=40, sides=True)
    extended = clean(volume, anatomy, extension=extension)
    assert extended.shape[2] > volume.shape[2], "the sides are cut, so the volume is wider"
    water = np.maximum(0, 1 + extended.hu / 1000.0).sum(axis=1) * volume.spacing[1]
    count = math.ceil(40 / step)
    within = np.abs(np.diff(water[count : len(water) - count], axis=0)).mean(axis=1)
    for end in (water[: count + 1], water[-count - 1 :]):
        assert end.max() > 100
        beyond = np.abs(np.diff(end, axis=0)).mean(axis=1)
        # From slice to slice the frontal sums change less than they do within the scan.
        assert beyond.max() < 1.5 * np.percentile(within, 90)


def test_slices_that_hardly_differ_are_the_same():
    numbers = repeated(43, np.array([0.7, 0.7, 1.0]))
    assert numbers[:6].tolist() == list(range(6)), "near the scan each is its own"
    assert np.isin(np.diff(numbers), (0, 1)).all()
    p = EXTENSION_PARAMETERS
    way = np.arange(1, 44) / p["to_blurred_mm"]
    blurred = way * way * (3 - 2 * way)
    for number in range(6, numbers[38] + 1):
        assert np.ptp(blurred[numbers == number]) <= p["alike"]
    assert len(set(numbers)) < 20
    assert set(numbers[39:]) == {numbers[39]}, "wholly blurred, none differs"
    assert repeated(9, np.array([0.7, 0.7, 5.0])).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 7]
    assert repeated(0, np.ones(3)).size == 0
