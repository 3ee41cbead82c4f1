"""Remove what is not the patient: couch, blanket, tubes, and the padding around the scan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from drr.errors import VolumeError
from drr.kernels.cpu.body.cut import cut
from drr.patient.anatomy import ANATOMY_PARAMETERS, Anatomy, check_anatomy, find_anatomy
from drr.patient.extension import Extension, fill_margins, margins
from drr.patient.fill import FILL_PARAMETERS, without_fill
from drr.volume import Volume

__all__ = ["CLEANUP_PARAMETERS", "clean"]

_CUT = {
    "background": -1000,
    "tissue": -400,
    "rise": 100,
    "air": -900,
    "padding": -1024,
    "dense": -900,
}

# Walks that judge the skin see voxels together up to these sizes, within and across slices.
_TOGETHER_MM = {"together_mm": 2.9, "together_z_mm": 5.0}

CLEANUP_PARAMETERS = {
    **{f"anatomy_{key}": value for key, value in ANATOMY_PARAMETERS.items()},
    **{f"{key}_hu": value for key, value in _CUT.items()},
    **_TOGETHER_MM,
    **{f"fill_{key}": value for key, value in FILL_PARAMETERS.items()},
}
"""Thresholds (HU) and lengths of the clean-up, for records; see `drr.kernels.cpu.body.cut` and
`drr.patient.fill`."""


def clean(
    volume: Volume,
    anatomy: Anatomy | None = None,
    *,
    out: NDArray[np.int16] | None = None,
    extension: Extension | None = None,
    crop: bool = False,
    threads: int | None = None,
) -> Volume:
    """Replace everything outside the patient by air (-1000 HU), fill (`drr.patient.fill`) included.

    Inside the body nothing is touched or clamped. The skin is kept to the voxel, with its partial
    volume; a couch or blanket that lies against it is told apart where the HU rise again beyond
    the surface. Where no body was found, nothing is replaced.

    Parameters
    ----------
    volume
        HU in the patient's frame.
    anatomy
        Anatomy of this volume, from `find_anatomy`; found here by default.
    out
        `(nz, ny, nx)` int16, C-contiguous, to write to; `volume.hu` works in place, and `volume`
        must then not be used any more. A new array by default.
    extension
        Also continue the volume beyond its ends and sides, as `drr.patient.extension.extend` does
        with the cleaned volume, without another copy; `out` must then have the larger shape.
    crop
        Leave out the rows and columns of the slices that hold nothing but air; the affine moves
        with them. Not where no body was found.
    threads
        Threads for the pass over the voxels; all available ones by default.

    Returns
    -------
    The volume with cleaned voxels and a note that says what was removed.

    Raises
    ------
    VolumeError
        When the anatomy is of another grid, or `out` cannot take the voxels.
    """
    volume = without_fill(volume)
    if anatomy is None:
        anatomy = find_anatomy(volume, threads=threads)
    check_anatomy(volume, anatomy)
    added = margins(volume, anatomy, extension or Extension(), crop=crop and anatomy.found)
    shape = volume.shape if added is None else added.shape(volume)
    if out is None:
        out = np.empty(shape, np.int16)
    elif out.shape != shape or out.dtype != np.int16 or not out.flags.c_contiguous:
        raise VolumeError(
            f"{volume.name}: out must be a C-contiguous int16 array of shape {shape}, "
            f"not {out.dtype} of shape {out.shape}"
        )
    at = (0, 0, 0) if added is None else added.before
    if anatomy.found:
        dense, padding = cut(
            volume.hu,
            anatomy.body,
            anatomy.factors,
            out,
            together=_together(volume),
            at=at,
            threads=threads,
            **_CUT,
        )
        note = _note(volume, dense, padding)
    else:
        if out is not volume.hu:
            out[tuple(slice(b, b + n) for b, n in zip(at, volume.shape, strict=True))] = volume.hu
        note = "clean-up: nothing removed, because no body stands out"
    noted = replace(volume, notes=(*volume.notes, note))
    if added is None:
        return replace(noted, hu=out)
    return fill_margins(noted, out, added, threads=threads)


def _together(volume: Volume) -> tuple[int, int]:
    x, y, z = volume.spacing.tolist()
    in_plane, across = _TOGETHER_MM["together_mm"], _TOGETHER_MM["together_z_mm"]
    return max(1, int(across / z)), max(1, int(in_plane / max(x, y)))


def _note(volume: Volume, dense: int, padding: int) -> str:
    millilitres = dense * abs(float(np.linalg.det(volume.affine[:3, :3]))) / 1000
    note = f"clean-up: everything outside the body became air, {millilitres:.0f} ml of it"
    note += f" denser than {_CUT['dense']} HU (couch, blanket)"
    return f"{note}, and {padding} voxels of padding" if padding else note
