from __future__ import annotations

import math

import numpy as np
import pytest

from drr.kernels.cpu.image.blur import convolve
from drr.kernels.cpu.image.taps import box_taps, gaussian_taps, lorentzian_taps
from drr.kernels.reference.blur import convolve as convolve_slowly

SIZES = [0.05, 0.3, 0.7, 1.0, 1.7, 2.9, 3.0, 6.4]
MAKERS = [box_taps, gaussian_taps, lorentzian_taps]


def mtf(taps: np.ndarray, frequency: float) -> float:
    """Discrete transfer at a frequency in cycles per pixel."""
    n = np.arange(1, len(taps))
    return float(taps[0] + 2 * np.sum(taps[1:] * np.cos(2 * np.pi * frequency * n)))


def gaussian(sigma: float, frequency: float) -> float:
    return math.exp(-2 * (math.pi * sigma * frequency) ** 2)


def lorentzian(decay: float, frequency: float) -> float:
    return 1 / (1 + (2 * math.pi * decay * frequency) ** 2)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("make", MAKERS)
def test_taps_neither_gain_nor_lose_energy_and_are_never_negative(make, size):
    taps = make(size)
    assert 2 * taps.sum() - taps[0] == pytest.approx(1, abs=1e-12)
    assert taps.min() >= 0
    assert (np.diff(taps) <= 1e-12).all()


@pytest.mark.parametrize("make", MAKERS)
def test_no_blur_is_one_tap(make):
    assert make(0.0).tolist() == [1.0]


@pytest.mark.parametrize("width", SIZES)
def test_variance_of_a_box_is_that_of_its_width(width):
    taps = box_taps(width)
    assert 2 * np.sum(taps * np.arange(len(taps)) ** 2) == pytest.approx(width**2 / 12, rel=1e-9)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("make", "formula"), [(gaussian_taps, gaussian), (lorentzian_taps, lorentzian)]
)
def test_mtf_is_exact_at_one_half_or_half_nyquist(make, formula, size):
    frequencies = np.linspace(0.001, 0.25, 2000)
    half = min(frequencies, key=lambda f: abs(formula(size, f) - 0.5))
    assert mtf(make(size), half) == pytest.approx(formula(size, half), abs=2e-3)
    for frequency in np.linspace(0, half, 9):
        assert mtf(make(size), frequency) == pytest.approx(formula(size, frequency), abs=0.025)


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (17, 40), (40, 17)])
@pytest.mark.parametrize("threads", [1, 3])
def test_fast_blur_is_its_twin_and_mirrors_the_borders(shape, threads):
    image = np.random.default_rng(1).random(shape, np.float32)
    for down, across in (
        (gaussian_taps(2.5), box_taps(0.4)),
        (np.ones(1), lorentzian_taps(1.5)),
        (box_taps(7.0), np.ones(1)),
    ):
        fast = convolve(image, down, across, threads=threads)
        np.testing.assert_allclose(fast, convolve_slowly(image, down, across), atol=2e-6)
        assert fast.sum(dtype=np.float64) == pytest.approx(image.sum(dtype=np.float64), rel=1e-6)


def test_images_are_the_same_on_any_number_of_threads():
    image = np.random.default_rng(2).random((61, 47), np.float32)
    taps = gaussian_taps(1.3)
    one = convolve(image, taps, taps, threads=1)
    for threads in (2, 5, 100):
        np.testing.assert_array_equal(convolve(image, taps, taps, threads=threads), one)


def test_a_constant_stays():
    image = np.full((9, 11), 0.3, np.float32)
    taps = lorentzian_taps(3.0)
    np.testing.assert_allclose(convolve(image, taps, taps), 0.3, rtol=1e-6)


def test_a_point_becomes_the_product_of_the_taps():
    image = np.zeros((31, 31), np.float32)
    image[15, 15] = 1
    down, across = gaussian_taps(1.0), box_taps(3.3)
    spread = convolve(image, down, across)
    for i in range(len(down)):
        for j in range(len(across)):
            expected = down[i] * across[j]
            assert spread[15 - i, 15 + j] == pytest.approx(expected, rel=1e-6)
            assert spread[15 + i, 15 - j] == pytest.approx(expected, rel=1e-6)
