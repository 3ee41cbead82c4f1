"""The float64 twins against geometry that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import ANGLES, affine_of, box_chords, rays_at

from drr.kernels.rays import rays_in_voxels
from drr.kernels.reference import projection

SHAPE, SPACING = (11, 13, 17), (1.5, 2.0, 3.0)


@pytest.mark.parametrize("angles", ANGLES)
@pytest.mark.parametrize("distance", [500.0, np.inf])
def test_siddon_is_exact_on_a_uniform_box(angles, distance):
    affine = affine_of(SHAPE, SPACING, shear=0.1)
    rays = rays_at(affine, *angles, detector=distance, shape=(9, 8), pitch=5.3)
    path = projection.siddon(np.ones(SHAPE), rays)
    np.testing.assert_allclose(path, box_chords(rays, SHAPE), atol=1e-9)
    assert path.max() > 20


def test_joseph_sums_the_planes_of_a_straight_ray():
    mu = np.arange(5 * 6 * 7, dtype=float).reshape(5, 6, 7)
    rays = rays_in_voxels(
        source=(3.0, -100.0, 2.0),
        direction=None,
        detector_center=(3.0, 100.0, 2.0),
        u=(1.0, 0, 0),
        v=(0, 0, 1.0),
        shape=(1, 1),
        affine=np.eye(4),
    )
    assert projection.joseph(mu, rays)[0, 0] == pytest.approx(mu[2, :, 3].sum())


def test_a_ray_ends_at_its_pixel():
    rays = rays_in_voxels(
        source=(2.0, -50.0, 2.0),
        direction=None,
        detector_center=(2.0, 1.25, 2.0),
        u=(1.0, 0, 0),
        v=(0, 0, 1.0),
        shape=(1, 1),
        affine=np.eye(4),
    )
    mu = np.ones((5, 5, 5))
    # From the face at -0.5 to the detector at 1.25.
    assert projection.siddon(mu, rays)[0, 0] == pytest.approx(1.75)
    assert projection.joseph(mu, rays)[0, 0] == pytest.approx(1.75)
