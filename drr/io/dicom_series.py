"""Which series a folder, a zip or a file holds, and which of them is meant."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drr.errors import ReadError
from drr.io.dicom_elements import integer, text
from drr.io.dicom_files import Source, dicom_files, load_header, open_zip

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Header", "Scan", "Series", "choose_series", "is_localizer", "open_scan"]

MODALITIES = {
    "CR": "computed radiography",
    "DX": "digital radiography",
    "MG": "mammography",
    "MR": "magnetic resonance",
    "NM": "nuclear medicine",
    "OT": "other",
    "PR": "presentation state",
    "PT": "positron emission tomography",
    "RF": "fluoroscopy",
    "RTDOSE": "radiotherapy dose",
    "RTIMAGE": "radiotherapy image",
    "RTPLAN": "radiotherapy plan",
    "RTSTRUCT": "radiotherapy structure set",
    "SC": "secondary capture",
    "SEG": "segmentation",
    "SR": "structured report",
    "US": "ultrasound",
    "XA": "angiography",
}

CT_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.2",  # CT
    "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT
    "1.2.840.10008.5.1.4.1.1.2.2",  # Legacy Converted Enhanced CT
)
MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"  # a DICOMDIR: lists files, holds no image

MOST_LISTED = 12


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
class Series:
    """One series; `problem` says why it is no CT volume and is empty for one."""

    index: int
    uid: str
    number: str
    description: str
    modality: str
    derived: bool
    headers: tuple[Header, ...]
    problem: str

    @property
    def slices(self) -> int:
        return sum(header.frames for header in self.headers)

    @property
    def line(self) -> str:
        """`#1 'Thorax 1.0 B70f' (series 4, CT, 300 slices)`."""
        description = f"{self.description!r} " if self.description else ""
        number = f"series {self.number}, " if self.number else ""
        plural = "" if self.slices == 1 else "s"
        return f"#{self.index} {description}({number}{self.modality}, {self.slices} slice{plural})"


@dataclass(frozen=True)
class Scan:
    """What was found; its sources stay readable inside the `open_scan` block."""

    path: Path
    series: tuple[Series, ...]
    damaged: tuple[str, ...]
    own: Series | None  # the series of the file that was asked for, if it was a file


@contextlib.contextmanager
def open_scan(path: Path, *, limit: int) -> Iterator[Scan]:
    """Parse the headers of every DICOM file in a folder, in a zip or beside a file.

    Raises
    ------
    ReadError
        Where nothing is DICOM, or the file that was asked for is damaged.
    """
    with contextlib.ExitStack() as stack:
        own = None
        if path.is_dir():
            sources = dicom_files(path)
        elif _is_zip(path):
            sources = stack.enter_context(open_zip(path, limit))
        else:
            sources = dicom_files(path.parent, recurse=False)
            own = Source(str(path), lambda: path.open("rb"))
        yield _scan(path, sources, own, limit)


def choose_series(scan: Scan, wanted: str | int | None) -> tuple[Series, tuple[str, ...]]:
    """The series meant, and a note if others were passed over; rules in `read_dicom`."""
    if wanted is not None:
        chosen = _named(scan, str(wanted))
        if chosen.problem:
            raise ReadError(f"{scan.path}: {chosen.line} is not a CT volume: {chosen.problem}")
        return chosen, ()
    if scan.own is not None:
        if scan.own.problem:
            raise ReadError(f"{scan.path}: not a CT volume: {scan.own.problem}")
        return scan.own, ()
    volumes = [series for series in scan.series if not series.problem]
    if not volumes:
        found = "; ".join(f"{s.line}: {s.problem}" for s in scan.series[:MOST_LISTED])
        raise ReadError(f"{scan.path}: holds no CT volume: {found}")
    if len(volumes) > 1:
        originals = [series for series in volumes if not series.derived]
        if len(originals) != 1:
            raise ReadError(
                f"{scan.path}: holds {len(volumes)} CT series; choose one with series= "
                f"(--series), by number, description or place: {_listing(volumes)}"
            )
        volumes = originals
    others = len(scan.series) - 1
    if not others:
        return volumes[0], ()
    return volumes[0], (
        f"Series {volumes[0].number or volumes[0].index} was read; {others} other series of the "
        "input are localizers, derived images or not CT.",
    )


def is_localizer(image_type: Any) -> bool:
    """Whether an Image Type or Frame Type marks a scout view."""
    return "LOCALIZER" in _words(image_type)


def _scan(path: Path, sources: list[Source], own: Source | None, limit: int) -> Scan:
    groups: dict[str, list[Header]] = {}
    damaged, reason = [], ""
    own_uid = None
    if own is not None:
        found = load_header(own, limit=limit)
        if found is None:
            raise ReadError(f"{path}: not DICOM")
        own_uid = text(found[0], "SeriesInstanceUID")
    for source in sources:
        try:
            found = load_header(source, limit=limit)
        except ReadError as error:
            damaged.append(source.label)
            reason = reason or str(error)
            continue
        if found is None or text(found[0], "SOPClassUID") == MEDIA_DIRECTORY:
            continue
        dataset, pixels_at = found
        uid = text(dataset, "SeriesInstanceUID")
        if own_uid is None or uid == own_uid:
            groups.setdefault(uid, []).append(Header(source, dataset, pixels_at))
    if not groups:
        if damaged:
            raise ReadError(f"{path}: {reason}")
        raise ReadError(f"{path}: {_no_dicom(sources)}")
    # By number, then in order of appearance: the same listing every time.
    ordered = sorted(groups.items(), key=lambda item: _number_key(item[1][0].dataset))
    series = tuple(_series(i, uid, headers) for i, (uid, headers) in enumerate(ordered, 1))
    return Scan(path, series, tuple(damaged), series[0] if own_uid is not None else None)


def _series(index: int, uid: str, headers: list[Header]) -> Series:
    first = headers[0].dataset
    modality = text(first, "Modality")
    if text(first, "SOPClassUID") in CT_CLASSES:
        modality = "CT"
    image_type = _words(first.get("ImageType"))
    return Series(
        index=index,
        uid=uid,
        number=text(first, "SeriesNumber"),
        description=text(first, "SeriesDescription"),
        modality=modality or "unknown modality",
        derived=image_type[:2] == ["DERIVED", "SECONDARY"],
        headers=tuple(headers),
        problem=_problem(modality, headers),
    )


def _problem(modality: str, headers: list[Header]) -> str:
    if modality != "CT":
        meaning = MODALITIES.get(modality)
        return f"its modality is {modality or 'missing'}" + (f" ({meaning})" if meaning else "")
    if all(is_localizer(header.dataset.get("ImageType")) for header in headers):
        return "localizer (scout) images only"
    if not any(
        "ImagePositionPatient" in h.dataset or "PerFrameFunctionalGroupsSequence" in h.dataset
        for h in headers
    ):
        return "its images have no position in the patient (reports, screenshots or 2-D images)"
    if sum(header.frames for header in headers) < 2:
        return "a single slice; a volume needs at least two, so bring the whole series"
    return ""


def _named(scan: Scan, wanted: str) -> Series:
    lowered = wanted.strip().lower()
    rules = (
        lambda s: s.uid == wanted.strip(),
        lambda s: s.number == wanted.strip(),
        lambda s: f"#{s.index}" == lowered,
        lambda s: s.description.lower() == lowered,
        lambda s: lowered != "" and lowered in s.description.lower(),
    )
    for rule in rules:
        matches = [series for series in scan.series if rule(series)]
        if len(matches) > 1:
            volumes = [series for series in matches if not series.problem]
            matches = volumes if len(volumes) == 1 else matches
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise ReadError(
                f"{scan.path}: series {wanted!r} fits {len(matches)} series; choose by place: "
                f"{_listing(matches)}"
            )
    raise ReadError(f"{scan.path}: no series {wanted!r} here; there are {_listing(scan.series)}")


def _listing(series: list[Series] | tuple[Series, ...]) -> str:
    more = f"; and {len(series) - MOST_LISTED} more" if len(series) > MOST_LISTED else ""
    return "; ".join(s.line for s in series[:MOST_LISTED]) + more


def _no_dicom(sources: list[Source]) -> str:
    if not sources:
        return "holds no files"
    others = [s.label for s in sources if re.search(r"\.(nii(\.gz)?|mha|mhd|nrrd|nhdr)$", s.label)]
    if others:
        return f"holds no DICOM; to read {others[0]} in it, name (or unpack) that file"
    return f"holds no DICOM among its {len(sources)} files; name the folder of a CT series"


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _number_key(dataset: Dataset) -> tuple[int, str]:
    number = text(dataset, "SeriesNumber")
    return (int(number), "") if re.fullmatch(r"-?\d+", number) else (1 << 31, number)


def _words(value: Any) -> list[str]:
    words = [value] if isinstance(value, str) else list(value or [])
    return [str(word).strip().upper() for word in words]
