"""The film's curve and whole grey levels, against their formulas in float64."""

from __future__ import annotations

import numpy as np
import pytest

from drr.kernels.cpu.image.curve import bend, whole_levels

CURVE = {"slope": 9.0, "middle": 0.5, "scale": 1.02, "toe": 0.011, "brightest": 0.95}


def expected(x: np.ndarray, *, slope, middle, scale, toe, brightest, invert=False) -> np.ndarray:
    with np.errstate(over="ignore"):
        s = 1 / (1 + np.exp(-slope * (x.astype(np.float64) - middle)))
    grey = np.clip(scale * (s - toe), 0, brightest)
    return 1 - grey if invert else grey


@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("changes", [{}, {"slope": 50.0}, {"slope": 0.3, "middle": 0.0}])
def test_the_curve_is_its_formula(changes, invert):
    options = {**CURVE, **changes, "invert": invert}
    far = [-1e30, -1e4, -40.0, 40.0, 1e4, 1e30, 0.0, 0.5]
    x = np.concatenate([np.linspace(-2, 3, 50001), far]).astype(np.float32)
    truth = expected(x, **options)
    bend(x, **options)
    assert np.abs(x - truth).max() < 3e-7


def test_the_curve_never_falls():
    x = np.linspace(-1, 2, 400001).astype(np.float32)
    bend(x, **CURVE, invert=False)
    # Neighbours are nearer than float32 tells apart.
    assert np.diff(x).min() > -2e-7


@pytest.mark.parametrize("size", [1, 7, 8, 9, 200003])
def test_every_pixel_is_bent_alike_by_any_number_of_threads(size):
    x = np.random.default_rng(0).normal(0.5, 0.5, size).astype(np.float32)
    images = []
    for threads in (1, 3):
        image = x.copy()
        bend(image, **CURVE, invert=False, threads=threads)
        images.append(image)
    np.testing.assert_array_equal(*images)
    alone = x[-1:].copy()
    bend(alone, **CURVE, invert=False)
    assert alone[0] == images[0][-1]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_levels_are_the_nearest_whole_numbers(kind):
    levels = np.iinfo(kind).max
    whole = np.arange(levels + 1)
    near = np.concatenate([whole, whole[:-1] + 0.4999, whole[:-1] + 0.5001]) / levels
    picture = np.concatenate([near, [-0.5, 1.5, 0.5]]).astype(np.float32)[:, None]
    out = np.empty(picture.shape, kind)
    whole_levels(picture, out)
    truth = np.rint(np.clip(picture, 0, 1).astype(np.float64) * levels)
    np.testing.assert_array_equal(out, truth)
    assert out[-3:, 0].tolist() == [0, levels, (levels + 1) // 2]


def test_levels_of_a_picture_that_is_not_contiguous():
    picture = np.random.default_rng(0).random((20, 30), dtype=np.float32)
    out = np.empty((10, 30), np.uint8)
    whole_levels(picture[::2], out)
    np.testing.assert_array_equal(out, np.rint(picture[::2].astype(np.float64) * 255))
