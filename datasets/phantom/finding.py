"""One finding of the phantom: which, how severe and where.

The names are CT-RATE's 18; `drr.datasets.phantom.findings` says what they do to the anatomy.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

import numpy as np

from drr.datasets.labels import CT_RATE_LABELS
from drr.datasets.phantom.patient import check_range, is_whole
from drr.errors import VolumeError

__all__ = ["SIDES", "ZONES", "Finding", "draw"]

SIDES = ("right", "left", "both")
"""The patient's."""
ZONES = ("upper", "middle", "lower")
"""Thirds of a lung by height."""

# Where a disease prefers to be; findings that are not here have no side or no zone.
_LIKELY_ZONES = {
    "Emphysema": ("upper",),
    "Atelectasis": ("lower", "lower", "middle"),
    "Lung nodule": ZONES,
    "Lung opacity": ZONES,
    "Pulmonary fibrotic sequela": ("upper", "upper", "lower"),
    "Consolidation": ("lower", "lower", "middle", "upper"),
    "Bronchiectasis": ("lower", "middle"),
    "Interlobular septal thickening": ("lower",),
}
_LIKELY_SIDES = {
    "Atelectasis": SIDES,
    "Lung nodule": SIDES,
    "Lung opacity": ("right", "left", "both", "both"),
    "Pulmonary fibrotic sequela": SIDES,
    "Pleural effusion": ("right", "left", "both", "both"),
    "Consolidation": SIDES,
    "Bronchiectasis": SIDES,
    "Medical material": ("left",),
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One finding of a patient.

    Parameters
    ----------
    name
        One of `drr.datasets.labels.CT_RATE_LABELS`.
    severity
        From 0, the least that a report would mention, to 1, severe.
    side
        `right`, `left` or `both`, the patient's; findings of heart and vessels have none and
        leave it alone.
    zone
        `upper`, `middle` or `lower` third of the lung, for findings that have a place there.
    seed
        Varies shapes and places; the same one gives the same finding.

    Raises
    ------
    VolumeError
        For a name that is none of the 18, or a value that does not exist.
    """

    name: str
    severity: float = 0.5
    side: str = "both"
    zone: str = "lower"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.name not in CT_RATE_LABELS:
            near = difflib.get_close_matches(str(self.name).capitalize(), CT_RATE_LABELS, 1)
            advice = f"did you mean {near[0]!r}?" if near else f"use {', '.join(CT_RATE_LABELS)}"
            raise VolumeError(f"finding: there is no {self.name!r}; {advice}")
        check_range("severity", self.severity, 0, 1, "(0 mild, 1 severe)")
        if self.side not in SIDES:
            raise VolumeError(f"finding: side must be one of {', '.join(SIDES)}, not {self.side!r}")
        if self.zone not in ZONES:
            raise VolumeError(f"finding: zone must be one of {', '.join(ZONES)}, not {self.zone!r}")
        if not is_whole(self.seed) or self.seed < 0:
            raise VolumeError(f"finding: seed must be a whole number from 0 up, not {self.seed!r}")

    @property
    def has_side(self) -> bool:
        return self.name in _LIKELY_SIDES

    @property
    def has_zone(self) -> bool:
        return self.name in _LIKELY_ZONES

    def random(self) -> np.random.Generator:
        """A fresh source of what `seed` varies, apart for every name."""
        return np.random.default_rng((self.seed, CT_RATE_LABELS.index(self.name)))

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "severity": self.severity,
            "side": self.side,
            "zone": self.zone,
            "seed": self.seed,
        }


def draw(name: str, rng: np.random.Generator) -> Finding:
    """A finding of random severity, at a side and in a zone where it is usual."""
    return Finding(
        name=name,
        severity=round(float(rng.uniform(0.25, 1)), 2),
        side=str(rng.choice(_LIKELY_SIDES.get(name, ("both",)))),
        zone=str(rng.choice(_LIKELY_ZONES.get(name, ("lower",)))),
        seed=int(rng.integers(2**31)),
    )
