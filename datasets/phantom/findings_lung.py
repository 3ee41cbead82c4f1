"""Findings of the lungs and pleura: solids to paint, and changes of the lungs' voxels.

A change of voxels is a function of place and CT number alone, so that it is the same at every
resolution. What fills air spaces leaves vessels as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drr.datasets.phantom.anatomy import BRONCHUS_HU, Anatomy
from drr.datasets.phantom.finding import Finding
from drr.datasets.phantom.outlines import CAGE, CAGE_EXPONENT, diaphragm
from drr.datasets.phantom.paint import WIDTH, Grid, Rows, ellipsoid, tube
from drr.datasets.phantom.torso import Torso
from drr.datasets.phantom.vessels import vessels
from drr.kernels.cpu.compiler.jit import jit
from drr.sharing import kept_property

__all__ = ["CHANGES", "SOLIDS", "LungChange", "Points", "changes", "nodule_sizes", "solids"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

FLUID_HU, TISSUE_HU, LIQUID_HU, AIR_HU = 30.0, 45.0, 12.0, -1000.0
# Above this a voxel of the lung is mostly vessel.
PARENCHYMA_HU = -400.0

_UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True, eq=False)
class Points:
    """Voxels of the lungs: the grid and their indices."""

    grid: Grid
    k: NDArray[np.intp]
    j: NDArray[np.intp]
    i: NDArray[np.intp]

    @kept_property
    def at(self) -> Floats:
        """`(n, 3)` mm."""
        x, y, z = self.grid.axes()
        return np.stack([x[self.i], y[self.j], z[self.k]], axis=1)

    def diaphragm(self, domes: tuple[float, float]) -> Floats:
        """`(n,)` its height below or above these points."""
        x, y, _ = self.grid.axes()
        return np.asarray(diaphragm(x, y, domes)[self.j, self.i])


LungChange = Callable[[Points, Floats], tuple[Floats, "Bools | None"]]
"""CT numbers of voxels before to those after, and which of them are lung no more."""


def solids(anatomy: Anatomy, finding: Finding) -> Rows:
    """What a finding of `SOLIDS` paints."""
    return np.concatenate([np.zeros((0, WIDTH)), SOLIDS[finding.name](anatomy, finding)])


def changes(anatomy: Anatomy, torso: Torso, finding: Finding) -> list[LungChange]:
    """How a finding of `CHANGES` changes voxels; `torso` is the trunk that is painted."""
    return CHANGES[finding.name](anatomy, torso, finding)


def nodule_sizes(finding: Finding) -> list[float]:
    """Diameters in mm, the largest first."""
    rng = finding.random()
    largest = 7 + 19 * finding.severity
    rest = largest * rng.uniform(0.4, 0.9, round(5 * finding.severity**2))
    return [largest, *sorted((float(size) for size in rest), reverse=True)]


def _sides(finding: Finding) -> tuple[str, ...]:
    return ("right", "left") if finding.side == "both" else (finding.side,)


def _sites(anatomy: Anatomy, finding: Finding, rng: np.random.Generator, count: int) -> Floats:
    """`(count, 3)` mm in the finding's zone, from side to side by turns."""
    found = []
    sides = _sides(finding)
    for number in range(count):
        cloud = anatomy.lungs[sides[number % len(sides)]]
        low, high = np.quantile(cloud[:, 2], _ZONE_SHARES[finding.zone])
        part = cloud[(cloud[:, 2] >= low) & (cloud[:, 2] <= high)]
        found.append(part[rng.integers(len(part))] + rng.uniform(-2, 2, 3))
    return np.array(found).reshape(-1, 3)


# Shares of a lung's volume below the ends of its thirds.
_ZONE_SHARES = {"lower": (0.06, 0.33), "middle": (0.33, 0.7), "upper": (0.7, 0.96)}


def _smooth(t: Floats) -> Floats:
    t = np.clip(t, 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def _filled(hu: Floats, weight: Floats, to: float = FLUID_HU) -> Floats:
    """With this share of the air of each voxel replaced."""
    return hu + weight * np.maximum(to - hu, 0)


# Solids


def _nodules(anatomy: Anatomy, finding: Finding) -> Rows:
    rng = np.random.default_rng((finding.seed, 101))
    sizes = nodule_sizes(finding)
    rows = []
    for at, size in zip(_sites(anatomy, finding, rng, len(sizes)), sizes, strict=True):
        rows.append(ellipsoid(at, size / 2 * rng.uniform(0.9, 1.1, 3), hu=rng.uniform(20, 60)))
    return np.concatenate(rows)


def _scars(anatomy: Anatomy, finding: Finding) -> Rows:
    """Strands between pleura and hilum, and a few calcified granulomas."""
    rng = finding.random()
    rows = []
    for at in _sites(anatomy, finding, rng, 8 + round(26 * finding.severity)):
        hilum = np.array([math.copysign(40.0, at[0]), 10.0, 20.0])
        along = hilum - at + rng.normal(0, 25, 3)
        along *= rng.uniform(14, 38) / np.linalg.norm(along)
        bend = rng.normal(0, 2.5, 3)
        path = np.array([at - along / 2, at + bend, at + along / 2])
        thick = rng.uniform(0.6, 1.1) + 0.9 * finding.severity
        rows.append(tube(path, (thick * 1.2, thick, thick * 0.6), hu=rng.uniform(20, 90)))
    for at in _sites(anatomy, finding, rng, 1 + round(3 * finding.severity)):
        rows.append(ellipsoid(at, rng.uniform(1.5, 3, 3), hu=rng.uniform(300, 700)))
    return np.concatenate(rows)


def _bronchi(anatomy: Anatomy, finding: Finding, radii: tuple[float, float]) -> Floats:
    """`(n, 8)` segments of the bronchi on the finding's sides, by radius of the lumen."""
    tree = anatomy.airways
    keep = (tree[:, 6] >= radii[0]) & (tree[:, 6] <= radii[1])
    if finding.side != "both":
        keep &= (tree[:, 0] < 0) == (finding.side == "right")
    return np.asarray(tree[keep])


def _thick_bronchi(anatomy: Anatomy, finding: Finding) -> Rows:
    tree = _bronchi(anatomy, finding, (0.7, 10.0))
    cuffs, lumens = tree.copy(), tree.copy()
    cuffs[:, 6:8] = tree[:, 6:8] * 1.2 + 0.7 + 1.5 * finding.severity
    lumens[:, 6:8] *= 0.9
    return np.concatenate([vessels(cuffs, hu=20), vessels(lumens, hu=BRONCHUS_HU)])


def _wide_bronchi(anatomy: Anatomy, finding: Finding) -> Rows:
    """Bronchi of one zone wider than their arteries, and clusters of cystic ones."""
    rng = finding.random()
    tree = _bronchi(anatomy, finding, (0.5, 2.6))
    clouds = np.concatenate([anatomy.lungs[side] for side in _sides(finding)])
    low, high = np.quantile(clouds[:, 2], _ZONE_SHARES[finding.zone])
    middle = (tree[:, 2] + tree[:, 5]) / 2
    tree = tree[(middle >= low - 10) & (middle <= high + 10)]
    lumens, walls = tree.copy(), tree.copy()
    lumens[:, 6:8] = tree[:, 6:8] * (1.4 + 1.0 * finding.severity) + 0.5
    walls[:, 6:8] = lumens[:, 6:8] + 1.0 + 0.8 * finding.severity
    rows = [vessels(walls, hu=15), vessels(lumens, hu=BRONCHUS_HU)] if len(tree) else []
    shells, cysts = [], []
    for at in _sites(anatomy, finding, rng, 2 + round(2 * finding.severity)):
        for _ in range(3 + round(5 * finding.severity)):
            size = rng.uniform(2.5, 4 + 2.5 * finding.severity)
            center = at + rng.normal(0, 8, 3)
            shells.append(ellipsoid(center, [size + 1.5] * 3, hu=15))
            cysts.append(ellipsoid(center, [size] * 3, hu=BRONCHUS_HU))
    return np.concatenate([*rows, *shells, *cysts])


def _bullae(anatomy: Anatomy, finding: Finding) -> Rows:
    rng = finding.random()
    sites = _sites(anatomy, finding, rng, round(14 * finding.severity))
    rows = [ellipsoid(at, rng.uniform(4, 8 + 9 * finding.severity, 3), hu=-985) for at in sites]
    return np.concatenate(rows) if rows else np.zeros((0, WIDTH))


SOLIDS: dict[str, Callable[[Anatomy, Finding], Rows]] = {
    "Emphysema": _bullae,
    "Peribronchial thickening": _thick_bronchi,
    "Bronchiectasis": _wide_bronchi,
    "Pulmonary fibrotic sequela": _scars,
    "Lung nodule": _nodules,
}
"""Findings painted as solids, in the order in which they cover one another."""


# Changes of voxels


def _blobs(centers: Floats, radii: Sequence[float], edge: float, rng: np.random.Generator) -> (
    Callable[[Points], Floats]
):  # fmt: skip
    """Weight from 1 within irregular balls to 0 outside."""
    waves = rng.normal(0, 2, (len(centers), 6, 3))
    phases = rng.uniform(0, 2 * math.pi, (len(centers), 6))

    def weight(points: Points) -> Floats:
        most = np.zeros(len(points.i))
        for center, radius, of_wave, of_phase in zip(centers, radii, waves, phases, strict=True):
            away = points.at - center
            distance = np.linalg.norm(away, axis=1)
            near = np.flatnonzero(distance < 1.7 * radius + edge)
            direction = away[near] / np.maximum(distance[near], 1e-6)[:, None]
            surface = 1 + 0.08 * np.sin(direction @ of_wave.T + of_phase).sum(axis=1)
            inside = _smooth((radius * surface - distance[near]) / edge + 0.5)
            most[near] = np.maximum(most[near], inside)
        return most

    return weight


def _emphysema(anatomy: Anatomy, torso: Torso, finding: Finding) -> list[LungChange]:
    """Less tissue, most in the finding's zone, with holes where it is gone."""
    rng = finding.random()
    cloud = np.concatenate(list(anatomy.lungs.values()))
    middle = float(np.quantile(cloud[:, 2], np.mean(_ZONE_SHARES[finding.zone])))
    lost = 0.25 + 0.4 * finding.severity
    seed = int(rng.integers(2**30))

    def change(points: Points, hu: Floats) -> tuple[Floats, None]:
        there = np.exp(-(((points.at[:, 2] - middle) / 90) ** 2))
        nearest, _, _ = cells(points.at, 13.0, seed)
        hole = _smooth((3.5 + 2.5 * finding.severity - nearest) / 3) * there
        keep = 1 - np.minimum(lost * (0.55 + 0.45 * there) + 0.5 * hole, 0.93)
        less = AIR_HU + (hu - AIR_HU) * keep
        return np.where(hu < PARENCHYMA_HU, less, hu), None

    return [change]


def _mosaic(anatomy: Anatomy, torso: Torso, finding: Finding) -> list[LungChange]:
    """Lobules by turns denser and darker; sharp, geographic borders."""
    seed = int(finding.random().integers(2**30))
    denser, darker = 0.06 + 0.12 * finding.severity, 0.15 + 0.3 * finding.severity

    def change(points: Points, hu: Floats) -> tuple[Floats, None]:
        _, _, chance = cells(points.at, 34.0, seed)
        dark = AIR_HU + (hu - AIR_HU) * (1 - darker)
        new = np.where(chance < 0.5, _filled(hu, np.full(hu.shape, denser)), dark)
        return np.where(hu < PARENCHYMA_HU, new, hu), None

    return [change]


def _septa(anatomy: Anatomy, torso: Torso, finding: Finding) -> list[LungChange]:
    """Walls between lobules of 1.5 cm, most near the bases."""
    seed = int(finding.random().integers(2**30))
    half = 0.3 + 0.5 * finding.severity
    low, high = (
        float(np.quantile(np.concatenate(list(anatomy.lungs.values()))[:, 2], share))
        for share in _ZONE_SHARES[finding.zone]
    )

    def change(points: Points, hu: Floats) -> tuple[Floats, None]:
        _, wall, _ = cells(points.at, 15.0, seed)
        z = points.at[:, 2]
        there = _smooth((z - low + 30) / 25) * _smooth((high + 30 - z) / 25)
        # Thinner than half a voxel: as thick as that, and fainter by the ratio.
        drawn = max(half, 0.5 * points.grid.voxel)
        cover = np.clip(0.5 - (wall - drawn) / points.grid.voxel, 0, 1) * (half / drawn)
        return _filled(hu, cover * there), None

    return [change]


def _opacity(anatomy: Anatomy, torso: Torso, finding: Finding) -> list[LungChange]:
    """Ground glass: patches that fill a share of the air."""
    rng = finding.random()
    count = 2 + round(4 * finding.severity)
    sites = _sites(anatomy, finding, rng, count)
    weight = _blobs(sites, list(rng.uniform(20, 28 + 20 * finding.severity, count)), 10.0, rng)
    share = 0.2 + 0.25 * finding.severity
    return [lambda points, hu: (_filled(hu, share * weight(points)), None)]


def _consolidation(anatomy: Anatomy, torso: Torso, finding: Finding) -> list[LungChange]:
    rng = finding.random()
    count = len(_sides(finding)) * (1 + round(finding.severity))
    sites = _sites(anatomy, finding, rng, count)
    weight = _blobs(sites, list(rng.uniform(0.8, 1.1, count) * (17 + 22 * finding.severity)), 5.0,
                    rng)  # fmt: skip
    return [lambda points, hu: (_filled(hu, weight(points), TISSUE_HU), None)]


def _atelectasis(anatomy: Anatomy, torso: Torso, finding: Finding) -> list[LungChange]:
    """Plates of airless lung; in the lower zone the diaphragm stands higher, too."""
    rng = finding.random()
    count = len(_sides(finding)) * (1 + round(2 * finding.severity))
    plates = []
    for at in _sites(anatomy, finding, rng, count):
        normal = _UP + rng.normal(0, 0.35, 3)
        normal /= np.linalg.norm(normal)
        half = 1.5 + 3.5 * finding.severity
        plates.append((at, normal, rng.uniform(22, 30 + 16 * finding.severity), half))

    def collapse(points: Points, hu: Floats) -> tuple[Floats, None]:
        soft = points.grid.voxel
        for at, normal, radius, half in plates:
            away = points.at - at
            height = away @ normal
            across = np.linalg.norm(away - height[:, None] * normal, axis=1)
            # Thin plates keep their mass on coarse grids.
            drawn = max(half, 0.5 * soft)
            thick = np.clip((drawn - np.abs(height)) / soft + 0.5, 0, 1) * (half / drawn)
            hu = _filled(hu, thick * _smooth((radius - across) / 8 + 0.5), TISSUE_HU)
        return hu, None

    rise = 22 * finding.severity if finding.zone == "lower" else 0.0

    def raised(points: Points, hu: Floats) -> tuple[Floats, Bools]:
        depth = rise - (points.at[:, 2] - points.diaphragm(torso.domes))
        cover = np.clip(0.75 * depth / points.grid.voxel + 0.5, 0, 1)
        cover *= _on_sides(points, finding)
        return _filled(hu, cover, TISSUE_HU), cover >= 0.5

    return [collapse, raised] if rise else [collapse]


def _effusion(anatomy: Anatomy, torso: Torso, finding: Finding) -> list[LungChange]:
    """Fluid in the lowest part of the pleural space, climbing along the chest wall.

    The patient half sits, as ill patients do: the costophrenic angles fill and the back does.
    """
    down = np.array([0.0, 0.45, -0.9])
    rng = finding.random()

    def height(at: Floats) -> Floats:
        width, front, back = (np.interp(at[:, 2], CAGE[::-1, 0], CAGE[::-1, c]) for c in (1, 2, 3))
        across = np.abs(at[:, 0]) / (width * torso.breadth)
        deep = np.abs(at[:, 1] - (front + back) / 2) / ((back - front) / 2)
        share = (across**CAGE_EXPONENT + deep**CAGE_EXPONENT) ** (1 / CAGE_EXPONENT)
        depth = np.maximum(1 - share, 0) * width
        return np.asarray(at @ down + 26 * np.exp(-depth / 10))

    levels = {}
    for side in _sides(finding):
        share = (0.04 + 0.36 * finding.severity) * rng.uniform(0.75, 1)
        levels[side] = float(np.quantile(height(anatomy.lungs[side]), 1 - share))

    def change(points: Points, hu: Floats) -> tuple[Floats, Bools]:
        high = height(points.at)
        cover = np.zeros(len(high))
        for side, level in levels.items():
            there = (points.at[:, 0] < 0) == (side == "right")
            cover += there * np.clip((high - level) / points.grid.voxel + 0.5, 0, 1)
        # Fluid is outside the lung: vessels there give way to it.
        return hu + cover * (LIQUID_HU - hu), cover >= 0.5

    return [change]


def _scar_cap(anatomy: Anatomy, torso: Torso, finding: Finding) -> list[LungChange]:
    """Thickened pleura over the apices, where the scars are in the upper zone."""
    if finding.zone != "upper":
        return []
    top = max(float(cloud[:, 2].max()) for cloud in anatomy.lungs.values())
    thick = 5 + 13 * finding.severity
    phase = finding.random().uniform(0, 6.3)

    def change(points: Points, hu: Floats) -> tuple[Floats, None]:
        x, y, z = points.at.T
        edge = top + 4 - thick + 3 * np.sin(x / 5 + phase) * np.sin(y / 7)
        cover = 0.9 * _smooth((z - edge) / 6 + 0.5) * _on_sides(points, finding)
        return _filled(hu, cover), None

    return [change]


def _on_sides(points: Points, finding: Finding) -> Bools:
    right = points.at[:, 0] < 0
    return np.asarray({"right": right, "left": ~right}.get(finding.side, np.ones_like(right)))


CHANGES: dict[str, Callable[[Anatomy, Torso, Finding], list[LungChange]]] = {
    "Emphysema": _emphysema,
    "Mosaic attenuation pattern": _mosaic,
    "Interlobular septal thickening": _septa,
    "Pulmonary fibrotic sequela": _scar_cap,
    "Lung opacity": _opacity,
    "Consolidation": _consolidation,
    "Atelectasis": _atelectasis,
    "Pleural effusion": _effusion,
}
"""Findings that change voxels, in the order in which they do."""


def cells(at: Floats, size: float, seed: int) -> tuple[Floats, Floats, Floats]:
    """Irregular cells that fill space, each around one random point of a cubic lattice.

    After Worley (SIGGRAPH 1996, "A cellular texture basis function").

    Parameters
    ----------
    at
        `(n, 3)` mm.
    size
        Edge length of the lattice's cubes in mm.
    seed
        A whole number from 0 to 2^30.

    Returns
    -------
    `(n,)` distance to the cell's point, `(n,)` distance to its nearest wall, both mm, and `(n,)` a
    number from 0 to 1 that belongs to the cell.
    """
    nearest, wall, chance = np.empty((3, len(at)))
    _cells(np.ascontiguousarray(at, np.float64), float(size), int(seed), nearest, wall, chance)
    return nearest, wall, chance


@jit
def _cells(at, size, seed, nearest, wall, chance):  # type: ignore[no-untyped-def]
    for p in range(at.shape[0]):
        cx = math.floor(at[p, 0] / size)
        cy = math.floor(at[p, 1] / size)
        cz = math.floor(at[p, 2] / size)
        first, second = 1e30, 1e30
        ax = ay = az = bx = by = bz = number = 0.0
        for cell in range(27):
            ix = int(cx) + cell % 3 - 1
            iy = int(cy) + (cell // 3) % 3 - 1
            iz = int(cz) + cell // 9 - 1
            code = (ix * 73856093 ^ iy * 19349663 ^ iz * 83492791 ^ seed) & 0x7FFFFFFF
            # Linear congruential steps spread what the lattice's hash leaves alike.
            for _ in range(3):
                code = (code * 1103515245 + 12345) & 0x7FFFFFFF
                code ^= code >> 13
            x = (ix + ((code >> 3) & 1023) / 1024.0) * size
            y = (iy + ((code >> 12) & 1023) / 1024.0) * size
            code2 = (code * 69069 + 1327217885) & 0x7FFFFFFF
            code2 ^= code2 >> 15
            z = (iz + ((code2 >> 4) & 1023) / 1024.0) * size
            distance = (x - at[p, 0]) ** 2 + (y - at[p, 1]) ** 2 + (z - at[p, 2]) ** 2
            if distance < first:
                second, bx, by, bz = first, ax, ay, az
                first, ax, ay, az = distance, x, y, z
                number = ((code2 >> 14) & 1023) / 1024.0
            elif distance < second:
                second, bx, by, bz = distance, x, y, z
        apart = math.sqrt((ax - bx) ** 2 + (ay - by) ** 2 + (az - bz) ** 2)
        nearest[p] = math.sqrt(first)
        wall[p] = (second - first) / (2.0 * max(apart, 1e-6))
        chance[p] = number
