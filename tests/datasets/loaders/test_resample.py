from __future__ import annotations

import numpy as np

from drr.datasets.loaders.resample import resampled, thinned
from drr.volume import Volume


def test_means_of_blocks():
    hu = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    volume = Volume(hu=hu, affine=np.diag([1.0, 1.0, 2.0, 1.0]))
    small = resampled(volume, 2.0)
    assert small.shape == (4, 3, 3)
    assert small.hu[1, 0, 0] == np.rint(hu[1, :2, :2].mean())
    assert small.hu[0, 2, 0] == np.rint((hu[0, 4, 0] + hu[0, 4, 1] - 2000) / 4)
    np.testing.assert_array_equal(small.affine[:3, 3], [0.5, 0.5, 0])
    np.testing.assert_array_equal(small.spacing, [2, 2, 2])
    assert resampled(volume, None) is volume
    assert resampled(volume, 1.2) is volume


def test_thinned_masks_stay_in_place():
    labels = np.zeros((20, 20, 20), np.int16)
    labels[4:13, 5:14, 6:15] = 3
    mask = Volume(hu=labels, affine=np.diag([1.0, 1.0, 1.0, 1.0]))
    small = thinned(mask, 3.0)
    assert small.shape == (3, 3, 3)
    np.testing.assert_allclose(small.corners.min(axis=0), [5.5, 4.5, 3.5])
    np.testing.assert_allclose(small.corners.max(axis=0), [14.5, 13.5, 12.5])
    np.testing.assert_array_equal(thinned(mask, None).affine[:3, 3], [6, 5, 4])
