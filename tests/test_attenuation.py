from __future__ import annotations

import numpy as np
import pytest

from drr.attenuation import Attenuation, water, water_attenuation
from drr.errors import ProjectionError

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
