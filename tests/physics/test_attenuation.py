from __future__ import annotations

import numpy as np
import pytest

from drr.errors import BeamError, ProjectionError
from drr.physics.attenuation import Attenuation, tissue, water, water_attenuation
from drr.physics.materials import Material

BONE = Attenuation(hu=(-1000.0, 0.0, 150.0, 3000.0), mu=(0.0, 0.02, 0.023, 0.11), name="two-slope")


@pytest.mark.parametrize(("kev", "per_cm"), [(20, 0.8096), (60, 0.2059), (150, 0.1505)])
def test_water_is_the_tabulated_value_in_per_mm(kev, per_cm):
    assert water_attenuation(kev) == pytest.approx(per_cm / 10, rel=1e-6)


def test_water_falls_with_energy_between_table_entries():
    assert water_attenuation(60) > water_attenuation(70) > water_attenuation(80)


def test_water_scaling():
    mu = water(60)([-2000, -1000, -500, 0, 1000])
    np.testing.assert_allclose(mu, np.array([0, 0, 0.5, 1, 2]) * 0.02059, rtol=1e-6)


@pytest.mark.parametrize("attenuation", [water(), BONE])
def test_table_and_hinges_are_the_same_function(attenuation):
    mapping = attenuation.mapping
    hu = np.arange(-32768, 32768)
    hinges = np.zeros(65536)
    for threshold, slope in zip(mapping.thresholds, mapping.slopes, strict=True):
        hinges += slope * np.maximum(hu - threshold, 0)
    np.testing.assert_allclose(mapping.table, attenuation(hu), rtol=1e-6)
    np.testing.assert_allclose(hinges, attenuation(hu), rtol=1e-5, atol=1e-7)


def test_metal_stays_brighter_than_bone():
    assert BONE(20000) > BONE(3000)


def test_repr_and_record_round_trip():
    assert eval(repr(BONE)) == BONE
    assert Attenuation.from_dict(BONE.to_dict()) == BONE


@pytest.mark.parametrize(
    ("hu", "mu", "message"),
    [
        ((0.0,), (0.0,), "at least two"),
        ((0.0, 0.0), (0.0, 1.0), "ascending"),
        ((0.0, 1.0), (0.5, 1.0), "start at zero"),
        ((0.0, 1.0, 2.0), (0.0, 1.0, 0.5), "fall"),
        ((0.0, float("nan")), (0.0, 1.0), "finite"),
        (("a", 1.0), (0.0, 1.0), "numbers"),
    ],
)
def test_refuses_what_is_no_attenuation(hu, mu, message):
    with pytest.raises(ProjectionError, match=message):
        Attenuation(hu=hu, mu=mu)


@pytest.mark.parametrize("kev", [5, 1000, float("nan"), "60"])
def test_refuses_energies_outside_the_table(kev):
    with pytest.raises(ProjectionError, match="keV"):
        water(kev)


@pytest.mark.parametrize("kev", [40.0, 60.0, 80.0])
def test_tissue_is_water_at_water_and_the_tabulated_material_at_its_ct_number(kev):
    mu = tissue(kev)
    for name, rel in (("water", 1e-6), ("adipose tissue", 1e-4), ("cortical bone", 1e-4)):
        material = Material(name=name)
        assert mu(material.ct_number()) == pytest.approx(material.attenuation(kev), rel=rel)
    # Blood and lung are water of their density, for which energies below the CT's cost most.
    for name in ("blood", "lung tissue", "soft tissue"):
        material = Material(name=name)
        assert mu(material.ct_number()) == pytest.approx(material.attenuation(kev), rel=0.016)


def test_tissue_at_the_ct_energy_is_water_scaling():
    hu = np.arange(-1000, 3001)
    water_70 = float(Material(name="water").attenuation(70.0))
    np.testing.assert_allclose(
        tissue(70.0, ct_energy_kev=70.0)(hu), water_70 * (1 + hu / 1000), atol=2e-7
    )


def test_bone_is_heavier_than_water_scaling_below_the_ct_energy_and_lighter_above():
    scaled = {kev: Material(name="water").attenuation(kev) * 2.0 for kev in (50, 60, 90)}
    ratio = {kev: float(tissue(kev)(1000.0) / scaled[kev]) for kev in scaled}
    assert ratio[50] > 1.2 > ratio[60] > 1.05 > 0.95 > ratio[90]


def test_tissue_has_few_knots_and_says_its_energy():
    assert len(tissue().mapping.slopes) == 5
    assert len(tissue(fat=False).mapping.slopes) == 2
    assert tissue(63.5).name == "tissue-63.5keV"
    assert eval(repr(tissue(63.5))) == tissue(63.5)
    assert Attenuation.from_dict(tissue().to_dict()) == tissue()


@pytest.mark.parametrize("kev", [5, 161, float("nan"), "60", None, True, [60.0, 70.0]])
def test_tissue_refuses_energies_outside_the_tables(kev):
    with pytest.raises(BeamError, match="keV"):
        tissue(kev)


@pytest.mark.parametrize("kev", [30, 130, float("nan"), "70", None])
def test_tissue_refuses_ct_energies_of_no_scanner(kev):
    with pytest.raises(BeamError, match="CT must be 40 to 120 keV"):
        tissue(60.0, ct_energy_kev=kev)
