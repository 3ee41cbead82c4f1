"""Looks: how a radiograph is made from line integrals, from the beam to the grey levels, by name.

==========  ======================================================================================
`film`      What a chest film shows: tissues at one effective energy, the field collimated to the
            lungs, digital radiography's processing. The default.
`physical`  What a detector measures: a polychromatic beam, scatter, noise and blur; logarithm and
            a linear window.
`drr-rate`  The published data set's recipe, exactly; see `drr.published.recipe`.
`raw`       Line integrals of water at 60 keV on the whole detector, through a linear window.
==========  ======================================================================================
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from drr.errors import DisplayError

if TYPE_CHECKING:
    from drr.geometry.geometry import Geometry
    from drr.patient.anatomy import Anatomy
    from drr.physics.attenuation import Attenuation
    from drr.physics.beam import Beam
    from drr.physics.detector import Detector

__all__ = [
    "LOOKS",
    "Display",
    "Look",
    "attenuation_from_dict",
    "check_look",
    "display_from_dict",
    "display_to_dict",
    "find_look",
]

# Where bone stands out from soft tissue as on films of 120 kVp; spectra there average 50 to 65 keV.
FILM_KEV = 50.0

LOOKS = ("film", "physical", "drr-rate", "raw")


class Display(Protocol):
    """A resolved mapping from line integrals to grey levels: `Film`, `Window` or `MinMax`."""

    @property
    def invert(self) -> bool:
        """Whether bone is black."""

    def apply(self, line_integrals: NDArray[np.floating]) -> NDArray[np.float32]:
        """Grey levels from 0 (black) to 1 (white), same shape."""

    def to_dict(self) -> dict[str, Any]:
        """All parameters, for JSON."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """The parts of a look.

    Parameters
    ----------
    name
        One of `LOOKS`.
    attenuation
        HU to attenuation, or a polychromatic beam.
    detector
        What the detector does to the signal; None for a perfect one.
    field
        `lungs`: the view is collimated to the lungs. `detector`: the view as it is.
    beyond
        Whether the scan is continued beyond its ends and sides.
    develop
        Chooses the display of one image from its line integrals, geometry and anatomy.
    """

    name: str
    attenuation: Attenuation | Beam
    detector: Detector | None
    field: Literal["lungs", "detector"]
    beyond: bool
    develop: Callable[[NDArray[np.float32], Geometry, Anatomy], Display]


def find_look(name: str) -> Look:
    """The parts of a look that has parts: `film`, `physical` or `raw`.

    Raises
    ------
    DisplayError
        For a look that does not exist, with the nearest that does.
    """
    check_look(name)
    return _parts(name)


@cache
def _parts(name: str) -> Look:
    # Made once: an attenuation keeps the table that kernels read.
    from drr.display.film import film_for
    from drr.display.window import default_window
    from drr.physics.attenuation import tissue, water

    if name == "film":
        return Look(
            name=name,
            attenuation=tissue(FILM_KEV),
            detector=None,
            field="lungs",
            beyond=True,
            develop=film_for,
        )
    if name == "physical":
        from drr.physics.beam import Beam
        from drr.physics.detector import DETECTORS

        return Look(
            name=name,
            attenuation=Beam(),
            detector=DETECTORS["flat-panel"],
            field="lungs",
            beyond=True,
            develop=lambda values, *_: default_window(values, curve="linear"),
        )
    if name == "raw":
        return Look(
            name=name,
            attenuation=water(),
            detector=None,
            field="detector",
            beyond=False,
            develop=lambda values, *_: default_window(values, curve="linear"),
        )
    raise DisplayError(f"the look {name!r} is a recipe of its own; see drr.published.recipe")


def check_look(name: str) -> None:
    """Raise `DisplayError` for a look that does not exist."""
    if name not in LOOKS:
        near = difflib.get_close_matches(str(name), LOOKS, n=1)
        raise DisplayError(
            f"there is no look {name!r}{f', did you mean {near[0]!r}' if near else ''}; "
            f"looks are {', '.join(LOOKS)}"
        )


def attenuation_from_dict(values: Mapping[str, Any]) -> Attenuation | Beam:
    """Inverse of `to_dict` of an `Attenuation` or a `Beam`; only a beam has a tube voltage."""
    from drr.physics.attenuation import Attenuation

    if "kvp" not in values:
        return Attenuation.from_dict(values)
    from drr.physics.beam import Beam

    return Beam.from_dict(values)


def display_to_dict(display: Display) -> dict[str, Any]:
    """All parameters of a display and its kind, for JSON."""
    return {"kind": type(display).__name__.lower(), **display.to_dict()}


def display_from_dict(values: Mapping[str, Any]) -> Display:
    """Inverse of `display_to_dict`.

    Raises
    ------
    DisplayError
        For an unknown kind; and whatever the display says of its parameters.
    """
    from drr.display.film import Film
    from drr.display.window import Window
    from drr.published.recipe import MinMax

    kinds: dict[str, Any] = {"window": Window, "film": Film, "minmax": MinMax}
    options = dict(values)
    kind = options.pop("kind", None)
    if not isinstance(kind, str) or kind not in kinds:
        raise DisplayError(
            f"there is no display of kind {kind!r}; kinds are {', '.join(sorted(kinds))}"
        )
    if not isinstance(options.get("invert", False), bool):
        raise DisplayError(f"invert must be true or false, got {options['invert']!r}")
    display: Display = kinds[kind].from_dict(options)
    return display
