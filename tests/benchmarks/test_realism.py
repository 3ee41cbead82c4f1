"""The measures of the realism and lesion benchmarks, on pictures with known answers."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from places import ROOT

pytestmark = pytest.mark.slow

BENCHMARKS = ROOT / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import distances  # noqa: E402
import films  # noqa: E402
import lesions  # noqa: E402
import looks  # noqa: E402
import realism  # noqa: E402

sys.path.remove(str(BENCHMARKS))

SIDE = films.PIXELS


def noise(count: int, *, seed: int, spread: float = 0.1, smooth: int = 1) -> np.ndarray:
    """`(count, 160, 160)` grey 0.5 with Gaussian noise, summed over `smooth` pixels a side."""
    values = np.random.default_rng(seed).normal(0, 1, (count, SIDE, SIDE))
    for axis in (1, 2):
        values = sum(np.roll(values, n, axis) for n in range(smooth)) / np.sqrt(smooth)
    return (0.5 + spread * values).astype(np.float32)


def collection(pictures: np.ndarray, subjects: list[str]) -> realism.Collection:
    means = pictures.reshape(len(pictures), 16, -1).mean(axis=2).astype(np.float64)
    return realism.Collection.of(pictures, subjects, distances.polynomial_kernel(means))


# --- The common window -----------------------------------------------------------------------


def test_films_squeezed_into_a_square_get_their_proportions_back():
    """A disc of 100 mm on a film of 420 x 344 mm, stored as 320 x 320."""
    height, width = 344 / 320, 420 / 320
    y, x = (np.arange(320) + 0.5)[:, None] * height, (np.arange(320) + 0.5)[None] * width
    disc = (np.hypot(y - 172, x - 210) < 50).astype(np.float32)
    window = films.to_window(disc, (height, width))
    assert window.shape == (SIDE, SIDE)
    extent = [int((window > 0.5).any(axis=axis).sum()) for axis in (0, 1)]
    np.testing.assert_allclose(extent, 100 / films.SPACING, atol=1)
    middle = np.mean(np.argwhere(window > 0.5), axis=0)
    np.testing.assert_allclose(middle, (SIDE - 1) / 2, atol=0.1)


@pytest.mark.parametrize("spacing", [0.4, 0.73, 1.34, 2.0])
def test_the_window_shows_the_same_at_any_scale(spacing):
    pixels = round(400 / spacing)
    at = (np.arange(pixels) + 0.5) * 400 / pixels - 200
    wave = 0.5 + 0.4 * np.cos(2 * np.pi * at / 40)[None] * np.ones((pixels, 1))
    window = films.to_window(wave, (400 / pixels, 400 / pixels))
    seen = (np.arange(SIDE) + 0.5) * films.SPACING - 160
    np.testing.assert_allclose(window[80], 0.5 + 0.4 * np.cos(2 * np.pi * seen / 40), atol=0.03)


def test_what_a_small_picture_does_not_show_is_black():
    window = films.to_window(np.ones((100, 150)), (2.0, 2.0))
    assert (window[:29] == 0).all()
    assert (window[:, :4] == 0).all()
    assert (window[31:129, 7:153] == 1).all()


def test_pictures_are_of_8_bits():
    window = films.to_window(np.full((200, 200), 0.5012), (2.0, 2.0))
    np.testing.assert_allclose(window, 128 / 255, atol=1e-6)


# --- Distances -------------------------------------------------------------------------------


def test_brighter_by_so_many_levels_is_so_far_apart():
    dark = np.full((3, SIDE, SIDE), 100 / 255, np.float32)
    bright = np.full((2, SIDE, SIDE), 130 / 255, np.float32)
    both = collection(np.concatenate([dark, bright]), list("abcde"))
    first, second = np.array([1.0, 1, 1, 0, 0]), np.array([0.0, 0, 0, 1, 1])
    found = both.measure(first, second)
    assert found["grey_pooled"] == pytest.approx(30)
    assert found["grey_each"] == pytest.approx(60, abs=1e-3)  # twice the distance, less none
    assert found["spectrum"] == pytest.approx(0, abs=1e-6)


def test_pools_may_agree_where_no_picture_does():
    """Half dark and half bright pictures against pictures that are half dark, half bright."""
    level = np.array([0.2, 0.8, 0.2, 0.8], np.float32)
    even = np.ones((4, SIDE, SIDE), np.float32) * level[:, None, None]
    mixed = np.where(np.arange(SIDE) < SIDE // 2, 0.2, 0.8) * np.ones((4, SIDE, 1))
    both = collection(np.concatenate([even, mixed]).astype(np.float32), list("abcdefgh"))
    found = both.measure(np.repeat([1.0, 0.0], 4), np.repeat([0.0, 1.0], 4))
    assert found["grey_pooled"] == pytest.approx(0, abs=1e-9)
    assert found["grey_each"] > 20


@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_contrast_shows_in_the_spectrum_by_its_decibels(factor):
    plain, other = noise(6, seed=1), noise(6, seed=2, spread=0.1 * factor)
    far = distances.spectral_distance(
        distances.spectra(plain, 2.0), distances.spectra(other, 2.0), np.ones(6), np.ones(6)
    )
    assert far == pytest.approx(20 * np.log10(2), abs=0.7)


def test_the_spectrum_of_white_noise_is_flat_and_of_its_variance():
    found = distances.spectra(noise(40, seed=3, spread=0.02), 2.0).mean(axis=0)
    # Standard deviation 0.04 of the mean, times 2 mm.
    expected = 20 * np.log10(0.04 * 2)
    np.testing.assert_allclose(found[8:], expected, atol=0.3)
    assert found.size == distances.BANDS


def test_smoothing_lowers_high_frequencies():
    sharp = distances.spectra(noise(8, seed=4), 2.0).mean(axis=0)
    smooth = distances.spectra(noise(8, seed=4, smooth=3), 2.0).mean(axis=0)
    assert smooth[-1] < sharp[-1] - 3
    assert smooth[4] > sharp[4] + 3


def test_a_wave_is_in_the_band_of_its_frequency():
    at = np.arange(SIDE) * 2.0
    wave = 0.5 + 0.1 * np.cos(2 * np.pi * 0.1 * at)[None, None] * np.ones((1, SIDE, 1))
    edges = np.geomspace(distances.LOWEST, distances.HIGHEST, distances.BANDS + 1)
    assert np.digitize(0.1, edges) - 1 == distances.spectra(wave, 2.0)[0].argmax()


def test_every_subject_counts_once_and_never_against_itself():
    """A third picture of the same patient changes neither weight nor the unbiased distances."""
    pictures = noise(5, seed=5)
    few = collection(pictures[:4], ["p", "q", "s", "t"])
    many = collection(np.concatenate([pictures[:4], pictures[:2]]), ["p", "q", "s", "t", "p", "q"])
    for both in (few, many):
        weights = realism.equal_subjects(both.subjects)
        first = weights * np.isin(both.subjects, ["p", "q"])
        found = both.measure(first, weights - first)
        if both is few:
            expected = found
    assert found == pytest.approx(expected, rel=1e-9)


def test_draws_of_one_distribution_are_not_far_and_of_two_are():
    same = collection(noise(60, seed=6), [str(n) for n in range(60)])
    mixed = collection(
        np.concatenate([noise(30, seed=7), noise(30, seed=8, smooth=3)]),
        [str(n) for n in range(60)],
    )
    first = np.repeat([1.0, 0.0], 30)
    near, far = (c.measure(first, 1 - first) for c in (same, mixed))
    assert abs(near["kid"]) < 0.01 * same.kernel.mean()
    assert near["spectrum"] < 0.3
    assert abs(near["grey_each"]) < 0.1
    assert far["spectrum"] > 5


def test_the_kernel_distance_is_that_of_its_definition():
    rng = np.random.default_rng(9)
    x, y = rng.normal(0, 1, (7, 5)), rng.normal(0.5, 1, (9, 5))
    kernel = distances.polynomial_kernel(np.concatenate([x, y]))
    subjects = np.arange(16).astype(str)
    k = lambda a, b: (a @ b / 5 + 1) ** 3  # noqa: E731
    expected = (
        np.mean([k(x[i], x[j]) for i in range(7) for j in range(7) if i != j])
        + np.mean([k(y[i], y[j]) for i in range(9) for j in range(9) if i != j])
        - 2 * np.mean([k(a, b) for a in x for b in y])
    )
    found = (
        distances.within(kernel[:7, :7], np.ones(7), subjects[:7])
        + distances.within(kernel[7:, 7:], np.ones(9), subjects[7:])
        - 2 * distances.between(kernel[:7, 7:], np.ones(7), np.ones(9))
    )
    assert found == pytest.approx(expected)


def test_a_look_unlike_the_films_is_beyond_both_floors():
    """The whole comparison: noise as films, smoother noise as a look of two scans."""
    pictures = np.concatenate([noise(24, seed=10), noise(8, seed=11, smooth=3)])
    subjects = [f"patient {n}" for n in range(24)] + ["scan a"] * 4 + ["scan b"] * 4
    both = collection(pictures, subjects)
    real = np.arange(32) < 24
    floor = realism.floors(both, real, draws=40, seed=1)
    look = realism.compare(both, real, ~real, bootstraps=40, seed=2)
    low, high = look["interval"]["spectrum"]
    assert low <= look["values"]["spectrum"] <= high
    assert low > floor["halves"]["interval"]["spectrum"][1]
    assert realism.share_below(floor["two patients"]["draws"]["spectrum"], low) == 1.0
    assert look["pictures"] == 8


def test_halves_share_no_patient():
    each = [
        films.Film(str(n), str(n % 7), (), 50, "M", "PA", np.zeros((1, 1), np.float32))
        for n in range(40)
    ]
    first, second = realism.split_patients(each, seed=3)
    assert {f.patient for f in first}.isdisjoint({f.patient for f in second})
    assert len(first) + len(second) == 40


# --- The network -----------------------------------------------------------------------------


def test_the_network_learns_what_is_in_the_films_and_is_the_same_every_time(tmp_path):
    pytest.importorskip("torch")
    sys.path.insert(0, str(BENCHMARKS))
    import encoder

    sys.path.remove(str(BENCHMARKS))
    pictures = 0.3 * noise(32, seed=12)
    bright = np.arange(32) % 2 == 0
    pictures[bright, 40:120, 40:120] += 0.5
    each = [
        films.Film(str(n), str(n), (), 50, "M" if b else "F", "PA", p)
        for n, (b, p) in enumerate(zip(bright, pictures, strict=True))
    ]
    model = encoder.train(each, seed=1, cache=tmp_path, epochs=10)
    (weights,) = tmp_path.glob("encoder-*.pt")
    seen = encoder.features(model, pictures[:4])
    assert seen.shape == (4, encoder.CHANNELS[-1])
    cached = encoder.train(each, seed=1, cache=tmp_path, epochs=10)
    assert np.array_equal(encoder.features(cached, pictures[:4]), seen)
    weights.unlink()
    again = encoder.train(each, seed=1, cache=tmp_path, epochs=10)
    np.testing.assert_allclose(encoder.features(again, pictures[:4]), seen, rtol=1e-4, atol=1e-5)
    assert encoder.areas_under_curve([model], each)["male"] > 0.9


# --- Poses and lesions -----------------------------------------------------------------------


def test_poses_are_the_same_for_a_seed_and_within_their_ranges():
    first = looks.poses(20, seed=4)
    assert first == looks.poses(20, seed=4) != looks.poses(20, seed=5)
    assert max(abs(pose.primary_angle) for pose in first) <= 4
    assert min(pose.margin for pose in first) >= 25


def shadow_of(diameter: float, *, spacing: float, at: tuple[float, float]) -> np.ndarray:
    """Chords of a ball, `(192, 192)` mm."""
    y, x = np.ogrid[:192, :192]
    away = np.hypot(y - at[0], x - at[1]) * spacing
    return 2 * np.sqrt(np.maximum(diameter**2 / 4 - away**2, 0))


def seen(without, difference, shadow, *, spacing=1.0) -> lesions.Visibility:
    lungs = np.ones(without.shape, bool)
    return lesions.visibility(without, difference, shadow, lungs, spacing=spacing)


def test_twice_the_contrast_or_half_the_noise_is_twice_as_visible():
    shadow = shadow_of(20, spacing=1, at=(96, 96))
    background = 255 * noise(2, seed=13, smooth=2)[0]
    background = np.pad(background, 16, mode="wrap")
    plain = seen(background, shadow, shadow)
    assert seen(background, 2 * shadow, shadow).snr == pytest.approx(2 * plain.snr)
    assert seen(background / 2, shadow, shadow).snr == pytest.approx(2 * plain.snr)
    assert plain.contrast == pytest.approx(shadow[shadow > 10].mean(), rel=0.02)


def test_in_white_noise_visibility_is_that_of_the_formula():
    """NPWE in white noise of standard deviation s: |E S|^2 / (s |E^2 S|), both over the plane."""
    shadow = shadow_of(16, spacing=1, at=(96, 96)) / 4
    background = np.random.default_rng(14).normal(0, 12, (192, 192))
    eye = lesions.eye_filter(shadow.shape, 1.0)
    template = lesions.filtered(shadow, eye)
    expected = (template**2).sum() / (12 * np.sqrt((lesions.filtered(template, eye) ** 2).sum()))
    found = [
        seen(np.roll(background, shift, (0, 1)), shadow, shadow).snr
        for shift in ((0, 0), (60, 0), (0, 60), (60, 60))
    ]
    assert np.mean(found) == pytest.approx(expected, rel=0.12)


def test_neither_brightness_nor_a_gradient_makes_a_lesion_visible():
    shadow = shadow_of(20, spacing=1, at=(96, 96))
    background = np.random.default_rng(15).normal(0, 12, (192, 192))
    plain = seen(background, shadow, shadow)
    brighter = seen(background, shadow + 40, shadow)
    assert brighter.snr == pytest.approx(plain.snr)
    assert brighter.contrast == pytest.approx(plain.contrast)


def test_a_lesion_that_changes_no_grey_level_is_erased():
    shadow = shadow_of(30, spacing=1, at=(96, 96))
    background = np.random.default_rng(16).normal(0, 12, (192, 192))
    found = seen(background, np.zeros_like(shadow), shadow)
    assert found.erased
    assert found.snr == 0
    assert not seen(background, np.rint(shadow), shadow).erased


def test_only_the_lungs_are_searched():
    """A bright bone beside the lung does not hide a lesion in it."""
    shadow = shadow_of(14, spacing=1, at=(96, 80))
    background = np.random.default_rng(17).normal(0, 12, (192, 192))
    background[:, 104:110] += 200
    everywhere = np.ones((192, 192), bool)
    lungs = everywhere & (np.arange(192) < 88)
    free, hidden = (
        lesions.visibility(background, shadow, shadow, where, spacing=1.0)
        for where in (lungs, everywhere)
    )
    assert free.snr > 1.5 * hidden.snr


def test_the_eye_sees_best_at_four_cycles_a_degree():
    eye = lesions.eye_filter((1, 4096), 0.5)[0]
    best = np.fft.rfftfreq(4096, 0.5)[eye.argmax()]
    assert best == pytest.approx(4 / (500 * np.pi / 180), rel=0.01)
    assert eye[0] == 0


def test_rescued_lesions_are_those_that_only_the_film_shows():
    rows = [
        {"scan": "s", "lesion": "l", "site": site, "look": look, "snr": snr, "erased": snr == 0}
        for site, drr_rate, film in (("a", 0.0, 6.0), ("b", 5.5, 9.0), ("c", 1.0, 4.0))
        for look, snr in (("drr-rate", drr_rate), ("film", film))
    ]
    (only,) = lesions.rescued(rows)
    assert (only["site"], only["erased"], only["margin"]) == ("a", True, 1.2)


# --- Real data -------------------------------------------------------------------------------


def test_real_films_are_adults_in_the_window(test_data, monkeypatch):
    if not (test_data / "cxr/nih/films_320px.zip").exists():
        pytest.skip(f"no real films in {test_data}")
    read = films.read_films(test_data / "cxr/nih")
    assert len(read) > 1000
    assert min(film.age for film in read) >= films.ADULT
    assert {film.view for film in read} == {"PA", "AP"}
    # Lungs dark left and right of a bright spine, in the mean of all.
    mean = np.mean([film.picture for film in read if film.view == "PA"], axis=0)
    row = mean[60:90].mean(axis=0)
    assert row[30:60].min() + 0.15 < row[75:85].max() > row[100:130].min() + 0.15


def test_every_look_makes_a_picture_at_a_films_scale():
    """On the phantom: the chest is as large in each."""
    from drr.datasets.phantom.thorax import thorax
    from drr.patient.prepare import prepare

    prepared = prepare(thorax(96))
    for name, look in looks.LOOKS.items():
        shot = look(prepared, looks.Pose(primary_angle=1.0))
        assert shot.picture.shape == (512, 512), name
        assert 0 <= shot.picture.min() < shot.picture.max() <= 1, name
        assert 300 < shot.spacing * 512 < 440, name
