"""DICOM CT: a folder, a zip, or one file of a series; single slices or enhanced multi-frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from drr.errors import ReadError
from drr.io.dicom_files import IDENTIFIERS, integer, load, pixel_bytes, text
from drr.io.dicom_pixels import Pixels
from drr.io.dicom_series import Header, Series, choose_series, is_localizer, open_scan
from drr.io.slices import SAME_POSITION, resample, stack_slices
from drr.io.stored import Stored, check_size, rescale
from drr.io.voxels import PatientOrder
from drr.kernels.cpu.threads import available_cpus, run, split

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["list_series", "read_dicom"]

STRAY_SLICES = 3
"""At most so many slices of another geometry are taken for unmarked localizers and left out."""

UNITS = {
    "OD": "optical density",
    "MGML": "milligrams per millilitre, as of iodine",
    "Z_EFF": "effective atomic numbers",
    "ED": "electron densities",
    "EDW": "electron densities relative to water",
    "PCT": "percent",
}
"""Rescale types (PS3.3 C.11.1.1.2) that are no HU."""


@dataclass(frozen=True)
class Frame:
    """One slice: which pixels, where they lie, and how they become HU."""

    header: Header
    number: int  # of the frame in its file, from 0
    shape: tuple[int, int]
    position: NDArray[np.float64]  # LPS mm of the first pixel's centre
    along_row: NDArray[np.float64]  # unit vector towards higher column index
    along_column: NDArray[np.float64]
    spacing: tuple[float, float]  # mm between rows, mm between columns
    slope: float
    intercept: float

    @property
    def label(self) -> str:
        if self.header.frames > 1:
            return f"frame {self.number + 1}"
        number = text(self.header.dataset, "InstanceNumber")
        return f"slice {number}" if number else self.header.source.label

    @property
    def normal(self) -> NDArray[np.float64]:
        normal = np.cross(self.along_row, self.along_column)
        return np.asarray(normal / np.linalg.norm(normal))

    def matches(self, other: Frame) -> bool:
        """Whether two slices may belong to one grid."""
        return (
            self.shape == other.shape
            and np.allclose(self.spacing, other.spacing, rtol=1e-3)
            and np.allclose(self.along_row, other.along_row, atol=1e-3)
            and np.allclose(self.along_column, other.along_column, atol=1e-3)
        )


def read_dicom(
    path: Path, *, series: str | int | None = None, limit: int, threads: int | None = None
) -> Stored:
    """Read one CT series.

    Which series: the one that `series` names by UID, by number, as `#1` (its place in the
    listing) or by description (all of it or an unmistakable part, case ignored). Without a name,
    of the series that are CT volumes (localizers, other modalities and single images are not),
    the only one, or else the only one that is not DERIVED SECONDARY. A single file stands for its
    own series, whose other files are looked for beside it.

    Slices are sorted along their normal; `drr.io.slices` states the tolerances. Slope and
    intercept are applied once, slice by slice. Slices at one position must be identical, and one
    of them is kept. Gantry tilt stays in the affine.

    Raises
    ------
    ReadError
        When there is no such CT volume, or it is incomplete, mixed or not decodable.
    """
    with open_scan(path, limit=limit) as scan:
        chosen, notes = choose_series(scan, series)
        try:
            stored = _assemble(path, chosen, limit, threads)
        except ReadError as error:
            if scan.damaged and "missing" in str(error):
                raise ReadError(f"{error} (damaged: {', '.join(scan.damaged[:3])})") from None
            raise
    if scan.damaged:
        notes += (f"{len(scan.damaged)} damaged DICOM files were left out.",)
    return replace(stored, notes=notes + stored.notes)


def list_series(path: Path, *, limit: int) -> tuple[Series, ...]:
    """All series of a folder or zip, or the one of a file, CT volumes or not."""
    with open_scan(path, limit=limit) as scan:
        return scan.series


def _assemble(path: Path, series: Series, limit: int, threads: int | None) -> Stored:
    headers, notes = _without_copies(series.headers)
    placed = [(header, _frames(path, header)) for header in headers]
    frames, more = _one_geometry(path, [frame for _, found in placed for frame in found])
    notes += more
    lost = sum(not found and not is_localizer(h.dataset.get("ImageType")) for h, found in placed)
    if lost:
        notes += (f"{lost} images without a position in the patient were left out.",)
    first = frames[0]
    rows, columns = first.shape
    normal = first.normal
    frames.sort(key=lambda frame: float(frame.position @ normal))
    check_size((columns, rows, len(frames)), 2, str(path), limit)
    directions = np.eye(4)
    directions[:3, :3] = np.column_stack([first.along_row, first.along_column, normal])
    target = PatientOrder((len(frames), rows, columns), directions)
    _read_frames(path, frames, target, limit, threads)
    voxels = target.finish(str(path))
    hu, digests = voxels.hu, voxels.digests
    notes += voxels.notes
    # Slices at one position are repeats or phases: only their pixels tell.
    along = np.array([float(frame.position @ normal) for frame in frames])
    keep = _distinct(path, frames, hu, along)
    if len(keep) < len(frames):
        notes += (f"{len(frames) - len(keep)} repeated slices were left out.",)
        frames, hu, digests = [frames[k] for k in keep], hu[keep], None
    if len(frames) < 2:
        raise ReadError(f"{path}: a single slice is no volume; bring the whole series")
    stack = stack_slices(
        np.array([frame.position for frame in frames]),
        normal,
        pixel=min(first.spacing),
        labels=[f"{frame.label} at {frame.position @ normal:.4g} mm" for frame in frames],
        name=str(path),
    )
    if stack.samples is not None:
        hu, digests = resample(hu, stack.samples), None
    affine = np.eye(4)
    affine[:3, 0] = first.along_row * first.spacing[1]
    affine[:3, 1] = first.along_column * first.spacing[0]
    affine[:3, 2] = stack.step
    affine[:3, 3] = stack.origin
    multiframe = any(header.frames > 1 for header in headers)
    return Stored(
        hu,
        affine,
        "DICOM, enhanced multi-frame" if multiframe else "DICOM",
        notes=notes + stack.notes + _value_notes(headers[0].dataset),
        identifiers=_identifiers(headers[0].dataset),
        digests=digests,
        not_hu=_not_hu(headers[0].dataset),
    )


def _without_copies(headers: Sequence[Header]) -> tuple[list[Header], tuple[str, ...]]:
    """Drop further copies of the same instance."""
    kept: dict[str, Header] = {}
    for header in headers:
        uid = str(header.dataset.get("SOPInstanceUID") or header.source.label)
        kept.setdefault(uid, header)
    copies = len(headers) - len(kept)
    return list(kept.values()), (f"{copies} copies of files were left out.",) if copies else ()


def _one_geometry(path: Path, frames: list[Frame]) -> tuple[list[Frame], tuple[str, ...]]:
    """The slices that share orientation, matrix and pixel spacing, if nearly all do."""
    if not frames:
        raise ReadError(f"{path}: no slice of the series has a position and orientation")
    groups: list[list[Frame]] = []
    for frame in frames:
        group = next((group for group in groups if group[0].matches(frame)), None)
        if group is None:
            groups.append([frame])
        else:
            group.append(frame)
    groups.sort(key=len, reverse=True)
    stray = sum(len(group) for group in groups[1:])
    if stray > min(STRAY_SLICES, len(groups[0]) // 4):
        parts = "; ".join(_describe(group) for group in groups[:4])
        raise ReadError(
            f"{path}: the series mixes {len(groups)} kinds of slices: {parts}; "
            "keep one kind in the folder"
        )
    if not stray:
        return groups[0], ()
    return groups[0], (
        f"{stray} slices of another orientation or matrix, as localizers have, were left out.",
    )


def _describe(group: list[Frame]) -> str:
    first = group[0]
    plane = ("sagittal", "coronal", "axial")[int(np.abs(first.normal).argmax())]
    rows, columns = first.shape
    return f"{len(group)} {plane} of {columns} x {rows} at {first.spacing[1]:.4g} mm"


def _read_frames(
    path: Path, frames: list[Frame], target: PatientOrder, limit: int, threads: int | None
) -> None:
    """Decode and rescale every frame into its place; each file is opened once."""
    by_file: dict[int, list[int]] = {}
    for place, frame in enumerate(frames):
        by_file.setdefault(id(frame.header), []).append(place)
    files = list(by_file.values())
    threads = threads or available_cpus()

    def read_files(start: int, stop: int) -> None:
        for places in files[start:stop]:
            pixels = _pixels(path, frames[places[0]].header, limit)
            for place in places:
                _read_frame(frames[place], pixels, target, place)

    if len(files) > 1:
        run(read_files, split(len(files), 8 * threads), threads)
        return
    pixels = _pixels(path, frames[0].header, limit)

    def read_places(start: int, stop: int) -> None:
        for place in range(start, stop):
            _read_frame(frames[place], pixels, target, place)

    run(read_places, split(len(frames), 8 * threads), threads)


def _pixels(path: Path, header: Header, limit: int) -> Pixels:
    source = header.source
    name = str(path) if path.name == source.label else f"{path}: {source.label}"
    data = pixel_bytes(source, header.dataset, header.pixels_at, limit=limit)
    if data is not None:
        return Pixels(header.dataset, data, name=name, limit=limit)
    dataset = load(source, limit=limit, name=str(path))
    if dataset is None:
        raise ReadError(f"{name}: changed while it was read; try again")
    return Pixels(dataset, name=name, limit=limit)


def _read_frame(frame: Frame, pixels: Pixels, target: PatientOrder, place: int) -> None:
    name = pixels.name
    if frame.number >= pixels.frames:
        raise ReadError(f"{name}: holds {pixels.frames} frames, fewer than it describes")
    stored = pixels.frame(frame.number)
    if stored.shape != frame.shape:
        raise ReadError(f"{name}: its pixels do not fit the size in its header")
    out = target.hu[place]
    rescale(stored, frame.slope, frame.intercept, out=out, name=name, found=target.found)
    target.digest(place, place + 1)


def _distinct(
    path: Path, frames: list[Frame], hu: NDArray[np.int16], along: NDArray[np.float64]
) -> list[int]:
    """Places of the slices to keep: one of each run of identical slices at one position."""
    keep = [0]
    different = 0
    for k in range(1, len(frames)):
        if along[k] - along[keep[-1]] > SAME_POSITION:
            keep.append(k)
        elif not np.array_equal(hu[k], hu[keep[-1]]):
            different += 1
    if different:
        numbers = sorted({text(f.header.dataset, "AcquisitionNumber") or "?" for f in frames})
        raise ReadError(
            f"{path}: {different} slices share a position with a different one, as the phases of "
            f"a dynamic scan do (acquisition numbers {', '.join(numbers[:6])}); "
            "keep one phase in the folder"
        )
    return keep


def _frames(path: Path, header: Header) -> list[Frame]:
    """The slices of one file, localizers and images without position left out."""
    dataset = header.dataset
    name = f"{path}: {header.source.label}"
    if is_localizer(dataset.get("ImageType")):
        return []
    if "PerFrameFunctionalGroupsSequence" in dataset:
        shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
        groups = dataset.PerFrameFunctionalGroupsSequence
        if len(groups) != header.frames:
            raise ReadError(
                f"{name}: describes {len(groups)} of its {header.frames} frames; it is damaged"
            )
        found = [_enhanced(header, k, group, shared, name) for k, group in enumerate(groups)]
        return [frame for frame in found if frame is not None]
    if "ImagePositionPatient" not in dataset or "ImageOrientationPatient" not in dataset:
        return []
    if header.frames > 1:
        raise ReadError(f"{name}: has {header.frames} frames but no position for each of them")
    return [_frame(header, 0, dataset, dataset, dataset, dataset, name)]


def _enhanced(
    header: Header, number: int, group: Dataset, shared: Dataset | None, name: str
) -> Frame | None:
    """One frame of an enhanced multi-frame object; its own groups override the shared ones."""

    def item(keyword: str) -> Any:
        for place in (group, shared):
            if place is not None and place.get(keyword):
                return place.get(keyword)[0]
        return None

    kind = item("CTImageFrameTypeSequence")
    if kind is not None and is_localizer(kind.get("FrameType")):
        return None
    parts = [
        item(keyword)
        for keyword in (
            "PlanePositionSequence",
            "PlaneOrientationSequence",
            "PixelMeasuresSequence",
            "PixelValueTransformationSequence",
        )
    ]
    if any(part is None for part in parts[:3]):
        raise ReadError(f"{name}: frame {number + 1} has no position, orientation or pixel spacing")
    return _frame(header, number, parts[0], parts[1], parts[2], parts[3], name)


def _frame(
    header: Header,
    number: int,
    position: Dataset,
    orientation: Dataset,
    measures: Dataset,
    values: Dataset | None,
    name: str,
) -> Frame:
    cosines = _vector(orientation, "ImageOrientationPatient", 6, name)
    along_row, along_column = cosines[:3], cosines[3:]
    lengths = np.linalg.norm([along_row, along_column], axis=1)
    if np.abs(lengths - 1).max() > 0.01 or abs(along_row @ along_column) > 0.01:
        raise ReadError(
            f"{name}: ImageOrientationPatient {cosines.tolist()} is not two perpendicular unit "
            "vectors; repair the header"
        )
    row_spacing, column_spacing = _vector(measures, "PixelSpacing", 2, name)
    if not (row_spacing > 0 and column_spacing > 0):
        raise ReadError(
            f"{name}: PixelSpacing is {row_spacing:g} x {column_spacing:g} mm; "
            "it must be positive, so repair the header"
        )
    if "ModalityLUTSequence" in header.dataset:
        raise ReadError(f"{name}: its HU come from a lookup table, which CT does not use")
    slope, intercept = 1.0, 0.0
    if values is not None and values.get("RescaleSlope") is not None:
        slope = float(_vector(values, "RescaleSlope", 1, name)[0])
    if values is not None and values.get("RescaleIntercept") is not None:
        intercept = float(_vector(values, "RescaleIntercept", 1, name)[0])
    return Frame(
        header=header,
        number=number,
        shape=(integer(header.dataset, "Rows"), integer(header.dataset, "Columns")),
        position=_vector(position, "ImagePositionPatient", 3, name),
        along_row=along_row / lengths[0],
        along_column=along_column / lengths[1],
        spacing=(float(row_spacing), float(column_spacing)),
        slope=slope,
        intercept=intercept,
    )


def _vector(dataset: Dataset, keyword: str, count: int, name: str) -> NDArray[np.float64]:
    try:
        raw = dataset.get(keyword)
        values = np.array([float(v) for v in (raw if count > 1 else [raw])])
    except Exception:  # absent, empty or not numbers
        raise ReadError(f"{name}: {keyword} is missing or not a number; repair it") from None
    if values.shape != (count,) or not np.isfinite(values).all():
        raise ReadError(f"{name}: {keyword} is {values.tolist()}; {count} numbers are needed")
    return values


def _value_notes(dataset: Dataset) -> tuple[str, ...]:
    notes: tuple[str, ...] = ()
    rescaled = "RescaleIntercept" in dataset or "PerFrameFunctionalGroupsSequence" in dataset
    if not rescaled:
        notes += ("The slices have no rescale slope and intercept; values were taken as HU.",)
    kind = text(dataset, "RescaleType").upper()
    if kind not in ("HU", "US", ""):
        notes += (f"The rescale type is {kind}, not HU.",)
    if padding := text(dataset, "PixelPaddingValue"):
        notes += (f"The stored padding value is {padding}.",)
    if text(dataset, "LossyImageCompression") == "01":
        notes += ("The pixels have been compressed with loss.",)
    return notes


def _not_hu(dataset: Dataset) -> str:
    """What the rescale type says the values are, where that is a unit other than HU."""
    kind = text(dataset, "RescaleType").upper()
    return f"their rescale type is {kind}, {UNITS[kind]}" if kind in UNITS else ""


def _identifiers(dataset: Dataset) -> dict[str, str]:
    found = {keyword: str(dataset.get(keyword) or "").strip() for keyword in IDENTIFIERS}
    return {keyword: value for keyword, value in found.items() if value}
