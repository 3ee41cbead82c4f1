"""The Numba twin of `drr.kernels.reference.siddon_jacobs`: ITK's filter to the bit, on all
threads."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cpu.compiler.jit import float32, float64, int64, jit
from drr.kernels.cpu.projection.itk_camera import MISS, BoxRays
from drr.threads import available_cpus, run, split

__all__ = ["siddon_jacobs"]


def siddon_jacobs(
    volume: NDArray[np.int16],
    spacing: NDArray[np.float64],
    rays: BoxRays,
    *,
    threshold: float,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """As `drr.kernels.reference.siddon_jacobs.siddon_jacobs`, which see.

    Parameters
    ----------
    volume
        `(n2, n1, n0)` int16; a view with exchanged or reversed axes is read in place.
    spacing, rays, threshold
        As in the twin.
    threads
        CPU threads; all available ones by default.
    """
    # Numba walks a flat array: undo reversals and order of the axes, and keep them as strides.
    upright = volume[tuple(slice(None, None, -1 if s < 0 else 1) for s in volume.strides)]
    order = np.argsort([-s for s in upright.strides], kind="stable")
    dense = np.ascontiguousarray(upright.transpose(order))
    strides = np.empty(3, np.int64)
    strides[order] = np.array(dense.strides) // dense.itemsize
    start = 0
    for axis in range(3):
        if volume.strides[axis] < 0:
            start += (volume.shape[axis] - 1) * int(strides[axis])
            strides[axis] = -strides[axis]
    threads = available_cpus() if threads is None else threads
    counts = np.array(volume.shape[::-1], np.int64)
    out = np.zeros(rays.shape, np.float32)

    def cast(first: int, last: int) -> None:
        cast_rows(
            dense.ravel(),
            start,
            strides[::-1].copy(),
            counts,
            np.asarray(spacing, np.float64),
            rays.source,
            rays.origin,
            rays.u,
            rays.v,
            float(threshold),
            first,
            last,
            np.empty((3, 3), np.float32),
            np.empty((2, 3), np.int64),
            out,
        )

    # Several ranges a thread, because rays that miss the body cost nothing.
    run(cast, split(rays.shape[0], threads * 8 if threads > 1 else 1), threads)
    return out


@jit
def cast_rows(
    flat, start, strides, counts, spacing, source, origin, u, v, threshold, row_start, row_stop,
    points, numbers, out,
):  # fmt: skip
    """Rows [row_start, row_stop); every rounding to float32 stands where the filter has one.

    `points` (3, 3) float32 and `numbers` (2, 3) int64 are scratch.
    """
    nx, ny, nz = counts[0], counts[1], counts[2]
    ux, uy, uz = np.uint64(nx), np.uint64(ny), np.uint64(nz)
    # Only stops rays that single precision would keep on one spot for ever.
    bound = 2 * (nx + ny + nz) + 16
    ray, ahead, interval = points[0], points[1], points[2]
    index, step = numbers[0], numbers[1]
    for row in range(row_start, row_stop):
        for column in range(out.shape[1]):
            enter, leave = float32(-2.0), float32(2.0)
            for a in range(3):
                pixel = origin[a] + column * u[a] + row * v[a]
                ray[a] = float32(pixel - source[a])
                step[a] = 1 if source[a] < pixel else -1
            for a in range(3):
                low, high = float32(-2.0), float32(2.0)
                if ray[a] != 0.0:
                    t0 = float32((0.0 - source[a]) / float64(ray[a]))
                    t1 = float32((counts[a] * spacing[a] - source[a]) / float64(ray[a]))
                    low, high = min(t0, t1), max(t0, t1)
                if a == 0:
                    enter, leave = low, high
                else:
                    enter, leave = max(enter, low), min(leave, high)
            if not enter <= leave + float32(MISS):
                continue
            for a in range(3):
                entry = float32(source[a] + float64(float32(enter * ray[a])))
                position = float32(float64(entry) / spacing[a])
                up, down = float64(np.ceil(position)), float64(np.floor(position))
                index[a] = int64(down)
                if ray[a] == 0.0:
                    ahead[a], interval[a] = float32(2.0), float32(999.0)
                else:
                    wide = float64(ray[a])
                    ahead[a] = max(
                        float32((up * spacing[a] - source[a]) / wide),
                        float32((down * spacing[a] - source[a]) / wide),
                    )
                    interval[a] = float32(spacing[a] / abs(wide))
            i, j, k = index[0], index[1], index[2]
            si, sj, sk = step[0], step[1], step[2]
            fx, fy, fz = ahead[0], ahead[1], ahead[2]
            dx, dy, dz = interval[0], interval[1], interval[2]
            at = start + i * strides[0] + j * strides[1] + k * strides[2]
            mi, mj, mk = si * strides[0], sj * strides[1], sk * strides[2]
            here = min(min(fx, fy), fz)
            total = float32(0.0)
            steps = 0
            while here < leave and steps < bound:
                steps += 1
                before = here
                if fx <= fy and fx <= fz:
                    here = fx
                    fx = float32(fx + dx)
                    i += si
                    at += mi
                elif fy <= fx and fy <= fz:
                    here = fy
                    fy = float32(fy + dy)
                    j += sj
                    at += mj
                else:
                    here = fz
                    fz = float32(fz + dz)
                    k += sk
                    at += mk
                # As unsigned numbers, negative indices are too large as well.
                if np.uint64(i) < ux and np.uint64(j) < uy and np.uint64(k) < uz:
                    excess = float64(flat[np.uint64(at)]) - threshold
                    if excess > 0.0:
                        share = float64(float32(here - before))
                        total = float32(float64(total) + share * excess)
            out[row, column] = total
