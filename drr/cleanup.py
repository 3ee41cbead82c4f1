"""Remove what is not the patient: couch, blanket, tubes, and the padding around the scan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from drr.anatomy import ANATOMY_PARAMETERS, Anatomy, check_anatomy, find_anatomy
from drr.errors import VolumeError
from drr.kernels.morphology import cut
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

CLEANUP_PARAMETERS = {
    **{f"anatomy_{key}": value for key, value in ANATOMY_PARAMETERS.items()},
    **{f"{key}_hu": value for key, value in _CUT.items()},
}
"""Thresholds (HU) and lengths of the clean-up, for records; see `drr.kernels.morphology.cut`."""


def clean(
    volume: Volume,
    anatomy: Anatomy | None = None,
    *,
    out: NDArray[np.int16] | None = None,
    threads: int | None = None,
) -> Volume:
    """Replace everything outside the patient by air (-1000 HU).

    Inside the body nothing is touched or clamped. The skin is kept to the voxel, with its partial
    volume; a couch or blanket that lies against it is told apart where the HU rise again beyond
    the surface. Where no body was found, nothing is replaced.

    Parameters
    ----------
    volume
        HU in the patient's frame.
    anatomy
        Of this volume, from `find_anatomy`; found here by default.
    out
        `(nz, ny, nx)` int16, C-contiguous, to write to; `volume.hu` works in place, and `volume`
        must then not be used any more. A new array by default.
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
    if anatomy is None:
        anatomy = find_anatomy(volume, threads=threads)
    check_anatomy(volume, anatomy)
    if out is None:
        out = np.empty_like(volume.hu)
    elif out.shape != volume.shape or out.dtype != np.int16 or not out.flags.c_contiguous:
        raise VolumeError(
            f"{volume.name}: out must be a C-contiguous int16 array of shape {volume.shape}, "
            f"not {out.dtype} of shape {out.shape}"
        )
    if not anatomy.found:
        if out is not volume.hu:
            np.copyto(out, volume.hu)
        note = "clean-up: nothing removed, because no body stands out"
        return replace(volume, hu=out, notes=(*volume.notes, note))
    dense, padding = cut(volume.hu, anatomy.body, anatomy.factors, out, threads=threads, **_CUT)
    return replace(volume, hu=out, notes=(*volume.notes, _note(volume, dense, padding)))


def _note(volume: Volume, dense: int, padding: int) -> str:
    millilitres = dense * abs(float(np.linalg.det(volume.affine[:3, :3]))) / 1000
    note = f"clean-up: everything outside the body became air, {millilitres:.0f} ml of it denser"
    note += f" than {_CUT['dense']} HU (couch, blanket)"
    return f"{note}, and {padding} voxels of padding" if padding else note
