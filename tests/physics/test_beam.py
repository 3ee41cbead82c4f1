from __future__ import annotations

import json

import numpy as np
import pytest
import spekpy
import xraydb

from drr import Geometry, Volume
from drr.errors import BeamError
from drr.kernels.cpu.projection.project import project_channels
from drr.physics.attenuation import Attenuation, tissue
from drr.physics.beam import Beam
from drr.physics.materials import Material
from drr.physics.tables import read_materials
from drr.physics.tables.make import mass_attenuation

# J. H. Hubbell and S. M. Seltzer, NISTIR 5632 (NIST Standard Reference Database 126): keV to
# cm^2/g, and g/cm^3.
NIST = {
    "water": (1.0, {40.0: 0.2683, 50.0: 0.2269, 60.0: 0.2059, 80.0: 0.1837, 100.0: 0.1707}),
    "cortical bone": (
        1.92,
        {40.0: 0.6655, 50.0: 0.4242, 60.0: 0.3148, 80.0: 0.2229, 100.0: 0.1855},
    ),
    "aluminium": (2.699, {40.0: 0.5685, 50.0: 0.3681, 60.0: 0.2778, 80.0: 0.2018, 100.0: 0.1704}),
}
BEAMS = [
    Beam(),
    Beam(kvp=60, filtration=(("aluminium", 2.5),)),
    Beam(kvp=83, filtration=(("aluminium", 3.0), ("copper", 0.2))),
    Beam(kvp=150, scintillator="gadolinium oxysulfide", scintillator_mm=0.2),
]


def slab(thicknesses_hu: list[tuple[float, int]], *, planes: int = 24) -> tuple[Volume, Geometry]:
    """Layers of given mm and HU along y, in air, and a parallel beam through them along y.

    All layers have `planes` planes of voxels, as thick as needed: one layer to a volume, or
    layers of equal thickness.
    """
    step = thicknesses_hu[0][0] / planes
    hu = np.full((6, planes * len(thicknesses_hu) + 4, 8), -1000, np.int16)
    for i, (mm, value) in enumerate(thicknesses_hu):
        assert mm == thicknesses_hu[0][0]
        hu[:, 2 + i * planes : 2 + (i + 1) * planes] = value
    volume = Volume.from_stored(hu, np.diag([10.0, step, 10.0, 1.0]))
    geometry = Geometry(
        direction=(0, -1, 0),
        detector_center=(35.0, -500.0, 25.0),
        u=(-5, 0, 0),
        v=(0, 0, -5),
        shape=(4, 6),
    )
    return volume, geometry


def projected(volume: Volume, geometry: Geometry, channels: tuple[Attenuation, ...]) -> np.ndarray:
    mappings = [channel.mapping for channel in channels]
    return project_channels(volume.hu, mappings, geometry.rays(volume.affine))


@pytest.mark.parametrize("kev", [40.0, 50.0, 60.0, 80.0, 100.0])
@pytest.mark.parametrize("name", NIST)
def test_a_projected_slab_of_one_half_value_layer_halves_one_energy(name, kev):
    density, mass_attenuation_cm2_g = NIST[name]
    half_value_layer = np.log(2) / (density * mass_attenuation_cm2_g[kev] / 10)
    if name == "aluminium":  # no tissue: a slab of 0 HU stands for it
        mu = float(Material(name=name).attenuation(kev))
        attenuation, hu = Attenuation(hu=(-1000.0, 0.0), mu=(0.0, mu)), 0
    else:
        attenuation, hu = tissue(kev), round(Material(name=name).ct_number())
    image = projected(*slab([(half_value_layer, hu)]), (attenuation,))[0]
    np.testing.assert_allclose(np.exp(-image), 0.5, rtol=0.01)
    np.testing.assert_allclose(image, np.log(2), rtol=0.01)


def quadrature(beam: Beam, slabs: dict[str, float]) -> float:
    """Transmission of slabs in mm from spekpy's spectrum and xraydb, in half the bin width."""
    tube = spekpy.Spek(kvp=beam.kvp, th=12, dk=0.5)
    energies, fluence = (np.asarray(values) for values in tube.get_spectrum())
    energies, fluence = energies[energies > 10], fluence[energies > 10]

    def mu(name: str) -> np.ndarray:
        row = read_materials()[name]
        return mass_attenuation(row["composition"], energies) * float(row["density_g_per_cm3"]) / 10

    for name, mm in beam.filtration:
        fluence = fluence * np.exp(-mu(name) * mm)
    signal = fluence * energies * (1 - np.exp(-mu(beam.scintillator) * beam.scintillator_mm))
    behind = signal * np.exp(-sum(mu(name) * mm for name, mm in slabs.items()))
    return float(behind.sum() / signal.sum())


@pytest.mark.parametrize("beam", BEAMS, ids=lambda beam: f"{beam.kvp:g}kVp")
@pytest.mark.parametrize(
    "slabs",
    [
        {"water": 5.0},
        {"water": 50.0},
        {"water": 200.0},
        {"water": 350.0},
        {"cortical bone": 0.3},
        {"cortical bone": 5.0},
        {"cortical bone": 40.0},
        {"water": 150.0, "cortical bone": 12.0},
        {"water": 250.0, "cortical bone": 50.0},
    ],
    ids=str,
)
def test_transmission_of_slabs_is_the_direct_quadrature_within_half_a_percent(beam, slabs):
    thickness = np.zeros((2, 1, 1), np.float32)
    for name, mm in slabs.items():
        thickness[beam.materials.index(name)] = mm
    transmission = np.exp(-beam.line_integrals(thickness))
    assert transmission.item() == pytest.approx(quadrature(beam, slabs), rel=5e-3)


def test_a_projected_phantom_is_the_direct_quadrature_within_half_a_percent():
    beam = Beam(kvp=100)
    bone = round(Material(name="cortical bone").ct_number())
    volume, geometry = slab([(20.0, 0), (20.0, bone), (20.0, 0), (20.0, 0)])
    thickness = projected(volume, geometry, beam.channels)
    np.testing.assert_allclose(thickness[0], 60.0, rtol=1e-3)
    np.testing.assert_allclose(thickness[1], 20.0, rtol=1e-3)
    expected = quadrature(beam, {"water": 60.0, "cortical bone": 20.0})
    image = beam.line_integrals(thickness)
    assert image.shape == geometry.shape
    assert image.dtype == np.float32
    np.testing.assert_allclose(np.exp(-image), expected, rtol=5e-3)


def test_the_aluminium_half_value_layer_of_the_detected_beam_halves_it():
    """The channel sum with aluminium in place of an implant: metal needs no other code."""
    beam = Beam(metal="aluminium", metal_hu=2000)
    thickness = np.zeros((3, 1, 1), np.float32)
    thickness[beam.materials.index("aluminium")] = 7.0
    transmission = np.exp(-beam.line_integrals(thickness))
    assert transmission.item() == pytest.approx(quadrature(beam, {"aluminium": 7.0}), rel=5e-3)


@pytest.mark.parametrize("beam", BEAMS, ids=lambda beam: f"{beam.kvp:g}kVp")
def test_the_table_is_the_sum_over_the_spectrum(beam):
    rng = np.random.default_rng(5)
    thickness = rng.uniform(0, 1, (2, 60, 100)) ** 3 * np.array([600, 200])[:, None, None]
    thickness[:, :10] = rng.uniform(0, 2, (2, 10, 100))  # where the beam hardens fastest
    energies = beam.spectrum.energies_kev
    mu = np.stack([Material(name=name).attenuation(energies) for name in beam.materials])
    exact = -np.log(np.exp(-np.tensordot(thickness, mu, (0, 0))) @ beam.weights)
    np.testing.assert_allclose(beam.line_integrals(thickness), exact, atol=3e-4, rtol=2e-6)


def test_rays_beyond_the_table_are_summed_and_agree_with_it_at_its_edge():
    beam = Beam()
    edges = np.array([[[600.0, 600.01, 30.0, 30.0, 2000.0]], [[0.0, 0.0, 200.0, 200.01, 900.0]]])
    inside, outside, low, high, far = beam.line_integrals(edges)[0]
    assert outside - inside == pytest.approx(0.01 * 0.0165, abs=3e-4)
    assert high - low == pytest.approx(0.01 * 0.03, abs=3e-4)
    assert np.isfinite(far)
    assert far > 60


def test_thickness_a_little_below_zero_goes_on_straight():
    beam = Beam()
    below, zero, above = beam.line_integrals(np.array([[[-0.2, 0.0, 0.2]], [[-0.1, 0.0, 0.1]]]))[0]
    assert zero == 0.0
    assert below == pytest.approx(-above, rel=0.01)


@pytest.mark.parametrize("kvp", [60, 80, 100, 120, 140])
def test_next_to_nothing_is_never_less_than_nothing(kvp):
    beam = Beam(kvp=kvp, metal="titanium")
    thickness = np.random.default_rng(0).uniform(0, 1e-7, (len(beam.materials), 20, 20))
    thickness[:, :10] = 0
    thickness[2:, ::2] = 0
    assert beam.line_integrals(thickness).min() >= 0


@pytest.mark.parametrize("count", [2, 3, 4])
def test_any_number_of_channels(count):
    beam = Beam(contrast=(150, 500) if count > 2 else None, metal="titanium" if count > 3 else None)
    assert len(beam.materials) == len(beam.channels) == count
    assert beam.materials[:2] == ("water", "cortical bone")
    assert tuple(channel.name for channel in beam.channels) == beam.materials
    thickness = np.linspace(0, 3, count * 12).reshape(count, 3, 4)
    slabs = dict(zip(beam.materials, thickness[:, 1, 2], strict=True))
    transmission = np.exp(-beam.line_integrals(thickness)[1, 2])
    assert transmission == pytest.approx(quadrature(beam, slabs), rel=5e-3)


def test_absent_materials_change_nothing():
    plain, full = Beam(), Beam(contrast=(150, 500), metal="titanium")
    thickness = np.abs(np.random.default_rng(1).normal(0, 60, (2, 20, 30)))
    more = np.concatenate([thickness, np.zeros((2, 20, 30))])
    np.testing.assert_array_equal(plain.line_integrals(thickness), full.line_integrals(more))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"contrast": (150, 500), "metal": "titanium"},
        {"contrast": (130, 700), "metal": "stainless steel", "ct_energy_kev": 65},
    ],
)
def test_channels_together_have_the_ct_number_and_are_hinges(options):
    beam = Beam(**options)
    hu = np.concatenate([np.arange(-1000, -199), np.arange(4000)])  # all but fat
    energy = beam.ct_energy_kev
    mu = sum(c(hu) * Material(name=c.name).attenuation(energy) for c in beam.channels)
    water = Material(name="water").attenuation(energy)
    np.testing.assert_allclose(mu / water * 1000 - 1000, hu, atol=0.02)
    for channel in beam.channels:
        mapping = channel.mapping
        assert 1 < mapping.slopes.size <= 10, channel
        hinges = sum(
            slope * np.maximum(hu - threshold, np.float32(0))
            for slope, threshold in zip(mapping.slopes, mapping.thresholds, strict=True)
        )
        np.testing.assert_allclose(hinges, channel(hu), atol=4e-5 * channel(hu).max())


def test_default_channels_are_few_and_bone_starts_high():
    water, bone = Beam().channels
    assert (water.mapping.slopes.size, bone.mapping.slopes.size) == (6, 2)
    assert bone.hu[0] == 100.0
    assert not bone(np.arange(-1024, 101)).any()


def test_at_the_effective_energy_the_channels_are_tissue():
    beam = Beam(kvp=90)
    hu = np.arange(-1000, 1500)
    energy = beam.effective_energy
    mu = sum(c(hu) * Material(name=c.name).attenuation(energy) for c in beam.channels)
    np.testing.assert_allclose(mu, tissue(energy)(hu), atol=2e-8)


@pytest.mark.parametrize("kvp", [60, 90, 120, 150])
def test_fat_as_water_is_right_to_three_thousandths(kvp):
    beam = Beam(kvp=kvp)
    fat_hu = round(Material(name="adipose tissue").ct_number())
    volume, geometry = slab([(40.0, fat_hu), (40.0, 0), (40.0, 0), (40.0, 0)])
    image = beam.line_integrals(projected(volume, geometry, beam.channels))
    exact = -np.log(quadrature(beam, {"adipose tissue": 40.0, "water": 120.0}))
    np.testing.assert_allclose(image, exact, rtol=3e-3)


def test_effective_energy_rises_with_voltage_and_filter():
    soft, default, hard = Beam(kvp=60), Beam(), Beam(kvp=150, filtration={"copper": 0.5})
    assert 35 < soft.effective_energy < 45 < default.effective_energy < 65 < hard.effective_energy
    mu = xraydb.material_mu("water", default.effective_energy * 1e3) / 10
    transmission = quadrature(default, {"water": 200.0})
    assert np.exp(-mu * 200) == pytest.approx(transmission, rel=0.01)


def test_weights_are_shares_of_the_open_field():
    beam = Beam()
    assert beam.weights.sum() == pytest.approx(1.0)
    assert beam.weights.shape == beam.spectrum.energies_kev.shape
    assert beam.line_integrals(np.zeros((2, 3, 3))).any() == 0


@pytest.mark.parametrize(
    "beam", [*BEAMS, Beam(contrast=(150.0, 500.0), metal="titanium", metal_hu=2900.0)]
)
def test_repr_and_record_round_trip(beam):
    assert eval(repr(beam)) == beam
    assert Beam.from_dict(json.loads(json.dumps(beam.to_dict()))) == beam
    assert hash(beam) == hash(eval(repr(beam)))


def test_equal_beams_in_any_spelling():
    assert Beam(kvp=120, filtration={"aluminium": 3}, contrast=[150, 500]) == Beam(
        contrast=(150.0, 500.0)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kvp": 200}, "tube voltage must be 60 to 150 kVp, got 200"),
        ({"filtration": (("copper", -1),)}, "filtration of copper must be 0 to 100 mm, got -1"),
        ({"filtration": (("cooper", 1),)}, "did you mean 'copper'"),
        ({"scintillator": "cesium iodide"}, "did you mean 'caesium iodide'"),
        ({"scintillator_mm": 0}, "scintillator_mm must be 0.01 to 10 mm, got 0"),
        ({"ct_energy_kev": 20}, "CT must be 40 to 120 keV"),
        ({"contrast": (500, 100)}, "contrast must be a range"),
        ({"metal": "titan"}, "did you mean 'titanium'"),
        ({"metal_hu": None}, "metal_hu must be"),
    ],
)
def test_beams_that_cannot_be_are_refused(options, message):
    with pytest.raises(BeamError, match=message):
        Beam(**options)


def test_unknown_keys_of_a_record_are_refused_by_name():
    with pytest.raises(BeamError, match="unknown beam key 'kv'; did you mean 'kvp'"):
        Beam.from_dict({"kv": 80})
    with pytest.raises(BeamError, match="unknown beam key 'zebra'; a beam has the keys kvp, "):
        Beam.from_dict({"zebra": 1})


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 4, 4), (2, 4), (4, 4)])
def test_another_number_of_channels_is_refused(shape):
    with pytest.raises(BeamError, match=r"needs 2 images of thickness \(water, cortical bone\)"):
        Beam().line_integrals(np.zeros(shape))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_thickness_that_is_not_finite_is_refused(value):
    with pytest.raises(BeamError, match="finite"):
        Beam().line_integrals(np.full((2, 2, 2), value))
