"""Random volumes and views of them, for tests of the kernels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drr.errors import GeometryError
from drr.geometry.geometry import Geometry
from drr.kernels.cpu.projection import project as cpu
from drr.kernels.rays import Rays, rays_in_voxels
from drr.physics.attenuation import Attenuation


@dataclass(frozen=True, eq=False)
class Case:
    hu: NDArray[np.int16]
    mapping: cpu.Mapping
    rays: Rays
    smooth: bool
    anti_aliasing: bool
    threads: int

    @property
    def mu(self) -> NDArray[np.float64]:
        return self.mapping.table[self.hu.astype(int) + 32768].astype(float)

    @property
    def longest(self) -> float:
        """No path through the volume is longer."""
        return float(np.sqrt(np.linalg.eigvalsh(self.rays.metric).max()) * max(self.hu.shape))

    @property
    def scale(self) -> float:
        """The attenuation of the longest path there could be."""
        return float(self.mu.max() * self.longest)

    @property
    def rounding(self) -> float:
        """What float32 loses on that path where hinges, steep and far from the HU, cancel."""
        far = np.maximum(np.abs(self.mapping.thresholds), float(self.hu.max()))
        return float(2**-24 * (np.abs(self.mapping.slopes) * far).sum() * self.longest)

    def project(self, method: str, **options) -> NDArray[np.float32]:
        options = {
            "threads": 1,
            "anti_aliasing": self.anti_aliasing,
            "quality": "finest",
            **options,
        }
        return cpu.project(self.hu, self.mapping, self.rays, method=method, **options)


def random_case(seed: int) -> Case | None:
    """A volume and a view of it; None for a geometry that `Geometry` refuses."""
    generator = np.random.default_rng(seed)
    hu, smooth = random_volume(generator)
    counts = np.array(hu.shape[::-1])
    on_lattice = generator.random() < 0.15
    affine = np.eye(4) if on_lattice else random_affine(generator)
    geometry = random_geometry(generator, affine, counts, on_lattice)
    if geometry is None:
        return None
    knots = np.sort(generator.choice(np.arange(-1000, 2000, 10), generator.integers(2, 6), False))
    rises = generator.uniform(0, 0.02, knots.size - 1)
    mapping = Attenuation(hu=tuple(knots), mu=(0.0, *np.cumsum(rises))).mapping
    if generator.random() < 0.2:
        mapping = cpu.Mapping(mapping.table, np.empty(0, np.float32), np.empty(0, np.float32))
    rays = rays_in_voxels(
        source=geometry.source,
        direction=geometry.direction,
        detector_center=geometry.detector_center,
        u=geometry.u,
        v=geometry.v,
        shape=geometry.shape,
        affine=affine,
    )
    sub = cpu.sub_pixels(hu.shape, rays)
    few = np.prod(sub) * np.prod(rays.shape) < 5000
    anti_aliasing = bool(few and generator.random() < 0.4)
    return Case(hu, mapping, rays, smooth, anti_aliasing, int(generator.integers(2, 7)))


def random_volume(generator: np.random.Generator) -> tuple[NDArray[np.int16], bool]:
    """1 to 80 voxels along each axis, often sizes that vectors and tiles do not divide."""

    def count() -> int:
        sizes = (1, generator.integers(1, 6), generator.integers(1, 81))
        return int(generator.choice([*sizes, 4 * generator.integers(1, 21), 33, 48]))

    shape = (count(), count(), count())
    kind = generator.choice(["noise", "smooth", "uniform", "spike", "extreme", "air"])
    hu = np.full(shape, -1000.0)
    if kind == "noise":
        hu = generator.integers(-1100, 2000, shape)
    elif kind == "smooth":
        axes = [np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape]
        z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
        hu = hu + 1500 * np.clip(1 - (x**2 + y**2 + z**2) / 0.9, 0, 1) ** 2
    elif kind == "uniform":
        hu = np.full(shape, generator.integers(-500, 3000))
    elif kind == "spike":
        hu[tuple(generator.choice([0, n - 1]) for n in shape)] = 3000
    elif kind == "extreme":
        hu = generator.choice([-32768, -2048, 0, 32767], shape)
    return np.rint(hu).astype(np.int16), bool(kind == "smooth" and min(shape) >= 16)


def random_affine(generator: np.random.Generator) -> NDArray[np.float64]:
    affine = np.eye(4)
    linear = np.diag(np.exp(generator.uniform(np.log(0.3), np.log(5), 3)))
    if generator.random() < 0.5:
        linear = random_axes(generator) @ linear
    if generator.random() < 0.3:
        linear[:, 2] += generator.uniform(-0.5, 0.5) * linear[:, 1]
    affine[:3, :3] = linear
    affine[:3, 3] = generator.uniform(-300, 300, 3)
    return affine


def random_axes(generator: np.random.Generator) -> NDArray[np.float64]:
    axes, _ = np.linalg.qr(generator.normal(size=(3, 3)))
    return np.asarray(axes)


def random_geometry(
    generator: np.random.Generator,
    affine: NDArray[np.float64],
    counts: NDArray[np.int_],
    on_lattice: bool,
) -> Geometry | None:
    """Far and near sources, detectors beyond, through and before the volume, all pixel sizes."""
    linear = affine[:3, :3]
    spacing = np.linalg.norm(linear, axis=0)
    center = linear @ ((counts - 1) / 2) + affine[:3, 3]
    if on_lattice or generator.random() < 0.45:
        # Along an axis of the voxels: planes coincide with pixels, rays run within voxel faces.
        axis, p, q = generator.permutation(3)
        beam, u, v = (linear[:, a] / spacing[a] * generator.choice([-1, 1]) for a in (axis, p, q))
        depth, pixel = spacing[axis] * counts[axis], spacing[[p, q]]
        extent = counts[[p, q]] * pixel
    else:
        beam, u, v = random_axes(generator).T
        if generator.random() < 0.4:  # a tilted detector, pixels that are no rectangles
            u, v = u + generator.uniform(-0.8, 0.8) * beam, v + generator.uniform(-0.5, 0.5) * u
        depth = float(np.linalg.norm(linear @ counts))
        pixel, extent = np.full(2, spacing.min()), np.full(2, 0.8 * depth)
    before = generator.choice([20.0, 3.0, 1.0, 0.55, 0.5, generator.uniform(-0.5, 0.5)])
    beyond = generator.choice([2.0, 0.5, generator.uniform(-0.5, 0.5), -0.7, 300.0])
    rows, columns = [(5, 7), (1, 70), (70, 1), (3, 3), (20, 30)][generator.integers(5)]
    steps = [
        extent / (columns, rows) * generator.uniform(0.3, 1.5),
        pixel * generator.uniform(0.7, 1.3),
        pixel * 10 ** generator.uniform(-3, -0.3),
        pixel * 10 ** generator.uniform(0.2, 1.2, 2),
    ][generator.integers(4)]
    parallel = generator.random() < 0.3
    if not parallel:
        steps = steps * max(abs((beyond + before) / before), 0.01) if before else steps
    source, detector = center - beam * depth * before, center + beam * depth * beyond
    if on_lattice:
        source, detector = np.rint(2 * source) / 2, np.rint(2 * detector) / 2
        steps = np.maximum(np.rint(2 * steps) / 2, 0.5)
    elif generator.random() < 0.6:
        detector = detector + u * steps[0] * columns * generator.uniform(-0.5, 0.5)
        detector = detector + v * steps[1] * rows * generator.uniform(-0.5, 0.5)
    try:
        return Geometry(
            source=None if parallel else tuple(source),
            direction=tuple(beam) if parallel else None,
            detector_center=tuple(detector),
            u=tuple(u * steps[0]),
            v=tuple(v * steps[1]),
            shape=(rows, columns),
        )
    except GeometryError:
        return None
