from __future__ import annotations

import numpy as np
import pytest

from drr.kernels.cpu.body.cut import cut, kept_box

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


# --- Against a reference that does the same voxel by voxel -------------------------------------


def neighbours(mask: np.ndarray, steps: list[tuple[int, int, int]]) -> np.ndarray:
    """The mask and what any of the steps reaches from it."""
    out = mask.copy()
    for z, y, x in np.argwhere(mask):
        for dz, dy, dx in steps:
            place = (z + dz, y + dy, x + dx)
            if all(0 <= p < n for p, n in zip(place, mask.shape, strict=True)):
                out[place] = True
    return out


CROSS = [(0, 0, 1), (0, 0, -1), (0, 1, 0), (0, -1, 0)]
BOX = [(0, a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)]


def reference_cut(
    values: np.ndarray, mask: np.ndarray, factors: tuple[int, int, int], together: tuple[int, int]
) -> tuple[np.ndarray, int, int]:
    deep = ~neighbours(~mask, BOX)
    classes = np.where(neighbours(mask, CROSS), "rim", "outside")
    classes[neighbours(mask, [(1, 0, 0), (-1, 0, 0)])] = "skin"
    classes[deep] = "inside"
    shallow = (classes == "rim") | (classes == "skin")
    starts = deep & neighbours(shallow, CROSS)
    nz, ny, nx = values.shape
    fz, fy, fx = factors
    seen = np.maximum(values.astype(float), CUT["padding"])
    out = values.copy()
    for k in range(len(mask)):
        end = min(k * fz + fz, nz)
        for z0 in range(k * fz, end, together[0]):
            planes = slice(z0, min(z0 + together[0], end))
            best = np.full((ny, nx), 48)
            for j, i in np.argwhere(starts[k]):
                for dj, di in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                    _walk(seen[planes].mean(axis=0), best, shallow[k], j, i, dj, di, fy, fx,
                          together[1])  # fmt: skip
            for z in range(planes.start, planes.stop):
                for y, x in np.ndindex(ny, nx):
                    kind = classes[k, y // fy, x // fx]
                    gone = best[y, x] % 2 == 1 or (kind == "rim" and best[y, x] == 48)
                    gone = gone or values[z, y, x] <= CUT["padding"]
                    if kind == "outside" or (kind != "inside" and gone):
                        out[z, y, x] = CUT["background"]
    removed = (out != values) | (out == CUT["background"])
    kinds = classes.repeat(fz, 0).repeat(fy, 1).repeat(fx, 2)[:nz, :ny, :nx]
    removed &= kinds != "inside"
    dense = int((removed & (values > CUT["dense"])).sum())
    return out, dense, int((removed & (values <= CUT["padding"])).sum())


def _walk(plane, best, shallow, j, i, dj, di, fy, fx, width):
    ny, nx = plane.shape
    by, bx = shallow.shape
    blocks = 0
    while blocks < 3:
        b, c = j + (blocks + 1) * dj, i + (blocks + 1) * di
        if not (0 <= b < by and 0 <= c < bx and shallow[b, c]):
            break
        blocks += 1
    rows = np.arange(j * fy, min(j * fy + fy, ny))
    columns = np.arange(i * fx, min(i * fx + fx, nx))
    lanes, through, size, factor = (columns, rows, ny, fy) if dj else (rows, columns, nx, fx)
    forward = dj + di > 0
    first = through[0] if forward else through[-1]
    count = size - 1 - through[-1] if forward else through[0]
    path = first + (1 if forward else -1) * np.arange(through.size + min(blocks * factor, count))
    for lane in range(0, lanes.size, width):
        mine = lanes[lane : lane + width]
        if mine.size == 2:
            across = mine
        else:
            edge = mine[0] == 0 or mine[0] == plane.shape[1 if dj else 0] - 1
            across = mine[[0, 0]] if edge else np.array([mine[0] - 1, *mine[[0, 0]], mine[0] + 1])
        index = np.ix_(path, across) if dj else np.ix_(across, path)
        profile = plane[index].mean(axis=1 if dj else 0)
        tissue = np.flatnonzero(profile >= CUT["tissue"])
        if not tissue.size or not blocks:
            continue
        over, lowest = len(path), np.inf
        for n in range(tissue[0], len(path)):
            if lowest == np.inf and profile[n] >= CUT["tissue"]:
                continue
            lowest = min(lowest, profile[n])
            if profile[n] > lowest + CUT["rise"] or profile[n] < CUT["air"]:
                over = n
                break
        for n in range(through.size, len(path)):
            distance = (n - through.size) * 8 // factor * 2 + (n >= over)
            place = (path[n], mine) if dj else (mine, path[n])
            best[place] = np.minimum(best[place], distance)


@pytest.mark.parametrize("together", [(1, 1), (2, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize("factors", [(1, 4, 4), (2, 5, 3), (3, 2, 5), (1, 1, 1)])
def test_cut_is_that_of_the_reference(
    factors: tuple[int, int, int], together: tuple[int, int]
) -> None:
    rng = np.random.default_rng(sum(factors) + 10 * sum(together))
    shape = (5, 37, 41)
    _, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    inside = np.hypot((x - 20) / 15, (y - 17) / 12)
    hu = np.where(inside < 1, 30, -1000) + rng.normal(0, 40, shape)
    hu[np.broadcast_to((y > 30) & (y < 33), shape)] = 150
    hu[np.broadcast_to(np.hypot(x - 20, y - 18) > 22, shape)] = -2048
    values = np.rint(hu).astype(np.int16)
    grid = tuple(-(-n // f) for n, f in zip(shape, factors, strict=True))
    k, j, i = np.ogrid[: grid[0], : grid[1], : grid[2]]
    _, fy, fx = factors
    mask = np.hypot((i * fx + fx / 2 - 20) / 16, (j * fy + fy / 2 - 17) / 14) + 0 * k < 1
    mask &= rng.random(grid) < 0.98
    expected, dense, padding = reference_cut(values, mask, factors, together)
    out = np.full((7, 40, 45), 7, np.int16)
    found = cut(values, mask, factors, out, together=together, at=(1, 2, 3), **CUT)
    # Means in float64 against sums of integers: a voxel on a limit may differ.
    part = out[1:6, 2:39, 3:44]
    assert (part != expected).mean() < 2e-4
    assert found == pytest.approx((dense, padding), abs=10)
    assert (out[0] == 7).all()
    assert (out[6] == 7).all()
    assert (out[1:6, :2] == -1000).all()
    assert (out[1:6, :, :3] == -1000).all()
    assert (out[1:6, 39:] == -1000).all()
    assert (out[1:6, :, 44:] == -1000).all()
    cut(values, mask, factors, values, together=together, **CUT)
    np.testing.assert_array_equal(values, part)


@pytest.mark.parametrize("factors", [(1, 4, 4), (2, 3, 5)])
def test_a_smaller_array_holds_what_is_kept(
    rng: np.random.Generator, factors: tuple[int, int, int]
) -> None:
    values = rng.integers(-1100, 300, (4, 45, 52)).astype(np.int16)
    shape = tuple(-(-n // f) for n, f in zip(values.shape, factors, strict=True))
    mask = np.zeros(shape, bool)
    mask[:, 3:8, 2:9] = True
    whole = np.empty_like(values)
    counts = cut(values, mask, factors, whole, **CUT)
    (y0, y1), (x0, x1) = kept_box(mask.any(axis=0), factors, values.shape)
    assert (y1 - y0, x1 - x0) < values.shape[1:]
    out = np.empty((4, y1 - y0 + 3, x1 - x0), np.int16)
    assert cut(values, mask, factors, out, at=(0, -y0, -x0), **CUT) == counts
    np.testing.assert_array_equal(out[:, :-3], whole[:, y0:y1, x0:x1])
    assert (out[:, -3:] == -1000).all()
    rest = whole.copy()
    rest[:, y0:y1, x0:x1] = -1000
    assert (rest == -1000).all()


def test_an_array_without_room_for_what_is_kept_is_refused() -> None:
    values, mask = body_on_plate()
    with pytest.raises(ValueError, match="axis 1 keeps the voxels 4 to 32"):
        cut(values, mask, (1, 4, 4), np.empty((2, 20, 40), np.int16), **CUT)
    with pytest.raises(ValueError, match="axis 2"):
        cut(values, mask, (1, 4, 4), np.empty((2, 40, 40), np.int16), at=(0, 0, -6), **CUT)
