"""Siddon and Joseph ray by ray: any geometry, exact arithmetic, no intermediate image.

The traversal runs in float64: on a CPU it costs the same as float32 in branchy scalar code and
keeps every ray within rounding of the float64 twins in `drr.kernels.reference.projection`.
"""

from __future__ import annotations

import math

import numpy as np

from drr.kernels.cpu.compiler.jit import int64, jit

__all__ = ["NUMBERS", "POINTS", "joseph_rows", "siddon_rows"]

NEVER = 1e300
# Rows of scratch that a kernel is given.
POINTS, NUMBERS = 4, 2


@jit(inline=True)
def ray_of(rays, column, row, reach, start, direction):
    """Set start and direction of one ray; return the parameter where it begins (it ends at 1)."""
    source, origin, u, v = rays[0], rays[1], rays[2], rays[3]
    if reach > 0.0:
        for a in range(3):
            start[a] = origin[a] + column * u[a] + row * v[a]
            direction[a] = source[a] * reach
        return -1.0
    for a in range(3):
        start[a] = source[a]
        direction[a] = origin[a] + column * u[a] + row * v[a] - source[a]
    return 0.0


@jit(inline=True)
def length_of(direction, rays):
    total = 0.0
    for a in range(3):
        for b in range(3):
            total += direction[a] * rays[4 + a, b] * direction[b]
    return math.sqrt(total)


@jit
def siddon_rows(
    flat, counts, strides, table, rays, reach, across, down,
    row_start, row_stop, points, numbers, out,
):  # fmt: skip
    """Exact paths through piecewise-constant voxels for detector rows [row_start, row_stop).

    Walks from voxel to voxel (J. Amanatides and A. Woo, "A fast voxel traversal algorithm for ray
    tracing", Eurographics 1987), weighting each by the length inside it. `counts` and `strides`
    are of x, y and z; `rays` is from `Rays.packed`, and `reach` how many of their steps parallel
    ones run either way, 0 for others; `points` (`POINTS`, 3) float64 and `numbers` (`NUMBERS`, 3)
    int64 are scratch.
    """
    nx, ny = counts[0], counts[1]
    start, direction, following, interval = points[0], points[1], points[2], points[3]
    index, step = numbers[0], numbers[1]
    share = 1.0 / (across * down)
    for row in range(row_start, row_stop):
        for column in range(out.shape[1]):
            pixel = 0.0
            for j in range(down):
                for i in range(across):
                    cu = column + (i + 0.5) / across - 0.5
                    cv = row + (j + 0.5) / down - 0.5
                    t = ray_of(rays, cu, cv, reach, start, direction)
                    end = 1.0
                    for a in range(3):
                        below, above = -0.5 - start[a], counts[a] - 0.5 - start[a]
                        if direction[a] == 0.0:
                            if below > 0.0 or above < 0.0:
                                end = -2.0
                        else:
                            t0, t1 = below / direction[a], above / direction[a]
                            t, end = max(t, min(t0, t1)), min(end, max(t0, t1))
                    if end <= t:
                        continue
                    for a in range(3):
                        d = direction[a]
                        position = start[a] + t * d + 0.5
                        k = min(max(int64(math.floor(position)), 0), counts[a] - 1)
                        index[a] = k
                        if d > 0.0:
                            following[a] = (k + 0.5 - start[a]) / d
                            interval[a] = 1.0 / d
                            step[a] = strides[a]
                        elif d < 0.0:
                            following[a] = (k - 0.5 - start[a]) / d
                            interval[a] = -1.0 / d
                            step[a] = -strides[a]
                        else:
                            following[a] = NEVER
                            interval[a] = 0.0
                            step[a] = 0
                    voxel = index[0] + nx * (index[1] + ny * index[2])
                    fx, fy, fz = following[0], following[1], following[2]
                    ix, iy, iz = interval[0], interval[1], interval[2]
                    sx, sy, sz = step[0], step[1], step[2]
                    total = 0.0
                    size = flat.size
                    while True:
                        value = table[int64(flat[np.uint64(voxel)]) + 32768]
                        if fx <= fy and fx <= fz:
                            t_next = fx
                            fx += ix
                            move = sx
                        elif fy <= fz:
                            t_next = fy
                            fy += iy
                            move = sy
                        else:
                            t_next = fz
                            fz += iz
                            move = sz
                        if t_next >= end:
                            total += (end - t) * value
                            break
                        # A ray that enters through a face may meet that face once more.
                        if t_next > t:
                            total += (t_next - t) * value
                            t = t_next
                        voxel += move
                        if voxel < 0 or voxel >= size:
                            break
                    pixel += total * length_of(direction, rays)
            out[row, column] = pixel * share


@jit
def joseph_rows(
    flat, counts, strides, table, rays, reach, across, down,
    row_start, row_stop, points, numbers, out,
):  # fmt: skip
    """Sums over the planes of each ray's dominant axis, bilinear within each plane.

    Parameters as of `siddon_rows`.
    """
    start, direction = points[0], points[1]
    share = 1.0 / (across * down)
    for row in range(row_start, row_stop):
        for column in range(out.shape[1]):
            pixel = 0.0
            for j in range(down):
                for i in range(across):
                    cu = column + (i + 0.5) / across - 0.5
                    cv = row + (j + 0.5) / down - 0.5
                    t0 = ray_of(rays, cu, cv, reach, start, direction)
                    axis = 0
                    for a in range(1, 3):
                        if abs(direction[a]) > abs(direction[axis]):
                            axis = a
                    p, q = (1, 2) if axis == 0 else ((0, 2) if axis == 1 else (0, 1))
                    along = direction[axis]
                    begin, finish = start[axis] + t0 * along, start[axis] + along
                    low, high = min(begin, finish), max(begin, finish)
                    m0 = max(0, int64(math.ceil(low - 0.5)))
                    m1 = min(counts[axis] - 1, int64(math.floor(high + 0.5)))
                    slope_p, slope_q = direction[p] / along, direction[q] / along
                    base_p = start[p] - start[axis] * slope_p
                    base_q = start[q] - start[axis] * slope_q
                    # Planes where the ray lies within one voxel of the volume.
                    for slope, base, n in (
                        (slope_p, base_p, counts[p]),
                        (slope_q, base_q, counts[q]),
                    ):
                        if slope != 0.0:
                            e0, e1 = (-1.0 - base) / slope, (n - base) / slope
                            # Clamped first: a nearly parallel ray meets the sides beyond int64.
                            far = counts[axis] + 1.0
                            m0 = max(m0, int64(math.floor(min(max(min(e0, e1), -1.0), far))))
                            m1 = min(m1, int64(math.ceil(min(max(max(e0, e1), -1.0), far))))
                    np_, nq = counts[p], counts[q]
                    stride_p, stride_q = strides[p], strides[q]
                    total = 0.0
                    for m in range(m0, m1 + 1):
                        x, y = base_p + m * slope_p, base_q + m * slope_q
                        i0, j0 = int64(math.floor(x)), int64(math.floor(y))
                        if i0 < -1 or j0 < -1 or i0 >= np_ or j0 >= nq:
                            continue
                        part = min(m + 0.5, high) - max(m - 0.5, low)
                        if part <= 0.0:
                            continue
                        f, g = x - i0, y - j0
                        at = m * strides[axis] + i0 * stride_p + j0 * stride_q
                        value = 0.0
                        if i0 >= 0 and i0 + 1 < np_ and j0 >= 0 and j0 + 1 < nq:
                            a = table[int64(flat[np.uint64(at)]) + 32768]
                            b = table[int64(flat[np.uint64(at + stride_p)]) + 32768]
                            c = table[int64(flat[np.uint64(at + stride_q)]) + 32768]
                            e = table[int64(flat[np.uint64(at + stride_p + stride_q)]) + 32768]
                            value = (1 - g) * (a + f * (b - a)) + g * (c + f * (e - c))
                        else:
                            for dj in range(2):
                                for di in range(2):
                                    if 0 <= i0 + di < np_ and 0 <= j0 + dj < nq:
                                        w = (f if di else 1 - f) * (g if dj else 1 - g)
                                        hu = flat[at + di * stride_p + dj * stride_q]
                                        value += w * table[int64(hu) + 32768]
                        total += min(part, 1.0) * value
                    pixel += total * length_of(direction, rays) / abs(along)
            out[row, column] = pixel * share
