"""Who lies in the phantom's scanner: the knobs, their ranges, and the limbs that follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from drr.checks import Recorded, choice
from drr.datasets.phantom.paint import Rows
from drr.errors import VolumeError

__all__ = ["Patient", "arms", "breasts", "check_range"]

# The anatomy is laid out for this height.
REFERENCE_HEIGHT = 172.0


@dataclass(frozen=True, kw_only=True)
class Patient(Recorded):
    """Who lies in the scanner.

    Parameters
    ----------
    sex
        `F` or `M`.
    age
        18 to 100 years: bone density, calcified cartilage, unfolding and calcified aorta.
    height
        140 to 210 cm; scales everything. None is the mean of the sex.
    bmi
        16 to 45 kg/m^2: fat and girth.
    arms
        `up` (out and up, as for CT and for a lateral film), `down` or `none`.
    couch
        Whether the scanner's couch lies under the back.
    """

    error = VolumeError
    unknown_key = "phantom: no such option {key!r}{near}; there are {known}"

    sex: Literal["F", "M"] = "M"
    age: float = 50.0
    height: float | None = None
    bmi: float = 24.0
    arms: Literal["up", "down", "none"] = "up"
    couch: bool = False

    def __post_init__(self) -> None:
        choice("phantom: sex", self.sex, ("F", "M"), error=VolumeError)
        choice("phantom: arms", self.arms, ("up", "down", "none"), error=VolumeError)
        check_range("age", self.age, 18, 100, "years")
        check_range("bmi", self.bmi, 16, 45, "kg/m^2")
        if self.height is not None:
            check_range("height", self.height, 140, 210, "cm")

    @property
    def scale(self) -> float:
        """Size relative to the anatomy as it is laid out."""
        mean = 176.0 if self.sex == "M" else 163.0
        return (self.height or mean) / REFERENCE_HEIGHT

    @property
    def girth(self) -> float:
        """mm added to the outline, before scaling."""
        return max(-5.0, 1.9 * (self.bmi - 24.0))


def arms(who: Patient) -> Rows:
    """Capsules of the upper arms, out of the field at their ends."""
    thick = 0.6 * who.girth
    if who.arms == "none":
        return np.zeros((0, 8))
    arm = {
        "up": (156, 14, 104, 262, -34, 196, 46 + thick, 43 + thick),
        "down": (178, 20, 92, 206, 16, -230, 44 + thick, 40 + thick),
    }[who.arms]
    mirrored = (-arm[0], *arm[1:3], -arm[3], *arm[4:])
    return np.array([arm, mirrored], dtype=np.float64)


def breasts(who: Patient, rng: np.random.Generator) -> Rows:
    """Capsules of the breasts; none for men."""
    if who.sex == "M":
        return np.zeros((0, 8))
    large = 44 + 1.2 * (who.bmi - 24)
    return np.array(
        [
            (
                side * 72, -92 - 0.6 * who.girth, -22, side * 80, -112 - who.girth, -36,
                large * rng.uniform(0.96, 1.06), large * 0.78,
            )
            for side in (-1, 1)
        ]
    )  # fmt: skip


def check_range(name: str, value: float, low: float, high: float, unit: str) -> None:
    """Raise `VolumeError` unless `low <= value <= high`; the message names value and range."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise VolumeError(f"phantom: {name} must be a number of {unit}, not {value!r}")
    if not low <= value <= high:
        raise VolumeError(f"phantom: {name} {value} is outside {low} to {high} {unit}")
