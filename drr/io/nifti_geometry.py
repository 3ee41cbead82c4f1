"""Where the voxels of a NIfTI file lie: sform, qform, spacings and their unit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.errors import ReadError
from drr.io.nifti_header import qform, sform
from drr.io.stored import millimetres

__all__ = ["lps_affine"]

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
SPACE_UNITS = {1: "m", 2: "mm", 3: "um"}
AGREEMENT = 0.1
"""Fraction of the spacing by which sform and qform may differ without a note."""


def lps_affine(header: Any, name: str) -> tuple[NDArray[np.float64] | None, str, tuple[str, ...]]:
    """LPS affine in mm, or None and the reason; and notes.

    The sform where its code is above 0, else the qform where its code is above 0. An sform that is
    no affine at all, as some write beside a qform, yields to the qform.

    Raises
    ------
    ReadError
        For a qform alone that is none, or whose third axis readers turn in different ways.
    """
    by_sform = int(header["sform_code"]) > 0
    by_qform = int(header["qform_code"]) > 0
    if not by_sform and not by_qform:
        return (
            None,
            (
                "neither sform nor qform says where its voxels lie (both codes are 0); "
                "write one into the header, or pass affine= to drr.read"
            ),
            (),
        )
    notes: tuple[str, ...] = ()
    matrix = sform(header)
    if by_sform and by_qform and not _is_affine(matrix):
        by_sform = False
        notes += ("The sform is no affine; the qform was used.",)
    if not by_sform:
        matrix, more = _from_qform(header, name)
        notes += more
    elif by_qform:
        notes += _disagreement(header, matrix, name)
    matrix, more = _in_mm(header, matrix, name)
    return RAS_TO_LPS @ matrix, "", notes + more


def _is_affine(matrix: NDArray[np.float64]) -> bool:
    return bool(np.isfinite(matrix).all() and np.linalg.norm(matrix[:3, :3], axis=0).all())


def _from_qform(header: Any, name: str) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    steps = np.array(header["pixdim"][1:4], np.float64)
    if not np.isfinite(steps).all() or not steps.all():
        raise ReadError(
            f"{name}: the voxel spacing (pixdim) is {steps.tolist()} mm; "
            "it must be positive, so repair the header"
        )
    turn = float(header["pixdim"][0])
    if turn < 0 and turn != -1:
        raise ReadError(
            f"{name}: pixdim[0] is {turn:g}, which turns the slices around for some readers and "
            "not for others; make it 1 or -1"
        )
    try:
        matrix = qform(header)
    except ValueError:
        raise ReadError(
            f"{name}: the quaternion of its qform is not a rotation; repair the header"
        ) from None
    if (steps > 0).all():
        return matrix, ()
    return matrix, (
        f"The voxel spacing (pixdim) is {steps.tolist()}; a length has no sign, so none was taken.",
    )


def _disagreement(header: Any, matrix: NDArray[np.float64], name: str) -> tuple[str, ...]:
    """A note where a qform beside the sform says something else."""
    steps = np.array(header["pixdim"][1:4], np.float64)
    if not (np.isfinite(steps).all() and (steps > 0).all()):
        return (f"The header's pixdim {steps.tolist()} was ignored; the sform was used.",)
    try:
        other = qform(header)
    except ValueError:
        return ()
    tolerance = AGREEMENT * float(steps.min())
    extent = np.array([max(int(n) - 1, 1) for n in header["dim"][1:4]])
    apart = np.abs(matrix - other)
    if (apart[:3, :3] * extent > tolerance).any() or (apart[:3, 3] > tolerance).any():
        return ("sform and qform disagree; the sform was used.",)
    return ()


def _in_mm(
    header: Any, matrix: NDArray[np.float64], name: str
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    code = int(header["xyzt_units"]) & 7
    if code in SPACE_UNITS:
        return millimetres(matrix, SPACE_UNITS[code], name)
    if code == 0:
        return matrix, ("The header does not say its unit of length; mm were assumed.",)
    return matrix, (f"The header's unit of length, code {code}, does not exist; mm were assumed.",)
