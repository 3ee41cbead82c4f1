from __future__ import annotations

import numpy as np
import pytest

from drr.kernels.cpu.body.morphology import Components, components, dilate, erode, outermost, shadow


def test_dilation_by_box_and_by_cross() -> None:
    mask = np.zeros((3, 5, 7), bool)
    mask[1, 2, 3] = True
    assert dilate(mask, (0, 1, 2)).sum() == 15
    assert dilate(mask, (1, 1, 1), cross=True).sum() == 7
    assert dilate(mask, (0, 0, 0)).sum() == mask.sum() == 1


def test_erosion_undoes_dilation_of_a_box_and_goes_on_beyond_the_array() -> None:
    mask = np.zeros((3, 20, 20), bool)
    mask[:, 6:14, 5:15] = True
    np.testing.assert_array_equal(erode(dilate(mask, (0, 2, 3)), (0, 2, 3)), mask)
    assert erode(np.ones((2, 3, 4), bool), (1, 1, 1)).all()


def test_radii_beyond_the_array() -> None:
    mask = np.zeros((2, 3, 4), bool)
    mask[0, 0, 0] = True
    assert dilate(mask, (9, 9, 9)).all()
    assert not erode(mask, (9, 9, 9)).any()


def flood(mask: np.ndarray, planes: bool) -> tuple[np.ndarray, list[int]]:
    """Reference: component numbers (-1 outside) and sizes, by flood fill in order of the array."""
    numbers = np.full(mask.shape, -1)
    steps = [(0, 0, 1), (0, 1, 0)] + ([] if planes else [(1, 0, 0)])
    sizes = []
    for seed in np.argwhere(mask):
        if numbers[tuple(seed)] >= 0:
            continue
        stack, size = [tuple(seed)], 0
        numbers[tuple(seed)] = len(sizes)
        while stack:
            place = stack.pop()
            size += 1
            for step in steps:
                for sign in (-1, 1):
                    near = tuple(p + sign * s for p, s in zip(place, step, strict=True))
                    inside = all(0 <= p < n for p, n in zip(near, mask.shape, strict=True))
                    if inside and mask[near] and numbers[near] < 0:
                        numbers[near] = len(sizes)
                        stack.append(near)
        sizes.append(size)
    return numbers, sizes


def numbers_of(parts: Components) -> np.ndarray:
    numbers = np.full(parts.shape, -1)
    for n in range(parts.sizes.size):
        numbers[parts.mask(np.arange(parts.sizes.size) == n)] = n
    return numbers


@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("share", [0.2, 0.35, 0.6, 0.9])
@pytest.mark.parametrize("shape", [(5, 7, 11), (1, 30, 1), (30, 1, 2), (2, 2, 40)])
def test_components_are_those_of_a_flood_fill(
    shape: tuple[int, int, int], share: float, planes: bool
) -> None:
    rng = np.random.default_rng(int(100 * share))
    for _ in range(3):
        mask = rng.random(shape) < share
        numbers, sizes = flood(mask, planes)
        parts = components(mask, planes=planes)
        assert parts.sizes.tolist() == sizes
        np.testing.assert_array_equal(numbers_of(parts), numbers)
        values = rng.integers(-1000, 1000, shape).astype(np.int16)
        other = rng.random(shape) < 0.5
        for n in range(len(sizes)):
            assert parts.sums(values)[n] == values[numbers == n].sum()
            assert parts.sums(other)[n] == other[numbers == n].sum()
            _, y, x = np.nonzero(numbers == n)
            edge = {0} & {*y.tolist(), *x.tolist()} or shape[1] - 1 in y or shape[2] - 1 in x
            assert parts.at_edge()[n] == bool(edge)


def test_components_of_nothing_and_everything() -> None:
    nothing = components(np.zeros((2, 3, 4), bool))
    assert nothing.sizes.size == 0
    assert not nothing.mask(np.zeros(0, bool)).any()
    everything = components(np.ones((2, 3, 4), bool), planes=True)
    assert everything.sizes.tolist() == [12, 12]
    assert everything.mask(np.array([True, False])).sum() == 12


@pytest.mark.parametrize("radii", [(1, 0, 0), (0, 2, 1), (1, 1, 3), (2, 5, 0), (9, 9, 9)])
@pytest.mark.parametrize("cross", [False, True])
def test_dilation_is_that_of_its_definition(radii: tuple[int, int, int], cross: bool) -> None:
    mask = np.random.default_rng(2).random((4, 9, 13)) < 0.03
    expected = np.zeros_like(mask)
    for z, y, x in np.argwhere(mask):
        reach = tuple(
            slice(max(0, p - r), p + r + 1) for p, r in zip((z, y, x), radii, strict=True)
        )
        if cross:
            expected[reach[0], y, x] = expected[z, reach[1], x] = expected[z, y, reach[2]] = True
        else:
            expected[reach] = True
    np.testing.assert_array_equal(dilate(mask, radii, cross=cross), expected)


def test_shadows_fall_along_y() -> None:
    mask = np.random.default_rng(3).random((3, 9, 11)) < 0.1
    expected = np.logical_or.accumulate(mask, axis=1)
    np.testing.assert_array_equal(shadow(mask), expected)
    expected = np.logical_or.accumulate(mask[:, ::-1], axis=1)[:, ::-1]
    np.testing.assert_array_equal(shadow(mask, backward=True), expected)


def test_the_outermost_of_every_row() -> None:
    mask = np.random.default_rng(4).random((3, 9, 11)) < 0.1
    start, stop = outermost(mask)
    for (z, y), low in np.ndenumerate(start):
        x = np.flatnonzero(mask[z, y])
        assert (low, stop[z, y]) == ((x[0], x[-1] + 1) if x.size else (11, 11))
