"""Synthetic lesions of stated CT number and size, put into a CT volume.

To ask what a picture shows of disease, and nothing else: they are not meant to look like disease
on CT. What is denser than the lesion stays, so that vessels and bone run on through it.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drr.errors import VolumeError
from drr.kernels.cpu.body.morphology import Mask, dilate, erode
from drr.patient.anatomy import Anatomy
from drr.volume import Volume

__all__ = ["SIDES", "consolidation", "ground_glass", "lung_sites", "nodule", "pleural_effusion"]

SIDES = ("right", "left")
"""The patient's."""

FLUID_HU = 30
"""What fills the alveoli in ground glass: exudate, blood."""
PARENCHYMA_HU = -300
"""Aerated lung lies below; vessels and what adjoins the lung above."""

# How far and how deep fluid creeps up around the lung, and the width of vessels in it, mm.
_MENISCUS_RISE, _MENISCUS_DEPTH, _VESSEL = 25.0, 10.0, 8.0
# Waves of a consolidation's surface: their number and their size as a share of the radius.
_WAVES, _WAVE_SIZE = 6, 0.12

_Part = tuple[slice, slice, slice]
_Floats = NDArray[np.float32]


def nodule(
    volume: Volume,
    center: ArrayLike,
    *,
    diameter: float,
    hu: float = 30.0,
    edge: float = 1.0,
) -> Volume:
    """Put a soft-edged sphere into a volume.

    Parameters
    ----------
    volume
        HU in the patient's frame; not changed.
    center
        `(3,)` LPS mm.
    diameter
        mm, between the middles of the soft edges.
    hu
        CT number inside: about 30 for a solid nodule, -300 for a part-solid one.
    edge
        Width of the edge in mm, over which the nodule fades into what surrounds it.

    Raises
    ------
    VolumeError
        For a centre outside the volume, or a size or CT number that cannot be.
    """
    diameter, edge = _length("diameter", diameter), _length("edge", edge)
    value = _hounsfield(hu)
    point = _inside(volume, center)
    part = _around(volume, point, diameter / 2 + edge)
    distance = np.linalg.norm(_positions(volume, part) - point, axis=-1)
    weight = _fade(distance, diameter / 2, edge)
    note = f"synthetic nodule of {diameter:g} mm and {value:g} HU at {_mm(point)}"
    return _raised(volume, part, weight, value, note)


def ground_glass(
    volume: Volume,
    anatomy: Anatomy,
    center: ArrayLike,
    *,
    diameter: float,
    hu: float = -600.0,
    edge: float = 8.0,
) -> Volume:
    """Fill a share of the air of a ball of lung with fluid, so that it has a stated CT number.

    The share is the same throughout, so that the median of the lung there becomes `hu`, its
    texture stays, and vessels, which hold no air, stay what they are.

    Parameters
    ----------
    volume, center, diameter
        As in `nodule`.
    anatomy
        Anatomy of the volume: only its lungs are filled.
    hu
        Median of the parenchyma inside, afterwards.
    edge
        Width of the edge in mm.

    Raises
    ------
    VolumeError
        As `nodule`; also when there is no aerated lung, or the lung is as dense already.
    """
    diameter, edge = _length("diameter", diameter), _length("edge", edge)
    value = _hounsfield(hu)
    point = _inside(volume, center)
    part = _around(volume, point, diameter / 2 + edge)
    positions = _positions(volume, part)
    distance = np.linalg.norm(positions - point, axis=-1)
    old = volume.hu[part].astype(np.float32)
    weight = _fade(distance, diameter / 2, edge) * _in_lungs(old, anatomy, positions)
    lung = old[(weight > 0.5) & (old < PARENCHYMA_HU)]
    if not lung.size:
        raise VolumeError(f"there is no aerated lung at {_mm(point)}; choose a point in the lungs")
    before = float(np.median(lung))
    if not before < value < FLUID_HU:
        raise VolumeError(
            f"ground glass of {value:g} HU cannot be made at {_mm(point)}: the lung there has "
            f"{before:.0f} HU; choose a value between that and {FLUID_HU}"
        )
    share = (value - before) / (FLUID_HU - before)
    new = old + share * weight * np.maximum(FLUID_HU - old, 0)
    note = f"synthetic ground glass of {diameter:g} mm and {value:g} HU at {_mm(point)}"
    return _written(volume, part, new, note)


def consolidation(
    volume: Volume,
    anatomy: Anatomy,
    center: ArrayLike,
    *,
    diameter: float,
    hu: float = 40.0,
    edge: float = 4.0,
    seed: int = 0,
) -> Volume:
    """Replace the air of an irregular part of a lung, bounded by the pleura; no air bronchograms.

    Parameters
    ----------
    volume, center, hu, edge
        As in `nodule`.
    anatomy
        Anatomy of the volume: only its lungs are filled.
    diameter
        Mean diameter in mm, before the lung's surface cuts it.
    seed
        Seed of the waves on its surface, about an eighth of the radius high.

    Raises
    ------
    VolumeError
        As `nodule`; also when there are no lungs.
    """
    diameter, edge = _length("diameter", diameter), _length("edge", edge)
    value = _hounsfield(hu)
    point = _inside(volume, center)
    part = _around(volume, point, diameter / 2 * (1 + 3 * _WAVE_SIZE) + edge)
    positions = _positions(volume, part)
    away = positions - point
    distance = np.linalg.norm(away, axis=-1)
    direction = away / np.maximum(distance, 1e-3)[..., None]
    chance = np.random.default_rng(seed)
    surface = np.ones_like(distance)
    for _ in range(_WAVES):
        wave, phase = chance.normal(0, 2, 3), chance.uniform(0, 2 * math.pi)
        height = _WAVE_SIZE * math.sqrt(2 / _WAVES)
        surface += np.float32(height) * np.sin(direction @ wave.astype(np.float32) + phase)
    weight = _fade(distance, diameter / 2 * surface, edge)
    weight = weight * _in_lungs(volume.hu[part], anatomy, positions)
    if not weight.any():
        raise VolumeError(f"there is no lung at {_mm(point)}; choose a point in the lungs")
    note = f"synthetic consolidation of {diameter:g} mm and {value:g} HU at {_mm(point)}"
    return _raised(volume, part, weight, value, note)


def pleural_effusion(
    volume: Volume,
    anatomy: Anatomy,
    *,
    side: str,
    millilitres: float,
    hu: float = 10.0,
    dependent: ArrayLike = (0.0, 0.0, -1.0),
) -> Volume:
    """Let fluid take the place of the lowest lung of one side, with a meniscus.

    The diaphragm stays where it is and the lung does not collapse, so that costophrenic angles
    fill first, as on an erect film.

    Parameters
    ----------
    volume, hu
        As in `nodule`.
    anatomy
        Anatomy of the volume.
    side
        `right` or `left`, the patient's.
    millilitres
        Volume of the fluid.
    dependent
        `(3,)` LPS, where down is: towards the feet by default, as erect; `(0, 1, 0)` is supine.

    Raises
    ------
    VolumeError
        For another side, a volume that does not fit into that lung, or no lungs.
    """
    if side not in SIDES:
        raise VolumeError(f"side must be {' or '.join(map(repr, SIDES))}, got {side!r}")
    millilitres, value = _length("millilitres", millilitres, unit="ml"), _hounsfield(hu)
    down = np.asarray(dependent, dtype=np.float64)
    if down.shape != (3,) or not np.isfinite(down).all() or not np.linalg.norm(down) > 0:
        raise VolumeError(f"dependent must be a direction of three numbers, got {dependent!r}")
    down = down / np.linalg.norm(down)
    lung = _one_lung(anatomy, side)
    # Blocks at the chest wall are not lung any more, but their air is.
    reach = dilate(lung, (1, 1, 1))
    # Vessels are no surface along which fluid rises.
    gap = max(1, round(_VESSEL / _step(anatomy)))
    closed = lung | erode(dilate(lung, (0, gap, gap)), (0, gap, gap))
    creep = _MENISCUS_RISE * np.exp(-_depth(closed, anatomy) / _MENISCUS_DEPTH)
    part = _part_of_mask(volume, reach, anatomy)
    positions = _positions(volume, part)
    height = (positions @ down.astype(np.float32)) + _at(creep, anatomy, positions)
    old = volume.hu[part]
    air = _in_mask(reach, anatomy, positions) & (old < PARENCHYMA_HU)
    wanted = round(1000 * millilitres / abs(float(np.linalg.det(volume.affine[:3, :3]))))
    heights = height[air]
    if not 0 < wanted < heights.size:
        most = heights.size * abs(float(np.linalg.det(volume.affine[:3, :3]))) / 1000
        raise VolumeError(
            f"an effusion of {millilitres:g} ml does not fit the {side} lung, which holds "
            f"{most:.0f} ml; choose less"
        )
    level = np.partition(heights, heights.size - wanted)[heights.size - wanted]
    weight = np.clip((height - level) / 2 + 0.5, 0, 1) * air  # 2 mm soft
    note = f"synthetic {side} pleural effusion of {millilitres:g} ml and {value:g} HU"
    return _raised(volume, part, weight, value, note)


def lung_sites(anatomy: Anatomy) -> dict[str, tuple[float, float, float]]:
    """Six places for lesions: upper, middle and lower, deep in either lung.

    Returns
    -------
    LPS mm by name, `right upper` to `left lower`: at 3/4, 1/2 and 1/4 of each lung's height, the
    point furthest from the lung's outline in that plane.

    Raises
    ------
    VolumeError
        When the anatomy has no lungs.
    """
    sites = {}
    for side in SIDES:
        lung = _one_lung(anatomy, side)
        planes = np.flatnonzero(lung.any(axis=(1, 2)))
        depth = _depth(lung, anatomy)
        for name, share in (("upper", 0.75), ("middle", 0.5), ("lower", 0.25)):
            z = int(planes[0] + round(share * (planes[-1] - planes[0])))
            y, x = np.unravel_index(int(np.argmax(depth[z] * lung[z])), lung[z].shape)
            point = anatomy.affine[:3, :3] @ [x, y, z] + anatomy.affine[:3, 3]
            sites[f"{side} {name}"] = (float(point[0]), float(point[1]), float(point[2]))
    return sites


def _raised(volume: Volume, part: _Part, weight: _Floats, hu: float, note: str) -> Volume:
    """Towards a CT number by weight, where it is lower."""
    old = volume.hu[part].astype(np.float32)
    return _written(volume, part, old + weight * np.maximum(hu - old, 0), note)


def _written(volume: Volume, part: _Part, values: _Floats, note: str) -> Volume:
    hu = volume.hu.copy()
    hu[part] = np.rint(values).astype(np.int16)
    return replace(volume, hu=hu, notes=(*volume.notes, note))


def _fade(distance: _Floats, radius: float | _Floats, edge: float) -> _Floats:
    """1 inside, 0 outside, smoothly (3 t^2 - 2 t^3) across the edge."""
    t = np.clip((radius - distance) / np.float32(edge) + np.float32(0.5), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def _around(volume: Volume, center: NDArray[np.float64], radius: float) -> _Part:
    """Voxels among which are all within a radius of a point."""
    corners = center + radius * np.array(list(itertools.product((-1, 1), repeat=3)))
    return _part(volume, corners)


def _part(volume: Volume, points: NDArray[np.float64]) -> _Part:
    """The voxels that span some LPS points."""
    index = points @ volume.world_to_voxel[:3, :3].T + volume.world_to_voxel[:3, 3]
    low = np.maximum(np.floor(index.min(axis=0)), 0).astype(int)
    high = np.minimum(np.ceil(index.max(axis=0)) + 1, volume.shape[::-1]).astype(int)
    x, y, z = (slice(int(a), int(max(a, b))) for a, b in zip(low, high, strict=True))
    return z, y, x


def _part_of_mask(volume: Volume, mask: Mask, anatomy: Anatomy) -> _Part:
    z, y, x = np.nonzero(mask)
    bounds = [(axis.min() - 0.5, axis.max() + 0.5) for axis in (x, y, z)]
    corners = np.array(list(itertools.product(*bounds)))
    return _part(volume, corners @ anatomy.affine[:3, :3].T + anatomy.affine[:3, 3])


def _positions(volume: Volume, part: _Part) -> _Floats:
    """`(z, y, x, 3)` LPS mm of the voxels' centres."""
    z, y, x = np.meshgrid(*(np.arange(s.start, s.stop) for s in part), indexing="ij")
    a = volume.affine
    columns = [a[i, 0] * x + a[i, 1] * y + a[i, 2] * z + a[i, 3] for i in range(3)]
    return np.stack(columns, axis=-1).astype(np.float32)


def _at(values: NDArray[Any], anatomy: Anatomy, positions: _Floats) -> NDArray[Any]:
    """Values of the anatomy's blocks at LPS points; beyond the grid those of its border."""
    to_block = np.linalg.inv(anatomy.affine).astype(np.float32)
    found = []
    for axis, size in zip(range(3), values.shape[::-1], strict=True):
        index = positions @ to_block[axis, :3] + to_block[axis, 3]
        found.append(np.clip(np.rint(index), 0, size - 1).astype(np.int32))
    x, y, z = found
    return values[z, y, x]


def _in_mask(mask: Mask, anatomy: Anatomy, positions: _Floats) -> Mask:
    return np.asarray(_at(mask, anatomy, positions))


def _in_lungs(hu: NDArray[Any], anatomy: Anatomy, positions: _Floats) -> Mask:
    """Voxels in the lungs' blocks, and the air of the blocks next to them: up to the pleura."""
    lungs = _lungs(anatomy)
    inside = _in_mask(lungs, anatomy, positions)
    beside = _in_mask(dilate(lungs, (1, 1, 1)), anatomy, positions)
    return np.asarray(inside | (beside & (hu < PARENCHYMA_HU)))


def _lungs(anatomy: Anatomy) -> Mask:
    if anatomy.lungs is None:
        raise VolumeError("no lungs were found in this volume, so there is no place for a lesion")
    return anatomy.lungs


def _one_lung(anatomy: Anatomy, side: str) -> Mask:
    """The lungs on one side of the middle of their box."""
    lungs = _lungs(anatomy)
    kz, ky, kx = lungs.shape
    z, y, x = np.ogrid[:kz, :ky, :kx]
    a = anatomy.affine[0]
    left = a[0] * x + a[1] * y + a[2] * z + a[3] > anatomy.thorax_center[0]
    one: Mask = lungs & (left if side == "left" else ~left)
    if not one.any():
        raise VolumeError(f"no {side} lung was found in this volume")
    return one


def _depth(lung: Mask, anatomy: Anatomy) -> NDArray[np.float32]:
    """Blocks' distance from the lung's outline in the axial plane, mm; 0 outside."""
    step = _step(anatomy)
    depth = np.zeros(lung.shape, np.float32)
    inner, crossed = lung, False
    while inner.any():
        depth += step * inner
        # Box and cross by turns: an octagon.
        inner = ~dilate(~inner, (0, 1, 1), cross=True) if crossed else erode(inner, (0, 1, 1))
        crossed = not crossed
    return depth


def _step(anatomy: Anatomy) -> float:
    """Mean size of the anatomy's blocks in the axial plane, mm."""
    return float(np.linalg.norm(anatomy.affine[:3, :2], axis=0).mean())


def _inside(volume: Volume, center: ArrayLike) -> NDArray[np.float64]:
    point = np.asarray(center, dtype=np.float64)
    if point.shape != (3,) or not np.isfinite(point).all():
        raise VolumeError(f"a centre is three numbers (x, y, z in LPS mm), got {center!r}")
    index = volume.world_to_voxel[:3, :3] @ point + volume.world_to_voxel[:3, 3]
    if (index < -0.5).any() or (index > np.array(volume.shape[::-1]) - 0.5).any():
        low, high = volume.corners.min(axis=0), volume.corners.max(axis=0)
        raise VolumeError(
            f"the centre {_mm(point)} lies outside {volume.name}, which spans {_mm(low)} to "
            f"{_mm(high)} mm (LPS)"
        )
    return point


def _length(name: str, value: Any, *, unit: str = "mm") -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < math.inf:
        raise VolumeError(f"{name} must be a number of {unit} above zero, got {value!r}")
    return float(value)


def _hounsfield(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not -1000 <= float(value) <= 3000:
        raise VolumeError(f"hu must be a CT number from -1000 to 3000, got {value!r}")
    return float(value)


def _mm(point: NDArray[np.floating]) -> str:
    return f"({', '.join(f'{value:.0f}' for value in point)})"
