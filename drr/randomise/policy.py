"""Domain randomisation: one seeded, recorded policy for what varies between radiographs.

A `Policy` says what may vary and how far; `Policy.draw(seed, index)` gives the concrete numbers
of one sample, a `Draw`; the `Draw` varies the attenuation, the view, the beam and the detector
before a projection, and the picture after it. A `Draw` needs no policy: every sample can be made
again from its record. docs/randomisation.md tables the quantities and the presets.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from drr.checks import number, text, unknown
from drr.errors import PolicyError
from drr.randomise.presets import PRESETS
from drr.randomise.quantities import CHANCES, CORNERS, LIMITS, Quantities
from drr.randomise.ranges import Range, check_probability
from drr.randomise.variation import Draw, check_seed, within

__all__ = ["Draw", "Policy", "Range", "policy"]

_MARKER_DETAILS = ("marker_across", "marker_down", "marker_grey")


@dataclass(frozen=True, kw_only=True)
class _Named:
    name: str = "custom"


@dataclass(frozen=True, kw_only=True, repr=False)
class Policy(Quantities[Range, float, "tuple[str, ...]"], _Named):
    """What may vary, and how far; `eval(repr(p)) == p`.

    Parameters
    ----------
    name
        What records call it.
    flip, border_white, invert
        Probabilities.
    marker_corner
        Corners of which one is drawn, all alike likely.

    Every other field is a `Range` of a quantity of `drr.randomise.quantities.Quantities`, or None
    for what does not vary. What is drawn for a marker is kept only where `marker_height` says that
    there is one.

    Raises
    ------
    PolicyError
        For what is no range or exceeds `LIMITS`, by its key.
    """

    unknown_key = "there is no randomised quantity {key!r}{near}; there are {known}"

    flip: float = 0.0
    border_white: float = 0.0
    marker_corner: tuple[str, ...] = ("top left", "top right")
    invert: float = 0.0

    def __post_init__(self) -> None:
        text("name", self.name, error=PolicyError)
        for key in LIMITS:
            rule = getattr(self, key)
            if rule is None:
                continue
            if not isinstance(rule, Range):
                raise PolicyError(f"{key} must be a Range or None, got {rule!r}")
            within(key, rule.low)
            within(key, rule.high)
        for key in CHANCES:
            chance = number(key, getattr(self, key), error=PolicyError)
            _of_key(key, check_probability, chance)
            self._set(**{key: chance})
        corners: Any = self.marker_corner
        if not isinstance(corners, list | tuple) or not corners:
            raise PolicyError(
                f"marker_corner is a list of {', '.join(CORNERS)}, one at least; got {corners!r}"
            )
        for corner in corners:
            if corner not in CORNERS:
                raise unknown("marker_corner", corner, CORNERS, error=PolicyError)
        self._set(marker_corner=tuple(corners))

    def draw(self, seed: int, index: int) -> Draw:
        """The numbers of one sample.

        They depend on the policy, the seed and the index only: not on the order of draws, the
        process or the machine. Every quantity has a stream of its own, so that to vary another one
        leaves the rest of a sample as it was.

        Parameters
        ----------
        seed
            Of the whole data set.
        index
            Of the sample.
        """
        seed, index = check_seed("seed", seed), check_seed("index", index)
        values: dict[str, Any] = {}
        for key in LIMITS:
            rule: Range | None = getattr(self, key)
            if rule is None:
                continue
            switch, position = _fractions(key, seed, index)
            if rule.together:
                switch, _ = _fractions(f"together {rule.together}", seed, index)
            if switch < rule.probability:
                values[key] = rule.quantile(position)
        for key in CHANCES:
            values[key] = _fractions(key, seed, index)[0] < getattr(self, key)
        if "marker_height" in values:
            place = _fractions("marker_corner", seed, index)[0] * len(self.marker_corner)
            values["marker_corner"] = self.marker_corner[int(place)]
        else:
            values = {key: v for key, v in values.items() if key not in _MARKER_DETAILS}
        noise_seed = int(_fractions("noise_seed", seed, index)[0] * 2**32)
        return Draw(seed=seed, index=index, policy=self.name, noise_seed=noise_seed, **values)

    def to_dict(self) -> dict[str, Any]:
        """The name and what varies, for JSON."""
        plain = super().to_dict()
        return {name: plain[name] for name in ("name", *self.changed())}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Policy:
        """Inverse of `to_dict`; unknown keys are refused by name, with the nearest there is.

        A range may be `[low, high]`, or a number that does not vary.
        """
        cls.check_keys(values)
        given = dict(values)
        for key in LIMITS:
            if given.get(key) is not None and not isinstance(given[key], Range):
                given[key] = _of_key(key, Range.from_dict, given[key])
        return cls(**given)


def policy(source: str | Mapping[str, Any] | Policy) -> Policy:
    """A policy from a preset's name, or from a dictionary as `Policy.to_dict` makes.

    A dictionary with the key `preset` starts from that preset; null takes a quantity out.

    Raises
    ------
    PolicyError
        For names and keys that do not exist, with the nearest that does, and impossible ranges.
    """
    if isinstance(source, Policy):
        return source
    if isinstance(source, str):
        if source not in PRESETS:
            raise unknown("randomisation preset", source, PRESETS, error=PolicyError)
        return Policy.from_dict({"name": source, **PRESETS[source]})
    if not isinstance(source, Mapping):
        raise PolicyError(
            f"a policy is the name of a preset ({', '.join(PRESETS)}) or a dictionary, got "
            f"{source!r}"
        )
    values = dict(source)
    preset = values.pop("preset", "none")
    if not isinstance(preset, str) or preset not in PRESETS:
        raise unknown("randomisation preset", preset, PRESETS, error=PolicyError)
    Policy.check_keys(values)
    merged = {**PRESETS[preset], **values}
    return Policy.from_dict({key: value for key, value in merged.items() if value is not None})


def _fractions(key: str, seed: int, index: int) -> tuple[float, float]:
    """Two numbers, uniform in [0, 1), of this quantity in this sample."""
    # The hash of a key is one word and precedes the index, which may be of any length.
    sequence = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(key.encode()), index))
    first, second = (int(word) >> 11 for word in sequence.generate_state(2, np.uint64))
    return first * 2.0**-53, second * 2.0**-53


def _of_key(key: str, function: Any, value: Any) -> Any:
    """Call with the key named in what goes wrong."""
    try:
        return function(value)
    except PolicyError as error:
        raise PolicyError(f"{key}: {error}") from None
