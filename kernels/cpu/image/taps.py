"""Taps of symmetric, non-negative blur kernels.

Taps are one-sided: the middle one first, then those at 1, 2, ... pixels to either side. They are
never negative, so that no blurred signal is, and sum to one (the middle once, the others twice),
so that a blur neither gains nor loses energy.

A sampled kernel narrower than a pixel or two is not its own continuous form: sampled Gaussians
below 0.7 pixels lose a fifth of their variance. Gaussian and Lorentzian are therefore exact in
their MTF where it is one half, or at half the Nyquist frequency where that is lower; the box is
exact in its variance.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["Taps", "box_taps", "gaussian_taps", "lorentzian_taps"]

Taps = NDArray[np.float64]

_NEGLIGIBLE = 1e-4  # of the middle tap, where long kernels are cut before they are normalised
_HALF_NYQUIST = 0.25  # cycles per pixel


def gaussian_taps(sigma: float) -> Taps:
    """Gaussian of standard deviation `sigma` pixels: MTF(f) = exp(-2 (pi sigma f)^2)."""
    if sigma <= 0:
        return np.ones(1)
    half = math.sqrt(math.log(2) / 2) / (math.pi * sigma)  # where the MTF is one half
    if half > _HALF_NYQUIST:
        return _three_taps(math.exp(-2 * (math.pi * sigma * _HALF_NYQUIST) ** 2))
    radius = math.ceil(sigma * math.sqrt(-2 * math.log(_NEGLIGIBLE)))
    return _normalised(np.exp(-0.5 * (np.arange(radius + 1) / sigma) ** 2))


def lorentzian_taps(decay: float) -> Taps:
    """Two-sided exponential of decay length `decay` pixels: MTF(f) = 1 / (1 + (2 pi decay f)^2).

    Sampled, r^|n| has the MTF 1 / (1 + 4 u sin^2(pi f)) with u = r / (1 - r)^2: a Lorentzian, too.
    """
    if decay <= 0:
        return np.ones(1)
    frequency = min(1 / (2 * math.pi * decay), _HALF_NYQUIST)
    u = (math.pi * decay * frequency / math.sin(math.pi * frequency)) ** 2
    # The root of r / (1 - r)^2 = u below one, without cancellation for small u.
    r = 2 * u / (1 + 2 * u + math.sqrt(1 + 4 * u))
    radius = max(1, math.ceil(math.log(_NEGLIGIBLE) / math.log(r)))
    return _normalised(r ** np.arange(radius + 1.0))


def box_taps(width: float) -> Taps:
    """Uniform over `width` pixels, its variance width^2 / 12: MTF(f) = sinc(width f)."""
    if width <= 0:
        return np.ones(1)
    # 2 k - 1 equal taps have a variance of ((2 k - 1)^2 - 1) / 12 or less, 2 k + 1 more.
    k = math.floor((math.sqrt(width * width + 1) + 1) / 2)
    # (2 k - 1) b + 2 e = 1 and inner b + 2 k^2 e = width^2 / 12.
    inner = 2.0 * sum(n * n for n in range(1, k))
    b = (k * k - width * width / 12) / ((2 * k - 1) * k * k - inner)
    e = (1 - (2 * k - 1) * b) / 2
    return _normalised(np.concatenate([np.full(k, b), [max(e, 0.0)]]))


def _three_taps(mtf: float) -> Taps:
    """1 - 2 a (1 - cos(2 pi f)) is the MTF of (a, 1 - 2 a, a); at half Nyquist it is 1 - 2 a."""
    return np.array([mtf, (1 - mtf) / 2])


def _normalised(taps: Taps) -> Taps:
    return np.asarray(taps / (2 * taps.sum() - taps[0]))
