"""Findings of a chest CT as changes of the phantom's anatomy.

The names are CT-RATE's 18. Each finding changes the anatomy where the disease would: the heart
grows, fluid fills the base of a lung, the lung loses density. They make scans whose labels are
true and whose pictures show them; they are not meant to look like any one patient's disease.

Some hardly show on a radiograph, as in patients: mosaic attenuation, lymph nodes within the
mediastinum, coronary and small aortic calcifications, bronchi that are thick or wide.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.datasets.labels import CT_RATE_LABELS
from drr.datasets.phantom import findings_heart, findings_lung, findings_material
from drr.datasets.phantom.anatomy import Anatomy
from drr.datasets.phantom.findings_lung import LungChange, Points
from drr.datasets.phantom.paint import WIDTH, Grid, Rows
from drr.datasets.phantom.patient import check_range, is_whole
from drr.datasets.phantom.torso import LUNG_LEFT, LUNG_RIGHT, Torso
from drr.errors import VolumeError

__all__ = ["SIDES", "ZONES", "Changes", "Finding", "changes", "draw"]

SIDES = ("right", "left", "both")
"""The patient's."""
ZONES = ("upper", "middle", "lower")
"""Thirds of a lung by height."""

# Brighter voxels at the lung's edge belong to what is around it.
_AIR_HU = -150
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


@dataclass(frozen=True, eq=False)
class Changes:
    """What findings change in an anatomy.

    Parameters
    ----------
    torso
        The trunk, perhaps with a lower diaphragm.
    rows
        Solids painted after the organs and the lungs' vessels, before the bones.
    material
        Solids painted last: metal.
    lung
        Changes of the voxels of the lungs, in order.
    """

    torso: Torso
    rows: Rows = field(default_factory=lambda: np.zeros((0, WIDTH)))
    material: Rows = field(default_factory=lambda: np.zeros((0, WIDTH)))
    lung: tuple[LungChange, ...] = ()

    def apply(self, hu: NDArray[np.int16], labels: NDArray[np.uint8], grid: Grid) -> None:
        """Change the lungs of a painted volume without noise, in place."""
        if not self.lung:
            return
        lungs = (labels == LUNG_RIGHT) | (labels == LUNG_LEFT)
        # Voxels that hold a little lung count to their neighbours: no film of air is left.
        near = lungs.copy()
        for axis in range(3):
            first = [slice(None)] * 3
            last = [slice(None)] * 3
            first[axis], last[axis] = slice(None, -1), slice(1, None)
            near[tuple(first)] |= lungs[tuple(last)]
            near[tuple(last)] |= lungs[tuple(first)]
        near &= lungs | ((labels == 0) & (hu < _AIR_HU))
        for start in range(0, grid.shape[0], 16):
            here = slice(start, start + 16)
            k, j, i = np.nonzero(near[here])
            if not k.size:
                continue
            points = Points(grid, k + start, j, i)
            values = hu[here][k, j, i].astype(np.float64)
            for change in self.lung:
                values, gone = change(points, values)
                if gone is not None:
                    labels[here][k[gone], j[gone], i[gone]] = 0
            hu[here][k, j, i] = np.rint(values)


def changes(anatomy: Anatomy, findings: Sequence[Finding]) -> Changes:
    """What a patient's findings change in the anatomy; their order does not matter."""
    for finding in findings:
        if not isinstance(finding, Finding):
            raise VolumeError(f"findings must be of class Finding, not {finding!r}")
    torso = anatomy.torso
    ordered = sorted(
        findings, key=lambda f: (CT_RATE_LABELS.index(f.name), f.seed, f.severity, f.side, f.zone)
    )
    for finding in ordered:
        if finding.name == "Emphysema":
            drop = 4 + 9 * finding.severity
            torso = replace(torso, domes=(torso.domes[0] - drop, torso.domes[1] - drop))
    empty = np.zeros((0, WIDTH))
    of_lung = [findings_lung.solids(anatomy, f) for f in ordered if f.name in findings_lung.SOLIDS]
    material = [
        findings_material.material(torso, f) for f in ordered if f.name == "Medical material"
    ]
    lung = [
        change
        for name in findings_lung.CHANGES  # fluid last, over everything that is in the lung
        for finding in ordered
        if finding.name == name
        for change in findings_lung.changes(anatomy, torso, finding)
    ]
    return Changes(
        torso=torso,
        rows=np.concatenate([empty, findings_heart.solids(anatomy, ordered), *of_lung]),
        material=np.concatenate([empty, *material]),
        lung=tuple(lung),
    )
