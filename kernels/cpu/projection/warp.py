"""The warp of a shear-warp: from the intermediate image to the detector's pixels."""

from __future__ import annotations

import math

from drr.kernels.cpu.compiler.jit import float32 as f4
from drr.kernels.cpu.compiler.jit import int32, int64, jit, uint64
from drr.kernels.cpu.compiler.vectors import LANES, fma, load, store

__all__ = ["warp"]


@jit
def warp(image, rays, toward, plane, sizes, row_start, row_stop, places, blended, out):
    """Carry the intermediate image to detector rows [row_start, row_stop).

    Every pixel is the mean of `down` x `across` sub-pixel rays. A ray's value is the intermediate
    image where the ray crosses the intermediate plane, times the ray's length in mm between two
    planes of voxels. When `exact`, sub-pixels coincide with intermediate pixels and are read;
    otherwise Catmull-Rom interpolation (E. Catmull and R. Rom, 1974), of one row of the image at a
    time when they are `straight`: rows and columns of rays cross the plane along its own.

    Parameters
    ----------
    image
        `(Q, columns)` float32, flat.
    rays
        `(7, 3)` float64 in the order m, p, q; see `Rays.packed`.
    toward
        1.0 where rays come from a source, 0.0 where they are parallel.
    plane
        `(5,)` float64: the intermediate plane's m, then p and pitch of its first column, q and
        pitch of its first row.
    sizes
        `(6,)` int64: columns of the image and of the detector; `across` and `down`; whether
        `exact`, whether `straight`.
    row_start, row_stop
        Rows of the detector.
    places, blended
        Scratch: three float64 of each ray of a row, float32 of each column of the image.
    out
        `(rows, columns)` float32 of the detector, flat.
    """
    columns, out_columns, across, down = sizes[0], sizes[1], sizes[2], sizes[3]
    exact, straight = sizes[4], sizes[5]
    rows, count = image.size // columns, out_columns * across
    for i in range(row_start * out_columns, row_stop * out_columns):
        out[i] = f4(0)
    for row in range(row_start, row_stop):
        for part in range(down):
            line = row + (part + 0.5) / down - 0.5
            trace(rays, toward, plane, across, line, count, places)
            if exact:
                take_row(image, rows, columns, places, count, across, down, row * out_columns, out)
                continue
            if straight:
                interpolate_row(
                    image, rows, columns, places, count, across, down, row * out_columns, out,
                    blended,
                )  # fmt: skip
                continue
            for i in range(count):
                x, y = places[i], places[count + i]
                weight = f4(places[2 * count + i] / (across * down))
                to = uint64(row * out_columns + i // across)
                n, k = int64(math.floor(x)), int64(math.floor(y))
                if n < 1 or k < 1 or n > columns - 3 or k > rows - 3:
                    continue
                f0, f1, f2, f3 = catmull_rom(f4(x - n))
                g0, g1, g2, g3 = catmull_rom(f4(y - k))
                at, pitch = uint64((k - 1) * columns + n - 1), uint64(columns)
                value = g0 * four(image, at, f0, f1, f2, f3)
                value += g1 * four(image, at + pitch, f0, f1, f2, f3)
                value += g2 * four(image, at + uint64(2) * pitch, f0, f1, f2, f3)
                value += g3 * four(image, at + uint64(3) * pitch, f0, f1, f2, f3)
                out[to] += weight * value


@jit
def catmull_rom(f):
    """Weights of the four neighbours of a place that is f beyond the second."""
    f0 = ((f4(-0.5) * f + f4(1)) * f - f4(0.5)) * f
    f1 = (f4(1.5) * f - f4(2.5)) * f * f + f4(1)
    f2 = ((f4(-1.5) * f + f4(2)) * f + f4(0.5)) * f
    f3 = (f4(0.5) * f - f4(0.5)) * f * f
    return f0, f1, f2, f3


@jit
def four(image, at, f0, f1, f2, f3):
    """Weighted sum of neighbours in a row; `at` is unsigned."""
    value = f0 * image[at] + f1 * image[at + uint64(1)]
    return value + f2 * image[at + uint64(2)] + f3 * image[at + uint64(3)]


@jit
def interpolate_row(image, rows, columns, places, rays, across, down, to, out, blended):
    """Add a row of rays that cross the plane along a row of the image, between its pixels."""
    y = places[rays]
    k = int64(math.floor(y))
    if k < 1 or k > rows - 3:
        return
    g0, g1, g2, g3 = catmull_rom(f4(y - k))
    at = (k - 1) * columns
    for x in range(0, columns, LANES):
        value = load(image, at + x) * g0
        value = fma(load(image, at + columns + x), g1, value)
        value = fma(load(image, at + 2 * columns + x), g2, value)
        store(blended, x, fma(load(image, at + 3 * columns + x), g3, value))
    for i in range(rays):
        x = places[i]
        n = int64(math.floor(x))
        if n < 1 or n > columns - 3:
            continue
        f0, f1, f2, f3 = catmull_rom(f4(x - n))
        weight = f4(places[2 * rays + i] / (across * down))
        out[uint64(to + i // across)] += weight * four(blended, uint64(n - 1), f0, f1, f2, f3)


@jit
def take_row(image, rows, columns, places, rays, across, down, to, out):
    """Add a row of rays that coincide, one after the other, with pixels of a row of the image."""
    n, k = int64(math.floor(places[0] + 0.5)), int64(math.floor(places[rays] + 0.5))
    step = 1 if places[rays - 1] >= places[0] else -1
    first, last = (-n, columns - n) if step > 0 else (n - columns + 1, n + 1)
    first, last = max(first, 0), min(last, rays)
    if k < 0 or k >= rows or first >= last:
        return
    at, weight, count = k * columns + n + step * first, 2 * rays + first, last - first
    if across > 1:
        for i in range(count):
            value = f4(places[weight + i] / (across * down)) * image[uint64(at + step * i)]
            out[to + (first + i) // across] += value
        return
    # With unsigned indices such loops become vector instructions.
    at, weight, to, count = uint64(at), uint64(weight), uint64(to + first), uint64(count)
    if step > 0:
        for i in range(count):
            out[to + i] += f4(places[weight + i] / down) * image[at + i]
    else:
        for i in range(count):
            out[to + i] += f4(places[weight + i] / down) * image[at - i]


@jit
def trace(rays, toward, plane, across, line, count, places):
    """Where the rays of one row of sub-pixels cross the intermediate plane, and their weights.

    Apart from the search in the image, so that divisions and roots become vectors. Rays that miss
    the plane are placed beside the image.
    """
    source, origin, u, v = rays[0], rays[1], rays[2], rays[3]
    plane_m, p0, pitch_p, q0, pitch_q = plane[0], plane[1], plane[2], plane[3], plane[4]
    s0, s1, s2 = source[0], source[1], source[2]
    o0, o1, o2 = origin[0] + line * v[0], origin[1] + line * v[1], origin[2] + line * v[2]
    u0, u1, u2 = u[0], u[1], u[2]
    m00, m01, m02 = rays[4, 0], 2.0 * rays[4, 1], 2.0 * rays[4, 2]
    m11, m12, m22 = rays[5, 1], 2.0 * rays[5, 2], rays[6, 2]
    for i in range(count):
        column = (int32(i) + 0.5) / across - 0.5
        m, p, q = o0 + column * u0, o1 + column * u1, o2 + column * u2
        # From the source to the pixel, or along a parallel beam.
        d0, d1, d2 = toward * m - s0, toward * p - s1, toward * q - s2
        t = (plane_m - m) / d0
        ahead = d0 != 0.0 and toward * t > -1.0
        length = d0 * (m00 * d0 + m01 * d1 + m02 * d2) + d1 * (m11 * d1 + m12 * d2) + m22 * d2 * d2
        places[i] = (p + t * d1 - p0) / pitch_p if ahead else -9.0
        places[count + i] = (q + t * d2 - q0) / pitch_q if ahead else -9.0
        places[2 * count + i] = math.sqrt(length) / abs(d0)
