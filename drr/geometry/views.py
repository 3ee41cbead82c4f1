"""Chest views by the names radiographers use, and where they put source and detector.

A `View` says how a radiograph is taken; `View.place` lays it against one patient's body and gives
the `Geometry` that kernels work with. The conventions are tabled in docs/conventions.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from drr.checks import Recorded, choice, did_you_mean, items, number, text
from drr.errors import GeometryError
from drr.geometry.geometry import Geometry, Vector, as_vector
from drr.geometry.placement import Body, check_geometry
from drr.sharing import kept_property

__all__ = ["VIEW_NAMES", "View", "check_geometry", "parse_view"]


# Primary angle, viewed from, and what else is not the default. The detector is put where DICOM's
# View Position (0018,5101) says the beam leaves: PA at the front, AP at the back, LL at the left.
_NAMED: dict[str, dict[str, Any]] = {
    "pa": {},
    "ap": {"primary_angle": 180.0, "viewed_from": "tube"},
    "ap-portable": {
        "primary_angle": 180.0,
        "viewed_from": "tube",
        "source_to_detector_distance": 1100.0,
    },
    "ll": {"primary_angle": 90.0},
    "rl": {"primary_angle": -90.0},
    "lao": {"primary_angle": 45.0},
    "rao": {"primary_angle": -45.0},
    "lpo": {"primary_angle": 135.0, "viewed_from": "tube"},
    "rpo": {"primary_angle": -135.0, "viewed_from": "tube"},
}
_NAMED |= {
    "chest-pa": _NAMED["pa"],
    "chest-ap-portable": _NAMED["ap-portable"],
    "chest-lateral": _NAMED["ll"],
}
# Obliques are named by how far the patient is turned from the frontal view of that side.
_OBLIQUE = re.compile(r"(lao|rao|lpo|rpo)[: -]?(\d+(?:\.\d*)?)")

VIEW_NAMES: tuple[str, ...] = tuple(_NAMED)
"""Every name that `parse_view` knows; obliques also take an angle, as in `lao30`."""


@dataclass(frozen=True, kw_only=True, repr=False)
class View(Recorded):
    """How a radiograph is taken: immutable, and `eval(repr(view)) == view`.

    Usually made by `parse_view("pa")`. Angles are degrees, lengths mm.

    Parameters
    ----------
    name
        Free text for file names and messages. A name that `parse_view` knows must have that
        view's angles.
    primary_angle, secondary_angle
        DICOM positioner angles of the beam (0018,1510 and 0018,1511): primary + towards LAO,
        secondary + towards cranial. 0/0 is PA, 180 AP, 90 LL, -90 RL. Within +-360.
    source_to_detector_distance
        DICOM (0018,1110); `math.inf` is a parallel beam.
    detector_size
        Height and width, outer edge to outer edge, of the detector or of the field collimated on
        it (`drr.patient.collimation.fit_to_lungs`).
    shape
        Rows and columns of pixels.
    viewed_from
        `detector` or `tube`: the side from which the image is seen. The named views AP and
        posterior obliques use `tube`, all else `detector`.
    air_gap
        From the skin to the detector's plane: cover and grid. Only against the skin.
    source_to_isocenter_distance
        None puts the detector against the skin. A number puts the middle of the thorax at the
        isocentre, that far from the source, wherever the skin is.
    detector_rotation
        Turns the detector about the central ray, clockwise in the image: what it shows turns
        anticlockwise.
    offset
        Moves source and detector together along the image's rows (towards its right) and columns
        (down), as when a patient is not centred.

    Raises
    ------
    GeometryError
        For anything that is not such a number, a distance or size that is not above zero, or a
        detector that is not beyond the isocentre.
    """

    error = GeometryError
    unknown_key = "a view has no option {key!r}{near}; options are {known}"

    name: str = ""
    primary_angle: float = 0.0
    secondary_angle: float = 0.0
    source_to_detector_distance: float = 1800.0
    detector_size: tuple[float, float] = (430.0, 430.0)
    shape: tuple[int, int] = (1024, 1024)
    viewed_from: Literal["detector", "tube"] = "detector"
    air_gap: float = 15.0
    source_to_isocenter_distance: float | None = None
    detector_rotation: float = 0.0
    offset: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        text("a view's name", self.name, error=GeometryError)
        for angle in ("primary_angle", "secondary_angle", "detector_rotation"):
            value = _number(angle, getattr(self, angle), "degrees")
            if abs(value) > 360:
                raise GeometryError(f"{angle} must be within -360 and 360 degrees, got {value:g}")
            self._set(**{angle: value})
        distance: Any = self.source_to_detector_distance
        if not (isinstance(distance, float | np.floating) and distance == math.inf):
            distance = _above_zero("source_to_detector_distance", distance)
        self._set(source_to_detector_distance=float(distance))
        if (air_gap := _number("air_gap", self.air_gap, "mm")) < 0:
            raise GeometryError(
                f"air_gap must not be negative, got {air_gap:g} mm: the detector would lie "
                "inside the body"
            )
        self._set(air_gap=air_gap)
        height, width = _pair("detector_size", self.detector_size, "height and width")
        rows, columns = _pair("shape", self.shape, "rows and columns")
        across, down = _pair("offset", self.offset, "mm along rows and columns")
        self._set(
            detector_size=tuple(_above_zero("detector_size", size) for size in (height, width)),
            shape=(_count(rows), _count(columns)),
            offset=(_number("offset", across, "mm"), _number("offset", down, "mm")),
        )
        choice("viewed_from", self.viewed_from, ("detector", "tube"), error=GeometryError)
        self._check_isocenter()
        self._check_name()

    def _check_isocenter(self) -> None:
        if self.source_to_isocenter_distance is None:
            return
        if self.source_to_detector_distance == math.inf:
            raise GeometryError(
                "a parallel beam (infinite source_to_detector_distance) has no source to measure "
                "source_to_isocenter_distance from; leave one of them out"
            )
        isocenter = _above_zero("source_to_isocenter_distance", self.source_to_isocenter_distance)
        if isocenter >= self.source_to_detector_distance:
            raise GeometryError(
                f"the detector is not beyond the isocentre: source_to_isocenter_distance "
                f"{isocenter:g} mm must be less than source_to_detector_distance "
                f"{self.source_to_detector_distance:g} mm"
            )
        self._set(source_to_isocenter_distance=isocenter)

    def _check_name(self) -> None:
        # View(name="ll") alone would be a PA called ll.
        known = _named_options(self.name.lower())
        if known is None:
            return
        primary = known.get("primary_angle", 0.0)
        if (self.primary_angle - primary) % 360 != 0 or self.secondary_angle % 360 != 0:
            raise GeometryError(
                f"the name {self.name!r} means angles {primary:g}, 0, but this view has "
                f"{self.primary_angle:g}, {self.secondary_angle:g}; use "
                f"parse_view({self.name!r}) or another name"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, text and lists, for JSON; an infinite distance is the text `inf`."""
        values = super().to_dict()
        if self.source_to_detector_distance == math.inf:
            values["source_to_detector_distance"] = "inf"
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> View:
        """Inverse of `to_dict`; unknown keys are refused by name, missing ones are defaults."""
        options = dict(values)
        if options.get("source_to_detector_distance") == "inf":
            options["source_to_detector_distance"] = math.inf
        return super().from_dict(options)

    @property
    def label(self) -> str:
        """The name, or the angles where there is none: `p30_s15`."""
        return self.name or f"p{self.primary_angle:g}_s{self.secondary_angle:g}"

    @property
    def view_position(self) -> str:
        """DICOM View Position (0018,5101): PA, AP, LL or RL; empty where no term is exact.

        DICOM has no term for anterior and posterior obliques; they are told by their positioner
        angles.
        """
        if self.secondary_angle % 360 != 0:
            return ""
        terms = {0.0: "PA", 90.0: "LL", 180.0: "AP", 270.0: "RL"}
        return terms.get(self.primary_angle % 360, "")

    @kept_property
    def directions(self) -> tuple[Vector, Vector, Vector]:
        """Unit vectors (LPS) from source to detector, along a row and down a column."""
        sin_p, cos_p = _sin_cos(self.primary_angle)
        sin_s, cos_s = _sin_cos(self.secondary_angle)
        beam = np.array([cos_s * sin_p, -cos_s * cos_p, sin_s])
        # -z projected onto the detector is this times cos s; leaving the factor out keeps
        # columns defined, and turning smoothly, where the beam runs along the body axis.
        down = np.array([sin_s * sin_p, -sin_s * cos_p, -cos_s])
        across = np.array([cos_p, sin_p, 0.0])  # beam x down: seen from the detector
        if self.viewed_from == "tube":
            across = -across
        sin_r, cos_r = _sin_cos(self.detector_rotation)
        across, down = cos_r * across + sin_r * down, cos_r * down - sin_r * across
        return as_vector(beam), as_vector(across), as_vector(down)

    def place(self, body: Body) -> Geometry:
        """Lay the view against a patient.

        The central ray runs through `body.thorax_center` (moved by `offset`). Against the skin,
        the detector's plane is `air_gap` beyond the body's furthest point along the beam.

        Raises
        ------
        GeometryError
            When the source or the detector would be inside the body, or no ray meets it.
        """
        beam, across, down = (np.array(vector) for vector in self.directions)
        aim = np.asarray(body.thorax_center, dtype=np.float64)
        aim = aim + self.offset[0] * across + self.offset[1] * down
        if self.source_to_isocenter_distance is None:
            depth = body.support(beam) + self.air_gap - float(aim @ beam)
        else:
            depth = self.source_to_detector_distance - self.source_to_isocenter_distance
        center = aim + depth * beam
        parallel = self.source_to_detector_distance == math.inf
        geometry = Geometry(
            source=None
            if parallel
            else as_vector(center - self.source_to_detector_distance * beam),
            direction=as_vector(beam) if parallel else None,
            detector_center=as_vector(center),
            u=as_vector(across * (self.detector_size[1] / self.shape[1])),
            v=as_vector(down * (self.detector_size[0] / self.shape[0])),
            shape=self.shape,
            view_position=self.view_position,
        )
        check_geometry(geometry, body)
        return geometry


def parse_view(view: str | View, **overrides: Any) -> View:
    """Read a view's name or angles.

    Parameters
    ----------
    view
        A name of `VIEW_NAMES` in any case; an oblique with its angle (`lao30`, `rpo:60`);
        primary and secondary angle (`30,15`); or a `View`.
    **overrides
        Fields of `View` to change. Other angles take the name away, unless one is given.

    Raises
    ------
    GeometryError
        For a name or an option that does not exist, with the nearest that does.
    """
    if isinstance(view, View):
        base = view
    elif isinstance(view, str):
        base = _parse_text(view)
    else:
        raise GeometryError(
            f"a view is a name ({', '.join(VIEW_NAMES)}), angles such as '30,15' or a View; "
            f"got {view!r}"
        )
    View.check_keys(overrides)
    angles = {"primary_angle", "secondary_angle"} & set(overrides)
    if any(overrides[angle] != getattr(base, angle) for angle in angles):
        overrides = {"name": "", **overrides}
    return replace(base, **overrides)


def _parse_text(text: str) -> View:
    name = text.strip().lower()
    if "," in name:
        try:
            primary, secondary = (float(part) for part in name.split(","))
        except ValueError:
            raise GeometryError(
                f"{text!r} is not a view: angles are two numbers in degrees, primary then "
                "secondary, such as '30,15'"
            ) from None
        return View(primary_angle=primary, secondary_angle=secondary)
    options = _named_options(name)
    if options is not None:
        return View(name=name, **options)
    if name in ("lateral", "lat"):
        raise GeometryError(
            f"{text!r} does not say which side: use 'll' (left side against the detector, the "
            "usual lateral) or 'rl'"
        )
    raise GeometryError(
        f"there is no view {text!r}{did_you_mean(name, VIEW_NAMES)}; views are "
        f"{', '.join(VIEW_NAMES)}, obliques with an angle ('lao30') or angles ('30,15')"
    )


def _named_options(name: str) -> dict[str, Any] | None:
    """Fields of the view of that name; None where there is none."""
    if name in _NAMED:
        return _NAMED[name]
    if (match := _OBLIQUE.fullmatch(name)) is None:
        return None
    kind, turned = match[1], float(match[2])
    if not 0 < turned < 90:
        raise GeometryError(
            f"{name!r}: an oblique is turned by more than 0 and less than 90 degrees; give other "
            "angles as 'primary,secondary'"
        )
    primary = turned if kind.endswith("ao") else 180.0 - turned
    return {**_NAMED[kind], "primary_angle": primary if kind.startswith("l") else -primary}


def _number(name: str, value: Any, unit: str) -> float:
    wanted, finite = f"a number ({unit})", f"finite ({unit})"
    return number(name, value, error=GeometryError, wanted=wanted, finite=finite)


def _above_zero(name: str, value: Any) -> float:
    result = _number(name, value, "mm")
    if result <= 0:
        raise GeometryError(f"{name} must be above zero, got {result:g} mm")
    return result


def _count(value: Any) -> int:
    result = _number("shape", value, "pixels")
    if result < 1 or result != int(result):
        raise GeometryError(f"shape must be whole numbers above zero, got {value!r}")
    return int(result)


def _pair(name: str, value: Any, meaning: str) -> tuple[Any, Any]:
    wanted = f"two numbers ({meaning})"
    first, second = items(name, value, 2, error=GeometryError, wanted=wanted)
    return first, second


def _sin_cos(degrees: float) -> tuple[float, float]:
    """Sine and cosine, exact at multiples of 90 degrees: an AP view is axis-aligned to the bit."""
    quarters, rest = divmod(degrees, 90.0)
    if rest == 0:
        return ((0.0, 1.0), (1.0, 0.0), (0.0, -1.0), (-1.0, 0.0))[int(quarters) % 4]
    radians = math.radians(degrees)
    return math.sin(radians), math.cos(radians)
