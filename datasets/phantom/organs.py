"""The phantom's soft organs: heart, great vessels, airways, upper abdomen.

Contrast-free CT: blood and muscle differ little, so outlines matter more than insides. Borders of
the cardiac silhouette follow the frontal film: superior vena cava and right atrium on the right;
aortic knob, pulmonary trunk, left auricle and left ventricle on the left.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from drr.datasets.phantom.outlines import spine_y
from drr.datasets.phantom.paint import Rows, ellipsoid, hollow, smooth_path, tube

__all__ = ["AORTA", "HEART", "HILA", "SPLEEN", "STOMACH", "TRACHEA", "VESSELS", "organs"]

HEART, AORTA, TRACHEA, STOMACH, SPLEEN, VESSELS = 9, 10, 11, 12, 13, 14

BLOOD_HU, MUSCLE_HU, AIR_HU, WALL_HU, SPLEEN_HU, GAS_HU = 42, 48, -995, 25, 50, -980

# Roots of the trees in the lungs: side, lobe, artery, vein, bronchus; the bronchus lies between.
HILA: dict[tuple[str, str], dict[str, tuple[float, float, float]]] = {
    ("right", "upper"): {"artery": (-48, 3, 42), "vein": (-44, -8, 22), "airway": (-34, 24, 40)},
    ("right", "lower"): {"artery": (-52, 16, -2), "vein": (-30, 24, -8), "airway": (-43, 22, 2)},
    ("left", "upper"): {"artery": (50, 6, 54), "vein": (46, -10, 28), "airway": (50, 16, 28)},
    ("left", "lower"): {"artery": (54, 34, 10), "vein": (36, 28, -4), "airway": (50, 32, 10)},
}


def organs(rng: np.random.Generator, *, heart: float, age: float) -> dict[str, Rows]:
    """All soft organs in painting order; `heart` scales the heart, `age` unfolds the aorta."""
    unfold = np.clip((age - 40) / 45, 0, 1)
    return {
        "abdomen": _abdomen(rng),
        "veins": _great_veins(),
        "heart": _heart(heart),
        "arteries": _arteries(unfold, age, rng),
        "airways": _airways(),
    }


def _round(points: Sequence[tuple[float, float, float]], radii: Sequence[float], n: int, hu: float,
           label: int) -> Rows:  # fmt: skip
    path = smooth_path(np.array(points), n)
    radius = smooth_path(np.array(radii, dtype=np.float64)[:, None], n)[:, 0]
    return tube(path, radius, hu=hu, label=label)


def _frame(direction: tuple[float, float, float]) -> Rows:
    """Rows of axes whose first points along `direction`."""
    first = np.array(direction) / np.linalg.norm(direction)
    second = np.cross((0.0, 0.0, 1.0), first)
    second /= np.linalg.norm(second)
    return np.stack([first, second, np.cross(first, second)])


def _heart(scale: float) -> Rows:
    """Four chambers and the fat around them; the apex points left, forward and down."""
    base = np.array([4.0, -22.0, -12.0])

    def chamber(
        center: tuple[float, float, float],
        size: tuple[float, float, float],
        direction: tuple[float, float, float],
        hu: float = BLOOD_HU,
        label: int = HEART,
    ) -> Rows:
        at = base + scale * (np.array(center) - base)
        return ellipsoid(at, scale * np.array(size), axes=_frame(direction), hu=hu, label=label)

    apex = (0.74, -0.42, -0.52)
    return np.concatenate(
        [
            # Fat pads in the angles between heart and diaphragm.
            chamber((72, -70, -80), (22, 18, 9), (1, 0, -0.4), hu=-80, label=0),
            chamber((-38, -58, -68), (14, 20, 9), (1, 0, 0.5), hu=-80, label=0),
            chamber((38, -42, -42), (62, 36, 38), apex, hu=MUSCLE_HU),
            chamber((6, -60, -48), (50, 32, 38), (1, -0.1, -0.25)),
            chamber((-16, -28, -32), (30, 32, 43), (1, 0, 0)),
            chamber((6, 12, -6), (38, 23, 27), (1, 0, 0)),
            # Left auricle and right ventricular outflow: the left border between trunk and apex.
            chamber((38, -26, 6), (15, 20, 20), (1, 0, 0)),
            chamber((12, -56, -8), (26, 22, 34), (0.4, 0, 1)),
        ]
    )


def _great_veins() -> Rows:
    v, blood = VESSELS, BLOOD_HU
    parts = [
        _round([(-24, -22, 96), (-30, -22, 60), (-29, -22, 20), (-24, -24, -10)],
               [9, 10, 10.5, 12], 16, blood, v),
        _round([(-22, -6, -40), (-24, 2, -80), (-22, 10, -140), (-18, 8, -222)],
               [13, 13, 12, 11], 18, blood, v),
        _round([(52, -22, 116), (24, -38, 108), (-8, -32, 100), (-24, -22, 94)],
               [6, 7, 7.5, 8], 16, blood, v),
        _round([(-50, -20, 118), (-34, -26, 108), (-25, -22, 94)], [6, 7, 8], 10, blood, v),
        # Azygos vein, arching forward over the right main bronchus.
        _round([(-4, 40, -110), (-5, 44, 20), (-9, 40, 52), (-22, 20, 66), (-28, -12, 60)],
               [3, 4, 4.2, 4.2, 4.5], 24, blood, v),
    ]  # fmt: skip
    for side in (-1, 1):
        parts.append(_round([(side * 26, -8, 222), (side * 28, -6, 160), (side * 46, -18, 118)],
                            [6, 6, 6], 14, blood, v))  # fmt: skip
        parts.append(_round([(side * 46, -18, 117), (side * 90, -20, 118), (side * 150, 12, 92)],
                            [5.5, 5, 4], 16, blood, v))  # fmt: skip
    return np.concatenate(parts)


def _arteries(unfold: float, age: float, rng: np.random.Generator) -> Rows:
    """Aorta with its arch and branches, pulmonary arteries and veins up to the hila."""
    v, blood, wide = VESSELS, BLOOD_HU, 1 + 0.18 * unfold
    knob, lift = 24 + 7 * unfold, 4 * unfold
    arch: list[tuple[float, float, float]] = [
        (-2, -34, -8),
        (-13, -44, 22),
        (-15 - 4 * unfold, -42, 48),
        (-8, -30, 72 + lift),
        (knob * 0.55, -4, 84 + lift),
        (knob, 20, 80 + lift),
        (knob + 3, 38, 58),
        (knob + 2, 40, 30),
    ]
    along_spine = ((knob, 0), (22, -40), (17, -85), (8, -125), (3, -222))
    descending = [(float(x), float(spine_y(z)) - 22, float(z)) for x, z in along_spine]
    radii = np.array([15, 16, 15.5, 14.5, 13.5, 13, 12.5, 12.5, 12.3, 12, 11.5, 11, 9.5]) * wide
    aorta = _round(arch + descending, list(radii), 60, blood, AORTA)
    specks = []
    for row in aorta[16:40]:
        if rng.random() < 0.5 * np.clip((age - 50) / 35, 0, 1):
            side = rng.normal(size=3)
            at = row[3:6] + (row[12] - 1) * side / np.linalg.norm(side)
            specks.append(ellipsoid(at, rng.uniform(0.9, 2.4, 3), hu=700, label=AORTA))
    parts = [
        # Oesophagus, behind the trachea.
        _round([(2, 6, 222), (3, 24, 120), (4, 36, 60), (5, 32, 0), (14, 18, -95)],
               [7, 7, 7, 7, 8], 30, 32, 0),
        # Thyroid.
        ellipsoid((-17, -12, 158), (9, 9, 20), hu=95),
        ellipsoid((17, -12, 158), (8, 9, 19), hu=95),
        # Fat and nodes of the hila.
        ellipsoid((33, 8, 26), (19, 26, 24), hu=0),
        ellipsoid((-32, 6, 24), (17, 26, 26), hu=0),
        # Pulmonary trunk, right and left pulmonary artery with their descending branches.
        _round([(16, -56, 2), (26, -44, 28), (30, -18, 46)], [15, 15.5, 14], 12, blood, v),
        _round([(28, -16, 46), (4, -8, 38), (-24, -4, 36), (-48, 4, 32), (-53, 14, 8),
                (-53, 22, -22)], [12, 12, 11.5, 10, 8, 6], 24, blood, v),
        _round([(30, -16, 46), (39, 4, 51), (47, 22, 44), (51, 33, 20), (52, 38, -10)],
               [13, 12, 11, 9, 6.5], 22, blood, v),
        _round([(-34, -2, 36), (-48, 3, 44), (-54, 6, 54)], [7.5, 6.5, 5], 8, blood, v),
        # Pulmonary veins into the left atrium.
        _round([(-56, -12, 36), (-44, -8, 20), (-22, 6, 4)], [5, 6.5, 7.5], 10, blood, v),
        _round([(-54, 34, -26), (-36, 26, -12), (-20, 16, -8)], [5, 6.5, 7.5], 10, blood, v),
        _round([(56, -14, 40), (46, -8, 24), (30, 6, 8)], [5, 6.5, 7.5], 10, blood, v),
        _round([(56, 40, -24), (40, 30, -8), (28, 18, -4)], [5, 6.5, 7.5], 10, blood, v),
        aorta,
        *specks,
        # Brachiocephalic trunk, carotids, subclavians.
        _round([(-4, -22, 84), (-14, -16, 108), (-24, -6, 130), (-24, -4, 222)],
               [7, 6.5, 4.5, 4], 18, blood, v),
        _round([(8, -12, 90), (20, -8, 130), (24, -4, 222)], [4.5, 4, 4], 14, blood, v),
        _round([(20, 6, 88), (30, 8, 118), (56, 4, 130), (90, 2, 120), (150, 20, 94)],
               [5.5, 5, 4.8, 4.5, 4], 20, blood, v),
        _round([(-15, -14, 110), (-34, 2, 126), (-60, 4, 130), (-92, 2, 120), (-150, 20, 94)],
               [5.5, 5, 4.8, 4.5, 4], 20, blood, v),
    ]  # fmt: skip
    return np.concatenate(parts)


def _airways() -> Rows:
    """Larynx to lobar bronchi: walls first, then one lumen."""
    courses = [
        ([(0, -26, 222), (0, -18, 165), (-1, 0, 120), (-1, 14, 90), (-1, 24, 64)],
         [9, 9, 9, 9, 8.5]),
        ([(-1, 22, 66), (-16, 26, 52), (-32, 24, 40), (-42, 23, 14), (-46, 28, -8)],
         [7.5, 7.2, 6.8, 5.2, 4.2]),
        ([(-1, 22, 66), (14, 26, 50), (34, 28, 36), (48, 28, 22), (53, 36, 2)],
         [7, 6.6, 6.2, 5.2, 4.2]),
        ([(-28, 24, 43), (-40, 20, 48), (-52, 16, 56)], [5.2, 4.5, 3.5]),
        ([(44, 26, 26), (53, 14, 30), (60, 6, 38)], [4.8, 4.2, 3.2]),
        ([(-43, 23, 8), (-50, 8, 0), (-60, -8, -8)], [3.8, 3.2, 2.6]),
    ]  # fmt: skip
    tubes = []
    for points, radii in courses:
        path = smooth_path(np.array(points, dtype=np.float64), 16)
        radius = smooth_path(np.array(radii, dtype=np.float64)[:, None], 16)[:, 0]
        tubes.append(tube(path, radius + 1.4, hu=WALL_HU, label=0))
    walls = np.concatenate(tubes)
    lumen = hollow(walls, wall=1.4, hu=AIR_HU)[len(walls) :]
    lumen[:, 2] = TRACHEA
    return np.concatenate([walls, lumen])


def _abdomen(rng: np.random.Generator) -> Rows:
    """Spleen, kidneys, bowel and the gas bubble of the stomach under the left dome."""
    parts = [
        ellipsoid((90, 44, -150), (28, 24, 42), axes=_frame((0.8, 0.45, 0.2)), hu=SPLEEN_HU,
                  label=SPLEEN),
        ellipsoid((52, -18, -136), (42, 36, 47), hu=38, label=STOMACH),
        ellipsoid((-62, 42, -192), (26, 24, 50), hu=-95),
        ellipsoid((60, 42, -178), (26, 24, 54), hu=-95),
        ellipsoid((-62, 42, -192), (20, 18, 44), hu=34),
        ellipsoid((60, 42, -178), (20, 18, 48), hu=34),
    ]  # fmt: skip
    # Loops of bowel in fat, and the splenic flexure of the colon; some hold gas.
    loops = rng.uniform((-20, -85, -222), (100, -20, -165), (22, 3))
    for number, at in enumerate([*loops, np.array([102.0, -26, -152])]):
        size = rng.uniform(9, 16, 3)
        parts.append(ellipsoid(at, size + 4, hu=-90))
        parts.append(ellipsoid(at, size, hu=30))
        if number % 3 == 1:
            parts.append(_gas(rng, at + np.array([0, -3, 2]), size * 0.5, 0))
    bubble = np.array([54 + rng.uniform(-5, 5), -22, -104 + rng.uniform(-2, 2)])
    parts.append(_gas(rng, bubble, np.array([17.0, 13, 9]), STOMACH))
    return np.concatenate(parts)


def _gas(rng: np.random.Generator, at: Rows, size: Rows, label: int) -> Rows:
    """An irregular bubble: several ellipsoids in one."""
    blobs = [
        ellipsoid(at + size * rng.uniform(-0.55, 0.55, 3), size * rng.uniform(0.6, 1.0, 3),
                  axes=_frame(tuple(rng.normal(size=3) * (1, 0.5, 0.3))), hu=GAS_HU, label=label)
        for _ in range(5)
    ]  # fmt: skip
    return np.concatenate(blobs)
