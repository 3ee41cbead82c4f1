"""From line integrals to grey levels by each picture's own least and greatest value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.checks import Recorded, flag
from drr.errors import DisplayError

__all__ = ["MinMax", "rescale_to_8_bits"]


@dataclass(frozen=True, kw_only=True)
class MinMax(Recorded):
    """Every picture from its own least to its own greatest value, as published: a display.

    Parameters
    ----------
    bits
        Grey levels are cut to this many bits, 1 to 16; None keeps them continuous.
    invert
        Bone black instead of bright.
    """

    error = DisplayError

    bits: int | None = 8
    invert: bool = False

    def __post_init__(self) -> None:
        whole = isinstance(self.bits, int) and not isinstance(self.bits, bool)
        if self.bits is not None and not (whole and 1 <= self.bits <= 16):
            raise DisplayError(
                f"bits must be a whole number from 1 to 16 or None, got {self.bits!r}"
            )
        flag("invert", self.invert, error=DisplayError)

    def apply(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Grey levels from 0 (black) to 1 (white), float32, same shape.

        A picture of one value is black.
        """
        top = 1 if self.bits is None else 2**self.bits - 1
        grey = _rescale(values, top)
        if self.bits is not None:
            grey = np.trunc(grey)
        grey /= top
        return np.asarray(1.0 - grey if self.invert else grey, dtype=np.float32)


def rescale_to_8_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Least value to 0, greatest to 255, cut to whole numbers: ITK's RescaleIntensityImageFilter.

    Parameters
    ----------
    values
        Any shape and real type, finite. One value everywhere gives 0 everywhere.

    Raises
    ------
    DisplayError
        For no values, or values that are not finite numbers.
    """
    return _rescale(values, 255).astype(np.uint8)


def _rescale(values: NDArray[Any], top: int) -> NDArray[np.float64]:
    array = np.asarray(values)
    if array.size == 0 or array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise DisplayError(
            f"a picture is made from finite numbers, got {array.dtype} of shape {array.shape}"
            + (" with NaN or infinite values" if array.size and array.dtype.kind == "f" else "")
        )
    # One product and one sum in double precision, as the filter does it: another order of
    # operations moves values across whole numbers.
    low, high = float(array.min()), float(array.max())
    scale = top / (high - low) if high > low else 0.0
    return np.clip(array.astype(np.float64) * scale + (0.0 - low * scale), 0.0, top)
