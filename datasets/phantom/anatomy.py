"""The anatomy of one phantom: its trunk and the solids painted into it, not yet voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drr.datasets.phantom import bones, organs
from drr.datasets.phantom.paint import Grid, Rows, paint
from drr.datasets.phantom.patient import Patient, arms, breasts
from drr.datasets.phantom.torso import LUNG_LEFT, LUNG_RIGHT, Torso, fill
from drr.datasets.phantom.vessels import grow, vessels

__all__ = ["FIELD", "Anatomy", "anatomy"]

# Extent of the field in x, y, z at the height the anatomy is laid out for, mm.
FIELD = (410.0, 320.0, 425.0)

LUNG_VESSEL_HU, BRONCHUS_WALL_HU, BRONCHUS_HU = 30, -100, -960
# Ends of the arterial, venous and bronchial tree in each lobe, and their radii at the root in mm.
TREES = {"artery": (640, 6.6), "vein": (420, 5.8), "airway": (40, 3.2)}


@dataclass(frozen=True, eq=False)
class Anatomy:
    """What a phantom is made of, in painting order after the trunk.

    Parameters
    ----------
    torso
        The trunk: skin, wall, lungs, diaphragm, liver.
    organs
        Tables of primitives by name, as `organs.organs` gives them.
    trees
        Vessels of the lungs.
    airways
        `(n, 8)` segments of the bronchi in the lungs: start, end, radii of the lumen.
    bones
        The skeleton.
    lungs
        `(n, 3)` mm, points spread evenly over the right and over the left lung, by side.
    """

    torso: Torso
    organs: dict[str, Rows]
    trees: Rows
    airways: Rows
    bones: Rows
    lungs: dict[str, NDArray[np.float64]]

    @property
    def soft(self) -> Rows:
        """All organs."""
        return np.concatenate(list(self.organs.values()))


def anatomy(who: Patient, seed: int) -> Anatomy:
    """Lay out a patient."""
    rng = np.random.default_rng(seed)
    old = np.clip((who.age - 40) / 45, 0, 1)
    density = (1.05 if who.sex == "M" else 1.0) - 0.35 * old
    breadth = (1.0 if who.sex == "M" else 0.95) * (1 + rng.uniform(-0.02, 0.02))
    breath = rng.uniform(-6, 6)
    torso = Torso(
        limbs=arms(who),
        breasts=breasts(who, rng),
        fat=max(3.0, (8.0 if who.sex == "M" else 12.0) + 1.5 * (who.bmi - 24.0)),
        girth=who.girth,
        breadth=breadth,
        domes=(-62 + breath, -76 + breath + rng.uniform(-5, 4)),
        lung_hu=rng.uniform(-875, -850),
    )
    heart = (1.0 if who.sex == "M" else 0.97) * (1 + 0.06 * old) * (1 + rng.uniform(-0.05, 0.05))
    soft = organs.organs(rng, heart=heart, age=who.age)
    skeleton = bones.skeleton(
        rng, density=density, calcified=float(old) * 0.8, breadth=breadth, arms=who.arms
    )
    lungs = _lungs(torso, np.concatenate(list(soft.values())))
    trees, airways = _lung_trees(lungs, rng)
    return Anatomy(torso, soft, trees, airways, skeleton, lungs)


def _lungs(torso: Torso, soft: Rows) -> dict[str, NDArray[np.float64]]:
    """Centres of both lungs' voxels on a coarse grid.

    The grid is always the same one, so that the same anatomy comes out at every resolution.
    """
    half = np.array(FIELD) / 2
    grid = Grid.over((100, 80, 102), tuple(-half), tuple(half))
    hu, labels = np.empty(grid.shape, np.int16), np.zeros(grid.shape, np.uint8)
    fill(hu, labels, grid, torso)
    paint(hu, labels, grid, soft)
    x, y, z = grid.axes()
    lungs = {}
    for side, label in (("right", LUNG_RIGHT), ("left", LUNG_LEFT)):
        inside = labels == label
        for axis in range(3):  # away from the pleura, by one voxel
            inside &= np.roll(inside, 1, axis) & np.roll(inside, -1, axis)
        k, j, i = np.nonzero(inside)
        lungs[side] = np.stack([x[i], y[j], z[k]], axis=1)
    return lungs


def _lung_trees(
    lungs: dict[str, NDArray[np.float64]], rng: np.random.Generator
) -> tuple[Rows, Rows]:
    """Arteries, veins and bronchi of both lungs: rows to paint, and the bronchi's segments.

    They grow towards points of the lungs.
    """
    rows, airways = [], []
    for side, cloud in lungs.items():
        points = cloud + rng.uniform(-2, 2, cloud.shape)
        lower = points[:, 2] < -4 + 0.98 * points[:, 1]
        for lobe, part in (("upper", points[~lower]), ("lower", points[lower])):
            roots = organs.HILA[side, lobe]
            for kind, (ends, radius) in TREES.items():
                targets = part[rng.choice(len(part), min(ends, len(part)), replace=False)]
                thick = radius * (1.1 if lobe == "lower" else 0.85)
                tree = grow(roots[kind], targets, rng, radius=thick)
                if kind == "airway":
                    wall = tree.copy()
                    wall[:, 6:8] = wall[:, 6:8] * 1.2 + 0.4
                    rows += [vessels(wall, hu=BRONCHUS_WALL_HU), vessels(tree, hu=BRONCHUS_HU)]
                    airways.append(tree)
                else:
                    rows.append(vessels(tree, hu=LUNG_VESSEL_HU))
    return np.concatenate(rows), np.concatenate(airways)
