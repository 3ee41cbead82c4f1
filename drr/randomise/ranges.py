"""What a randomisation policy is made of: ranges to draw from."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from numbers import Real
from statistics import NormalDist
from typing import Any

from drr.errors import PolicyError

__all__ = ["DISTRIBUTIONS", "Range", "check_probability", "known", "number", "unknown"]

DISTRIBUTIONS = ("uniform", "log-uniform", "log-normal")


@dataclass(frozen=True)
class Range:
    """Numbers that one quantity is drawn from; `eval(repr(r)) == r`.

    Parameters
    ----------
    low, high
        Ends of the range; equal ones make a constant.
    probability
        Of being varied at all.
    distribution
        `uniform`; `log-uniform`: uniform in the logarithm; `log-normal`: a log-normal
        distribution cut off at both ends.
    mode, sigma
        Of the log-normal distribution before it is cut: where its density is highest, and the
        standard deviation of the logarithm (so the mean of the logarithm is ln mode + sigma^2).
    together
        Quantities with the same text here are varied in the same samples, as are all numbers of
        one affine map; of two with different probabilities the rarer only where the other is.

    Raises
    ------
    PolicyError
        For a range that cannot be drawn from.
    """

    low: float
    high: float
    probability: float = 1.0
    distribution: str = "uniform"
    mode: float | None = None
    sigma: float | None = None
    together: str = ""

    def __post_init__(self) -> None:
        for name in ("low", "high", "probability"):
            object.__setattr__(self, name, number(name, getattr(self, name)))
        if self.low > self.high:
            raise PolicyError(f"low {self.low:g} is above high {self.high:g}; swap them")
        check_probability(self.probability)
        if not isinstance(self.together, str):
            raise PolicyError(f"together must be text, got {self.together!r}")
        if self.distribution not in DISTRIBUTIONS:
            raise unknown("distribution", self.distribution, DISTRIBUTIONS)
        if self.distribution != "uniform" and self.low <= 0:
            raise PolicyError(
                f"a {self.distribution} distribution has no values at or below zero, got low "
                f"{self.low:g}; raise it or use 'uniform'"
            )
        if self.distribution != "log-normal":
            if self.mode is not None or self.sigma is not None:
                raise PolicyError(
                    f"mode and sigma belong to 'log-normal', not to {self.distribution!r}; "
                    "leave them out"
                )
            return
        for name in ("mode", "sigma"):
            if getattr(self, name) is None:
                raise PolicyError(f"a log-normal distribution needs {name}")
            object.__setattr__(self, name, number(name, getattr(self, name)))
        if not self.low <= float(self.mode or 0) <= self.high:
            raise PolicyError(
                f"mode {self.mode:g} is outside the range {self.low:g} to {self.high:g}"
            )
        if float(self.sigma or 0) <= 0:
            raise PolicyError(f"sigma must be above zero, got {self.sigma:g}")

    def quantile(self, fraction: float) -> float:
        """The value below which this fraction, 0 to 1, of the distribution lies."""
        low, high = self.low, self.high
        if low == high:
            return low
        if self.distribution == "uniform":
            value = low + fraction * (high - low)
        elif self.distribution == "log-uniform":
            value = low * (high / low) ** fraction
        else:
            assert self.mode is not None
            assert self.sigma is not None
            logarithm = NormalDist(math.log(self.mode) + self.sigma**2, self.sigma)
            below, above = logarithm.cdf(math.log(low)), logarithm.cdf(math.log(high))
            inside = below + fraction * (above - below)
            # Where the tail has run out of floating-point numbers its end is as good.
            value = math.exp(logarithm.inv_cdf(inside)) if 0 < inside < 1 else low
        # Six digits read well in a record and are finer than anything here can tell apart.
        return min(max(float(f"{value:.6g}"), low), high)

    def to_dict(self) -> dict[str, Any]:
        """`low`, `high` and what is not a default."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {
            f.name: values[f.name]
            for f in fields(self)
            if f.name in ("low", "high") or values[f.name] != f.default
        }

    @classmethod
    def from_dict(cls, values: Any) -> Range:
        """Inverse of `to_dict`; also `[low, high]`, and a number as a constant."""
        if isinstance(values, Mapping):
            known(cls, values, "key of a range")
            if missing := [name for name in ("low", "high") if name not in values]:
                raise PolicyError(f"the range lacks {missing[0]!r}; add it")
            return cls(**values)
        if isinstance(values, list | tuple) and len(values) == 2:
            return cls(*values)
        if isinstance(values, Real):
            value: Any = values
            return cls(value, value)
        raise PolicyError(
            f"a range is [low, high], a number or a table with low and high, got {values!r}"
        )


def number(name: str, value: Any) -> float:
    """A finite float, or a `PolicyError` that names the key."""
    try:
        result = (
            math.nan if isinstance(value, bool) or not isinstance(value, Real) else float(value)
        )
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        raise PolicyError(f"{name} must be a finite number, got {value!r}")
    return result + 0.0  # no negative zeros in records


def check_probability(value: float) -> None:
    """Refuse what is no probability."""
    if not 0 <= value <= 1:
        raise PolicyError(f"a probability is within 0 and 1, got {value:g}")


def unknown(what: str, name: Any, names: Iterable[str]) -> PolicyError:
    """The error for a name that does not exist, with the nearest that does."""
    names = list(names)
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f", did you mean {near[0]!r}" if near else ""
    return PolicyError(f"there is no {what} {name!r}{hint}; there are {', '.join(names)}")


def known(cls: Any, values: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    """The values, all of them fields of a dataclass; else the error that names the first other."""
    if not isinstance(values, Mapping):
        raise PolicyError(f"a {cls.__name__} is read from a dictionary, got {values!r}")
    names = [f.name for f in fields(cls)]
    for name in values:
        if name not in names:
            raise unknown(what, name, names)
    return values
