"""Volumes themselves; what readers make of files is tested with the readers."""

from __future__ import annotations

import numpy as np

from drr.volume import Volume


def test_repr_is_short_and_names_no_patient() -> None:
    volume = Volume.from_stored(
        np.zeros((3, 4, 5), np.int16),
        np.diag([0.5, 0.75, 2.0, 1.0]),
        name="ct.nii.gz",
        identifiers={"PatientName": "Doe^Jane"},
    )
    assert repr(volume) == "<Volume ct.nii.gz: 5 x 4 x 3 voxels (x, y, z) of 0.5 x 0.75 x 2 mm>"
