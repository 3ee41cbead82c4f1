"""The trunk of the phantom: skin, fat, muscle, chest cavity, lungs, diaphragm and liver.

Outlines are superellipses whose half-widths and front and back edges are tabulated by height;
heights, depths and widths are typical of an adult of 172 cm (vertebra T1 at +135 mm, T10 at
-67 mm, right dome at -62 mm). Everything is in the phantom's own frame: LPS, mm, unscaled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drr.datasets.phantom_paint import Grid, Rows
from drr.kernels.cpu.jit import jit

__all__ = ["LIVER", "LUNG_LEFT", "LUNG_RIGHT", "Torso", "cage_surface", "fill", "spine_y"]

LUNG_RIGHT, LUNG_LEFT, LIVER = 1, 2, 3

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

SKIN_HU, FAT_HU, MUSCLE_HU, MEDIASTINUM_HU, ABDOMEN_HU, LIVER_HU = 25, -100, 52, -25, 25, 60
SKIN = 1.8
DIAPHRAGM = 3.5
WALL = 9.0
# Thickness in mm and HU above the lung of an interlobar fissure.
FISSURE, FISSURE_HU = 0.35, 850.0


@dataclass(frozen=True, eq=False)
class Torso:
    """What varies between patients.

    `fat`, `girth` (added to the outline) and `breadth` (of the cage, relative) shape the wall;
    `domes` are the heights of the right and left diaphragm; `limbs` and `breasts` are tapered
    capsules, rows of (ax, ay, az, bx, by, bz, ra, rb), joined smoothly to the body.
    """

    limbs: Rows
    breasts: Rows
    fat: float = 9.0
    girth: float = 0.0
    breadth: float = 1.0
    domes: tuple[float, float] = (-62.0, -76.0)
    lung_hu: float = -860.0


def spine_y(z: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """y of the middle of the spine at height z."""
    return np.interp(z, SPINE[::-1, 0], SPINE[::-1, 1])


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
    behind = np.clip((y[None, :] - spine + 22) / 12, 0, 1)
    bone = np.interp(z, [-120, 90], [23, 17])[:, None]
    width = width + (np.maximum(width, bone) - width) * behind
    return np.asarray(width + 0.8 * np.maximum(y[None, :] - spine - 18, 0))


def fill(hu: NDArray[np.int16], labels: NDArray[np.uint8], grid: Grid, torso: Torso) -> None:
    """Fill `(nz, ny, nx)` with the trunk, in place; `grid` says where the voxels lie."""
    x, y, z = grid.axes()
    body, cage = table_at(BODY, z), table_at(CAGE, z)
    body[:, :2] += torso.girth * np.clip((200 - z) / 60, 0.3, 1)[:, None]
    cage[:, 0] *= torso.breadth
    _fill(
        hu,
        labels,
        x,
        y,
        z,
        grid.voxel,
        body,
        cage,
        mediastinum(z, y),
        diaphragm(x, y, torso.domes),
        np.interp(x, LIVER_EDGE[:, 0], LIVER_EDGE[:, 1]),
        torso.limbs,
        torso.breasts,
        torso.fat,
        torso.lung_hu,
    )


@jit(inline=True)
def _cover(distance, voxel):  # type: ignore[no-untyped-def]
    return min(1.0, max(0.0, 0.5 - distance / voxel))


@jit
def _profile(offsets, half, exponent, out, slopes):  # type: ignore[no-untyped-def]
    """|offset / half|^p and its derivative along the offset."""
    for i in range(offsets.size):
        distance = max(abs(offsets[i]), 1e-3)
        out[i] = (distance / half) ** exponent
        slopes[i] = exponent * out[i] / distance


@jit
def _outline(sx, sy, gx, gy, row, exponent, back):  # type: ignore[no-untyped-def]
    """First-order distance to a superellipse that changes along z; negative inside."""
    s = max(sx + sy, 1e-6)
    f = s ** (1.0 / exponent)
    centre = gy * row[5] if back else -gy * row[5]
    gz = exponent * (sx * row[3] / row[0] + sy * row[4] / row[1]) + centre
    slope = math.sqrt(gx * gx + gy * gy + gz * gz) * f / (s * exponent)
    return (f - 1.0) / max(slope, 1.0 / row[0])


@jit
def _capsules(x, y, z, rows, nearest):  # type: ignore[no-untyped-def]
    """Smooth union of `nearest` with tapered capsules (polynomial minimum over 16 mm)."""
    for i in range(rows.shape[0]):
        r = rows[i]
        reach = max(r[6], r[7]) + 20.0
        if (
            z < min(r[2], r[5]) - reach
            or z > max(r[2], r[5]) + reach
            or y < min(r[1], r[4]) - reach
            or y > max(r[1], r[4]) + reach
            or x < min(r[0], r[3]) - reach
            or x > max(r[0], r[3]) + reach
        ):
            continue
        ux, uy, uz = r[3] - r[0], r[4] - r[1], r[5] - r[2]
        px, py, pz = x - r[0], y - r[1], z - r[2]
        t = (px * ux + py * uy + pz * uz) / (ux * ux + uy * uy + uz * uz)
        t = min(1.0, max(0.0, t))
        px, py, pz = px - t * ux, py - t * uy, pz - t * uz
        distance = math.sqrt(px * px + py * py + pz * pz) - (r[6] + t * (r[7] - r[6]))
        overlap = max(16.0 - abs(nearest - distance), 0.0) / 16.0
        nearest = min(nearest, distance) - overlap * overlap * 4.0
    return nearest


@jit
def _fill(  # type: ignore[no-untyped-def]
    hu, labels, xs, ys, zs, voxel, body, cage, middle, dome, edge, limbs, breasts, fat, lung_hu
):
    nz, ny, nx = hu.shape
    body_x, body_gx, cage_x, cage_gx = np.empty(nx), np.empty(nx), np.empty(nx), np.empty(nx)
    body_y, body_gy, cage_y, cage_gy = np.empty(ny), np.empty(ny), np.empty(ny), np.empty(ny)
    for k in range(nz):
        z = zs[k]
        _profile(xs, body[k, 0], BODY_EXPONENT, body_x, body_gx)
        _profile(ys - body[k, 2], body[k, 1], BODY_EXPONENT, body_y, body_gy)
        _profile(xs, cage[k, 0], CAGE_EXPONENT, cage_x, cage_gx)
        _profile(ys - cage[k, 2], cage[k, 1], CAGE_EXPONENT, cage_y, cage_gy)
        for j in range(ny):
            y = ys[j]
            for i in range(nx):
                x = xs[i]
                trunk = 40.0
                if body_x[i] + body_y[j] < 3.0:
                    trunk = _outline(
                        body_x[i], body_y[j], body_gx[i], body_gy[j], body[k], BODY_EXPONENT,
                        y > body[k, 2],
                    )
                trunk = _capsules(x, y, z, limbs, trunk)
                skin = _capsules(x, y, z, breasts, trunk)
                cover = _cover(skin, voxel)
                if cover == 0.0:
                    hu[k, j, i] = -1000
                    continue
                value = -1000.0 + cover * (SKIN_HU + 1000.0)
                value += _cover(skin + SKIN, voxel) * (FAT_HU - value)
                value += _cover(max(trunk + fat, skin + SKIN), voxel) * (MUSCLE_HU - value)
                cavity = 40.0
                if cage_x[i] + cage_y[j] < 2.0:
                    cavity = _outline(
                        cage_x[i], cage_y[j], cage_gx[i], cage_gy[j], cage[k], CAGE_EXPONENT,
                        y > cage[k, 2],
                    )
                # The chest wall is muscle whatever the fat; above the apices there is no cavity.
                value += _cover(max(cavity - WALL, z - 140.0), voxel) * (MUSCLE_HU - value)
                label = 0
                if cavity < voxel and z < 134.0:
                    label, value = _inside(
                        x, y, z, value, cavity, voxel, middle[k, j], dome[j, i], edge[i], lung_hu
                    )
                hu[k, j, i] = int(math.floor(value + 0.5))
                labels[k, j, i] = label


@jit
def _inside(x, y, z, value, cavity, voxel, middle, dome, edge, lung_hu):  # type: ignore[no-untyped-def]
    """Label and HU within the rib cage."""
    label = 0
    # 0.75: the diaphragm is slanted, so heights overstate distances to it.
    below = 0.75 * (z - dome)
    value += _cover(max(cavity, -below), voxel) * (MEDIASTINUM_HU - value)
    value += _cover(max(cavity, below), voxel) * (MUSCLE_HU - value)
    value += _cover(max(cavity + DIAPHRAGM, below + DIAPHRAGM), voxel) * (ABDOMEN_HU - value)
    liver = max(max(cavity + 4.0, below + DIAPHRAGM), max(edge - z, max(x - 64.0, y - 74.0)))
    cover = _cover(liver, voxel)
    value += cover * (LIVER_HU - value)
    if cover >= 0.5:
        label = LIVER
    lung = max(max(cavity, -below), middle - abs(x))
    if z > 80.0:
        # The apices: a cap over each lung, and a rounder edge towards the neck.
        ax, ay, az = (abs(x) - 50.0) / 58.0, (y - 17.0) / 76.0, (z - 80.0) / 53.0
        lung = max(lung, (math.sqrt(ax * ax + ay * ay + az * az) - 1.0) * 55.0)
    if z > 66.0 and abs(x) < 52.0:
        ax, az = (abs(x) - 52.0) / 34.0, (z - 66.0) / 68.0
        lung = max(lung, (math.sqrt(ax * ax + az * az) - 1.0) * 38.0)
    cover = _cover(lung, voxel)
    if cover > 0.0:
        # Dependent lung is denser (supine: the back), the apices slightly less.
        air = lung_hu + 0.35 * (y + 10.0) - 0.08 * z
        oblique = (z + 4.0 - 0.98 * y) * 0.714
        distance = abs(oblique + 6.0 * math.sin(0.03 * x))
        if x < 0.0 and oblique > 0.0:
            minor = z - 12.0 + 0.05 * (abs(x) - 70.0) + 0.0006 * y * y + 3.0 * math.sin(0.045 * x)
            distance = min(distance, abs(minor))
        air += FISSURE_HU * FISSURE / voxel * max(0.0, 1.0 - distance / voxel)
        value += cover * (air - value)
        if cover >= 0.5:
            label = LUNG_RIGHT if x < 0.0 else LUNG_LEFT
    return label, value
