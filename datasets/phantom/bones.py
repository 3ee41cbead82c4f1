"""The phantom's skeleton: spine, ribs with their cartilage, sternum, shoulder girdle.

Bones are shells of cortex around marrow. Sizes follow adult means as anatomy books give them;
levels fit `phantom_outlines`. The ribs run on the cage's surface and fall from back to front.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drr.datasets.phantom.outlines import CAGE, cage_surface, spine_y, table_at
from drr.datasets.phantom.paint import Rows, ellipsoid, hollow, smooth_path, tube

__all__ = ["CLAVICLE", "RIBS", "SCAPULA", "SPINE", "STERNUM", "skeleton"]

SPINE, RIBS, STERNUM, CLAVICLE, SCAPULA = 4, 5, 6, 7, 8

CORTEX_HU, MARROW_HU, VERTEBRA_HU, CARTILAGE_HU, DISC_HU, CORD_HU = 1150, 220, 230, 95, 85, 30

# Vertebrae C4 to L3: height of the middle; width, depth and height of the body; how far the
# spinous process reaches back and down; all mm.
VERTEBRAE = np.array(
    [
        (209, 24, 16, 13, 24, 4),
        (191, 24, 16, 13, 26, 4),
        (173, 25, 16, 13, 30, 6),
        (154.5, 27, 17, 14, 38, 8),
        (135, 29, 18, 16, 40, 12),
        (114.5, 29, 20, 16.5, 40, 16),
        (93.5, 28, 21, 17.5, 38, 20),
        (72, 28, 23, 18, 37, 23),
        (50, 28, 25, 18.5, 37, 25),
        (27.5, 29, 26, 19, 36, 26),
        (4.5, 30, 28, 19.5, 36, 26),
        (-19, 31, 29, 20, 35, 24),
        (-43, 33, 30, 20.5, 34, 20),
        (-67.5, 35, 30, 21.5, 33, 16),
        (-92.5, 38, 31, 23, 33, 12),
        (-118.5, 40, 31, 24.5, 34, 8),
        (-147, 42, 32, 26, 38, 5),
        (-178.5, 44, 33, 27, 40, 4),
        (-211, 46, 34, 28, 40, 4),
    ]
)
FIRST_THORACIC = 4

# Ribs 1 to 12: where the bone ends in front (degrees from the back), how far it has fallen by
# then, half-height and half-thickness in mm.
RIB_COURSES = np.array(
    [
        (150, 38, 7.0, 3.0),
        (152, 56, 6.0, 3.2),
        (150, 70, 6.2, 3.4),
        (147, 81, 6.5, 3.6),
        (143, 90, 6.8, 3.7),
        (138, 97, 7.0, 3.8),
        (132, 101, 7.0, 3.8),
        (126, 99, 6.8, 3.8),
        (120, 92, 6.5, 3.6),
        (112, 80, 6.2, 3.5),
        (92, 56, 5.5, 3.2),
        (58, 32, 5.0, 3.0),
    ]
)
# Height of the joints of cartilages 1 to 7 with the sternum.
STERNAL_JOINTS = (92, 64, 42, 22, 4, -12, -24)


def skeleton(
    rng: np.random.Generator, *, density: float, calcified: float, breadth: float, arms: str
) -> Rows:
    """Every bone, in painting order.

    Parameters
    ----------
    density
        Bone density relative to a young adult's.
    calcified
        Fraction (0 to 1) of the costal cartilage that has turned to bone.
    breadth
        Breadth of the rib cage relative to the usual one.
    arms
        `up`, `down` or `none`.
    """
    curve = rng.uniform(-3.5, 3.5), rng.uniform(70, 110), rng.uniform(0, 6.3)
    parts = [_sternum(density)]
    for side in (-1, 1):
        parts += [_rib_pairs(rng, side, density, calcified, breadth, curve)]
        parts += _shoulder(side, density, arms, rng)
    parts += [_spine(curve, density)]
    return np.concatenate(parts)


def _spine_x(z: NDArray[np.float64] | float, curve: tuple[float, float, float]) -> Rows:
    amplitude, length, phase = curve
    return np.asarray(amplitude * np.sin(np.asarray(z) / length + phase))


def _spine(curve: tuple[float, float, float], density: float) -> Rows:
    heights = np.linspace(222, -222, 60)
    canal = np.stack([_spine_x(heights, curve), spine_y(heights) + 20, heights], axis=1)
    shells, discs, cores = [], [], []
    for number, (z, width, depth, height, reach, fall) in enumerate(VERTEBRAE):
        at = np.array([_spine_x(z, curve), spine_y(z), z], dtype=np.float64)
        up = np.array([0.0, float(spine_y(z + 12) - spine_y(z - 12)) / 24, 1.0])
        up /= np.linalg.norm(up)
        back = np.array([0.0, up[2], -up[1]])
        axes = np.array([(1.0, 0.0, 0.0), back, up])
        size = np.array([width, depth, height]) / 2

        def point(x: float, y: float, h: float, at: Rows = at, axes: Rows = axes) -> Rows:
            return np.asarray(at + np.array([x, y, h]) @ axes)

        body = ellipsoid(at, size, axes=axes, exponent=7, hu=CORTEX_HU * 0.8 * density, label=SPINE)
        cores.append(hollow(body, wall=1.3, hu=VERTEBRA_HU * density))
        if number + 1 < len(VERTEBRAE):
            z2 = (z + VERTEBRAE[number + 1, 0]) / 2
            middle = (_spine_x(z2, curve), spine_y(z2), z2)
            gap = (z - VERTEBRAE[number + 1, 0]) / 2 - height / 2 + 1.5
            discs.append(
                ellipsoid(middle, (size[0] - 0.5, size[1] - 0.5, gap), axes=axes, exponent=5,
                          hu=DISC_HU, label=SPINE)
            )  # fmt: skip
        rear = size[1] + 14
        tip = point(0, size[1] + 20 + reach * 0.75, -4 - fall)
        shells.append(
            tube([point(0, size[1] + 21, -1), tip], (3.2, 3.0), normal=(1, 0, 0),
                 height=(8.5, 5.0), hu=CORTEX_HU * density, label=SPINE)
        )  # fmt: skip
        thoracic = FIRST_THORACIC <= number < FIRST_THORACIC + 12
        for side in (-1, 1):
            pedicle = point(side * width * 0.33, size[1] - 3, height * 0.18)
            corner = point(side * width * 0.40, rear, height * 0.1)
            lamina = point(side * 1.5, size[1] + 22, -3)
            span = 33 - 0.9 * (number - FIRST_THORACIC) if thoracic else width * 0.4 + 17
            wing = point(side * span, rear + (9 if thoracic else 0), 4)
            bone = CORTEX_HU * density
            parts = [
                tube([pedicle, corner], 3.2, height=5.0, normal=(1, 0, 0), hu=bone, label=SPINE),
                tube([corner, lamina], 2.8, height=7, normal=back, hu=bone, label=SPINE),
                tube([corner, wing], (4.2, 4.8), hu=bone, label=SPINE),
                tube([corner + 9 * up, corner - 9 * up], 4.0, hu=bone, label=SPINE),
            ]
            shells.extend(parts)
    arches = hollow(np.concatenate(shells), wall=1.3, hu=VERTEBRA_HU * density)
    return np.concatenate([tube(canal, 8, hu=CORD_HU), arches, *discs, *cores])


def _rib_pairs(
    rng: np.random.Generator,
    side: int,
    density: float,
    calcified: float,
    breadth: float,
    curve: tuple[float, float, float],
) -> Rows:
    bones, cartilages = [], []
    for k, (end, fall, high, thick) in enumerate(RIB_COURSES):
        z, width, depth, height = VERTEBRAE[FIRST_THORACIC + k, :4]
        head_z = z + (height * 0.5 if k not in (0, 10, 11) else 2)
        y, shift = float(spine_y(z)), float(_spine_x(z, curve))
        end, fall = end + rng.uniform(-2.5, 2.5), fall + rng.uniform(-3, 3)
        start = 23.0
        angles = np.linspace(start, end, 40)
        course = (angles - start) / (end - start)
        # Level at the neck, then ever steeper, flattening again before the cartilage.
        drop = fall * (0.8 * course + 0.2 * course * course * (3 - 2 * course))
        shaft = cage_surface(angles, head_z - drop, outside=thick + 0.8, breadth=breadth)
        head = (width / 2 + 1, y + depth * 0.3, head_z)
        neck = (width / 2 + 13, y + depth / 2 + 12, head_z + 1.5)
        path = np.concatenate([[head, neck], shaft])
        path = smooth_path(path[[0, 1, *range(2, 42, 3), 41]], 48)
        path[:, 0] = side * path[:, 0] + shift * np.clip(1 - np.arange(48) / 20, 0, 1)
        normal = _outwards(path, breadth)
        taper = np.interp(np.arange(48), [0, 4, 8, 40, 47], [0.75, 0.75, 1, 1, 1.15])
        wide = 4.2 + (high - 4.2) * np.clip((np.arange(48) - 3) / 8, 0, 1)
        bones.append(
            tube(path, thick * taper, normal=normal, height=wide * taper,
                 hu=CORTEX_HU * density, label=RIBS)
        )  # fmt: skip
        cartilages.append(_cartilage(rng, k, side, path, calcified))
    return np.concatenate(
        [*cartilages, hollow(np.concatenate(bones), wall=1.8, hu=MARROW_HU * density)]
    )


def _outwards(path: Rows, breadth: float) -> Rows:
    """Normals of the cage's surface near a path; across the rib, not along it."""
    width, depth, middle = table_at(CAGE, path[:, 2]).T[:3]
    out = np.stack(
        [path[:, 0] / (width * breadth) ** 2, (path[:, 1] - middle) / depth**2, 0 * width], axis=1
    )
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    out -= along * (out * along).sum(1, keepdims=True)
    return np.asarray(out / np.linalg.norm(out, axis=1, keepdims=True))


def _cartilage(rng: np.random.Generator, k: int, side: int, rib: Rows, calcified: float) -> Rows:
    if k >= 10:
        return np.zeros((0, rib.shape[1] and 20))
    end = rib[-1]
    if k < 7:
        target = np.array([side * 18.0, front_of_sternum(STERNAL_JOINTS[k]), STERNAL_JOINTS[k]])
        low = np.array([end[0] * 0.72, end[1] - 8, end[2] - (4 if k < 3 else 9)])
        knots = [end, low, target] if k > 1 else [end, target]
    else:
        # The false ribs join the cartilage above along the costal margin.
        knots = [end, np.array([end[0] * 0.8, min(end[1] - 22, -82.0), end[2] + 14 - 4 * (k - 7)])]
    path = smooth_path(knots, 14)
    rows = tube(path, 3.2, normal=(0, 1, 0), height=5.5, hu=CARTILAGE_HU, label=RIBS)
    for i in np.flatnonzero(rng.random(len(path)) < calcified * 0.8):
        offset = path[i] + rng.uniform(-2.5, 2.5, 3)
        rows = np.concatenate(
            [rows, ellipsoid(offset, rng.uniform(1.0, 2.6, 3), hu=550, label=RIBS)]
        )
    return rows


def front_of_sternum(z: float) -> float:
    """y of the middle of the sternum at height z."""
    return float(np.interp(z, [-60, -30, 60, 108], [-111, -108, -81, -58]))


def _sternum(density: float) -> Rows:
    heights = np.linspace(55, -34, 12)
    body = np.stack([0 * heights, np.interp(heights, [-60, -30, 60, 108],
                    [-111, -108, -81, -58]), heights], axis=1)  # fmt: skip
    across = np.interp(np.arange(12), [0, 3, 9, 11], [12, 13, 17, 13])
    normal = np.array([0.0, -1.0, 0.3])
    bone = CORTEX_HU * 0.7 * density
    axes = np.array([(1, 0, 0), (0, 0.44, 0.9), (0, -0.9, 0.44)], dtype=np.float64)
    xiphoid = [(0, -108, -38), (1, -107, -58)]
    rows = [
        ellipsoid((0, -71, 83), (27, 23, 5.5), axes=axes, exponent=4, hu=bone, label=STERNUM),
        tube(body, 5.0, normal=normal, height=across, hu=bone, label=STERNUM),
    ]
    soft = tube(xiphoid, 2.5, normal=(0, 1, 0), height=(8, 4), hu=150, label=STERNUM)
    return np.concatenate([hollow(np.concatenate(rows), wall=1.1, hu=120 * density), soft])


def _shoulder(side: int, density: float, arms: str, rng: np.random.Generator) -> list[Rows]:
    """Clavicle, scapula and humerus of one side; raised arms turn them up and out."""
    lift = 14.0 if arms == "up" else 0.0
    tilt = rng.uniform(-3, 3)
    mirror = np.array([side, 1.0, 1.0])
    bone = CORTEX_HU * density

    clavicle = smooth_path(
        np.array(
            [
                (15, -60, 103),
                (45, -66, 108 + lift * 0.3),
                (85, -54, 116 + lift * 0.7 + tilt),
                (122, -22, 124 + lift + tilt),
                (152, 6, 124 + lift + tilt),
            ]
        ),
        24,
    )
    thick = np.interp(np.arange(24), [0, 3, 12, 23], [8.5, 6.5, 5.6, 6.0])
    rows = [
        hollow(tube(clavicle * mirror, thick, hu=bone, label=CLAVICLE), wall=1.8, hu=180 * density)
    ]

    out = 12.0 if arms == "up" else 0.0
    upper = np.array([(100 + out * 0.3, 92, 104), (150, 42, 106 + lift)])
    lower = np.array([118 + out * 2, 112, -28 + lift])
    glenoid = np.array([156, 34, 92 + lift])
    medial, lateral = upper[0], glenoid
    rungs = np.linspace(0, 1, 9)[:, None]
    inner = medial + (lower - medial) * rungs
    outer = lateral + (lower - lateral) * rungs
    middle, half = (inner + outer) / 2, np.linalg.norm(outer - inner, axis=1) / 2
    normal = np.cross(lower - medial, lateral - medial)
    plate = tube(middle * mirror, 1.6, normal=normal * mirror, height=half + 3, hu=bone * 0.55,
                 label=SCAPULA)  # fmt: skip
    acromion = np.array([168, 18, 122 + lift])
    ridge = smooth_path([medial + np.array([2, 4, -18]), (132, 82, 112 + lift * 0.7), acromion], 10)
    neck = lateral + np.array([-6, 4, -8])
    borders = [
        tube(np.array([neck, lower]) * mirror, (5.5, 4), hu=bone, label=SCAPULA),
        tube(np.array([medial, lower]) * mirror, 2.2, hu=bone, label=SCAPULA),
        tube(upper * mirror, 2.2, hu=bone, label=SCAPULA),
        tube(ridge * mirror, (2.5,) * 6 + (3.5,) * 4, hu=bone, label=SCAPULA),
        tube(np.array([(150, 30, 104 + lift), (146, -8, 112 + lift)]) * mirror, (5, 4.5),
             hu=bone, label=SCAPULA),
        ellipsoid(glenoid * mirror, (6, 13, 18), hu=bone, label=SCAPULA),
    ]  # fmt: skip
    rows += [plate, hollow(np.concatenate(borders), wall=1.3, hu=200 * density)]

    if arms != "none":
        head = np.array([178.0, 22, 98 + lift])
        ends = {"up": (260.0, -10, 196), "down": (204.0, 18, -230)}
        shaft = np.array([head, head + (np.array(ends[arms]) - head) * 0.2, ends[arms]])
        humerus = [
            ellipsoid(head * mirror, (23, 22, 23), hu=bone * 0.8),
            tube(shaft * mirror, (17, 12, 11), hu=bone),
        ]
        rows += [hollow(humerus[1], wall=3.8, hu=20), hollow(humerus[0], wall=1.6, hu=170)]
    return rows
