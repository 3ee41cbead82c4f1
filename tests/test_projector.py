from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest

import drr
from drr.errors import DisplayError, GeometryError, ProjectionError
from drr.geometry.geometry import Geometry, project_point
from drr.geometry.views import VIEW_NAMES, View, parse_view
from drr.patient.prepare import Prepared, prepare
from drr.physics.attenuation import water
from drr.physics.beam import Beam
from drr.projector import project
from drr.published.render import drr_rate
from drr.randomise.policy import Draw, policy
from drr.volume import Volume

AFFINE = np.diag([7.0, 7.0, 8.0, 1.0])
SHAPE = (36, 32, 40)


def torso(shape=SHAPE):
    """A body with lungs, a heart left of the middle and a spine: nothing is symmetric."""
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij", sparse=True)
    hu = np.full(shape, -1000.0)
    hu[(x / 0.9) ** 2 + (y / 0.8) ** 2 + 0 * z < 1] = 20
    for side, size in ((-0.42, 0.36), (0.45, 0.3)):
        hu[((x - side) / size) ** 2 + (y / 0.5) ** 2 + ((z - 0.1) / 0.7) ** 2 < 1] = -820
    hu[((x - 0.2) / 0.3) ** 2 + ((y + 0.3) / 0.3) ** 2 + ((z + 0.25) / 0.35) ** 2 < 1] = 50
    hu[((x + 0.02) / 0.14) ** 2 + ((y - 0.55) / 0.16) ** 2 + 0 * z < 1] = 500
    return hu.astype(np.int16)


@pytest.fixture(scope="module")
def volume():
    return Volume.from_stored(torso(), AFFINE)


def small(name, **overrides):
    return parse_view(name, shape=(48, 48), **overrides)


def test_all_axis_orders_and_signs_give_the_same_image_in_every_view(volume):
    views = [small(name) for name in VIEW_NAMES]
    truth = [p.line_integrals for p in project(volume, views)]
    assert min(image.max() for image in truth) > 3
    count = 0
    for axes in itertools.permutations(range(3)):
        for flips in itertools.product((False, True), repeat=3):
            stored = volume.hu.transpose(axes)
            stored = stored[tuple(slice(None, None, -1 if f else 1) for f in flips)]
            to_volume = np.zeros((4, 4))
            to_volume[3, 3] = 1
            for new, (old, flip) in enumerate(zip(axes, flips, strict=True)):
                to_volume[2 - old, 2 - new] = -1 if flip else 1
                to_volume[2 - old, 3] = volume.shape[old] - 1 if flip else 0
            twin = Volume.from_stored(stored, volume.affine @ to_volume)
            for image, expected in zip(project(twin, views), truth, strict=True):
                np.testing.assert_array_equal(image.line_integrals, expected)
            count += 1
    assert count == 48


def test_heart_is_at_the_images_right_in_frontal_views_and_in_front_in_laterals(volume):
    lighter = torso()
    heart = lighter == 50
    lighter[heart] = -820
    without = Volume.from_stored(lighter, AFFINE)
    for name, axis, side in (("pa", 1, 1), ("ap", 1, 1), ("ap-portable", 1, 1), ("ll", 1, -1)):
        view = small(name)
        heart_only = (
            project(volume, view).line_integrals - project(without, view).line_integrals
        ).clip(0)
        weights = heart_only.sum(axis=0)
        column = (weights * np.arange(48)).sum() / weights.sum() - 23.5
        assert side * column > 1, name
        rows = heart_only.sum(axis=axis)
        assert (rows * np.arange(48)).sum() / rows.sum() > 23.5, "heart is below the middle"


def test_an_impulse_lands_where_the_geometry_says(volume):
    hu = np.full(SHAPE, -1000, np.int16)
    hu[20, 12, 25] = 3000
    impulse = Volume.from_stored(hu, AFFINE)
    point = (AFFINE @ [25, 12, 20, 1])[:3]
    prepared = prepare(volume, clean=False)
    prepared = replace(prepared, volume=impulse)
    for name in VIEW_NAMES:
        for method in ("siddon", "joseph", "shear-warp"):
            shot = project(prepared, parse_view(name, shape=(240, 200)), method=method, look="raw")
            image = shot.line_integrals.astype(float).clip(0)
            row = (image.sum(axis=1) * np.arange(240)).sum() / image.sum()
            column = (image.sum(axis=0) * np.arange(200)).sum() / image.sum()
            assert (row, column) == pytest.approx(project_point(shot.geometry, point), abs=0.3)


def test_one_view_gives_one_projection_and_a_sequence_gives_a_list(volume):
    one = project(volume, small("pa"))
    several = project(volume, [small("pa"), small("ll")])
    assert [p.geometry.view_position for p in several] == ["PA", "LL"]
    np.testing.assert_array_equal(one.line_integrals, several[0].line_integrals)
    assert one.line_integrals.dtype == np.float32


def test_the_record_repeats_the_image_bit_for_bit(volume):
    first = project(volume, small("lao30"), method="joseph", attenuation=water(70))
    record = json.loads(json.dumps(first.record))
    again = project(
        volume,
        View.from_dict(record["view"]),
        look=record["look"],
        field="detector",  # the recorded view has the field that was fitted
        method=record["method"],
        backend=record["backend"],
        anti_aliasing=record["anti_aliasing"],
        attenuation=drr.Attenuation.from_dict(record["attenuation"]),
        clean=record["cleanup"] is not None,
    )
    np.testing.assert_array_equal(first.line_integrals, again.line_integrals)
    assert record["input"]["sha256"] == volume.sha256


def test_a_couch_is_removed_unless_asked_to_stay(volume):
    hu = torso()
    hu[:, 29:31, 4:36] = 200
    couch = Volume.from_stored(hu, AFFINE)
    view = small("pa")
    bare = project(volume, view).line_integrals
    cleaned = project(couch, view).line_integrals
    kept = project(couch, view, clean=False).line_integrals
    assert np.abs(cleaned - bare).mean() < 0.2 * np.abs(kept - bare).mean()
    np.testing.assert_array_equal(couch.hu, hu)


def test_a_prepared_volume_shares_its_work(volume):
    prepared = prepare(volume)
    assert isinstance(prepared, Prepared)
    image = project(prepared, small("pa")).line_integrals
    np.testing.assert_array_equal(image, project(volume, small("pa")).line_integrals)


def test_many_lateral_views_use_a_transposed_copy_and_agree(volume):
    views = [small(f"{angle},0") for angle in (80, 90, 100)]
    prepared = prepare(volume)
    together = project(prepared, views)
    assert "transposed" in vars(prepared)
    for view, shot in zip(views, together, strict=True):
        alone = project(volume, view).line_integrals
        np.testing.assert_allclose(shot.line_integrals, alone, rtol=1e-5, atol=1e-5)


def test_methods_agree(volume):
    images = [
        project(
            volume, small("pa"), look="raw", method=m, quality="finest", anti_aliasing=False
        ).line_integrals
        for m in ("siddon", "joseph", "shear-warp")
    ]
    assert np.abs(images[1] - images[2]).max() < 1e-4
    assert np.abs(images[0] - images[1]).mean() < 0.05 * images[0].mean()


def test_explicit_geometry_and_parallel_beams(volume):
    placed = small("pa").place(prepare(volume).anatomy)
    shot = project(volume, placed, look="raw")
    assert shot.record["view"] is None
    assert shot.geometry == placed
    parallel = project(volume, small("pa", source_to_detector_distance=math.inf), look="raw")
    assert parallel.geometry.source is None
    # Parallel rays do not magnify.
    assert (parallel.line_integrals > 1).sum() < (shot.line_integrals > 1).sum()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "trilinear"}, "siddon"),
        ({"quality": "draft"}, "finest, standard, preview"),
        ({"quality": "preview", "method": "siddon"}, "'siddon'"),
        ({"quality": "preview", "method": "joseph"}, "'joseph'"),
        ({"quality": "preview", "look": "drr-rate", "views": "ap"}, "'drr-rate'"),
        ({"quality": "finest", "look": "drr-rate", "views": "ap"}, "'drr-rate'"),
        ({"backend": "opencl"}, "back-ends are"),
        ({"backend": "cuda"}, "CUDA"),
        ({"threads": 0}, "threads"),
        ({"views": []}, "no views"),
    ],
)
def test_refuses_options_that_do_not_exist(volume, options, message):
    with pytest.raises(ProjectionError, match=message):
        project(volume, **options)


def test_a_preview_is_recorded_and_close_to_the_full_image(volume):
    full = project(volume, small("pa"), look="raw", backend="cpu")
    fast = project(volume, small("pa"), look="raw", backend="cpu", quality="preview")
    assert (full.record["quality"], fast.record["quality"]) == ("standard", "preview")
    difference = np.abs(full.line_integrals - fast.line_integrals)
    assert difference.max() > 0
    assert difference.mean() < 0.01 * full.line_integrals.mean()


def test_refuses_an_array_and_says_what_to_do():
    with pytest.raises(ProjectionError, match="from_stored"):
        project(torso(), "pa")


def test_refuses_geometry_that_sees_nothing(volume):
    placed = small("pa").place(prepare(volume).anatomy)
    x, y, z = placed.detector_center
    with pytest.raises(GeometryError):
        project(volume, replace(placed, detector_center=(x, y, z + 5000)))
    with pytest.raises(GeometryError):
        project(volume, replace(placed, source=prepare(volume).anatomy.thorax_center))
    assert isinstance(placed, Geometry)


def test_a_blank_image_is_an_error_not_a_picture():
    air = Volume.from_stored(np.full(SHAPE, -1000, np.int16), AFFINE, name="air.nii")
    with pytest.raises(ProjectionError, match=r"air\.nii is blank"):
        project(air, small("pa"))


def test_identifiers_travel_beside_the_record_not_in_it(volume):
    named = replace(volume, identifiers={"PatientName": "Doe^Jane"})
    shot = project(named, small("pa"))
    assert shot.identifiers == {"PatientName": "Doe^Jane"}
    assert "Doe" not in json.dumps(shot.record)


def test_the_film_look_is_framed_extended_and_shown(volume):
    film, raw = project(volume, "pa"), project(volume, "pa", look="raw")
    assert film.record["look"] == "film"
    assert film.record["extension"] is not None
    assert raw.record["extension"] is None
    assert max(film.geometry.detector_size) < max(raw.geometry.detector_size) == 430
    grey = film.picture()
    assert grey.shape == film.geometry.shape
    assert 0 <= grey.min() < 0.2
    assert 0.8 < grey.max() <= 1


def test_a_field_can_be_kept_and_a_geometry_is_never_changed(volume):
    kept = project(volume, small("pa"), field="detector")
    assert kept.geometry == small("pa").place(prepare(volume).anatomy)
    assert project(volume, kept.geometry, field="lungs").geometry == kept.geometry


def test_a_beam_projects_its_materials_and_hardens(volume):
    beam = project(volume, small("pa"), attenuation=Beam(kvp=120), look="raw").line_integrals
    hard = project(volume, small("pa"), attenuation=Beam(kvp=60), look="raw").line_integrals
    inside = beam > 1
    assert (hard[inside] > beam[inside]).all(), "lower energies are attenuated more"
    # Thicker parts harden the beam: attenuation grows less than in proportion.
    ratio = hard[inside] / beam[inside]
    assert np.corrcoef(ratio, beam[inside])[0, 1] < 0


def test_noise_follows_the_seed(volume):
    shots = [project(volume, small("pa"), look="physical", seed=seed) for seed in (1, 1, 2)]
    first, again, other = (shot.line_integrals for shot in shots)
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.5


def test_a_draw_changes_view_beam_and_picture_and_repeats(volume):
    draw = policy("chest").draw(seed=1, index=2)
    varied = project(volume, small("pa"), look="physical", draw=draw)
    plain = project(volume, small("pa"), look="physical")
    assert varied.geometry != plain.geometry
    again = project(
        volume,
        varied.geometry,
        look="physical",
        draw=Draw.from_dict(json.loads(json.dumps(draw.to_dict()))),
    )
    np.testing.assert_array_equal(again.picture(), varied.picture())


def test_drr_rate_is_the_published_recipe(volume):
    shot = project(volume, "AP", look="drr-rate")
    made = drr_rate(volume, "AP")
    np.testing.assert_array_equal(shot.line_integrals, made.path_sums)
    np.testing.assert_array_equal(np.rint(shot.picture() * 255), made.picture)
    with pytest.raises(ProjectionError, match="as it was read"):
        project(prepare(volume), "AP", look="drr-rate")


def test_refuses_looks_and_fields_that_do_not_exist(volume):
    with pytest.raises(DisplayError, match="did you mean 'physical'"):
        project(volume, look="phisical")
    with pytest.raises(ProjectionError, match="'lungs' or 'detector'"):
        project(volume, field="chest")
    with pytest.raises(ProjectionError, match="seed"):
        project(volume, seed=-1)
