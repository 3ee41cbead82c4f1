"""What a randomisation policy is made of: ranges to draw from, and the presets as data."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from numbers import Real
from statistics import NormalDist
from typing import Any

from drr.errors import PolicyError

__all__ = ["DISTRIBUTIONS", "PRESETS", "Range", "check_probability", "known", "number", "unknown"]

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


def _some(low: float, high: float, probability: float, **more: Any) -> dict[str, Any]:
    return {"low": low, "high": high, "probability": probability, **more}


def _flexray_tissue() -> dict[str, Any]:
    curve = {"distribution": "log-normal", "mode": 1.0, "sigma": 1.0}
    return _some(0.1, 4.0, 0.5, together="tissue", **curve)


def _flexray_affine(low: float, high: float) -> dict[str, Any]:
    return _some(low, high, 0.25, together="affine")


def _synthex_affine(low: float, high: float) -> dict[str, Any]:
    return _some(low, high, 0.25, together="affine")


_CHEST_FIELD = {"probability": 0.15, "together": "border"}

PRESETS: dict[str, dict[str, Any]] = {
    "none": {},
    # FleXray's released recipe for rendered sources: the rendering profile of its whole-body CTs
    # (MOOSE) and its augmentation chain (CT_base). What is left out: docs/randomisation.md.
    "flexray": {
        "lung": _flexray_tissue(),
        "fat": _flexray_tissue(),
        "soft_tissue": _flexray_tissue(),
        "bone": _flexray_tissue(),
        "primary_angle": [-180.0, 180.0],
        "secondary_angle": [-30.0, 30.0],
        "offset_across": [-100.0, 100.0],
        "offset_down": [-100.0, 100.0],
        "source_to_detector_distance": [1150.0, 1250.0],
        "source_to_isocenter_distance": [500.0, 900.0],
        # 256 pixels of 1.25 to 2.25 mm, relative to the 430 mm of a view.
        "field_size": [0.7442, 1.3395],
        "clip": 0.5,
        "flip": 0.5,
        "rotation": _flexray_affine(-90.0, 90.0),
        "scale": _flexray_affine(0.8, 1.2),
        "shear_across": _flexray_affine(-16.0, 16.0),
        "shear_down": _flexray_affine(-16.0, 16.0),
        "shift_across": _flexray_affine(-0.25, 0.25),
        "shift_down": _flexray_affine(-0.25, 0.25),
        "marker_height": _some(0.03, 0.10, 0.25),
        "marker_across": [0.0, 0.45],
        "marker_down": [0.0, 0.45],
        "marker_corner": ["top left", "top right", "bottom left", "bottom right"],
        "marker_grey": [0.8, 1.0],
        "invert": 0.5,
        "clahe": _some(1.0, 2.0, 0.1),
        "gamma": _some(0.9, 1.1, 0.25),
        "gain": _some(0.7, 1.3, 0.25),
        "sharpness": _some(0.7, 1.3, 0.5),
        "noise": _some(0.01, 0.01, 0.25),
    },
    # SyntheX's COVID-19 task: noise and gamma each in a half of a half of the samples, and of its
    # heavy chain (on in a half) what has a counterpart here, each in a half of that.
    "synthex": {
        "noise": _some(0.005, 0.01, 0.25, together="noise"),
        "gamma": _some(0.7, 1.3, 0.25, together="gamma"),
        "invert": 0.25,
        "contrast": _some(0.5, 2.0, 0.0625),
        "rotation": _synthex_affine(-5.0, 5.0),
        "scale": _synthex_affine(0.9, 1.1),
        "shear_across": _synthex_affine(-2.0, 2.0),
        # 20 pixels of a picture 224 wide.
        "shift_across": _synthex_affine(-0.0893, 0.0893),
        "shift_down": _synthex_affine(-0.0893, 0.0893),
        # A sigma of up to 3 pixels of 224.
        "blur": _some(0.0, 6.86, 0.03),
        "gain": _some(0.5, 1.5, 0.03),
    },
    # Ours: what differs between chest departments, none of it enough to make a label wrong. No
    # mirror image: it would move the heart to the right.
    "chest": {
        "lung": _some(0.9, 1.1, 0.5, distribution="log-uniform", together="tissue"),
        "fat": _some(0.9, 1.1, 0.5, distribution="log-uniform", together="tissue"),
        "soft_tissue": _some(0.95, 1.05, 0.5, distribution="log-uniform", together="tissue"),
        "bone": _some(0.7, 1.3, 0.5, distribution="log-uniform", together="tissue"),
        "energy_kev": [50.0, 75.0],
        "kvp": [90.0, 140.0],
        "primary_angle": [-6.0, 6.0],
        "secondary_angle": [-5.0, 5.0],
        "detector_rotation": [-3.0, 3.0],
        "offset_across": [-15.0, 15.0],
        "offset_down": [-15.0, 15.0],
        "source_to_detector_factor": [0.95, 1.05],
        "field_size": [0.94, 1.1],
        "receptor_air_kerma": {"low": 1.0, "high": 6.0, "distribution": "log-uniform"},
        "clip": _some(0.0, 1.0, 0.5),
        "rotation": _some(-3.0, 3.0, 0.3, together="affine"),
        "scale": _some(0.95, 1.08, 0.3, together="affine"),
        "shift_across": _some(-0.03, 0.03, 0.3, together="affine"),
        "shift_down": _some(-0.03, 0.03, 0.3, together="affine"),
        "blur": _some(0.2, 1.0, 0.3),
        "sharpness": _some(0.8, 1.8, 0.3),
        "clahe": _some(1.0, 2.0, 0.15),
        "gamma": _some(0.75, 1.35, 0.5, distribution="log-uniform"),
        "contrast": _some(0.85, 1.15, 0.3),
        "brightness": _some(-0.06, 0.06, 0.3),
        "noise": _some(0.002, 0.015, 0.3, distribution="log-uniform"),
        "border_top": {"low": 0.0, "high": 0.05, **_CHEST_FIELD},
        "border_bottom": {"low": 0.0, "high": 0.05, **_CHEST_FIELD},
        "border_left": {"low": 0.0, "high": 0.05, **_CHEST_FIELD},
        "border_right": {"low": 0.0, "high": 0.05, **_CHEST_FIELD},
        "border_white": 0.1,
        "marker_height": _some(0.025, 0.05, 0.5),
        "marker_across": [0.02, 0.1],
        "marker_down": [0.02, 0.3],
        "marker_corner": ["top left", "top right"],
        "marker_grey": [0.75, 1.0],
        "invert": 0.05,
    },
}
"""Presets by name, as `Policy.from_dict` reads them."""
