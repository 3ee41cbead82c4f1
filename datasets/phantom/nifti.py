"""A CT volume as the bytes of a NIfTI file."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from drr.errors import WriteError
from drr.volume import Volume

__all__ = ["check_name", "nifti_bytes"]


def check_name(path: Path) -> None:
    """Raise `WriteError` unless the name ends in `.nii.gz` or `.nii`."""
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise WriteError(f"{path}: not a NIfTI name; end it in .nii.gz or .nii")


def nifti_bytes(volume: Volume, path: Path) -> bytes:
    """NIfTI-1 with the volume's voxels and affine; gzip when `path` ends in `.nii.gz`.

    The same volume gives the same bytes: no name and no time of writing gets in.

    Raises
    ------
    WriteError
        For any other suffix.
    """
    check_name(path)
    import nibabel

    # NIfTI counts towards right-anterior-superior, the patient's frame here is LPS.
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    image = nibabel.Nifti1Image(volume.hu.transpose(2, 1, 0), affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    content: bytes = image.to_bytes()
    if path.name.lower().endswith(".gz"):
        # Level 1: noise hardly compresses, and a chest CT takes seconds at the usual 9.
        content = gzip.compress(content, compresslevel=1, mtime=0)
    return content
