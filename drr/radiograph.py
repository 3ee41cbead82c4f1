"""`Projection`: a radiograph before it is a picture, the result of `drr.project`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.display.protocol import Display
from drr.display.window import default_window
from drr.geometry.geometry import Geometry
from drr.randomise.variation import Draw

__all__ = ["Projection"]


@dataclass(frozen=True, eq=False)
class Projection:
    """Line integrals of one view, how they were made, and how they are shown.

    Parameters
    ----------
    line_integrals
        `(rows, columns)` float32, dimensionless: minus the logarithm of the signal relative to
        the open field. Without a polychromatic beam or a detector, attenuation along each ray.
    geometry
        Source, detector and pixels, LPS mm.
    record
        Everything needed to repeat the line integrals, ready for JSON.
    display
        Mapping to grey levels that the look chose.
    draw
        Random effects on the picture, where any were drawn.
    thickness, labels
        With a mask: `(labels, rows, columns)` float32, mm of each label along each ray, and the
        labels' values.
    identifiers
        The input's patient and study attributes; written nowhere unless asked for.
    backend_reason
        Why the back-end in the record is the one that ran.
    """

    line_integrals: NDArray[np.float32]
    geometry: Geometry
    record: dict[str, Any]
    display: Display
    draw: Draw | None = None
    thickness: NDArray[np.float32] | None = None
    labels: tuple[int, ...] = ()
    identifiers: Mapping[str, str] = field(default_factory=dict)
    backend_reason: str = ""

    def picture(self) -> NDArray[np.float32]:
        """`(rows, columns)` float32 grey levels, from 0 (black) to 1 (white)."""
        grey = self.display.apply(self.line_integrals)
        if self.draw is None:
            return grey
        # A side marker on a lateral names the side at the detector.
        sides = {"LL": "LL", "RL": "RR"}.get(self.geometry.view_position, "RL")
        return self.draw.picture(grey, sides=sides)

    def displayed(self, options: Mapping[str, Any]) -> Projection:
        """The same projection with another display.

        Parameters
        ----------
        options
            Fields of a `Window` that takes the place of the display, and `invert`, its polarity;
            `invert` alone changes the display there is.
        """
        settled = dict(options)
        invert = settled.pop("invert", None)
        display: Any = self.display
        if settled:
            curve = settled.setdefault("curve", "sigmoid")
            display = replace(default_window(self.line_integrals, curve=curve), **settled)
        if invert is not None:
            display = replace(display, invert=invert)
        return replace(self, display=display)
