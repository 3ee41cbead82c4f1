"""From line integrals to the grey levels of a picture, by a declared mapping."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from drr.checks import Recorded, choice
from drr.errors import DisplayError

__all__ = ["Window", "default_window"]

Curve = Literal["linear", "sigmoid"]


@dataclass(frozen=True, kw_only=True)
class Window(Recorded):
    """Window centre and width in line-integral units, and the curve between black and white.

    The curves are DICOM's VOI LUT functions (PS3.3 C.11.2.1.3): `linear` is LINEAR_EXACT, black
    at centre - width / 2 and white at centre + width / 2; `sigmoid` is
    1 / (1 + exp(-4 (x - centre) / width)), which compresses towards both ends as film does.

    Parameters
    ----------
    center, width
        Dimensionless, as line integrals are.
    curve
        `linear` or `sigmoid`.
    invert
        Bone black instead of bright (the polarity of a MONOCHROME1 film).
    """

    error = DisplayError

    center: float
    width: float
    curve: Curve = "sigmoid"
    invert: bool = False

    def __post_init__(self) -> None:
        try:
            center, width = float(self.center), float(self.width)
        except (TypeError, ValueError):
            center = width = math.nan
        if not math.isfinite(center) or not math.isfinite(width) or width <= 0:
            raise DisplayError(
                f"a window needs a finite centre and a width above zero, got center="
                f"{self.center!r}, width={self.width!r}; chest line integrals run from 0 to about 8"
            )
        choice("curve", self.curve, ("linear", "sigmoid"), error=DisplayError)
        self._set(center=center, width=width)

    def apply(self, line_integrals: NDArray[np.floating]) -> NDArray[np.float32]:
        """Grey levels from 0 (black) to 1 (white), float32, same shape."""
        x = (line_integrals.astype(np.float32) - np.float32(self.center)) / np.float32(self.width)
        if self.curve == "linear":
            grey = np.clip(x + np.float32(0.5), 0, 1)
        else:
            grey = 1 / (1 + np.exp(np.clip(-4 * x, -60, 60)))
        return np.asarray(1 - grey if self.invert else grey, dtype=np.float32)


def default_window(line_integrals: NDArray[np.floating], *, curve: Curve = "sigmoid") -> Window:
    """A window from the lungs to the bones of one image.

    The 5th and the 97th percentile of the line integrals inside the body (pixels of more than
    0.3, about 15 mm of water) are shown at 9 % and 91 % of white. Both numbers are rounded, so
    that the window can be stated, and recorded with the picture.
    """
    inside = line_integrals[line_integrals > 0.3]
    if inside.size < 16:
        return Window(center=1.0, width=2.0, curve=curve)
    low, high = np.percentile(inside[:: max(1, inside.size // 65536)], [5, 97])
    # From 0.09 to 0.91 are 0.82 widths on the line, ln(0.91 / 0.09) / 2 = 1.157 on the sigmoid.
    center = float(low + high) / 2
    width = float(high - low) / (0.82 if curve == "linear" else 1.157)
    return Window(center=round(center, 2), width=max(0.1, round(width, 2)), curve=curve)
