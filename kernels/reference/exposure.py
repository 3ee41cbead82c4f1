"""Float64 twins of `drr.kernels.cpu.image.exposure`, written to be read and to be right."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cpu.image.nodes import GAUSSIAN_FROM, Nodes

__all__ = ["block_sums", "expose", "illuminate"]


def illuminate(
    image: NDArray[np.floating],
    down: NDArray[np.floating],
    across: NDArray[np.floating],
    nodes: Nodes,
) -> NDArray[np.float64]:
    """The image times a profile down, a profile across and a smooth image."""
    return np.asarray(image * np.outer(down, across) * nodes.image(image.shape))


def block_sums(
    primary: NDArray[np.floating],
    line_integrals: NDArray[np.floating],
    block: tuple[int, int],
    *,
    growth: float,
    threshold: float,
    field: tuple[NDArray[np.bool_], NDArray[np.bool_]],
) -> NDArray[np.float64]:
    """What scatters, and what lies behind the patient, summed over blocks of pixels.

    Parameters
    ----------
    primary
        `(rows, columns)` signal.
    line_integrals
        `(rows, columns)`; below zero counts as zero.
    block
        Rows and columns of a block; the last ones may hold fewer.
    growth
        Scatter comes from primary * p * (1 + growth p).
    threshold
        Line integral beyond which a pixel lies behind the patient.
    field
        Rows and columns within the irradiated field.

    Returns
    -------
    `(3, ceil(rows / block), ceil(columns / block))`: sum of the scatter's source, sum of the
    primary behind the patient, number of pixels behind the patient.
    """
    signal, p = primary.astype(np.float64), np.maximum(line_integrals.astype(np.float64), 0.0)
    behind = (p > threshold) & field[0][:, None] & field[1][None, :]
    images = np.stack([signal * p * (1 + growth * p), signal * behind, behind])
    for axis, size in zip((1, 2), block, strict=True):
        images = np.add.reduceat(images, np.arange(0, images.shape[axis], size), axis=axis)
    return images


def expose(
    primary: NDArray[np.floating],
    scatter: Nodes | None,
    normals: NDArray[np.floating] | None,
    *,
    quanta: float,
) -> NDArray[np.float64]:
    """Add scatter, then draw the number of quanta of every pixel.

    Parameters
    ----------
    primary
        `(rows, columns)` signal relative to the open field.
    scatter
        Scattered signal, or None.
    normals
        `(rows, columns)` standard normal numbers, or None for the expectation. From
        `GAUSSIAN_FROM` expected quanta on they are scaled; below, the Poisson distribution is
        inverted at their cumulative probability.
    quanta
        Detected quanta a pixel in the open field.
    """
    signal = primary.astype(np.float64)
    if scatter is not None:
        signal = signal + scatter.image(primary.shape)
    if normals is None:
        return signal
    noisy = signal + np.sqrt(np.maximum(signal, 0) / quanta) * normals
    for index in zip(*np.nonzero(signal * quanta < GAUSSIAN_FROM), strict=True):
        noisy[index] = _poisson(signal[index] * quanta, float(normals[index])) / quanta
    return np.asarray(noisy)


def _poisson(mean: float, normal: float) -> int:
    """The Poisson number whose cumulative probability first reaches that of a normal one."""
    wanted = 0.5 * math.erfc(-normal / math.sqrt(2))
    count, cumulative = 0, math.exp(-mean)
    # No float32 normal number reaches the far end; rounding must not make the loop endless.
    while cumulative < wanted and count < 200:
        count += 1
        cumulative += math.exp(count * math.log(mean) - mean - math.lgamma(count + 1))
    return count
