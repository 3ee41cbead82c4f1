"""Findings of a chest CT as changes of the phantom's anatomy.

The names are CT-RATE's 18. Each finding changes the anatomy where the disease would: the heart
grows, fluid fills the base of a lung, the lung loses density. They make scans whose labels are
true and whose pictures show them; they are not meant to look like any one patient's disease.

Some hardly show on a radiograph, as in patients: mosaic attenuation, lymph nodes within the
mediastinum, coronary and small aortic calcifications, bronchi that are thick or wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from drr.datasets.labels import CT_RATE_LABELS
from drr.datasets.phantom import findings_heart, findings_lung, findings_material
from drr.datasets.phantom.anatomy import Anatomy
from drr.datasets.phantom.finding import Finding
from drr.datasets.phantom.findings_lung import LungChange, Points
from drr.datasets.phantom.paint import WIDTH, Grid, Rows
from drr.datasets.phantom.torso import LUNG_LEFT, LUNG_RIGHT, Torso
from drr.errors import VolumeError

__all__ = ["Changes", "changes"]

# Brighter voxels at the lung's edge belong to what is around it.
_AIR_HU = -150


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
