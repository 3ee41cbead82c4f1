"""DICOM CT: a folder, a zip, or one file of a series; single slices or enhanced multi-frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from drr.errors import ReadError
from drr.io.dicom.elements import integer, text
from drr.io.dicom.files import IDENTIFIERS
from drr.io.dicom.geometry import one_geometry
from drr.io.dicom.groups import Header
from drr.io.dicom.hu import read_frames
from drr.io.dicom.phases import choose_acquisition, distinct, without_copies
from drr.io.dicom.series import Series, choose_series, open_scan
from drr.io.dicom.slices import Frame, frames_of
from drr.io.dicom.stack import Plane, move_sideways, resample, stack_slices
from drr.io.stored import Stored, check_size
from drr.io.voxels import PatientOrder

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["list_series", "read_dicom"]

NOT_HU = {
    "MGML": "mg/ml of a material",
    "MG/ML": "mg/ml of a material",
    "Z_EFF": "effective atomic numbers",
    "ED": "electron densities",
    "EDW": "electron densities relative to water",
    "OD": "optical densities",
    "PCT": "percentages",
}
"""Rescale types (DICOM PS3.3 C.11.1.1.2) that are no HU."""

AS_HU = ("", "HU", "US", "UNSPECIFIED", "HU_MOD")
"""Those that are, or do not say; `HU_MOD` are HU of other energies than were scanned."""


def read_dicom(
    path: Path,
    *,
    series: str | int | None = None,
    acquisition: str | int | None = None,
    assume_axial: bool = False,
    limit: int,
    threads: int | None = None,
) -> Stored:
    """Read one CT series.

    Which series: the one that `series` names by UID, by number, as `#1` (its place in the
    listing) or by description (all of it or an unmistakable part, case ignored). Without a name,
    of the series that are CT volumes (localizers, other modalities and single images are not),
    the only one, or else the only one that is not DERIVED SECONDARY. A single file stands for its
    own series, whose other files are looked for beside it; a DICOMDIR for all that lies below
    its folder. `drr.io.dicom.groups` says which files are one series.

    Slices are sorted along their normal; `drr.io.dicom.stack` states the tolerances. Slope and
    intercept are applied once, slice by slice. Of slices at one position that are identical, or
    of a few that differ, one is kept; where many differ, `acquisition` chooses
    (`drr.io.dicom.phases`). Gantry tilt stays in the affine.

    Raises
    ------
    ReadError
        When there is no such CT volume, or it is incomplete, mixed or not decodable.
    """
    with open_scan(path, limit=limit) as scan:
        chosen, notes = choose_series(scan, series)
        try:
            frames, more = _slices(path, chosen.headers, acquisition, assume_axial)
            stored = _assemble(path, frames, limit=limit, threads=threads)
            stored = replace(stored, notes=more + stored.notes)
        except ReadError as error:
            if scan.damaged and "missing" in str(error):
                raise ReadError(f"{error} (damaged: {', '.join(scan.damaged[:3])})") from None
            raise
    notes += scan.notes + chosen.notes
    if scan.damaged:
        notes += (f"{len(scan.damaged)} damaged DICOM files were left out.",)
    return replace(stored, notes=notes + stored.notes)


def list_series(path: Path, *, limit: int) -> tuple[Series, ...]:
    """All series of a folder or zip, or the one of a file, CT volumes or not."""
    with open_scan(path, limit=limit) as scan:
        return scan.series


def _assemble(path: Path, frames: list[Frame], *, limit: int, threads: int | None) -> Stored:
    """The volume of slices that share one geometry."""
    plane = Plane(frames[0].along_row, frames[0].along_column, frames[0].spacing, frames[0].shape)
    normal, (rows, columns) = plane.normal, plane.shape
    frames.sort(key=lambda frame: float(frame.position @ normal))
    check_size((columns, rows, len(frames)), 2, str(path), limit)
    directions = np.eye(4)
    directions[:3, :3] = np.column_stack([plane.along_row, plane.along_column, normal])
    target = PatientOrder((len(frames), rows, columns), directions)
    notes = read_frames(path, frames, target, limit=limit, threads=threads)
    voxels = target.finish(str(path))
    hu, digests = voxels.hu, voxels.digests
    notes += voxels.notes
    # Slices at one position are repeats or phases: only their pixels tell.
    keep, more = distinct(path, frames, hu, np.array([f.position @ normal for f in frames]))
    notes += more
    if len(keep) < len(frames):
        frames, hu, digests = [frames[k] for k in keep], hu[keep], None
    if len(frames) < 2:
        raise ReadError(f"{path}: a single slice is no volume; bring the whole series")
    stack = stack_slices(
        np.array([frame.position for frame in frames]),
        plane,
        labels=[f"{frame.label} at {frame.position @ normal:.4g} mm" for frame in frames],
        numbers=_instance_numbers(frames),
        name=str(path),
    )
    if stack.beside is not None:
        move_sideways(hu, stack.beside)
        digests = None
    if stack.samples is not None:
        check_size((columns, rows, len(stack.samples)), 2, str(path), limit)
        hu, digests = resample(hu, stack.samples), None
    affine = np.eye(4)
    affine[:3, 0] = plane.along_row * plane.spacing[1]
    affine[:3, 1] = plane.along_column * plane.spacing[0]
    affine[:3, 2] = stack.step
    affine[:3, 3] = stack.origin
    not_hu, more = _rescale_type(frames)
    multiframe = any(frame.header.frames > 1 for frame in frames)
    return Stored(
        hu,
        affine,
        "DICOM, enhanced multi-frame" if multiframe else "DICOM",
        notes=notes + stack.notes + _value_notes(frames[0]) + more,
        identifiers=_identifiers(frames[0].header.dataset),
        digests=digests,
        not_hu=not_hu,
    )


def _slices(
    path: Path, headers: Sequence[Header], acquisition: str | int | None, assume_axial: bool
) -> tuple[list[Frame], tuple[str, ...]]:
    """The slices of one acquisition and one geometry, and what was assumed and left out."""
    files, notes = without_copies(headers)
    frames, lost = frames_of(path, files, assume_axial=assume_axial)
    if acquisition is not None:
        frames = choose_acquisition(path, frames, acquisition)
    frames, more = one_geometry(path, frames)
    notes += more
    _check_rescale(path, frames)
    if lost:
        notes += (f"{lost} images without a position in the patient were left out.",)
    references = {text(frame.header.dataset, "FrameOfReferenceUID") for frame in frames}
    if 1 < len(references) < len(frames):
        notes += (
            f"The slices have {len(references)} frames of reference; their positions were taken "
            "as of one.",
        )
    # Each sentence once, in order of appearance.
    return frames, notes + tuple(dict.fromkeys(note for f in frames for note in f.assumed))


def _check_rescale(path: Path, frames: list[Frame]) -> None:
    """Refuse slices of which some lost what makes HU of them: they would be brighter or darker."""
    usual = Counter(frame.rescale for frame in frames).most_common(1)[0][0]
    for frame in frames:
        if frame.rescale != usual:
            lost = set(usual) ^ set(frame.rescale)
            raise ReadError(
                f"{path}: {frame.header.source.label}: {' and '.join(sorted(lost))} "
                f"{'is' if len(lost) == 1 else 'are'} in some slices and missing in others; "
                "repair the headers or copy the files again"
            )


def _instance_numbers(frames: list[Frame]) -> NDArray[np.int64] | None:
    """Instance numbers of plain slices; None unless each has another one."""
    numbers = [integer(frame.header.dataset, "InstanceNumber", -1) for frame in frames]
    plain = all(frame.header.frames == 1 for frame in frames)
    if not plain or min(numbers) < 0 or max(numbers) >= 1 << 31 or len(set(numbers)) < len(numbers):
        return None
    return np.array(numbers, np.int64)


def _value_notes(frame: Frame) -> tuple[str, ...]:
    dataset = frame.header.dataset
    notes: tuple[str, ...] = ()
    if not frame.rescale:
        notes += ("The slices have no rescale slope and intercept; values were taken as HU.",)
    if padding := text(dataset, "PixelPaddingValue"):
        notes += (f"The stored padding value is {padding}.",)
    if text(dataset, "PhotometricInterpretation") == "MONOCHROME1":
        notes += ("The slices are MONOCHROME1, which says how to show them and not what they are.",)
    if text(dataset, "LossyImageCompression") == "01":
        notes += ("The pixels have been compressed with loss.",)
    return notes


def _rescale_type(frames: list[Frame]) -> tuple[str, tuple[str, ...]]:
    """A clause where the rescale type is known to be no HU, and a note where it is unknown."""
    for kind in {frame.rescale_type: None for frame in frames}:
        if kind in NOT_HU:
            return f"their rescale type is {kind} ({NOT_HU[kind]})", ()
        if kind not in AS_HU:
            return "", (f"The rescale type is {kind}, not HU; the verdict is on the values alone.",)
    return "", ()


def _identifiers(dataset: Dataset) -> dict[str, str]:
    found = {keyword: str(dataset.get(keyword) or "").strip() for keyword in IDENTIFIERS}
    return {keyword: value for keyword, value in found.items() if value}
