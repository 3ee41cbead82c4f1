from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from drr.kernels.cpu.body.continuation import (
    blend_slices,
    blur_inside,
    fill_sides,
    last_on_rays,
    may_be_filled,
    mean_slice,
    running_means,
)


@pytest.mark.parametrize("threads", [1, 3])
def test_blended_slices_are_weighted_sums(threads: int) -> None:
    rng = np.random.default_rng(0)
    slices = rng.uniform(-1000, 1000, (3, 7, 11)).astype(np.float32)
    weights = rng.dirichlet((1, 1, 1), 9).astype(np.float32)
    weights[0] = (1, 0, 0)
    out = np.empty((9, 7, 11), np.int16)
    blend_slices(slices, weights, out, threads=threads)
    expected = np.einsum("km,myx->kyx", weights.astype(float), slices.astype(float))
    assert np.abs(out - expected).max() <= 0.501


def filled(values, radius, sector, share, edge, outline, inner, outer, background, fade):
    """Reference: voxel by voxel in float64."""
    out = values.copy()
    for (z, y, x), value in np.ndenumerate(values):
        r, a, f = float(radius[y, x]), sector[y, x], float(share[y, x])
        limit, reach, at_edge = (
            (1 - f) * float(t[a]) + f * float(t[(a + 1) % t.size])
            for t in (edge, outline[z], inner[z])
        )
        if value > background or not limit < r < reach:
            continue
        tissue = outer + (reach - r) / (reach - limit) * (at_edge - outer)
        out[z, y, x] = round(background + min((reach - r) / fade, 1) * (tissue - background))
    return out


@pytest.mark.parametrize("threads", [1, 4])
def test_sides_are_filled_between_edge_and_outline(threads: int) -> None:
    rng = np.random.default_rng(1)
    values = rng.choice(np.array([-2048, -1000, 40], np.int16), (3, 31, 37))
    y, x = np.mgrid[-15:16, -18:19]
    radius = np.hypot(x, y).astype(np.float32)
    turn = np.arctan2(y, x) / (2 * np.pi) * 24
    sector = (np.floor(turn) % 24).astype(np.int16)
    share = (turn - np.floor(turn)).astype(np.float32)
    edge = rng.uniform(5, 8, 24).astype(np.float32)
    outline = rng.uniform(4, 17, (3, 24)).astype(np.float32)
    inner = rng.uniform(-150, 60, (3, 24)).astype(np.float32)
    expected = filled(values, radius, sector, share, edge, outline, inner, -100.0, -1000, 2.5)
    where = radius.ravel(), sector.ravel(), share.ravel()
    places = np.flatnonzero(may_be_filled(*where, edge, outline))
    fill_sides(
        *(values, places, *(a[places] for a in where)),
        *(edge, outline, inner),
        outer=-100.0,
        background=-1000,
        fade=2.5,
        threads=threads,
    )
    assert (values != expected).mean() < 0.01
    assert np.abs(values.astype(int) - expected).max() <= 1


def test_nothing_beyond_the_edge_leaves_all() -> None:
    values = np.full((2, 5, 5), -1000, np.int16)
    zeros = np.zeros(25, np.float32)
    table = np.zeros((2, 4), np.float32)
    fill_sides(
        *(values, np.arange(25), zeros, np.zeros(25, np.int16), zeros),
        *(np.ones(4, np.float32), table, table),
        outer=-100.0,
        background=-1000,
        fade=5.0,
    )
    assert (values == -1000).all()


@pytest.mark.parametrize("radii", [(0,), (1,), (4,), (30,), (1, 1, 2), (4, 4, 4)])
def test_running_means_are_those_of_what_is_inside(radii: tuple[int, ...]) -> None:
    image = np.random.default_rng(2).uniform(-1, 1, (17, 5))
    expected = image
    for radius in radii:
        expected = np.stack(
            [expected[max(0, n - radius) : n + radius + 1].mean(axis=0) for n in range(17)]
        )
    np.testing.assert_allclose(running_means(image.copy(), radii), expected, atol=1e-12)


@pytest.mark.parametrize("sigmas", [(3.0, 4.0), (6.0, 6.0), (14.3, 9.1)])
@pytest.mark.parametrize("shape", [(40, 61), (90, 120)])
def test_a_blur_inside_a_mask_is_gaussian_and_knows_nothing_outside(
    shape: tuple[int, int], sigmas: tuple[float, float]
) -> None:
    rng = np.random.default_rng(6)
    y, x = np.ogrid[: shape[0], : shape[1]]
    inside = np.hypot(y - shape[0] / 2, x - shape[1] / 2) < max(shape) / 2.5
    # Smooth, as a mean of slices is.
    image = gaussian_filter(rng.uniform(-4000, 4000, shape), 2.0).astype(np.float32)
    image[~inside] = -1000
    blurred = np.empty_like(image)
    blur_inside(image, inside, sigmas, blurred)
    total, share = (
        gaussian_filter(a.astype(float), sigmas, mode="constant", truncate=8)
        for a in (image * inside, inside)
    )
    expected = np.where(inside, total / np.maximum(share, 1e-6), image)
    # Far less than what the blur takes away.
    assert np.std((blurred - expected)[inside]) < 0.1 * np.std((image - expected)[inside])
    assert (blurred[~inside] == -1000).all()


@pytest.mark.parametrize("shape", [(1, 1), (2, 90), (50, 70)])
def test_a_blur_leaves_what_is_even_as_it_is(shape: tuple[int, int]) -> None:
    image, blurred = np.full(shape, 37, np.float32), np.empty(shape, np.float32)
    blur_inside(image, np.ones(shape, bool), (11.0, 8.0), blurred)
    np.testing.assert_allclose(blurred, 37, rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 3, 5), (12, 50, 60)])
@pytest.mark.parametrize("step", [1, -1])
def test_a_mean_slice_is_that_of_clamped_values(shape: tuple[int, int, int], step: int) -> None:
    values = np.random.default_rng(4).integers(-3000, 3000, shape).astype(np.int16)
    mean = np.empty(shape[1:], np.float32)
    mean_slice(values[::step], -1000, 500, mean)
    np.testing.assert_allclose(mean, np.clip(values, -1000, 500).mean(axis=0), rtol=1e-6)


def test_the_last_sample_on_a_ray_lies_in_the_mask_and_is_seen() -> None:
    rng = np.random.default_rng(5)
    mask, places = rng.random((4, 6, 7)) < 0.3, rng.integers(0, 42, (9, 11))
    seen = rng.random((9, 11)) < 0.7
    seen[3] = False
    within = mask.reshape(4, -1)[:, places] & seen
    expected = np.max(within * np.arange(1, 12), axis=2)
    np.testing.assert_array_equal(last_on_rays(mask, places, seen), expected)
