from __future__ import annotations

import numpy as np
import pytest

from drr.kernels.cpu.cut import cut

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
