"""From the primary beam to counted quanta: illumination, scatter's source, quantum noise.

The twins of all three, with what their arguments mean, are in `drr.kernels.reference.exposure`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cpu.compiler.jit import jit
from drr.kernels.cpu.image.nodes import GAUSSIAN_FROM, Nodes
from drr.threads import available_cpus, run, split

__all__ = ["block_sums", "expose", "illuminate"]

Image = NDArray[np.float32]

_GAUSSIAN_FROM = np.float32(GAUSSIAN_FROM)


def illuminate(
    image: Image,
    down: NDArray[np.floating],
    across: NDArray[np.floating],
    nodes: Nodes,
    *,
    threads: int | None = None,
) -> None:
    """Multiply `image` in place by a profile down, a profile across and a smooth image."""
    smooth = _plan(nodes, image.shape)
    down, across = np.asarray(down, np.float32), np.asarray(across, np.float32)

    def task(start: int, stop: int) -> None:
        _illuminate(image, down, across, *smooth, _line(nodes), start, stop)

    _run(task, image.shape[0], threads)


def block_sums(
    primary: Image,
    line_integrals: Image,
    block: tuple[int, int],
    *,
    growth: float,
    threshold: float,
    field: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    threads: int | None = None,
) -> NDArray[np.float64]:
    """What scatters, and what lies behind the patient, summed over blocks of pixels."""
    rows, columns = (-(-n // size) for n, size in zip(primary.shape, block, strict=True))
    sums = np.zeros((3, rows, columns))
    constants = np.float32(growth), np.float32(threshold)
    lit = [np.ascontiguousarray(part).view(np.uint8) for part in field]

    def task(start: int, stop: int) -> None:
        _block_sums(primary, line_integrals, *block, *constants, *lit, sums, start, stop)

    _run(task, rows, threads)
    return sums


def expose(
    primary: Image,
    scatter: Nodes | None,
    normals: Image | None,
    *,
    quanta: float,
    threads: int | None = None,
) -> None:
    """Add scatter in place, then draw the number of quanta of every pixel."""
    nodes = scatter or Nodes(values=np.zeros((2, 2)), first=(0, 0), step=primary.shape)
    smooth = _plan(nodes, primary.shape)
    noise = np.empty((0, 0), np.float32) if normals is None else normals

    def task(start: int, stop: int) -> None:
        _expose(primary, *smooth, _line(nodes), noise, np.float32(quanta), start, stop)

    _run(task, primary.shape[0], threads)


def _plan(nodes: Nodes, shape: tuple[int, ...]) -> tuple[NDArray, ...]:
    """Values, and the index and weight of every row and of every column."""
    above, a = nodes.weights(0, shape[0])
    before, b = nodes.weights(1, shape[1])
    values = nodes.values.astype(np.float32)
    parts = values, above, a.astype(np.float32), before, b.astype(np.float32)
    return tuple(np.ascontiguousarray(part) for part in parts)


def _line(nodes: Nodes) -> Image:
    """Room for the nodes of one row of pixels."""
    return np.empty(nodes.values.shape[1], np.float32)


def _run(task: Callable[[int, int], object], count: int, threads: int | None) -> None:
    threads = available_cpus() if threads is None else threads
    run(task, split(count, threads), threads)


@jit(inline=True)
def _row_of_nodes(values, above, weight, line):
    """Nodes of one row of pixels, interpolated downwards."""
    for k in range(line.size):
        line[k] = values[above, k] + weight * (values[above + 1, k] - values[above, k])


@jit(fast=True)
def _illuminate(image, down, across, values, above, a, before, b, line, start, stop):
    columns = image.shape[1]
    for i in range(start, stop):
        _row_of_nodes(values, above[i], a[i], line)
        row = image[i]
        for j in range(columns):
            k = before[j]
            row[j] *= down[i] * across[j] * (line[k] + b[j] * (line[k + 1] - line[k]))


@jit(fast=True)
def _block_sums(
    primary,
    line_integrals,
    block_rows,
    block_columns,
    growth,
    threshold,
    field_rows,
    field_columns,
    sums,
    start,
    stop,
):
    rows, columns = primary.shape
    zero, one = np.float32(0), np.float32(1)
    for block in range(start, stop):
        for i in range(block * block_rows, min(rows, (block + 1) * block_rows)):
            for k in range(sums.shape[2]):
                source = primary_behind = behind = zero
                for j in range(k * block_columns, min(columns, (k + 1) * block_columns)):
                    signal = primary[i, j]
                    p = max(line_integrals[i, j], zero)
                    source += signal * p * (one + growth * p)
                    if p > threshold and field_rows[i] and field_columns[j]:
                        primary_behind += signal
                        behind += one
                sums[0, block, k] += source
                sums[1, block, k] += primary_behind
                sums[2, block, k] += behind


@jit(fast=True)
def _expose(primary, values, above, a, before, b, line, normals, quanta, start, stop):
    columns = primary.shape[1]
    noisy = normals.size > 0
    per_quantum = np.float32(1) / quanta
    for i in range(start, stop):
        _row_of_nodes(values, above[i], a[i], line)
        row = primary[i]
        least = np.float32(np.inf)
        for j in range(columns):
            k = before[j]
            row[j] += line[k] + b[j] * (line[k + 1] - line[k])
            least = min(least, row[j])
        if not noisy:
            continue
        normal = normals[i]
        if least * quanta >= _GAUSSIAN_FROM:
            for j in range(columns):
                row[j] += np.sqrt(row[j] * per_quantum) * normal[j]
        else:
            for j in range(columns):
                if row[j] * quanta >= _GAUSSIAN_FROM:
                    row[j] += np.sqrt(row[j] * per_quantum) * normal[j]
                else:
                    row[j] = _poisson(row[j] * quanta, normal[j]) * per_quantum


@jit
def _poisson(mean, normal):
    wanted = 0.5 * math.erfc(-normal / math.sqrt(2.0))
    probability = cumulative = math.exp(-mean)
    count = 0
    while cumulative < wanted and count < 200:
        count += 1
        probability *= mean / count
        cumulative += probability
    return np.float32(count)
