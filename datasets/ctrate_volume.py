"""One volume of CT-RATE as HU, whichever version of the set it comes from.

Version 1 was published with blank headers and stored values: spacing, position, slope and
intercept are in the metadata table. Version 2 has them applied, and applying them again is the
known mistake. The folder's name decides nothing here, as files get moved: a header without
geometry takes its geometry from the table, and values take slope and intercept only where they
are no HU without and are HU with them. What was seen and done is in the volume's notes.
"""

from __future__ import annotations

import ast
import dataclasses
import gzip
import math
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drr.errors import ReadError
from drr.io.packed.inflate import GZIP_MAGIC
from drr.io.read import read
from drr.io.stored import rescale
from drr.patient.hu_check import Verdict, assess
from drr.volume import Volume

__all__ = ["read_ct_rate"]

SAME_SPACING = 0.01
"""Relative difference of spacing beyond which header and table are said to disagree."""


def read_ct_rate(path: Path, *, metadata: Mapping[str, str], threads: int | None = None) -> Volume:
    """Read one volume.

    Parameters
    ----------
    path
        The NIfTI file.
    metadata
        Its row of the metadata table, by column: `XYSpacing`, `ZSpacing`, `RescaleSlope`,
        `RescaleIntercept`, `Rows`, `Columns`, `NumberofSlices`, `ImageOrientationPatient` and
        `ImagePositionPatient` are used. It may be empty for a file that has a header.
    threads
        CPU threads; all available ones by default.

    Returns
    -------
    Volume
        HU, unclamped: padding such as -8192 stays, and the verdict names it. `notes` say what the
        header and the values looked like and what was therefore applied.

    Raises
    ------
    ReadError
        For a file that is not a readable volume, is not the one that its row describes, or lacks
        a header while its row lacks the spacing.
    """
    blank = _blank_header(path)
    affine = _table_affine(path, metadata) if blank else None
    volume = as_read = read(path, affine=affine, threads=threads)
    stored = volume.stored_order().shape[::-1]
    notes = list(volume.notes)
    if blank:
        notes = [note for note in notes if "given by the caller" not in note]
        notes.append(
            f"The header is blank ({blank}), as in CT-RATE version 1; spacing, direction and "
            "position are those of the metadata table."
        )
    elif metadata:
        notes.append("The header has its own geometry, as in CT-RATE version 2.")
        notes += _disagreement(volume, metadata)
    notes += _check_size(path, stored, metadata, blank=bool(blank))
    volume, note = _to_hu(path, volume, metadata, blank=bool(blank))
    result = dataclasses.replace(volume, notes=(*notes, note))
    if result.hu is as_read.hu:
        # Reading has digested the voxels already.
        vars(result)["sha256"] = as_read.sha256
    return result


def _blank_header(path: Path) -> str:
    """Why the header says nothing of where the voxels lie; empty if it does."""
    import nibabel

    try:
        with path.open("rb") as file:
            zipped = file.read(2) == GZIP_MAGIC
        with gzip.open(path, "rb") if zipped else path.open("rb") as file:
            head = file.read(348)
        header = nibabel.Nifti1Header(head, check=False)
        sform, qform = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
        if not sform and not qform:
            return "neither sform nor qform"
        matrix = np.array(header.get_sform() if sform else header.get_qform(), np.float64)
    except (
        *(OSError, EOFError, ValueError, zlib.error),
        nibabel.spatialimages.HeaderDataError,
        nibabel.wrapstruct.WrapStructError,
    ):
        return ""  # reading the file says what is wrong with it
    steps = np.abs(matrix[:3, :3])
    # Images without geometry are written with voxels of 1 mm along the axes, in either frame.
    if np.allclose(steps, np.eye(3), atol=1e-6) and np.allclose(matrix[:3, 3], 0, atol=1e-6):
        return "voxels of 1 mm along the axes, from the origin"
    return ""


def _table_affine(path: Path, metadata: Mapping[str, str]) -> NDArray[np.float64]:
    """`(4, 4)` from the stored index (i0, i1, i2, 1) to LPS mm by the table's attributes.

    As in DICOM (PS3.3 C.7.6.2.1.1): `XYSpacing` is Pixel Spacing, between rows and between columns;
    slices follow each other along row x column direction, as the publishers' own repair of
    version 1 has them.
    """
    between_rows, between_columns = _numbers(path, metadata, "XYSpacing", 2)
    (between_slices,) = _numbers(path, metadata, "ZSpacing", 1)
    if min(between_rows, between_columns, abs(between_slices)) <= 0:
        raise ReadError(
            f"{path}: its metadata row gives the spacing {between_columns:g} x {between_rows:g} x "
            f"{between_slices:g} mm; it must be positive"
        )
    orientation = np.array([1.0, 0, 0, 0, 1, 0])
    if metadata.get("ImageOrientationPatient"):
        orientation = np.array(_numbers(path, metadata, "ImageOrientationPatient", 6))
    along_row, along_column = orientation[:3], orientation[3:]
    lengths = np.linalg.norm(orientation.reshape(2, 3), axis=1)
    if np.abs(lengths - 1).max() > 0.01 or abs(along_row @ along_column) > 0.01:
        raise ReadError(
            f"{path}: ImageOrientationPatient {orientation.tolist()} of its metadata row is not "
            "two perpendicular directions"
        )
    affine = np.eye(4)
    affine[:3, 0] = along_row * between_columns
    affine[:3, 1] = along_column * between_rows
    affine[:3, 2] = np.cross(along_row, along_column) * abs(between_slices)
    if metadata.get("ImagePositionPatient"):
        affine[:3, 3] = _numbers(path, metadata, "ImagePositionPatient", 3)
    return affine


def _to_hu(
    path: Path, volume: Volume, metadata: Mapping[str, str], *, blank: bool
) -> tuple[Volume, str]:
    """The volume with slope and intercept applied if its values need them, and the reason."""
    verdict: Verdict = volume.verdict
    if verdict.is_hu:
        return volume, "The values are HU as stored; slope and intercept were not applied."
    if not (metadata.get("RescaleSlope") and metadata.get("RescaleIntercept")):
        if blank:
            raise ReadError(
                f"{path}: its values are no HU ({verdict.summary}), and its metadata row has no "
                "RescaleSlope and RescaleIntercept"
            )
        return volume, f"The values are taken as HU. {verdict}"
    (slope,) = _numbers(path, metadata, "RescaleSlope", 1)
    (intercept,) = _numbers(path, metadata, "RescaleIntercept", 1)
    if slope == 0:
        raise ReadError(f"{path}: RescaleSlope of its metadata row is 0, which makes no HU")
    tries = [(slope, intercept, "were applied once")]
    if verdict.kind == "double-rescaled":
        tries = [(1 / slope, -intercept / slope, "had been applied twice and were undone once")]
    for factor, offset, what in tries:
        try:
            hu = _rescaled(path, volume.hu, factor, offset)
        except ReadError:
            continue
        after = dataclasses.replace(assess(hu), size=verdict.size)
        # A head has no lung to tell by: where the values decide nothing, the blank header does.
        undecided = blank and verdict.kind != "double-rescaled" and not after.is_hu
        if after.is_hu or (undecided and verdict.offset == 0):
            note = (
                f"The table's slope {slope:g} and intercept {intercept:g} {what}: as stored the "
                f"values were {verdict.kind}, now they are "
                f"{'HU' if after.is_hu else f'{after.kind}, and the header is blank'}."
            )
            return dataclasses.replace(volume, hu=hu, verdict=after), note
    return volume, (
        f"Neither as stored nor with the table's slope {slope:g} and intercept {intercept:g} are "
        f"the values HU; they were left as stored. {verdict}"
    )


def _rescaled(
    path: Path, stored: NDArray[np.int16], slope: float, intercept: float
) -> NDArray[np.int16]:
    hu = np.empty_like(stored)
    for source, out in zip(stored, hu, strict=True):
        rescale(source, slope, intercept, out=out, name=str(path))
    return hu


def _check_size(
    path: Path, stored: tuple[int, ...], metadata: Mapping[str, str], *, blank: bool
) -> list[str]:
    """A note where the table has other sizes, or `ReadError` where it must mean another file."""
    if not all(metadata.get(key) for key in ("Columns", "Rows", "NumberofSlices")):
        return []
    table = tuple(
        int(_numbers(path, metadata, key, 1)[0]) for key in ("Columns", "Rows", "NumberofSlices")
    )
    if stored == table:
        return []
    sizes = " x ".join(map(str, stored)), " x ".join(map(str, table))
    matrix = stored[:2] == table[:2]
    if not matrix and (blank or stored[2] != table[2]):
        raise ReadError(
            f"{path}: has {sizes[0]} voxels, its metadata row {sizes[1]}; it is not the volume "
            "that its name says, so download it again"
        )
    return [f"The volume has {sizes[0]} voxels, the metadata table says {sizes[1]}."]


def _disagreement(volume: Volume, metadata: Mapping[str, str]) -> list[str]:
    try:
        across = _numbers(Path(volume.name), metadata, "XYSpacing", 2)
        along = _numbers(Path(volume.name), metadata, "ZSpacing", 1)
    except ReadError:
        return []
    header = sorted(volume.spacing)
    table = sorted(abs(value) for value in (*across, *along))
    if np.allclose(header, table, rtol=SAME_SPACING):
        return []
    return [
        f"The header's spacing is {' x '.join(f'{s:.4g}' for s in volume.spacing)} mm, the "
        f"metadata table's {across[1]:.4g} x {across[0]:.4g} x {along[0]:.4g} mm; the header's "
        "was used."
    ]


def _numbers(path: Path, metadata: Mapping[str, str], key: str, count: int) -> tuple[float, ...]:
    """Numbers of a column: one, or a list written as text, such as `[0.34, 0.34]`."""
    text = metadata.get(key, "").strip()
    try:
        parsed = ast.literal_eval(text)
        values = [float(v) for v in (parsed if isinstance(parsed, list | tuple) else [parsed])]
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        values = []
    if len(values) != count or not all(math.isfinite(v) for v in values):
        raise ReadError(
            f"{path}: {key} of its metadata row is {text!r}; "
            f"{'a number is' if count == 1 else f'{count} numbers are'} needed"
        )
    return tuple(values)
