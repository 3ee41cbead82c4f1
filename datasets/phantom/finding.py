"""One finding of the phantom: which, how severe and where.

The names are CT-RATE's 18; `drr.datasets.phantom.findings` says what they do to the anatomy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drr.checks import Recorded, choice, did_you_mean, whole
from drr.datasets.labels import CT_RATE_LABELS
from drr.datasets.phantom.patient import check_range
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
class Finding(Recorded):
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

    error = VolumeError

    name: str
    severity: float = 0.5
    side: str = "both"
    zone: str = "lower"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.name not in CT_RATE_LABELS:
            hint = did_you_mean(str(self.name).capitalize(), CT_RATE_LABELS)
            raise VolumeError(
                f"finding: there is no {self.name!r}{hint}; there are {', '.join(CT_RATE_LABELS)}"
            )
        check_range("severity", self.severity, 0, 1, "(0 mild, 1 severe)")
        choice("finding: side", self.side, SIDES, error=VolumeError)
        choice("finding: zone", self.zone, ZONES, error=VolumeError)
        whole("finding: seed", self.seed, error=VolumeError)

    @property
    def has_side(self) -> bool:
        return self.name in _LIKELY_SIDES

    @property
    def has_zone(self) -> bool:
        return self.name in _LIKELY_ZONES

    def random(self) -> np.random.Generator:
        """A fresh source of what `seed` varies, apart for every name."""
        return np.random.default_rng((self.seed, CT_RATE_LABELS.index(self.name)))


def draw(name: str, rng: np.random.Generator) -> Finding:
    """A finding of random severity, at a side and in a zone where it is usual."""
    return Finding(
        name=name,
        severity=round(float(rng.uniform(0.25, 1)), 2),
        side=str(rng.choice(_LIKELY_SIDES.get(name, ("both",)))),
        zone=str(rng.choice(_LIKELY_ZONES.get(name, ("lower",)))),
        seed=int(rng.integers(2**31)),
    )
