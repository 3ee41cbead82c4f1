"""Numba kernels against their float64 twins and against each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import ANGLES, UNIT, affine_of, box_chords, random_hu, rays_at, relative_rmse

from drr.kernels.cpu.projection import project as cpu
from drr.kernels.cpu.projection.intermediate import plan
from drr.kernels.rays import rays_in_voxels
from drr.kernels.reference import projection
from drr.physics.attenuation import Attenuation

SHAPE, SPACING = (20, 24, 28), (1.5, 2.0, 2.5)
HU = random_hu(SHAPE)
MU = UNIT(HU)
# Nothing below 100 HU.
BONE = Attenuation(hu=(100.0, 1100.0), mu=(0.0, 0.01), name="bone")


def project(rays, method, hu=HU, **options):
    options = {"anti_aliasing": False, "threads": 1, "quality": "finest", **options}
    return cpu.project(hu, UNIT.mapping, rays, method=method, **options)


@pytest.mark.parametrize("distance", [500.0, np.inf])
@pytest.mark.parametrize("angles", ANGLES)
@pytest.mark.parametrize("method", ["siddon", "joseph"])
def test_ray_casting_equals_its_twin(method, angles, distance):
    affine = affine_of(SHAPE, SPACING, shear=0.2)
    rays = rays_at(affine, *angles, detector=distance, pitch=3.0)
    truth = getattr(projection, method)(MU, rays)
    assert truth.max() > 20
    np.testing.assert_allclose(project(rays, method), truth, rtol=2e-6, atol=2e-5)


@pytest.mark.parametrize("distance", [500.0, np.inf])
@pytest.mark.parametrize("angles", [(0, 0), (180, 0), (90, 0), (-90, 0), (0, 90), (180, -90)])
@pytest.mark.parametrize("pitch", [3.0, 8.0])
def test_shear_warp_equals_joseph_with_the_detector_parallel_to_a_face(angles, distance, pitch):
    affine = affine_of(SHAPE, SPACING)
    rays = rays_at(affine, *angles, detector=distance, pitch=pitch)
    truth = projection.joseph(MU, rays)
    image = project(rays, "shear-warp")
    assert relative_rmse(image, truth) < 1e-5
    assert truth.max() > 20


@pytest.mark.parametrize("distance", [500.0, np.inf])
@pytest.mark.parametrize("angles", [(30, 0), (30, 15), (-120, -25), (10, 80), (200, 5)])
def test_shear_warp_is_close_to_joseph_at_any_angle(angles, distance):
    smooth = smooth_ball()
    affine = affine_of(smooth.shape, (1.5, 1.5, 2.0), shear=0.1)
    rays = rays_at(affine, *angles, detector=distance, shape=(40, 40), rotation=20)
    truth = projection.joseph(UNIT(smooth), rays)
    assert relative_rmse(project(rays, "shear-warp", smooth), truth) < 5e-3


@pytest.mark.parametrize("angles", [(0, 0), (90, 0), (0, 90), (40, 20)])
def test_fine_pixels_go_through_a_voxel_sized_intermediate_image(angles):
    smooth = smooth_ball()
    rays = rays_at(affine_of(smooth.shape, (1.5, 1.5, 2.0)), *angles, shape=(96, 96), pitch=0.6)
    layout = plan(smooth.shape, rays, sub=(1, 1))
    assert layout is not None
    assert layout.rows * layout.columns < 0.5 * 96 * 96
    truth = projection.joseph(UNIT(smooth), rays)
    assert relative_rmse(project(rays, "shear-warp", smooth), truth) < 5e-3


def smooth_ball() -> np.ndarray:
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in (26, 34, 36)], indexing="ij")
    bump = np.clip(1 - (x**2 + y**2 + z**2) / 0.8, 0, 1) ** 2
    return np.rint(-1000 + 1500 * bump).astype(np.int16)


@settings(max_examples=60, deadline=None)
@given(
    start=st.tuples(*[st.floats(-40, 40) for _ in range(3)]),
    end=st.tuples(*[st.floats(-40, 40) for _ in range(3)]),
)
def test_siddon_within_rounding_of_a_uniform_box_for_any_ray(start, end):
    shape = (9, 10, 11)
    affine = affine_of(shape, (1.5, 2.0, 2.5))
    direction = np.subtract(end, start)
    if np.linalg.norm(direction) < 1e-3:
        return
    u = np.cross(direction, [0.3, 0.5, 0.81])
    v = np.cross(direction, u)
    if min(np.linalg.norm(u), np.linalg.norm(v)) < 1e-6:
        return
    rays = rays_in_voxels(
        source=start, direction=None, detector_center=end, u=u, v=v, shape=(1, 1), affine=affine
    )
    path = project(rays, "siddon", np.zeros(shape, np.int16))
    diagonal = np.linalg.norm(np.array(shape[::-1]) * (1.5, 2.0, 2.5))
    np.testing.assert_allclose(path, box_chords(rays, shape), atol=1e-5 * diagonal)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("method", ["siddon", "joseph", "shear-warp"])
def test_rays_in_voxel_faces_are_finite_and_equal_one_neighbour(method, axis):
    """Rays along an axis that run exactly in the face between two columns of voxels."""
    hu = random_hu((6, 6, 6), seed=3)
    mu = UNIT(hu)
    others = [a for a in range(3) if a != axis]
    beam, u, v = np.eye(3)[axis], np.eye(3)[others[0]], np.eye(3)[others[1]]
    rays = rays_in_voxels(
        source=None,
        direction=beam,
        detector_center=2.0 * (u + v) + 100 * beam,
        u=u,
        v=v,
        shape=(6, 6),
        affine=np.eye(4),
    )
    # Pixel centres at -0.5, 0.5, ... : every ray lies in two faces at once.
    image = project(rays, method, hu)
    assert np.isfinite(image).all()
    sums = mu.sum(axis=2 - axis)  # [v, u]
    for row in range(6):
        for column in range(6):
            near = [
                sums[j, i]
                for j in (row - 1, row)
                for i in (column - 1, column)
                if 0 <= i < 6 and 0 <= j < 6
            ]
            if method == "siddon":
                assert min(abs(image[row, column] - s) for s in near) < 1e-4
            else:
                assert image[row, column] <= max(near) + 1e-4


@pytest.mark.parametrize("method", ["siddon", "joseph", "shear-warp"])
@pytest.mark.parametrize("angles", [(0, 0), (90, 0), (35, 0), (35, 20), (0, 90)])
def test_nothing_beyond_the_detector_is_summed(method, angles):
    """The detector cuts a uniform volume; the twin decides what lies before it."""
    hu = np.zeros(SHAPE, np.int16)
    affine = affine_of(SHAPE, SPACING)
    rays = rays_at(affine, *angles, isocenter=400, detector=407, pitch=2.0)
    twin = projection.siddon if method == "siddon" else projection.joseph
    truth = twin(UNIT(hu), rays)
    whole = twin(UNIT(hu), rays_at(affine, *angles, isocenter=400, detector=500, pitch=2.5))
    assert truth.sum() < 0.9 * whole.sum()
    image = project(rays, method, hu)
    assert relative_rmse(image, truth) < (1e-5 if angles in {(0, 0), (90, 0), (0, 90)} else 0.01)
    # Matter only beyond the detector leaves no trace.
    y = np.arange(SHAPE[1]) * SPACING[1] - (SHAPE[1] - 1) / 2 * SPACING[1]
    if angles == (0, 0):  # the beam runs towards -y
        behind = np.full(SHAPE, -1000, np.int16)
        behind[:, y < -9] = 1000
        assert not project(rays, method, behind).any()


@pytest.mark.parametrize("angles", ANGLES)
@pytest.mark.parametrize("method", ["siddon", "joseph", "shear-warp"])
def test_anti_aliasing_is_the_mean_of_sub_pixel_rays(method, angles):
    affine = affine_of(SHAPE, SPACING)
    coarse = rays_at(affine, *angles, pitch=8.0, shape=(7, 6))
    across, down = cpu.sub_pixels(SHAPE, coarse)
    assert min(across, down) > 2
    fine = project(coarse.subdivided(across, down), method)
    mean = fine.reshape(7, down, 6, across).mean(axis=(1, 3))
    image = project(coarse, method, anti_aliasing=True)
    np.testing.assert_allclose(image, mean, rtol=1e-4, atol=1e-3)
    assert relative_rmse(project(coarse, method), mean) > 1e-3


def test_pixels_as_small_as_voxels_are_not_subdivided():
    affine = affine_of(SHAPE, SPACING)
    assert cpu.sub_pixels(SHAPE, rays_at(affine, 0, 0, pitch=1.5)) == (1, 1)


@pytest.mark.parametrize("method", ["siddon", "joseph", "shear-warp"])
@pytest.mark.parametrize("threads", [2, 5])
def test_threads_do_not_change_the_image(method, threads):
    rays = rays_at(affine_of(SHAPE, SPACING), 20, 10)
    one = project(rays, method)
    np.testing.assert_array_equal(project(rays, method, threads=threads), one)


def test_transposed_copy_gives_the_same_image():
    rays = rays_at(affine_of(SHAPE, SPACING), 90, 0)
    copy = cpu.transposed_copy(HU, threads=2)
    np.testing.assert_array_equal(copy, HU.transpose(0, 2, 1))
    image = project(rays, "shear-warp", transposed=copy)
    np.testing.assert_allclose(image, project(rays, "shear-warp"), rtol=1e-6)


def test_an_attenuation_without_hinges_is_looked_up():
    table = np.zeros(65536, np.float32)
    table[32768 - 100 :] = np.sqrt(np.arange(32868, dtype=np.float32))
    mapping = cpu.Mapping(table, np.empty(0, np.float32), np.empty(0, np.float32))
    rays = rays_at(affine_of(SHAPE, SPACING), 0, 0, pitch=3.0)
    image = cpu.project(HU, mapping, rays, quality="finest", threads=1, anti_aliasing=False)
    truth = projection.joseph(table[HU.astype(int) + 32768].astype(float), rays)
    assert relative_rmse(image, truth) < 1e-5


def test_a_source_inside_the_volume_is_cast_ray_by_ray():
    affine = affine_of(SHAPE, SPACING)
    rays = rays_at(affine, 0, 0, isocenter=5, detector=60)
    assert plan(SHAPE, rays, sub=(1, 1)) is None
    truth = projection.joseph(MU, rays)
    np.testing.assert_allclose(project(rays, "shear-warp"), truth, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("method", ["siddon", "joseph", "shear-warp"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 3), (2, 1, 70), (3, 130, 1)])
def test_thin_volumes(method, shape):
    hu = np.full(shape, 500, np.int16)
    affine = affine_of(shape, (2.0, 2.0, 2.0))
    for angles in ((0, 0), (90, 0), (0, 90), (30, 20)):
        rays = rays_at(affine, *angles, pitch=2.2)
        twin = projection.siddon if method == "siddon" else projection.joseph
        truth = twin(UNIT(hu), rays)
        image = project(rays, method, hu)
        assert np.isfinite(image).all()
        assert image.sum() == pytest.approx(truth.sum(), rel=0.1)


def test_mass_is_the_same_at_every_primary_angle():
    """Parallel beam, smooth object inside it: row mass times pitch does not depend on p."""
    axis = np.linspace(-1, 1, 56)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij", sparse=True)
    bump = np.clip(1 - (1.3 * (x - 0.1) ** 2 + 2 * (y + 0.1) ** 2 + z**2) / 0.7, 0, 1) ** 2
    smooth = np.rint(-1000 + 1500 * bump).astype(np.int16)
    affine = affine_of(smooth.shape, (1.5, 1.5, 2.0))
    masses = []
    for primary in range(0, 360, 15):
        rays = rays_at(affine, primary, 0, detector=np.inf, shape=(80, 90), pitch=1.25)
        image = project(rays, "shear-warp", smooth).astype(float)
        masses.append(image.sum(axis=1) * 1.25)
    middle = np.mean(masses, axis=0)
    assert np.abs(masses - middle).max() < 1e-3 * middle.max()
    # Rows of length 1.25 mm hold the whole volume's attenuation.
    assert middle.sum() * 1.25 == pytest.approx(UNIT(smooth).sum() * 1.5 * 1.5 * 2.0, rel=1e-3)


@pytest.mark.parametrize("pitch", [12.0, 25.0, 60.0])
def test_pixels_many_voxels_wide_without_anti_aliasing(pitch):
    """A block of outputs then spans more voxels than the row has."""
    hu = random_hu((6, 20, 200), seed=5)
    rays = rays_at(affine_of(hu.shape, (1.0, 1.0, 1.0)), 0, 0, shape=(9, 40), pitch=pitch)
    truth = projection.joseph(UNIT(hu), rays)
    assert relative_rmse(project(rays, "shear-warp", hu), truth) < 1e-5


@pytest.mark.parametrize("quality", cpu.QUALITIES)
@pytest.mark.parametrize("angles", [(0, 0), (90, 0), (20, 0)])
def test_what_lies_between_dense_things_far_apart_is_left_out(angles, quality):
    """As of bone: chunks of a row in which nothing attenuates are skipped, with the same image."""
    hu = np.full((7, 40, 700), -1000, np.int16)
    hu[1:6, 5:30, 2:20] = hu[2:7, 10:22, 333:350] = 700
    hu[3, 12, 690:] = 900
    hu = hu if angles[0] != 90 else np.ascontiguousarray(hu.transpose(0, 2, 1))
    rays = rays_at(affine_of(hu.shape, (1.0, 1.0, 1.0)), *angles, shape=(12, 900), pitch=1.0)
    # The same attenuation, but any voxel might attenuate.
    mapping = BONE.mapping
    thresholds, slopes = (
        [first, *rest] for first, rest in ((-2e3, mapping.thresholds), (0, mapping.slopes))
    )
    every = cpu.Mapping(mapping.table, np.float32(thresholds), np.float32(slopes))
    assert mapping.lowest > 0 > every.lowest
    image = cpu.project(hu, mapping, rays, quality=quality)
    assert np.count_nonzero(image.sum(axis=0)) in range(20, 400)
    np.testing.assert_array_equal(image, cpu.project(hu, every, rays, quality=quality))


def preview(rays, hu=HU, **options):
    return project(rays, "shear-warp", hu, quality="preview", **options)


@pytest.mark.parametrize("distance", [500.0, np.inf])
@pytest.mark.parametrize("angles", [*ANGLES, (44, 0), (0, 30), (30, 30)])
def test_a_preview_is_close_to_joseph_at_any_angle(angles, distance):
    smooth = smooth_ball()
    rays = rays_at(affine_of(smooth.shape, (1.5, 1.5, 2.0)), *angles, detector=distance)
    truth = projection.joseph(UNIT(smooth), rays)
    image = preview(rays, smooth)
    assert relative_rmse(image, truth) < 8e-3
    if angles not in {(0, 0), (180, 0), (90, 0), (-90, 0), (0, 90)} or distance == 500:
        assert (image != project(rays, "shear-warp", smooth)).any()


@pytest.mark.parametrize("angles", [(0, 0), (90, 0), (30, 15), (60, 0)])
def test_neither_threads_nor_a_transposed_copy_change_a_preview(angles):
    rays = rays_at(affine_of(SHAPE, SPACING), *angles)
    one = preview(rays)
    np.testing.assert_array_equal(preview(rays, threads=3), one)
    copy = cpu.transposed_copy(HU, threads=2)
    np.testing.assert_array_equal(preview(rays, transposed=copy), one)


@pytest.mark.parametrize("planes", [1, 2, 3, 4, 5, 9])
def test_a_preview_of_any_number_of_planes_counts_all_of_them(planes):
    """Parallel rays across uniform planes, straight and oblique."""
    hu = np.zeros((30, planes, 40), np.int16)
    affine = affine_of(hu.shape, (1.0, 1.0, 1.0))
    for angle in (0.0, 35.0):
        rays = rays_at(affine, angle, 0, detector=np.inf, shape=(3, 3), pitch=1.0)
        path = planes / np.cos(np.radians(angle))
        np.testing.assert_allclose(preview(rays, hu), path, rtol=1e-5)


@pytest.mark.parametrize("angles", [(0, 0), (90, 0), (0, 90), (3, -2), (30, 0), (30, 15)])
@pytest.mark.parametrize("distance", [1300.0, np.inf])
def test_full_quality_adds_up_two_planes_where_that_hardly_moves_them(angles, distance):
    rays = rays_at(affine_of(SHAPE, (1.5, 1.5, 1.5)), *angles, isocenter=1000, detector=distance)
    layout = plan(SHAPE, rays, sub=(1, 1), slab=2, apart=0.125)
    assert layout is not None
    planes = SHAPE[::-1][layout.axis]
    steep = max(abs(angle) for angle in angles) in (15, 30)
    assert layout.starts.size - 1 == (planes if steep else planes // 2)
    full, finest = project(rays, "shear-warp", quality="standard"), project(rays, "shear-warp")
    if steep:
        np.testing.assert_array_equal(full, finest)
    elif np.isinf(distance) and angles in {(0, 0), (90, 0), (0, 90)}:
        np.testing.assert_allclose(full, finest, rtol=1e-5, atol=1e-3)
    else:
        assert 0 < relative_rmse(full, finest) < 1e-2


@pytest.mark.parametrize(
    ("angles", "spacing", "most"),
    [
        ((0, 0), (0.7, 0.7, 1.0), 1.12),
        ((90, 0), (0.7, 0.7, 1.0), 1.12),
        ((30, 0), (0.7, 0.7, 1.0), 1.3),
        ((30, 15), (0.7, 0.7, 1.0), 1.3),
        ((60, 10), (0.7, 0.7, 1.0), 1.3),
        ((44, 30), (0.7, 0.7, 1.0), 1.4),
        ((0, 0), (0.7, 0.7, 0.7), 1.3),
        ((30, 15), (0.7, 0.7, 0.7), 1.3),
        ((44, 30), (0.7, 0.7, 0.7), 1.5),
    ],
)
@pytest.mark.parametrize("pixels", [96, 192])
def test_noise_is_hardly_further_from_siddon_than_josephs_sums_are(angles, spacing, most, pixels):
    """Of noise nothing is smooth, so that no interpolation is right by chance."""
    hu = np.random.default_rng(1).normal(0, 200, (64, 96, 96)).astype(np.int16)
    rays = rays_at(
        affine_of(hu.shape, spacing), *angles,
        isocenter=1500, detector=1800, shape=(pixels, pixels), pitch=72.0 / pixels,
    )  # fmt: skip
    truth = project(rays, "siddon", hu)
    joseph = relative_rmse(project(rays, "joseph", hu), truth)
    assert relative_rmse(project(rays, "shear-warp", hu, quality="standard"), truth) < most * joseph


@pytest.mark.parametrize("quality", ["standard", "preview"])
def test_a_detector_between_two_planes_hides_the_second(quality):
    """At their common face neither is cut, but they are not of one slab."""
    hu = np.zeros((8, 12, 8), np.int16)
    rays = rays_in_voxels(
        source=(3.5, 500.0, 3.5), direction=None, detector_center=(3.5, 4.5, 3.5),
        u=(0.5, 0, 0), v=(0, 0, 0.5), shape=(4, 4), affine=np.eye(4),
    )  # fmt: skip
    np.testing.assert_allclose(project(rays, "shear-warp", hu, quality=quality), 7.0, rtol=1e-3)


def test_a_preview_sees_nothing_behind_the_detector():
    """Planes that the detector cuts are cut one by one, whatever slab they would be in."""
    affine = affine_of(SHAPE, SPACING)
    bare, lying = (np.zeros(SHAPE, np.int16) for _ in range(2))
    for tilt in (0, 2):
        rays = rays_at(affine, 0, tilt, isocenter=400, detector=407, pitch=2.0)
        layout = plan(SHAPE, rays, sub=(1, 1), slab=4)
        assert layout is not None
        sizes = np.diff(layout.starts)
        assert sizes.max() == 4
        assert sizes.min() == 1
        # The beam runs towards -y; whole planes beyond every ray's end.
        beyond = int(np.floor((layout.sign * layout.limit).min())) - 1
        lying[:, :beyond] = 2000
        image = preview(rays, bare)
        np.testing.assert_array_equal(preview(rays, lying), image)
        assert relative_rmse(image, project(rays, "shear-warp", bare)) < 2e-3
