"""Drawing of a geometry as SVG text: the set-up from the front, the left side and above.

Third-angle projection at one scale, so that the panels share their axes, with the patient shown
as radiologists see them: facing the viewer in the front panel, facing left in the side panel, and
from the feet in the third, as in an axial CT slice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape
from itertools import product
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from drr.geometry.geometry import Geometry

__all__ = ["draw_geometry"]

Points = NDArray[np.float64]


class HasCorners(Protocol):
    """What the drawing needs of a `drr.Volume`."""

    @property
    def corners(self) -> Points:
        """`(8, 3)` LPS mm of the corners of the box."""


# A card with its own background reads on light and on dark pages, whatever they inherit.
_STYLE = """
.drr-geometry { font: 12px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
.drr-geometry .card { fill: #fbfbfa; stroke: #d9d9d4; }
.drr-geometry .panel { fill: none; stroke: #dededa; }
.drr-geometry text { fill: #33363b; }
.drr-geometry .title { font-size: 15px; font-weight: 600; }
.drr-geometry .quiet { fill: #777b82; }
.drr-geometry .patient { fill: #8a8f98; fill-opacity: 0.22; stroke: #6d727b; }
.drr-geometry .edge { stroke: #6d727b; stroke-opacity: 0.55; fill: none; }
.drr-geometry .beam { fill: #e0a526; fill-opacity: 0.16; stroke: #c98f12; stroke-opacity: 0.65; }
.drr-geometry .spread { stroke: #c98f12; stroke-opacity: 0.45; stroke-width: 0.7; }
.drr-geometry .ray { stroke: #b97f06; stroke-width: 1.5; stroke-dasharray: 7 3; fill: none; }
.drr-geometry .source { fill: #c47f00; }
.drr-geometry .detector { fill: #2f6fb5; fill-opacity: 0.25; stroke: #2f6fb5; stroke-width: 2.5; }
.drr-geometry .picture { fill: #2f6fb5; fill-opacity: 0.1; stroke: #2f6fb5; }
.drr-geometry .up { stroke: #2f6fb5; fill: #2f6fb5; stroke-width: 1.5; }
.drr-geometry .left { fill: #c2362f; }
.drr-geometry .halo { stroke: #fbfbfa; stroke-width: 4; stroke-linejoin: round; }
@media (prefers-color-scheme: dark) {
.drr-geometry .card { fill: #1d1f23; stroke: #3a3d43; }
.drr-geometry .panel { stroke: #383b41; }
.drr-geometry text { fill: #e4e5e7; }
.drr-geometry .quiet { fill: #9a9ea6; }
.drr-geometry .patient, .drr-geometry .edge { stroke: #9ca1aa; }
.drr-geometry .detector, .drr-geometry .picture { fill: #6aa5e6; stroke: #6aa5e6; }
.drr-geometry .up { fill: #6aa5e6; stroke: #6aa5e6; }
.drr-geometry .left { fill: #f0746c; }
.drr-geometry .halo { stroke: #1d1f23; }
}
"""

_MARGIN = 16.0  # around the card's contents
_FRAME = 22.0  # around a panel, for its axis letters
_LARGEST = 620.0  # pixels that the two panels of a row or column share
_SMALLEST = 100.0  # pixels of a panel's side
_LEGEND = (290.0, 280.0)  # width and height of the text and the hung picture


def draw_geometry(geometry: Geometry, volume: HasCorners | None = None) -> str:
    """Draw source, rays, detector and patient box.

    Parameters
    ----------
    geometry
        The view to draw.
    volume
        Its `corners` are drawn as the patient's box; left out when None.

    Returns
    -------
    str
        A complete SVG document that depends on no other file, font or script.
    """
    scene = _Scene(geometry, None if volume is None else np.asarray(volume.corners, np.float64))
    low, high = scene.bounds()
    extent = high - low
    scale = _LARGEST / max(extent[0] + extent[1], extent[1] + extent[2])
    sides = np.maximum(extent * scale, _SMALLEST)
    widths, heights = (sides[0], sides[1]), (sides[2], sides[1])
    x = [_MARGIN + _FRAME, _MARGIN + widths[0] + 3 * _FRAME]
    y = [_MARGIN + 2 * _FRAME, _MARGIN + heights[0] + 5 * _FRAME]
    panels = [
        _Panel("front", (0, 1), (2, -1), "RLSI", (x[0], y[0]), (widths[0], heights[0])),
        _Panel("left side", (1, 1), (2, -1), "APSI", (x[1], y[0]), (widths[1], heights[0])),
        _Panel("from the feet", (0, 1), (1, 1), "RLAP", (x[0], y[1]), (widths[0], heights[1])),
    ]
    # The ray keeps its proportions where it is longest; only there is it labelled with its length.
    spans = [np.hypot(*(scene.center - scene.source)[axes]) for axes in ([0, 2], [1, 2], [0, 1])]
    named = [span > 0.999 * max(spans) for span in spans]
    parts = [
        part
        for panel, names in zip(panels, named, strict=True)
        for part in panel.draw(scene, (low + high) / 2, scale, names)
    ]

    width, height = x[1] + widths[1] + _FRAME + _MARGIN, y[1] + heights[1] + _FRAME + _MARGIN
    # The corner that three views leave free takes the legend where it is large enough.
    if widths[1] + _FRAME >= _LEGEND[0] and heights[1] + _FRAME >= _LEGEND[1]:
        corner = (x[1], y[1])
    elif widths[0] > widths[1]:
        corner = (x[1] + widths[1] + 2 * _FRAME, y[0])
        width = corner[0] + _LEGEND[0] + _MARGIN
    else:
        corner = (x[0], y[1] + heights[1] + 2 * _FRAME)
        height, width = corner[1] + _LEGEND[1] + _MARGIN, max(width, x[0] + _LEGEND[0] + _MARGIN)
    parts += _legend(scene, corner)
    title = _title(geometry)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="drr-geometry" role="img" '
            f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}">',
            f"<title>{_escape(title)}</title>",
            f"<desc>{_escape('; '.join(_facts(scene)))}</desc>",
            f"<style>{_STYLE}</style>",
            f'<rect class="card" x="0.5" y="0.5" width="{width - 1:.0f}" '
            f'height="{height - 1:.0f}" rx="8"/>',
            *parts,
            "</svg>",
        ]
    )


class _Scene:
    """What is drawn, in LPS mm."""

    def __init__(self, geometry: Geometry, box: Points | None) -> None:
        self.geometry = geometry
        self.box = box
        self.detector = geometry.detector_corners
        self.center = np.array(geometry.detector_center)
        self.up = -np.array(geometry.v) * geometry.rows / 2
        self.left = -np.array(geometry.u) * geometry.columns / 2
        if geometry.source is not None:
            self.source = np.array(geometry.source)
            self.starts = np.repeat(self.source[None], 4, axis=0)
        else:
            # A parallel beam comes from infinity: draw it from just before the patient.
            ray = geometry.central_ray
            around = self.detector if box is None else box
            length = 1.2 * float(np.ptp(np.vstack([around, self.detector]) @ ray))
            length = max(length, 1.2 * max(geometry.detector_size))
            self.source = self.center - length * ray
            self.starts = self.detector - length * ray

    def bounds(self) -> tuple[Points, Points]:
        points = [self.detector, self.starts, (self.center + 1.35 * self.up)[None]]
        if self.box is not None:
            points.append(self.box)
        everything = np.vstack(points)
        low, high = everything.min(axis=0), everything.max(axis=0)
        room = 0.04 * max(high - low) + 1e-6
        return low - room, high + room


class _Panel:
    """One orthographic panel: which LPS axis, with which sign, runs right and which down."""

    def __init__(
        self,
        name: str,
        right: tuple[int, int],
        down: tuple[int, int],
        letters: str,
        corner: tuple[float, float],
        size: tuple[float, float],
    ) -> None:
        self.name, self.right, self.down, self.letters = name, right, down, letters
        self.corner, self.size = corner, size

    def place(self, points: Points, middle: Points, scale: float) -> Points:
        """Pixels `(n, 2)` of LPS points."""
        away = (np.atleast_2d(points) - middle) * scale
        axes = [away[:, axis] * sign for axis, sign in (self.right, self.down)]
        return np.asarray(np.stack(axes, axis=1) + np.array(self.corner) + np.array(self.size) / 2)

    def draw(self, scene: _Scene, middle: Points, scale: float, names: bool) -> list[str]:
        """Everything in the panel, from back to front."""
        geometry = scene.geometry

        def at(points: Points) -> Points:
            return self.place(points, middle, scale)

        parts = ['<g class="view">', *self._frame()]
        if scene.box is not None:
            box = at(scene.box)
            parts.append(_polygon("patient", _hull(box)))
            # Corners are in the order of three binary digits; edges join those one digit apart.
            edges = [(i, i | bit) for i, bit in product(range(8), (1, 2, 4)) if not i & bit]
            parts += [_line("edge", box[i], box[j]) for i, j in edges]
        detector, starts = at(scene.detector), at(scene.starts)
        parts.append(_polygon("beam", _hull(np.vstack([detector, starts]))))
        source, center = at(scene.source)[0], at(scene.center)[0]
        parts += [_line("spread", start, end) for start, end in zip(starts, detector, strict=True)]
        parts.append(_line("ray", source, center))
        parts.append(_polygon("detector", detector))
        parts += self._marks(
            at(scene.center + scene.up)[0], at(scene.center + scene.left)[0], center
        )
        if geometry.source is not None:
            parts.append(_dot("source", source, 4))
        if names:
            parts += self._names(geometry, source, center)
        parts.append("</g>")
        return parts

    def _frame(self) -> list[str]:
        (x, y), (width, height) = self.corner, self.size
        first, last, top, bottom = tuple(self.letters)
        return [
            f'<rect class="panel" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
            f'height="{height:.1f}"/>',
            _text(self.name, x - _FRAME / 2, y - 22, "quiet", "start"),
            _text(first, x - 11, y + height / 2 + 4, "quiet"),
            _text(last, x + width + 11, y + height / 2 + 4, "quiet"),
            _text(top, x + width / 2, y - 7, "quiet"),
            _text(bottom, x + width / 2, y + height + 16, "quiet"),
        ]

    def _marks(self, top: Points, left: Points, center: Points) -> list[str]:
        """Arrow towards the image's top and a dot at its left, where they are not end-on."""
        parts = []
        if np.linalg.norm(top - center) > 8:
            tip = top + (top - center) / np.linalg.norm(top - center) * 11
            parts.append(_arrow("up", top, tip))
        if np.linalg.norm(left - center) > 8:
            parts.append(_dot("left", left, 4.5))
        return parts

    def _names(self, geometry: Geometry, source: Points, center: Points) -> list[str]:
        """Labels along the central ray."""
        along = (center - source) / np.linalg.norm(center - source)
        distance = geometry.source_to_detector_distance
        texts = [
            "" if geometry.source is None else "source",
            "parallel beam" if math.isinf(distance) else f"{_length(distance)} mm",
            "detector",
        ]
        points = [source, source + 0.42 * (center - source), center]
        if abs(along[1]) > abs(along[0]):  # beside a steep ray, the last clear of the detector
            shifts = [(9, 4), (8, 0), (8, -14 if along[1] > 0 else 20)]
            anchors = ["start", "start", "start"]
        else:  # above a level one
            shifts = [(0, -9), (0, -8), (-7 if along[0] > 0 else 7, -8)]
            anchors = ["start", "middle", "end"] if along[0] > 0 else ["end", "middle", "start"]
        return [
            _text(text, point[0] + right, point[1] + down, "haloed", anchor)
            for text, point, (right, down), anchor in zip(
                texts, points, shifts, anchors, strict=True
            )
        ]


def _title(geometry: Geometry) -> str:
    primary, secondary = (_angle(angle) for angle in geometry.positioner_angles)
    return geometry.view_position or f"View at {primary} / {secondary}"


def _facts(scene: _Scene) -> list[str]:
    """What the drawing says in words."""
    geometry = scene.geometry
    primary, secondary = geometry.positioner_angles
    distance = geometry.source_to_detector_distance
    height, width = geometry.detector_size
    facts = [
        f"primary angle {_angle(primary)}, secondary angle {_angle(secondary)}",
        "parallel beam" if math.isinf(distance) else f"source to detector {_length(distance)} mm",
    ]
    if scene.box is not None:
        middle = scene.box.mean(axis=0)
        ray = geometry.central_ray
        if geometry.source is not None:
            facts.append(f"source to volume centre {_length((middle - scene.source) @ ray)} mm")
        facts.append(f"volume centre to detector {_length((scene.center - middle) @ ray)} mm")
    return [
        *facts,
        f"detector {_length(height)} mm high, {_length(width)} mm wide",
        f"{geometry.rows} rows, {geometry.columns} columns",
        f"pixels {geometry.row_pitch:.4g} mm high, {geometry.column_pitch:.4g} mm wide",
        f"seen from the {geometry.viewed_from}",
    ]


def _legend(scene: _Scene, corner: tuple[float, float]) -> list[str]:
    x, y = corner
    geometry = scene.geometry
    parts = [_text(_title(geometry), x, y + 12, "title", "start")]
    parts += [
        _text(fact, x, y + 36 + 17 * row, "", "start") for row, fact in enumerate(_facts(scene))
    ]
    # The picture as it hangs, with the same two marks as the detector in the panels.
    height, width = (size * 84 / max(geometry.detector_size) for size in geometry.detector_size)
    left, top = x + 196 - width / 2, y + 218 - height / 2
    middle = np.array([left + width / 2, top + height / 2])
    edge = np.array([[left, top], [left + width, top + height]])
    u, v = np.array(geometry.u), np.array(geometry.v)
    return [
        *parts,
        _text("the image as it hangs", x, middle[1] - 18, "", "start"),
        _arrow("up", np.array([x + 5, middle[1] + 5]), np.array([x + 5, middle[1] - 8])),
        _text("its top", x + 16, middle[1] + 2, "quiet", "start"),
        _dot("left", np.array([x + 5, middle[1] + 15]), 4.5),
        _text("its left", x + 16, middle[1] + 19, "quiet", "start"),
        _polygon("picture", np.array([edge[0], [edge[1][0], top], edge[1], [left, edge[1][1]]])),
        _arrow("up", np.array([middle[0], top + 14]), np.array([middle[0], top])),
        _dot("left", np.array([left, middle[1]]), 4.5),
        _text(_toward(-v), middle[0], top - 6, ""),
        _text(_toward(v), middle[0], edge[1][1] + 15, ""),
        _text(_toward(-u), left - 8, middle[1] + 4, "", "end"),
        _text(_toward(u), edge[1][0] + 8, middle[1] + 4, "", "start"),
    ]


def _toward(direction: Points) -> str:
    """Letters of the patient's sides that a direction points to, foremost first."""
    cosines = direction / np.linalg.norm(direction)
    order = np.argsort(-np.abs(cosines), kind="stable")
    return "".join("LPS"[i] if cosines[i] > 0 else "RAI"[i] for i in order if abs(cosines[i]) > 0.2)


def _length(mm: float) -> str:
    return f"{round(float(mm), 1) + 0.0:.10g}"


def _angle(degrees: float) -> str:
    return f"{round(degrees, 1) + 0.0:g}°"


def _hull(points: Points) -> Points:
    """Convex hull of `(n, 2)` points (Andrew's monotone chain)."""
    ordered = sorted({(float(x), float(y)) for x, y in points})

    def chain(path: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
        kept: list[tuple[float, float]] = []
        for x, y in path:
            while len(kept) > 1:
                (x0, y0), (x1, y1) = kept[-2:]
                if (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) > 0:
                    break
                kept.pop()
            kept.append((x, y))
        return kept

    return np.array([*chain(ordered)[:-1], *chain(reversed(ordered))[:-1]] or ordered)


def _polygon(style: str, points: Points) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polygon class="{style}" points="{path}" stroke-linejoin="round"/>'


def _line(style: str, start: Points, end: Points) -> str:
    return (
        f'<line class="{style}" x1="{start[0]:.1f}" y1="{start[1]:.1f}" '
        f'x2="{end[0]:.1f}" y2="{end[1]:.1f}"/>'
    )


def _dot(style: str, point: Points, radius: float) -> str:
    return f'<circle class="{style}" cx="{point[0]:.1f}" cy="{point[1]:.1f}" r="{radius}"/>'


def _arrow(style: str, start: Points, tip: Points) -> str:
    """A line with a head; markers would need ids, which clash between drawings on one page."""
    along = (tip - start) / np.linalg.norm(tip - start)
    across = np.array([-along[1], along[0]])
    head = np.array([tip, tip - 6 * along + 4 * across, tip - 6 * along - 4 * across])
    return _line(style, start, tip) + _polygon(style, head)


def _text(text: str, x: float, y: float, style: str, anchor: str = "middle") -> str:
    """Text; over a halo in the card's colour where it is drawn across lines."""
    body = _escape(text)
    if not body:
        return ""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    if style != "haloed":
        return f'<text class="{style}" {place}>{body}</text>'
    return f'<text class="halo" aria-hidden="true" {place}>{body}</text><text {place}>{body}</text>'


def _escape(text: str) -> str:
    """Text that XML accepts: no mark-up, no control characters."""
    return escape("".join(letter for letter in text if letter.isprintable()))
