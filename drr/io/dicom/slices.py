"""The slices that DICOM headers describe: where each lies and how its values become HU."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from drr.errors import ReadError
from drr.io.dicom.elements import integer, text
from drr.io.dicom.groups import Header, words
from drr.io.dicom.numbers import number, numbers
from drr.io.dicom.orientation import axial_cosines, missing_place

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Frame", "frames_of", "is_localizer"]

COMMA = "Numbers of the headers are written with decimal commas."
ONE_SPACING = "PixelSpacing is a single number and was taken for rows and columns alike."

_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")


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
    rescale: tuple[str, ...]  # which of slope and intercept the header has; the others are 1 and 0
    rescale_type: str  # of the values, as the header has it; mostly empty or HU
    content: Dataset  # has what distinguishes it from others at its place, such as acquisitions
    assumed: tuple[str, ...] = ()  # sentences on what its header does not say, or says oddly

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


def frames_of(
    path: Path, headers: Sequence[Header], *, assume_axial: bool = False
) -> tuple[list[Frame], int]:
    """The slices of a series' files, and how many images have no position in the patient.

    Localizers are left out and not counted. Slices without orientation take that of the others;
    where none has one, `drr.io.dicom.orientation` says which, or `assume_axial` does.

    Raises
    ------
    ReadError
        For a header that contradicts itself, or does not say where its slices lie.
    """
    frames: list[Frame] = []
    unplaced: list[Header] = []
    grey = _grey(headers)
    for header in grey:
        if not is_localizer(header.dataset.get("ImageType")):
            found = _of_file(path, header)
            frames += found
            unplaced += [] if found else [header]
    lost = len(headers) - len(grey) + len(unplaced)
    turned = [h for h in unplaced if "ImagePositionPatient" in h.dataset]
    if frames:
        turned = [h for h in turned if _size(h) == frames[0].shape and "PixelSpacing" in h.dataset]
        cosines = np.concatenate([frames[0].along_row, frames[0].along_column])
        note = "ImageOrientationPatient of some slices is missing; that of the others was taken."
    elif unplaced:
        settled = axial_cosines([h.dataset for h in turned or unplaced], assumed=assume_axial)
        if not turned or settled is None:
            raise ReadError(f"{path}: {missing_place([h.dataset for h in unplaced])}")
        cosines, note = settled
    for header in turned:
        name = f"{path}: {header.source.label}"
        frames.append(_plain(header, name, cosines=cosines, assumed=(note,)))
    return frames, lost - len(turned)


def is_localizer(image_type: Any) -> bool:
    """Whether an Image Type or Frame Type marks a scout view."""
    return "LOCALIZER" in words(image_type)


def _grey(headers: Sequence[Header]) -> Sequence[Header]:
    """Those that are no colour pictures (screenshots), unless all are."""
    grey = [h for h in headers if integer(h.dataset, "SamplesPerPixel", 1) == 1]
    return grey or headers


def _of_file(path: Path, header: Header) -> list[Frame]:
    """The slices of one file; none where it says nothing of their position."""
    dataset = header.dataset
    name = f"{path}: {header.source.label}"
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
    return [_plain(header, name)]


def _plain(
    header: Header,
    name: str,
    *,
    cosines: NDArray[np.float64] | None = None,
    assumed: tuple[str, ...] = (),
) -> Frame:
    """The slice of a file that has one."""
    dataset = header.dataset
    places = _Places(dataset, dataset, dataset, dataset)
    return _frame(header, 0, places, name, content=dataset, cosines=cosines, assumed=assumed)


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
    position, orientation = item("PlanePositionSequence"), item("PlaneOrientationSequence")
    measures = item("PixelMeasuresSequence")
    if position is None or orientation is None or measures is None:
        raise ReadError(f"{name}: frame {number + 1} has no position, orientation or pixel spacing")
    places = _Places(position, orientation, measures, item("PixelValueTransformationSequence"))
    content = item("FrameContentSequence")
    content = header.dataset if content is None else content
    return _frame(header, number, places, name, content=content)


@dataclass(frozen=True)
class _Places:
    """The data sets in which a slice's attributes are: one of a plain file, items of others."""

    position: Dataset
    orientation: Dataset
    measures: Dataset
    values: Dataset | None


def _frame(
    header: Header,
    number: int,
    places: _Places,
    name: str,
    *,
    content: Dataset,
    cosines: NDArray[np.float64] | None = None,
    assumed: tuple[str, ...] = (),
) -> Frame:
    along_row, along_column = _directions(places.orientation, cosines, name)
    spacing = _spacing(header, places.measures, name)
    if len(spacing) == 1:
        spacing, assumed = 2 * spacing, (*assumed, ONE_SPACING)
    if "ModalityLUTSequence" in header.dataset:
        raise ReadError(f"{name}: its HU come from a lookup table, which CT does not use")
    rescale = _rescale(places.values, name)
    position = _vector(places.position, "ImagePositionPatient", 3, name)
    if _has_commas(places):
        assumed += (COMMA,)
    return Frame(
        header=header,
        number=number,
        shape=_size(header),
        position=position,
        along_row=along_row,
        along_column=along_column,
        spacing=(spacing[0], spacing[1]),
        slope=rescale.get("RescaleSlope", 1.0),
        intercept=rescale.get("RescaleIntercept", 0.0),
        rescale=tuple(rescale),
        rescale_type="" if places.values is None else text(places.values, "RescaleType").upper(),
        content=content,
        assumed=assumed,
    )


def _size(header: Header) -> tuple[int, int]:
    return integer(header.dataset, "Rows"), integer(header.dataset, "Columns")


def _directions(
    orientation: Dataset, cosines: NDArray[np.float64] | None, name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Unit vectors along a row and a column."""
    if cosines is None:
        cosines = _vector(orientation, "ImageOrientationPatient", 6, name)
    along_row, along_column = cosines[:3], cosines[3:]
    lengths = np.linalg.norm([along_row, along_column], axis=1)
    if np.abs(lengths - 1).max() > 0.01 or abs(along_row @ along_column) > 0.01:
        raise ReadError(
            f"{name}: ImageOrientationPatient {cosines.tolist()} is not two perpendicular unit "
            "vectors; repair the header"
        )
    return along_row / lengths[0], along_column / lengths[1]


def _spacing(header: Header, measures: Dataset, name: str) -> list[float]:
    """mm between rows and between columns, or one number where the header has one."""
    if "PixelSpacing" not in measures:
        diameter = number(header.dataset.get("ReconstructionDiameter"))
        columns = integer(header.dataset, "Columns")
        if diameter and columns:
            # The diameter is of the data that were used, not of the image, so it is no spacing.
            raise ReadError(
                f"{name}: PixelSpacing is missing; if its ReconstructionDiameter of {diameter:g} "
                f"mm is the image's width, write {diameter / columns:.6g} into PixelSpacing"
            )
    spacing = numbers(measures, "PixelSpacing", name)
    if len(spacing) > 2:
        raise ReadError(f"{name}: PixelSpacing is {spacing}; 2 numbers are needed")
    if min(spacing) <= 0:
        raise ReadError(
            f"{name}: PixelSpacing is {' x '.join(f'{v:g}' for v in spacing)} mm; "
            "it must be positive, so repair the header"
        )
    return spacing


def _rescale(values: Dataset | None, name: str) -> dict[str, float]:
    """Slope and intercept, by keyword, where they are there and not empty."""
    found = {}
    for keyword in ("RescaleSlope", "RescaleIntercept"):
        raw = None if values is None else values.get(keyword)
        if values is None or raw is None or raw == "":
            continue
        if _THOUSANDS.fullmatch(str(raw).strip()):
            raise ReadError(
                f"{name}: {keyword} is {str(raw).strip()}, which may be thousands or have a "
                "decimal comma; repair it"
            )
        found[keyword] = float(_vector(values, keyword, 1, name)[0])
    return found


def _vector(dataset: Dataset, keyword: str, count: int, name: str) -> NDArray[np.float64]:
    values = np.array(numbers(dataset, keyword, name), np.float64)
    if values.shape != (count,):
        raise ReadError(f"{name}: {keyword} is {values.tolist()}; {count} numbers are needed")
    return values


def _has_commas(places: _Places) -> bool:
    read = (
        (places.position, "ImagePositionPatient"),
        (places.orientation, "ImageOrientationPatient"),
        (places.measures, "PixelSpacing"),
        (places.values, "RescaleSlope"),
        (places.values, "RescaleIntercept"),
    )
    for dataset, keyword in read:
        raw: Any = None if dataset is None else dataset.get(keyword)
        several = raw if hasattr(raw, "append") else [raw]
        # Numbers that pydicom could not read are text.
        if any(isinstance(value, str) and "," in value for value in several):
            return True
    return False
