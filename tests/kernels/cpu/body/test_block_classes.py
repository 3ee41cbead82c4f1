"""Classes of blocks against their definitions, written as operations on whole masks."""

from __future__ import annotations

import numpy as np
import pytest

from drr.kernels.cpu.body.block_classes import (
    CLASS,
    INSIDE,
    OUTSIDE,
    RIM,
    SEEN,
    SKIN,
    START,
    block_classes,
)
from drr.kernels.cpu.body.morphology import dilate, erode


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(8)


def reference(mask: np.ndarray, *, beside: bool) -> np.ndarray:
    inside = erode(mask, (0, 1, 1))
    classes = np.where(dilate(mask, (0, 1, 1), cross=True), RIM, OUTSIDE)
    classes[dilate(mask, (1, 0, 0))] = SKIN
    classes[inside] = INSIDE
    shallow = (classes == RIM) | (classes == SKIN)
    starts = inside & dilate(shallow, (0, 1, 1), cross=True)
    seen = shallow | starts
    if beside:
        seen = dilate(seen, (0, 1, 1), cross=True)
    return classes + START * starts + SEEN * seen


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8, 0.97, 1.0])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 40), (4, 1, 7), (3, 6, 1), (5, 17, 70)])
def test_classes_are_those_of_their_definitions(
    rng: np.random.Generator, shape: tuple[int, int, int], share: float
) -> None:
    mask = rng.random(shape) < share
    voxels = tuple(n * 4 for n in shape)
    for lanes, beside in ((1, True), (2, False), (4, False)):
        found = block_classes(mask, (4, 4, 4), voxels, lanes)
        np.testing.assert_array_equal(found, reference(mask, beside=beside))
    # Of 4 n - 1 voxels the last block has 3, which is a walk of two and one of one.
    cut_off = tuple(n * 4 - 1 for n in shape)
    found = block_classes(mask, (4, 4, 4), cut_off, 2)
    np.testing.assert_array_equal(found, reference(mask, beside=True))


def test_a_block_alone_is_skin_between_rims() -> None:
    mask = np.zeros((3, 5, 5), bool)
    mask[1, 2, 2] = True
    classes = block_classes(mask, (1, 2, 2), (3, 10, 10), 2) & CLASS
    expected = np.zeros(mask.shape)
    expected[:, 2, 2] = SKIN
    expected[1, [1, 3, 2, 2], [2, 2, 1, 3]] = RIM
    np.testing.assert_array_equal(classes, expected)
