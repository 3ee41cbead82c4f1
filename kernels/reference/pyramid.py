"""Float64 twin of `drr.kernels.cpu.image.pyramid`, written to be read and to be right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["amplify_bands"]

Image = NDArray[np.float64]


def amplify_bands(
    image: NDArray[np.floating], gains: Sequence[float], knee: float, smallest: int = 4
) -> Image:
    """Laplacian pyramid (Burt and Adelson 1983) with gains that fade for strong detail.

    Parameters
    ----------
    image
        `(rows, columns)`.
    gains
        One a band, finest first. Levels are divided while both halves have at least `smallest`
        pixels.
    knee
        Detail of this strength gets half of what the gain adds, in the image's units.

    Returns
    -------
    `(rows, columns)` float64.
    """
    fine = np.array(image, dtype=np.float64)
    if not gains or min(fine.shape) < 2 * smallest:
        return fine
    coarse = _halve(_halve(fine, 0), 1)
    detail = fine - _widen(coarse, fine.shape)
    amplified = detail * (1 + (gains[0] - 1) / (1 + (detail / knee) ** 2))
    return _widen(amplify_bands(coarse, gains[1:], knee, smallest), fine.shape) + amplified


def _halve(image: Image, axis: int) -> Image:
    """Weights 1 4 6 4 1 at every second pixel; the image is mirrored about its border pixels."""
    image = np.moveaxis(image, axis, 0)
    count = len(image)
    around = np.pad(image, [(2, 2), (0, 0)], mode="reflect")
    smooth = sum(w * around[i : i + count] for i, w in enumerate((1, 4, 6, 4, 1))) / 16
    return np.moveaxis(np.asarray(smooth)[::2], 0, axis)


def _widen(coarse: Image, shape: tuple[int, ...]) -> Image:
    """Weights 1 6 1 at the pixels there are, 4 4 between them.

    Mirrored about the first pixel; the last one is repeated.
    """
    for axis in (0, 1):
        rows = np.moveaxis(coarse, axis, 0)
        before = np.concatenate([rows[1:2], rows[:-1]])
        after = np.concatenate([rows[1:], rows[-1:]])
        wide = np.empty((2 * len(rows), rows.shape[1]))
        wide[0::2] = (before + 6 * rows + after) / 8
        wide[1::2] = (rows + after) / 2
        coarse = np.moveaxis(wide[: shape[axis]], 0, axis)
    return coarse
