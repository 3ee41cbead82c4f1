"""The CUDA kernels, through their real launcher on the CPU, against the float64 twins."""

from __future__ import annotations

import ctypes
import itertools
from dataclasses import replace

import numpy as np
import pytest
from cuda_host import build, nvrtc, sanitizers, trace
from cuda_host.install import installed
from cuda_host.machine import machine
from kernel_cases import ANGLES, UNIT, affine_of, box_chords, random_hu, rays_at, relative_rmse
from places import TESTS
from random_cases import random_case

from drr.kernels.cpu.projection import project as cpu
from drr.kernels.cuda import views as view_constants
from drr.kernels.cuda.launch import project_views
from drr.kernels.cuda.sources import OPTIONS, module_source
from drr.kernels.rays import rays_in_voxels
from drr.kernels.reference import projection

pytestmark = pytest.mark.slow

SHAPE, SPACING = (20, 24, 28), (1.5, 2.0, 2.5)
HU = random_hu(SHAPE)
MU = UNIT(HU)
METHODS = ("siddon", "joseph")
# With this pitch and this shear no ray runs in the face between two voxels, where either is right.
PITCH = 3.0123


@pytest.fixture(scope="module")
def gpu():
    with installed(workers=2) as cupy:
        yield cupy


def cuda(views, method, hu=HU, **options):
    """One image for each view."""
    options = {"anti_aliasing": False, **options}
    return project_views(hu, (UNIT.mapping,), views, method=method, **options)[:, 0]


def twin(method, hu, rays):
    return getattr(projection, method)(UNIT(hu), rays)


def every_view(distance, **options):
    affine = affine_of(SHAPE, SPACING, shear=0.2137)
    return [rays_at(affine, *a, detector=distance, pitch=PITCH, **options) for a in ANGLES]


@pytest.mark.parametrize("rotation", [0, 90, 33])
@pytest.mark.parametrize("distance", [500.0, np.inf])
@pytest.mark.parametrize("method", METHODS)
def test_kernels_equal_their_twins(gpu, method, distance, rotation):
    views = every_view(distance, rotation=rotation)
    for rays, image in zip(views, cuda(views, method), strict=True):
        truth = twin(method, HU, rays)
        assert truth.max() > 20
        assert relative_rmse(image, truth) < 2e-6
        np.testing.assert_allclose(image, truth, rtol=2e-5, atol=5e-4)


@pytest.mark.parametrize("method", METHODS)
def test_kernels_equal_those_of_the_cpu(gpu, method):
    """Sub-pixels of a coarse detector too, of which a view has as many as it needs."""
    for pitch in (PITCH, 8.0123):
        views = [rays_at(affine_of(SHAPE, SPACING), *a, pitch=pitch) for a in ANGLES]
        images = cuda(views, method, anti_aliasing=True)
        for rays, image in zip(views, images, strict=True):
            expected = cpu.project(HU, UNIT.mapping, rays, method=method, threads=1)
            assert relative_rmse(image, expected) < 2e-6
    assert cpu.sub_pixels(SHAPE, views[0]) != (1, 1)


def test_shear_warp_is_joseph(gpu):
    views = every_view(500.0)
    np.testing.assert_array_equal(cuda(views, "shear-warp"), cuda(views, "joseph"))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("channels", [2, 3, 5])
def test_channels_are_the_mappings_one_by_one(gpu, method, channels):
    generator = np.random.default_rng(1)
    mappings = []
    for _ in range(channels):
        table = generator.uniform(0, 1, 65536).astype(np.float32)
        mappings.append(cpu.Mapping(table, np.empty(0, np.float32), np.empty(0, np.float32)))
    views = every_view(500.0)[:3]
    images = project_views(HU, mappings, views, method=method, anti_aliasing=False)
    assert images.shape == (3, channels, *views[0].shape)
    for c, mapping in enumerate(mappings):
        alone = project_views(HU, [mapping], views, method=method, anti_aliasing=False)[:, 0]
        np.testing.assert_array_equal(images[:, c], alone)
        truth = getattr(projection, method)(mapping.table[HU.astype(int) + 32768], views[0])
        assert relative_rmse(alone[0], truth) < 5e-6


@pytest.mark.parametrize("seed", [177, 239, 593, 880])
def test_no_line_integral_is_below_zero(gpu, seed):
    """Rays that touch the volume's border within rounding, of `test_kernels_fuzz`."""
    case = random_case(seed)
    for mapping in (case.mapping, replace(case.mapping, table=-case.mapping.table)):
        (image,) = project_views(case.hu, [mapping], [case.rays], anti_aliasing=case.anti_aliasing)[
            :, 0
        ]
        assert image.any()
        assert image.min() >= 0 if mapping.never_negative else image.max() < 1e-6 * case.scale


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 3), (2, 1, 70), (3, 130, 1), (2, 2, 2)])
def test_thin_volumes(gpu, method, shape):
    hu = random_hu(shape, seed=2)
    hu[...] = np.abs(hu)
    affine = affine_of(shape, (2.0, 2.0, 2.0))
    angles = ((0, 0), (90, 0), (0, 90), (30, 20))
    views = [rays_at(affine, *a, pitch=0.7123, rotation=7) for a in angles]
    for rays, image in zip(views, cuda(views, method, hu), strict=True):
        truth = twin(method, hu, rays)
        assert relative_rmse(image, truth) < 3e-5


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_rays_in_voxel_faces_equal_one_neighbour(gpu, method, axis):
    hu = random_hu((6, 6, 6), seed=3)
    others = [a for a in range(3) if a != axis]
    beam, u, v = np.eye(3)[axis], np.eye(3)[others[0]], np.eye(3)[others[1]]
    rays = rays_in_voxels(
        source=None, direction=beam, detector_center=2.0 * (u + v) + 100 * beam,
        u=u, v=v, shape=(6, 6), affine=np.eye(4),
    )  # fmt: skip
    image = cuda([rays], method, hu)[0]
    sums = UNIT(hu).sum(axis=2 - axis)
    for row, column in itertools.product(range(6), range(6)):
        near = [
            sums[j, i]
            for j in (row - 1, row)
            for i in (column - 1, column)
            if 0 <= i < 6 and 0 <= j < 6
        ]
        if method == "siddon":
            assert min(abs(image[row, column] - s) for s in near) < 1e-4
        else:
            assert -1e-4 < image[row, column] <= max(near) + 1e-4


@pytest.mark.parametrize("method", METHODS)
def test_nothing_beyond_the_detector_or_behind_the_source_is_summed(gpu, method):
    affine = affine_of(SHAPE, SPACING)
    for isocenter, detector in ((400.0, 407.0), (5.0, 60.0), (0.3, 0.7), (-300.0, 100.0)):
        views = [
            rays_at(affine, *a, isocenter=isocenter, detector=detector, pitch=2.0123)
            for a in ((0, 0), (90, 0), (35, 20), (0, 90))
        ]
        for rays, image in zip(views, cuda(views, method), strict=True):
            np.testing.assert_allclose(image, twin(method, HU, rays), rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize("method", METHODS)
def test_rays_shorter_than_a_voxel(gpu, method):
    start = np.array([11.83, 12.17, 9.09])
    steps = [(0.4, 0.1, 0.2), (-0.1, 0.3, 0.0), (0.0, 0.05, -0.3), (0.7, 0.2, 0.0)]
    views = [
        rays_in_voxels(
            source=start, direction=None, detector_center=start + step, u=(1e-3, 0, 0),
            v=(0, 0, 1e-3), shape=(1, 1), affine=np.eye(4),
        )
        for step in steps
    ]  # fmt: skip
    expected = [twin(method, HU, rays) for rays in views]
    np.testing.assert_allclose(cuda(views, method), expected, rtol=1e-4)
    assert min(expected) > 0


def test_rays_nearly_in_the_faces_between_voxels(gpu):
    """When they cross a face is then known to many voxels only; their length is not in doubt."""
    hu = np.full((9, 3, 200), -1000, np.int16)
    hu[:, :, ::2] = 0
    for tilt in (0.0, 1e-9, -3e-9, 1e-8, 1e-7, -1e-6, 1e-5):
        rays = rays_in_voxels(
            source=None, direction=(tilt, 1e-9, 1.0), detector_center=(99.5, 1, 9), u=(1, 0, 0),
            v=(0, 0.1, 0), shape=(2, 199), affine=np.eye(4),
        )  # fmt: skip
        image = cuda([rays], "siddon", hu)[0]
        assert image.min() >= 0
        assert image.max() <= 9 * (1 + 1e-5)


def test_of_two_equally_fast_axes_the_first_counts(gpu):
    """Along y as along x, where the copy with both exchanged is read and where it is not."""
    for u in ((0.1, 0.83, 0.0), (0.83, 0.1, 0.0)):
        rays = rays_in_voxels(
            source=None, direction=(1, -1, 0.4), detector_center=(13, 11, 9), u=u, v=(0, 0, 1.1),
            shape=(7, 9), affine=np.eye(4),
        )  # fmt: skip
        assert view_constants.is_swapped(rays) == (u[1] > u[0])
        truth = twin("joseph", HU, rays)
        np.testing.assert_allclose(cuda([rays], "joseph")[0], truth, rtol=2e-5, atol=5e-4)


@pytest.mark.parametrize("method", METHODS)
def test_rays_that_miss_are_exactly_zero(gpu, method):
    affine = affine_of(SHAPE, SPACING)
    for distance in (500.0, np.inf):
        rays = rays_at(affine, 10, 5, detector=distance, pitch=60.0)
        image, truth = cuda([rays], method)[0], twin(method, HU, rays)
        assert (truth == 0).mean() > 0.8
        assert not image[truth == 0].any()


def random_views(seed, count):
    """Rays between random points, most of them lattice points and voxel faces of the volume."""
    generator = np.random.default_rng(seed)
    views = []
    while len(views) < count:
        ends = generator.uniform(-20, 30, (2, 3))
        on_lattice = generator.random((2, 3)) < 0.7
        ends[on_lattice] = np.rint(2 * ends[on_lattice]) / 2
        if generator.random() < 0.5:  # along an axis or in a plane, or very nearly
            keep = generator.integers(0, 3, 2)
            tilt = generator.choice([0.0, 1e-7, 1e-5, -1e-6, 1e-9])
            ends[1, keep] = ends[0, keep] + tilt
        direction = ends[1] - ends[0]
        steps = generator.choice([0.0, 0.5, 1.0, 0.3], (2, 3))
        if not direction.any() or np.abs(np.cross(*steps)).max() == 0:
            continue
        parallel = generator.random() < 0.3
        rays = rays_in_voxels(
            source=None if parallel else ends[0], direction=direction if parallel else None,
            detector_center=ends[1], u=steps[0], v=steps[1], shape=(5, 6), affine=np.eye(4),
        )  # fmt: skip
        if np.abs(rays.central_direction).max() > 0:
            views.append(rays)
    return views


def fuzz(seed, count=40):
    """Volumes of 1 to 6 voxels seen by random views: of uniform ones the paths are known."""
    generator = np.random.default_rng(seed)
    worst = 0.0
    for number in range(count):
        hu = np.zeros(generator.integers(1, 7, 3), np.int16)
        views = random_views(seed + number, 6)
        images = cuda(views, "siddon", hu)
        chords = np.stack([box_chords(rays, hu.shape) for rays in views])
        # A ray in a face of the box is inside or outside, as rounding will have it.
        wrong = np.abs(images - chords) > 2e-3
        for view, row, column in np.argwhere(wrong):
            rays = views[view]
            pixel = rays.origin + column * rays.u + row * rays.v
            direction = rays.source[:3] if rays.is_parallel else pixel - rays.source[:3]
            low, high = -0.5, np.array(hu.shape[::-1]) - 0.5
            flat = np.abs(direction) < 1e-4 * np.abs(direction).max()
            at_face = np.minimum(np.abs(pixel - low), np.abs(pixel - high)) < 1e-3
            assert (flat & at_face).any(), (hu.shape, rays, row, column)
        worst = max(worst, float(np.abs(images - chords)[~wrong].max(initial=0.0)))
        mixed = random_hu(tuple(hu.shape), seed=number)
        most = UNIT(mixed).max()
        images = cuda(views, "siddon", mixed)
        assert images.min() >= 0
        assert (images[~wrong] <= most * chords[~wrong] + 5e-3).all()
        for image in cuda(views, "joseph", mixed):
            assert np.isfinite(image).all()
            assert image.min() > -1e-3
    return worst


def test_random_rays_have_the_chords_of_the_box(gpu):
    assert fuzz(100) < 2e-3


def see_whole_small_volumes():
    """Rays through every voxel of volumes whose every end is the end of memory."""
    for shape in ((1, 1, 1), (1, 5, 3), (2, 1, 17), (2, 2, 2), (3, 4, 5)):
        affine = affine_of(shape, (2.0, 2.0, 2.0))
        views = [
            rays_at(affine, *angles, pitch=0.5, detector=distance)
            for angles in ANGLES
            for distance in (500.0, np.inf)
        ]
        for method in METHODS:
            assert cuda(views, method, np.full(shape, 100, np.int16)).max() > 1


FUZZ = f"""
import sys
sys.path[:0] = [{__file__.rpartition("/")[0]!r}, {str(TESTS)!r}]
from cuda_host.install import installed
import test_kernels as t
with installed(mode=sys.argv[1], workers=3):
    t.fuzz(int(sys.argv[2]), int(sys.argv[3]))
    t.see_whole_small_volumes()
    views = t.every_view(500.0, shape=(9, 34))[:4]
    for method in t.METHODS:
        t.project_views(t.HU, (t.UNIT.mapping,) * 3, views, method=method)
"""


@pytest.mark.parametrize("mode", ["memory", "races"])
def test_sanitizers_find_nothing(mode):
    sanitizers.needs_sanitizers(mode)
    well, message = sanitizers.run(mode, FUZZ, mode, "7", "8" if mode == "memory" else "1")
    assert well, message


@pytest.mark.soak
@pytest.mark.parametrize("mode", ["memory", "races"])
@pytest.mark.parametrize("seed", range(8))
def test_sanitizers_find_nothing_in_many_more_rays(mode, seed):
    sanitizers.needs_sanitizers(mode)
    well, message = sanitizers.run(mode, FUZZ, mode, str(1000 * seed), "60")
    assert well, message


def all_images():
    views = every_view(500.0, shape=(9, 34)) + every_view(np.inf, shape=(9, 34), rotation=70)
    images = [cuda(views, method, anti_aliasing=True) for method in METHODS]
    images += [project_views(HU, (UNIT.mapping,) * 2, views[:2], method=m) for m in METHODS]
    images.append(cuda(random_views(3, 40), "siddon"))
    images.append(cuda(random_views(4, 40), "joseph"))
    return [image.ravel() for image in images]


def test_ptx_of_nvrtc_gives_the_same_bits(gpu):
    nvrtc.needs_nvrtc()
    expected = np.concatenate(all_images())
    assert np.isfinite(expected).all()
    try:
        for machine.ptx in (75, 90, 100):
            image = np.concatenate(all_images())
            np.testing.assert_array_equal(image.view(np.int32), expected.view(np.int32))
    finally:
        machine.ptx = None


def test_the_order_of_blocks_and_threads_does_not_matter(gpu):
    views = every_view(500.0)
    images = [cuda(views, method) for method in METHODS]
    machine.backwards = True
    try:
        for method, image in zip(METHODS, images, strict=True):
            np.testing.assert_array_equal(cuda(views, method), image)
    finally:
        machine.backwards = False


@pytest.mark.parametrize("method", METHODS)
def test_indices_beyond_2_to_the_32(method, tmp_path):
    """A volume of 2^33 voxels in a file with holes, of which only the last planes are touched."""
    build.needs_compiler()
    shape = (1 << 11, 1 << 11, 1 << 11)
    try:
        voxels = np.memmap(tmp_path / "voxels", np.int16, "w+", shape=shape)
    except (OSError, OverflowError) as error:
        pytest.skip(f"no file of 16 GB, most of it holes, can be made here: {error}")
    last = shape[0] - 2
    voxels[last, -40:, -8:] = 1000
    # Through the last planes, close to the end of memory, along y and along z.
    library = build.build(module_source(channels=1), OPTIONS)
    table = np.maximum(np.arange(65536, dtype=np.uint16).view(np.int16), 0).astype(np.float32)
    for axis in (1, 2):
        u, v = np.eye(3)[0], np.eye(3)[3 - axis]
        center = np.array([shape[2] - 4.3, shape[1] - 20.3, last + 0.1])
        source = center - 30 * np.eye(3)[axis]
        rays = rays_in_voxels(
            source=source, direction=None, detector_center=center + 30 * np.eye(3)[axis],
            u=0.1 * u, v=v, shape=(1, 2), affine=np.eye(4),
        )  # fmt: skip
        out = np.full((1, 2), np.nan, np.float32)
        constants = view_constants.packed(rays, shape)
        numbers = [*shape[::-1], 1, shape[2], 1, 2, 2, 1, 1, 0]
        ints = [ctypes.c_int(n) for n in numbers]
        pointers = [ctypes.c_void_p(a.ctypes.data) for a in (voxels, voxels, constants, table, out)]
        arguments = [*pointers[:2], *ints[:5], *pointers[2:], *ints[5:]]
        packed = (ctypes.c_void_p * len(arguments))(*[ctypes.addressof(a) for a in arguments])
        one = (ctypes.c_uint * 3)(1, 1, 1)
        block = (ctypes.c_uint * 3)(2, 1, 1)
        getattr(library, f"launch_{method}")(one, block, packed, 1, 0)
        inside = 40 if axis == 1 else 1
        weight = 0.9 if method == "joseph" and axis == 1 else 1.0
        np.testing.assert_allclose(out, 1000 * inside * weight, rtol=1e-3)


@pytest.mark.parametrize(
    ("angles", "rotation"),
    [((0, 0), 0), ((90, 0), 0), ((-90, 0), 0), ((90, 0), 90), ((0, 90), 0), ((0, 90), 90)]
    + [((angle, 5), 0) for angle in (30, 45, 60, 135)],
)
def test_warps_read_neighbouring_voxels(gpu, angles, rotation):
    """128-byte lines that a warp's load of voxels touches: frontal, lateral, axial, turned."""
    nvrtc.needs_nvrtc()
    hu = random_hu((24, 160, 160))
    affine = affine_of(hu.shape, (0.8, 0.8, 2.0))
    rays = rays_at(
        affine, *angles, shape=(64, 128), pitch=1.0, isocenter=1500, detector=1800,
        rotation=rotation,
    )  # fmt: skip
    for method, most in (("joseph", 2.5), ("siddon", 20.0 if angles[1] == 5 else 5.0)):
        with trace.recorded(warps=12, kernels=METHODS) as record:
            project_views(hu, (UNIT.mapping,), [rays], method=method)
        assert record.lines(2) < most, method


def test_without_the_exchanged_copy_lateral_views_are_strided(gpu, monkeypatch):
    """That the gate above can fail."""
    nvrtc.needs_nvrtc()
    hu = random_hu((8, 160, 160))
    rays = rays_at(
        affine_of(hu.shape, (0.8, 0.8, 2.0)), 90, 0, shape=(16, 128), pitch=1.0, isocenter=1500,
        detector=1800,
    )  # fmt: skip
    monkeypatch.setattr("drr.kernels.cuda.residency.DeviceVolume.swapped", lambda _: None)
    with trace.recorded(warps=8, kernels=METHODS) as record:
        project_views(hu, (UNIT.mapping,), [rays], method="joseph")
    assert record.lines(2) > 10
