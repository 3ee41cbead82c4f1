"""Images of solids whose line integrals are known exactly, through the public API.

Rays in voxel faces, uniform boxes, the twins of the kernels and mass at every angle are in
test_kernels_cpu.py.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from kernel_cases import affine_of

import drr
from drr.datasets.phantom.shapes import Box, Ellipsoid, Gaussian, Shape, voxelize
from drr.geometry.geometry import Geometry
from drr.geometry.views import View
from drr.patient.prepare import Prepared, prepare
from drr.physics.attenuation import Attenuation

METHODS = ("siddon", "joseph", "shear-warp")
VIEWS = [(0, 0), (90, 0), (30, 0), (30, 15), (-120, -25), (45, 0), (10, 80)]
BEAMS = {"cone": False, "parallel": True}

TURN = ((0.48, 0.64, 0.6), (-0.8, 0.6, 0.0), (-0.36, -0.48, 0.8))
# The size of a large organ. The longest chord is up to 156 mm, none of the axes lies along a
# voxel's, and no voxel size used here puts the centre on a voxel's centre.
ORGAN = Ellipsoid((2.0, -3.0, 1.0), (78.0, 66.0, 72.0), TURN)
BUMP = Gaussian((2.0, -3.0, 1.0), (14.0, 10.0, 12.0), TURN)

# HU that use most of int16, so that rounding to whole HU costs less than 1e-4.
DENSE, OF_DENSE = 29000, Attenuation(hu=(-1000.0, 0.0), mu=(0.0, 1 / 30), name="1/mm at 29000 HU")


def geometry(
    primary: float,
    secondary: float,
    *,
    parallel: bool,
    pixels: int = 72,
    pitch: float = 2.45,
) -> Geometry:
    """A square detector around the origin's shadow, 1000 mm behind a source or a parallel beam."""
    view = View(primary_angle=primary, secondary_angle=secondary)
    beam, across, down = (np.array(d) for d in view.directions)
    return Geometry(
        source=None if parallel else tuple(-850 * beam),
        direction=tuple(beam) if parallel else None,
        detector_center=tuple(150 * beam),
        u=tuple(pitch * across),
        v=tuple(pitch * down),
        shape=(pixels, pixels),
    )


def chords(shape: Shape, seen: Geometry) -> np.ndarray:
    """The exact image of a shape."""
    pixels = seen.pixel_centers()
    if seen.source is not None:
        return shape.chord(seen.source, pixels)
    ahead = 1000 * np.array(seen.direction)  # a parallel beam runs through the whole patient
    return shape.chord(pixels - ahead, pixels + ahead)


def image_of(prepared: Prepared, seen: Geometry, method: str, **options) -> np.ndarray:
    options = {"anti_aliasing": False, "attenuation": OF_DENSE, **options}
    shot = drr.project(prepared, seen, method=method, **options)
    return shot.line_integrals.astype(np.float64)


def rms_error(image: np.ndarray, truth: np.ndarray) -> float:
    """Over the rays whose chord is above a quarter of the longest, as a share of the longest."""
    longest = truth.max()
    counted = truth > longest / 4
    return float(np.sqrt(np.mean((image - truth)[counted] ** 2)) / longest)


def voxels_of(shape: Shape, size: float, *, extent: float, shear: float = 0.0) -> Prepared:
    """A scan of a shape: voxels of `size` mm in slices 1.25 times as thick."""
    spacing = (size, size, 1.25 * size)
    tall, wide = math.ceil(extent / spacing[2]), math.ceil(extent / size)
    deep = wide + math.ceil(abs(shear) * extent / size)
    affine = affine_of((tall, deep, wide), spacing, shear=shear)
    # 64 sub-samples give a voxel's share of a solid to 1 % without a bias.
    samples = 2 if isinstance(shape, Gaussian) else 4
    volume = voxelize(shape, (tall, deep, wide), affine, hu=DENSE, samples=samples)
    return prepare(volume, clean=False)


@pytest.fixture(scope="module")
def organ() -> dict[float, Prepared]:
    return {size: voxels_of(ORGAN, size, extent=160) for size in (2.8, 1.4, 0.7)}


@pytest.fixture(scope="module")
def bump() -> dict[float, Prepared]:
    return {size: voxels_of(BUMP, size, extent=144) for size in (2.0, 1.0)}


@pytest.mark.parametrize("beam", BEAMS)
@pytest.mark.parametrize("method", METHODS)
def test_an_organ_is_within_half_a_percent_at_the_resolution_of_a_chest_ct(organ, method, beam):
    for view in VIEWS:
        seen = geometry(*view, parallel=BEAMS[beam])
        truth = chords(ORGAN, seen)
        assert 130 < truth.max() < 156
        image = image_of(organ[0.7], seen, method)
        assert rms_error(image, truth) < 0.005, view
        assert abs((image - truth).sum()) < 0.001 * truth.sum(), view


@pytest.mark.parametrize("method", METHODS)
def test_half_a_voxel_out_of_place_would_not_pass(organ, method):
    """The control of the test above: its bound is tight enough to see it."""
    moved = Ellipsoid(tuple(c + 0.35 for c in ORGAN.center), ORGAN.semi_axes, ORGAN.rotation)
    for view in VIEWS:
        for parallel in BEAMS.values():
            seen = geometry(*view, parallel=parallel)
            assert rms_error(image_of(organ[0.7], seen, method), chords(moved, seen)) > 0.005


@pytest.mark.parametrize("beam", BEAMS)
@pytest.mark.parametrize(
    ("method", "order"), [("siddon", 0.9), ("joseph", 1.3), ("shear-warp", 1.1)]
)
def test_the_error_of_a_sharp_edge_falls_with_the_voxel_size(organ, method, order, beam):
    """About as h for the nearest voxel (Siddon) and as h^1.5 for interpolation.

    The second interpolation of an oblique shear-warp takes a little of that.
    """
    for view in VIEWS:
        seen = geometry(*view, parallel=BEAMS[beam])
        truth = chords(ORGAN, seen)
        errors = [rms_error(image_of(organ[size], seen, method), truth) for size in (2.8, 1.4, 0.7)]
        assert all(fine < coarse for coarse, fine in pairwise(errors)), (view, errors)
        assert math.log(errors[0] / errors[-1], 4) > order, (view, errors)


@pytest.mark.parametrize("beam", BEAMS)
@pytest.mark.parametrize("method", ["joseph", "shear-warp"])
def test_line_integrals_of_a_smooth_object_converge_to_the_exact_ones(bump, method, beam):
    """Interpolation smooths by h^2, so that two voxel sizes extrapolate to the truth."""
    for view in VIEWS:
        seen = geometry(*view, parallel=BEAMS[beam], pixels=64, pitch=1.9)
        truth = chords(BUMP, seen)
        coarse, fine = (image_of(bump[size], seen, method) for size in (2.0, 1.0))
        errors = [np.abs(image - truth).max() / truth.max() for image in (coarse, fine)]
        assert errors[1] < 0.004, view
        assert errors[0] / errors[1] > 3, view
        limit = (4 * fine - coarse) / 3
        assert np.abs(limit - truth).max() < 0.002 * truth.max(), view


@pytest.mark.parametrize("beam", BEAMS)
def test_siddon_of_a_smooth_object_is_that_of_the_nearest_voxels(bump, beam):
    for view in VIEWS:
        seen = geometry(*view, parallel=BEAMS[beam], pixels=64, pitch=1.9)
        truth = chords(BUMP, seen)
        errors = [rms_error(image_of(bump[size], seen, "siddon"), truth) for size in (2.0, 1.0)]
        assert errors[1] < 0.02, view
        assert errors[0] / errors[1] > 1.7, view


@pytest.mark.parametrize("beam", BEAMS)
@pytest.mark.parametrize("method", METHODS)
def test_a_coarse_pixel_is_the_mean_of_the_chords_that_meet_it(organ, method, beam):
    """Pixels of 10 mm: far larger than the voxels."""
    fine = 8
    for view in VIEWS:
        coarse_pixels = geometry(*view, parallel=BEAMS[beam], pixels=18, pitch=10.0)
        fine_pixels = geometry(*view, parallel=BEAMS[beam], pixels=18 * fine, pitch=10.0 / fine)
        truth = chords(ORGAN, fine_pixels).reshape(18, fine, 18, fine).mean(axis=(1, 3))
        # All pixels count here, the edge's most of all.
        smooth, single = (
            np.sqrt(np.mean((image - truth) ** 2)) / truth.max()
            for image in (
                image_of(organ[1.4], coarse_pixels, method, anti_aliasing=True),
                image_of(organ[1.4], coarse_pixels, method, anti_aliasing=False),
            )
        )
        assert smooth < 0.003, view
        assert single > 0.01, view


@pytest.fixture(scope="module")
def tilts() -> list[Prepared]:
    """The same object scanned straight and with tilted gantry, and the latter's tilt dropped."""
    straight = voxels_of(BUMP, 1.4, extent=144)
    tilted = voxels_of(BUMP, 1.4, extent=144, shear=0.3)  # 17 degrees
    assert tilted.volume.affine[1, 2] > 0.5
    untilted = affine_of(tilted.volume.shape, tuple(np.diag(tilted.volume.affine)[:3]))
    dropped = prepare(drr.Volume.from_stored(tilted.volume.hu, untilted), clean=False)
    return [straight, tilted, dropped]


@pytest.mark.parametrize("beam", BEAMS)
@pytest.mark.parametrize(
    ("method", "bound"), [("siddon", 0.018), ("joseph", 2.5e-3), ("shear-warp", 2.5e-3)]
)
def test_a_scan_with_tilted_gantry_shows_the_same_image(tilts, method, bound, beam):
    for view in VIEWS:
        seen = geometry(*view, parallel=BEAMS[beam], pixels=64, pitch=1.9)
        truth = chords(BUMP, seen)
        straight, tilted, dropped = (image_of(scan, seen, method) for scan in tilts)
        assert rms_error(tilted, truth) < bound, view
        assert np.sqrt(np.mean((straight - tilted) ** 2)) < bound / 2 * truth.max(), view
        if view != (0, 0):  # there the tilt moves slices along the beam, which hides it
            assert rms_error(dropped, truth) > 0.02, view


BODY, COUCH = Ellipsoid((0, 0, 0), (60, 45, 100)), Box((0, 60, 0), (70, 4, 90))


@pytest.fixture(scope="module")
def on_couch() -> tuple[Prepared, Prepared]:
    """A body, and the same body in front of a thin couch, both in water."""
    shape = (100, 90, 80)
    affine = affine_of(shape, (2.0, 2.0, 2.0))
    return tuple(
        prepare(voxelize(solids, shape, affine, hu=DENSE, samples=4), clean=False)
        for solids in ([BODY], [BODY, COUCH])
    )


def antero_posterior(y: float, *, tilt: float = 0.0) -> Geometry:
    """A detector at y mm behind the body, its top tilted away from the source by degrees."""
    angle = math.radians(tilt)
    return Geometry(
        source=(0.0, -900.0, 0.0),
        detector_center=(0.0, y, 0.0),
        u=(2.0, 0.0, 0.0),
        v=(0.0, -2 * math.sin(angle), -2 * math.cos(angle)),
        shape=(90, 62),
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_couch_behind_the_detector_leaves_no_trace(on_couch, method):
    bare, lying = on_couch
    for seen in (antero_posterior(49), antero_posterior(55), antero_posterior(52, tilt=1.0)):
        image = image_of(lying, seen, method)
        assert image.max() > 80
        np.testing.assert_array_equal(image, image_of(bare, seen, method))
    named = View(name="ap", primary_angle=180.0, air_gap=8.0, shape=(64, 64))
    twin = named.place(bare.anatomy)
    assert 50 < twin.detector_center[1] < 56
    np.testing.assert_array_equal(image_of(lying, twin, method), image_of(bare, twin, method))
    # Further back, or from the other side, the couch is in the beam.
    for seen in (antero_posterior(75), geometry(0, 0, parallel=True)):
        extra = image_of(lying, seen, method) - image_of(bare, seen, method)
        assert extra[30:42, 25:37].min() > 7.9


@pytest.mark.parametrize("tilt", [0.0, 3.0])
@pytest.mark.parametrize("method", METHODS)
def test_a_detector_within_the_couch_counts_what_is_before_it(on_couch, method, tilt):
    bare, lying = on_couch
    for y in (57.0, 58.9, 60.0, 62.3):
        seen = antero_posterior(y, tilt=tilt)
        truth = chords(COUCH, seen)
        assert tilt or 0 < truth.max() < 8
        extra = image_of(lying, seen, method) - image_of(bare, seen, method)
        error = np.abs(extra - truth)
        assert error.max() < 1.5
        assert np.sqrt(np.mean(error**2)) < 0.3
