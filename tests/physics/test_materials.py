from __future__ import annotations

import itertools

import numpy as np
import pytest

from drr.errors import BeamError
from drr.physics.materials import Material, calibrate, find_material, material_names

# J. H. Hubbell and S. M. Seltzer, NISTIR 5632 (NIST Standard Reference Database 126), cm^2/g.
NIST_KEV = (20.0, 30.0, 40.0, 50.0, 60.0, 80.0, 100.0, 150.0)
NIST = {
    "water": (0.8096, 0.3756, 0.2683, 0.2269, 0.2059, 0.1837, 0.1707, 0.1505),
    "cortical bone": (4.001, 1.331, 0.6655, 0.4242, 0.3148, 0.2229, 0.1855, 0.1480),
    "adipose tissue": (0.5677, 0.3063, 0.2396, 0.2123, 0.1974, 0.1800, 0.1688, 0.1500),
    "soft tissue": (0.8230, 0.3790, 0.2688, 0.2264, 0.2048, 0.1823, 0.1693, 0.1492),
    "aluminium": (3.441, 1.128, 0.5685, 0.3681, 0.2778, 0.2018, 0.1704, 0.1378),
    "copper": (33.79, 10.92, 4.862, 2.613, 1.593, 0.7630, 0.4584, 0.2217),
}


@pytest.mark.parametrize("name", NIST)
def test_mass_attenuation_is_nists_within_half_a_percent(name):
    np.testing.assert_allclose(
        Material(name=name).mass_attenuation(NIST_KEV), NIST[name], rtol=5e-3
    )


def test_iodine_jumps_at_its_k_edge():
    # NISTIR 5632: 6.553 just below 33.17 keV and 35.79 just above.
    below, above = Material(name="iodine").mass_attenuation([33.165, 33.175])
    assert below == pytest.approx(6.553, rel=0.01)
    assert above == pytest.approx(35.79, rel=0.01)


def test_attenuation_is_per_mm_and_follows_density():
    assert Material(name="water").attenuation(60.0) == pytest.approx(0.02059, rel=2e-3)
    thin = Material(name="cortical bone", density=0.96)
    full = Material(name="cortical bone")
    np.testing.assert_allclose(thin.attenuation(NIST_KEV) * 2, full.attenuation(NIST_KEV))


def test_densities_and_compositions_are_tabulated():
    assert Material(name="cortical bone").density == 1.92
    assert Material(name="air").density == 0.001205
    assert Material(name="caesium iodide").composition == "CsI"
    assert len(material_names()) == 15


def test_ct_numbers():
    assert Material(name="water").ct_number() == 0.0
    assert Material(name="air").ct_number() == pytest.approx(-999, abs=0.5)
    assert -110 < Material(name="adipose tissue").ct_number() < -70
    assert 40 < Material(name="blood").ct_number() < 65
    assert 1400 < Material(name="cortical bone").ct_number() < 1800
    assert (
        Material(name="cortical bone").ct_number(60.0) > Material(name="cortical bone").ct_number()
    )


def test_repr_round_trips_and_find_passes_materials():
    bone = Material(name="cortical bone", density=1.5)
    assert eval(repr(bone)) == bone
    assert find_material(bone) is bone
    assert find_material("water") == Material(name="water")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("aluminum", "did you mean 'aluminium'"),
        ("cortical", "did you mean 'cortical bone'"),
        ("unobtainium", "there is no material 'unobtainium'"),
        (None, "there is no material None"),
        (["water"], "there is no material"),
    ],
)
def test_unknown_materials_are_refused_with_the_nearest(name, message):
    with pytest.raises(BeamError, match=message):
        Material(name=name)


@pytest.mark.parametrize("density", [-1.0, 31.0, float("nan"), "1", True])
def test_densities_that_are_none_are_refused(density):
    with pytest.raises(BeamError, match="density of water must be 0 to 30 g/cm"):
        Material(name="water", density=density)


@pytest.mark.parametrize("kev", [9.9, 160.1, float("nan"), [60.0, 1000.0]])
def test_energies_outside_the_tables_are_refused(kev):
    with pytest.raises(BeamError, match=r"outside the tables \(10 to 160 keV\)"):
        Material(name="water").attenuation(kev)


@pytest.mark.parametrize("kev", ["60", None, True])
def test_energies_that_are_no_numbers_are_refused(kev):
    with pytest.raises(BeamError, match="numbers in keV"):
        Material(name="water").attenuation(kev)


def extended(hu, knots, values):
    """Straight between the knots, the last slope beyond."""
    slope = (values[-1] - values[-2]) / (knots[-1] - knots[-2])
    return np.interp(hu, knots, values) + np.maximum(hu - knots[-1], 0) * slope


CALIBRATIONS = [
    {},
    {"fat": False},
    {"ct_energy_kev": 60.0},
    {"contrast": (150, 500)},
    {"contrast": (150, 200), "metal": "titanium"},
    {"fat": False, "contrast": (100, 1600), "metal": "stainless steel"},
    {"metal": "titanium", "metal_hu": 1200},
]


@pytest.mark.parametrize("options", CALIBRATIONS)
def test_every_mixture_has_the_ct_number_it_was_read_from(options):
    knots, densities = calibrate(**options)
    assert all(a < b for a, b in itertools.pairwise(knots))
    hu = np.arange(-1000.0, 8000.0)
    energy = options.get("ct_energy_kev", 70.0)
    mu = sum(
        extended(hu, knots, values) * Material(name=name).attenuation(energy)
        for name, values in densities.items()
    )
    water = Material(name="water").attenuation(energy)
    np.testing.assert_allclose(mu / water * 1000 - 1000, hu, atol=1e-6)
    assert all(value >= 0 for values in densities.values() for value in values)


def test_anchors_are_pure_materials():
    knots, densities = calibrate()
    for name in ("adipose tissue", "water", "cortical bone"):
        shares = {
            other: extended(Material(name=name).ct_number(), knots, values)
            for other, values in densities.items()
        }
        assert shares.pop(name) == pytest.approx(1.0)
        assert shares == dict.fromkeys(shares, pytest.approx(0.0, abs=1e-12))


def test_density_of_tissues_is_that_of_schneider_2000():
    """W. Schneider, T. Bortfeld and W. Schlegel, Phys. Med. Biol. 45 (2000) 459, section 3.2."""
    knots, densities = calibrate()
    tabulated = {name: Material(name=name).density for name in densities}

    def density(hu):
        return sum(extended(hu, knots, values) * tabulated[m] for m, values in densities.items())

    for hu in (-98.0, -50.0, 0.0, 14.0):
        assert density(hu) == pytest.approx(1.018 + 0.893e-3 * hu, rel=0.03)
    for hu in (23.0, 60.0, 100.0):
        assert density(hu) == pytest.approx(1.003 + 1.169e-3 * hu, rel=0.03)
    for hu in (150.0, 400.0, 800.0, 1200.0, 1600.0):
        assert density(hu) == pytest.approx(1.017 + 0.592e-3 * hu, rel=0.03)


def test_contrast_is_iodine_of_plausible_concentration_and_never_bone():
    knots, densities = calibrate(contrast=(150, 500))
    hu = np.array([250.0, 350.0, 500.0])
    milligrams = extended(hu, knots, densities["iodine"]) * 4930.0
    # Some 25 to 30 HU for each mg/ml at 120 kVp (K. T. Bae, Radiology 256 (2010) 32).
    np.testing.assert_allclose((hu - 56) / milligrams, 26.0, rtol=0.1)
    assert not extended(hu, knots, densities["cortical bone"]).any()
    np.testing.assert_allclose(extended(hu, knots, densities["water"]), 1.056, atol=0.002)
    assert extended(np.array([140.0, 600.0]), knots, densities["iodine"]).any() == 0


def test_metal_replaces_bone_above_its_ct_number():
    knots, densities = calibrate(metal="titanium", metal_hu=3000)
    at = {name: extended(3000.0, knots, values) for name, values in densities.items()}
    assert at["titanium"] == pytest.approx(4000 / (1000 + Material(name="titanium").ct_number()))
    assert at["cortical bone"] == at["water"] == 0.0
    assert extended(2950.0, knots, densities["titanium"]) == 0.0
    pure = Material(name="titanium").ct_number()
    assert extended(pure, knots, densities["titanium"]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ct_energy_kev": 39}, "CT must be 40 to 120 keV, got 39"),
        ({"ct_energy_kev": "70"}, "CT must be 40 to 120 keV, got '70'"),
        ({"contrast": (50, 500)}, "between 100 and 3000 HU, got 50 to 500"),
        ({"contrast": (500, 150)}, "got 500 to 150"),
        ({"contrast": (150, 160)}, "at least 50 HU"),
        ({"contrast": 300}, "lowest and the highest HU"),
        ({"contrast": (1, 2, 3)}, "lowest and the highest HU"),
        ({"contrast": (float("nan"), 400)}, "got nan to 400"),
        ({"metal": "titan"}, "did you mean 'titanium'"),
        ({"metal": "water"}, "water has 0 HU, no more than metal_hu"),
        ({"metal": "titanium", "metal_hu": -5}, "metal_hu must be 150 to 30000 HU, got -5"),
        ({"metal_hu": "x"}, "metal_hu must be"),
        ({"metal": "titanium", "metal_hu": 500, "contrast": (150, 500)}, "metal_hu must be 600"),
    ],
)
def test_calibrations_that_cannot_be_are_refused(options, message):
    with pytest.raises(BeamError, match=message):
        calibrate(**options)
