"""Planning a shear-warp: which planes, which intermediate image, which scales and shifts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drr.kernels.rays import Rays

__all__ = ["Plan", "dominant_axis", "plan"]

# Columns are padded to whole lines of the cache.
BLOCK = 16
# Rows and columns around the detector's shadow that Catmull-Rom interpolation reads.
MARGIN = 3
# Largest pixels, in voxels, of an image that the detector's do not coincide with. As large as
# voxels, an oblique view of noise would be up to 1.8 times as far from Siddon's sums as Joseph's
# are, so it is at most 1.5 times; finer ones cost the more to accumulate. But where all planes meet
# the pixels alike, pixels that are not voxels count a thing as small as a voxel a little more or
# less, depending on where it lies: by up to 2 sinc(1 / size)^2 (the triangle's spectrum).
FINENESS, STRAIGHT_FINENESS = 0.8, 0.86
# The finest pixels of a detector, in the finest voxels, that are accumulated as they are.
FINEST_EXACT = 0.7


@dataclass(frozen=True, eq=False)
class Plan:
    """An intermediate image and how each plane of voxels maps onto it.

    Voxel coordinates `p` and `q` of slab `s` are `scales[s] * pitch * X + shifts[s]` for
    intermediate pixel X; the intermediate plane is `plane` along `axis`. A slab is the planes from
    one of `starts` to the next, each moved along p by its whole number `slips` first. `limit` is
    where each ray meets the detector, its plane's number times `sign`; `reach` the least and the
    largest of each row, `(2, rows)`. Both are empty where nothing limits the rays. Rows and columns
    of the detector are `straight` where they run along those of the intermediate image, and `exact`
    where their pixels are the same.
    """

    axis: int
    p_axis: int
    q_axis: int
    plane: float
    p0: float
    pitch_p: float
    q0: float
    pitch_q: float
    columns: int
    rows: int
    straight: bool
    exact: bool
    starts: NDArray[np.int64]
    slips: NDArray[np.int64]
    scales: NDArray[np.float64]
    shifts_p: NDArray[np.float64]
    shifts_q: NDArray[np.float64]
    limit: NDArray[np.float32]
    reach: NDArray[np.float32]
    sign: int


def dominant_axis(rays: Rays) -> int:
    """Axis along which the central ray crosses most planes of voxels: 0 x, 1 y, 2 z."""
    return int(np.argmax(np.abs(rays.central_direction)))


def plan(
    volume_shape: tuple[int, int, int],
    rays: Rays,
    *,
    sub: tuple[int, int],
    slab: int = 1,
    apart: float = math.inf,
) -> Plan | None:
    """Lay out the intermediate image for one view.

    Parameters
    ----------
    volume_shape
        Voxels along z, y and x.
    rays
        The detector's rays, before subdivision.
    sub
        Sub-pixels of each pixel across and down.
    slab
        Most planes that share a scale and shift. Those that the detector touches have their own.
    apart
        Voxels, along p or q, by which sharing may move a plane.

    Returns
    -------
    The plan, or None where planes cannot be reordered: the source within reach of the volume
    along the dominant axis, or detector corners that see the planes from the other side.
    """
    counts = np.array(volume_shape[::-1])
    axis = dominant_axis(rays)
    if not rays.is_parallel and -0.5 <= rays.source[axis] <= counts[axis] - 0.5:
        return None
    p_axis, q_axis = ((1, 2), (0, 2), (0, 1))[axis]
    plane = (counts[axis] - 1) / 2
    fine = rays.subdivided(*sub)
    m = np.arange(counts[axis], dtype=np.float64)
    scales, offset_p, offset_q = _homotheties(rays, axis, p_axis, q_axis, m, plane)
    corners = _on_plane(fine, axis, plane)
    if scales.min() <= 0.02 or corners is None:
        return None
    corners = corners[:, [p_axis, q_axis]]

    exact = straight = _is_parallel_to_face(fine, p_axis, q_axis, axis)
    spacing = np.sqrt(np.diag(rays.metric))
    finest = min(spacing[p_axis], spacing[q_axis])
    if exact:
        # Detector pixels much finer than voxels are cheaper to interpolate than to accumulate.
        steps = np.array([abs(corners[1, 0] - corners[0, 0]), abs(corners[2, 1] - corners[0, 1])])
        steps /= np.maximum([fine.shape[1] - 1, fine.shape[0] - 1], 1)
        if 1 in fine.shape:
            pitch = _pixel_pitch(fine, axis, p_axis, q_axis, plane)
            steps = np.where(np.array(fine.shape[::-1]) > 1, steps, pitch)
        finest_step = min(steps[0], steps[1] * spacing[q_axis] / finest)
        exact = bool(finest_step > FINEST_EXACT)
    if exact:
        pitches = steps
    else:
        # After the voxels, whatever the pixels, so that coarse ones are not interpolated between.
        sides = spacing[[p_axis, q_axis]]
        fineness = STRAIGHT_FINENESS if straight else FINENESS
        pitches = np.minimum(finest, fineness * sides) / sides

    low, high = corners.min(axis=0), corners.max(axis=0)
    # Nothing outside the volume's own shadow needs accumulating.
    shadow = [
        ((edge - offset) / scales)
        for n, offset in ((counts[p_axis], offset_p), (counts[q_axis], offset_q))
        for edge in (-1.0, float(n))
    ]
    shadow_low = np.array([shadow[0].min(), shadow[2].min()])
    shadow_high = np.array([shadow[1].max(), shadow[3].max()])
    if exact:
        # Whole pixels, so that the two grids stay one.
        start = low + np.maximum(np.floor((shadow_low - low) / pitches), 0) * pitches
        stop = high - np.maximum(np.floor((high - shadow_high) / pitches), 0) * pitches
    else:
        start = np.maximum(low, shadow_low) - MARGIN * pitches
        stop = np.minimum(high, shadow_high) + MARGIN * pitches
    size = np.maximum(np.floor((stop - start) / pitches + 0.5).astype(int) + 1, 1)
    columns = -(-int(size[0]) // BLOCK) * BLOCK
    # Rows a power of two apart would share a few places of the cache.
    columns += BLOCK if columns % 128 == 0 else 0

    limit, sign = _detector_limit(
        rays, counts, axis, p_axis, q_axis, plane, start, pitches, (int(size[1]), columns)
    )
    reach = np.stack([limit.min(axis=1), limit.max(axis=1)]) if limit.size else limit.reshape(2, 0)
    # Those that the detector touches are not added to others, of which it may hide all or nothing.
    nearest, furthest = reach[0].min(initial=np.inf), reach[1].max(initial=-np.inf)
    cut = (sign * m + 0.5 >= nearest) & (sign * m - 0.5 <= furthest)
    slope = _steepest(rays, axis, (p_axis, q_axis), plane, start, stop)
    starts = _starts(cut, int(min(slab, 1 + 2 * apart / max(slope, 1e-9))))
    seen = scales * (start[0] + pitches[0] * (size[0] - 1) / 2) + offset_p
    middles = (starts[:-1] + starts[1:] - 1) / 2
    scales, offset_p, offset_q = _homotheties(rays, axis, p_axis, q_axis, middles, plane)
    common = scales * (start[0] + pitches[0] * (size[0] - 1) / 2) + offset_p
    slips = np.rint(seen - np.repeat(common, np.diff(starts))).astype(np.int64)
    return Plan(
        axis=axis,
        p_axis=p_axis,
        q_axis=q_axis,
        plane=float(plane),
        p0=float(start[0]),
        pitch_p=float(pitches[0]),
        q0=float(start[1]),
        pitch_q=float(pitches[1]),
        columns=columns,
        rows=int(size[1]),
        straight=straight,
        exact=exact,
        starts=starts,
        slips=slips,
        scales=scales,
        shifts_p=offset_p + scales * start[0],
        shifts_q=offset_q + scales * start[1],
        limit=limit,
        reach=reach,
        sign=sign,
    )


def _starts(cut: NDArray[np.bool_], slab: int) -> NDArray[np.int64]:
    """First planes of slabs of at most `slab` planes, cut ones alone, and the number of planes."""
    starts = [0]
    for m in range(1, cut.size):
        if m - starts[-1] == slab or cut[m] or cut[m - 1]:
            starts.append(m)
    return np.array([*starts, cut.size], np.int64)


def _steepest(
    rays: Rays,
    axis: int,
    others: tuple[int, int],
    plane: float,
    start: NDArray[np.float64],
    stop: NDArray[np.float64],
) -> float:
    """Most voxels along p or q that a ray through the intermediate image moves by a plane."""
    corners = np.zeros((2, 3))
    corners[:, axis] = plane
    corners[:, others] = start, stop
    along = _directions(rays, corners)
    return float(np.abs(along[:, others] / along[:, [axis]]).max())


def _homotheties(
    rays: Rays, axis: int, p_axis: int, q_axis: int, m: NDArray[np.float64], plane: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Scales and offsets that carry the intermediate plane onto the planes at m."""
    s = rays.source
    if rays.is_parallel:
        slide = (m - plane) / s[axis]
        return np.ones(m.size), slide * s[p_axis], slide * s[q_axis]
    # The half plane in front of and behind the voxel centres must not reach the source either.
    scales = (m - s[axis]) / (plane - s[axis]) if plane != s[axis] else np.zeros(m.size)
    return scales, (1 - scales) * s[p_axis], (1 - scales) * s[q_axis]


def _directions(rays: Rays, points: NDArray[np.float64]) -> NDArray[np.float64]:
    if rays.is_parallel:
        return np.broadcast_to(rays.source[:3], points.shape)
    return np.asarray(points - rays.source[:3])


def _on_plane(rays: Rays, axis: int, plane: float) -> NDArray[np.float64] | None:
    """Where the rays of the four corner pixels meet a plane, or None if they miss its front."""
    rows, columns = rays.shape
    points = np.array(
        [
            rays.origin + column * rays.u + row * rays.v
            for row, column in ((0, 0), (0, columns - 1), (rows - 1, 0), (rows - 1, columns - 1))
        ]
    )
    along = _directions(rays, points)
    central = rays.central_direction[axis]
    if (along[:, axis] * central <= 1e-9 * central**2).any():
        return None
    return np.asarray(points + ((plane - points[:, axis]) / along[:, axis])[:, None] * along)


def _pixel_pitch(
    rays: Rays, axis: int, p_axis: int, q_axis: int, plane: float
) -> NDArray[np.float64]:
    """Finest spacing of the detector's pixels on a plane, along p and along q, in voxels."""
    rows, columns = rays.shape
    center = rays.origin + rays.u * (columns - 1) / 2 + rays.v * (rows - 1) / 2
    points = [center]
    for row in (0, rows - 1):
        for column in (0, columns - 1):
            points.append(rays.origin + column * rays.u + row * rays.v)
    base = np.array(points)

    def hit(p: NDArray[np.float64]) -> NDArray[np.float64]:
        along = _directions(rays, p)
        return np.asarray(p + ((plane - p[:, axis]) / along[:, axis])[:, None] * along)

    du, dv = hit(base + rays.u) - hit(base), hit(base + rays.v) - hit(base)
    # A step of (du, dv) pixels moves by du + dv: the lattice is as fine along p as its shorter
    # generator with a notable p component.
    finest = []
    for a in (p_axis, q_axis):
        steps = np.abs(np.stack([du[:, a], dv[:, a]]))
        lengths = np.stack(
            [np.hypot(du[:, p_axis], du[:, q_axis]), np.hypot(dv[:, p_axis], dv[:, q_axis])]
        )
        finest.append(float(lengths[steps >= 0.5 * lengths].min(initial=lengths.max())))
    return np.array(finest)


def _is_parallel_to_face(rays: Rays, p_axis: int, q_axis: int, axis: int) -> bool:
    """Whether rows run along p and columns along q, so that pixels map to a regular grid."""

    def runs_along(step: NDArray[np.float64], a: int) -> bool:
        others = [b for b in range(3) if b != a]
        return bool(np.abs(step[others]).max() <= 1e-9 * abs(step[a]))

    return runs_along(rays.u, p_axis) and runs_along(rays.v, q_axis)


def _detector_limit(
    rays: Rays,
    counts: NDArray[np.int_],
    axis: int,
    p_axis: int,
    q_axis: int,
    plane: float,
    start: NDArray[np.float64],
    pitches: NDArray[np.float64],
    shape: tuple[int, int],
) -> tuple[NDArray[np.float32], int]:
    """Where each intermediate ray meets the detector, if inside the volume, and the direction."""
    direction = rays.central_direction
    sign = -1 if direction[axis] < 0 else 1
    nothing = np.empty((0, 1), np.float32)
    if rays.is_parallel:
        return nothing, sign
    normal = np.cross(rays.u, rays.v)
    normal = normal * math.copysign(1.0, float(normal @ direction))
    box = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * (counts + 1) - 1.0
    if ((box - rays.origin) @ normal <= 0).all():
        return nothing, sign
    p = start[0] + pitches[0] * np.arange(shape[1])
    q = start[1] + pitches[1] * np.arange(shape[0])[:, None]
    s = rays.source[:3]
    along = normal[axis] * (plane - s[axis]) + normal[p_axis] * (p - s[p_axis])
    along = along + normal[q_axis] * (q - s[q_axis])
    with np.errstate(divide="ignore", invalid="ignore"):
        t = float((rays.origin - s) @ normal) / along
    limit = s[axis] + t * (plane - s[axis])
    # Rays that never meet the detector plane on their way are not detector rays.
    return np.where(t > 0, sign * limit, 1e9).astype(np.float32), sign
