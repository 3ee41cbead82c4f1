"""Which DICOM files belong together: by what they are, whose they are and which series.

A series UID alone does not tell. Structure sets, reports and screenshots carry the UID of the CT
that they were made from; anonymisers remove UIDs, give each slice one of its own, or give one UID
to all patients.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drr.io.dicom.elements import integer, text
from drr.io.dicom.numbers import number
from drr.io.packed.containers import Source

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Group", "Header", "group_headers", "is_media_directory", "kind_of", "words"]

CT_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.2",  # CT
    "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT
    "1.2.840.10008.5.1.4.1.1.2.2",  # Legacy Converted Enhanced CT
)
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # and, with a further number, its multi-frames
MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"  # a DICOMDIR: lists files, holds no image

USUAL_INTERCEPT = -500.0
"""At or below it, a rescale intercept is that of CT numbers (-1024, -1000, -8192)."""


@dataclass(frozen=True)
class Header:
    """One file of a series, parsed without its pixels."""

    source: Source
    dataset: Dataset
    pixels_at: int = -1  # as `load_header` has it

    @property
    def frames(self) -> int:
        return max(integer(self.dataset, "NumberOfFrames", 1), 1)


@dataclass(frozen=True)
class Kind:
    """What an object is: its modality, empty where nothing tells, and whether a screenshot."""

    modality: str
    captured: bool = False
    picture: bool = True  # unless it has no rows, as raw data
    assumed: bool = False  # the modality is missing and was told from other attributes


@dataclass(frozen=True)
class Group:
    """Objects of one kind and series; `notes` says what was assumed to bring them together."""

    uid: str
    kind: Kind
    headers: tuple[Header, ...]
    notes: tuple[str, ...] = ()


def group_headers(headers: Iterable[Header]) -> list[Group]:
    """Sort files into series, in order of appearance.

    Objects of another modality, and screenshots, are series of their own though they share a
    UID. So are those of another patient or study. Slices without a series UID, and single slices
    with one each, are one series where everything else agrees: patient, number, description,
    kernel, kind of image, matrix and orientation.
    """
    found: dict[Hashable, list[Header]] = {}
    for header in headers:
        uid = text(header.dataset, "SeriesInstanceUID")
        kind = kind_of(header.dataset)
        found.setdefault((kind, uid or _likeness(header.dataset)), []).append(header)
    groups = []
    for together in found.values():
        uid, kind = text(together[0].dataset, "SeriesInstanceUID"), kind_of(together[0].dataset)
        groups += [Group(uid, kind, tuple(part)) for part in _by_patient(together)]
    return _joined(groups)


def kind_of(dataset: Dataset) -> Kind:
    """What an object is, by its class rather than by its modality, where they differ."""
    modality = text(dataset, "Modality").upper()
    sop_class = text(dataset, "SOPClassUID") or ("" if modality else _class_in_meta(dataset))
    picture = integer(dataset, "Rows") > 0
    if sop_class in CT_CLASSES:
        return Kind("CT", picture=picture, assumed=not modality)
    captured = sop_class == SECONDARY_CAPTURE or sop_class.startswith(f"{SECONDARY_CAPTURE}.")
    if modality or sop_class or not _looks_like_ct(dataset):
        return Kind(modality, captured, picture)
    return Kind("CT", assumed=True)


def is_media_directory(dataset: Dataset) -> bool:
    """Whether a file is a DICOMDIR, which lists the files of a medium."""
    return MEDIA_DIRECTORY in (text(dataset, "SOPClassUID"), _class_in_meta(dataset))


def words(value: object) -> list[str]:
    """The values of an attribute such as Image Type, in capitals."""
    several = value if isinstance(value, Iterable) and not isinstance(value, str) else [value or ""]
    return [str(word).strip().upper() for word in several]


def _class_in_meta(dataset: Dataset) -> str:
    return str(getattr(dataset, "file_meta", {}).get("MediaStorageSOPClassUID") or "").strip()


def _looks_like_ct(dataset: Dataset) -> bool:
    """Whether a header without modality and class has what only CT has."""
    if text(dataset, "RescaleType").upper() == "HU" or text(dataset, "KVP"):
        return True
    try:
        return float(text(dataset, "RescaleIntercept")) <= USUAL_INTERCEPT
    except ValueError:
        return False


def _by_patient(headers: Sequence[Header]) -> list[list[Header]]:
    """Those of different patients or studies apart; where neither is said, with the first."""
    said = [
        keyword
        for keyword in ("PatientID", "StudyInstanceUID")
        if any(text(header.dataset, keyword) for header in headers)
    ]
    parts: dict[Hashable, list[Header]] = {}
    unsaid: list[Header] = []
    for header in headers:
        key = tuple(text(header.dataset, keyword) for keyword in said)
        if all(key):
            parts.setdefault(key, []).append(header)
        else:
            unsaid.append(header)
    if len(parts) < 2:
        return [list(headers)]
    found = list(parts.values())
    return [[*found[0], *unsaid], *found[1:]]


def _joined(groups: list[Group]) -> list[Group]:
    """Groups of CT slices that lost the series UID they shared, as one."""
    alike: dict[Hashable, list[Group]] = {}
    for place, group in enumerate(groups):
        placed = group.kind.modality == "CT" and "ImagePositionPatient" in group.headers[0].dataset
        key = (group.kind, _likeness(group.headers[0].dataset)) if placed else place
        alike.setdefault(key, []).append(group)
    out = []
    for members in alike.values():
        strays = [g for g in members if not g.uid or (len(g.headers) == g.headers[0].frames == 1)]
        whole = [group for group in members if group not in strays]
        together = strays
        if len(whole) == 1 and not all(group.uid for group in strays):
            together = [*whole, *strays]
        if len(together) < 2:
            out += members
            continue
        headers = tuple(header for group in together for header in group.headers)
        note = (
            f"{len(headers)} slices without a common series UID were taken as one series, since "
            "their series number, description, matrix and orientation agree."
        )
        out.append(Group(together[0].uid, together[0].kind, headers, (note,)))
        out += [group for group in whole if group not in together]
    return out


def _likeness(dataset: Dataset) -> Hashable:
    """What slices of one series agree in, besides its UID."""
    keywords = ("SeriesNumber", "SeriesDescription", "PatientID", "ConvolutionKernel")
    cosines = [number(value) for value in words(dataset.get("ImageOrientationPatient"))]
    return (
        *(text(dataset, keyword) for keyword in (*keywords, "Rows", "Columns")),
        *words(dataset.get("ImageType")),
        # Their last digits differ from slice to slice, and 0 may be written as -0.
        *(None if cosine is None else round(cosine, 2) + 0.0 for cosine in cosines),
    )
