"""What the parts of a detector have in common: their errors, and how their numbers are checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from drr.checks import Recorded, did_you_mean, items, number, within
from drr.errors import BeamError

__all__ = ["Effect", "check_name", "check_number", "check_pair"]


class Effect(Recorded):
    """A frozen set of named numbers, with `eval(repr(x)) == x` and a record for JSON."""

    error = BeamError
    unknown_key = "there is no {kind} key {key!r}{question}"


def check_name(what: str, name: Any, known: Sequence[str]) -> str:
    """The name itself if it is known; else an error with the nearest one."""
    if isinstance(name, str) and name in known:
        return name
    hint = did_you_mean(str(name).lower(), known, question=True, cutoff=0.5)
    hint = hint or f"; known are {', '.join(known)}"
    raise BeamError(f"there is no {what} {name!r}{hint}")


def check_number(
    name: str, value: Any, unit: str, low: float, high: float, *, above: bool = False
) -> float:
    """A finite number from `low` (with `above`: beyond it) to `high`, as a float."""
    number(name, value, error=BeamError, wanted=f"a finite number{unit and f' in {unit}'}")
    bound = f"above {low:g}, up to" if above else f"from {low:g} to"
    wanted = f"{bound} {high:g}{unit and f' {unit}'}"
    return within(name, value, low, high, error=BeamError, wanted=wanted, above=above)


def check_pair(
    name: str, value: Any, unit: str, low: float, high: float, *, above: bool = False
) -> tuple[float, float]:
    """Two such numbers."""
    wanted = f"two numbers{unit and f' in {unit}'}"
    pair = items(name, value, 2, error=BeamError, wanted=wanted)
    first, second = (check_number(name, x, unit, low, high, above=above) for x in pair)
    return first, second
