"""Checks of what callers and files give, and the records of frozen dataclasses.

Every check returns the value as it is kept, or raises the caller's own error with one line that
names the value, what it must be and what it was.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from numbers import Integral, Real
from typing import Any, ClassVar, TypeVar

from drr.errors import DRRError

__all__ = [
    "Plain",
    "Recorded",
    "choice",
    "did_you_mean",
    "flag",
    "items",
    "nearest",
    "number",
    "text",
    "unknown",
    "whole",
    "within",
]

Error = type[DRRError]
R = TypeVar("R", bound="Recorded")


def number(
    name: str, value: Any, *, error: Error, wanted: str = "a finite number", finite: str = ""
) -> float:
    """A finite float, never a negative zero.

    Parameters
    ----------
    name
        What the message calls the value.
    value
        Any real number of Python or NumPy; text and truth values are none.
    error
        Class of the error to raise.
    wanted, finite
        What the message says that the value must be: of what is no number, and of what is not
        finite.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise error(f"{name} must be {wanted}, got {value!r}")
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        raise error(f"{name} must be {finite or wanted}, got {value!r}")
    return result + 0.0


def within(
    name: str,
    value: Any,
    low: float,
    high: float,
    *,
    error: Error,
    wanted: str = "",
    above: bool = False,
) -> float:
    """A number from `low` (with `above`: beyond it) to `high`; errors as those of `number`."""
    wanted = wanted or f"a number from {low:g} to {high:g}"
    result = number(name, value, error=error, wanted=wanted)
    if not low <= result <= high or (above and result == low):
        raise error(f"{name} must be {wanted}, got {value!r}")
    return result


def whole(name: str, value: Any, *, error: Error, least: int = 0, most: int | None = None) -> int:
    """A whole number from `least` to `most`; truth values and 2.0 are none."""
    real = isinstance(value, Integral) and not isinstance(value, bool)
    if not real or value < least or (most is not None and value > most):
        limit = "" if most is None else f" to {most}"
        raise error(f"{name} must be a whole number from {least}{limit}, got {value!r}")
    return int(value)


def items(name: str, value: Any, count: int, *, error: Error, wanted: str) -> tuple[Any, ...]:
    """So many values of a list, tuple or array, whatever they are; text is no list of letters."""
    try:
        found = () if isinstance(value, str) else tuple(value)
    except TypeError:
        found = ()
    if len(found) != count:
        raise error(f"{name} must be {wanted}, got {value!r}")
    return found


def choice(name: str, value: Any, choices: Sequence[str], *, error: Error) -> str:
    """One of a few texts."""
    if not isinstance(value, str) or value not in choices:
        *first, last = map(repr, choices)
        raise error(f"{name} must be {', '.join(first)} or {last}, got {value!r}")
    return value


def flag(name: str, value: Any, *, error: Error) -> bool:
    """True or False, and nothing that only counts as such."""
    if not isinstance(value, bool):
        raise error(f"{name} must be True or False, got {value!r}")
    return value


def text(name: str, value: Any, *, error: Error) -> str:
    """A text."""
    if not isinstance(value, str):
        raise error(f"{name} must be text, got {value!r}")
    return value


def nearest(name: object, known: Iterable[object], *, cutoff: float = 0.6) -> str:
    """The known name that is most like one that does not exist; empty where none is."""
    near = difflib.get_close_matches(str(name), [str(one) for one in known], n=1, cutoff=cutoff)
    return near[0] if near else ""


def did_you_mean(
    name: object, known: Iterable[object], *, question: bool = False, cutoff: float = 0.6
) -> str:
    """The end of a message about a name that does not exist; empty where no known one is near.

    Parameters
    ----------
    name, known, cutoff
        As `nearest` takes them.
    question
        `; did you mean 'x'?` instead of `, did you mean 'x'`, after which a message may go on.
    """
    near = nearest(name, known, cutoff=cutoff)
    if not near:
        return ""
    return f"; did you mean {near!r}?" if question else f", did you mean {near!r}"


def unknown(what: str, name: object, known: Iterable[str], *, error: Error) -> DRRError:
    """The error about a name that does not exist, with the nearest that does, and all of them."""
    names = list(known)
    return error(
        f"there is no {what} {name!r}{did_you_mean(name, names)}; there are {', '.join(names)}"
    )


class Plain:
    """Base of dataclasses that are written as JSON: plain values, and those within them."""

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, texts, lists and dictionaries, for JSON; what is not finite is null."""
        return {f.name: _plain(getattr(self, f.name)) for f in _fields(type(self))}


class Recorded(Plain):
    """Base of frozen dataclasses with a record for JSON: `from_dict(x.to_dict()) == x`.

    Subclasses say which errors they raise and how they speak of a key that does not exist.
    """

    error: ClassVar[Error] = DRRError
    """What `from_dict` raises."""

    unknown_key: ClassVar[str] = "unknown {kind} key {key!r}{near}; keys are {known}"
    """`{near}` is the comma form of `did_you_mean`, `{question}` the other or all keys."""

    parts: ClassVar[Mapping[str, type[Recorded]]] = {}
    """Fields that hold such dataclasses themselves, and their types."""

    @classmethod
    def from_dict(cls: type[R], values: Mapping[str, Any]) -> R:
        """Inverse of `to_dict`; keys that are left out take their defaults.

        Raises
        ------
        DRRError
            Of the class's own family, for unknown and missing keys, by name, and for values that
            the class refuses.
        """
        cls.check_keys(values)
        for f in _fields(cls):
            if f.default is MISSING and f.default_factory is MISSING and f.name not in values:
                raise cls.error(f"the {cls._kind()} lacks {f.name!r}; add it")
        given = dict(values)
        for key, part in cls.parts.items():
            if given.get(key) is not None:
                given[key] = part.from_dict(given[key])
        return cls(**given)

    @classmethod
    def check_keys(cls, values: Any) -> None:
        """Refuse what is no mapping and keys that are no fields."""
        if not isinstance(values, Mapping):
            raise cls.error(
                f"a {cls.__name__} is read from a dictionary, got {values!r}; give a mapping of "
                "names to values"
            )
        known = [f.name for f in _fields(cls)]
        for key in values:
            if key not in known:
                raise cls.error(
                    cls.unknown_key.format(
                        kind=cls._kind(),
                        name=cls.__name__,
                        key=key,
                        near=did_you_mean(key, known),
                        question=did_you_mean(key, known, question=True)
                        or f"; a {cls._kind()} has the keys {', '.join(known)}",
                        known=", ".join(known),
                    )
                )

    @classmethod
    def _kind(cls) -> str:
        return cls.__name__.lower()

    def changed(self) -> dict[str, Any]:
        """The fields that are not at their defaults."""
        values = {f: getattr(self, f.name) for f in _fields(type(self))}
        return {f.name: value for f, value in values.items() if value != f.default}

    def __repr__(self) -> str:
        """The source that makes it again, without defaults; for dataclasses with `repr=False`."""
        given = ", ".join(f"{name}={_literal(value)}" for name, value in self.changed().items())
        return f"{type(self).__name__}({given})"

    def _set(self, **values: Any) -> None:
        """Fields as they are kept, from `__post_init__`."""
        for name, value in values.items():
            object.__setattr__(self, name, value)


def _fields(cls: Any) -> tuple[Field[Any], ...]:
    return fields(cls)


def _literal(value: Any) -> str:
    return "float('inf')" if value == math.inf else repr(value)


def _plain(value: Any) -> Any:
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
