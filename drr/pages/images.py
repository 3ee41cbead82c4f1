"""Images of a data set's report page: which samples, and each as a small JPEG."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from drr.datasets.schema import dequantise

if TYPE_CHECKING:
    import h5py

__all__ = ["WHITE", "choose_rows", "jpeg"]

WHITE = 10.0
"""Line integral shown white where a view has no pictures; more than a chest attenuates."""


def choose_rows(total: int, wanted: int) -> list[int]:
    """At most `wanted` of `total` rows, spread evenly, the first and the last among them."""
    count = min(total, wanted)
    return (
        [int(row) for row in np.unique(np.linspace(0, total - 1, count).round())] if count else []
    )


def jpeg(view: h5py.Group, row: int, pixels: int) -> bytes:
    """One image of a view as JPEG, its longer side at most `pixels`.

    Parameters
    ----------
    view
        Group of a view; its pictures, or its line integrals from 0 (black) to `WHITE`.
    """
    from PIL import Image

    if "picture" in view:
        grey = view["picture"][row]
    else:
        values = dequantise(view["line_integrals"][row], view["scale"][row], view["offset"][row])
        grey = np.rint(np.clip(np.nan_to_num(values) / WHITE, 0, 1) * 255).astype(np.uint8)
    image = Image.fromarray(grey)
    image.thumbnail((pixels, pixels), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82, optimize=True)
    return buffer.getvalue()
