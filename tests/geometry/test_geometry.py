"""Geometry: what it accepts, what it says of itself, and where it projects points."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drr.errors import DRRError, GeometryError
from drr.geometry.geometry import Geometry, project_point

CONE = Geometry(
    source=(10.0, 1700.0, -50.0),
    detector_center=(10.0, -100.0, -50.0),
    u=(0.5, 0.0, 0.0),
    v=(0.0, 0.0, -0.4),
    shape=(1000, 800),
    view_position="PA",
)
PARALLEL = replace(CONE, source=None, direction=(0.0, -1.0, 0.0))

coordinate = st.floats(-5000, 5000)
vector = st.tuples(coordinate, coordinate, coordinate)


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    """Cone and parallel, turned, shifted and with skewed pixels."""
    angles = [draw(st.floats(-math.pi, math.pi)) for _ in range(2)]
    (sin_p, sin_s), (cos_p, cos_s) = np.sin(angles), np.cos(angles)
    ray = np.array([cos_s * sin_p, -cos_s * cos_p, sin_s])
    across, down = np.array([cos_p, sin_p, 0.0]), np.cross(ray, [cos_p, sin_p, 0.0])
    u = across * draw(st.floats(0.01, 5)) + down * draw(st.floats(-0.005, 0.005))
    v = down * draw(st.floats(0.01, 5)) * draw(st.sampled_from([1, -1]))
    center = np.array(draw(vector))
    shift = across * draw(st.floats(-300, 300)) + down * draw(st.floats(-300, 300))
    source = center + shift - ray * draw(st.floats(500, 3000))
    cone = draw(st.booleans())
    return Geometry(
        source=tuple(source) if cone else None,
        direction=None if cone else tuple(ray * draw(st.floats(0.1, 10))),
        detector_center=tuple(center),
        u=tuple(u),
        v=tuple(v),
        shape=(draw(st.integers(1, 3000)), draw(st.integers(1, 3000))),
        view_position=draw(st.text(max_size=5)),
    )


@given(geometries())
def test_repr_and_dict_round_trip(geometry: Geometry) -> None:
    assert eval(repr(geometry)) == geometry
    assert Geometry.from_dict(json.loads(json.dumps(geometry.to_dict()))) == geometry
    assert hash(eval(repr(geometry))) == hash(geometry)


@given(geometries(), st.floats(0.05, 1.0), st.data())
def test_projected_point_is_the_pixel_its_ray_ends_on(
    geometry: Geometry, fraction: float, data: st.DataObject
) -> None:
    row = data.draw(st.integers(0, geometry.rows - 1))
    column = data.draw(st.integers(0, geometry.columns - 1))
    middle = np.array([(geometry.rows - 1) / 2, (geometry.columns - 1) / 2])
    down, across = np.array([row, column]) - middle
    pixel = (
        np.array(geometry.detector_center)
        + across * np.array(geometry.u)
        + down * np.array(geometry.v)
    )
    if geometry.source is None:
        point = pixel - (1 - fraction) * 2000 * np.array(geometry.direction)
    else:
        point = np.array(geometry.source) * (1 - fraction) + pixel * fraction
    found = project_point(geometry, tuple(point))
    # Coordinates of some 1e4 mm carry errors of 1e-11 mm, seen through a lever and small pixels.
    assert found == pytest.approx((row, column), abs=1e-4)


def test_pixel_centers_agree_with_projected_points() -> None:
    small = replace(CONE, shape=(5, 4))
    centers = small.pixel_centers()
    assert centers.shape == (5, 4, 3)
    for row in range(5):
        for column in range(4):
            assert project_point(small, centers[row, column]) == pytest.approx((row, column))
    assert centers.mean(axis=(0, 1)) == pytest.approx(small.detector_center)


def test_magnification_is_the_ratio_of_distances() -> None:
    # Half way between source and detector, everything is twice as large.
    row, column = project_point(CONE, (60.0, 800.0, -30.0))
    assert column == pytest.approx(799 / 2 + 2 * 50 / 0.5)
    assert row == pytest.approx(999 / 2 - 2 * 20 / 0.4)
    row, column = project_point(PARALLEL, (60.0, 800.0, -30.0))
    assert (row, column) == pytest.approx((999 / 2 - 20 / 0.4, 799 / 2 + 50 / 0.5))


@pytest.mark.parametrize("y", [1700.0, 1701.0, 5000.0])
def test_points_that_no_ray_reaches_are_refused(y: float) -> None:
    with pytest.raises(GeometryError, match=r"not in front of the source"):
        project_point(CONE, (15.0, y, -50.0))
    assert project_point(PARALLEL, (15.0, y, -50.0)) == pytest.approx((499.5, 409.5))


def test_points_must_be_three_finite_numbers() -> None:
    for bad in [(1.0, 2.0), "123", (1.0, 2.0, math.nan), None]:
        with pytest.raises(GeometryError, match="point must be"):
            project_point(CONE, bad)


def test_sizes_and_pitches() -> None:
    assert (CONE.rows, CONE.columns) == (1000, 800)
    assert (CONE.row_pitch, CONE.column_pitch) == (0.4, 0.5)
    assert CONE.detector_size == (400.0, 400.0)
    assert CONE.source_to_detector_distance == 1800.0
    assert PARALLEL.source_to_detector_distance == math.inf


def test_corners_run_clockwise_from_the_top_left() -> None:
    x, y, z = CONE.detector_center
    expected = [(x - 200, y, z + 200), (x + 200, y, z + 200)]
    expected += [(x + 200, y, z - 200), (x - 200, y, z - 200)]
    assert CONE.detector_corners == pytest.approx(np.array(expected))
    places = [project_point(CONE, corner) for corner in CONE.detector_corners]
    assert places == [
        pytest.approx(place)
        for place in [(-0.5, -0.5), (-0.5, 799.5), (999.5, 799.5), (999.5, -0.5)]
    ]


def test_distance_is_measured_along_the_normal() -> None:
    decentred = replace(CONE, source=(510.0, 1700.0, -50.0))
    assert decentred.source_to_detector_distance == pytest.approx(1800.0)
    assert decentred.central_ray == pytest.approx(
        np.array([-500, -1800, 0]) / math.hypot(500, 1800)
    )


@pytest.mark.parametrize("geometry", [CONE, PARALLEL])
def test_which_side_it_is_seen_from(geometry: Geometry) -> None:
    assert geometry.viewed_from == "detector"
    flipped = replace(geometry, u=(-0.5, 0.0, 0.0))
    assert flipped.viewed_from == "tube"
    # "u x v points to the source when the picture is seen from the detector"
    assert geometry.normal @ -geometry.central_ray > 0
    assert flipped.normal @ -flipped.central_ray < 0


@given(st.floats(-180, 180, exclude_min=True), st.floats(-89.9, 89.9))
def test_positioner_angles_of_a_direction(primary: float, secondary: float) -> None:
    p, s = math.radians(primary), math.radians(secondary)
    ray = (math.cos(s) * math.sin(p), -math.cos(s) * math.cos(p), math.sin(s))
    v = (math.sin(s) * math.sin(p), -math.sin(s) * math.cos(p), -math.cos(s))
    geometry = replace(PARALLEL, direction=ray, u=(math.cos(p), math.sin(p), 0.0), v=v)
    found = geometry.positioner_angles
    assert math.cos(math.radians(found[0] - primary)) == pytest.approx(1.0)
    assert found[1] == pytest.approx(secondary, abs=1e-9)


@pytest.mark.parametrize(
    ("direction", "angles"),
    [
        ((0, -1, 0), (0.0, 0.0)),
        ((0, 1, 0), (180.0, 0.0)),
        ((-0.0, 1, -0.0), (180.0, 0.0)),
        ((1, 0, 0), (90.0, 0.0)),
        ((-1, 0, 0), (-90.0, 0.0)),
        ((0, 0, 1), (0.0, 90.0)),
        ((0, 0, -1), (0.0, -90.0)),
    ],
)
def test_positioner_angles_along_the_axes(
    direction: tuple[float, float, float], angles: tuple[float, float]
) -> None:
    u, v = ((1, 0, 0), (0, 1, 0)) if direction[2] else ((1, 1, 0), (0, 0, 1))
    geometry = replace(PARALLEL, direction=direction, u=u, v=v)
    assert geometry.positioner_angles == angles
    assert math.copysign(1.0, geometry.positioner_angles[1]) == (-1.0 if direction[2] < 0 else 1.0)


def test_numbers_of_other_types_become_plain_ones() -> None:
    geometry = Geometry(
        source=np.array([10, 1700, -50], np.float32),
        detector_center=[10, -100, -50],
        u=(np.float64(0.5), 0, 0),
        v=(0, 0, -0.4),
        shape=np.array([1000, 800]),
        view_position="PA",
    )
    assert geometry == CONE
    assert repr(geometry) == repr(CONE)
    assert type(geometry.rows) is int


def test_directions_become_unit_vectors() -> None:
    assert replace(PARALLEL, direction=(0.0, -7.0, 0.0)) == PARALLEL


def test_immutable() -> None:
    with pytest.raises(FrozenInstanceError):
        CONE.shape = (1, 1)  # type: ignore[misc]
    with pytest.raises(TypeError):
        Geometry((0, 0, 0))  # type: ignore[call-arg, misc]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"direction": (0, 1, 0)}, "either a source .* not both"),
        ({"source": None}, "either a source .* not neither"),
        ({"source": (1, 2)}, r"source must be three numbers in mm, got \(1, 2\)"),
        ({"source": "123"}, "source must be three numbers in mm, got '123'"),
        ({"source": ("1", "2", "3")}, "source must be three numbers"),
        ({"source": 5}, "source must be three numbers in mm, got 5"),
        ({"source": (10**400, 0, 0)}, "source must be three numbers"),
        ({"source": (0, 0, math.nan)}, "source must be finite"),
        ({"detector_center": (0, math.inf, 0)}, "detector_center must be finite"),
        ({"detector_center": (0, -1e300, 0)}, "detector_center must be in mm and within"),
        ({"detector_center": None}, "detector_center must be three numbers"),
        ({"u": None}, "u must be three numbers"),
        ({"u": (0, 0, 0)}, "span no area"),
        ({"u": (0, 0, 3)}, "span no area"),
        ({"u": (1e-200, 0, 0)}, "span no area"),
        ({"v": (0, 1, 0)}, "runs along the detector"),
        ({"source": (10, -100, 900)}, "runs along the detector"),
        ({"source": (10, -100, -50)}, "lies on the middle of the detector"),
        ({"source": None, "direction": (0, 0, 0)}, "points nowhere"),
        ({"source": None, "direction": (0, 0, 1)}, "runs along the detector"),
        ({"shape": (0, 5)}, r"two whole numbers above zero, got \(0, 5\)"),
        ({"shape": (5, -1)}, "two whole numbers above zero"),
        ({"shape": (5.5, 1)}, "two whole numbers above zero"),
        ({"shape": (5, math.inf)}, "two whole numbers above zero"),
        ({"shape": (5, math.nan)}, "two whole numbers above zero"),
        ({"shape": 5}, "two whole numbers above zero"),
        ({"shape": "55"}, "two whole numbers above zero"),
        ({"shape": (1, 2, 3)}, "two whole numbers above zero"),
        ({"view_position": None}, "view_position must be text"),
    ],
)
def test_impossible_geometries_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(GeometryError, match=message) as error:
        replace(CONE, **changes)
    assert "\n" not in str(error.value)
    assert isinstance(error.value, DRRError)


def test_from_dict_names_the_key() -> None:
    values = CONE.to_dict()
    with pytest.raises(GeometryError, match="unknown geometry key 'sdd'; keys are source"):
        Geometry.from_dict({**values, "sdd": 1800})
    del values["u"]
    with pytest.raises(GeometryError, match="the geometry lacks 'u'"):
        Geometry.from_dict(values)
