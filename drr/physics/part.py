"""What the parts of a detector have in common: checked numbers, and records that round-trip."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from numbers import Real
from typing import Any, ClassVar, TypeVar

from drr.errors import BeamError

__all__ = ["Effect", "check_name", "check_number", "check_pair"]

E = TypeVar("E", bound="Effect")


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A frozen set of named numbers, with `eval(repr(x)) == x` and a record for JSON."""

    # Fields that are effects themselves, and their types.
    parts: ClassVar[Mapping[str, type[Effect]]] = {}

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, texts and lists, for JSON."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_dict(cls: type[E], values: Mapping[str, Any]) -> E:
        """Inverse of `to_dict`; left-out keys take their defaults, unknown ones are refused."""
        kind = cls.__name__.lower()
        if not isinstance(values, Mapping):
            raise BeamError(f"a record of a {kind} must be a mapping of names, got {values!r}")
        known = {field.name: field for field in fields(cls)}
        for key in values:
            check_name(f"{kind} key", key, tuple(known))
        for key, field in known.items():
            if field.default is MISSING and key not in values:
                raise BeamError(f"the record of a {kind} lacks {key!r}; add it")
        built = {
            key: cls.parts[key].from_dict(value)
            if key in cls.parts and value is not None
            else value
            for key, value in values.items()
        }
        return cls(**built)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)


def check_name(what: str, name: Any, known: Sequence[str]) -> str:
    """The name itself if it is known; else an error with the nearest one."""
    if isinstance(name, str) and name in known:
        return name
    near = difflib.get_close_matches(str(name).lower(), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
    raise BeamError(f"there is no {what} {name!r}; {hint}")


def check_number(
    name: str,
    value: Any,
    unit: str,
    low: float,
    high: float,
    *,
    above: bool = False,
) -> float:
    """A finite number from `low` (with `above`: beyond it) to `high`, as a float."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise BeamError(f"{name} must be a finite number{_in(unit)}, got {value!r}")
    number = float(value)
    if number < low or number > high or (above and number == low):
        bound = f"above {low:g}, up to" if above else f"from {low:g} to"
        raise BeamError(f"{name} must be {bound} {high:g}{_of(unit)}, got {number:g}")
    return number


def check_pair(
    name: str, value: Any, unit: str, low: float, high: float, *, above: bool = False
) -> tuple[float, float]:
    """Two such numbers."""
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2:
        raise BeamError(f"{name} must be two numbers{_in(unit)}, got {value!r}")
    first, second = (check_number(name, x, unit, low, high, above=above) for x in value)
    return first, second


def _in(unit: str) -> str:
    return f" in {unit}" if unit else ""


def _of(unit: str) -> str:
    return f" {unit}" if unit else ""


def _plain(value: Any) -> Any:
    if isinstance(value, Effect):
        return value.to_dict()
    return list(value) if isinstance(value, tuple) else value
