"""Shear-warp: Joseph's sums reordered so that the volume streams once through the cache.

Every plane of voxels parallel to a volume face maps onto any other such plane by one scale and
one shift (a point source makes them homothetic), so a plane is added to an intermediate image
parallel to the face by resampling its rows, without following single rays. One 2-D warp carries
the intermediate image to the detector; when the detector is parallel to the face the intermediate
pixels are the detector's and the warp only weights.

P. Lacroute and M. Levoy, "Fast volume rendering using a shear-warp factorization of the viewing
transformation", SIGGRAPH 1994; the interpolation is Joseph's (IEEE Trans. Med. Imaging 1982).

Axes here: `m` counts planes along the dominant axis, `p` runs along the rows that are resampled,
`q` is the third axis. `X` and `Q` are coordinates on the intermediate plane.
"""

from __future__ import annotations

import math

import numpy as np

from drr.kernels.cpu.jit import float32 as f4
from drr.kernels.cpu.jit import int64, jit
from drr.kernels.cpu.transpose import transpose_block

__all__ = ["accumulate", "warp"]

# Outputs that share one base index: two AVX-512 or four AVX2 vectors of float32.
BLOCK = 16
# Rows of voxels handled together: their resampled rows and target rows stay in the L1 cache.
ROWS = 8


@jit(fast=True)
def attenuate(row, thresholds, slopes, body):
    """Write the attenuation of one row of HU into `body`.

    The attenuation is the sum over k of slopes[k] * max(0, HU - thresholds[k]).
    """
    knee, slope = thresholds[0], slopes[0]
    for i in range(row.size):
        body[i] = slope * max(f4(row[i]) - knee, f4(0))
    for k in range(1, slopes.size):
        knee, slope = thresholds[k], slopes[k]
        for i in range(row.size):
            body[i] += slope * max(f4(row[i]) - knee, f4(0))


@jit(fast=True)
def attenuate_by_table(row, table, body):
    """As `attenuate` for any attenuation, looked up in a table over all int16 values."""
    for i in range(row.size):
        body[i] = table[int64(row[i]) + 32768]


@jit(fast=True)
def is_air(row, threshold):
    """Whether no voxel of a row attenuates; one look at its middle settles most rows."""
    highest = row[row.size // 2]
    if f4(highest) > threshold:
        return False
    for i in range(row.size):
        highest = max(highest, row[i])
    return f4(highest) <= threshold


@jit(fast=True)
def resample(line, scale, shift, start, stop, out):
    """Linear interpolation of `line` at `scale * X + shift` for X in blocks start to stop.

    Numba does not vectorise gathers. When the scale is near one, the positions of a block's
    outputs lie within 2 to 4 elements of its first: the interpolation then walks from element to
    element, as far along each step as the position is, all in contiguous memory. Otherwise
    interpolate output by output.
    """
    drift = scale - f4(1)
    spread = abs(drift) * f4(BLOCK - 1)
    if spread > f4(3):
        for x in range(start * BLOCK, stop * BLOCK):
            position = scale * f4(x) + shift
            i = int64(position)
            out[x] = line[i] + (position - f4(i)) * (line[i + 1] - line[i])
    else:
        for block in range(start, stop):
            x = block * BLOCK
            position = scale * f4(x) + shift
            lowest = position if drift >= f4(0) else position + drift * f4(BLOCK - 1)
            base = int64(lowest)
            offset = position - f4(base)
            target = out[x : x + BLOCK]
            near = line[base : base + BLOCK + 4]
            if spread <= f4(1):
                for lane in range(BLOCK):
                    d = offset + drift * f4(lane)
                    target[lane] = (
                        near[lane]
                        + min(d, f4(1)) * (near[lane + 1] - near[lane])
                        + max(d - f4(1), f4(0)) * (near[lane + 2] - near[lane + 1])
                    )
            elif spread <= f4(2):
                for lane in range(BLOCK):
                    d = offset + drift * f4(lane)
                    target[lane] = (
                        near[lane]
                        + min(d, f4(1)) * (near[lane + 1] - near[lane])
                        + min(max(d - f4(1), f4(0)), f4(1)) * (near[lane + 2] - near[lane + 1])
                        + max(d - f4(2), f4(0)) * (near[lane + 3] - near[lane + 2])
                    )
            else:
                for lane in range(BLOCK):
                    d = offset + drift * f4(lane)
                    target[lane] = (
                        near[lane]
                        + min(d, f4(1)) * (near[lane + 1] - near[lane])
                        + min(max(d - f4(1), f4(0)), f4(1)) * (near[lane + 2] - near[lane + 1])
                        + min(max(d - f4(2), f4(0)), f4(1)) * (near[lane + 3] - near[lane + 2])
                        + max(d - f4(3), f4(0)) * (near[lane + 4] - near[lane + 3])
                    )


@jit(fast=True)
def add_two(w_lower, lower, w_upper, upper, target):
    for x in range(target.size):
        target[x] += w_lower * lower[x] + w_upper * upper[x]


@jit(fast=True)
def add_two_clipped(w_lower, lower, w_upper, upper, limit, plane, sign, target):
    """As `add_two`, counting only the part of the plane's interval before the detector."""
    for x in range(target.size):
        part = min(max(sign * (limit[x] - plane) + f4(0.5), f4(0)), f4(1))
        target[x] += part * (w_lower * lower[x] + w_upper * upper[x])


@jit
def accumulate(
    volume,
    words,
    axis,
    transposed,
    thresholds,
    slopes,
    table,
    scales,
    shifts_p,
    shifts_q,
    pitch_p,
    pitch_q,
    limit,
    sign,
    q_start,
    q_stop,
    image,
):
    """Add the planes of voxels with q in [q_start, q_stop) to the intermediate image.

    Parameters
    ----------
    volume
        `(nz, ny, nx)` int16, or `(nz, nx, ny)` when `transposed`.
    words
        The volume as 64-bit words, see `transpose.as_words`.
    axis
        Dominant axis: 0 for x, 1 for y, 2 for z.
    thresholds, slopes, table
        The attenuation, as hinges (float32) or, when `slopes` is empty, as a table of 65536.
    scales, shifts_p, shifts_q
        `(planes,)` float64: voxel p = scales[m] * pitch_p * X + shifts_p[m], and so for q and Q.
    limit, sign
        `(Q, X)` float32 plane coordinate where each intermediate ray meets the detector, and the
        direction in which the rays cross the planes; empty when the detector is outside the volume.
    image
        `(Q, X)` float32; X a multiple of `BLOCK`. Added to.
    """
    if axis == 1:
        planes, n = volume.shape[1], volume.shape[2]
    elif axis == 2:
        planes, n = volume.shape[0], volume.shape[2]
    else:
        planes = volume.shape[1] if transposed else volume.shape[2]
        n = volume.shape[2] if transposed else volume.shape[1]
    nq, nx = image.shape
    blocks = nx // BLOCK
    # Zeros on either side of a row, as far as a block that only touches it reaches.
    pad = int64((BLOCK + 4) * scales.max() * pitch_p) + 8
    line = np.zeros(n + 2 * pad + BLOCK, np.float32)
    body = line[pad : pad + n]
    resampled = np.zeros((ROWS, nx), np.float32)
    clip = limit.size > 0
    low = np.empty(nq if clip else 0, np.float32)
    high = np.empty(nq if clip else 0, np.float32)
    if clip:
        for row in range(nq):
            low[row] = (sign * limit[row]).min()
            high[row] = (sign * limit[row]).max()
    tile_planes = 32
    gathered = axis == 0 and not transposed
    tile = np.empty((ROWS, tile_planes if gathered else 0, n), np.int16)
    tile_words = tile.view(np.uint64) if n % 4 == 0 else np.empty((ROWS, 0, 0), np.uint64)

    for q0 in range(q_start, q_stop, ROWS):
        q1 = min(q0 + ROWS, q_stop)
        for m in range(planes):
            if gathered and m % tile_planes == 0:
                stop = min(m + tile_planes, planes)
                for q in range(q0, q1):
                    transpose_block(volume[q], words[q], m, stop, tile[q - q0], tile_words[q - q0])
            scale = scales[m]
            step_q, shift_q = scale * pitch_q, shifts_q[m]
            # Rows of the image that these rows of voxels reach.
            top = max(0, int64(math.ceil((q0 - 1 - shift_q) / step_q)))
            bottom = min(nq, int64(math.ceil((q1 - shift_q) / step_q)))
            if bottom <= top:
                continue
            step_p, shift_p = scale * pitch_p, shifts_p[m]
            x0 = max(0, int64(math.floor((-1 - shift_p) / step_p)) // BLOCK)
            # Two columns of slack absorb float32 rounding of the positions.
            x1 = min(blocks, int64(math.ceil((n - shift_p) / step_p) + 2) // BLOCK + 1)
            if x1 <= x0:
                continue
            empty = True
            for q in range(q0, q1):
                if gathered:
                    row = tile[q - q0, m % tile_planes]
                elif axis == 2:
                    row = volume[m, q]
                else:
                    row = volume[q, m]
                if slopes.size > 0 and is_air(row, thresholds[0]):
                    resampled[q - q0] = f4(0)
                    continue
                empty = False
                if slopes.size > 0:
                    attenuate(row, thresholds, slopes, body)
                else:
                    attenuate_by_table(row, table, body)
                resample(line, f4(step_p), f4(shift_p + pad), x0, x1, resampled[q - q0])
            if empty:
                continue
            left, right = x0 * BLOCK, x1 * BLOCK
            # Between voxel rows q and q + 1 both contribute; beyond this block's first and last
            # row only one does, the neighbouring block adds the other.
            v1 = top
            for q in range(q0 - 1, q1):
                v0, v1 = v1, min(nq, int64(math.ceil((q + 1 - shift_q) / step_q)))
                if v1 <= v0:
                    v1 = v0
                    continue
                lower = resampled[max(q, q0) - q0, left:right]
                upper = resampled[min(q + 1, q1 - 1) - q0, left:right]
                for v in range(v0, v1):
                    g = min(max(step_q * v + shift_q - q, 0.0), 1.0)
                    w_lower = f4(1.0 - g) if q >= q0 else f4(0)
                    w_upper = f4(g) if q + 1 < q1 else f4(0)
                    target = image[v, left:right]
                    if not clip or sign * m + 0.5 <= low[v]:
                        add_two(w_lower, lower, w_upper, upper, target)
                    elif sign * m - 0.5 < high[v]:
                        add_two_clipped(
                            w_lower,
                            lower,
                            w_upper,
                            upper,
                            limit[v, left:right],
                            f4(m),
                            f4(sign),
                            target,
                        )


@jit
def warp(
    image,
    source,
    origin,
    u,
    v,
    metric,
    axis,
    p_axis,
    q_axis,
    plane,
    p0,
    pitch_p,
    q0,
    pitch_q,
    exact,
    across,
    down,
    row_start,
    row_stop,
    out,
):
    """Carry the intermediate image to detector rows [row_start, row_stop).

    Every pixel is the mean of `down` x `across` sub-pixel rays. A ray's value is the intermediate
    image where the ray crosses the intermediate plane, times the ray's length in mm between two
    planes of voxels. When `exact`, sub-pixels coincide with intermediate pixels and are read;
    otherwise Catmull-Rom interpolation (E. Catmull and R. Rom, 1974).
    """
    nq, nx = image.shape
    share = 1.0 / (across * down)
    parallel = source[3] == 0.0
    d = np.empty(3)
    wx = np.empty(4)
    wq = np.empty(4)
    for row in range(row_start, row_stop):
        for column in range(out.shape[1]):
            total = 0.0
            for j in range(down):
                for i in range(across):
                    cu = column + (i + 0.5) / across - 0.5
                    cv = row + (j + 0.5) / down - 0.5
                    for a in range(3):
                        pixel = origin[a] + cu * u[a] + cv * v[a]
                        d[a] = source[a] if parallel else pixel - source[a]
                    along = d[axis]
                    if along == 0.0:
                        continue
                    # Step from the pixel to the intermediate plane, in units of d.
                    t = (plane - (origin[axis] + cu * u[axis] + cv * v[axis])) / along
                    if not parallel and t <= -1.0:
                        continue
                    p = origin[p_axis] + cu * u[p_axis] + cv * v[p_axis] + t * d[p_axis]
                    q = origin[q_axis] + cu * u[q_axis] + cv * v[q_axis] + t * d[q_axis]
                    x = (p - p0) / pitch_p
                    y = (q - q0) / pitch_q
                    length = 0.0
                    for a in range(3):
                        for b in range(3):
                            length += d[a] * metric[a, b] * d[b]
                    weight = math.sqrt(length) / abs(along)
                    if exact:
                        k, n = int64(math.floor(y + 0.5)), int64(math.floor(x + 0.5))
                        if 0 <= k < nq and 0 <= n < nx:
                            total += weight * image[k, n]
                        continue
                    n, k = int64(math.floor(x)), int64(math.floor(y))
                    if n < 1 or k < 1 or n > nx - 3 or k > nq - 3:
                        continue
                    f, g = x - n, y - k
                    wx[0] = ((-0.5 * f + 1.0) * f - 0.5) * f
                    wx[1] = (1.5 * f - 2.5) * f * f + 1.0
                    wx[2] = ((-1.5 * f + 2.0) * f + 0.5) * f
                    wx[3] = (0.5 * f - 0.5) * f * f
                    wq[0] = ((-0.5 * g + 1.0) * g - 0.5) * g
                    wq[1] = (1.5 * g - 2.5) * g * g + 1.0
                    wq[2] = ((-1.5 * g + 2.0) * g + 0.5) * g
                    wq[3] = (0.5 * g - 0.5) * g * g
                    value = 0.0
                    for b in range(4):
                        line = image[k - 1 + b]
                        value += wq[b] * (
                            wx[0] * line[n - 1]
                            + wx[1] * line[n]
                            + wx[2] * line[n + 1]
                            + wx[3] * line[n + 2]
                        )
                    total += weight * value
            out[row, column] = total * share
