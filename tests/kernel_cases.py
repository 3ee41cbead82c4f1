"""Rays and volumes that the kernel tests share."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from drr.geometry.views import View
from drr.kernels.cpu.projection.project import project
from drr.kernels.rays import Rays, rays_in_voxels
from drr.physics.attenuation import Attenuation

# One per 1000 HU above air: the voxel value is its attenuation in 1/mm.
UNIT = Attenuation(hu=(-1000.0, 0.0), mu=(0.0, 1.0), name="unit")

ANGLES = [(0, 0), (90, 0), (180, 0), (-90, 0), (30, 0), (30, 15), (-120, -25), (10, 80), (0, 90)]


def affine_of(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], *, shear: float = 0.0
) -> NDArray[np.float64]:
    """Voxel index (x, y, z) to mm, centred on the origin; shear tilts z towards y."""
    affine = np.diag([*spacing, 1.0])
    affine[1, 2] = shear * spacing[2]
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2)
    return affine


def rays_at(
    affine: NDArray[np.float64],
    primary: float,
    secondary: float,
    *,
    shape: tuple[int, int] = (18, 22),
    pitch: float = 2.0,
    isocenter: float = 400.0,
    detector: float = 500.0,
    rotation: float = 0.0,
) -> Rays:
    """A cone beam (parallel for an infinite detector distance) about the origin."""
    view = View(primary_angle=primary, secondary_angle=secondary, detector_rotation=rotation)
    beam, across, down = (np.array(d) for d in view.directions)
    parallel = math.isinf(detector)
    depth = 100.0 if parallel else detector - isocenter
    return rays_in_voxels(
        source=None if parallel else -isocenter * beam,
        direction=beam if parallel else None,
        detector_center=depth * beam,
        u=across * pitch,
        v=down * pitch,
        shape=shape,
        affine=affine,
    )


def random_hu(shape: tuple[int, int, int], seed: int = 0) -> NDArray[np.int16]:
    """Voxels from air to dense bone, some of them padding, with an empty margin."""
    generator = np.random.default_rng(seed)
    hu = generator.integers(-1100, 1500, shape).astype(np.int16)
    hu[:, :2] = -1000
    hu[hu < -1050] = -2048
    return hu


def relative_rmse(image: NDArray, truth: NDArray) -> float:
    return float(np.sqrt(np.mean((image - truth) ** 2) / np.mean(np.square(truth))))


def box_chords(rays: Rays, shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """Length in mm of every source-to-pixel segment inside the volume's box (slab method)."""
    out = np.zeros(rays.shape)
    high = np.array(shape[::-1]) - 0.5
    for row in range(rays.shape[0]):
        for column in range(rays.shape[1]):
            pixel = rays.origin + column * rays.u + row * rays.v
            direction = rays.source[:3] * 1e4 if rays.is_parallel else pixel - rays.source[:3]
            start = pixel - direction if not rays.is_parallel else pixel
            direction = np.where(direction == 0.0, 1e-300, direction)
            with np.errstate(over="ignore"):
                t = np.sort(np.stack([(-0.5 - start) / direction, (high - start) / direction]), 0)
            t0, t1 = t[0].max(), t[1].min()
            if not rays.is_parallel:
                t0, t1 = max(t0, 0.0), min(t1, 1.0)
            out[row, column] = max(t1 - t0, 0.0) * np.sqrt(direction @ rays.metric @ direction)
    return out


def one_image(primary: float = 20.0) -> NDArray[np.float32]:
    """A projection on two threads; a module-level function, so that processes can be sent it."""
    shape = (20, 24, 28)
    rays = rays_at(affine_of(shape, (1.5, 2.0, 2.5)), primary, 10)
    return project(random_hu(shape), UNIT.mapping, rays, threads=2)
