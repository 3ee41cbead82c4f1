"""Synthetic lesions: the stated CT number and size, in the stated place, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import drr
from drr.datasets.phantom.lesions import (
    SIDES,
    consolidation,
    ground_glass,
    lung_sites,
    nodule,
    pleural_effusion,
)
from drr.errors import VolumeError
from drr.geometry.geometry import project_point
from drr.patient.anatomy import Anatomy, find_anatomy
from drr.patient.prepare import prepare
from drr.physics.attenuation import water_attenuation
from drr.volume import Volume

LUNG, FLESH, VESSEL = -850, 40, 60
SHAPE = (60, 70, 110)
SPACING = (2.0, 2.0, 2.5)
MIDDLE = (0.0, 0.0, 0.0)


def affine() -> np.ndarray:
    matrix = np.diag([*SPACING, 1.0])
    matrix[:3, 3] = -(np.array(SHAPE[::-1]) - 1) / 2 * SPACING
    return matrix


@pytest.fixture(scope="module")
def chest() -> Volume:
    """Two boxes of lung with a vessel each, in flesh, in air."""
    hu = np.full(SHAPE, -1000, np.int16)
    hu[:, 6:64, 6:104] = FLESH
    hu[10:50, 14:56, 14:50] = LUNG
    hu[10:50, 14:56, 60:96] = LUNG
    hu[12:48, 33:36, [30, 31, 78, 79]] = VESSEL
    return Volume(hu=hu, affine=affine())


@pytest.fixture(scope="module")
def anatomy(chest: Volume) -> Anatomy:
    found = find_anatomy(chest)
    assert found.lungs is not None
    return found


def uniform(hu: int = LUNG) -> Volume:
    return Volume(hu=np.full((50, 50, 50), hu, np.int16), affine=np.diag([1.0, 1.0, 1.0, 1.0]))


def litres(before: Volume, after: Volume, of: float) -> float:
    """Volume in mm3 that a lesion displaced, from how much the sum of HU rose."""
    rise = (after.hu.astype(np.int64) - before.hu).sum()
    return float(rise) / of * float(np.prod(before.spacing))


# --- Nodules ---------------------------------------------------------------------------------


@pytest.mark.parametrize("hu", [30.0, -300.0])
@pytest.mark.parametrize("diameter", [5.0, 20.0])
def test_a_nodule_has_its_ct_number_and_the_volume_of_its_sphere(hu: float, diameter: float):
    before = uniform()
    after = nodule(before, (24.5, 25.0, 24.0), diameter=diameter, hu=hu)
    assert after.hu[24, 25, 24] == after.hu.max() == hu
    sphere = np.pi / 6 * diameter**3
    assert litres(before, after, hu - LUNG) == pytest.approx(sphere, rel=0.06)
    z, y, x = np.nonzero(after.hu != before.hu)
    far = np.sqrt((x - 24.5) ** 2 + (y - 25) ** 2 + (z - 24) ** 2).max()
    assert diameter / 2 - 0.5 < far < diameter / 2 + 0.6


def test_a_nodule_is_placed_in_millimetres_of_the_patient():
    turned = np.array([[0.0, 0, 2.0, 5], [0, 1.5, 0, -7], [-1.0, 0, 0, 3], [0, 0, 0, 1]])
    volume = Volume.from_stored(np.full((30, 30, 30), LUNG, np.int16), turned)
    aim = volume.affine[:3, :3] @ [12, 9, 20] + volume.affine[:3, 3]
    changed = nodule(volume, aim, diameter=8).hu != volume.hu
    centre = np.mean(np.argwhere(changed), axis=0)[::-1]
    np.testing.assert_allclose(centre, [12, 9, 20], atol=0.05)


def test_what_is_denser_runs_on_through_a_nodule(chest: Volume):
    point = (-52.0, -1.0, 0.0)
    after = nodule(chest, point, diameter=20, hu=-300)
    vessel = chest.hu == VESSEL
    assert np.array_equal(after.hu[vessel], chest.hu[vessel])
    assert (after.hu >= chest.hu).all()
    assert (after.hu == -300).any()


def test_the_volume_itself_does_not_change_and_the_new_one_says_what_it_holds():
    before = uniform()
    digest = before.sha256
    after = nodule(before, (20, 20, 20), diameter=10)
    assert (before.hu == LUNG).all()
    assert after.sha256 != digest == before.sha256
    assert any("synthetic nodule of 10 mm and 30 HU" in note for note in after.notes)


def test_a_softer_edge_keeps_the_volume():
    before = uniform()
    sharp, soft = (nodule(before, (25, 25, 25), diameter=20, edge=e) for e in (0.5, 6.0))
    assert litres(before, soft, 880) == pytest.approx(litres(before, sharp, 880), rel=0.08)
    assert np.unique(soft.hu).size > 2 * np.unique(sharp.hu).size


# --- Ground glass ----------------------------------------------------------------------------


def test_ground_glass_brings_the_lung_to_its_ct_number_and_leaves_vessels(chest, anatomy):
    after = ground_glass(chest, anatomy, (-50.0, 0.0, 0.0), diameter=40, hu=-600)
    changed = after.hu != chest.hu
    assert not (changed & (chest.hu != LUNG)).any()
    assert after.hu[29, 28, 30] == -600
    assert after.hu[chest.hu == LUNG].max() == -600


def test_ground_glass_keeps_the_texture_of_the_lung():
    """Emphysema fills less than it lacks: the same share of the air everywhere."""
    volume = uniform()
    noisy = volume.hu + np.random.default_rng(0).integers(-60, 61, volume.shape)
    volume = replace(volume, hu=noisy.astype(np.int16))
    everywhere = Anatomy(np.ones((5, 5, 5), bool), np.diag([10.0, 10, 10, 1]), (10, 10, 10))
    everywhere = replace(everywhere, lungs=everywhere.body)
    after = ground_glass(volume, everywhere, (25, 25, 25), diameter=30, hu=-500, edge=1)
    inside = np.s_[20:30, 20:30, 20:30]
    assert np.median(after.hu[inside]) == pytest.approx(-500, abs=6)
    share = (-500 + 850) / (30 + 850)
    spread = after.hu[inside].std() / volume.hu[inside].std()
    assert spread == pytest.approx(1 - share, abs=0.03)


def test_ground_glass_stays_within_the_lungs(chest, anatomy):
    at_the_wall = ground_glass(chest, anatomy, (-80.0, 0.0, 0.0), diameter=40)
    changed = at_the_wall.hu != chest.hu
    assert changed.any()
    assert (chest.hu[changed] == LUNG).all()


@pytest.mark.parametrize("hu", [-900, -850, 30, 100])
def test_ground_glass_must_lie_between_lung_and_fluid(chest, anatomy, hu):
    with pytest.raises(VolumeError, match=r"cannot be made at .*-850 HU"):
        ground_glass(chest, anatomy, (-50, 0, 0), diameter=40, hu=hu)


def test_there_is_no_ground_glass_where_there_is_no_lung(chest, anatomy):
    with pytest.raises(VolumeError, match="no aerated lung"):
        ground_glass(chest, anatomy, (0, 0, 0), diameter=8)


# --- Consolidation ---------------------------------------------------------------------------


def test_a_consolidation_has_its_ct_number_about_its_size_and_a_shape_of_its_own(chest, anatomy):
    first, second = (
        consolidation(chest, anatomy, (-50, 0, 0), diameter=40, seed=seed) for seed in (1, 2)
    )
    for lesion in (first, second):
        assert lesion.hu[chest.hu == LUNG].max() == 40
        assert litres(chest, lesion, 40 - LUNG) == pytest.approx(np.pi / 6 * 40**3, rel=0.35)
        assert (chest.hu[lesion.hu != chest.hu] < 40).all()
    assert not np.array_equal(first.hu, second.hu)
    again = consolidation(chest, anatomy, (-50, 0, 0), diameter=40, seed=1)
    assert np.array_equal(first.hu, again.hu)


def test_a_consolidation_needs_lung_around_it(chest, anatomy):
    with pytest.raises(VolumeError, match="there is no lung at"):
        consolidation(chest, anatomy, (0, 65, 0), diameter=8)


# --- Effusion --------------------------------------------------------------------------------


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("millilitres", [20, 100])
def test_an_effusion_has_its_volume_on_its_side_at_the_bottom(chest, anatomy, side, millilitres):
    after = pleural_effusion(chest, anatomy, side=side, millilitres=millilitres)
    assert litres(chest, after, 10 - LUNG) / 1000 == pytest.approx(millilitres, rel=0.1)
    z, _, x = np.nonzero(after.hu != chest.hu)
    assert ((x > 55) == (side == "left")).all()
    still_air = np.argwhere((after.hu == LUNG)[:, :, x.min() : x.max() + 1])
    assert z.mean() < still_air[:, 0].mean() - 10
    assert z.min() == 10


def test_fluid_is_higher_at_the_wall(chest, anatomy):
    after = pleural_effusion(chest, anatomy, side="right", millilitres=80)
    fluid = after.hu[10:50, 14:56, 14:50] > -100
    heights = fluid.sum(axis=0)
    assert heights[20, 1] > heights[20, 12] + 2
    assert heights[20, 1] > heights[20, 18] + 2  # beside a vessel


def test_a_supine_patient_has_the_fluid_at_the_back(chest, anatomy):
    after = pleural_effusion(chest, anatomy, side="left", millilitres=60, dependent=(0.0, 1.0, 0.0))
    y = np.nonzero(after.hu != chest.hu)[1]
    assert y.mean() > 45


def test_an_effusion_must_fit_and_have_a_side(chest, anatomy):
    with pytest.raises(VolumeError, match=r"does not fit the left lung, which holds \d+ ml"):
        pleural_effusion(chest, anatomy, side="left", millilitres=5000)
    with pytest.raises(VolumeError, match="side must be 'right' or 'left', got 'both'"):
        pleural_effusion(chest, anatomy, side="both", millilitres=50)
    with pytest.raises(VolumeError, match="dependent must be a direction"):
        pleural_effusion(chest, anatomy, side="left", millilitres=50, dependent=(0, 0, 0))


# --- Places and mistakes ---------------------------------------------------------------------


def test_sites_lie_deep_in_the_lung_of_their_side_from_head_to_foot(chest, anatomy):
    sites = lung_sites(anatomy)
    assert list(sites) == [f"{s} {h}" for s in SIDES for h in ("upper", "middle", "lower")]
    for name, point in sites.items():
        index = np.rint(chest.world_to_voxel[:3] @ [*point, 1]).astype(int)
        assert (point[0] > 0) == name.startswith("left")
        x, y, z = index
        around = chest.hu[z - 3 : z + 4, y - 3 : y + 4, x - 3 : x + 4]
        assert np.isin(around, (LUNG, VESSEL)).all()
    heights = [sites[f"right {name}"][2] for name in ("lower", "middle", "upper")]
    assert heights == sorted(heights)


def test_without_lungs_there_is_no_place():
    volume = uniform(40)
    bare = Anatomy(np.ones((5, 5, 5), bool), np.diag([10.0, 10, 10, 1]), (10, 10, 10))
    for make in (
        lambda: lung_sites(bare),
        lambda: ground_glass(volume, bare, (25, 25, 25), diameter=10),
        lambda: consolidation(volume, bare, (25, 25, 25), diameter=10),
        lambda: pleural_effusion(volume, bare, side="left", millilitres=1),
    ):
        with pytest.raises(VolumeError, match="no lungs were found"):
            make()


@pytest.mark.parametrize("name", ["diameter", "edge"])
@pytest.mark.parametrize("value", [0, -1, np.nan, np.inf, "10", True, None])
def test_lengths_that_are_none_are_refused_by_name(name, value):
    with pytest.raises(VolumeError, match=f"{name} must be a number of mm above zero"):
        nodule(uniform(), (25, 25, 25), **{"diameter": 10.0, name: value})


@pytest.mark.parametrize("value", [-1001, 3001, np.nan, "soft", True])
def test_impossible_ct_numbers_are_refused(value):
    with pytest.raises(VolumeError, match="hu must be a CT number from -1000 to 3000"):
        nodule(uniform(), (25, 25, 25), diameter=10, hu=value)


def test_centres_must_lie_in_the_volume():
    with pytest.raises(VolumeError, match=r"\(60, 25, 25\) lies outside volume, which spans"):
        nodule(uniform(), (60, 25, 25), diameter=10)
    for center in ((1, 2), (np.nan, 0, 0), 3.0):
        with pytest.raises(VolumeError, match="three numbers"):
            nodule(uniform(), center, diameter=10)


def test_a_nodule_at_the_edge_of_the_scan_is_cut_off(chest):
    corner = chest.affine[:3, 3]
    assert (nodule(chest, corner, diameter=20).hu != chest.hu).any()


# --- A real chest ----------------------------------------------------------------------------


def test_a_nodule_in_a_real_chest_casts_the_shadow_of_a_sphere(test_data: Path):
    """What it adds to the line integrals along its middle is that of its diameter."""
    scan = drr.read(test_data / "ct/lidc_idri_0001/cxr.nii.gz")
    prepared = prepare(scan, beyond=False)
    point = np.array(lung_sites(prepared.anatomy)["right middle"])
    ill = replace(prepared, volume=nodule(prepared.volume, point, diameter=30, edge=0.5))
    options = {"look": "raw", "field": "detector"}
    view = drr.View(shape=(256, 256), name="pa")
    with_it, without = (drr.project(p, view, **options) for p in (ill, prepared))
    added = with_it.line_integrals - without.line_integrals
    assert added.min() > -0.01 * added.max()
    row, column = np.unravel_index(int(added.argmax()), added.shape)
    seen = project_point(without.geometry, tuple(point.tolist()))
    np.testing.assert_allclose([row, column], seen, atol=5)
    # What 30 HU have above the lung that was there, along 30 mm of the sagittal direction.
    x, y, z = np.rint(scan.world_to_voxel[:3] @ [*point, 1]).astype(int)
    reach = round(15 / scan.spacing[1])
    before = scan.hu[z, y - reach : y + reach + 1, x - 3 : x + 4].astype(float).mean(axis=1)
    replaced = np.maximum(30 - before, 0).mean() / 1000
    assert replaced > 0.8
    assert added.max() == pytest.approx(30 * replaced * water_attenuation(60), rel=0.05)
