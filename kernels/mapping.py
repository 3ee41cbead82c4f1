"""What the projectors make of a voxel: its value to its attenuation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drr.sharing import kept_property

__all__ = ["Mapping"]


@dataclass(frozen=True, eq=False)
class Mapping:
    """int16 voxel value to attenuation in 1/mm, in the two forms the kernels read.

    Parameters
    ----------
    table
        `(65536,)` float32; entry i belongs to value i - 32768.
    thresholds, slopes
        `(k,)` float32, ascending thresholds: the same mapping as the sum of
        slopes[k] * max(0, value - thresholds[k]). Empty when it is not such a sum.
    """

    table: NDArray[np.float32]
    thresholds: NDArray[np.float32]
    slopes: NDArray[np.float32]

    @kept_property
    def lowest(self) -> int:
        """The least value that attenuates, or the largest there is."""
        if self.thresholds.size:
            return int(np.clip(math.floor(self.thresholds[0]) + 1, -32768, 32767))
        matter = np.flatnonzero(self.table)
        return int(matter[0]) - 32768 if matter.size else 32767

    @kept_property
    def never_negative(self) -> bool:
        """Whether nothing attenuates less than nothing, and so no line integral is below zero."""
        return bool(self.table.min() >= 0)
