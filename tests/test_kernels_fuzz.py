"""Random volumes, poses and attenuations: every kernel against the float64 twins.

The seeds are fixed, so a failure names the case that repeats it: `random_case(seed)`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from kernel_cases import UNIT, random_hu, rays_at, relative_rmse
from numpy.typing import NDArray

from drr.attenuation import Attenuation
from drr.errors import GeometryError
from drr.geometry import Geometry
from drr.kernels import reference
from drr.kernels.cpu import project as cpu
from drr.kernels.cpu.intermediate import plan
from drr.kernels.cpu.labels import MAX_LABELS, label_boxes
from drr.kernels.cpu.threads import run, split
from drr.kernels.rays import Rays, rays_in_voxels


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


def fixed_axis_joseph(
    mu: NDArray[np.float64], rays: Rays, axis: int, sub: tuple[int, int]
) -> NDArray[np.float64]:
    """Joseph's sums with the planes of one axis for all rays, which is what a shear-warp makes."""
    rays = rays.subdivided(*sub)
    rows, columns = np.indices(rays.shape)
    pixels = (rays.origin + columns[..., None] * rays.u + rows[..., None] * rays.v).reshape(-1, 3)
    start = pixels if rays.is_parallel else np.broadcast_to(rays.source[:3], pixels.shape)
    direction = np.broadcast_to(rays.source[:3], pixels.shape)
    direction = direction if rays.is_parallel else pixels - start
    p, q = (a for a in range(3) if a != axis)
    padded = np.moveaxis(np.pad(mu, 1), 2 - axis, 0)
    total = np.zeros(len(pixels))
    for plane in range(mu.shape[2 - axis]):
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            t = (plane - start[:, axis]) / direction[:, axis]
            x, y = (start[:, a] + t * direction[:, a] + 1.0 for a in (p, q))
            image = padded[plane + 1]
            seen = (x > 0) & (y > 0) & (x < image.shape[1] - 1) & (y < image.shape[0] - 1)
        x, y = np.where(seen, x, 0), np.where(seen, y, 0)
        i, j = x.astype(int), y.astype(int)
        f, g = x - i, y - j
        value = (1 - g) * ((1 - f) * image[j, i] + f * image[j, i + 1])
        value += g * ((1 - f) * image[j + 1, i] + f * image[j + 1, i + 1])
        if not rays.is_parallel:
            ends = np.stack([start[:, axis], pixels[:, axis]])
            part = np.minimum(plane + 0.5, ends.max(0)) - np.maximum(plane - 0.5, ends.min(0))
            value *= np.clip(part, 0, 1)
        total += np.where(seen, value, 0)
    lengths = np.sqrt(np.einsum("na,ab,nb->n", direction, rays.metric, direction))
    image = total * lengths / np.maximum(np.abs(direction[:, axis]), 1e-300)
    across, down = sub
    shape = (rays.shape[0] // down, down, rays.shape[1] // across, across)
    return np.asarray(image.reshape(shape).mean(axis=(1, 3)))


def pixel_by_twin(
    case: Case, method: str, row: int, column: int, sub: tuple[int, int], shift: NDArray
) -> float:
    """One pixel of the float64 twin, with source and detector moved by `shift` voxels."""
    rays = case.rays
    source = rays.source.copy()
    source[:3] += shift[0] * (1e-2 if rays.is_parallel else 1.0)
    origin = rays.origin + column * rays.u + row * rays.v + shift[1]
    one = replace(rays, source=source, origin=origin, shape=(1, 1)).subdivided(*sub)
    return float(getattr(reference, method)(case.mu, one).mean())


def runs_along_axes(rays: Rays) -> bool:
    """Whether rows or columns of pixels are parallel to a face of the voxels."""
    return any(np.sort(np.abs(step))[1] < 1e-6 * np.abs(step).max() for step in (rays.u, rays.v))


def check(seed: int) -> None:
    """Every promise of the kernels on one random case."""
    case = random_case(seed)
    if case is None:
        return
    generator = np.random.default_rng(seed)
    scale = case.scale
    sub = cpu.sub_pixels(case.hu.shape, case.rays) if case.anti_aliasing else (1, 1)
    for method in cpu.METHODS:
        image = case.project(method)
        assert image.shape == case.rays.shape
        assert np.isfinite(image).all(), (seed, method)
        assert image.min() >= 0, (seed, method)
        np.testing.assert_array_equal(
            case.project(method, threads=case.threads), image, f"{seed} {method}: threads"
        )
        if method == "shear-warp":
            continue
        if method == "siddon" and case.anti_aliasing and runs_along_axes(case.rays):
            continue  # many rays of a pixel may lie within faces, each on a side of its own
        for _ in range(2):
            row, column = (int(generator.integers(n)) for n in case.rays.shape)
            value = image[row, column]
            truth = pixel_by_twin(case, method, row, column, sub, np.zeros((2, 3)))
            if abs(value - truth) <= 1e-5 * truth + 1e-6 * scale:
                continue
            # A ray within a face, or as steep along two axes, belongs to either side; rays that
            # deviate by rounding alone then bracket the value.
            near = [truth]
            for size in (1e-5, 1e-7, 1e-9):
                for _ in range(8):
                    shift = size * generator.normal(size=(2, 3))
                    near.append(pixel_by_twin(case, method, row, column, sub, shift))
            low, high = min(near), max(near)
            assert high - low > 1e-6 * scale, (seed, method, row, column, value, truth)
            margin = 0.3 * (high - low)
            assert low - margin <= value <= high + margin, (seed, method, row, column, low, high)
    layout = plan(case.hu.shape, case.rays, sub=sub)
    if layout is None:
        np.testing.assert_array_equal(case.project("shear-warp"), case.project("joseph"))
        return
    image = case.project("shear-warp")
    flipped = case.project("shear-warp", transposed=cpu.transposed_copy(case.hu))
    np.testing.assert_allclose(flipped, image, rtol=1e-5, atol=1e-6 * scale, err_msg=str(seed))
    check_other_qualities(case, image, layout.starts.size - 1, sub)
    truth = fixed_axis_joseph(case.mu, case.rays, layout.axis, sub)
    # Images of next to nothing are judged by what a ray could have summed.
    size = max(float(np.sqrt(np.mean(truth**2))), 1e-3 * scale, 1e-30)
    error = float(np.sqrt(np.mean((image - truth) ** 2))) / size
    if layout.exact:
        # Positions are float32: the coarser the steps, the larger their rounding.
        coarse = max(1.0, layout.pitch_p, layout.pitch_q) ** 2
        assert error < 1e-5 * coarse + case.rounding / size, (seed, error)
    elif case.smooth and max(layout.pitch_p, layout.pitch_q) < 2 and size > 0.05 * scale:
        assert error < 0.05, (seed, error)


def check_other_qualities(case: Case, finest: NDArray, planes: int, sub: tuple[int, int]) -> None:
    for quality, (slab, apart) in cpu.QUALITIES.items():
        image = case.project("shear-warp", quality=quality, threads=case.threads)
        copy = cpu.transposed_copy(case.hu)
        turned = case.project("shear-warp", quality=quality, transposed=copy)
        np.testing.assert_allclose(turned, image, rtol=1e-5, atol=1e-6 * case.scale)
        assert min(image.min(), turned.min()) >= 0, quality
        layout = plan(case.hu.shape, case.rays, sub=sub, slab=slab, apart=apart)
        assert layout is not None
        assert quality != "finest" or layout.starts.size - 1 == planes
        if layout.starts.size - 1 == planes:
            np.testing.assert_array_equal(image, finest)
        elif case.smooth:
            size = max(np.sqrt(np.mean(finest**2)), 0.05 * case.scale)
            most = 0.01 if quality == "full" else 0.1
            assert np.sqrt(np.mean((image - finest) ** 2)) <= most * size, (quality, case)


@pytest.mark.parametrize("start", range(0, 240, 30))
def test_random_cases(start):
    for seed in range(start, start + 30):
        check(seed)


@pytest.mark.soak
@pytest.mark.parametrize("start", range(1000, 21000, 1000))
def test_many_random_cases(start):
    for seed in range(start, start + 1000):
        check(seed)


CHECKED = """
import sys
sys.path.insert(0, {tests!r})
import numpy as np
from drr.kernels.cpu.jit import jit
from test_kernels_fuzz import cpu, random_case

@jit
def beyond(values, i):
    return values[i]

try:
    beyond(np.zeros(3), 3)
except IndexError:
    pass
else:
    sys.exit("bounds are not checked")
count = 0
for seed in range({start}, {stop}):
    case = random_case(seed)
    if case is not None:
        copy = cpu.transposed_copy(case.hu, threads=1)
        for method in cpu.METHODS:
            case.project(method)
        for quality in cpu.QUALITIES:
            case.project("shear-warp", quality=quality)
            case.project("shear-warp", quality=quality, transposed=copy)
        count += 1
print(count)
"""


def run_checked(folder: Path, start: int, stop: int, *, timeout: float = 400) -> int:
    """Project random cases in a process whose kernels check every index; how many there were."""
    # A cache of its own: kernels compiled without checks are as good to Numba.
    settings = {"NUMBA_BOUNDSCHECK": "1", "DRR_CACHE_DIR": str(folder)}
    script = CHECKED.format(tests=str(Path(__file__).parent), start=start, stop=stop)
    result = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return int(result.stdout)


def test_no_index_is_out_of_bounds(pytestconfig):
    assert run_checked(pytestconfig.cache.mkdir("bounds_checked_kernels"), 5000, 5300) > 200


@pytest.mark.soak
def test_no_index_is_out_of_bounds_in_many_cases(pytestconfig):
    assert (
        run_checked(pytestconfig.cache.mkdir("bounds_checked_kernels"), 30000, 40000, timeout=550)
        > 8000
    )


ALONG_AN_AXIS = """
import numpy as np
from drr.attenuation import water
from drr.kernels.cpu import project as cpu
from drr.kernels.rays import rays_in_voxels
hu = np.zeros((20, 20, 20), np.int16)
for axis in range(3):
    for sign in (-1, 1):
        for tilt in (1e-300, 1e-30, 1e-19, 1e-17):
            beam = np.full(3, tilt)
            beam[axis] = sign
            u, v = (np.eye(3)[a] * 100.0 for a in range(3) if a != axis)
            rays = rays_in_voxels(source=None, direction=beam, detector_center=(9.5,) * 3,
                                  u=u, v=v, shape=(7, 7), affine=np.eye(4))
            for method in cpu.METHODS:
                image = cpu.project(hu, water().mapping, rays, method=method, anti_aliasing=False)
                middle = float(image[3, 3])
                assert abs(middle / (20 * 0.02059) - 1) < 1e-3, (method, tilt, middle)
                image[3, 3] = 0
                assert not image.any(), (method, tilt)
"""


def test_rays_beside_the_volume_and_within_rounding_of_an_axis_end():
    """They meet the sides of the volume beyond all of int64."""
    try:
        result = subprocess.run(
            [sys.executable, "-c", ALONG_AN_AXIS],
            # Kernels with checks take as long to compile as these would take to be hung.
            env={**os.environ, "NUMBA_BOUNDSCHECK": "0"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.fail("the kernel does not end")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("method", ["shear-warp", "joseph"])
@pytest.mark.parametrize(("planes", "source"), [(1, -0.3), (1, 0.2), (2, -0.1), (20, -0.3)])
def test_a_source_within_the_first_plane_counts_only_what_lies_before_it(method, planes, source):
    rays = rays_in_voxels(
        source=(3.5, source, 3.5),
        direction=None,
        detector_center=(3.5, 200.0, 3.5),
        u=(1.0, 0, 0),
        v=(0, 0, 1.0),
        shape=(3, 3),
        affine=np.eye(4),
    )
    hu = np.zeros((8, planes, 8), np.int16)
    image = cpu.project(hu, UNIT.mapping, rays, method=method)
    assert image[1, 1] == pytest.approx(planes - 0.5 - source, rel=1e-4)


@pytest.mark.parametrize("width", [10.0, 1.0, 0.01, 1e-6, 1e-9])
def test_a_step_in_the_attenuation_is_kept_by_every_method(width):
    """Matter below -100 HU is nothing, as in the published data set."""
    step = Attenuation(hu=(-100 - width, -100, 3000), mu=(0, 0.0185, 0.08))
    hu = random_hu((20, 24, 28))
    affine = np.diag([1.5, 2.0, 2.5, 1.0])
    affine[:3, 3] = [-21, -24, -25]
    rays = rays_at(affine, 0, 0)
    truth = reference.joseph(step(hu), rays)
    for method in ("joseph", "shear-warp"):
        image = cpu.project(
            hu, step.mapping, rays, method=method, quality="finest", anti_aliasing=False
        )
        assert relative_rmse(image, truth) < 2e-5, method


def test_pixels_much_larger_than_voxels_are_not_interpolated_between():
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, 64)] * 3, indexing="ij", sparse=True)
    ball = -1000 + 1500 * np.clip(1 - (x**2 + y**2 + z**2) / 0.8, 0, 1) ** 2
    hu = np.rint(ball).astype(np.int16)
    affine = np.eye(4)
    affine[:3, 3] = -31.5
    rays = rays_at(affine, 30, 15, pitch=10.0, shape=(10, 10))
    joseph, shear_warp = (
        cpu.project(hu, UNIT.mapping, rays, method=m, anti_aliasing=False)
        for m in ("joseph", "shear-warp")
    )
    assert relative_rmse(shear_warp, joseph) < 1e-3


def test_a_detector_much_larger_than_the_volume_takes_no_more_memory():
    """Pixels of 1 m, which a slip of units makes, are many sub-pixels and nearly all empty."""
    affine = np.eye(4)
    affine[:3, 3] = -10
    rays = rays_at(affine, 0, 0, pitch=1000.0, shape=(64, 64))
    sub = cpu.sub_pixels((20, 20, 20), rays)
    layout = plan((20, 20, 20), rays, sub=sub)
    assert layout is not None
    assert layout.rows * layout.columns < 10_000


@pytest.mark.parametrize("label", [-1, MAX_LABELS, 32767])
def test_labels_beyond_the_table_are_refused(label):
    labels = np.zeros((4, 4, 4), np.int16)
    labels[1, 2, 3] = label
    with pytest.raises(ValueError, match="labels"):
        label_boxes(labels)


LAST_WORDS = """
import sys, threading, time
sys.path.insert(0, {tests!r})
from kernel_cases import one_image
one_image()
def late():
    time.sleep(0.3)
    print(one_image().shape)
threading.Thread(target=late).start()
"""


def test_a_thread_may_project_while_the_interpreter_shuts_down():
    script = LAST_WORDS.format(tests=str(Path(__file__).parent))
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.stdout.strip() == "(18, 22)", result.stderr


@pytest.mark.parametrize("ranges", [1, 2, 7, 40])
@pytest.mark.parametrize("threads", [1, 2, 6])
def test_every_range_runs_once_whatever_the_queue_of_the_pool(ranges, threads):
    done = []
    run(lambda start, stop: done.append((start, stop)), split(ranges, ranges), threads)
    assert sorted(done) == split(ranges, ranges)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="resident memory is read from /proc")
@pytest.mark.soak
def test_memory_stays_flat():
    statistics = Path("/proc/self/statm")
    if not statistics.exists():
        pytest.skip("resident memory is read from /proc")
    hu = random_hu((40, 48, 56))
    affine = np.diag([1.5, 2.0, 2.5, 1.0])
    affine[:3, 3] = -50
    pages = []
    for i in range(2000):
        rays = rays_at(affine, 37 * i % 360, 11 * i % 60, shape=(60, 60))
        cpu.project(hu, UNIT.mapping, rays, method=cpu.METHODS[i % 3], threads=3)
        pages.append(int(statistics.read_text().split()[1]))
    assert pages[-1] - pages[500] < 5 * 2**20 / os.sysconf("SC_PAGESIZE")


@pytest.mark.soak
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("method", cpu.METHODS)
def test_voxels_beyond_index_2_to_the_31(method, axis):
    """4.3 GB of zeros that the system never allocates, and one voxel at the very end."""
    hu = np.zeros((1100, 1400, 1400), np.int16)
    hu[-1, -1, -1] = 1000
    assert hu.size > 2**31
    mapping = Attenuation(hu=(0.0, 1000.0), mu=(0.0, 1.0)).mapping
    beam, u, v = (np.eye(3)[a] for a in (axis, *(a for a in range(3) if a != axis)))
    last = np.array(hu.shape[::-1]) - 1.0
    rays = rays_in_voxels(
        source=None,
        direction=beam,
        detector_center=last + 50 * beam,
        u=u,
        v=v,
        shape=(5, 5),
        affine=np.eye(4),
    )
    image = cpu.project(hu, mapping, rays, method=method, anti_aliasing=False)
    assert image[2, 2] == pytest.approx(1.0)
    assert image.sum() == pytest.approx(1.0)
