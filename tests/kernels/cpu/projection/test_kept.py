from __future__ import annotations

import numpy as np
import pytest

from drr.kernels.cpu.body.cut import cut
from drr.kernels.cpu.projection.kept import MOST, Kept, keep

CUT = {
    "background": -1000,
    "tissue": -400,
    "rise": 100,
    "air": -900,
    "padding": -1024,
    "dense": -900,
}


def body_and_plate(seed: int, factors: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A noisy ellipse above a plate, and a mask of blocks that is not quite right."""
    rng = np.random.default_rng(seed)
    shape = (5, 37, 41)
    _, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    hu = np.where(np.hypot((x - 20) / 15, (y - 17) / 12) < 1, 30, -1000) + rng.normal(0, 40, shape)
    hu[np.broadcast_to((y > 30) & (y < 33), shape)] = 150
    values = np.rint(hu).clip(-1023).astype(np.int16)
    grid = tuple(-(-n // f) for n, f in zip(shape, factors, strict=True))
    k, j, i = np.ogrid[: grid[0], : grid[1], : grid[2]]
    _, fy, fx = factors
    mask = np.hypot((i * fx + fx / 2 - 20) / 16, (j * fy + fy / 2 - 17) / 14) + 0 * k < 1
    return values, mask & (rng.random(grid) < 0.98)


def kept_of(
    values: np.ndarray,
    mask: np.ndarray,
    factors: tuple[int, int, int],
    *,
    together: tuple[int, int] = (1, 1),
    box: tuple[int, int, int, int] | None = None,
    threads: int = 2,
) -> Kept:
    box = box or (0, 0, *values.shape[1:])
    kept = keep(values, mask, factors, box=box, together=together, threads=threads, **CUT)
    assert kept is not None
    return kept


@pytest.mark.parametrize("together", [(1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize("factors", [(1, 4, 4), (2, 5, 3), (3, 2, 5), (1, 1, 1)])
def test_what_is_kept_is_what_the_cut_copies(
    factors: tuple[int, int, int], together: tuple[int, int]
) -> None:
    values, mask = body_and_plate(sum(factors) + 10 * sum(together), factors)
    out = np.empty_like(values)
    cut(values, mask, factors, out, together=together, **CUT)
    kept = kept_of(values, mask, factors, together=together)
    np.testing.assert_array_equal(kept.slices(0, 5), out)
    np.testing.assert_array_equal(kept.slices(1, 4, columns=(7, 30)), out[1:4, :, 7:30])
    some = kept.slices(1, 4, rows=(5, 17), columns=(7, 30))
    np.testing.assert_array_equal(some, out[1:4, 5:17, 7:30])
    with pytest.raises(ValueError, match="cannot take"):
        kept.write(0, np.empty((2, 8, 8), np.int16))


@pytest.mark.parametrize("together", [1, 2, 3])
@pytest.mark.parametrize("nz", [1, 2, 3, 4, 5])
def test_all_groups_of_runs_are_written(nz: int, together: int) -> None:
    """Also where the last plane of blocks has fewer slices; others are no bounds of loops."""
    values, mask = body_and_plate(7, (3, 4, 4))
    values, mask = values[:nz].copy(), mask[: -(-nz // 3)].copy()
    kept = kept_of(values, mask, (3, 4, 4), together=(together, 1))
    assert len(kept.runs) == kept.groups.max() + 1
    assert 0 <= kept.runs[..., 0].min() <= kept.runs[..., 0].max() <= MOST
    larger = kept.within((-3, -1, 44, 60)).slices(0, nz)
    np.testing.assert_array_equal(larger[:, 3:40, 1:42], kept.slices(0, nz))


@pytest.mark.parametrize("threads", [1, 4])
def test_something_else_is_done_once_beside(threads: int) -> None:
    values, mask = body_and_plate(3, (1, 4, 4))
    options = {"box": (0, 0, 37, 41), "together": (1, 1), "threads": threads, **CUT}
    done: list[int] = []
    kept = keep(values, mask, (1, 4, 4), beside=lambda: done.append(-1), **options)
    assert done == [-1]
    assert kept is not None
    alone = keep(values, mask, (1, 4, 4), **options)
    assert alone is not None
    np.testing.assert_array_equal(kept.slices(0, 5), alone.slices(0, 5))

    def fail() -> None:
        raise ValueError("beside")

    with pytest.raises(ValueError, match="beside"):
        keep(values, mask, (1, 4, 4), beside=fail, **options)


def test_a_box_may_cut_off_air_and_reach_beyond_the_volume() -> None:
    values, mask = body_and_plate(3, (1, 4, 4))
    mask[:, :, :2] = False
    whole = kept_of(values, mask, (1, 4, 4)).slices(0, 5)
    kept = kept_of(values, mask, (1, 4, 4), box=(-3, 2, 45, 50))
    expected = np.full((5, 45, 50), -1000, np.int16)
    expected[:, 3:40, :39] = whole[:, :, 2:]
    np.testing.assert_array_equal(kept.slices(0, 5), expected)


def test_a_larger_box_holds_the_same() -> None:
    values, mask = body_and_plate(3, (1, 4, 4))
    kept = kept_of(values, mask, (1, 4, 4), box=(2, 3, 36, 48))
    assert kept.within(kept.box) is kept
    larger = kept.within((-3, -1, 44, 60))
    expected = np.full((5, 44, 60), -1000, np.int16)
    expected[:, 5:41, 4:52] = kept.slices(0, 5)
    np.testing.assert_array_equal(larger.slices(0, 5), expected)


def test_voxels_are_looked_up_by_row_and_column() -> None:
    values, mask = body_and_plate(4, (2, 4, 4))
    kept = kept_of(values, mask, (2, 4, 4), box=(1, 1, 36, 40))
    y, x = np.divmod(np.arange(36 * 40), 40)
    found = kept.at(y, x).reshape(5, 36, 40)
    np.testing.assert_array_equal(found, kept.slices(0, 5))


def test_columns_can_be_taken_away_at_both_sides() -> None:
    values, mask = body_and_plate(5, (1, 4, 4))
    kept = kept_of(values, mask, (1, 4, 4))
    rng = np.random.default_rng(0)
    first, end = rng.integers(0, 20, 37), rng.integers(15, 41, 37)
    expected = kept.slices(0, 5)
    x = np.arange(41)
    expected[:, (x < first[:, None]) | (x >= end[:, None])] = -1000
    fewer = kept.between(first.astype(np.int32), end.astype(np.int32))
    np.testing.assert_array_equal(fewer.slices(0, 5), expected)
    np.testing.assert_array_equal(kept.slices(0, 5), kept_of(values, mask, (1, 4, 4)).slices(0, 5))


def test_padding_is_never_skin() -> None:
    values = np.full((1, 24, 24), -2048, np.int16)
    values[:, 4:20, 4:18] = 50
    mask = np.zeros((1, 6, 6), bool)
    mask[:, 1:5, 1:5] = True
    kept = kept_of(values, mask, (1, 4, 4))
    assert set(np.unique(kept.slices(0, 1))) == {-1000, 50}


def test_about_as_much_is_counted_as_the_cut_removes() -> None:
    values = np.full((4, 64, 64), -1000, np.int16)
    values[:, 16:40, 16:48] = 30
    values[:, 56:60] = 200
    values[:, :, :4] = -2000
    mask = np.zeros((2, 16, 16), bool)
    mask[:, 4:10, 4:12] = True
    dense, padding = cut(values, mask, (2, 4, 4), np.empty_like(values), **CUT)
    kept = kept_of(values, mask, (2, 4, 4))
    assert kept.dense_count == pytest.approx(dense, rel=0.1)
    assert kept.padding_count == pytest.approx(padding, rel=0.1)


def test_rows_with_too_many_runs_are_refused() -> None:
    blocks = 3 * (MOST + 1)
    values = np.full((1, 12, 4 * blocks), 30, np.int16)
    mask = np.zeros((1, 3, blocks), bool)
    mask[:, 1, ::3] = True
    assert keep(values, mask, (1, 4, 4), box=(0, 0, 12, 4 * blocks), **CUT, together=(1, 1)) is None


def test_the_number_of_threads_does_not_matter() -> None:
    values, mask = body_and_plate(6, (1, 3, 3))
    one, four = (kept_of(values, mask, (1, 3, 3), threads=n) for n in (1, 4))
    n = one.runs[..., 0]
    np.testing.assert_array_equal(n, four.runs[..., 0])
    np.testing.assert_array_equal(one.slices(0, 5), four.slices(0, 5))
    assert (one.dense_count, one.padding_count) == (four.dense_count, four.padding_count)
