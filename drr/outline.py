"""The body's outline where the field of view cuts it, estimated from where it does not.

In polar coordinates about the middle of the field, the radius r of the skin is known up to where
it leaves the field, and so is its slope. A cubic Hermite curve of 1 / r^2, which for an ellipse is
a sinusoid, joins the two ends of a gap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drr.anatomy import Anatomy
from drr.kernels.cpu.continuation import fill_sides
from drr.kernels.morphology import dilate
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

    def fill(
        self,
        scan: NDArray[np.int16],
        volume: Volume,
        before: tuple[int, int],
        *,
        threads: int | None = None,
    ) -> str:
        """Fill what lies between field and outline, in place, and say so.

        Parameters
        ----------
        scan
            `(nz, ny, nx)` int16: the volume's voxels, widened or cropped along y and x.
        before
            Voxels added at the lower ends of y and x; negative where cropped.
        """
        p = OUTLINE_PARAMETERS
        _, ny, nx = scan.shape
        y = (np.arange(ny) - before[0] - (volume.shape[1] - 1) / 2) * volume.spacing[1]
        x = (np.arange(nx) - before[1] - (volume.shape[2] - 1) / 2) * volume.spacing[0]
        radius = np.hypot(y[:, None], x[None]).astype(np.float32)
        sectors = self.edge.size
        turn = np.arctan2(y[:, None], x[None]) / (2 * np.pi) * sectors - 0.5
        sector = np.floor(turn)
        share = (turn - sector).astype(np.float32)
        inner = self._edge_values(scan, volume, before)
        fill_sides(
            *(scan, radius, (sector % sectors).astype(np.int16), share),
            *(self.edge, self.radius, inner),
            outer=p["fat_hu"],
            background=-1000,
            fade=p["skin_mm"],
            threads=threads,
        )
        return (
            f"extension: {self.cut:.0%} of the body's outline is cut by the field of view; there "
            "the body goes on to an estimated outline, as soft tissue that turns into fat"
        )

    def _edge_values(
        self, scan: NDArray[np.int16], volume: Volume, before: tuple[int, int]
    ) -> NDArray[np.float32]:
        """`(nz, sectors)` HU just within the edge, smoothed."""
        p = OUTLINE_PARAMETERS
        angles = _angles(self.edge.size)
        samples = []
        for depth in np.linspace(0.1, 1, 5) * p["tissue_mm"]:
            r = np.maximum(self.edge - depth, 0)
            places, inside = [], np.ones(angles.shape, bool)
            for axis, along in ((1, np.sin(angles)), (2, np.cos(angles))):
                count = volume.shape[axis]
                at = np.rint(along * r / volume.spacing[2 - axis] + (count - 1) / 2).astype(int)
                at = np.clip(at, 0, count - 1) + before[axis - 1]
                # What was cropped is air.
                inside &= (at >= 0) & (at < scan.shape[axis])
                places.append(np.clip(at, 0, scan.shape[axis] - 1))
            hu = np.where(inside, scan[:, places[0], places[1]], -1000)
            samples.append(np.clip(hu, p["lowest_hu"], p["highest_hu"]))
        mean = np.mean(samples, axis=0)
        across = int(p["slope_sectors"]) // 2
        mean = sum(np.roll(mean, s, axis=1) for s in range(-across, across + 1)) / (2 * across + 1)
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
    bulge = np.stack([_bulge(row, r, field) for row, r in zip(at_edge, reach, strict=True)])
    if not (bulge > 0).any():
        return None
    # Where nothing is to be filled the outline stays within the edge.
    depth = p["edge_blocks"] * block
    bulge = np.maximum(bulge, -2 * depth)
    blocks_mm = p["smoothing_mm"] / (volume.spacing[2] * anatomy.factors[0])
    bulge = _smooth_along(bulge, blocks_mm)
    # From blocks to slices.
    middle = (np.arange(len(bulge)) + 0.5) * anatomy.factors[0] - 0.5
    slices = np.arange(volume.shape[0])
    bulge = np.stack([np.interp(slices, middle, column) for column in bulge.T], axis=1)
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
    outermost = radii + block / 4

    def last(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        place = mask.shape[-1] - 1 - mask[..., ::-1].argmax(axis=-1)
        return np.where(mask.any(axis=-1), outermost[place], 0.0)

    return last(view), last(anatomy.body[:, j, i] & view), block


def at_field_edge(
    field: NDArray[np.float64], reach: NDArray[np.float64], block: float
) -> NDArray[np.bool_]:
    """`(kz, sectors)` whether the body reaches the edge of the field of view; see `polar_reach`."""
    return np.asarray(reach >= field - OUTLINE_PARAMETERS["touch_blocks"] * block)


def _bulge(
    at_edge: NDArray[np.bool_], reach: NDArray[np.float64], field: NDArray[np.float64]
) -> NDArray[np.float64]:
    """`(sectors,)` mm from the field's edge to the outline of one plane; -inf where not cut."""
    p = OUTLINE_PARAMETERS
    count, over = at_edge.size, int(p["slope_sectors"])
    bulge = np.full(count, -np.inf)
    if at_edge.all() or not at_edge.any():
        return bulge
    # Turn the circle so that it starts outside every gap.
    start = int(np.flatnonzero(~at_edge)[0])
    steps = np.diff(np.concatenate([[0], np.roll(at_edge, -start), [0]]).astype(np.int8))
    for first, end in zip(np.flatnonzero(steps == 1), np.flatnonzero(steps == -1), strict=True):
        width = end - first
        if width > p["widest_gap_sectors"]:
            continue
        values, rises = [], []
        for last, before in ((first - 1, first - over), (end, end - 1 + over)):
            last, before = (last + start) % count, (before + start) % count
            known = reach[last] > 0 and reach[before] > 0
            value = (reach[last] if known else field[last]) ** -2.0
            slope = (value - reach[before] ** -2.0) / (over - 1) if known else 0.0
            values.append(value)
            rises.append(min(0.0, slope) * (width + 1))
        t = (np.arange(width) + 1) / (width + 1)
        # The cubic Hermite basis; both slopes point into the gap.
        inverse_square = (
            values[0] * (1 + 2 * t) * (1 - t) ** 2
            + values[1] * t**2 * (3 - 2 * t)
            + rises[0] * t * (1 - t) ** 2
            + rises[1] * t**2 * (1 - t)
        )
        furthest = (field.max() + p["furthest_mm"]) ** -2.0
        curve = np.maximum(inverse_square, furthest) ** -0.5
        gap = (start + first + np.arange(width)) % count
        bulge[gap] = np.minimum(curve - field[gap], p["furthest_mm"])
    return bulge


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
