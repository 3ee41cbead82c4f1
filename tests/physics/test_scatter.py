from __future__ import annotations

import functools
import itertools
import math

import numba
import numpy as np
import pytest
import xraydb

from drr.errors import BeamError
from drr.physics.scatter import GRIDS, Grid, Scatter

KEV = np.arange(15.0, 81.0)


def attenuation(element: str, kind: str, density: float) -> np.ndarray:
    """1/mm at every energy of `KEV`."""
    return np.array([xraydb.mu_elam(element, 1e3 * kev, kind=kind) for kev in KEV]) * density / 10


@functools.lru_cache
def water() -> tuple[np.ndarray, np.ndarray]:
    """Incoherent and photoelectric attenuation of water, 1/mm."""
    parts = (("H", 0.1119), ("O", 0.8881))
    incoherent, photoelectric = (
        sum(attenuation(element, kind, weight) for element, weight in parts)
        for kind in ("incoh", "photo")
    )
    return np.asarray(incoherent), np.asarray(photoelectric)


@numba.njit
def scattered_photons(count, kev, thickness, gap, incoherent, photoelectric, seed):
    """A pencil beam on a slab of water, free electrons: radius, energy and direction behind it."""
    np.random.seed(seed)
    found = np.empty((count, 5))
    n = 0
    for _ in range(count):
        x = y = z = 0.0
        u = v = 0.0
        w, energy, scatters = 1.0, kev, 0
        while energy > 15.0:
            i = int(energy - 15.0)
            f = energy - 15.0 - i
            compton = incoherent[i] + f * (incoherent[min(i + 1, 65)] - incoherent[i])
            absorbed = photoelectric[i] + f * (photoelectric[min(i + 1, 65)] - photoelectric[i])
            step = -math.log(1 - np.random.random()) / (compton + absorbed)
            x, y, z = x + u * step, y + v * step, z + w * step
            if z < 0:
                break
            if z > thickness:
                if scatters > 0:
                    beyond = (z - thickness - gap) / w
                    x, y = x - u * beyond, y - v * beyond
                    found[n] = math.sqrt(x * x + y * y), energy, u, v, w
                    n += 1
                break
            if np.random.random() * (compton + absorbed) < absorbed:
                break
            scatters += 1
            while True:  # Klein and Nishina
                cosine = 2 * np.random.random() - 1
                q = 1 / (1 + energy / 511.0 * (1 - cosine))
                if 2 * np.random.random() <= q * q * (q + 1 / q - 1 + cosine * cosine):
                    break
            energy *= q
            phi, sine = 2 * np.pi * np.random.random(), math.sqrt(1 - cosine * cosine)
            a, b = math.cos(phi) * sine, math.sin(phi) * sine
            if abs(w) < 0.99999:
                d = math.sqrt(1 - w * w)
                u, v, w = (
                    u * cosine + (u * w * a - v * b) / d,
                    v * cosine + (v * w * a + u * b) / d,
                    w * cosine - d * a,
                )
            else:
                u, v, w = a, b, cosine * np.sign(w)
    return found[:n]


@functools.lru_cache
def behind_water(thickness: float, count: int = 150_000) -> tuple[np.ndarray, float]:
    """Scattered photons, and the energy of the primary."""
    photons = scattered_photons(count, 60.0, thickness, 15.0, *water(), 1)
    return photons, 60.0 * count * math.exp(-line_integral(thickness))


def line_integral(thickness: float) -> float:
    return thickness * float(sum(np.interp(60.0, KEV, values) for values in water()))


@pytest.mark.parametrize("thickness", [20.0, 50.0, 100.0, 200.0, 300.0])
def test_scatter_to_primary_is_that_of_a_monte_carlo_simulation(thickness):
    photons, primary = behind_water(thickness)
    p, scatter = line_integral(thickness), Scatter()
    simulated = photons[:, 1].sum() / primary
    assert scatter.amplitude * p * (1 + scatter.growth * p) == pytest.approx(simulated, rel=0.07)


def test_radii_are_those_of_a_monte_carlo_simulation():
    photons, _ = behind_water(200.0)
    scatter = Scatter()
    for radius in (40.0, 80.0, 130.0, 200.0, 300.0):
        simulated = photons[photons[:, 0] < radius, 1].sum() / photons[:, 1].sum()
        terms = zip(scatter.weights, scatter.sigmas, strict=True)
        model = sum(w * (1 - math.exp(-0.5 * (radius / sigma) ** 2)) for w, sigma in terms)
        assert model == pytest.approx(simulated, abs=0.04)


@pytest.mark.parametrize("ratio", [6, 10, 12])
def test_grid_table_is_that_of_a_monte_carlo_simulation(ratio):
    photons, _ = behind_water(200.0)
    lead, aluminium = (
        np.interp(photons[:, 1], KEV, attenuation(element, "total", density))
        for element, density in (("Pb", 11.35), ("Al", 2.699))
    )
    gap, strip, height = 0.2, 0.045, 0.2 * ratio
    period = gap + strip
    sideways = height * np.abs(photons[:, 2]) / photons[:, 4]
    start = np.random.default_rng(1).random(len(photons)) * period

    def lead_up_to(x: np.ndarray) -> np.ndarray:
        return np.floor(x / period) * strip + np.minimum(x % period, strip)

    share = (lead_up_to(start + sideways) - lead_up_to(start)) / np.maximum(sideways, 1e-12)
    share = np.clip(np.where(sideways < 1e-9, start < strip, share), 0, 1)
    path = height / photons[:, 4]
    passed = np.exp(-path * (lead * share + aluminium * (1 - share)))
    scatter = np.sum(photons[:, 1] * passed) / photons[:, 1].sum()
    along_strips = height * float(np.interp(60.0, KEV, attenuation("Al", "total", 2.699)))
    primary = gap / period * math.exp(-along_strips)
    assert GRIDS[ratio] == (pytest.approx(primary, abs=0.003), pytest.approx(scatter, rel=0.05))


def test_scatter_keeps_its_energy_and_is_that_of_the_direct_convolution():
    scatter = Scatter(sigmas=(12.0, 30.0), weights=(0.3, 0.7))
    pitch, shape = 2.0, (151, 160)
    image = np.zeros(shape)
    image[60:90, 70:84] = np.random.default_rng(1).random((30, 14))
    block = scatter.block(pitch, pitch)
    padded = np.pad(image, [(0, -n % b) for n, b in zip(shape, block, strict=True)])
    sums = padded.reshape(padded.shape[0] // block[0], block[0], -1, block[1]).sum((1, 3))
    nodes = scatter.spread(sums, block, (pitch, pitch))
    found = nodes.image(shape)
    direct = np.zeros(shape)
    i, j = np.indices(shape)
    for y, x in zip(*np.nonzero(image), strict=True):
        squared = ((i - y) ** 2 + (j - x) ** 2) * pitch**2
        for sigma, weight in zip(scatter.sigmas, scatter.weights, strict=True):
            density = np.exp(-squared / (2 * sigma**2)) / (2 * np.pi * sigma**2)
            direct += weight * image[y, x] * density * pitch**2
    np.testing.assert_allclose(found, direct, atol=0.01 * direct.max())
    assert found.sum() == pytest.approx(image.sum(), rel=0.02)


def test_blocks_follow_the_narrower_gaussian():
    assert Scatter().block(0.5, 0.25) == (15, 30)
    assert Scatter(sigmas=(105.0, 45.0), weights=(0.5, 0.5)).block(0.5, 0.25) == (15, 30)
    assert Scatter().block(40.0, 40.0) == (1, 1)


def test_grids_between_the_table_are_interpolated_and_others_can_be_given():
    assert Grid(ratio=11).primary_transmission == pytest.approx((0.703 + 0.682) / 2)
    assert Grid(ratio=12).selectivity == pytest.approx(0.682 / 0.049)
    own = Grid(ratio=8, primary_transmission=0.65, scatter_transmission=0.13)
    assert own.selectivity == pytest.approx(5)


def test_higher_ratios_pass_less_and_select_more():
    grids = [Grid(ratio=ratio) for ratio in sorted(GRIDS)]
    assert all(a.selectivity < b.selectivity for a, b in itertools.pairwise(grids))
    assert all(
        a.primary_transmission > b.primary_transmission for a, b in itertools.pairwise(grids)
    )


def test_contrast_improvement_is_primary_over_total_transmission():
    grid, ratio = Grid(ratio=10), 4.0
    total = (grid.primary_transmission + ratio * grid.scatter_transmission) / (1 + ratio)
    assert grid.contrast_improvement(ratio) == pytest.approx(grid.primary_transmission / total)
    assert grid.contrast_improvement(0.0) == 1.0


@pytest.mark.parametrize("value", [Scatter(fraction=0.6, sigmas=(20, 80)), Grid(ratio=9)])
def test_repr_and_record_round_trip(value):
    assert eval(repr(value)) == value
    assert type(value).from_dict(value.to_dict()) == value


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Scatter(fraction=1.2), "scatter fraction must be from 0 to 0.95, got 1.2"),
        (lambda: Scatter(fraction=-0.1), "scatter fraction"),
        (lambda: Scatter(fraction="much"), "scatter fraction must be a finite number, got 'much'"),
        (lambda: Scatter(amplitude=-1), "scatter amplitude"),
        (lambda: Scatter(growth=math.nan), "scatter growth must be a finite number"),
        (lambda: Scatter(sigmas=(1, 50)), "scatter sigmas must be from 10 to 500 mm, got 1"),
        (lambda: Scatter(sigmas=50), "scatter sigmas must be two numbers in mm"),
        (lambda: Scatter(weights=(0.5, 0.6)), "add up to one"),
        (lambda: Grid(ratio=40), "grid ratio must be from 4 to 16, got 40"),
        (lambda: Grid(ratio=True), "grid ratio must be a finite number"),
        (lambda: Grid(ratio=8, scatter_transmission=0), "scatter_transmission must be above 0"),
        (lambda: Grid(ratio=8, primary_transmission=1.5), "primary_transmission"),
        (lambda: Grid(ratio=8, primary_transmission=0.1, scatter_transmission=0.5), "exchange"),
        (lambda: Scatter.from_dict({"fractoin": 0.5}), "did you mean 'fraction'"),
        (lambda: Grid.from_dict({}), "lacks 'ratio'"),
        (lambda: Grid.from_dict([8]), "mapping"),
    ],
)
def test_refuses_what_is_no_scatter_and_no_grid(make, message):
    with pytest.raises(BeamError, match=message):
        make()
