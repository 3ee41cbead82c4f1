"""Findings of the heart, the great vessels and the mediastinum, as solids to paint."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from drr.datasets.phantom.anatomy import Anatomy
from drr.datasets.phantom.finding import Finding
from drr.datasets.phantom.organs import AORTA, HEART, STOMACH
from drr.datasets.phantom.paint import ELLIPSOID, TUBE, WIDTH, Rows, ellipsoid, smooth_path

__all__ = ["solids"]

FLUID_HU, NODE_HU, CONTENTS_HU, GAS_HU = 12, 42, 32, -980

# The heart grows to the left more than to the right, backwards more than forwards.
_GROWS_FROM = np.array([-12.0, -64.0, -58.0])
_INSIDE_HEART = np.array([20.0, -40.0, -30.0])

# Courses of the coronary arteries near the heart's surface: LAD, circumflex, right.
_CORONARIES = (
    ((28, -50, 22), (42, -84, 0), (56, -90, -36), (76, -80, -72)),
    ((34, -20, 14), (66, -12, -8), (74, 2, -40)),
    ((-8, -64, 8), (-42, -58, -16), (-44, -40, -56), (-8, -16, -84)),
)
# Stations: right and left paratracheal, aortopulmonary, subcarinal, both hila.
_NODES = (
    (-20, -2, 86), (-24, 6, 66), (18, 0, 100), (27, -4, 62), (2, 14, 40), (-8, 16, 28),
    (-50, 10, 22), (54, 12, 32), (-56, 6, 40), (58, 18, 14), (16, -34, 74),
)  # fmt: skip


def solids(anatomy: Anatomy, findings: Sequence[Finding]) -> Rows:
    """Everything these findings paint in the mediastinum, and what lies before it, once more."""
    by_name: dict[str, list[Finding]] = {}
    for finding in findings:
        by_name.setdefault(finding.name, []).append(finding)
    heart = anatomy.organs["heart"]
    over: list[Rows] = []
    for finding in by_name.get("Cardiomegaly", [])[-1:]:
        heart = _enlarged(heart, finding.severity)
        over = [heart]
    for finding in by_name.get("Pericardial effusion", [])[-1:]:
        over = [_pericardium(heart, 5 + 13 * finding.severity), heart]
    over += [_nodes(f) for f in by_name.get("Lymphadenopathy", [])]
    over += [_hernia(f) for f in by_name.get("Hiatal hernia", [])]
    if over:
        over += [anatomy.organs["arteries"], anatomy.organs["airways"]]
    over += [_plaques(anatomy, f) for f in by_name.get("Arterial wall calcification", [])]
    over += [_coronaries(heart, f) for f in by_name.get("Coronary artery wall calcification", [])]
    return np.concatenate([np.zeros((0, WIDTH)), *over])


def _enlarged(heart: Rows, severity: float) -> Rows:
    grow = 0.15 + 0.24 * severity
    factors = 1 + grow * np.array([1.0, 0.4, 0.6])
    rows = heart.copy()
    rows[:, 3:6] = _GROWS_FROM + factors * (heart[:, 3:6] - _GROWS_FROM)
    return _reshaped(rows, heart[:, 6:15].reshape(-1, 3, 3) / factors)


def _pericardium(heart: Rows, thickness: float) -> Rows:
    """A layer of fluid around the chambers."""
    rows = heart[heart[:, 2] == HEART].copy()
    rows[:, 1] = FLUID_HU
    # Fluid gathers below and beside the heart: little of it in front, where the sternum is.
    rows[:, 3:6] += thickness * np.array([0.1, 0.35, -0.15])
    lengths = 1 / np.linalg.norm(rows[:, 6:15].reshape(-1, 3, 3), axis=2, keepdims=True)
    matrices = rows[:, 6:15].reshape(-1, 3, 3) * lengths / (lengths + thickness)
    return _reshaped(rows, matrices)


def _reshaped(rows: Rows, matrices: Rows) -> Rows:
    """Ellipsoids of other axes: `(n, 3, 3)` maps of an ellipsoid to the unit ball."""
    rows[:, 6:15] = matrices.reshape(-1, 9)
    # The box of an ellipsoid: the lengths of the rows of the inverse map.
    rows[:, 16:19] = np.linalg.norm(np.linalg.inv(matrices), axis=2)
    return rows


def _nodes(finding: Finding) -> Rows:
    rng = finding.random()
    count = 4 + round(6 * finding.severity)
    rows = []
    for index in rng.permutation(len(_NODES))[:count]:
        at = np.array(_NODES[index]) + rng.normal(0, 2, 3)
        size = (6 + 7 * finding.severity) * rng.uniform(0.8, 1.25, 3)
        rows.append(ellipsoid(at, size, hu=NODE_HU))
    return np.concatenate(rows)


def _hernia(finding: Finding) -> Rows:
    """The stomach's fundus above the diaphragm, behind the heart, with gas in front (supine)."""
    rng = finding.random()
    size = np.array([24.0, 19, 20]) * (0.75 + 0.75 * finding.severity)
    at = np.array([8.0 + rng.uniform(-3, 5), 16 - 0.25 * size[1], -62 + 0.45 * size[2]])
    gas = at + size * np.array([0, -0.3, 0.2])
    return np.concatenate(
        [
            ellipsoid(at, size, hu=CONTENTS_HU, label=STOMACH),
            ellipsoid(gas, size * np.array([0.62, 0.45, 0.55]), hu=GAS_HU, label=STOMACH),
        ]
    )


def _plaques(anatomy: Anatomy, finding: Finding) -> Rows:
    """Shells of calcium in the wall of the aorta, most in its arch."""
    rng = finding.random()
    arteries = anatomy.organs["arteries"]
    aorta = arteries[(arteries[:, 0] == TUBE) & (arteries[:, 2] == AORTA)]
    rows = []
    for _ in range(8 + round(34 * finding.severity)):
        # The ascending aorta, the first fifth of the course, is mostly spared.
        part = aorta[int(len(aorta) * rng.beta(1.6, 2.2) * 0.8 + len(aorta) * 0.12)]
        along = part[6:9] - part[3:6]
        along /= np.linalg.norm(along)
        out = rng.normal(size=3)
        out -= (out @ along) * along
        out /= np.linalg.norm(out)
        size = (rng.uniform(3, 8), rng.uniform(2, 5), rng.uniform(0.8, 1.5))
        axes = np.stack([along, np.cross(out, along), out])
        at = part[3:6] + (part[12] - 0.7) * out
        rows.append(ellipsoid(at, size, axes=axes, hu=rng.uniform(550, 1000), label=AORTA))
    return np.concatenate(rows)


def _coronaries(heart: Rows, finding: Finding) -> Rows:
    rng = finding.random()
    rows = []
    for course in _CORONARIES:
        path = _on_surface(heart, smooth_path(np.array(course, dtype=np.float64), 24))
        # Calcium favours the first part of each artery.
        chance = (0.2 + 0.7 * finding.severity) * np.linspace(1, 0.4, len(path))
        for at in path[rng.random(len(path)) < chance]:
            rows.append(ellipsoid(at, rng.uniform(1.2, 2.4, 3), hu=rng.uniform(500, 1000)))
    if not rows:
        rows.append(ellipsoid(_on_surface(heart, np.array([_CORONARIES[0][0]]))[0], (2, 2, 2),
                              hu=700))  # fmt: skip
    return np.concatenate(rows)


def _on_surface(heart: Rows, points: Rows) -> Rows:
    """Points moved along the line from the heart's middle to 1 mm below its surface."""
    chambers = heart[(heart[:, 0] == ELLIPSOID) & (heart[:, 2] == HEART)]
    away = points - _INSIDE_HEART
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    reach = np.arange(0, 140, 0.5)
    line = _INSIDE_HEART + reach[None, :, None] * away[:, None, :]
    inside = np.zeros(line.shape[:2], dtype=bool)
    for row in chambers:
        inside |= np.linalg.norm((line - row[3:6]) @ row[6:15].reshape(3, 3).T, axis=2) < 1
    last = inside.shape[1] - 1 - np.argmax(inside[:, ::-1], axis=1)
    return np.asarray(_INSIDE_HEART + (reach[last] - 1)[:, None] * away)
