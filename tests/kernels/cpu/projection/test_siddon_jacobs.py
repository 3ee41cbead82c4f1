"""ITK's ray caster: the kernel is its readable twin, and the twin is the filter."""

from __future__ import annotations

import numpy as np
import pytest
from itk_reference import itk
from kernel_cases import random_hu
from numpy.typing import NDArray

from drr.kernels.cpu.projection.itk_camera import BoxRays, camera
from drr.kernels.cpu.projection.itk_inverse import inverse
from drr.kernels.cpu.projection.siddon_jacobs import siddon_jacobs
from drr.kernels.reference import siddon_jacobs as reference

# SWIG, which wraps ITK, makes types that Python 3.12 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:builtin type [Ss]wig:DeprecationWarning")

SPACING = np.array([4.0, 4.5, 5.3])
ROTATIONS = [(0, 0, 0), (0, 0, -90), (3, -4, 2), (30, 20, -100), (0, 90, 0), (90, 0, 0)]


def view(
    volume: NDArray,
    rotation: tuple[float, float, float],
    *,
    shape: tuple[int, int] = (20, 24),
    pitch: tuple[float, float] = (8.1, 7.3),
    translation: tuple[float, float, float] = (0.0, 300.0, 0.0),
) -> BoxRays:
    return camera(
        np.array(volume.shape[::-1]) * SPACING,
        rotation=rotation,
        translation=translation,
        distance=1000.0,
        pitch=pitch,
        shape=shape,
    )


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_kernel_is_its_twin_to_the_bit(rotation: tuple[float, float, float]) -> None:
    volume = random_hu((14, 20, 24))
    rays = view(volume, rotation)
    wanted = reference.siddon_jacobs(volume, SPACING, rays, threshold=-100.0)
    got = siddon_jacobs(volume, SPACING, rays, threshold=-100.0)
    assert got.dtype == wanted.dtype == np.float32
    assert wanted.max() > 5
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("translation", [(0, 0, 0), (0, 300, 170), (-400, 300, 0), (0, 300, 5000)])
def test_twin_and_kernel_agree_where_rays_graze_or_miss(
    translation: tuple[float, float, float],
) -> None:
    volume = random_hu((14, 20, 24))
    rays = view(volume, (0, 0, 0), translation=translation, pitch=(20.0, 20.0))
    wanted = reference.siddon_jacobs(volume, SPACING, rays, threshold=-100.0)
    np.testing.assert_array_equal(siddon_jacobs(volume, SPACING, rays, threshold=-100.0), wanted)
    if translation[2] == 5000:
        assert not wanted.any()


def test_views_with_exchanged_and_reversed_axes_are_read_in_place() -> None:
    base = random_hu((14, 20, 24))
    for axes in [(0, 1, 2), (2, 1, 0), (1, 2, 0)]:
        for flips in [(1, 1, 1), (1, -1, 1), (-1, 1, -1)]:
            turned = base.transpose(axes)[tuple(slice(None, None, f) for f in flips)]
            rays = view(turned, (2, 1, -90))
            np.testing.assert_array_equal(
                siddon_jacobs(turned, SPACING, rays, threshold=-100.0),
                siddon_jacobs(np.ascontiguousarray(turned), SPACING, rays, threshold=-100.0),
            )


def test_a_slice_of_a_volume_and_a_single_voxel() -> None:
    base = random_hu((14, 20, 24))
    for part in (base[2:9, ::2, 3:], base[5:6, 7:8, 9:10], base[5:6]):
        rays = view(part, (0, 0, 0), pitch=(1.0, 1.0))
        np.testing.assert_array_equal(
            siddon_jacobs(part, SPACING, rays, threshold=-2000.0),
            reference.siddon_jacobs(part, SPACING, rays, threshold=-2000.0),
        )


def test_any_number_of_threads_gives_the_same_sums() -> None:
    volume = random_hu((14, 20, 24))
    rays = view(volume, (3, 2, 1))
    one, five = (siddon_jacobs(volume, SPACING, rays, threshold=-100.0, threads=n) for n in (1, 5))
    np.testing.assert_array_equal(one, five)


def test_uniform_box_gives_chord_fractions_less_the_voxels_the_index_skips() -> None:
    # Every voxel is 100 above the threshold, so that only the number of credited ones matters.
    volume = np.zeros((30, 40, 50), np.int16)
    rays = view(volume, (0, 0, 0), shape=(2, 2), pitch=(1.0, 1.0))
    sums = siddon_jacobs(volume, SPACING, rays, threshold=-100.0)
    depth = 40 * SPACING[1] / 1000.0
    # Entering through a low face, the last two intervals fall beyond the box.
    np.testing.assert_allclose(sums, 100 * (depth - 2 * SPACING[1] / 1000.0), rtol=2e-4)


def test_each_interval_is_credited_to_the_voxel_behind_it() -> None:
    # Along +y the index runs two ahead, so that voxels 0 and 1 never count; along -y one.
    cases = [(0, 0, False), (0, 1, False), (0, 2, True), (0, 39, True)]
    cases += [(180, 39, False), (180, 38, True), (180, 0, True)]
    for turn, bright, credited in cases:
        volume = np.full((6, 40, 6), -1000, np.int16)
        volume[:, bright] = 900
        rays = view(volume, (0, 0, turn), shape=(2, 2), pitch=(1.0, 1.0))
        sums = siddon_jacobs(volume, SPACING, rays, threshold=-100.0)
        wanted = reference.siddon_jacobs(volume, SPACING, rays, threshold=-100.0)
        np.testing.assert_array_equal(sums, wanted)
        assert bool(sums.min() > 4) == credited, (turn, bright, sums)


def test_camera_stands_where_the_recipe_says() -> None:
    size = np.array([300.0, 200.0, 400.0])
    options = {"distance": 1000.0, "pitch": (0.5, 0.25), "shape": (8, 4)}
    frontal = camera(size, rotation=(0, 0, 0), translation=(0, 300, 0), **options)
    np.testing.assert_allclose(frontal.source, [150, -1200, 200], atol=1e-4)
    np.testing.assert_allclose(frontal.u, [0.5, 0, 0], atol=1e-7)
    np.testing.assert_allclose(frontal.v, [0, 0, -0.25], atol=1e-7)
    middle = frontal.origin + 1.5 * frontal.u + 3.5 * frontal.v
    np.testing.assert_allclose(middle, [150, -200, 200], atol=1e-4)
    lateral = camera(size, rotation=(0, 0, -90), translation=(0, 300, 0), **options)
    np.testing.assert_allclose(lateral.source, [150 + 1300, 100, 200], atol=1e-4)
    np.testing.assert_allclose(lateral.u, [0, 0.5, 0], atol=1e-7)


@pytest.mark.parametrize("rotation", [(-3, 4, -90), (5, 0, -90), (1, -90, 0), (0, 7, 90)])
def test_camera_survives_euler_angles_that_lock(rotation: tuple[float, float, float]) -> None:
    rays = camera(
        np.array([300.0, 200.0, 400.0]),
        rotation=rotation,
        translation=(0, 300, 0),
        distance=1000.0,
        pitch=(0.5, 0.5),
        shape=(8, 8),
    )
    assert all(np.isfinite(part).all() for part in (rays.source, rays.origin, rays.u, rays.v))
    np.testing.assert_allclose(np.linalg.norm(rays.source - [150, 100, 200]), 1300, atol=1e-3)
    np.testing.assert_allclose([np.linalg.norm(rays.u), np.linalg.norm(rays.v)], 0.5, atol=1e-7)


def test_rays_that_single_precision_cannot_follow_still_end() -> None:
    volume = random_hu((14, 20, 24))
    tiny = np.full(3, 1e-6)
    rays = camera(
        np.array(volume.shape[::-1]) * tiny,
        rotation=(1, 2, 3),
        translation=(0, 300, 0),
        distance=1000.0,
        pitch=(1e-6, 1e-6),
        shape=(4, 4),
    )
    assert np.isfinite(siddon_jacobs(volume, tiny, rays, threshold=-100.0)).all()


@pytest.mark.parametrize("n", [2, 3, 5])
def test_inverse_by_singular_values_is_an_inverse(n: int) -> None:
    generator = np.random.default_rng(n)
    for _ in range(20):
        matrix = generator.normal(size=(n, n))
        np.testing.assert_allclose(inverse(matrix) @ matrix, np.eye(n), atol=1e-8)
    np.testing.assert_array_equal(inverse(np.eye(n)), np.eye(n))
    np.testing.assert_allclose(inverse(np.diag([1.0, 4.0, 2.0])), np.diag([1.0, 0.25, 0.5]))
    with pytest.raises(ValueError, match="finite"):
        inverse(np.full((n, n), np.nan))


def test_inverse_is_itk_s_to_the_last_bit() -> None:
    generator = np.random.default_rng(0)
    for angles in [(0.0, 0.0, 0.0), (0.0, 0.0, -np.pi / 2), *generator.uniform(-4, 4, (50, 3))]:
        transform = itk().Euler3DTransform[itk().D].New()
        transform.SetComputeZYX(True)
        transform.SetRotation(*map(float, angles))
        matrix = transform.GetMatrix()
        found = itk().array_from_matrix(matrix)
        wanted = matrix.GetInverse()
        wanted = np.array([[wanted.get(i, j) for j in range(3)] for i in range(3)])
        np.testing.assert_array_equal(inverse(found), wanted)
