"""Smooth images by a few nodes, and from where on noise is Gaussian."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["GAUSSIAN_FROM", "Nodes"]

GAUSSIAN_FROM = 50.0
"""Expected quanta from which Poisson numbers are drawn as Gaussian ones of the same variance."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Nodes:
    """A smooth image by its values at equidistant nodes, bilinear between them.

    Parameters
    ----------
    values
        `(rows, columns)` of nodes, at least two by two, reaching as far as the pixels do.
    first
        Row and column, in pixels, of the first node.
    step
        Pixels from node to node, down and across.
    """

    values: NDArray[np.float64]
    first: tuple[float, float]
    step: tuple[float, float]

    def weights(self, axis: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """For `count` pixels along an axis: the node before each, and the next one's weight."""
        position = (np.arange(count) - self.first[axis]) / self.step[axis]
        index = np.clip(np.floor(position).astype(np.int64), 0, self.values.shape[axis] - 2)
        return index, position - index

    def image(self, shape: tuple[int, int]) -> NDArray[np.float64]:
        """Values at all pixels of an image."""
        (i, a), (j, b) = (self.weights(axis, count) for axis, count in enumerate(shape))
        rows = self.values[i] * (1 - a)[:, None] + self.values[i + 1] * a[:, None]
        return np.asarray(rows[:, j] * (1 - b) + rows[:, j + 1] * b)
