"""Bounding boxes of all labels of a segmentation, in one pass."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cpu.jit import jit

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
    _grow(labels, boxes)
    boxes[boxes[:, 0, 1] == 0] = 0
    return boxes


@jit
def _grow(labels, boxes):
    nz, ny, nx = labels.shape
    for z in range(nz):
        for y in range(ny):
            row = labels[z, y]
            x = 0
            while x < nx:
                label = row[x]
                start = x
                while x < nx and row[x] == label:
                    x += 1
                box = boxes[label]
                box[0, 0], box[0, 1] = min(box[0, 0], z), max(box[0, 1], z + 1)
                box[1, 0], box[1, 1] = min(box[1, 0], y), max(box[1, 1], y + 1)
                box[2, 0], box[2, 1] = min(box[2, 0], start), max(box[2, 1], x)
