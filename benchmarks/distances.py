"""How far two collections of pictures are apart, in grey levels, spectrum and features.

Every picture belongs to a subject (a patient, a CT) and has a weight; pairs of pictures of one
subject never count, so that a subject's many pictures are not taken for many subjects. Weights
make bootstrapping cheap: nothing but they change.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVELS = 256
QUANTILES = 128
LOWEST, HIGHEST, BANDS = 1 / 160.0, 0.2, 16
"""Cycles per mm: two periods in the window; four fifths of the Nyquist frequency of 2 mm pixels,
where the films, sampled at 1.34 mm or finer, still hold what the detector saw."""


def histograms(pictures: NDArray[np.floating]) -> Floats:
    """`(n, 256)` share of the pixels at each grey level."""
    levels = np.rint(np.clip(pictures, 0, 1) * (LEVELS - 1)).astype(int).reshape(len(pictures), -1)
    counts = np.stack([np.bincount(picture, minlength=LEVELS) for picture in levels])
    return counts / levels.shape[1]


def pooled_wasserstein(first: Floats, second: Floats, w1: Floats, w2: Floats) -> float:
    """Wasserstein-1 distance, in grey levels of 255, between two weighted pools of histograms."""
    pools = [w @ h / w.sum() for h, w in ((first, w1), (second, w2))]
    return float(np.abs(np.cumsum(pools[0] - pools[1])).sum())


def wasserstein(pictures: NDArray[np.floating]) -> Floats:
    """`(n, n)` Wasserstein-1 distance between the grey levels of any two pictures, of 255.

    In one dimension it is the mean distance between quantiles.
    """
    at = (np.arange(QUANTILES) + 0.5) / QUANTILES
    values = np.sort(pictures.reshape(len(pictures), -1), axis=1) * (LEVELS - 1)
    quantiles = values[:, (at * values.shape[1]).astype(int)].astype(np.float32)
    return np.stack([np.abs(quantiles - one).mean(axis=1) for one in quantiles]).astype(np.float64)


def frequencies() -> Floats:
    """`(16,)` middles of the bands of `spectra`, cycles per mm."""
    edges = np.geomspace(LOWEST, HIGHEST, BANDS + 1)
    return np.sqrt(edges[1:] * edges[:-1])


def spectra(pictures: NDArray[np.floating], spacing: float) -> Floats:
    """`(n, 16)` radial power spectra in decibel, of pictures divided by their mean.

    Hann window in both directions; the power is averaged over rings of equal width in the
    logarithm of frequency, and divided by the window's power, so that white noise of standard
    deviation s gives 20 log10 s + 20 log10 spacing at all frequencies (decibel re 1 mm^2).
    """
    rows, columns = pictures.shape[1:]
    taper = np.outer(np.hanning(rows + 1)[:-1], np.hanning(columns + 1)[:-1])
    frequency = np.hypot(
        np.fft.fftfreq(rows, spacing)[:, None], np.fft.rfftfreq(columns, spacing)[None]
    )
    edges = np.geomspace(LOWEST, HIGHEST, BANDS + 1)
    band = np.digitize(frequency, edges) - 1
    inside = (band >= 0) & (band < BANDS)
    counts = np.bincount(band[inside], minlength=BANDS)
    found = []
    for picture in pictures.astype(np.float64):
        mean = (taper * picture).sum() / taper.sum()
        contrast = taper * (picture / mean - 1)
        power = np.abs(np.fft.rfft2(contrast)) ** 2 * spacing**2 / (taper**2).sum()
        sums = np.bincount(band[inside], weights=power[inside], minlength=BANDS)
        found.append(10 * np.log10(sums / np.maximum(counts, 1) + 1e-12))
    return np.stack(found)


def spectral_distance(first: Floats, second: Floats, w1: Floats, w2: Floats) -> float:
    """Root mean square difference, in decibel, of two weighted mean log spectra."""
    means = [w @ s / w.sum() for s, w in ((first, w1), (second, w2))]
    return float(np.sqrt(np.mean((means[0] - means[1]) ** 2)))


def polynomial_kernel(features: Floats) -> Floats:
    """`(n, n)` kernel (x.y / d + 1)^3 of KID (Binkowski et al., ICLR 2018)."""
    return np.asarray((features @ features.T / features.shape[1] + 1) ** 3)


def between(values: Floats, w1: Floats, w2: Floats) -> float:
    """Weighted mean of `(n1, n2)` values of pairs."""
    return float(w1 @ values @ w2 / (w1.sum() * w2.sum()))


def within(values: Floats, weights: Floats, subjects: NDArray) -> float:
    """Weighted mean of `(n, n)` values of pairs of two subjects."""
    pairs = np.outer(weights, weights) * (subjects[:, None] != subjects[None])
    return float((pairs * values).sum() / pairs.sum())
