"""What a randomisation policy is made of: ranges to draw from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from statistics import NormalDist
from typing import Any

from drr.checks import Recorded, number, text, unknown
from drr.errors import PolicyError

__all__ = ["DISTRIBUTIONS", "Range", "check_probability"]

DISTRIBUTIONS = ("uniform", "log-uniform", "log-normal")


@dataclass(frozen=True)
class Range(Recorded):
    """Numbers that one quantity is drawn from; `eval(repr(r)) == r`.

    Parameters
    ----------
    low, high
        Ends of the range; equal ones make a constant.
    probability
        Probability of being varied at all.
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

    error = PolicyError
    unknown_key = "there is no key of a range {key!r}{near}; there are {known}"

    low: float
    high: float
    probability: float = 1.0
    distribution: str = "uniform"
    mode: float | None = None
    sigma: float | None = None
    together: str = ""

    def __post_init__(self) -> None:
        for name in ("low", "high", "probability"):
            self._set(**{name: number(name, getattr(self, name), error=PolicyError)})
        if self.low > self.high:
            raise PolicyError(f"low {self.low:g} is above high {self.high:g}; swap them")
        check_probability(self.probability)
        text("together", self.together, error=PolicyError)
        if self.distribution not in DISTRIBUTIONS:
            raise unknown("distribution", self.distribution, DISTRIBUTIONS, error=PolicyError)
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
            self._set(**{name: number(name, getattr(self, name), error=PolicyError)})
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
        return self.changed()

    @classmethod
    def from_dict(cls, values: Any) -> Range:
        """Inverse of `to_dict`; also `[low, high]`, and a number as a constant."""
        if isinstance(values, Mapping):
            return super().from_dict(values)
        if isinstance(values, list | tuple) and len(values) == 2:
            return cls(*values)
        if isinstance(values, Real):
            value: Any = values
            return cls(value, value)
        raise PolicyError(
            f"a range is [low, high], a number or a table with low and high, got {values!r}"
        )


def check_probability(value: float) -> None:
    """Refuse what is no probability."""
    if not 0 <= value <= 1:
        raise PolicyError(f"a probability is within 0 and 1, got {value:g}")
