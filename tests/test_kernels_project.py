"""The CPU back-end as a whole: several channels of one pass."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import UNIT, affine_of, random_hu, rays_at

from drr.attenuation import Attenuation
from drr.kernels.cpu.project import METHODS, project, project_channels

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
