from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from drr.errors import BeamError
from drr.geometry.geometry import Geometry
from drr.physics.detector import DETECTORS, FLUENCE_PER_AIR_KERMA, Blur, Detector, parse_detector
from drr.physics.scatter import Grid, Scatter
from drr.physics.tube import Collimation, Heel

ALL = Detector(
    scatter=Scatter(),
    grid=Grid(ratio=8),
    receptor_air_kerma=2.0,
    detective_quantum_efficiency=0.5,
    electronic_noise=5.0,
    element_pitch=0.2,
    focal_spot=1.2,
    blur=Blur(),
    heel=Heel(anode="left"),
    collimation=Collimation(size=(70.0, 80.0), center=(3.0, -2.0)),
)


def geometry(rows=200, columns=None, pitch=0.5, distance=1800.0, **changes) -> Geometry:
    """A PA view on the origin."""
    values = {
        "source": (0.0, distance, 0.0),
        "detector_center": (0.0, 0.0, 0.0),
        "u": (pitch, 0.0, 0.0),
        "v": (0.0, 0.0, -pitch),
        "shape": (rows, columns or rows),
    }
    return Geometry(**(values | changes))


def flat(view: Geometry, p: float = 0.0) -> np.ndarray:
    return np.full(view.shape, p, np.float32)


def parallel(**changes) -> Geometry:
    return geometry(source=None, direction=(0.0, -1.0, 0.0), **changes)


def test_off_is_the_input_bit_for_bit():
    view = geometry(31, 40)
    p = np.random.default_rng(1).normal(3, 5, (31, 40)).astype(np.float32)
    for detector in (
        Detector(),
        DETECTORS["ideal"],
        Detector(air_kerma=0, focal_spot=0.0, electronic_noise=0),
        ALL.without(*ALL.effects),
    ):
        out = detector.detect(p, view)
        np.testing.assert_array_equal(out, p)
        assert out.dtype == np.float32
        assert not np.shares_memory(out, p)


def test_effects_are_on_by_name_and_off_by_name():
    assert Detector().effects == ()
    assert set(ALL.effects) == {
        *("scatter", "grid", "receptor_air_kerma", "electronic_noise"),
        *("focal_spot", "blur", "heel", "collimation"),
    }
    assert "scatter" not in ALL.without("scatter").effects
    with pytest.raises(BeamError, match="no effect 'scater'; did you mean 'scatter'"):
        ALL.without("scater")


@pytest.mark.parametrize(
    "effect", ["scatter", "grid", "receptor_air_kerma", "focal_spot", "blur", "heel", "collimation"]
)
def test_every_effect_changes_the_image_and_nothing_fails_without_it(effect):
    view = geometry()
    p = np.tile(np.linspace(0, 6, 200, dtype=np.float32), (200, 1))
    p[:, 100:] = 2
    out = ALL.detect(p, view)
    off = ALL.without("electronic_noise").without(effect).detect(p, view)
    assert np.isfinite(out).all()
    assert np.isfinite(off).all()
    assert np.abs(ALL.without("electronic_noise").detect(p, view) - off).max() > 1e-4


# Quantum and electronic noise


@pytest.mark.parametrize("air_kerma", [1.0, 5.0])
@pytest.mark.parametrize("pitch", [0.2, 0.5])
@pytest.mark.parametrize("p", [0.0, 2.0])
def test_quantum_noise_is_that_of_the_quanta_in_a_pixel(air_kerma, pitch, p):
    view = geometry(256, pitch=pitch)
    detector = Detector(
        air_kerma=air_kerma,
        fluence_per_air_kerma=FLUENCE_PER_AIR_KERMA["RQA5"],
        detective_quantum_efficiency=0.6,
    )
    noise = detector.detect(flat(view, p), view, seed=1).astype(np.float64)
    quanta = air_kerma * 30174 * pitch**2 * 0.6 * math.exp(-p)
    # -ln turns a variance of 1 / quanta into 1 / quanta + 5 / 2 / quanta^2 + ...
    expected = 1 / quanta + 2.5 / quanta**2
    assert noise.var() == pytest.approx(expected, rel=5 * math.sqrt(2 / noise.size))
    assert noise.mean() == pytest.approx(p + 0.5 / quanta, abs=5 * math.sqrt(expected) / 256)


def test_a_grid_costs_quanta_in_the_open_field():
    view = geometry(256)
    detector = Detector(air_kerma=5.0, grid=Grid(ratio=12))
    noise = detector.detect(flat(view), view)
    quanta = detector.quanta(view, 5.0) * detector.grid.primary_transmission
    assert noise.var() == pytest.approx(1 / quanta, rel=0.03)


@pytest.mark.parametrize("p", [1.0, 4.0])
@pytest.mark.parametrize("scatter", [None, Scatter()])
def test_receptor_air_kerma_is_that_behind_the_patient(p, scatter):
    view = geometry(300, pitch=1.4)
    detector = Detector(receptor_air_kerma=2.5, scatter=scatter, grid=Grid(ratio=10))
    image = flat(view, p)
    image[:, :60] = 0  # direct radiation is no part of the patient
    quiet = replace(detector, receptor_air_kerma=None).detect(image, view)
    noise = (detector.detect(image, view, seed=2) - quiet).astype(np.float64)
    signal = np.exp(-quiet.astype(np.float64))
    mean = signal[:, 60:].mean()
    quanta = detector.quanta(view, 2.5) * signal / mean
    assert (noise * np.sqrt(quanta)).var() == pytest.approx(1, rel=0.03)


@pytest.mark.parametrize("shape", ["gaussian", "lorentzian"])
def test_blur_correlates_quantum_noise_by_its_mtf(shape):
    view = geometry(512, pitch=0.2)
    blur = Blur(mtf=0.5, frequency=0.6, shape=shape)
    detector = Detector(air_kerma=10.0, blur=blur)
    noise = detector.detect(flat(view), view).astype(np.float64)
    taps = blur.taps(0.2)
    full = np.concatenate([taps[:0:-1], taps])
    quanta = detector.quanta(view, 10.0)
    assert noise.var() == pytest.approx(np.sum(full**2) ** 2 / quanta, rel=0.05)
    # Noise power along a row, in bands, against the squared MTF of this very blur.
    power = np.mean(np.abs(np.fft.rfft(noise - noise.mean(), axis=1)) ** 2, axis=0)[1:] / 512
    transfer = np.abs(np.fft.rfft(full, 512))[1:] ** 2
    expected = transfer * np.sum(full**2) / quanta
    bands = np.arange(0, 256, 32)
    found, expected = (np.add.reduceat(x, bands) for x in (power, expected))
    # The logarithm of the noise adds a little at frequencies that the blur removes.
    np.testing.assert_allclose(found, expected, rtol=0.1, atol=1e-3 * expected[0])


def test_electronic_noise_is_white_and_adds_after_the_blur():
    view = geometry(256, pitch=0.4)
    blur = Blur(mtf=0.5, frequency=0.3)
    detector = Detector(air_kerma=1e4, blur=blur, electronic_noise=2000.0, element_pitch=0.2)
    noise = detector.detect(flat(view), view).astype(np.float64)
    quiet = replace(detector, electronic_noise=None).detect(flat(view), view).astype(np.float64)
    added = noise - quiet  # the quanta of a seed are the same with and without
    # Four elements to a pixel: twice the standard deviation.
    expected = 2 * 2000.0 / detector.quanta(view, 1e4)
    assert added.std() == pytest.approx(expected, rel=0.03)
    assert abs(np.corrcoef(added[:, 1:].ravel(), added[:, :-1].ravel())[0, 1]) < 0.03
    assert noise.var() == pytest.approx(added.var() + quiet.var(), rel=0.03)
    own = replace(detector, element_pitch=None).detect(flat(view), view) - quiet
    assert own.std() == pytest.approx(expected / 2, rel=0.03)


def test_no_quanta_are_the_floor_and_never_infinite():
    view = geometry(40)
    for detector in (
        Detector(air_kerma=0.001),
        Detector(air_kerma=5, electronic_noise=20),
        Detector(blur=Blur()),
    ):
        out = detector.detect(flat(view, 200.0), view)
        assert np.isfinite(out).all()
        assert out.max() == pytest.approx(-math.log(2.0**-16), rel=1e-6)
    low = Detector(blur=Blur(), floor=1e-3).detect(flat(view, 20), view)
    np.testing.assert_allclose(low, -math.log(1e-3), rtol=1e-6)


# Seeds


def test_same_seed_and_view_same_image_on_any_number_of_threads():
    view = geometry(150, 170)
    p = np.random.default_rng(1).random(view.shape, np.float32) * 5
    one = ALL.detect(p, view, seed=7, threads=1)
    for threads in (2, 3, 9):
        np.testing.assert_array_equal(ALL.detect(p, view, seed=7, threads=threads), one)
    named = replace(view, view_position="PA")
    np.testing.assert_array_equal(ALL.detect(p, named, seed=7), one)


def test_other_seeds_and_other_views_have_other_noise():
    view, detector = geometry(80), Detector(air_kerma=2.0)
    images = [
        detector.detect(flat(view), view, seed=seed, threads=1).ravel() for seed in (0, 1, 2**80)
    ]
    images.append(detector.detect(flat(view), geometry(80, distance=1801.0)).ravel())
    correlation = np.corrcoef(images)
    assert np.abs(correlation - np.eye(4)).max() < 0.06
    # Nor do bands of rows repeat each other.
    rows = images[0].reshape(80, 80)
    assert abs(np.corrcoef(rows[:16].ravel(), rows[64:].ravel())[0, 1]) < 0.15


# Blur and focal spot


@pytest.mark.parametrize("shape", ["gaussian", "lorentzian"])
@pytest.mark.parametrize(("mtf", "frequency"), [(0.6, 1.0), (0.3, 2.0)])
def test_contrast_of_waves_falls_as_the_mtf_says(shape, mtf, frequency):
    view = geometry(4, 1000, pitch=0.1)
    detector = Detector(blur=Blur(mtf=mtf, frequency=frequency, shape=shape))
    x = np.arange(1000) * 0.1
    for waves in (0.5, frequency, 2.5):
        signal = 0.5 + 0.1 * np.cos(2 * np.pi * waves * x)
        p = np.tile(-np.log(signal), (4, 1)).astype(np.float32)
        out = np.exp(-detector.detect(p, view)[0].astype(np.float64))[200:800]
        amplitude = 2 * np.abs(np.mean(out * np.exp(-2j * np.pi * waves * x[200:800])))
        assert amplitude / 0.1 == pytest.approx(detector.blur.transfer(waves), abs=0.03)
    assert detector.blur.transfer(frequency) == pytest.approx(mtf)


@pytest.mark.parametrize("shape", ["gaussian", "lorentzian"])
def test_fwhm_is_the_width_of_the_line_spread(shape):
    blur = Blur.from_fwhm(0.8, shape)
    assert blur.fwhm == pytest.approx(0.8)
    taps = blur.taps(0.01)
    assert 2 * 0.01 * np.argmax(taps < taps[0] / 2) == pytest.approx(0.8, abs=0.03)


def test_focal_spot_unsharpness_is_focal_spot_times_magnification_less_one():
    view = geometry(4, 400, pitch=0.05)
    detector = Detector(focal_spot=1.2, object_distance=600.0)
    width = 1.2 * (1800 / 1200 - 1)
    assert detector.unsharpness(view) == pytest.approx(width)
    p = flat(view)
    p[:, 200:] = 1.0
    edge = np.exp(-detector.detect(p, view)[0].astype(np.float64))
    spread = -np.diff(edge) / (1 - math.exp(-1))
    x = np.arange(399) * 0.05
    assert spread.sum() == pytest.approx(1)
    center = np.sum(spread * x)
    assert np.sum(spread * (x - center) ** 2) == pytest.approx(width**2 / 12, rel=0.01)
    assert np.count_nonzero(spread > 1e-3) * 0.05 == pytest.approx(width, abs=0.11)


def test_focal_spot_depends_on_the_depth_of_the_anatomy():
    view, detector = geometry(8), Detector(focal_spot=1.0, object_distance=0.0)
    assert detector.unsharpness(view) == 0.0
    assert detector.unsharpness(view, 900.0) == pytest.approx(1.0)
    p = np.random.default_rng(1).random((8, 8), np.float32)
    near = detector.detect(p, view)
    far = detector.detect(p, view, object_distance=900.0)
    np.testing.assert_allclose(near, p, atol=1e-6)
    assert np.abs(far - p).max() > 0.01
    with pytest.raises(BeamError, match=r"behind the source, which is 1800 mm"):
        detector.detect(p, view, object_distance=1800.0)


def test_parallel_beams_have_no_focal_spot_blur_heel_or_penumbra():
    view = parallel(rows=40)
    p = np.random.default_rng(1).random((40, 40), np.float32)
    out = Detector(focal_spot=1.2, heel=Heel()).detect(p, view)
    np.testing.assert_allclose(out, p, atol=1e-6)
    assert Collimation(size=(10, 10)).penumbra(view, 1.2) == 0.0


# Scatter and grid


def slab_with_beam_stop(view: Geometry, p: float) -> np.ndarray:
    image = flat(view, p)
    rows, columns = np.indices(view.shape)
    middle = (np.array(view.shape) - 1) / 2
    image[np.hypot(rows - middle[0], columns - middle[1]) < 3] = 40.0
    return image


@pytest.mark.parametrize("p", [1.0, 3.0, 5.0])
def test_scatter_behind_a_beam_stop_is_the_formula(p):
    view = geometry(400, pitch=1.0)
    scatter = Scatter()
    measured = math.exp(
        -Detector(scatter=scatter).detect(slab_with_beam_stop(view, p), view)[200, 200]
    )
    # A square field of side a catches erf(a / (2 sqrt 2 sigma))^2 of a Gaussian around its middle.
    caught = sum(
        weight * math.erf(200 / (math.sqrt(2) * sigma)) ** 2
        for sigma, weight in zip(scatter.sigmas, scatter.weights, strict=True)
    )
    expected = scatter.amplitude * p * (1 + scatter.growth * p) * math.exp(-p) * caught
    assert measured == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("fraction", [0.3, 0.6, 0.9])
def test_scatter_fraction_is_the_stated_one(fraction):
    view = geometry(300, 200, pitch=1.5)
    p = np.tile(np.linspace(0.5, 5, 200, dtype=np.float32), (300, 1))
    p[:, :20] = 0.0
    total = np.exp(-Detector(scatter=Scatter(fraction=fraction)).detect(p, view).astype(float))
    primary = np.exp(-p.astype(float))
    behind = p > 0.3
    found = 1 - primary[behind].sum() / total[behind].sum()
    assert found == pytest.approx(fraction, abs=0.005)


def test_a_grid_improves_contrast_by_its_factor():
    view = geometry(300, pitch=1.2)
    p = flat(view, 3.0)
    detail = (slice(150, 152), slice(150, 152))  # too small to change the scatter
    p[detail] += 0.01

    def contrast(detector: Detector) -> float:
        out = detector.detect(p, view) - detector.detect(flat(view, 3.0), view)
        return float(out[150, 150])

    bare = Detector(scatter=Scatter())
    scattered = math.exp(-bare.detect(flat(view, 3.0), view)[150, 150]) - math.exp(-3)
    for ratio in (6, 12):
        grid = Grid(ratio=ratio)
        improvement = contrast(replace(bare, grid=grid)) / contrast(bare)
        expected = grid.contrast_improvement(scattered / math.exp(-3))
        assert improvement == pytest.approx(expected, rel=0.01)


def test_nothing_scatters_in_air_and_scatter_reaches_beyond_the_patient():
    view = geometry(200, pitch=2.0)
    detector = Detector(scatter=Scatter())
    np.testing.assert_allclose(detector.detect(flat(view), view), 0, atol=1e-6)
    p = flat(view)
    p[:, 100:] = 3.0
    out = detector.detect(p, view)
    assert out[100, 95] < -0.02
    assert out[100, 95] < out[100, 40] < 0


# Heel effect


def test_heel_profile_is_the_path_through_the_anode():
    view = geometry(201, pitch=2.0)
    out = Detector(heel=Heel()).detect(flat(view), view)
    angle = math.radians(12)
    for row in (0, 37, 100, 160, 200):
        tilt = math.atan((100 - row) * 2.0 / 1800)  # towards the anode, at the top
        path = 0.007 * math.cos(angle) * (1 / math.sin(angle - tilt) - 1 / math.sin(angle))
        assert out[row, 100] == pytest.approx(7.166 * path, abs=2e-4)
    assert out[0, 100] > 0.2 > 0 > out[200, 100] > -0.15


@pytest.mark.parametrize("anode", ["top", "bottom", "left", "right"])
def test_the_anode_side_is_the_weaker_one(anode):
    view = geometry(100, pitch=4.0)
    out = Detector(heel=Heel(anode=anode)).detect(flat(view), view)
    sides = {"top": out[0, 50], "bottom": out[-1, 50], "left": out[50, 0], "right": out[50, -1]}
    assert max(sides, key=sides.__getitem__) == anode


def test_heel_effect_is_that_of_spekpy():
    spekpy = pytest.importorskip("spekpy")
    offsets = np.array([-20.0, -10.0, 0.0, 10.0, 20.0])  # cm, the cathode at +
    kerma = []
    for offset in offsets:
        spectrum = spekpy.Spek(kvp=120, th=12, x=offset, z=180, dk=2).filter("Al", 2.5)
        kerma.append(spectrum.get_kerma() * (1 + (offset / 180) ** 2))
    view = geometry()
    points = np.stack([0 * offsets, 0 * offsets, -10 * offsets], axis=-1)
    found = Heel(anode_angle=12).intensity(view, points)
    np.testing.assert_allclose(found, np.array(kerma) / kerma[2], rtol=0.02)


def test_beyond_the_anode_angle_there_is_no_beam():
    view = geometry(100, pitch=4.0, distance=600.0)
    heel = Heel(anode_angle=8)
    assert heel.intensity(view, np.array([0.0, 0.0, 100.0])) == 0.0
    out = Detector(heel=heel).detect(flat(view), view)
    assert out[0, 50] == pytest.approx(-math.log(2.0**-16), rel=1e-6)


# Collimation


def test_edges_of_the_field_and_their_penumbra():
    view = geometry(400, 300, pitch=0.5)
    collimation = Collimation(size=(120.0, 80.0), center=(10.0, -15.0), collimator_distance=300.0)
    detector = Detector(collimation=collimation, focal_spot=1.2)
    width = 1.2 * (1800 / 300 - 1)
    assert collimation.penumbra(view, 1.2) == pytest.approx(width)
    signal = np.exp(-detector.detect(flat(view), view).astype(np.float64))
    for profile, middle, size in ((signal[:, 170], -15, 120), (signal[170], 10, 80)):
        x = (np.arange(profile.size) - (profile.size - 1) / 2) * 0.5
        inside = profile > 0.5
        assert x[inside].min() == pytest.approx(middle - size / 2, abs=0.3)
        assert x[inside].max() == pytest.approx(middle + size / 2, abs=0.3)
        partial = (profile > 0.002) & (profile < 0.999)
        assert np.count_nonzero(partial) * 0.5 / 2 == pytest.approx(width, abs=0.6)
    assert signal[150, 170] == pytest.approx(1, abs=1e-6)
    assert signal[10, 170] == pytest.approx(0.001, rel=1e-4)
    assert signal[10, 10] == pytest.approx(2.0**-16, rel=1e-4)


def test_a_point_source_has_sharp_edges_that_keep_the_field_area():
    view = geometry(100, pitch=1.0)
    collimation = Collimation(size=(50.3, 40.8), leakage=0.0)
    rows, columns = collimation.profiles(view, None)
    assert rows.sum() == pytest.approx(50.3)
    assert columns.sum() == pytest.approx(40.8)
    assert np.count_nonzero((rows > 0) & (rows < 1)) <= 2
    blurred = collimation.profiles(view, 2.0)[0]
    assert blurred.sum() == pytest.approx(50.3)


def test_scatter_remains_outside_the_field_and_a_smaller_field_scatters_less():
    view = geometry(300, pitch=1.4)
    p = flat(view, 3.0)

    def signal(size: float) -> np.ndarray:
        detector = Detector(scatter=Scatter(), collimation=Collimation(size=(size, size)))
        return np.exp(-detector.detect(p, view))

    small, large = signal(150.0), signal(300.0)
    assert small[150, 150] < large[150, 150]
    assert 5 * 0.001 * math.exp(-3) < small[150, 80] < 0.3 * small[150, 150]


# Names, records and bad input


def test_presets_have_names_round_trip_and_detect():
    view = geometry(64, pitch=5.0)
    p = np.random.default_rng(1).random((64, 64), np.float32) * 6
    for name, detector in DETECTORS.items():
        assert parse_detector(name) is detector
        assert eval(repr(detector)) == detector
        record = json.loads(json.dumps(detector.to_dict()))
        assert Detector.from_dict(record) == detector
        assert np.isfinite(detector.detect(p, view)).all()
    assert DETECTORS["portable"].grid is None
    with pytest.raises(BeamError, match="no detector 'flat-pannel'; did you mean 'flat-panel'"):
        parse_detector("flat-pannel")


def test_repr_and_record_round_trip_with_all_effects():
    assert eval(repr(ALL)) == ALL
    assert Detector.from_dict(json.loads(json.dumps(ALL.to_dict()))) == ALL
    assert Detector.from_dict({}) == Detector()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Detector(air_kerma=-2), "air_kerma must be from 0 to 10000 microgray, got -2"),
        (lambda: Detector(receptor_air_kerma=-2.5), "receptor_air_kerma must be from 0"),
        (lambda: Detector(air_kerma=math.inf), "air_kerma must be a finite number in microgray"),
        (lambda: Detector(air_kerma="5"), "air_kerma must be a finite number"),
        (lambda: Detector(air_kerma=5, receptor_air_kerma=2), "give one of them"),
        (lambda: Detector(electronic_noise=3), "give air_kerma or receptor_air_kerma"),
        (lambda: Detector(electronic_noise=-3, air_kerma=1), "electronic_noise must be from 0"),
        (lambda: Detector(detective_quantum_efficiency=1.3), "detective_quantum_efficiency"),
        (lambda: Detector(fluence_per_air_kerma=0), "fluence_per_air_kerma must be from 1000"),
        (lambda: Detector(focal_spot=12), "focal_spot must be from 0 to 5 mm, got 12"),
        (lambda: Detector(object_distance=-1), "object_distance"),
        (lambda: Detector(floor=0), "floor must be from"),
        (lambda: Detector(element_pitch=-0.1), "element_pitch"),
        (lambda: Detector(scatter=0.5), "scatter must be a Scatter or None, got 0.5"),
        (lambda: Detector(blur="soft"), "blur must be a Blur or None"),
        (lambda: Blur(mtf=1.2), "blur mtf must be from 0.001 to 0.999, got 1.2"),
        (lambda: Blur(frequency=0), "blur frequency"),
        (lambda: Blur(shape="gausian"), "no blur shape 'gausian'; did you mean 'gaussian'"),
        (lambda: Blur.from_fwhm(-1), "blur fwhm must be from 0.02 to 20 mm, got -1"),
        (lambda: Heel(anode_angle=2), "anode_angle must be from 6 to 45 degrees, got 2"),
        (lambda: Heel(anode="up"), "no side for the anode 'up'; known are top"),
        (lambda: Heel(depth=1), "heel depth"),
        (lambda: Collimation(size=(0, 10)), "collimation size must be above 0, up to 2000 mm"),
        (lambda: Collimation(size=10), "collimation size must be two numbers in mm, got 10"),
        (lambda: Collimation(size=(10, 10), leakage=0.5), "collimation leakage"),
        (lambda: Collimation(size=(10, 10), collimator_distance=5), "collimator_distance"),
        (lambda: Detector.from_dict({"air_kermaa": 5}), "'air_kermaa'; did you mean 'air_kerma'"),
        (lambda: Detector.from_dict({"heel": {"angle": 5}}), "'angle'; did you mean 'anode_angle'"),
        (lambda: Detector.from_dict({"collimation": {}}), "lacks 'size'"),
        (lambda: Detector.from_dict("portable"), "mapping"),
    ],
)
def test_refuses_what_is_no_detector(make, message):
    with pytest.raises(BeamError, match=message):
        make()


def test_refuses_what_cannot_be_detected():
    view = geometry(10)
    with pytest.raises(BeamError, match=r"shape \(10, 9\), the geometry \(10, 10\)"):
        Detector().detect(np.zeros((10, 9), np.float32), view)
    for bad in (np.nan, np.inf):
        p = flat(view)
        p[3, 4] = bad
        with pytest.raises(BeamError, match="must be finite"):
            Detector(blur=Blur()).detect(p, view)
    for seed in (-1, 1.5, "a", True, None):
        with pytest.raises(BeamError, match="seed must be a whole number from 0"):
            Detector(air_kerma=1).detect(flat(view), view, seed=seed)


def test_input_is_left_alone_and_may_be_of_any_type_and_order():
    view = geometry(20, 30)
    p = np.asfortranarray(np.random.default_rng(1).random((20, 30)) * 4)
    before = p.copy()
    out = ALL.detect(p, view)
    np.testing.assert_array_equal(p, before)
    single = np.ascontiguousarray(p, np.float32)
    np.testing.assert_array_equal(ALL.detect(single, view), out)
    np.testing.assert_array_equal(single, before.astype(np.float32))


def test_a_blank_image_has_no_patient_to_expose_behind():
    view = geometry(50)
    out = Detector(receptor_air_kerma=2.5, scatter=Scatter(fraction=0.5)).detect(flat(view), view)
    quanta = Detector().quanta(view, 2.5)
    assert out.var() == pytest.approx(1 / quanta, rel=0.15)


def test_one_pixel():
    view = geometry(1, pitch=0.5)
    assert np.isfinite(ALL.detect(flat(view, 2.0), view)).all()
