from __future__ import annotations

import numpy as np
import pytest

from drr.kernels.cpu.image import exposure as fast
from drr.kernels.cpu.image.nodes import GAUSSIAN_FROM, Nodes
from drr.kernels.reference import exposure as slow


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def nodes(rng: np.random.Generator) -> Nodes:
    return Nodes(values=rng.random((5, 7)), first=(-5.0, -4.5), step=(10.0, 9.0))


def test_nodes_are_bilinear():
    values = np.add.outer(10.0 * np.arange(4), np.arange(5.0))
    image = Nodes(values=values, first=(-2, -1), step=(4, 2)).image((9, 6))
    expected = np.add.outer(10 * (np.arange(9) + 2) / 4, (np.arange(6) + 1) / 2)
    np.testing.assert_allclose(image, expected)


@pytest.mark.parametrize("threads", [1, 3])
def test_illuminate(rng, threads):
    image = rng.random((33, 41), np.float32)
    down, across, smooth = rng.random(33), rng.random(41), nodes(rng)
    expected = slow.illuminate(image, down, across, smooth)
    fast.illuminate(image, down, across, smooth, threads=threads)
    np.testing.assert_allclose(image, expected, rtol=1e-5)


@pytest.mark.parametrize("block", [(1, 1), (4, 7), (33, 41), (50, 60)])
@pytest.mark.parametrize("threads", [1, 3])
def test_block_sums(rng, block, threads):
    p = (rng.random((33, 41)) * 5 - 0.5).astype(np.float32)
    primary = np.exp(-p)
    options = {
        "growth": 0.2,
        "threshold": 0.3,
        "field": (np.arange(33) > 3, np.arange(41) < 37),
    }
    expected = slow.block_sums(primary, p, block, **options)
    found = fast.block_sums(primary, p, block, **options, threads=threads)
    assert found.shape == (3, -(-33 // block[0]), -(-41 // block[1]))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("quanta", [1e6, 300.0, 20.0, 0.5])
@pytest.mark.parametrize("threads", [1, 3])
def test_expose(rng, quanta, threads):
    primary = rng.random((33, 41), np.float32)
    primary[3:5] = 0
    normals = rng.standard_normal((33, 41), np.float32)
    expected = slow.expose(primary, nodes(np.random.default_rng(1)), normals, quanta=quanta)
    scatter = nodes(np.random.default_rng(1))
    fast.expose(primary, scatter, normals, quanta=quanta, threads=threads)
    # A probability within float32's rounding of a step may fall to its other side.
    off = np.abs(primary - expected) > 1e-5
    assert off.mean() < 2e-3
    assert np.abs(primary - expected).max() < 1.001 / min(quanta, 1e4)


def test_expose_without_noise_is_the_expectation(rng):
    primary = rng.random((33, 41), np.float32)
    before, scatter = primary.copy(), nodes(rng)
    fast.expose(primary, scatter, None, quanta=np.inf)
    np.testing.assert_allclose(primary, before + scatter.image((33, 41)), rtol=1e-5)
    fast.expose(before, None, None, quanta=np.inf)
    np.testing.assert_array_equal(
        before, slow.expose(before, None, None, quanta=np.inf).astype(np.float32)
    )


@pytest.mark.parametrize("mean", [0.1, 2.0, 20.0, 49.9, 50.1, 400.0])
def test_quanta_have_the_mean_and_variance_of_poisson(rng, mean):
    count = 40000
    quanta = 1000.0
    image = np.full((200, 200), mean / quanta, np.float32)
    fast.expose(image, None, rng.standard_normal((200, 200), np.float32), quanta=quanta)
    numbers = image.astype(np.float64) * quanta
    assert numbers.mean() == pytest.approx(mean, abs=4.5 * np.sqrt(mean / count))
    # The variance of a sample variance: mu4 = mean + 3 mean^2.
    error = np.sqrt((mean + 2 * mean**2) / count)
    assert numbers.var() == pytest.approx(mean, abs=4.5 * error)
    assert numbers.min() >= 0
    if mean < GAUSSIAN_FROM:
        np.testing.assert_allclose(numbers, np.round(numbers), atol=1e-3)
    if mean < 3:
        nothing = (numbers < 0.5).mean()
        assert nothing == pytest.approx(np.exp(-mean), abs=4.5 * np.sqrt(0.25 / count))


def test_quanta_of_nothing_are_none():
    image = np.zeros((4, 5), np.float32)
    fast.expose(image, None, np.full((4, 5), 5.0, np.float32), quanta=100.0)
    assert not image.any()
