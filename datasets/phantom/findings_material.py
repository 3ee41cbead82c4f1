"""Medical material in the phantom: pacemaker, port, catheter, wires of a sternotomy."""

from __future__ import annotations

import numpy as np

from drr.datasets.phantom.finding import Finding
from drr.datasets.phantom.outlines import BODY, BODY_EXPONENT
from drr.datasets.phantom.paint import Rows, ellipsoid, smooth_path, tube
from drr.datasets.phantom.torso import Torso

__all__ = ["KINDS", "kind_of", "material"]

KINDS = ("pacemaker", "port catheter", "central venous catheter", "sternotomy wires")

METAL_HU, TUBING_HU = 3000, 1400

# From the subclavian vein to the superior vena cava, for the left side and for the right.
_LEFT_WAY = ((62, -18, 117), (24, -38, 108), (-8, -32, 100), (-24, -22, 94), (-29, -22, 60))
_RIGHT_WAY = ((-60, -20, 117), (-36, -26, 108), (-25, -22, 94), (-29, -22, 60))


def kind_of(finding: Finding) -> str:
    """Which of `KINDS` it is: the seed decides."""
    return KINDS[finding.seed % len(KINDS)]


def material(torso: Torso, finding: Finding) -> Rows:
    """Solids of metal and tubing; severity is without meaning here, and sides are as usual."""
    kind = kind_of(finding)
    if kind == "pacemaker":
        return _pacemaker(torso, right=finding.side == "right")
    if kind == "port catheter":
        return _port(torso)
    if kind == "central venous catheter":
        course = ((-27, -8, 222), (-28, -6, 170), (-40, -16, 122), (-25, -22, 94), (-29, -22, 22))
        return _tubing(course, 1.5)
    return _wires(torso)


def _tubing(course: tuple[tuple[float, float, float], ...], radius: float, hu: float = TUBING_HU
            ) -> Rows:  # fmt: skip
    return tube(smooth_path(np.array(course, dtype=np.float64), 40), radius, hu=hu)


def _under_skin(torso: Torso, x: float, z: float, depth: float) -> tuple[float, float, float]:
    """A point of the anterior chest wall, `depth` mm behind its skin."""
    width, front, back = (float(np.interp(z, BODY[::-1, 0], BODY[::-1, c])) for c in (1, 2, 3))
    more = torso.girth * float(np.clip((200 - z) / 60, 0.3, 1))
    share = 1 - (abs(x) / (width + more)) ** BODY_EXPONENT
    reach = ((back - front) / 2 + more) * share ** (1 / BODY_EXPONENT)
    return x, (front + back) / 2 - reach + depth, z


def _pacemaker(torso: Torso, *, right: bool) -> Rows:
    """A can below the clavicle, one lead to the right atrium, one to the right ventricle."""
    side = -1 if right else 1
    can = _under_skin(torso, side * 88.0, 74.0, 4 + torso.fat)
    normal = np.array([-0.25 * side, 1.0, -0.2])
    normal /= np.linalg.norm(normal)
    across = np.cross(normal, (0.0, 0.0, 1.0))
    across /= np.linalg.norm(across)
    axes = np.stack([across, np.cross(normal, across), normal])
    way = _RIGHT_WAY if right else _LEFT_WAY
    start = (can[0], can[1] + 4, can[2] + 20)
    ends = ((-29, -24, 20), (-30, -34, -14)), ((-24, -26, 10), (-4, -48, -48), (34, -68, -62))
    leads = [_tubing((start, *way, *end), 1.0, METAL_HU) for end in ends]
    box = ellipsoid(can, (23, 20, 4), axes=axes, exponent=7, hu=METAL_HU)
    return np.concatenate([box, *leads])


def _port(torso: Torso) -> Rows:
    """A chamber on the right chest wall and its catheter into the superior vena cava."""
    at = _under_skin(torso, -80.0, 66.0, 3 + 0.7 * torso.fat)
    axes = np.array([(1.0, 0, 0), (0, 0, 1), (0, -1, 0)])
    chamber = ellipsoid(at, (14, 14, 5.5), axes=axes, exponent=7, hu=METAL_HU)
    lumen = ellipsoid((at[0], at[1] - 2, at[2]), (8, 8, 5), axes=axes, exponent=7, hu=300)
    course = ((at[0] + 10, at[1] + 3, at[2] + 10), (-66, -40, 112), *_RIGHT_WAY, (-29, -22, 20))
    return np.concatenate([chamber, lumen, _tubing(course, 1.4)])


def _wires(torso: Torso) -> Rows:
    """Loops around the sternum."""
    angle = np.linspace(0, 2 * np.pi, 17)
    loops = []
    for z in (86, 66, 46, 26, 6, -14):
        y = float(np.interp(z, [-60, -30, 60, 108], [-111, -108, -81, -58]))
        path = np.stack([18 * np.cos(angle), y + 8 * np.sin(angle), z + 3 * np.sin(angle)], axis=1)
        loops.append(tube(path, 0.6, hu=METAL_HU))
    return np.concatenate(loops)
