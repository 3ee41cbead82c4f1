"""Vessels and airways of the lungs: trees that fill a given cloud of points.

A volume-filling bifurcation in the manner of Tawhai, Pullan and Hunter (Ann Biomed Eng 28:793,
2000): the points a branch must serve are cut in two through their centroid, the branch grows part
of the way to each half's centroid, and so on until one point is left. Radii follow the number of
points served, by Murray's law (PNAS 12:207, 1926).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drr.datasets.phantom.paint import Rows, tube

__all__ = ["grow", "vessels"]

MURRAY = 3.0


def grow(
    root: tuple[float, float, float],
    targets: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    radius: float,
    least: float = 0.3,
    fraction: float = 0.42,
) -> NDArray[np.float64]:
    """Segments of a tree from `root` that reaches every target.

    Parameters
    ----------
    root
        `(3,)` mm.
    targets
        `(n, 3)` mm, the ends of the tree.
    radius, least
        mm at the root, and below which nothing is drawn.
    fraction
        How far each branch goes towards the centroid of its targets.

    Returns
    -------
    `(m, 8)` rows of start (3), end (3) and the radii of both.
    """
    count = len(targets)
    segments: list[NDArray[np.float64]] = []
    pending = [(np.array(root, dtype=np.float64), np.arange(count), radius)]
    while pending:
        start, served, thick = pending.pop()
        points = targets[served]
        if len(served) == 1:
            segments.append(np.concatenate([start, points[0], [thick, least]]))
            continue
        middle = points.mean(axis=0)
        along = middle - start
        end = start + fraction * along
        end += rng.normal(size=3) * 0.06 * np.linalg.norm(along)
        segments.append(np.concatenate([start, end, [thick, thick * 0.94]]))
        # Cut across the longest extent of the points as seen from the branch's end.
        spread = points - middle
        _, directions = np.linalg.eigh(spread.T @ spread)
        side = spread @ directions[:, 2] > 0
        if side.all() or not side.any():
            side = np.arange(len(served)) % 2 == 0
        for part in (served[side], served[~side]):
            pending.append((end, part, radius * (len(part) / count) ** (1 / MURRAY)))
    return np.array(segments)


def vessels(segments: NDArray[np.float64], *, hu: float) -> Rows:
    """Rows that paint a tree's segments."""
    rows = tube(segments[:2, :3], 1.0, hu=hu)
    rows = np.repeat(rows, len(segments), axis=0)
    rows[:, 3:9] = segments[:, :6]
    rows[:, 12:14] = rows[:, 14:16] = segments[:, 6:8]
    # A branch starts within its parent's round end.
    rows[:, 16] = 0
    return rows
