"""Outlines of the phantom's trunk: skin, rib cage, spine, mediastinum, diaphragm, by height.

Outlines are superellipses whose half-widths and front and back edges are tabulated; heights,
depths and widths are typical of an adult of 172 cm (vertebra T1 at +135 mm, T10 at -67 mm, right
dome at -62 mm). Everything is in the phantom's own frame: LPS, mm, unscaled.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drr.datasets.phantom.paint import Rows

__all__ = [
    "BODY",
    "BODY_EXPONENT",
    "CAGE",
    "CAGE_EXPONENT",
    "LIVER_EDGE",
    "cage_surface",
    "diaphragm",
    "mediastinum",
    "spine_y",
    "table_at",
]

# Squareness of the horizontal outlines.
BODY_EXPONENT, CAGE_EXPONENT = 2.35, 2.3

# z, half-width, front y, back y of the skin.
BODY = np.array(
    [
        (200, 58, -62, 72),
        (185, 58, -58, 75),
        (170, 62, -52, 82),
        (158, 80, -50, 92),
        (148, 110, -50, 100),
        (138, 146, -54, 106),
        (128, 172, -61, 110),
        (115, 185, -76, 116),
        (100, 186, -87, 120),
        (85, 182, -94, 123),
        (70, 176, -102, 125),
        (50, 170, -110, 127),
        (20, 167, -117, 128),
        (-10, 165, -120, 127),
        (-50, 163, -121, 124),
        (-90, 160, -120, 119),
        (-130, 156, -117, 112),
        (-170, 153, -115, 106),
        (-200, 152, -114, 104),
    ],
    dtype=np.float64,
)

# z, half-width, front y, back y of the pleura; the ribs lie on it.
CAGE = np.array(
    [
        (138, 56, 2, 60),
        (128, 66, -8, 67),
        (120, 76, -18, 72),
        (105, 92, -38, 79),
        (90, 103, -53, 85),
        (70, 113, -68, 91),
        (45, 121, -80, 95),
        (15, 128, -91, 97),
        (-15, 133, -98, 97),
        (-45, 136, -102, 95),
        (-75, 138, -104, 92),
        (-105, 138, -104, 88),
        (-135, 136, -102, 83),
        (-170, 132, -100, 77),
        (-200, 128, -100, 73),
    ],
    dtype=np.float64,
)

# z and y of the middle of the vertebral bodies: the kyphosis.
SPINE = np.array(
    [
        (205, 6),
        (172, 14),
        (154, 22),
        (135, 33),
        (114, 43),
        (93, 50),
        (72, 55),
        (50, 59),
        (27, 61),
        (4, 61),
        (-19, 59),
        (-43, 55),
        (-67, 50),
        (-92, 44),
        (-118, 38),
        (-147, 31),
        (-180, 24),
        (-205, 20),
    ],
    dtype=np.float64,
)

# z and half-width of the mediastinum between the lungs.
MEDIASTINUM = np.array(
    [(135, 24), (112, 22), (90, 20), (60, 17), (30, 16), (0, 14), (-40, 13), (-130, 16)],
    dtype=np.float64,
)

# x and z of the liver's lower edge.
LIVER_EDGE = np.array([(-140, -188), (-80, -172), (0, -128), (62, -96)], dtype=np.float64)


def spine_y(z: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """y of the middle of the spine at height z."""
    return np.asarray(np.interp(z, SPINE[::-1, 0], SPINE[::-1, 1]))


def table_at(table: Rows, z: NDArray[np.float64]) -> Rows:
    """`(n, 6)` half-width, half-depth, middle y of an outline and their slopes along z."""

    def columns(at: NDArray[np.float64]) -> Rows:
        # A moving average rounds the corners of the piecewise-linear table.
        offsets = np.linspace(-9, 9, 13)
        width, front, back = (
            np.mean([np.interp(at + o, table[::-1, 0], table[::-1, c]) for o in offsets], axis=0)
            for c in (1, 2, 3)
        )
        return np.stack([width, (back - front) / 2, (back + front) / 2], axis=1)

    return np.concatenate([columns(z), (columns(z + 1.0) - columns(z - 1.0)) / 2], axis=1)


def cage_surface(
    angle: NDArray[np.float64], z: NDArray[np.float64], *, outside: float, breadth: float
) -> Rows:
    """`(n, 3)` points on the rib cage's left half; 0 degrees is the back, 180 the front."""
    width, depth, middle = table_at(CAGE, z).T[:3]
    s, c = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    x = (width * breadth + outside) * np.abs(s) ** (2 / CAGE_EXPONENT)
    y = middle + (depth + outside) * np.sign(c) * np.abs(c) ** (2 / CAGE_EXPONENT)
    return np.stack([x, y, z], axis=1)


def diaphragm(x: Rows, y: Rows, domes: tuple[float, float]) -> Rows:
    """`(ny, nx)` height of the diaphragm: two domes, falling most at the side and the back."""
    heights = []
    for side, top in ((-1, domes[0]), (1, domes[1])):
        across = side * x[None, :] - 66
        forward = y[:, None] + 10
        u2 = (across / np.where(across > 0, 82, 96)) ** 2
        u2 = u2 + (forward / np.where(forward > 0, 114, 128)) ** 2
        height = top - 85 * (1 - np.sqrt(np.maximum(1 - u2, 0.03)))
        heights.append(height - 0.2 * np.maximum(forward, 0) - 60 * np.maximum(u2 - 0.97, 0))
    ripple = 1.6 * np.sin(x / 17 + 1)[None, :] * np.sin(y / 23)[:, None]
    left = np.clip(x / 36 + 0.5, 0, 1)
    left = left * left * (3 - 2 * left)
    return np.asarray(heights[0] * (1 - left) + heights[1] * left + ripple)


def mediastinum(z: Rows, y: Rows) -> Rows:
    """`(nz, ny)` half-width: narrow behind the sternum, wider around the spine."""
    base = np.interp(z, MEDIASTINUM[::-1, 0], MEDIASTINUM[::-1, 1])[:, None]
    spine = spine_y(z)[:, None]
    front = np.clip((-22 - y[None, :]) / 40, 0, 1) * np.clip((105 - z[:, None]) / 30, 0, 1)
    width = base + (6 - base) * front * front * (3 - 2 * front)
    # Above the arch the vessels to head and arms spread in front.
    width = width + 14 * np.clip((12 - y[None, :]) / 50, 0, 1) * np.clip(
        (z[:, None] - 82) / 28, 0, 1
    )
    behind = np.clip((y[None, :] - spine + 22) / 12, 0, 1)
    bone = np.interp(z, [-120, 90], [23, 17])[:, None]
    width = width + (np.maximum(width, bone) - width) * behind
    return np.asarray(width + 0.8 * np.maximum(y[None, :] - spine - 18, 0))
