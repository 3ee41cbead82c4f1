from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

import drr
from drr.datasets.phantom.thorax import thorax
from drr.patient.anatomy import find_anatomy
from drr.patient.cleaning import clean
from drr.patient.prepare import Prepared, prepare
from drr.volume import Volume


def scan(*, sides: bool) -> Volume:
    """A chest on a couch; its arms are within a wide field of view or cut by a narrow one."""
    volume = thorax((60, 128, 128), couch=True)
    if sides:
        return volume
    x = np.abs(volume.affine[0, 0] * np.arange(128) + volume.affine[0, 3])
    hu = volume.hu.copy()
    hu[:, :, x > 170] = -1000
    return replace(volume, hu=hu)


@pytest.mark.parametrize("beyond", [False, True])
@pytest.mark.parametrize("sides", [False, True])
def test_what_is_prepared_is_what_cleaning_gives(sides: bool, beyond: bool) -> None:
    volume = scan(sides=sides)
    before = volume.hu.copy()
    for threads in (1, 3):
        prepared = prepare(volume, beyond=beyond, threads=threads)
        whole = clean(volume, prepared.anatomy, extension=prepared.extension, crop=True)
        np.testing.assert_array_equal(prepared.volume.hu, whole.hu)
        np.testing.assert_array_equal(prepared.volume.affine, whole.affine)
        assert prepared.volume.notes == whole.notes
        assert not np.shares_memory(prepared.volume.hu, volume.hu)
    np.testing.assert_array_equal(volume.hu, before)


@pytest.mark.parametrize("sides", [False, True])
def test_air_at_the_end_of_the_scale_stays_in_the_lungs(sides: bool) -> None:
    """Inside the body nothing is touched, whatever the voxels of padding around it hold."""
    volume = scan(sides=sides)
    lungs = np.argwhere(volume.hu[30] < -700)
    lungs = lungs[np.hypot(*(lungs - 64).T) < 40]
    hu = volume.hu.copy()
    hu[30, lungs[:, 0], lungs[:, 1]] = -1024
    hu[:, :3, :3] = -1024
    prepared = prepare(replace(volume, hu=hu))
    assert np.count_nonzero(prepared.volume.hu == -1024) == len(lungs) > 100


def test_one_view_at_a_time_or_many_is_the_same() -> None:
    prepared = prepare(scan(sides=False))
    views = ("pa", "ll", "rl", "ll", "30,15")
    together = drr.project(prepared, views, backend="cpu")
    for view, made in zip(views, together, strict=True):
        alone = drr.project(prepare(scan(sides=False)), view, backend="cpu")
        np.testing.assert_array_equal(alone.line_integrals, made.line_integrals)


def test_a_prepared_scan_survives_pickling() -> None:
    prepared = prepare(scan(sides=True))
    copy: Prepared = pickle.loads(pickle.dumps(prepared))
    np.testing.assert_array_equal(copy.volume.hu, prepared.volume.hu)


def test_noise_without_a_body_is_copied() -> None:
    hu = np.random.default_rng(0).integers(-1100, -900, (40, 50, 60)).astype(np.int16)
    volume = Volume(hu=hu, affine=np.diag([2.0, 2.0, 2.0, 1.0]))
    assert not find_anatomy(volume).found
    np.testing.assert_array_equal(prepare(volume).volume.hu, hu)
