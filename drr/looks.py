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

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from drr.checks import did_you_mean, flag
from drr.display.film import Film, film_for
from drr.display.minmax import MinMax
from drr.display.protocol import Display
from drr.display.window import Window, default_window
from drr.errors import DisplayError
from drr.physics.attenuation import Attenuation, tissue, water
from drr.physics.beam import Beam
from drr.physics.detector import DETECTORS, Detector
from drr.published.recipe import DrrRate

__all__ = [
    "LOOKS",
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


@dataclass(frozen=True, kw_only=True)
class Look:
    """The parts of a look.

    Parameters
    ----------
    name
        One of `LOOKS`.
    attenuation
        HU to attenuation, or a polychromatic beam.
    develop
        Chooses the display of one image from its line integrals, geometry and anatomy.
    detector
        What the detector does to the signal; None for a perfect one.
    field
        `lungs`: the view is collimated to the lungs. `detector`: the view as it is.
    beyond
        Whether the scan is continued beyond its ends and sides.
    recipe
        A published recipe, which has views of its own, takes the scan as it was read, and leaves
        nothing to choose; its path sums stand for line integrals. None for all other looks.
    """

    name: str
    attenuation: Attenuation | Beam
    develop: Callable[..., Display]
    detector: Detector | None = None
    field: Literal["lungs", "detector"] = "detector"
    beyond: bool = False
    recipe: DrrRate | None = None


@cache
def find_look(name: str) -> Look:
    """The parts of a look, made once: an attenuation keeps the table that kernels read.

    Raises
    ------
    DisplayError
        For a look that does not exist, with the nearest that does.
    """
    check_look(name)
    if name == "film":
        return Look(
            name=name,
            attenuation=tissue(FILM_KEV),
            develop=film_for,
            field="lungs",
            beyond=True,
        )
    if name == "physical":
        return Look(
            name=name,
            attenuation=Beam(),
            develop=_linear_window,
            detector=DETECTORS["flat-panel"],
            field="lungs",
            beyond=True,
        )
    if name == "drr-rate":
        recipe = DrrRate()
        return Look(
            name=name,
            attenuation=recipe.attenuation,
            develop=lambda *_: MinMax(),
            recipe=recipe,
        )
    return Look(name=name, attenuation=water(), develop=_linear_window)


def _linear_window(values: Any, *_: Any) -> Window:
    return default_window(values, curve="linear")


def check_look(name: str) -> None:
    """Raise `DisplayError` for a look that does not exist."""
    if name not in LOOKS:
        raise DisplayError(
            f"there is no look {name!r}{did_you_mean(name, LOOKS)}; looks are {', '.join(LOOKS)}"
        )


def attenuation_from_dict(values: Mapping[str, Any]) -> Attenuation | Beam:
    """Inverse of `to_dict` of an `Attenuation` or a `Beam`; only a beam has a tube voltage."""
    if "kvp" not in values:
        return Attenuation.from_dict(values)
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
    kinds: dict[str, Any] = {"window": Window, "film": Film, "minmax": MinMax}
    options = dict(values)
    kind = options.pop("kind", None)
    if not isinstance(kind, str) or kind not in kinds:
        raise DisplayError(
            f"there is no display of kind {kind!r}; kinds are {', '.join(sorted(kinds))}"
        )
    flag("invert", options.get("invert", False), error=DisplayError)
    display: Display = kinds[kind].from_dict(options)
    return display
