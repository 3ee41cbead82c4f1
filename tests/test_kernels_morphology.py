from __future__ import annotations

import numpy as np
import pytest

from drr.kernels.morphology import block_means, cut, dilate, erode, label

CUT = {
    "background": -1000,
    "tissue": -400,
    "rise": 100,
    "air": -900,
    "padding": -1024,
    "dense": -900,
}


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.mark.parametrize("factors", [(1, 1, 1), (2, 3, 5), (4, 4, 4), (9, 10, 11)])
@pytest.mark.parametrize("threads", [1, 3])
def test_block_means_are_those_of_numpy(
    rng: np.random.Generator, factors: tuple[int, int, int], threads: int
) -> None:
    values = rng.integers(-3000, 3000, (9, 10, 11)).astype(np.int16)
    means, maxima = block_means(values, factors, floor=-1000, ceiling=0, threads=threads)
    clamped = np.clip(values, -1000, 0)
    for k, j, i in np.ndindex(means.shape):
        z, y, x = (slice(n * f, n * f + f) for n, f in zip((k, j, i), factors, strict=True))
        assert means[k, j, i] == int(clamped[z, y, x].mean())
        assert maxima[k, j, i] == values[z, y, x].max()


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


def test_labels_in_space_and_by_plane() -> None:
    mask = np.zeros((2, 4, 5), bool)
    mask[:, 0, 0] = True
    mask[0, 2:4, 3] = True
    mask[1, 3, 4] = True
    labels, sizes = label(mask)
    assert sizes.tolist() == [mask.size - 5, 2, 2, 1]
    assert labels[0, 0, 0] == labels[1, 0, 0]
    labels, sizes = label(mask, planes=True)
    assert sizes.tolist() == [mask.size - 5, 1, 2, 1, 1]
    assert labels[0, 0, 0] != labels[1, 0, 0]
    np.testing.assert_array_equal(labels > 0, mask)


def test_labels_do_not_wrap_around_rows() -> None:
    mask = np.zeros((2, 2, 3), bool)
    mask[0, 0, 2] = mask[0, 1, 0] = mask[1, 0, 0] = True
    assert label(mask)[1].tolist() == [9, 1, 1, 1]


def test_label_of_nothing_and_everything() -> None:
    assert label(np.zeros((2, 3, 4), bool))[1].tolist() == [24]
    assert label(np.ones((2, 3, 4), bool))[1].tolist() == [0, 24]
    assert label(np.ones((2, 3, 4), bool), planes=True)[1].tolist() == [0, 12, 12]


def body_on_plate() -> tuple[np.ndarray, np.ndarray]:
    """A block of tissue, a gap of two voxels, a plate; the mask reaches across the gap."""
    values = np.full((2, 40, 40), -1000, np.int16)
    values[:, 8:24, 8:32] = 30
    values[:, 24] = np.where(values[:, 23] == 30, -600, -1000)
    values[:, 26:28] = 100
    mask = np.zeros((2, 10, 10), bool)
    mask[:, 2:7, 2:8] = True
    return values, mask


@pytest.mark.parametrize("threads", [1, 2])
def test_cut_removes_a_plate_within_the_mask_and_keeps_the_skin(threads: int) -> None:
    values, mask = body_on_plate()
    out = np.empty_like(values)
    dense, padding = cut(values, mask, (1, 4, 4), out, threads=threads, **CUT)
    np.testing.assert_array_equal(out[:, :25], values[:, :25])
    # The corner blocks of the mask have nothing certainly inside above or beside them.
    corners = np.zeros(40, bool)
    corners[8:12] = corners[28:32] = True
    assert (out[:, 25:][..., ~corners] == -1000).all()
    assert (dense, padding) == (2 * 2 * 32, 0)


def test_cut_in_place_gives_the_same() -> None:
    values, mask = body_on_plate()
    out = np.empty_like(values)
    cut(values, mask, (1, 4, 4), out, **CUT)
    cut(values, mask, (1, 4, 4), values, **CUT)
    np.testing.assert_array_equal(values, out)


def test_cut_keeps_a_thin_wall_between_lung_and_outside() -> None:
    values = np.full((1, 48, 48), -1000, np.int16)
    values[:, 8:40, 8:40] = 0
    values[:, 11:37, 11:37] = -850
    mask = np.zeros((1, 12, 12), bool)
    mask[:, 2:10, 2:10] = True
    out = np.empty_like(values)
    cut(values, mask, (1, 4, 4), out, **CUT)
    np.testing.assert_array_equal(out, values)


def test_cut_counts_padding_and_never_keeps_it_as_skin() -> None:
    values = np.full((1, 24, 24), -2048, np.int16)
    values[:, 4:20, 4:18] = 50
    mask = np.zeros((1, 6, 6), bool)
    mask[:, 1:5, 1:5] = True
    out = np.empty_like(values)
    dense, padding = cut(values, mask, (1, 4, 4), out, **CUT)
    assert (dense, padding) == (0, 24 * 24 - 16 * 14)
    assert set(np.unique(out)) == {-1000, 50}


def test_cut_copies_all_when_the_mask_is_full(rng: np.random.Generator) -> None:
    values = rng.integers(-3000, 3000, (3, 7, 11)).astype(np.int16)
    out = np.empty_like(values)
    assert cut(values, np.ones((2, 3, 3), bool), (2, 3, 4), out, **CUT) == (0, 0)
    np.testing.assert_array_equal(out, values)
