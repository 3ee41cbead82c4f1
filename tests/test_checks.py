"""`drr.checks`: values as they are kept, one line for those that cannot be, and records."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from drr import checks
from drr.checks import Plain, Recorded
from drr.errors import GeometryError, VolumeError


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.int16(2)])
def test_numbers_become_floats(value: Any) -> None:
    kept = checks.number("n", value, error=VolumeError)
    assert (kept, type(kept)) == (2.0, float)


def test_no_number_is_a_negative_zero() -> None:
    assert math.copysign(1, checks.number("n", -0.0, error=VolumeError)) == 1


@pytest.mark.parametrize("value", ["2", None, True, np.True_, 1j, math.nan, math.inf, 10**400])
def test_what_is_no_finite_number_is_refused(value: Any) -> None:
    with pytest.raises(VolumeError, match="n must be a finite number, got"):
        checks.number("n", value, error=VolumeError)
    with pytest.raises(VolumeError, match="n must be a number from 0 to 5, got"):
        checks.within("n", value, 0, 5, error=VolumeError)


def test_ranges_are_closed_unless_they_start_above() -> None:
    for end in (0, 5):
        assert checks.within("n", end, 0, 5, error=VolumeError) == end
    with pytest.raises(VolumeError, match="n must be 0 to 5 mm, got 6"):
        checks.within("n", 6, 0, 5, error=VolumeError, wanted="0 to 5 mm")
    with pytest.raises(VolumeError, match="got 0"):
        checks.within("n", 0, 0, 5, error=VolumeError, above=True)


@pytest.mark.parametrize(
    ("value", "limits", "message"),
    [
        (2.0, {}, "n must be a whole number from 0, got 2.0"),
        (True, {}, "whole number"),
        (-1, {}, "from 0, got -1"),
        (9, {"least": 1, "most": 8}, "from 1 to 8, got 9"),
    ],
)
def test_whole_numbers_are_whole_and_within_limits(
    value: Any, limits: dict[str, int], message: str
) -> None:
    assert checks.whole("n", np.int64(3), error=VolumeError) == 3
    with pytest.raises(VolumeError, match=message):
        checks.whole("n", value, error=VolumeError, **limits)


@pytest.mark.parametrize("value", ["ab", 3, None, (1, 2, 3), []])
def test_so_many_values_are_asked_for(value: Any) -> None:
    assert checks.items("n", np.array([1, 2]), 2, error=VolumeError, wanted="two") == (1, 2)
    with pytest.raises(VolumeError, match="n must be two numbers, got"):
        checks.items("n", value, 2, error=VolumeError, wanted="two numbers")


def test_choices_flags_and_texts() -> None:
    with pytest.raises(VolumeError, match="n must be 'a', 'b' or 'c', got 3"):
        checks.choice("n", 3, ("a", "b", "c"), error=VolumeError)
    with pytest.raises(VolumeError, match="n must be True or False, got 1"):
        checks.flag("n", 1, error=VolumeError)
    with pytest.raises(VolumeError, match="n must be text, got 1"):
        checks.text("n", 1, error=VolumeError)
    assert checks.choice("n", "a", ("a", "b"), error=VolumeError) == "a"


def test_the_nearest_name_is_told() -> None:
    assert checks.did_you_mean("gama", ("gamma", "gain")) == ", did you mean 'gamma'"
    assert checks.did_you_mean(3, (1, 3), question=True) == "; did you mean '3'?"
    assert checks.did_you_mean("zebra", ("gamma", "gain")) == ""
    error = checks.unknown("effect", "gama", ("gamma", "gain"), error=VolumeError)
    assert str(error) == "there is no effect 'gama', did you mean 'gamma'; there are gamma, gain"


@dataclass(frozen=True, kw_only=True)
class Inner(Recorded):
    error = GeometryError

    length: float


@dataclass(frozen=True, kw_only=True, repr=False)
class Outer(Recorded):
    error = GeometryError
    parts = {"inner": Inner}  # noqa: RUF012 - never changed

    inner: Inner | None = None
    pair: tuple[float, float] = (1.0, math.inf)
    more: dict[str, Any] = field(default_factory=dict)


def test_records_round_trip_through_json() -> None:
    for value in (Outer(pair=(1.0, 2.0)), Outer(inner=Inner(length=3.0), pair=(1.0, 2.0))):
        read = Outer.from_dict(json.loads(json.dumps(value.to_dict())))
        assert (read.inner, tuple(read.pair)) == (value.inner, value.pair)
    assert Outer().to_dict() == {"inner": None, "pair": [1.0, None], "more": {}}


def test_only_what_is_no_default_is_shown() -> None:
    assert Outer(inner=Inner(length=2.0)).changed()["inner"] == Inner(length=2.0)
    assert eval(repr(Outer(pair=(2.0, 3.0)))) == Outer(pair=(2.0, 3.0))
    assert "inner" not in repr(Outer())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"iner": None}, "unknown outer key 'iner', did you mean 'inner'; keys are inner, pair"),
        ({"inner": {}}, "the inner lacks 'length'; add it"),
        ({"inner": 3}, "an? Inner is read from a dictionary, got 3"),
        ([], "an? Outer is read from a dictionary"),
    ],
)
def test_records_that_are_none_are_refused(values: Any, message: str) -> None:
    with pytest.raises(GeometryError, match=message):
        Outer.from_dict(values)


def test_what_is_not_finite_is_null_in_json() -> None:
    @dataclass
    class Figures(Plain):
        value: float
        each: dict[str, float]

    assert Figures(math.nan, {"a": -math.inf}).to_dict() == {"value": None, "each": {"a": None}}
