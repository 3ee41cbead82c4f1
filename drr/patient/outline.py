"""The body's outline where the field of view cuts it, estimated from where it does not.

In polar coordinates about the middle of the field, the radius r of the skin is known up to where
it leaves the field, and so is its slope. A cubic Hermite curve of 1 / r^2, which for an ellipse is
a sinusoid, joins the two ends of a gap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cpu.body.continuation import fill_sides, last_on_rays, may_be_filled
from drr.kernels.cpu.body.morphology import dilate
from drr.patient.anatomy import Anatomy
from drr.volume import Volume

__all__ = ["OUTLINE_PARAMETERS", "Outline", "at_field_edge", "estimate_outline", "polar_reach"]

OUTLINE_PARAMETERS = {
    "sectors": 360,
    "slope_sectors": 12,
    "widest_gap_sectors": 150,
    "furthest_mm": 60.0,
    "smoothing_mm": 15.0,
    "touch_blocks": 1.0,
    "edge_blocks": 0.5,
    "tissue_mm": 15.0,
    "lowest_hu": -150.0,
    "highest_hu": 60.0,
    "fat_hu": -100.0,
    "skin_mm": 5.0,
}
"""Sectors (degrees), lengths (mm) and values (HU) of the fill beyond the field of view.

The body is cut where it comes within `touch_blocks` of the field's edge; what is not body within
`edge_blocks` of it is filled too. Slopes are taken over `slope_sectors`; gaps wider than
`widest_gap_sectors` are left alone. The tissue of the last `tissue_mm` before the edge, between
`lowest_hu` and `highest_hu`, turns into `fat_hu` towards the outline, and over `skin_mm` into air.
"""


# Columns of voxels that are judged together, each way.
_TILE = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Outline:
    """Where the body ends beyond the field of view.

    Parameters
    ----------
    edge
        `(sectors,)` float32, mm from the middle of the field to just within its edge.
    radius
        `(nz, sectors)` float32, mm to the outline; not more than `edge` where it is not cut.
    cut
        Fraction of the body's outline that is on the edge of the field.
    """

    edge: NDArray[np.float32]
    radius: NDArray[np.float32]
    cut: float

    def beyond(self, volume: Volume) -> tuple[tuple[int, int], tuple[int, int]]:
        """Voxels that the outline reaches beyond the array: before and after, along y and x.

        Negative where it stays within.
        """
        radius = np.where(self.radius > self.edge, self.radius, 0).max(axis=0)
        angles = _angles(radius.size)
        counts = []
        for place, n, step in (
            (np.sin(angles) * radius, volume.shape[1], volume.spacing[1]),
            (np.cos(angles) * radius, volume.shape[2], volume.spacing[0]),
        ):
            half = n / 2 * step
            counts.append(
                tuple(int(np.ceil((r - half) / step)) for r in (-place.min(), place.max()))
            )
        (y0, y1), (x0, x1) = counts
        return (y0, y1), (x0, x1)

    @property
    def note(self) -> str:
        """What `fill` does, in words."""
        return (
            f"extension: {self.cut:.0%} of the body's outline is cut by the field of view; there "
            "the body goes on to an estimated outline, as soft tissue that turns into fat"
        )

    def fill(
        self,
        volume: Volume,
        scan: NDArray[np.int16],
        before: tuple[int, int],
        *,
        threads: int | None = None,
    ) -> None:
        """Fill what lies between field and outline, in place.

        Parameters
        ----------
        volume
            The scan as it was.
        scan
            `(nz, ny, nx)` int16: its voxels, widened or cropped along y and x.
        before
            Voxels added at the lower ends of y and x; negative where cropped.
        threads
            CPU threads; all available ones by default.
        """
        p = OUTLINE_PARAMETERS
        _, ny, nx = scan.shape
        y = (np.arange(ny) - before[0] - (volume.shape[1] - 1) / 2) * volume.spacing[1]
        x = (np.arange(nx) - before[1] - (volume.shape[2] - 1) / 2) * volume.spacing[0]
        j, i = np.nonzero(self._tiles(y, x, volume.spacing))
        sectors = self.edge.size
        turn = _turn(y[j], x[i], sectors)
        whole = np.floor(turn)
        radius = np.hypot(y[j], x[i]).astype(np.float32)
        sector, share = (whole % sectors).astype(np.int16), (turn - whole).astype(np.float32)
        wanted = may_be_filled(radius, sector, share, self.edge, self.radius)
        fill_sides(
            scan,
            (j * nx + i)[wanted],
            radius[wanted],
            sector[wanted],
            share[wanted],
            self.edge,
            self.radius,
            self._edge_values(volume, scan, before),
            outer=p["fat_hu"],
            background=-1000,
            fade=p["skin_mm"],
            threads=threads,
        )

    def _tiles(
        self, y: NDArray[np.float64], x: NDArray[np.float64], spacing: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """`(ny, nx)` where columns at y and x (mm) may lie between edge and outline.

        Judged by tiles of `_TILE` columns each way: of few columns the angle is needed.
        """
        middles = [
            places[0] + (np.arange(0, places.size, _TILE) + (_TILE - 1) / 2) * step
            for places, step in ((y, spacing[1]), (x, spacing[0]))
        ]
        half = _TILE / 2 * math.hypot(spacing[0], spacing[1])
        radius = np.hypot(middles[0][:, None], middles[1])
        sectors = self.edge.size
        sector = np.floor(_turn(middles[0][:, None], middles[1], sectors)).astype(int) % sectors
        # A tile that may count spans so many sectors either way.
        nearest = max(float(self.edge.min()) - half, half)
        around = math.ceil(math.asin(half / nearest) / (2 * math.pi) * sectors) + 1
        shifts = range(-around - 1, around + 1)
        lowest = np.min([np.roll(self.edge, k) for k in shifts], axis=0)
        furthest = self.radius.max(axis=0)
        highest = np.max([np.roll(furthest, k) for k in shifts], axis=0)
        wanted = (radius + half > lowest[sector]) & (radius - half < highest[sector])
        wide = np.repeat(np.repeat(wanted, _TILE, axis=0), _TILE, axis=1)
        return np.asarray(wide[: y.size, : x.size])

    def _edge_values(
        self, volume: Volume, scan: NDArray[np.int16], before: tuple[int, int]
    ) -> NDArray[np.float32]:
        """`(nz, sectors)` HU just within the edge, smoothed; parameters are those of `fill`."""
        p = OUTLINE_PARAMETERS
        angles = _angles(self.edge.size)
        depth = np.linspace(0.1, 1, 5)[:, None] * p["tissue_mm"]
        r = np.maximum(self.edge - depth, 0)
        places, inside = [], np.ones(r.shape, bool)
        for axis, along in ((1, np.sin(angles)), (2, np.cos(angles))):
            count = volume.shape[axis]
            at = np.rint(along * r / volume.spacing[2 - axis] + (count - 1) / 2).astype(int)
            at = np.clip(at, 0, count - 1) + before[axis - 1]
            # What was cropped is air.
            inside &= (at >= 0) & (at < scan.shape[axis])
            places.append(np.clip(at, 0, scan.shape[axis] - 1))
        hu = np.where(inside, scan[:, places[0], places[1]], -1000)
        limits = int(p["lowest_hu"]), int(p["highest_hu"])
        total = np.clip(hu, *limits, out=hu).sum(axis=1, dtype=np.int32)
        # Sums of whole numbers, around the circle: the difference of what came before.
        across = int(p["slope_sectors"]) // 2
        around = np.concatenate([total[:, -across - 1 :], total, total[:, :across]], axis=1)
        before_each = np.cumsum(around, axis=1)
        width = 2 * across + 1
        mean = (before_each[:, width:] - before_each[:, :-width]) / (width * len(r))
        return _smooth_along(mean, p["smoothing_mm"] / volume.spacing[2]).astype(np.float32)


def estimate_outline(volume: Volume, anatomy: Anatomy) -> Outline | None:
    """The outline of the body where the field of view cuts it; None where it does not.

    Parameters
    ----------
    volume, anatomy
        A volume and its anatomy, from `find_anatomy`.
    """
    if not anatomy.found or not anatomy.truncated:
        return None
    p = OUTLINE_PARAMETERS
    field, reach, block = polar_reach(volume, anatomy)
    at_edge = at_field_edge(field, reach, block)
    bulge = _bulges(at_edge, reach, field)
    if not (bulge > 0).any():
        return None
    # Where nothing is to be filled the outline stays within the edge.
    depth = p["edge_blocks"] * block
    bulge = np.maximum(bulge, -2 * depth)
    blocks_mm = p["smoothing_mm"] / (volume.spacing[2] * anatomy.factors[0])
    bulge = _smooth_along(bulge, blocks_mm)
    # From blocks to slices.
    place = (np.arange(volume.shape[0]) + 0.5) / anatomy.factors[0] - 0.5
    place = np.clip(place, 0, len(bulge) - 1)
    block_below = place.astype(int)
    block_above = np.minimum(block_below + 1, len(bulge) - 1)
    rise = bulge[block_above] - bulge[block_below]
    bulge = bulge[block_below] + (place - block_below)[:, None] * rise
    field = _smooth_around(field, 3)
    edge, radius = field - depth, field + bulge
    present = reach > 0
    cut = float((at_edge & present).sum() / max(1, present.sum()))
    return Outline(edge=edge.astype(np.float32), radius=radius.astype(np.float32), cut=cut)


def polar_reach(
    volume: Volume, anatomy: Anatomy
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """How far the field of view and the body reach from the middle of the array.

    Returns
    -------
    field
        `(sectors,)` mm to the edge of the field of view.
    reach
        `(kz, sectors)` mm to the outermost block of the body, 0 where there is none.
    block
        Size of a block within the slice, mm.
    """
    _, fy, fx = anatomy.factors
    step_y, step_x = fy * volume.spacing[1], fx * volume.spacing[0]
    block = float(max(step_y, step_x))
    angles = _angles(int(OUTLINE_PARAMETERS["sectors"]))
    half = np.array([volume.shape[1] * volume.spacing[1], volume.shape[2] * volume.spacing[0]]) / 2
    radii = np.arange(0.5, float(np.hypot(*half)) / (block / 2)) * block / 2
    y = half[0] + np.sin(angles)[:, None] * radii
    x = half[1] + np.cos(angles)[:, None] * radii
    inside: NDArray[np.bool_] = (y > 0) & (y < 2 * half[0]) & (x > 0) & (x < 2 * half[1])
    j = np.clip((y / step_y).astype(int), 0, anatomy.body.shape[1] - 1)
    i = np.clip((x / step_x).astype(int), 0, anatomy.body.shape[2] - 1)
    view = inside
    if anatomy.outside_view is not None:
        # Blocks that are partly outside count as body only if most of them is.
        outside = dilate(np.asarray(anatomy.outside_view.all(axis=0))[None], (0, 1, 1), cross=True)[
            0
        ]
        view = inside & ~outside[j, i]
    # How many samples there are up to the last one within, counted from the middle.
    in_view = np.where(view.any(axis=1), view.shape[1] - view[:, ::-1].argmax(axis=1), 0)
    in_body = last_on_rays(anatomy.body, j * anatomy.body.shape[2] + i, view)
    outermost = np.concatenate([[0.0], radii + block / 4])
    return outermost[in_view], outermost[in_body], block


def at_field_edge(
    field: NDArray[np.float64], reach: NDArray[np.float64], block: float
) -> NDArray[np.bool_]:
    """`(kz, sectors)` whether the body reaches the edge of the field of view; see `polar_reach`."""
    return np.asarray(reach >= field - OUTLINE_PARAMETERS["touch_blocks"] * block)


def _bulges(
    at_edge: NDArray[np.bool_], reach: NDArray[np.float64], field: NDArray[np.float64]
) -> NDArray[np.float64]:
    """`(kz, sectors)` mm from the field's edge to the outline; -inf where not cut."""
    p = OUTLINE_PARAMETERS
    count, over = at_edge.shape[1], int(p["slope_sectors"])
    bulge = np.full(at_edge.shape, -np.inf)
    # Every gap: its plane, first sector, and how many it is wide. A plane without an end has none.
    plane, first = np.nonzero(at_edge & ~np.roll(at_edge, 1, axis=1))
    ends = np.where(np.tile(at_edge, 2), 2 * count, np.arange(2 * count))
    width = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1][plane, first] - first
    narrow = width <= p["widest_gap_sectors"]
    plane, first, width = plane[narrow], first[narrow], width[narrow]
    values, rises = [], []
    for last, before in ((first - 1, first - over), (first + width, first + width - 1 + over)):
        at_last, at_before = reach[plane, last % count], reach[plane, before % count]
        known = (at_last > 0) & (at_before > 0)
        value = np.where(known, at_last, field[last % count]) ** -2.0
        slope = (value - np.where(known, at_before, 1.0) ** -2.0) / (over - 1)
        values.append(value)
        rises.append(np.where(known, np.minimum(0.0, slope), 0.0) * (width + 1))
    # From here on, every sector of every gap.
    gap = np.repeat(np.arange(width.size), width)
    place = np.arange(gap.size) - np.repeat(np.cumsum(width) - width, width)
    t = (place + 1) / (width[gap] + 1)
    # The cubic Hermite basis; both slopes point into the gap.
    inverse_square = (
        values[0][gap] * (1 + 2 * t) * (1 - t) ** 2
        + values[1][gap] * t**2 * (3 - 2 * t)
        + rises[0][gap] * t * (1 - t) ** 2
        + rises[1][gap] * t**2 * (1 - t)
    )
    furthest = (field.max() + p["furthest_mm"]) ** -2.0
    curve = np.maximum(inverse_square, furthest) ** -0.5
    sector = (first[gap] + place) % count
    bulge[plane[gap], sector] = np.minimum(curve - field[sector], p["furthest_mm"])
    return bulge


def _turn(y: NDArray[np.float64], x: NDArray[np.float64], sectors: int) -> NDArray[np.float64]:
    """Sectors from the middle of the first to a place, around from +x to +y; see `_angles`."""
    return np.asarray(np.arctan2(y, x) / (2 * np.pi) * sectors - 0.5)


def _angles(count: int) -> NDArray[np.float64]:
    """Middles of the sectors, radians from +x to +y."""
    return (np.arange(count) + 0.5) / count * 2 * np.pi


def _smooth_around(values: NDArray[np.float64], radius: int) -> NDArray[np.float64]:
    total = sum(np.roll(values, s) for s in range(-radius, radius + 1))
    return np.asarray(total / (2 * radius + 1))


def _smooth_along(values: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """Running mean along the first axis over what is inside the array."""
    reach, size = round(radius), len(values)
    place = np.arange(size)
    low, high = np.maximum(place - reach, 0), np.minimum(place + reach + 1, size)
    total = np.concatenate([np.zeros_like(values[:1]), np.cumsum(values, axis=0)])
    return np.asarray((total[high] - total[low]) / (high - low)[:, None])
