"""The collimated field: fitted to the lungs in every view, and what it needs of the scan."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import drr
from drr.errors import GeometryError
from drr.geometry.geometry import project_point
from drr.geometry.views import View, parse_view
from drr.patient.anatomy import Anatomy, find_anatomy
from drr.patient.collimation import FRAMING_PARAMETERS, extension_needed, fit_to_lungs
from drr.volume import Volume

SHAPE, BLOCK = (64, 56, 80), 5.0
ABOVE, BELOW, BESIDE = (FRAMING_PARAMETERS[f"{k}_mm"] for k in ("above", "below", "beside"))


def ellipsoid(center: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
    """Mask of a `(z, y, x)` ellipsoid in mm from the first block."""
    grid = np.indices(SHAPE) * BLOCK
    scaled = [(g - c) / r for g, c, r in zip(grid, center, radii, strict=True)]
    return np.asarray(sum(s**2 for s in scaled) < 1)


def chest(*, lungs: bool = True, scale: float = 1.0) -> tuple[Volume, Anatomy]:
    """A scan of 320 mm, cut across the body at both ends, with lungs 260 mm high in it."""
    affine = np.diag([BLOCK * scale] * 3 + [1.0])
    affine[:3, 3] = -195 * scale, -130 * scale, -600
    body = np.broadcast_to(ellipsoid((160, 137, 197), (1e9, 105, 165)), SHAPE)
    right = ellipsoid((150, 137, 135), (130, 85, 60))
    left = ellipsoid((150, 137, 260), (130, 85, 60))
    hu = np.where(body, 0, -1000).astype(np.int16)
    volume = Volume(hu=hu, affine=affine)
    mask = right | left
    return volume, Anatomy(body.copy(), affine, (1, 1, 1), mask if lungs else None)


VOLUME, CHEST = chest()
OUTLINE = np.argwhere(CHEST.lungs)[:, ::-1] @ CHEST.affine[:3, :3].T + CHEST.affine[:3, 3]


def shadow(view: View) -> tuple[float, float, float, float]:
    """Clear mm between the lungs' shadow (blocks' centres) and the top, bottom, left and right."""
    geometry = view.place(CHEST)
    ends = OUTLINE[:: max(1, len(OUTLINE) // 1000)]
    pixels = np.array([project_point(geometry, p) for p in (*ends, *extremes(geometry))])
    (top, left), (bottom, right) = pixels.min(axis=0), pixels.max(axis=0)
    return (
        (top + 0.5) * geometry.row_pitch,
        (geometry.rows - 0.5 - bottom) * geometry.row_pitch,
        (left + 0.5) * geometry.column_pitch,
        (geometry.columns - 0.5 - right) * geometry.column_pitch,
    )


def extremes(geometry: drr.Geometry) -> list[np.ndarray]:
    axes = [np.array(geometry.u), np.array(geometry.v), geometry.central_ray, *np.eye(3)]
    mixed = [
        a * p + b * q for a in axes[:2] for b in axes[2:] for p in (-1, 1) for q in (-0.2, 0.2)
    ]
    return [OUTLINE[np.argmax(OUTLINE @ d)] for d in mixed]


@pytest.mark.parametrize("name", ["pa", "ap", "ap-portable", "ll", "rl", "lao45", "rpo30", "15,20"])
def test_the_field_fits_the_lungs_with_the_margins(name: str) -> None:
    view = fit_to_lungs(parse_view(name), CHEST)
    top, bottom, left, right = shadow(view)
    slack = BLOCK  # the outline runs through the blocks' outer faces, half a block further
    assert top >= ABOVE - 0.1
    assert bottom >= BELOW - 0.1
    assert min(left, right) >= BESIDE - 0.1
    # The shadow is in the middle, and one pair of borders is no further away than it must be.
    assert top - ABOVE == pytest.approx(bottom - BELOW, abs=slack)
    assert left == pytest.approx(right, abs=slack)
    assert min(top - ABOVE, left - BESIDE) < slack


def test_pixels_are_square_and_all_else_of_the_view_stays() -> None:
    view = parse_view("lao30", shape=(600, 400), source_to_detector_distance=1500.0, air_gap=5.0)
    fitted = fit_to_lungs(view, CHEST)
    geometry = fitted.place(CHEST)
    assert geometry.row_pitch == pytest.approx(geometry.column_pitch, rel=1e-3)
    kept = replace(fitted, detector_size=view.detector_size, offset=view.offset)
    assert kept == view
    assert View.from_dict(fitted.to_dict()) == fitted
    assert eval(repr(fitted)) == fitted


def test_the_detector_limits_the_field() -> None:
    view = fit_to_lungs(parse_view("pa", detector_size=(300.0, 250.0), shape=(300, 300)), CHEST)
    assert view.detector_size == (250.0, 250.0)


def test_an_offset_moves_the_fitted_field() -> None:
    centred = fit_to_lungs(parse_view("pa"), CHEST)
    moved = fit_to_lungs(parse_view("pa", offset=(10.0, -20.0)), CHEST)
    assert moved.detector_size == centred.detector_size
    np.testing.assert_allclose(np.subtract(moved.offset, centred.offset), (10, -20), atol=0.011)


def test_margins_are_choosable_and_small_lungs_have_small_ones() -> None:
    tight = fit_to_lungs(parse_view("pa"), CHEST, above=0, below=0, beside=0)
    assert min(shadow(tight)) < BLOCK
    _, child = chest(scale=0.5)
    size = fit_to_lungs(parse_view("pa"), child).detector_size[0]
    adult = fit_to_lungs(parse_view("pa"), CHEST).detector_size[0]
    assert size == pytest.approx(adult / 2, rel=0.1)


@pytest.mark.parametrize("secondary", [0, 20, -35])
def test_a_turning_series_does_not_jump(secondary: float) -> None:
    views = [fit_to_lungs(parse_view(f"{p},{secondary}"), CHEST) for p in range(-180, 181, 3)]
    sizes = np.array([view.detector_size[0] for view in views])
    offsets = np.array([view.offset for view in views])
    assert np.abs(np.diff(sizes)).max() < 6
    assert np.abs(np.diff(offsets, axis=0)).max() < 6
    assert sizes[0] == sizes[-1]


@settings(max_examples=25, deadline=None)
@given(
    primary=st.floats(-180, 180),
    secondary=st.floats(-60, 60),
    rotation=st.floats(-180, 180),
    distance=st.sampled_from([900.0, 1800.0, math.inf]),
)
def test_any_view_contains_the_lungs(
    primary: float, secondary: float, rotation: float, distance: float
) -> None:
    view = View(
        primary_angle=primary,
        secondary_angle=secondary,
        detector_rotation=rotation,
        source_to_detector_distance=distance,
        detector_size=(2000.0, 2000.0),
    )
    assert min(shadow(fit_to_lungs(view, CHEST))) > min(ABOVE, BELOW, BESIDE) - 0.1


def test_against_an_isocentre_too() -> None:
    view = parse_view("pa", source_to_detector_distance=1000.0, source_to_isocenter_distance=700.0)
    assert min(shadow(fit_to_lungs(replace(view, detector_size=(900.0, 900.0)), CHEST))) > 30


def test_without_lungs_the_field_is_around_the_body() -> None:
    _, body = chest(lungs=False)
    view = fit_to_lungs(parse_view("pa"), body)
    # 330 mm wide and 320 high, magnified, with margins.
    assert 360 < view.detector_size[0] < 400
    assert extension_needed(view.place(body), VOLUME, body) == (0.0, 0.0)


@pytest.mark.parametrize("margin", [-1, math.inf, math.nan, "wide", None])
def test_margins_that_are_no_length_are_refused(margin: object) -> None:
    with pytest.raises(GeometryError, match="the margin below must be mm"):
        fit_to_lungs(parse_view("pa"), CHEST, below=margin)  # type: ignore[arg-type]


# How far the scan must go on


def marched(view: View, lower: float, upper: float) -> tuple[float, float]:
    """The same by walking along rays in small steps: mm beyond z = lower and z = upper."""
    geometry = view.place(CHEST)
    box = CHEST.body_box
    targets = geometry.pixel_centers()[[0, -1]].reshape(-1, 3)[::16]
    steps = np.linspace(0, 1, 4001)[:, None, None]
    points = np.array(geometry.source) + steps * (targets - np.array(geometry.source))
    inside = ((points > box[0]) & (points < box[1]))[..., :2].all(axis=-1)
    z = points[inside][:, 2]
    return max(0.0, z.max() - upper), max(0.0, lower - z.min())


@pytest.mark.parametrize("name", ["pa", "ap-portable", "ll", "lao45", "0,25", "40,-20"])
def test_the_extension_is_what_rays_reach_inside_the_body(name: str) -> None:
    view = fit_to_lungs(parse_view(name), CHEST)
    lower, upper = VOLUME.corners[:, 2].min(), VOLUME.corners[:, 2].max()
    needed = extension_needed(view.place(CHEST), VOLUME, CHEST)
    assert needed == pytest.approx(marched(view, lower, upper), abs=2.0)
    assert max(needed) > 0


def test_a_long_scan_needs_no_extension() -> None:
    small = parse_view("pa", detector_size=(120.0, 120.0))
    assert extension_needed(small.place(CHEST), VOLUME, CHEST) == (0.0, 0.0)


def test_parallel_rays_need_what_the_field_overhangs() -> None:
    view = parse_view("pa", source_to_detector_distance=math.inf, detector_size=(400.0, 300.0))
    superior, inferior = extension_needed(view.place(CHEST), VOLUME, CHEST)
    assert superior + inferior == pytest.approx(400 - 320, abs=1e-6)


def test_rays_beside_the_body_need_nothing() -> None:
    aside = parse_view("pa", detector_size=(600.0, 20.0), offset=(800.0, 0.0))
    geometry = replace(aside, offset=(0.0, 0.0)).place(CHEST)
    center = np.array(geometry.detector_center) + np.array([800.0, 0, 0])
    source = np.array(geometry.source) + np.array([800.0, 0, 0])
    moved = replace(geometry, detector_center=tuple(center), source=tuple(source))
    assert extension_needed(moved, VOLUME, CHEST) == (0.0, 0.0)


@pytest.mark.parametrize(
    "scan", ["ct/lidc_idri_0001/cxr.nii.gz", "ct/lung_dx_a0001/a0001_5mm_kernelB_dicom.zip"]
)
def test_real_chests_get_the_field_of_a_chest_film(test_data, scan: str) -> None:  # type: ignore[no-untyped-def]
    volume = drr.read(test_data / scan)
    anatomy = find_anatomy(volume)
    fitted = [fit_to_lungs(parse_view(f"{p},0"), anatomy) for p in range(-90, 91, 5)]
    sizes = np.array([view.detector_size[0] for view in fitted])
    assert 340 < sizes.min() <= sizes.max() < 430
    assert np.abs(np.diff(sizes)).max() < 6
    assert np.abs(np.diff([view.offset for view in fitted], axis=0)).max() < 6
    superior, inferior = extension_needed(fitted[18].place(anatomy), volume, anatomy)
    assert superior < 40
    assert inferior < 60
