"""The trunk of the phantom: skin, fat, muscle, chest cavity, lungs, diaphragm and liver.

One pass over the voxels decides by distances to the outlines of `phantom_outlines`. Everything is
in the phantom's own frame: LPS, mm, unscaled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drr.datasets.phantom.outlines import (
    BODY,
    BODY_EXPONENT,
    CAGE,
    CAGE_EXPONENT,
    LIVER_EDGE,
    diaphragm,
    mediastinum,
    table_at,
)
from drr.datasets.phantom.paint import Grid, Rows
from drr.kernels.cpu.compiler.jit import jit

__all__ = ["LIVER", "LUNG_LEFT", "LUNG_RIGHT", "Torso", "fill"]

LUNG_RIGHT, LUNG_LEFT, LIVER = 1, 2, 3

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
        np.empty((4, x.size)),
        np.empty((4, y.size)),
    )


@jit(inline=True)
def _cover(distance, voxel):  # type: ignore[no-untyped-def]
    return min(1.0, max(0.0, 0.5 - distance / voxel))


@jit
def _profile(places, middle, half, exponent, out, slopes):  # type: ignore[no-untyped-def]
    """|offset / half|^p of places, and its derivative along the offset from the middle."""
    for i in range(places.size):
        distance = max(abs(places[i] - middle), 1e-3)
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
    hu, labels, xs, ys, zs, voxel, body, cage, middle, dome, edge, limbs, breasts, fat, lung_hu,
    across, along
):  # fmt: skip
    nz, ny, nx = hu.shape
    body_x, body_gx, cage_x, cage_gx = across[0], across[1], across[2], across[3]
    body_y, body_gy, cage_y, cage_gy = along[0], along[1], along[2], along[3]
    for k in range(nz):
        z = zs[k]
        _profile(xs, 0.0, body[k, 0], BODY_EXPONENT, body_x, body_gx)
        _profile(ys, body[k, 2], body[k, 1], BODY_EXPONENT, body_y, body_gy)
        _profile(xs, 0.0, cage[k, 0], CAGE_EXPONENT, cage_x, cage_gx)
        _profile(ys, cage[k, 2], cage[k, 1], CAGE_EXPONENT, cage_y, cage_gy)
        for j in range(ny):
            y = ys[j]
            for i in range(nx):
                x = xs[i]
                trunk = 40.0
                if body_x[i] + body_y[j] < 3.0:
                    trunk = _outline(
                        body_x[i],
                        body_y[j],
                        body_gx[i],
                        body_gy[j],
                        body[k],
                        BODY_EXPONENT,
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
                        cage_x[i],
                        cage_y[j],
                        cage_gx[i],
                        cage_gy[j],
                        cage[k],
                        CAGE_EXPONENT,
                        y > cage[k, 2],
                    )
                # The chest wall is muscle whatever the fat; above the apices there is no cavity.
                value += _cover(max(cavity - WALL, z - 140.0), voxel) * (MUSCLE_HU - value)
                label = 0
                if cavity < voxel and z < 134.0:
                    label, value = _inside(
                        x, y, z, value, cavity, voxel, middle[k, j], dome[j, i], edge[i], lung_hu
                    )
                hu[k, j, i] = math.floor(value + 0.5)
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
    if z > 60.0 and abs(x) < 52.0:
        ax, az = (abs(x) - 52.0) / 44.0, (z - 60.0) / 74.0
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
