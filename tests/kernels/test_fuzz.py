"""Random volumes, poses and attenuations: every kernel against the float64 twins.

The seeds are fixed, so a failure names the case that repeats it: `random_case(seed)`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kernel_cases import UNIT, random_hu, rays_at, relative_rmse
from numpy.typing import NDArray
from places import TESTS
from random_cases import (
    Case,
    random_case,
)

from drr.kernels.cpu.projection import project as cpu
from drr.kernels.cpu.projection.intermediate import plan
from drr.kernels.cpu.projection.labels import MAX_LABELS, label_boxes
from drr.kernels.rays import Rays, rays_in_voxels
from drr.kernels.reference import projection
from drr.kernels.reference.shear_warp import shear_warp
from drr.physics.attenuation import Attenuation
from drr.threads import run, split


def pixel_by_twin(
    case: Case, method: str, row: int, column: int, sub: tuple[int, int], shift: NDArray
) -> float:
    """One pixel of the float64 twin, with source and detector moved by `shift` voxels."""
    rays = case.rays
    source = rays.source.copy()
    source[:3] += shift[0] * (1e-2 if rays.is_parallel else 1.0)
    origin = rays.origin + column * rays.u + row * rays.v + shift[1]
    one = replace(rays, source=source, origin=origin, shape=(1, 1)).subdivided(*sub)
    return float(getattr(projection, method)(case.mu, one).mean())


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
    truth = shear_warp(case.mu, case.rays, layout.axis, sub=sub)
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
            most = 0.01 if quality == "standard" else 0.1
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
from drr.kernels.cpu.compiler.jit import jit
from drr.kernels.cpu.projection import project as cpu
from random_cases import random_case

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
    script = CHECKED.format(tests=str(TESTS), start=start, stop=stop)
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
from drr.physics.attenuation import water
from drr.kernels.cpu.projection import project as cpu
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
    truth = projection.joseph(step(hu), rays)
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
    joseph, reordered = (
        cpu.project(hu, UNIT.mapping, rays, method=m, anti_aliasing=False)
        for m in ("joseph", "shear-warp")
    )
    assert relative_rmse(reordered, joseph) < 1e-3


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
    script = LAST_WORDS.format(tests=str(TESTS))
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
