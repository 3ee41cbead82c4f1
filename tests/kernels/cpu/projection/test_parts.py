from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import drr
from drr.datasets.phantom.thorax import thorax
from drr.geometry.views import parse_view
from drr.kernels.cpu.projection.project import QUALITIES, project
from drr.patient.anatomy import find_anatomy
from drr.patient.cleaning import clean, clean_in_parts, keep_body
from drr.patient.extension import Extension, margins
from drr.patient.prepare import Prepared, prepare
from drr.physics.attenuation import Attenuation, water
from drr.volume import Volume

VIEWS = ("pa", "ap", "ll", "rl", "lao30", "rao60", "30,15")


def scan(*, sides: bool) -> Volume:
    """A chest on a couch; its arms are within a wide field of view or cut by a narrow one."""
    volume = thorax((60, 128, 128), couch=True)
    if sides:
        return volume
    x = np.abs(volume.affine[0, 0] * np.arange(128) + volume.affine[0, 3])
    hu = volume.hu.copy()
    hu[:, :, x > 170] = -1000
    return replace(volume, hu=hu)


def extended(volume: Volume) -> tuple[Volume, Volume]:
    """In parts, and in one array."""
    anatomy = find_anatomy(volume)
    extension = Extension(superior_mm=20, inferior_mm=30, sides=anatomy.truncated)
    kept = keep_body(volume, anatomy.body, anatomy.factors)
    added = margins(volume, anatomy, extension, crop=True)
    return (
        clean_in_parts(volume, anatomy, kept, added, extension=extension),
        clean(volume, anatomy, extension=extension, crop=True),
    )


@pytest.mark.parametrize("sides", [False, True])
def test_a_volume_in_parts_holds_the_voxels_that_the_copy_holds(sides: bool) -> None:
    parted, whole = extended(scan(sides=sides))
    assert parted.parts is not None
    assert "hu" not in parted.__dict__
    assert bool(parted.parts.sides) == sides
    assert parted.shape == whole.shape
    np.testing.assert_array_equal(parted.affine, whole.affine)
    np.testing.assert_array_equal(parted.hu, whole.hu)
    assert len(parted.notes) == len(whole.notes)
    assert parted.notes[-1] == whole.notes[-1]


@pytest.mark.parametrize("beyond", [False, True])
@pytest.mark.parametrize("sides", [False, True])
def test_what_is_prepared_is_what_cleaning_gives(sides: bool, beyond: bool) -> None:
    volume = scan(sides=sides)
    for threads in (1, 3):
        prepared = prepare(volume, beyond=beyond, threads=threads)
        assert prepared.volume.parts is not None
        whole = clean(volume, prepared.anatomy, extension=prepared.extension, crop=True)
        np.testing.assert_array_equal(prepared.volume.hu, whole.hu)
        np.testing.assert_array_equal(prepared.volume.affine, whole.affine)


def test_a_scan_of_ragged_skin_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = scan(sides=True)
    parted = prepare(volume)

    def ragged(*arguments: Any, beside: Callable[[], object], **options: Any) -> None:
        assert keep_body(*arguments, beside=beside, **options) is not None

    monkeypatch.setattr("drr.patient.prepare.keep_body", ragged)
    whole = prepare(volume)
    assert parted.volume.parts is not None
    assert whole.volume.parts is None
    assert whole.extension == parted.extension
    np.testing.assert_array_equal(whole.volume.hu, parted.volume.hu)


@pytest.mark.parametrize("sides", [False, True])
def test_air_at_the_end_of_the_scale_stays_in_the_lungs(sides: bool) -> None:
    """Inside the body nothing is touched, whatever the voxels of padding around it hold."""
    volume = scan(sides=sides)
    lungs = np.argwhere(volume.hu[30] < -700)
    lungs = lungs[np.hypot(*(lungs - 64).T) < 40]
    hu = volume.hu.copy()
    hu[30, lungs[:, 0], lungs[:, 1]] = -1024
    hu[:, :3, :3] = -1024
    parted, whole = extended(replace(volume, hu=hu))
    assert parted.parts is not None
    assert np.count_nonzero(whole.hu == -1024) > 100
    np.testing.assert_array_equal(parted.hu, whole.hu)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("sides", [False, True])
def test_slices_are_written_one_by_one_or_together(sides: bool, threads: int) -> None:
    parted, whole = extended(scan(sides=sides))
    assert parted.parts is not None
    assert parted.parts.nbytes == whole.hu.nbytes
    for count in (1, 7, len(whole.hu)):
        for start in range(0, len(whole.hu), count):
            expected = whole.hu[start : start + count]
            out = np.full_like(expected, 7)
            parted.parts.write(start, out, threads=threads)
            np.testing.assert_array_equal(out, expected)
    assert "array" not in parted.parts.__dict__


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("sides", [False, True])
def test_parts_make_the_image_that_the_copy_makes(sides: bool, name: str, quality: str) -> None:
    parted, whole = extended(scan(sides=sides))
    assert parted.parts is not None
    rays = parse_view(name, shape=(90, 110)).place(find_anatomy(whole)).rays(whole.affine)
    mapping = water().mapping
    expected = project(whole.hu, mapping, rays, quality=quality)
    images = [
        project(parted.parts, mapping, rays, quality=quality, threads=threads) for threads in (1, 3)
    ]
    np.testing.assert_array_equal(*images)
    assert np.abs(images[0] - expected).max() < 3e-6 * expected.max()
    assert "array" not in parted.parts.__dict__


@pytest.mark.parametrize("quality", QUALITIES)
def test_the_transposed_copy_changes_nothing(quality: str) -> None:
    prepared = prepare(scan(sides=False))
    parts = prepared.volume.parts
    assert parts is not None
    rays = parse_view("ll", shape=(90, 110)).place(prepared.anatomy).rays(prepared.volume.affine)
    apart = project(parts, water().mapping, rays, quality=quality)
    turned = project(parts, water().mapping, rays, quality=quality, transposed=prepared.transposed)
    np.testing.assert_array_equal(apart, turned)


def test_where_air_attenuates_the_voxels_come_together() -> None:
    parted, whole = extended(scan(sides=True))
    assert parted.parts is not None
    dense_air = Attenuation(hu=(-1100, 0), mu=(0, 0.02), name="dense air").mapping
    assert not dense_air.spares_air
    rays = parse_view("pa", shape=(60, 60)).place(find_anatomy(whole)).rays(whole.affine)
    np.testing.assert_array_equal(
        project(parted.parts, dense_air, rays), project(whole.hu, dense_air, rays)
    )
    assert "array" in parted.parts.__dict__


def test_other_methods_see_the_same_voxels() -> None:
    parted, whole = extended(scan(sides=True))
    assert parted.parts is not None
    rays = parse_view("lao30", shape=(40, 40)).place(find_anatomy(whole)).rays(whole.affine)
    for method in ("joseph", "siddon"):
        np.testing.assert_array_equal(
            project(parted.parts, water().mapping, rays, method=method),
            project(whole.hu, water().mapping, rays, method=method),
        )


def test_one_view_at_a_time_or_many_is_the_same() -> None:
    prepared = prepare(scan(sides=False))
    views = ("pa", "ll", "rl", "ll", "30,15")
    together = drr.project(prepared, views, backend="cpu")
    for view, made in zip(views, together, strict=True):
        alone = drr.project(prepare(scan(sides=False)), view, backend="cpu")
        np.testing.assert_array_equal(alone.line_integrals, made.line_integrals)


def test_a_scan_in_parts_survives_pickling() -> None:
    prepared = prepare(scan(sides=True))
    assert prepared.volume.parts is not None
    copy: Prepared = pickle.loads(pickle.dumps(prepared))
    assert "hu" not in copy.volume.__dict__
    np.testing.assert_array_equal(copy.volume.hu, prepared.volume.hu)


def test_a_volume_in_parts_is_a_volume() -> None:
    parted, whole = extended(scan(sides=False))
    assert repr(parted) == repr(whole)
    renamed = replace(parted, name="other")
    assert renamed.parts is None
    np.testing.assert_array_equal(renamed.hu, whole.hu)
    with pytest.raises(AttributeError, match="no attribute 'voxels'"):
        parted.voxels  # type: ignore[attr-defined]  # noqa: B018


def test_noise_without_a_body_is_copied() -> None:
    hu = np.random.default_rng(0).integers(-1100, -900, (40, 50, 60)).astype(np.int16)
    volume = Volume(hu=hu, affine=np.diag([2.0, 2.0, 2.0, 1.0]))
    anatomy = find_anatomy(volume)
    assert not anatomy.found
    cleaned = clean_in_parts(volume, anatomy, None, None)
    assert cleaned.parts is None
    np.testing.assert_array_equal(cleaned.hu, hu)
    assert prepare(volume).volume.parts is None
