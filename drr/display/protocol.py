"""What every display is: a resolved mapping from line integrals to grey levels."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Display"]


class Display(Protocol):
    """A resolved mapping from line integrals to grey levels: `Film`, `Window` or `MinMax`."""

    @property
    def invert(self) -> bool:
        """Whether bone is black."""

    def apply(self, line_integrals: NDArray[np.floating]) -> NDArray[np.float32]:
        """Grey levels from 0 (black) to 1 (white), same shape."""

    def to_dict(self) -> dict[str, Any]:
        """All parameters, for JSON."""
