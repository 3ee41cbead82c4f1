"""The multi-scale kernel against its float64 twin, and what its bands do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drr.kernels.cpu.image.pyramid import SMALLEST, amplify_bands
from drr.kernels.reference import pyramid


def noise(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Detail of all sizes: noise that has been summed up a little along both axes."""
    values = np.random.default_rng(seed).normal(size=shape)
    values = values + 0.3 * (np.cumsum(values, axis=0) + np.cumsum(values, axis=1))
    return values.astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 70),
    columns=st.integers(1, 70),
    gains=st.lists(st.floats(0, 8.5), max_size=5),
    knee=st.floats(0.01, 10),
)
def test_the_twin_agrees(rows: int, columns: int, gains: list[float], knee: float) -> None:
    image = noise((rows, columns), seed=rows)
    expected = pyramid.amplify_bands(image, gains, knee, SMALLEST)
    result = amplify_bands(image, gains, knee)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=0, atol=2e-5 * np.abs(image).max())


def test_the_twin_agrees_on_an_image_of_many_ranges_of_rows() -> None:
    image = noise((301, 517))
    expected = pyramid.amplify_bands(image, [3.0, 2.5, 2.0, 1.5, 0.5, 1.2], 0.7)
    result = amplify_bands(image, [3.0, 2.5, 2.0, 1.5, 0.5, 1.2], 0.7, threads=4)
    np.testing.assert_allclose(result, expected, rtol=0, atol=2e-5 * np.abs(image).max())


def test_any_number_of_threads_gives_the_same_bits() -> None:
    image = noise((400, 413))
    once = amplify_bands(image, [3.0, 2.0, 1.5, 1.2], 0.5, threads=1)
    for threads in (2, 3, 7, 16):
        np.testing.assert_array_equal(
            once, amplify_bands(image, [3.0, 2.0, 1.5, 1.2], 0.5, threads=threads)
        )


def test_the_image_stays_and_a_gain_of_one_changes_nothing() -> None:
    image = noise((90, 70))
    before = image.copy()
    result = amplify_bands(image, [1.0] * 5, 0.1)
    np.testing.assert_allclose(result, image, atol=1e-5)
    np.testing.assert_array_equal(image, before)
    unchanged = amplify_bands(image, [], 0.1)
    assert unchanged is not image
    np.testing.assert_array_equal(unchanged, image)


def test_each_gain_amplifies_detail_of_its_size() -> None:
    across = np.indices((256, 256))[1]
    for period, band in ((4, 0), (10, 1), (20, 2), (40, 3)):
        waves = (1e-3 * np.sin(2 * np.pi * across / period)).astype(np.float32)
        stronger = [
            amplify_bands(waves, np.where(np.arange(4) == k, 3.0, 1.0).tolist(), 1.0).std()
            / waves.std()
            for k in range(4)
        ]
        assert np.argmax(stronger) == band
        assert stronger[band] > 1.8


def test_faint_detail_is_amplified_and_a_strong_edge_is_not() -> None:
    step = np.zeros((128, 128), np.float32)
    step[:, 64:] = 1.0
    gains = [3.0] * 4
    faint = amplify_bands(0.001 * step, gains, 0.05) / 0.001
    strong = amplify_bands(step, gains, 0.05)
    assert faint.max() > 1.3
    # A band adds (gain - 1) knee / 2 at most, however strong the edge is.
    most = sum((gain - 1) * 0.05 / 2 for gain in gains)
    assert strong.max() < 1 + most
    assert strong.min() > -most
    linear = amplify_bands(step, gains, 1e3)
    assert strong.max() - 1 < (linear.max() - 1) / 2


@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (8, 8), (9, 15)])
def test_a_small_image_has_fewer_bands(shape: tuple[int, int]) -> None:
    image = noise(shape)
    expected = pyramid.amplify_bands(image, [2.0] * 9, 1.0)
    np.testing.assert_allclose(amplify_bands(image, [2.0] * 9, 1.0), expected, atol=1e-4)
