"""The characteristic curve of a film, pixel by pixel, and whole grey levels of a picture.

Both are the same to the bit on every machine, since the exponential function is calculated here:
exp(x) = 2**n 2**f with n whole and f at most a half, and 2**f by its Taylor series, which after the
seventh power is off by less than float32 can tell.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cpu.compiler.jit import float32 as f4
from drr.kernels.cpu.compiler.jit import float64, int32, jit, uint64
from drr.kernels.cpu.compiler.vectors import LANES, fma, larger, load, nearest, scaled, splat, store
from drr.threads import available_cpus, run, split

__all__ = ["bend", "whole_levels"]

# Pixels that are handed to a thread at a time, at least.
_LEAST = 1 << 16
# Powers of two that float32 has, with room: beyond them the curve is flat.
_FURTHEST = 100.0
_LOG2_E = math.log2(math.e)
# Of 2**f, |f| <= 1/2: ln(2)**k / k!, from k = 7 down to 1.
_SERIES = tuple(math.log(2) ** k / math.factorial(k) for k in range(7, 0, -1))


def bend(
    x: NDArray[np.float32],
    *,
    slope: float,
    middle: float,
    scale: float,
    toe: float,
    brightest: float,
    invert: bool,
    threads: int | None = None,
) -> None:
    """Replace every x by scale * (s(x) - toe), clipped to 0 and `brightest`.

    s(x) is 1 / (1 + exp(-slope (x - middle))).

    Parameters
    ----------
    x
        float32, C-contiguous, finite.
    invert
        Whether to subtract the result from 1.
    threads
        All available ones by default; they do not change the result.
    """
    flat = x.reshape(-1)
    numbers = (-slope * _LOG2_E, middle, scale, scale * toe, brightest)

    def task(start: int, stop: int) -> None:
        _bend(flat, start, stop, *map(np.float32, numbers), int(invert), np.zeros(LANES, "f4"))

    threads = threads or available_cpus()
    run(task, split(flat.size, min(threads, 1 + flat.size // _LEAST)), threads)


def whole_levels(picture: NDArray[np.float32], out: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """Write a picture in [0, 1], clipped to it, as whole numbers up to the greatest of `out`."""
    levels = float(np.iinfo(out.dtype).max)
    _round(np.ascontiguousarray(picture, np.float32).reshape(-1), levels, out.reshape(-1))


@jit
def _bend(x, start, stop, rate, middle, scale, lost, brightest, invert, tail):
    whole = start + (stop - start) // LANES * LANES
    for i in range(start, whole, LANES):
        store(x, i, _curve(load(x, i), rate, middle, scale, lost, brightest, invert))
    for i in range(whole, stop):
        tail[i - whole] = x[i]
    store(tail, 0, _curve(load(tail, 0), rate, middle, scale, lost, brightest, invert))
    for i in range(whole, stop):
        x[i] = tail[i - whole]


@jit
def _curve(x, rate, middle, scale, lost, brightest, invert):
    power = larger((x - middle) * rate, splat(f4(-_FURTHEST)))
    power = smaller(power, splat(f4(_FURTHEST)))
    n = nearest(power)
    f = power - n
    value = splat(f4(_SERIES[0]))
    for k in range(1, 7):
        value = fma(value, f, splat(f4(_SERIES[k])))
    exponential = scaled(fma(value, f, splat(f4(1))), n)
    grey = splat(scale) / (exponential + f4(1)) - lost
    grey = smaller(larger(grey, splat(f4(0))), splat(brightest))
    if invert:
        return splat(f4(1)) - grey
    return grey


@jit
def smaller(value, other):
    """Lane by lane the smaller of two vectors: the larger of both with their signs changed."""
    return larger(value * f4(-1), other * f4(-1)) * f4(-1)


@jit
def _round(picture, levels, out):
    # float64: in float32 the product with 65535 is off by more than the rounding it precedes.
    for i in range(uint64(out.size)):
        value = min(max(float64(picture[i]), 0.0), 1.0) * levels
        out[i] = int32(value + 0.5)
