"""Segmentations: how many mm of each label every ray crosses."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from drr.errors import ProjectionError
from drr.geometry.geometry import Geometry
from drr.kernels.cpu.projection.labels import MAX_LABELS, label_boxes
from drr.kernels.cpu.projection.project import project
from drr.kernels.mapping import Mapping
from drr.kernels.rays import Rays
from drr.memory import check_memory
from drr.volume import Volume

__all__ = ["check_mask", "thickness"]


def check_mask(mask: Volume, volume: Volume) -> None:
    """Refuse a segmentation that is not of this scan.

    Raises
    ------
    ProjectionError
        When the boxes of mask and volume do not overlap, the values are not labels, or labels lie
        outside the scan by more than a voxel of each.
    """
    low, high = mask.corners.min(axis=0), mask.corners.max(axis=0)
    start, stop = volume.corners.min(axis=0), volume.corners.max(axis=0)
    if (np.minimum(high, stop) - np.maximum(low, start)).min() <= 0:
        raise ProjectionError(
            f"the mask {mask.name} lies at x, y, z = {low.round(1).tolist()} to "
            f"{high.round(1).tolist()} mm and the scan at {start.round(1).tolist()} to "
            f"{stop.round(1).tolist()} mm: they do not overlap, so the mask is of another scan"
        )
    if mask.hu.min() < 0 or mask.hu.max() >= MAX_LABELS:
        raise ProjectionError(
            f"the mask {mask.name} holds values from {mask.hu.min()} to {mask.hu.max()}; "
            f"labels are whole numbers from 1 to {MAX_LABELS - 1}, background is 0"
        )
    if mask.hu.max() == 0:
        raise ProjectionError(f"the mask {mask.name} is empty: no voxel has a label above 0")
    outside = _outside(mask, volume)
    if outside > mask.spacing.max() + volume.spacing.max():
        raise ProjectionError(
            f"labels of the mask {mask.name} reach {outside:.0f} mm beyond the scan, so the mask "
            "is of another one; if the scan was cut out of a larger one, cut the mask too"
        )


def thickness(
    mask: Volume,
    geometry: Geometry,
    *,
    method: str = "shear-warp",
    anti_aliasing: bool = True,
    threads: int | None = None,
) -> tuple[NDArray[np.float32], tuple[int, ...]]:
    """Length in mm of every ray inside each label.

    Each label is projected as a volume of ones, cut down to its bounding box. None is below zero.

    Returns
    -------
    `(labels, rows, columns)` float32 mm, and the labels present, ascending.
    """
    boxes = label_boxes(mask.hu)
    rays = geometry.rays(mask.affine)
    labels = tuple(int(k) for k in np.flatnonzero(boxes[:, 0, 1] > boxes[:, 0, 0]) if k > 0)
    rows, columns = geometry.shape
    check_memory(
        4 * rows * columns * (len(labels) + 2),
        f"the thickness of {len(labels)} labels in images of {rows} x {columns} pixels",
    )
    out = np.empty((len(labels), rows, columns), np.float32)
    for channel, label in enumerate(labels):
        (z0, z1), (y0, y1), (x0, x1) = boxes[label]
        crop = np.ascontiguousarray(mask.hu[z0:z1, y0:y1, x0:x1])
        image = project(
            crop,
            _ones_at(label),
            _seen_from(rays, np.array([x0, y0, z0])),
            method=method,
            anti_aliasing=anti_aliasing,
            threads=threads,
            undershoot=True,
        )
        # Beside an edge cubic interpolation undershoots by about what it overshoots within: both
        # go, and all adds up to the same volume.
        total = np.maximum(image, 0, out=out[channel]).sum(dtype=np.float64)
        if total > 0:
            out[channel] *= np.float32(max(image.sum(dtype=np.float64) / total, 0))
    return out, labels


def _outside(mask: Volume, volume: Volume) -> float:
    """How many mm the box of all labels reaches beyond the volume."""
    labelled = mask.hu > 0
    ends = []
    for axis in (2, 1, 0):
        along = np.flatnonzero(labelled.any(axis=tuple({0, 1, 2} - {axis})))
        ends.append((along[0] - 0.5, along[-1] + 0.5))
    corners = np.array([(*corner, 1.0) for corner in itertools.product(*ends)])
    index = (volume.world_to_voxel @ mask.affine @ corners.T)[:3].T
    last = np.array(volume.shape[::-1]) - 0.5
    return float((np.maximum(-0.5 - index, index - last) * volume.spacing).max())


def _ones_at(label: int) -> Mapping:
    """1/mm where the voxel has this label, nothing elsewhere: a tent of three hinges."""
    table = np.zeros(65536, np.float32)
    table[label + 32768] = 1.0
    return Mapping(
        table=table,
        thresholds=np.array([label - 1, label, label + 1], np.float32),
        slopes=np.array([1, -2, 1], np.float32),
    )


def _seen_from(rays: Rays, corner: NDArray[np.int_]) -> Rays:
    """The same rays in the index space of a sub-volume that starts at `corner`."""
    source = rays.source.copy()
    source[:3] -= corner * source[3]
    return replace(rays, source=source, origin=rays.origin - corner)
