"""The drawing of a geometry: well-formed, right numbers, right places."""

from __future__ import annotations

import itertools
import math
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drr.geometry.figure import draw_geometry
from drr.geometry.geometry import Geometry
from drr.geometry.views import VIEW_NAMES, View, parse_view
from drr.volume import Volume

SVG = "{http://www.w3.org/2000/svg}"
VOLUME = Volume(
    hu=np.zeros((4, 3, 2), np.int16),
    affine=np.array([[200, 0, 0, -110], [0, 90, 0, -100], [0, 0, 110, -265], [0, 0, 0, 1.0]]),
)


class Box:
    """A body of 400 x 270 x 440 mm, where VOLUME is."""

    thorax_center = (-10.0, -10.0, -100.0)
    half = np.array([200.0, 135.0, 220.0])

    def support(self, direction: np.ndarray) -> float:
        return float(np.dot(self.thorax_center, direction) + self.half @ np.abs(direction))

    def contains(self, point: np.ndarray) -> bool:
        return bool((np.abs(np.subtract(point, self.thorax_center)) < self.half).all())


def place(view: str | View, **overrides: object) -> Geometry:
    return parse_view(view, **overrides).place(Box())


def texts(drawing: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(drawing).iter(f"{SVG}text")]


def panels(drawing: str) -> dict[str, ET.Element]:
    """The three panels, by the name at their corner."""
    groups = ET.fromstring(drawing).iter(f"{SVG}g")
    return {group.find(f"{SVG}text").text: group for group in groups}  # type: ignore[union-attr]


def circle(panel: ET.Element, style: str) -> tuple[float, float]:
    found = [e for e in panel.iter(f"{SVG}circle") if e.get("class") == style]
    assert len(found) == 1
    return float(found[0].get("cx", "")), float(found[0].get("cy", ""))


def polygon(panel: ET.Element, style: str) -> np.ndarray:
    found = [e for e in panel.iter(f"{SVG}polygon") if e.get("class") == style]
    assert found
    return np.array([[float(x) for x in p.split(",")] for p in found[0].get("points", "").split()])


@pytest.mark.parametrize("name", [*VIEW_NAMES, "30,15", "0,90", "-100,-40"])
@pytest.mark.parametrize("distance", [1800.0, math.inf])
@pytest.mark.parametrize("volume", [None, VOLUME])
def test_every_view_draws(name: str, distance: float, volume: Volume | None) -> None:
    geometry = place(name, source_to_detector_distance=distance)
    drawing = draw_geometry(geometry, volume)
    root = ET.fromstring(drawing)
    assert root.tag == f"{SVG}svg"
    assert root.find(f"{SVG}title") is not None
    assert list(panels(drawing)) == ["front", "left side", "from the feet"]
    width, height = float(root.get("width", "")), float(root.get("height", ""))
    assert 300 < width < 1500
    assert 300 < height < 1500
    for element in root.iter():
        for key, bound in [("x", width), ("cx", width), ("x1", width), ("x2", width)]:
            assert 0 <= float(element.get(key, 0)) <= bound
        for key, bound in [("y", height), ("cy", height), ("y1", height), ("y2", height)]:
            assert 0 <= float(element.get(key, 0)) <= bound
        for point in element.get("points", "").split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= width
            assert 0 <= y <= height
    assert any(element.get("class") == "patient" for element in root.iter()) == bool(volume)
    # Nothing is loaded, and nothing can clash with another drawing on the same page.
    for forbidden in ("href", "url(", "<script", " id=", "@import"):
        assert forbidden not in drawing


def test_says_angles_and_distances() -> None:
    geometry = place("30,15", source_to_detector_distance=1234.5, detector_size=(350, 420.5))
    said = texts(draw_geometry(geometry, VOLUME))
    middle = VOLUME.center
    to_center = (middle - geometry.source) @ geometry.central_ray
    for expected in [
        "View at 30° / 15°",
        "primary angle 30°, secondary angle 15°",
        "source to detector 1234.5 mm",
        f"source to volume centre {round(to_center, 1):g} mm",
        f"volume centre to detector {round(1234.5 - to_center, 1):g} mm",
        "detector 350 mm high, 420.5 mm wide",
        "1024 rows, 1024 columns",
        "pixels 0.3418 mm high, 0.4106 mm wide",
        "seen from the detector",
        "1234.5 mm",
        "source",
        "detector",
    ]:
        assert expected in said
    assert "seen from the tube" in texts(draw_geometry(place("ap")))
    assert "primary angle -90°, secondary angle 0°" in texts(draw_geometry(place("rl")))


def test_parallel_beam_has_no_source() -> None:
    drawing = draw_geometry(place("pa", source_to_detector_distance=math.inf), VOLUME)
    said = texts(drawing)
    assert "parallel beam" in said
    assert "source" not in said
    assert "inf" not in " ".join(said)
    assert 'class="source"' not in drawing


@pytest.mark.parametrize(
    ("name", "letters"),
    [
        # Top, bottom, left and right of the picture as it hangs.
        ("pa", ["S", "I", "R", "L"]),
        ("ap", ["S", "I", "R", "L"]),
        ("ll", ["S", "I", "A", "P"]),
        ("rl", ["S", "I", "P", "A"]),
        ("180,0", ["S", "I", "L", "R"]),
        ("lao30", ["S", "I", "RA", "LP"]),
        ("lpo30", ["S", "I", "RP", "LA"]),
        ("0,90", ["P", "A", "R", "L"]),
    ],
)
def test_letters_at_the_hung_picture(name: str, letters: list[str]) -> None:
    assert texts(draw_geometry(place(name)))[-4:] == letters


def test_pa_is_drawn_where_it_is() -> None:
    found = panels(draw_geometry(place("pa"), VOLUME))
    # Side: the source is behind (right), the detector in front of the patient (left).
    side = found["left side"]
    patient, detector = polygon(side, "patient"), polygon(side, "detector")
    assert circle(side, "source")[0] > patient[:, 0].max() > patient[:, 0].min() > detector[0, 0]
    # From the feet: anterior is up, and the image's left at the patient's right, which is left.
    feet = found["from the feet"]
    patient, detector = polygon(feet, "patient"), polygon(feet, "detector")
    assert circle(feet, "source")[1] > patient[:, 1].max()
    assert detector[:, 1].max() < patient[:, 1].min()
    assert circle(feet, "left")[0] == pytest.approx(detector[:, 0].min())
    # Front: the detector's first corner is its top left.
    detector = polygon(found["front"], "detector")
    assert detector[0] == pytest.approx(detector.min(axis=0))


def test_ll_is_drawn_where_it_is() -> None:
    found = panels(draw_geometry(place("ll"), VOLUME))
    front = found["front"]
    patient, detector = polygon(front, "patient"), polygon(front, "detector")
    assert circle(front, "source")[0] < patient[:, 0].min()
    assert detector[0, 0] > patient[:, 0].max()
    # The image's left is anterior: left in the side panel.
    side = found["left side"]
    assert circle(side, "left")[0] == pytest.approx(polygon(side, "detector")[:, 0].min())


def test_panels_share_one_scale() -> None:
    found = panels(draw_geometry(place("pa"), VOLUME))
    sizes = {name: np.ptp(polygon(panel, "patient"), axis=0) for name, panel in found.items()}
    width, depth, height = np.ptp(VOLUME.corners, axis=0) / np.ptp(VOLUME.corners, axis=0)[0]
    unit = sizes["front"][0]
    assert sizes["front"] / unit == pytest.approx((width, height), abs=0.01)
    assert sizes["left side"] / unit == pytest.approx((depth, height), abs=0.01)
    assert sizes["from the feet"] / unit == pytest.approx((width, depth), abs=0.01)


def test_free_text_is_escaped() -> None:
    name = "<script>alert('&\"')</script>\x00\ud800"
    drawing = draw_geometry(replace(place("pa"), view_position=name), VOLUME)
    drawing.encode()
    assert "<script" not in drawing
    assert "<script>alert('&\"')</script>" in texts(drawing)


@given(
    st.tuples(*[st.floats(-1e4, 1e4)] * 3),
    st.tuples(*[st.floats(-1e4, 1e4)] * 3),
    st.integers(1, 4000),
    st.floats(1e-4, 10),
)
def test_any_geometry_draws(center: tuple, away: tuple, pixels: int, pitch: float) -> None:
    ray = np.array(away)
    if np.linalg.norm(ray) < 1e-3:
        return
    u = np.cross(ray, np.eye(3)[np.argmin(np.abs(ray))])
    u *= pitch / np.linalg.norm(u)
    v = np.cross(ray, u)
    v *= pitch / np.linalg.norm(v)
    geometry = Geometry(
        source=tuple(center - ray),
        detector_center=center,
        u=tuple(u),
        v=tuple(v),
        shape=(pixels, pixels),
    )
    drawing = draw_geometry(geometry)
    ET.fromstring(drawing)
    assert "nan" not in drawing


def test_shown_in_notebooks() -> None:
    geometry = place("pa")
    assert geometry.svg(VOLUME) == draw_geometry(geometry, VOLUME)
    assert geometry._repr_svg_() == draw_geometry(geometry)


def test_volume_corners_come_in_the_order_that_edges_need() -> None:
    corners = VOLUME.corners
    bits = np.array(list(itertools.product((0, 1), repeat=3)))
    for (i, a), (j, b) in itertools.combinations(enumerate(bits), 2):
        together = np.isclose(corners[i], corners[j])
        assert together.tolist() == (a == b).tolist()
