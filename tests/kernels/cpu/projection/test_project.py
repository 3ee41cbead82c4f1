"""The CPU back-end as a whole: several channels of one pass."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import UNIT, affine_of, random_hu, rays_at

from drr.kernels.cpu.projection.project import (
    METHODS,
    QUALITIES,
    Mapping,
    project,
    project_channels,
)
from drr.physics.attenuation import Attenuation

DENSE = Attenuation(hu=(300.0, 1300.0), mu=(0.0, 2.0))
STEP = Attenuation(hu=(199.0, 200.0, 201.0), mu=(0.0, 1.0, 1.0))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("primary", "secondary"), [(0, 0), (90, 0), (30, 15), (0, 90)])
def test_channels_are_the_single_projections_to_the_bit(
    method: str, primary: float, secondary: float
) -> None:
    shape = (20, 24, 28)
    rays = rays_at(affine_of(shape, (1.5, 2.0, 2.5)), primary, secondary)
    hu = random_hu(shape)
    mappings = [attenuation.mapping for attenuation in (UNIT, DENSE, STEP)]
    channels = project_channels(hu, mappings, rays, method=method, threads=2)
    assert channels.shape == (3, *rays.shape)
    for channel, mapping in zip(channels, mappings, strict=True):
        single = project(hu, mapping, rays, method=method, threads=1)
        np.testing.assert_array_equal(channel, single)
        assert single.any()


def box_in_air(value: int) -> np.ndarray:
    hu = np.full((24, 30, 36), -1000, np.int16)
    hu[8:16, 10:20, 12:24] = value
    return hu


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize(("primary", "secondary"), [(0, 0), (90, 0), (30, 15), (0, 90), (47, 0)])
def test_beside_an_edge_no_line_integral_is_below_zero(
    primary: float, secondary: float, quality: str
) -> None:
    """Cubic interpolation alone undershoots there by some per cent of what is behind the edge."""
    hu = box_in_air(3000)
    mappings = [attenuation.mapping for attenuation in (UNIT, DENSE, STEP)]
    for pitch in (0.37, 1.1, 2.3):
        rays = rays_at(
            affine_of(hu.shape, (1.5, 2.0, 2.5)), primary, secondary, shape=(80, 90), pitch=pitch
        )
        images = project_channels(hu, mappings, rays, quality=quality)
        assert images.min() >= 0
        assert images.max() > 0


def test_only_below_zero_is_anything_changed() -> None:
    hu = box_in_air(1000)
    rays = rays_at(affine_of(hu.shape, (1.5, 2.0, 2.5)), 30, 15, shape=(80, 90), pitch=0.7)
    unit = UNIT.mapping
    # One value that no voxel has attenuates less than nothing.
    table = unit.table.copy()
    table[0] = -1e-6
    free = project(hu, Mapping(table, unit.thresholds, unit.slopes), rays)
    assert free.min() < -1e-3 * free.max()
    np.testing.assert_array_equal(project(hu, unit, rays), np.maximum(free, 0))


def test_an_attenuation_below_zero_stays_so() -> None:
    table = np.where(np.arange(-32768, 32768) > 0, np.float32(-1), np.float32(0))
    mapping = Mapping(table, np.empty(0, np.float32), np.empty(0, np.float32))
    rays = rays_at(affine_of((24, 30, 36), (1.5, 2.0, 2.5)), 0, 0)
    for method in METHODS:
        assert project(box_in_air(50), mapping, rays, method=method).min() < -10
