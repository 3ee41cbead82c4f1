"""Bounding boxes of all labels of a segmentation, in one pass."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cpu.compiler.jit import jit

__all__ = ["MAX_LABELS", "label_boxes"]

MAX_LABELS = 4096


def label_boxes(labels: NDArray[np.int16]) -> NDArray[np.int64]:
    """Where each label lies.

    Parameters
    ----------
    labels
        `(nz, ny, nx)` int16, from 0 to `MAX_LABELS` - 1.

    Returns
    -------
    `(MAX_LABELS, 3, 2)` int64: first index and one past the last along z, y and x; start = stop
    where a label is absent.
    """
    if labels.min() < 0 or labels.max() >= MAX_LABELS:
        raise ValueError(
            f"labels must be from 0 to {MAX_LABELS - 1}, got {labels.min()} to {labels.max()}"
        )
    boxes = np.zeros((MAX_LABELS, 3, 2), np.int64)
    boxes[:, :, 0] = max(labels.shape)
    _grow(np.ascontiguousarray(labels).reshape(-1), *labels.shape, boxes)
    boxes[boxes[:, 0, 1] == 0] = 0
    return boxes


@jit
def _grow(flat, nz, ny, nx, boxes):
    for z in range(nz):
        for y in range(ny):
            row = (z * ny + y) * nx
            x = 0
            while x < nx:
                label = flat[row + x]
                start = x
                while x < nx and flat[row + x] == label:
                    x += 1
                boxes[label, 0, 0], boxes[label, 0, 1] = min(boxes[label, 0, 0], z), z + 1
                boxes[label, 1, 0] = min(boxes[label, 1, 0], y)
                boxes[label, 1, 1] = max(boxes[label, 1, 1], y + 1)
                boxes[label, 2, 0] = min(boxes[label, 2, 0], start)
                boxes[label, 2, 1] = max(boxes[label, 2, 1], x)
