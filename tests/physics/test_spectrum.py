from __future__ import annotations

import numpy as np
import pytest
import spekpy

from drr.errors import BeamError
from drr.physics.materials import Material
from drr.physics.spectrum import Spectrum, absorbed_energy, kvp_range

SYMBOL = {"aluminium": "Al", "copper": "Cu"}


def tube(spectrum: Spectrum) -> spekpy.Spek:
    """spekpy's own beam: its spectrum, its attenuation coefficients, its kerma."""
    reference = spekpy.Spek(kvp=spectrum.kvp, th=12, z=100, mas=1)
    for material, mm in spectrum.filtration:
        reference.filter(SYMBOL[material], mm)
    return reference


@pytest.mark.parametrize(
    "filtration",
    [
        (("aluminium", 2.5),),
        (("aluminium", 3.0), ("copper", 0.2)),
        (("aluminium", 23.5),),
    ],
)
@pytest.mark.parametrize("kvp", [60, 73, 97.5, 120, 150])
def test_half_value_layer_is_spekpys_within_half_a_percent(kvp, filtration):
    spectrum = Spectrum(kvp=kvp, filtration=filtration)
    reference = tube(spectrum)
    assert spectrum.half_value_layer() == pytest.approx(reference.get_hvl1(), rel=5e-3)
    assert spectrum.mean_energy == pytest.approx(reference.get_emean(), rel=3e-3)
    assert spectrum.air_kerma == pytest.approx(reference.get_kerma(), rel=1e-2)


def test_a_half_value_layer_halves_the_air_kerma():
    spectrum = Spectrum(kvp=90)
    for material in ("aluminium", "copper"):
        layer = spectrum.half_value_layer(material)
        behind = Spectrum(kvp=90, filtration=(*spectrum.filtration, (material, layer)))
        assert behind.air_kerma / spectrum.air_kerma == pytest.approx(0.5, rel=1e-9)


def test_photons_of_the_standard_beam_rqa5():
    """IEC 62220-1-1:2015, table 2: 70 kV behind 21 mm of aluminium, 30174 /(mm^2 uGy)."""
    rqa5 = Spectrum(kvp=70, filtration=(("aluminium", 2.5 + 21.0),))
    assert rqa5.photons_per_microgray == pytest.approx(30174, rel=0.03)
    assert rqa5.half_value_layer() == pytest.approx(6.8, rel=0.03)


def test_the_default_is_a_chest_beam():
    spectrum = Spectrum()
    assert (spectrum.kvp, spectrum.filtration) == (120.0, (("aluminium", 3.0),))
    assert 50 < spectrum.mean_energy < 60
    assert spectrum.energies_kev[-1] == 119.5
    assert spectrum.fluence.shape == spectrum.energies_kev.shape


def test_tungstens_lines_stay_where_they_are_between_tabulated_voltages():
    fluence = Spectrum(kvp=122.3).fluence
    energies = Spectrum(kvp=122.3).energies_kev
    assert energies[fluence.argmax()] in (58.5, 59.5)


def test_nothing_above_the_tube_voltage():
    for kvp in (60.0, 61.0, 149.9):
        spectrum = Spectrum(kvp=kvp)
        assert spectrum.energies_kev.max() < kvp
        assert (spectrum.fluence > 0).all()


def test_filters_harden_and_add_up():
    bare, filtered = Spectrum(kvp=80), Spectrum(kvp=80, filtration={"aluminium": 3, "copper": 0.3})
    assert filtered.filtration == (("aluminium", 3.0), ("copper", 0.3))
    assert filtered.mean_energy > bare.mean_energy + 5
    twice = Spectrum(kvp=80, filtration=[("aluminium", 1.0), ("aluminium", 2.0)])
    np.testing.assert_allclose(twice.fluence, bare.fluence)


def test_repr_round_trips():
    spectrum = Spectrum(kvp=102.5, filtration=(("copper", 0.1),))
    assert eval(repr(spectrum)) == spectrum
    assert hash(spectrum) == hash(eval(repr(spectrum)))


def test_scintillator_absorbs_all_when_thick_and_in_proportion_when_thin():
    energies = np.array([30.0, 60.0, 100.0])
    np.testing.assert_allclose(absorbed_energy(energies, "caesium iodide", 1e3), energies)
    thin = absorbed_energy(energies, "caesium iodide", 1e-6)
    mu = Material(name="caesium iodide").attenuation(energies)
    np.testing.assert_allclose(thin, energies * mu * 1e-6, rtol=1e-4)
    half = absorbed_energy(60.0, "caesium iodide", 0.5)
    assert half == pytest.approx(
        60 * (1 - np.exp(-Material(name="caesium iodide").attenuation(60.0) * 0.5))
    )


@pytest.mark.parametrize("kvp", [59.9, 150.1, -80, float("nan"), "120", None, True])
def test_voltages_outside_the_tables_are_refused(kvp):
    assert kvp_range() == (60.0, 150.0)
    with pytest.raises(BeamError, match="tube voltage must be 60 to 150 kVp, got"):
        Spectrum(kvp=kvp)


@pytest.mark.parametrize(
    ("filtration", "message"),
    [
        ((("copper", -0.1),), "filtration of copper must be 0 to 100 mm, got -0.1"),
        ((("copper", 101),), "0 to 100 mm"),
        ((("copper", float("inf")),), "0 to 100 mm"),
        ({"aluminium": "thick"}, "filtration of aluminium must be 0 to 100 mm, got 'thick'"),
        ((("aluminum", 1.0),), "did you mean 'aluminium'"),
        (("copper", 0.1), "pairs of a material and mm"),
        (3.0, "pairs of a material and mm"),
        (None, "pairs of a material and mm"),
    ],
)
def test_filters_that_cannot_be_are_refused(filtration, message):
    with pytest.raises(BeamError, match=message):
        Spectrum(filtration=filtration)


def test_half_value_layer_of_an_unknown_material_is_refused():
    with pytest.raises(BeamError, match="no material 'tin'"):
        Spectrum().half_value_layer("tin")
