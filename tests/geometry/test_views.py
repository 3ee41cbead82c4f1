"""Named views: which way round they are, where they put things, and what they refuse."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import ROOT

from drr.errors import GeometryError
from drr.geometry.geometry import Geometry, project_point
from drr.geometry.views import VIEW_NAMES, View, check_geometry, parse_view
from drr.patient.anatomy import find_anatomy
from drr.volume import Volume


class Ellipsoid:
    """A body whose every extent has a closed form: 360 mm wide, 220 deep, 440 high."""

    thorax_center = np.array([12.0, -160.0, -230.0])
    radii = np.array([180.0, 110.0, 220.0])

    def support(self, direction: Sequence[float]) -> float:
        direction = np.asarray(direction)
        return float(self.thorax_center @ direction + np.linalg.norm(self.radii * direction))

    def contains(self, point: Sequence[float]) -> bool:
        return bool(np.linalg.norm((np.asarray(point) - self.thorax_center) / self.radii) < 1)


BODY = Ellipsoid()
CENTER = BODY.thorax_center


def at(left: float, posterior: float, superior: float) -> np.ndarray:
    return CENTER + np.array([left, posterior, superior])


APEX = at(70.0, -50.0, -40.0)  # the heart's: left, anterior, inferior
STERNUM = at(0.0, -100.0, 0.0)
SPINE = at(0.0, 80.0, 0.0)
LEFT_RIBS, RIGHT_RIBS = at(150.0, 0.0, 0.0), at(-150.0, 0.0, 0.0)
NECK, LIVER = at(0.0, 0.0, 150.0), at(-60.0, 0.0, -120.0)

_SPHERE = np.random.default_rng(0).normal(size=(200, 3))
SURFACE = CENTER + BODY.radii * _SPHERE / np.linalg.norm(_SPHERE, axis=1)[:, None]

FRONTAL = ["pa", "ap", "ap-portable", "chest-pa", "chest-ap-portable"]


def place(view: str | View, **overrides: object) -> Geometry:
    return parse_view(view, **overrides).place(BODY)


def row_of(geometry: Geometry, point: Sequence[float]) -> float:
    return project_point(geometry, point)[0]


def column_of(geometry: Geometry, point: Sequence[float]) -> float:
    return project_point(geometry, point)[1]


# Which way round


@pytest.mark.parametrize("name", VIEW_NAMES)
def test_superior_is_at_the_top_and_the_thorax_in_the_middle(name: str) -> None:
    geometry = place(name)
    assert row_of(geometry, NECK) < 300 < 700 < row_of(geometry, LIVER)
    assert project_point(geometry, CENTER) == pytest.approx((511.5, 511.5))


@pytest.mark.parametrize("name", FRONTAL)
def test_frontal_views_show_the_patients_left_on_the_images_right(name: str) -> None:
    geometry = place(name)
    assert column_of(geometry, APEX) > 600
    assert row_of(geometry, APEX) > 560
    assert column_of(geometry, LEFT_RIBS) > 800
    assert column_of(geometry, RIGHT_RIBS) < 220
    assert column_of(geometry, LIVER) < 400
    assert column_of(geometry, STERNUM) == pytest.approx(511.5)


@pytest.mark.parametrize("name", ["ll", "chest-lateral"])
def test_left_lateral_shows_anterior_on_the_images_left(name: str) -> None:
    geometry = place(name)
    assert column_of(geometry, STERNUM) < 300
    assert column_of(geometry, SPINE) > 700
    assert column_of(geometry, LEFT_RIBS) == pytest.approx(511.5)


def test_right_lateral_shows_anterior_on_the_images_right() -> None:
    geometry = place("rl")
    assert column_of(geometry, STERNUM) > 700
    assert column_of(geometry, SPINE) < 350


@pytest.mark.parametrize("name", ["lao", "rao", "lpo", "rpo", "lao30", "rao60", "lpo10", "rpo:80"])
def test_obliques_show_the_patients_left_on_the_images_right(name: str) -> None:
    geometry = place(name)
    assert column_of(geometry, LEFT_RIBS) > 511.5 > column_of(geometry, RIGHT_RIBS)


@pytest.mark.parametrize(
    ("name", "sternum_goes"),
    # LAO and RPO throw the sternum and heart clear of the spine to one side, RAO and LPO to the
    # other: the parallax of an anterior point as the patient turns.
    [("lao", -1), ("rpo", -1), ("rao", 1), ("lpo", 1)],
)
def test_obliques_turn_the_right_way(name: str, sternum_goes: int) -> None:
    geometry = place(name)
    assert (column_of(geometry, STERNUM) - column_of(geometry, SPINE)) * sternum_goes > 200


@pytest.mark.parametrize(
    ("name", "side"),
    # Letters of the side against the detector.
    [
        ("pa", (0, -1, 0)),
        ("ap", (0, 1, 0)),
        ("ll", (1, 0, 0)),
        ("rl", (-1, 0, 0)),
        ("lao", (1, -1, 0)),
        ("rao", (-1, -1, 0)),
        ("lpo", (1, 1, 0)),
        ("rpo", (-1, 1, 0)),
    ],
)
def test_the_named_side_is_against_the_detector(name: str, side: tuple[int, int, int]) -> None:
    geometry = place(name)
    toward = np.array(side) / np.linalg.norm(side)
    assert geometry.central_ray == pytest.approx(toward)
    assert (np.array(geometry.detector_center) - CENTER) @ toward > 100
    assert (np.array(geometry.source) - CENTER) @ toward < -900


@pytest.mark.parametrize(
    ("name", "seen_from"),
    [
        ("pa", "detector"),
        ("ap", "tube"),
        ("ap-portable", "tube"),
        ("ll", "detector"),
        ("rl", "detector"),
        ("lao", "detector"),
        ("rao", "detector"),
        ("lpo", "tube"),
        ("rpo", "tube"),
        ("180,0", "detector"),
        ("135,0", "detector"),
    ],
)
def test_hanging_is_recorded_and_can_be_changed(name: str, seen_from: str) -> None:
    geometry = place(name)
    assert geometry.viewed_from == seen_from
    other = "tube" if seen_from == "detector" else "detector"
    mirrored = place(name, viewed_from=other)
    assert mirrored.viewed_from == other
    row, column = project_point(geometry, APEX)
    assert project_point(mirrored, APEX) == pytest.approx((row, 1023 - column))


@pytest.mark.parametrize("name", [*FRONTAL, "ll", "rl", "0,90", "90,-90", "180,0"])
def test_right_angles_are_aligned_with_the_axes_to_the_bit(name: str) -> None:
    geometry = place(name)
    for vector in (geometry.u, geometry.v, tuple(geometry.central_ray.round(12))):
        assert sum(component != 0 for component in vector) == 1
    assert "-0.0" not in repr(parse_view(name)) + repr(geometry)


# Where things are


@pytest.mark.parametrize("name", [*VIEW_NAMES, "30,15", "-100,-40", "0,90"])
def test_against_the_skin(name: str) -> None:
    view = parse_view(name)
    geometry = view.place(BODY)
    beam = geometry.central_ray
    skin = BODY.support(beam)
    assert np.array(geometry.detector_center) @ beam == pytest.approx(skin + view.air_gap)
    distance = view.source_to_detector_distance
    assert geometry.source_to_detector_distance == pytest.approx(distance)
    # The central ray meets the middle of the detector squarely, through the thorax centre.
    assert np.linalg.norm(np.cross(CENTER - geometry.source, beam)) == pytest.approx(0, abs=1e-9)
    assert geometry.normal / np.linalg.norm(geometry.normal) == pytest.approx(
        -beam if geometry.viewed_from == "detector" else beam
    )
    assert (geometry.row_pitch, geometry.column_pitch) == pytest.approx((430 / 1024, 430 / 1024))
    assert geometry.detector_size == pytest.approx((430.0, 430.0))


def test_distances_of_the_presets() -> None:
    assert place("chest-pa").source_to_detector_distance == 1800
    assert place("chest-lateral").source_to_detector_distance == 1800
    assert place("chest-ap-portable").source_to_detector_distance == 1100


def test_isocentric() -> None:
    view = parse_view("lao30", source_to_isocenter_distance=700, source_to_detector_distance=1100)
    geometry = view.place(BODY)
    assert np.linalg.norm(CENTER - geometry.source) == pytest.approx(700)
    assert np.linalg.norm(CENTER - geometry.detector_center) == pytest.approx(400)
    assert geometry.positioner_angles == pytest.approx((30, 0))
    # 10 mm at the isocentre are 10 * 1100 / 700 mm on the detector.
    shifted = project_point(geometry, at(0.0, 0.0, 10.0))
    assert (511.5 - shifted[0]) * geometry.row_pitch == pytest.approx(10 * 1100 / 700)


def test_parallel_beam() -> None:
    geometry = place("ll", source_to_detector_distance=math.inf)
    assert geometry.source is None
    assert geometry.direction == (1.0, 0.0, 0.0)
    assert geometry.source_to_detector_distance == math.inf
    assert geometry.viewed_from == "detector"
    assert column_of(geometry, SPINE) - column_of(geometry, CENTER) == pytest.approx(
        80 * 1024 / 430
    )


def test_detector_size_and_shape_are_height_by_width() -> None:
    geometry = place("pa", detector_size=(350, 430), shape=(700, 860))
    assert geometry.shape == (700, 860)
    assert geometry.detector_size == pytest.approx((350, 430))
    assert geometry.u == (0.5, 0.0, 0.0)
    assert geometry.v == (0.0, 0.0, -0.5)


def test_offset_moves_source_and_detector_together() -> None:
    plain, moved = place("30,15"), place("30,15", offset=(40.0, -25.0))
    step = np.subtract(moved.detector_center, plain.detector_center)
    assert np.subtract(moved.source, plain.source) == pytest.approx(step)
    assert step @ plain.u / plain.column_pitch == pytest.approx(40)
    assert step @ plain.v / plain.row_pitch == pytest.approx(-25)
    assert step @ plain.central_ray == pytest.approx(0, abs=1e-9)
    assert moved.positioner_angles == pytest.approx((30, 15))


def test_detector_rotation_turns_the_picture_anticlockwise() -> None:
    for name in ("pa", "ap"):
        geometry = place(name, detector_rotation=90)
        row, column = project_point(geometry, NECK)
        assert row == pytest.approx(511.5)
        assert column < 300  # what was at the top is now at the left
        assert geometry.viewed_from == parse_view(name).viewed_from
    whole, part = place("pa"), place("pa", detector_rotation=20)
    down, across = np.subtract(project_point(whole, NECK), 511.5)
    turned = np.subtract(project_point(part, NECK), 511.5)
    cos, sin = math.cos(math.radians(20)), math.sin(math.radians(20))
    assert turned == pytest.approx((cos * down - sin * across, cos * across + sin * down))


@given(st.floats(-360, 360), st.floats(-360, 360))
def test_directions_follow_the_convention(primary: float, secondary: float) -> None:
    view = View(primary_angle=primary, secondary_angle=secondary)
    beam, across, down = map(np.array, view.directions)
    p, s = math.radians(primary), math.radians(secondary)
    expected = [math.cos(s) * math.sin(p), -math.cos(s) * math.cos(p), math.sin(s)]
    assert beam == pytest.approx(expected, abs=1e-12)
    assert np.cross(across, down) == pytest.approx(-beam, abs=1e-12)
    # Columns run along -z projected onto the detector, for as long as that has a length.
    projected = beam * beam[2] - (0, 0, 1)
    assert projected == pytest.approx(math.cos(s) * down, abs=1e-12)
    tube = View(primary_angle=primary, secondary_angle=secondary, viewed_from="tube")
    assert np.array(tube.directions) == pytest.approx(np.array([beam, -across, down]), abs=1e-12)


@pytest.mark.parametrize("secondary", [0.0, 40.0, 90.0, -90.0, 120.0])
def test_turning_about_the_body_never_jumps(secondary: float) -> None:
    def corners(primary: float) -> np.ndarray:
        angles = {"primary_angle": primary, "secondary_angle": secondary}
        return View(**angles, source_to_detector_distance=4000).place(BODY).detector_corners

    path = np.array([corners(primary) for primary in np.arange(-360, 360.1, 3)])
    # A point 300 mm from the axis moves 16 mm in three degrees.
    assert np.linalg.norm(np.diff(path, axis=0), axis=2).max() < 30
    assert path[0] == pytest.approx(path[-1])


@pytest.mark.parametrize("primary", [0.0, 45.0, 180.0])
def test_tilting_over_the_head_never_jumps(primary: float) -> None:
    angles = np.arange(80.0, 100.1, 0.5)
    path = np.array(
        [View(primary_angle=primary, secondary_angle=angle).directions for angle in angles]
    )
    assert np.linalg.norm(np.diff(path, axis=0), axis=2).max() < 0.0088  # half a degree
    straight_up = View(primary_angle=primary, secondary_angle=90).place(BODY)
    nearly = View(primary_angle=primary, secondary_angle=90 - 1e-7).place(BODY)
    assert straight_up.detector_corners == pytest.approx(nearly.detector_corners, abs=1e-4)


@given(st.floats(-180, 180), st.floats(-89, 89))
def test_geometry_tells_the_angles_it_was_made_with(primary: float, secondary: float) -> None:
    found = place(View(primary_angle=primary, secondary_angle=secondary)).positioner_angles
    assert math.cos(math.radians(found[0] - primary)) == pytest.approx(1.0)
    assert found[1] == pytest.approx(secondary, abs=1e-9)


# Names and records


@pytest.mark.parametrize(
    ("text", "angles"),
    [
        ("PA", (0, 0)),
        (" Ap-Portable ", (180, 0)),
        ("lao", (45, 0)),
        ("LAO30", (30, 0)),
        ("rao:12.5", (-12.5, 0)),
        ("lpo30", (150, 0)),
        ("rpo-60", (-120, 0)),
        ("30,15", (30, 15)),
        (" -30 , -15.5 ", (-30, -15.5)),
    ],
)
def test_parse_view(text: str, angles: tuple[float, float]) -> None:
    view = parse_view(text)
    assert (view.primary_angle, view.secondary_angle) == angles
    assert view.name == ("" if "," in text else text.strip().lower())


def test_parse_view_takes_views_and_overrides() -> None:
    view = parse_view("ap-portable", detector_size=(350, 430), air_gap=30)
    assert view.source_to_detector_distance == 1100
    assert view.viewed_from == "tube"
    assert view.detector_size == (350.0, 430.0)
    assert parse_view(view) == view
    assert parse_view(view, air_gap=15, detector_size=(430, 430)) == parse_view("ap-portable")


def test_other_angles_take_the_name_away() -> None:
    lordotic = parse_view("ap", secondary_angle=20)
    assert (lordotic.name, lordotic.viewed_from) == ("", "tube")
    assert lordotic.label == "p180_s20"
    assert parse_view("ap", secondary_angle=20, name="lordotic").label == "lordotic"
    assert parse_view("ap", secondary_angle=0).label == "ap"


def test_oblique_of_45_degrees_is_the_plain_one() -> None:
    for name in ("lao", "rao", "lpo", "rpo"):
        assert replace(parse_view(f"{name}45"), name=name) == parse_view(name)


@pytest.mark.parametrize(
    ("term", "names"),
    [
        ("PA", ["pa", "chest-pa", "0,0", "360,0"]),
        ("AP", ["ap", "ap-portable", "chest-ap-portable", "180,0", "-180,0"]),
        ("LL", ["ll", "chest-lateral", "90,0"]),
        ("RL", ["rl", "270,0"]),
        ("", ["lao", "rao", "lpo", "rpo", "0,10"]),
    ],
)
def test_dicom_view_position(term: str, names: list[str]) -> None:
    for name in names:
        assert parse_view(name).view_position == term
        assert place(name).view_position == term


numbers = st.floats(-360, 360)
lengths = st.floats(1e-3, 5000)
free_names = st.text(max_size=8).filter(
    lambda name: name.lower() not in VIEW_NAMES and name.lower()[1:3] not in ("ao", "po")
)


@given(
    st.builds(
        View,
        name=free_names,
        primary_angle=numbers,
        secondary_angle=numbers,
        source_to_detector_distance=st.floats(2000, 1e6),
        detector_size=st.tuples(lengths, lengths),
        shape=st.tuples(st.integers(1, 10000), st.integers(1, 10000)),
        viewed_from=st.sampled_from(["detector", "tube"]),
        air_gap=st.floats(0, 1000),
        source_to_isocenter_distance=st.none() | st.floats(1, 1999),
        detector_rotation=numbers,
        offset=st.tuples(numbers, numbers),
    )
    | st.builds(
        View, source_to_detector_distance=st.just(math.inf), shape=st.just(np.array([3, 4]))
    )
    | st.sampled_from([*VIEW_NAMES, "lao30", "30,15"]).map(parse_view)
)
def test_repr_and_dict_round_trip(view: View) -> None:
    assert eval(repr(view)) == view
    assert View.from_dict(json.loads(json.dumps(view.to_dict(), allow_nan=False))) == view
    assert hash(eval(repr(view))) == hash(view)


def test_repr_is_short_and_records_are_complete() -> None:
    assert repr(View()) == "View()"
    assert repr(parse_view("ll")) == "View(name='ll', primary_angle=90.0)"
    assert set(View().to_dict()) == set(View.__dataclass_fields__)


def test_numbers_of_other_types_become_plain_ones() -> None:
    view = View(
        primary_angle=np.float32(30),
        detector_size=np.array([350, 430]),
        shape=[np.int64(7), 8.0],
        source_to_detector_distance=np.inf,
    )
    assert repr(view) == (
        "View(primary_angle=30.0, source_to_detector_distance=float('inf'), "
        "detector_size=(350.0, 430.0), shape=(7, 8))"
    )


def test_immutable() -> None:
    with pytest.raises(FrozenInstanceError):
        View().air_gap = 3.0  # type: ignore[misc]


def test_the_table_in_the_documentation() -> None:
    page = ROOT / "docs" / "conventions.md"
    words = {"R": "right", "A": "anterior", "P": "posterior"}
    told = set()
    for line in page.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        for name in re.findall("`([^`]+)`", cells[0]):
            if name not in VIEW_NAMES or len(cells) != 8:
                continue
            view = parse_view(name)
            left = -np.array(view.directions[1]).round(6)
            letters = [("R", left[0] < 0), ("A", left[1] < 0), ("P", left[1] > 0)]
            assert cells[1:3] == [f"{view.primary_angle:g}", f"{view.secondary_angle:g}"]
            assert cells[4] == f"{view.source_to_detector_distance:g}"
            assert cells[5] == view.viewed_from
            assert cells[6] == ", ".join(words[letter] for letter, on in letters if on)
            assert cells[7] == view.view_position
            told.add(name)
    assert told == set(VIEW_NAMES)


# What is refused


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lateral", "does not say which side: use 'll'"),
        ("LATERAL", "does not say which side"),
        ("ap-portabel", "no view 'ap-portabel', did you mean 'ap-portable'"),
        ("chest_pa", "did you mean 'chest-pa'"),
        ("xyz123", "no view 'xyz123'; views are pa, ap, "),
        ("", "no view ''"),
        ("lao0", "more than 0 and less than 90"),
        ("rpo90", "more than 0 and less than 90"),
        ("lao1e2", "no view"),
        ("1,b", "angles are two numbers"),
        ("1,2,3", "angles are two numbers"),
        (",", "angles are two numbers"),
        ("nan,0", "primary_angle must be finite"),
        ("0,inf", "secondary_angle must be finite"),
        ("361,0", "primary_angle must be within -360 and 360 degrees, got 361"),
        (None, "a view is a name .* got None"),
        (30, "got 30"),
        ((30, 15), r"got \(30, 15\)"),
    ],
)
def test_unknown_views_are_refused(text: str, message: str) -> None:
    with pytest.raises(GeometryError, match=message) as error:
        parse_view(text)
    assert "\n" not in str(error.value)


def test_unknown_options_are_refused_by_name() -> None:
    with pytest.raises(GeometryError, match="no option 'airgap', did you mean 'air_gap'"):
        parse_view("pa", airgap=3)
    with pytest.raises(GeometryError, match="no option 'sid'; options are name, primary_angle"):
        View.from_dict({"sid": 1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"primary_angle": "30"}, r"primary_angle must be a number \(degrees\), got '30'"),
        ({"primary_angle": None}, "must be a number"),
        ({"secondary_angle": True}, "must be a number"),
        ({"secondary_angle": 1j}, "must be a number"),
        ({"secondary_angle": math.nan}, "must be finite"),
        ({"detector_rotation": 10**400}, "detector_rotation must be finite"),
        ({"detector_rotation": -400}, "within -360 and 360"),
        ({"source_to_detector_distance": 0}, "must be above zero, got 0 mm"),
        ({"source_to_detector_distance": -1800}, "must be above zero"),
        ({"source_to_detector_distance": -math.inf}, "must be finite"),
        ({"source_to_detector_distance": math.nan}, "must be finite"),
        ({"source_to_detector_distance": "far"}, "must be a number"),
        ({"source_to_isocenter_distance": 1800}, "detector is not beyond the isocentre"),
        ({"source_to_isocenter_distance": 0}, "must be above zero"),
        ({"source_to_isocenter_distance": math.inf}, "must be finite"),
        (
            {"source_to_isocenter_distance": 900, "source_to_detector_distance": math.inf},
            "a parallel beam .* has no source",
        ),
        ({"detector_size": (0, 430)}, "detector_size must be above zero"),
        ({"detector_size": (430, -430)}, "detector_size must be above zero"),
        ({"detector_size": (430, math.inf)}, "detector_size must be finite"),
        ({"detector_size": 430}, r"detector_size must be two numbers \(height and width\)"),
        ({"detector_size": "43"}, "detector_size must be two numbers"),
        ({"detector_size": (1, 2, 3)}, "detector_size must be two numbers"),
        ({"shape": (0, 10)}, "shape must be whole numbers above zero, got 0"),
        ({"shape": (10, 2.5)}, "shape must be whole numbers above zero, got 2.5"),
        ({"shape": ("a", 2)}, "shape must be a number"),
        ({"shape": 1024}, "shape must be two numbers"),
        ({"viewed_from": "front"}, "'detector' or 'tube', got 'front'"),
        ({"viewed_from": None}, "'detector' or 'tube'"),
        ({"air_gap": -1}, "air_gap must not be negative, got -1 mm"),
        ({"offset": (1, None)}, "offset must be a number"),
        ({"offset": 3}, "offset must be two numbers"),
        ({"name": 3}, "name must be text"),
        ({"name": "ll"}, r"the name 'll' means angles 90, 0, .* parse_view\('ll'\)"),
        ({"name": "LAO30", "primary_angle": 45}, "means angles 30, 0"),
    ],
)
def test_impossible_views_are_refused(options: dict, message: str) -> None:
    with pytest.raises(GeometryError, match=message) as error:
        View(**options)
    assert "\n" not in str(error.value)


def test_source_inside_the_body() -> None:
    with pytest.raises(
        GeometryError, match=r"source .* lies inside the body; move it (\d+) mm"
    ) as e:
        place("pa", source_to_detector_distance=200)
    # The message's own advice works.
    advised = float(str(e.value).rsplit("above ", 1)[1].removesuffix(" mm"))
    assert 230 < advised < 240
    place("pa", source_to_detector_distance=advised + 1)
    with pytest.raises(GeometryError, match="lies inside the body"):
        place("pa", source_to_isocenter_distance=50)


def test_detector_inside_the_body() -> None:
    view = parse_view("pa", source_to_isocenter_distance=900, source_to_detector_distance=960)
    with pytest.raises(
        GeometryError, match=r"plane cuts the body: the last 50 mm .* 50 mm further"
    ):
        view.place(BODY)
    replace(view, source_to_detector_distance=1010.0).place(BODY)


def test_source_closer_than_the_skin() -> None:
    with pytest.raises(GeometryError, match="body lies behind the source"):
        place("pa", source_to_detector_distance=10)


@pytest.mark.parametrize("distance", [1800.0, math.inf])
@pytest.mark.parametrize("offset", [(900, 0), (-900, 0), (0, 900), (0, -900), (500, 500)])
def test_rays_that_pass_the_body(distance: float, offset: tuple[float, float]) -> None:
    with pytest.raises(GeometryError, match=r"no ray meets the body: .* at (900|707) mm; aim"):
        place("pa", source_to_detector_distance=distance, offset=offset)


def test_rays_that_graze_the_body_are_accepted() -> None:
    # Half a detector, 215 mm, and half a body, 180 mm: in a parallel beam they part at 395 mm.
    place("pa", source_to_detector_distance=math.inf, offset=(394.9, 0))
    with pytest.raises(GeometryError, match="no ray meets"):
        place("pa", source_to_detector_distance=math.inf, offset=(395.1, 0))


@given(
    st.builds(
        View,
        primary_angle=st.floats(-180, 180),
        secondary_angle=st.floats(-90, 90),
        detector_rotation=st.floats(-45, 45),
        source_to_detector_distance=st.floats(800, 5000) | st.just(math.inf),
    ),
    st.tuples(st.floats(-400, 400), st.floats(-400, 400)),
)
def test_a_hit_is_never_taken_for_a_miss(view: View, shift: tuple[float, float]) -> None:
    geometry = view.place(BODY)
    aside = shift[0] * np.array(view.directions[1]) + shift[1] * np.array(view.directions[2])
    center, source = np.array(geometry.detector_center) + aside, geometry.source
    if source is not None:
        source = tuple(np.array(source) + aside)
    moved = replace(geometry, detector_center=tuple(center), source=source)
    places = np.array([project_point(moved, point) for point in SURFACE])
    if (np.abs(places - 511.5) < 512).all(axis=1).any():
        check_geometry(moved, BODY)


# Explicit vectors get the same checks


def test_good_geometries_pass() -> None:
    for name in VIEW_NAMES:
        check_geometry(place(name), BODY)


def test_explicit_source_inside_the_body() -> None:
    with pytest.raises(GeometryError, match="lies inside the body"):
        check_geometry(replace(place("pa"), source=tuple(at(0, 20, 0))), BODY)


def test_explicit_source_that_looks_away() -> None:
    geometry = place("pa")
    shift = np.array([0, -2500, 0])
    moved = replace(
        geometry,
        source=tuple(geometry.source + shift),
        detector_center=tuple(geometry.detector_center + shift),
    )
    with pytest.raises(GeometryError, match="body lies behind the source"):
        check_geometry(moved, BODY)


def test_explicit_detector_on_the_wrong_side() -> None:
    geometry = place("pa")
    center = tuple(at(0, 300, 0))
    with pytest.raises(GeometryError, match="wrong side, between the source"):
        check_geometry(replace(geometry, detector_center=center), BODY)
    # Parallel rays go through the whole volume: the plane may be anywhere.
    parallel = replace(geometry, source=None, direction=(0, -1, 0), detector_center=center)
    check_geometry(parallel, BODY)


def test_explicit_detector_that_cuts_the_body() -> None:
    cut = replace(place("pa"), detector_center=tuple(at(0, -60, 0)))
    with pytest.raises(GeometryError, match="the last 50 mm would be missing"):
        check_geometry(cut, BODY)
    check_geometry(cut, BODY, allow_detector_inside_body=True)
    check_geometry(replace(cut, source=None, direction=(0, -1, 0)), BODY)


def test_explicit_rays_that_pass_the_body() -> None:
    geometry = place("ll")
    aside = replace(
        geometry, detector_center=tuple(geometry.detector_center + np.array([0, 0, 2e3]))
    )
    with pytest.raises(GeometryError, match="no ray meets the body"):
        check_geometry(aside, BODY)


def test_around_a_body_found_in_a_volume() -> None:
    spacing = 8.0
    z, y, x = (np.arange(n) * spacing + start for n, start in ((60, -460), (40, -320), (50, -190)))
    inside = (
        ((x[None, None, :] - CENTER[0]) / BODY.radii[0]) ** 2
        + ((y[None, :, None] - CENTER[1]) / BODY.radii[1]) ** 2
        + ((z[:, None, None] - CENTER[2]) / BODY.radii[2]) ** 2
    ) < 1
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = x[0], y[0], z[0]
    anatomy = find_anatomy(Volume(hu=np.where(inside, 40, -1000).astype(np.int16), affine=affine))
    for name in [*VIEW_NAMES, "30,15"]:
        found, expected = parse_view(name).place(anatomy), place(name)
        # Blocks of the mask are two voxels at most, and stand out from what they approximate.
        assert found.detector_center == pytest.approx(expected.detector_center, abs=3 * spacing)
        assert found.u == expected.u
        assert found.viewed_from == expected.viewed_from
    with pytest.raises(GeometryError, match="inside the body"):
        parse_view("pa", source_to_detector_distance=200).place(anatomy)
