"""Effects on pictures against what they should do to dots, steps, ramps and constants."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ive

from drr.errors import PolicyError
from drr.randomise import picture_effects

Picture = NDArray[np.float32]


def random_picture(shape: tuple[int, int] = (61, 83), seed: int = 0) -> Picture:
    return np.random.default_rng(seed).random(shape, np.float32)


def constant(grey: float, shape: tuple[int, int] = (24, 31)) -> Picture:
    return np.full(shape, grey, np.float32)


def dot(row: int, column: int, shape: tuple[int, int] = (61, 83)) -> Picture:
    picture = np.zeros(shape, np.float32)
    picture[row, column] = 1
    return picture


def centre_and_spread(picture: Picture) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance of row and column, weighted by grey level."""
    weights = picture.astype(np.float64) / picture.sum(dtype=np.float64)
    places = np.indices(picture.shape)
    mean = (places * weights).sum(axis=(1, 2))
    spread = (((places - mean[:, None, None]) ** 2) * weights).sum(axis=(1, 2))
    return mean, spread


EFFECTS: dict[str, Callable[[Any], Picture]] = {
    "invert": picture_effects.invert,
    "gamma": lambda p: picture_effects.gamma(p, 0.6),
    "gain": lambda p: picture_effects.gain(p, 1.7),
    "contrast": lambda p: picture_effects.contrast(p, 2.5),
    "brightness": lambda p: picture_effects.brightness(p, -0.4),
    "blur": lambda p: picture_effects.blur(p, 1.3),
    "sharpen": lambda p: picture_effects.sharpen(p, 4.0),
    "clip_percentiles": lambda p: picture_effects.clip_percentiles(p, 5),
    "noise": lambda p: picture_effects.noise(p, 0.3, seed=5),
    "clahe": lambda p: picture_effects.clahe(p, 2.0),
    "flip": picture_effects.flip,
    "affine": lambda p: picture_effects.affine(p, rotation=20, scale=1.2, shift=(3, -2)),
    "border": lambda p: picture_effects.border(p, top=3, left=2, grey=1.0),
    "marker": lambda p: picture_effects.marker(p, "R", row=2, column=3, height=12),
}


@pytest.mark.parametrize("name", EFFECTS)
@pytest.mark.parametrize("shape", [(61, 83), (16, 16), (5, 90), (1, 1)])
def test_every_effect_gives_a_new_picture_of_the_same_kind(
    name: str, shape: tuple[int, int]
) -> None:
    picture = random_picture(shape)
    before = picture.copy()
    result = EFFECTS[name](picture)
    assert result.shape == shape
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    assert 0 <= result.min() <= result.max() <= 1
    assert not np.shares_memory(result, picture)
    np.testing.assert_array_equal(picture, before)
    if picture.size > 1:
        assert not np.array_equal(result, picture)
    np.testing.assert_array_equal(result, EFFECTS[name](picture))


@pytest.mark.parametrize("name", EFFECTS)
@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((4, 4)),
        np.zeros((4, 4), np.uint8),
        np.zeros((2, 4, 4), np.float32),
        np.zeros((0, 4), np.float32),
        [[0.0, 1.0]],
        None,
    ],
    ids=["float64", "uint8", "three axes", "empty", "list", "none"],
)
def test_what_is_no_picture_is_refused(name: str, bad: Any) -> None:
    with pytest.raises(PolicyError, match=r"a picture is a \(rows, columns\) float32 array"):
        EFFECTS[name](bad)


@pytest.mark.parametrize(
    ("effect", "message"),
    [
        (lambda p: picture_effects.gamma(p, 0.0), "gamma must be above zero, got 0.0"),
        (lambda p: picture_effects.gamma(p, math.nan), "gamma must be above zero"),
        (lambda p: picture_effects.gain(p, -1.0), "gain must be zero or more"),
        (lambda p: picture_effects.contrast(p, -0.1), "contrast must be zero or more"),
        (lambda p: picture_effects.brightness(p, math.inf), "brightness must be finite"),
        (lambda p: picture_effects.blur(p, -1), "sigma must be within 0 and 100 pixels"),
        (lambda p: picture_effects.sharpen(p, -1), "sharpness must be zero or more"),
        (
            lambda p: picture_effects.clip_percentiles(p, 50),
            "percentile must be within 0 and below 50",
        ),
        (lambda p: picture_effects.noise(p, -0.1, seed=1), "noise's sigma must be zero or more"),
        (lambda p: picture_effects.clahe(p, 0.5), "limit must be within 1 and 256"),
        (lambda p: picture_effects.clahe(p, 2, tiles=0), "tiles must be one or more"),
        (lambda p: picture_effects.affine(p, scale=0), "scale must be above zero"),
        (lambda p: picture_effects.affine(p, shear=(50, 40)), "shear must be less than 90 degrees"),
        (lambda p: picture_effects.affine(p, shift=(math.nan, 0)), "numbers must be finite"),
        (lambda p: picture_effects.border(p, top=-1), "border widths must be zero or more"),
        (
            lambda p: picture_effects.marker(p, "X", row=1, column=1, height=9),
            "one of L, R, got 'X'",
        ),
        (
            lambda p: picture_effects.marker(p, "L", row=1, column=1, height=3),
            "height must be 4 pixels",
        ),
    ],
)
def test_impossible_numbers_are_refused(effect: Callable[[Picture], Picture], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        effect(random_picture())


def test_point_effects_on_constants() -> None:
    assert picture_effects.invert(constant(0.3)) == pytest.approx(0.7)
    assert picture_effects.gamma(constant(0.25), 0.5) == pytest.approx(0.5)
    assert picture_effects.gamma(constant(0.5), 2.0) == pytest.approx(0.25)
    assert picture_effects.gain(constant(0.4), 1.5) == pytest.approx(0.6)
    assert picture_effects.gain(constant(0.4), 3) == pytest.approx(1.0)
    assert picture_effects.brightness(constant(0.4), 0.25) == pytest.approx(0.65)
    assert picture_effects.brightness(constant(0.4), -0.5) == pytest.approx(0.0)
    assert picture_effects.contrast(constant(0.4), 3) == pytest.approx(0.4)
    for ends in (0.0, 1.0):
        assert picture_effects.gamma(constant(ends), 1.9) == pytest.approx(ends)


def test_contrast_stretches_about_the_mean() -> None:
    picture = constant(0.4)
    picture[:12] = 0.5
    result = picture_effects.contrast(picture, 2)
    assert result.mean() == pytest.approx(0.45, abs=1e-6)
    assert np.unique(result) == pytest.approx([0.35, 0.55])
    assert picture_effects.contrast(picture, 0) == pytest.approx(0.45, abs=1e-6)


def test_inverting_twice_gives_the_picture_back() -> None:
    picture = random_picture()
    np.testing.assert_allclose(
        picture_effects.invert(picture_effects.invert(picture)), picture, atol=1e-7
    )


@pytest.mark.parametrize("sigma", [0.2, 0.5, 1.0, 2.7, 6.0])
def test_blur_widens_a_dot_by_sigma_and_keeps_the_mean(sigma: float) -> None:
    picture = dot(30, 40)
    result = picture_effects.blur(picture, sigma)
    mean, spread = centre_and_spread(result)
    assert mean == pytest.approx([30, 40], abs=1e-3)
    assert spread == pytest.approx(sigma**2, rel=2e-3)
    assert result.sum(dtype=np.float64) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("sigma", [0.7, 3.0, 30.0])
@pytest.mark.parametrize("shape", [(40, 50), (3, 60)])
def test_blur_keeps_the_mean_of_any_picture(sigma: float, shape: tuple[int, int]) -> None:
    picture = random_picture(shape)
    result = picture_effects.blur(picture, sigma)
    assert result.mean(dtype=np.float64) == pytest.approx(picture.mean(dtype=np.float64), abs=1e-5)
    assert result.std() < picture.std()


def test_blur_against_a_slow_twin() -> None:
    picture, sigma = random_picture((25, 32)), 1.4
    reach = np.arange(-20, 21)
    kernel = ive(np.abs(reach), sigma**2)  # exp(-t) I_n(t)
    padded = np.pad(picture.astype(np.float64), 20, mode="symmetric")
    expected = np.zeros(picture.shape)
    for row in range(25):
        for column in range(32):
            window = padded[row : row + 41, column : column + 41]
            expected[row, column] = kernel @ window @ kernel
    np.testing.assert_allclose(picture_effects.blur(picture, sigma), expected, atol=2e-5)


def test_blur_by_nothing_is_nothing() -> None:
    picture = random_picture()
    np.testing.assert_array_equal(picture_effects.blur(picture, 0), picture)


def test_sharpen_goes_from_blurred_to_overshooting() -> None:
    picture = constant(0.4, (40, 40))
    picture[:, 20:] = 0.6
    np.testing.assert_allclose(picture_effects.sharpen(picture, 1), picture, atol=1e-6)
    np.testing.assert_allclose(
        picture_effects.sharpen(picture, 0, sigma=2), picture_effects.blur(picture, 2), atol=1e-6
    )
    sharper = picture_effects.sharpen(picture, 2, sigma=2)
    # As far beyond the step as the blur is short of it.
    short = picture_effects.blur(picture, 2)
    np.testing.assert_allclose(sharper - picture, picture - short, atol=1e-6)
    assert sharper.max() > 0.65


def test_sharpen_by_default_resembles_the_customary_kernel() -> None:
    from PIL import Image, ImageEnhance

    picture = picture_effects.blur(random_picture((64, 64)), 1.0)
    coarse = np.round(picture * 255).astype(np.uint8)
    theirs = np.asarray(ImageEnhance.Sharpness(Image.fromarray(coarse)).enhance(2.0)) / 255
    ours = picture_effects.sharpen(coarse.astype(np.float32) / 255, 2.0)
    inside = np.s_[2:-2, 2:-2]
    change = (ours - coarse / 255)[inside].ravel()
    their_change = (theirs - coarse / 255)[inside].ravel()
    assert np.corrcoef(change, their_change)[0, 1] > 0.98
    assert change.std() == pytest.approx(their_change.std(), rel=0.2)


def test_percentiles_of_a_ramp() -> None:
    ramp = np.linspace(0.2, 0.7, 1001, dtype=np.float32)[None, :].repeat(3, axis=0)
    stretched = picture_effects.clip_percentiles(ramp, 0)
    np.testing.assert_allclose(stretched[0], np.linspace(0, 1, 1001), atol=1e-5)
    clipped = picture_effects.clip_percentiles(ramp, 10)
    assert clipped[0, 100] == pytest.approx(0, abs=1e-3)
    assert clipped[0, 900] == pytest.approx(1, abs=1e-3)
    assert (clipped == 0).mean() == pytest.approx(0.1, abs=0.002)
    assert (clipped == 1).mean() == pytest.approx(0.1, abs=0.002)
    np.testing.assert_array_equal(picture_effects.clip_percentiles(constant(0.3), 5), constant(0.3))


def test_noise_has_its_sigma_and_no_pattern() -> None:
    picture = constant(0.5, (256, 256))
    grains = picture_effects.noise(picture, 0.03, seed=8).astype(np.float64) - 0.5
    assert grains.mean() == pytest.approx(0, abs=4 * 0.03 / 256)
    assert grains.std() == pytest.approx(0.03, rel=0.012)
    for shifted in (grains[1:] * grains[:-1], grains[:, 1:] * grains[:, :-1]):
        assert abs(shifted.mean()) < 4 * 0.03**2 / 256
    np.testing.assert_array_equal(picture_effects.noise(picture, 0.03, seed=8) - 0.5, grains)
    assert not np.array_equal(picture_effects.noise(picture, 0.03, seed=9) - 0.5, grains)
    np.testing.assert_array_equal(picture_effects.noise(picture, 0, seed=8), picture)


def slow_clahe(picture: Picture, limit: float, tiles: int) -> NDArray[np.float64]:
    """Zuiderveld's algorithm, pixel by pixel in float64."""

    def curves_and_centres(count: int) -> tuple[list[slice], list[float]]:
        n = min(tiles, count)
        edges = [count * i // n for i in range(n + 1)]
        cuts = [slice(a, b) for a, b in itertools.pairwise(edges)]
        return cuts, [(cut.start + cut.stop - 1) / 2 for cut in cuts]

    def neighbours(place: int, centres: list[float]) -> list[tuple[int, float]]:
        if place <= centres[0]:
            return [(0, 1.0)]
        if place >= centres[-1]:
            return [(len(centres) - 1, 1.0)]
        after = next(i for i, centre in enumerate(centres) if centre > place)
        weight = (place - centres[after - 1]) / (centres[after] - centres[after - 1])
        return [(after - 1, 1 - weight), (after, weight)]

    rows, row_centres = curves_and_centres(picture.shape[0])
    columns, column_centres = curves_and_centres(picture.shape[1])
    curves = {}
    for i, down in enumerate(rows):
        for j, across in enumerate(columns):
            tile = picture[down, across].astype(np.float64)
            counts, _ = np.histogram(tile, bins=256, range=(0, 1))
            share = counts / tile.size
            excess = sum(max(s - limit / 256, 0) for s in share)
            kept = [min(s, limit / 256) + excess / 256 for s in share]
            curves[i, j] = np.concatenate([[0], np.cumsum(kept)])
    result = np.zeros(picture.shape)
    edges = np.arange(257) / 256
    for r in range(picture.shape[0]):
        for c in range(picture.shape[1]):
            for i, down in neighbours(r, row_centres):
                for j, across in neighbours(c, column_centres):
                    mapped = np.interp(picture[r, c], edges, curves[i, j])
                    result[r, c] += down * across * mapped
    return result


@pytest.mark.parametrize(
    ("shape", "tiles"), [((40, 56), 8), ((33, 21), 4), ((3, 30), 8), ((9, 9), 1)]
)
@pytest.mark.parametrize("limit", [1.0, 2.5, 256.0])
def test_clahe_against_a_slow_twin(shape: tuple[int, int], tiles: int, limit: float) -> None:
    picture = picture_effects.blur(random_picture(shape), 1.0)
    picture[:2, :3] = 1.0
    result = picture_effects.clahe(picture, limit, tiles=tiles)
    np.testing.assert_allclose(result, slow_clahe(picture, limit, tiles), atol=2e-6)


@pytest.mark.parametrize("limit", [1.0, 2.0, 10.0])
def test_clahe_of_a_flat_picture_is_the_formula(limit: float) -> None:
    # All pixels are in one bin: limit / 256 of them stay, the rest is spread over all bins.
    grey = (77 + 0.5) / 256
    spread = 1 - limit / 256
    expected = grey * spread + 0.5 * limit / 256
    assert picture_effects.clahe(constant(grey, (64, 64)), limit) == pytest.approx(
        expected, abs=1e-6
    )


def test_clahe_pulls_two_close_levels_apart_as_far_as_the_limit_lets_it() -> None:
    picture = constant(0.42, (64, 64))
    picture[:, ::2] = 0.46
    gaps = []
    for limit in (1.0, 4.0, 40.0, 256.0):
        result = picture_effects.clahe(picture, limit)
        dark, bright = np.unique(result.round(5))
        gaps.append(bright - dark)
    assert gaps == sorted(gaps)
    # Fully equalised, half of the pixels lie between the middles of the two bins.
    assert gaps[-1] == pytest.approx(0.5, abs=0.3)
    assert gaps[-1] > 5 * (0.46 - 0.42)


def test_affine_that_does_nothing_returns_the_picture() -> None:
    for shape in ((61, 83), (60, 84)):
        np.testing.assert_array_equal(
            picture_effects.affine(random_picture(shape)), random_picture(shape)
        )


def test_affine_moves_by_whole_pixels_exactly() -> None:
    picture = random_picture()
    moved = picture_effects.affine(picture, shift=(4, -7), outside=0.25)
    np.testing.assert_allclose(moved[:-7, 4:], picture[7:, :-4], atol=1e-5)
    assert (moved[-7:] == 0.25).all()
    assert (moved[:, :4] == 0.25).all()


def test_affine_turns_anticlockwise() -> None:
    picture = random_picture((41, 41))
    for quarters in (1, 2, 3):
        turned = picture_effects.affine(picture, rotation=90 * quarters)
        np.testing.assert_allclose(turned, np.rot90(picture, quarters), atol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"rotation": 25.0},
        {"scale": 1.3},
        {"scale": 0.7},
        {"shear": (12.0, 0.0)},
        {"shear": (0.0, -9.0)},
        {"shift": (5.25, -3.5)},
        {"rotation": -40.0, "scale": 1.2, "shear": (8.0, 5.0), "shift": (2.0, 6.0)},
    ],
)
def test_affine_moves_a_dot_by_its_formula(options: dict[str, Any]) -> None:
    picture = picture_effects.blur(dot(38, 52, (81, 101)), 2.0)
    result = picture_effects.affine(picture, **options)
    angle = math.radians(options.get("rotation", 0))
    across, down = (math.tan(math.radians(a)) for a in options.get("shear", (0, 0)))
    x, y = 52 - 50, 38 - 40
    x, y = x + across * y, y + down * x
    # Anticlockwise as seen, with y downwards.
    x, y = math.cos(angle) * x + math.sin(angle) * y, math.cos(angle) * y - math.sin(angle) * x
    scale, shift = options.get("scale", 1), options.get("shift", (0, 0))
    mean, _ = centre_and_spread(result)
    assert mean == pytest.approx([40 + scale * y + shift[1], 50 + scale * x + shift[0]], abs=0.02)


def test_affine_magnifies_areas() -> None:
    picture = picture_effects.blur(dot(30, 41), 3.0)
    for scale in (0.8, 1.5):
        result = picture_effects.affine(picture, scale=scale)
        assert result.sum() == pytest.approx(scale**2, rel=0.01)


def test_affine_of_a_constant_amid_the_same_grey_is_that_constant() -> None:
    result = picture_effects.affine(constant(0.4), rotation=33, scale=0.6, outside=0.4)
    np.testing.assert_allclose(result, 0.4, atol=1e-6)


def test_flip_and_border() -> None:
    picture = random_picture()
    np.testing.assert_array_equal(picture_effects.flip(picture), picture[:, ::-1])
    framed = picture_effects.border(picture, top=3, right=5, bottom=7, left=2, grey=1.0)
    np.testing.assert_array_equal(framed[3:-7, 2:-5], picture[3:-7, 2:-5])
    inside = np.zeros(picture.shape, bool)
    inside[3:-7, 2:-5] = True
    assert (framed[~inside] == 1).all()
    assert (picture_effects.border(picture, top=900) == 0).all()
    np.testing.assert_array_equal(picture_effects.border(picture), picture)


@pytest.mark.parametrize("letter", picture_effects.MARKERS)
@pytest.mark.parametrize("height", [9.0, 40.0])
def test_a_marker_fills_its_box_and_nothing_else(letter: str, height: float) -> None:
    picture = constant(0.2, (90, 100))
    result = picture_effects.marker(picture, letter, row=20, column=30, height=height, grey=0.9)
    rows, columns = np.nonzero(result != picture)
    thick = 0.07 * height + 1
    assert abs(rows.min() - 20) <= thick
    assert abs(rows.max() - (20 + height)) <= thick
    assert abs(columns.min() - 30) <= thick
    assert abs(columns.max() - (30 + picture_effects.MARKER_WIDTH * height)) <= thick
    assert result.max() == pytest.approx(0.9)
    # Strokes, not a block.
    assert 0.15 < (result - picture).sum() / (0.7 * picture_effects.MARKER_WIDTH * height**2) < 0.8


def test_l_and_r_are_told_apart() -> None:
    blank = constant(0, (60, 60))
    left = picture_effects.marker(blank, "L", row=10, column=10, height=30)
    right = picture_effects.marker(blank, "R", row=10, column=10, height=30)
    bowl, foot = np.s_[10:24, 18:32], np.s_[38:43, 14:22]
    assert left[bowl].max() == 0
    assert right[bowl].max() == 1
    assert left[foot].mean() > 0.5 > right[foot].mean()


@pytest.mark.parametrize(("row", "column"), [(-6.5, 3), (3, -5), (86, 20), (20, 97), (300, -300)])
def test_a_marker_at_the_edge_is_cut_off(row: float, column: float) -> None:
    picture = random_picture((90, 100))
    result = picture_effects.marker(picture, "R", row=row, column=column, height=14)
    whole = picture_effects.marker(
        np.pad(picture, 400), "R", row=row + 400, column=column + 400, height=14
    )
    np.testing.assert_allclose(result, whole[400:490, 400:500], atol=1e-6)
