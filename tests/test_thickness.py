from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import affine_of

from drr.errors import ProjectionError
from drr.geometry.views import View
from drr.thickness import check_mask, thickness
from drr.volume import Volume

SHAPE = (30, 34, 38)
AFFINE = affine_of(SHAPE, (2.0, 2.0, 3.0))


def labelled():
    hu = np.zeros(SHAPE, np.int16)
    hu[5:15, 8:20, 4:18] = 1
    hu[12:25, 18:30, 20:33] = 7
    hu[10:12, 2:4, 30:36] = 300
    return Volume.from_stored(hu, AFFINE, name="labels")


def geometry_of(primary, secondary=0.0):
    class Nobody:
        thorax_center = (0.0, 0.0, 0.0)
        body_box = np.array([[-40.0] * 3, [40.0] * 3])

        def support(self, direction):
            return 60.0

        def contains(self, point):
            return bool(np.abs(point).max() < 40)

    view = View(
        primary_angle=primary,
        secondary_angle=secondary,
        detector_size=(160.0, 160.0),
        shape=(160, 160),
        source_to_detector_distance=float("inf"),
    )
    return view.place(Nobody())


@pytest.mark.parametrize("method", ["siddon", "joseph", "shear-warp"])
@pytest.mark.parametrize("primary", [0, 90, 30])
def test_thickness_adds_up_to_each_labels_volume(method, primary):
    mask = labelled()
    values, labels = thickness(mask, geometry_of(primary), method=method)
    assert labels == (1, 7, 300)
    assert values.shape == (3, 160, 160)
    for channel, label in enumerate(labels):
        expected = (mask.hu == label).sum() * 2.0 * 2.0 * 3.0
        assert values[channel].sum() == pytest.approx(expected, rel=0.02)


def test_thickness_of_a_box_is_its_depth():
    values, _ = thickness(labelled(), geometry_of(0), method="siddon")
    assert values[0].max() == pytest.approx(12 * 2.0)
    assert values[1].max() == pytest.approx(12 * 2.0)


def test_a_mask_of_another_scan_is_refused():
    volume = Volume.from_stored(np.zeros(SHAPE, np.int16), AFFINE)
    elsewhere = AFFINE.copy()
    elsewhere[2, 3] += 500
    with pytest.raises(ProjectionError, match="do not overlap"):
        check_mask(Volume.from_stored(labelled().hu, elsewhere, name="labels"), volume)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sign", [-1, 1])
def test_labels_beyond_the_scan_are_refused(axis, sign):
    volume = Volume.from_stored(np.zeros(SHAPE, np.int16), AFFINE)
    shifted = AFFINE.copy()
    shifted[axis, 3] += sign * 45.0
    with pytest.raises(ProjectionError, match="beyond the scan"):
        check_mask(Volume.from_stored(labelled().hu, shifted, name="labels"), volume)


def test_masks_on_other_grids_are_accepted():
    volume = Volume.from_stored(np.zeros(SHAPE, np.int16), AFFINE)
    crop = labelled().hu[5:27, 8:32, 4:36]
    moved = AFFINE.copy()
    moved[:3, 3] += AFFINE[:3, :3] @ [4, 8, 5]
    check_mask(Volume.from_stored(crop, moved, name="labels"), volume)
    # Filled to its edge, of coarser voxels, which overhang.
    coarse = AFFINE @ np.diag([3.0, 3.0, 3.0, 1.0])
    coarse[:3, 3] += AFFINE[:3, :3] @ [1, 1, 1]
    full = np.ones([-(-n // 3) for n in SHAPE], np.int16)
    check_mask(Volume.from_stored(full, coarse, name="labels"), volume)


@pytest.mark.parametrize(("low", "high", "message"), [(-1000, 3, "1 to"), (0, 0, "empty")])
def test_values_that_are_no_labels_are_refused(low, high, message):
    hu = np.zeros(SHAPE, np.int16)
    hu[0, 0, 0], hu[1, 1, 1] = low, high
    volume = Volume.from_stored(np.zeros(SHAPE, np.int16), AFFINE)
    with pytest.raises(ProjectionError, match=message):
        check_mask(Volume.from_stored(hu, AFFINE, name="labels"), volume)


@pytest.mark.parametrize("method", ["siddon", "joseph", "shear-warp"])
def test_no_thickness_is_below_zero(method):
    for primary, secondary in ((0, 0), (90, 0), (30, 15)):
        values, _ = thickness(labelled(), geometry_of(primary, secondary), method=method)
        assert values.min() >= 0
        assert values.max() > 0
