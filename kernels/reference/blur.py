"""Float64 twin of `drr.kernels.cpu.image.blur`, written to be read and to be right."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["convolve"]

Taps = NDArray[np.float64]


def convolve(image: NDArray[np.floating], down: Taps, across: Taps) -> NDArray[np.float64]:
    """Blur along columns with `down` and along rows with `across`; borders mirror the image.

    The first pixel beyond a border repeats the last one within, so the sum of all pixels stays.

    Parameters
    ----------
    image
        `(rows, columns)`.
    down, across
        One-sided taps.
    """
    result = image.astype(np.float64)
    for axis, taps in enumerate((down, across)):
        kernel = np.concatenate([taps[:0:-1], taps])
        widths = [(0, 0), (0, 0)]
        widths[axis] = (len(taps) - 1,) * 2
        padded = np.pad(result, widths, mode="symmetric")
        result = np.apply_along_axis(np.convolve, axis, padded, kernel, mode="valid")
    return result
