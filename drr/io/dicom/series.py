"""Which series a folder, a zip or a file holds, and which of them is meant."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from drr.errors import ReadError
from drr.io.dicom.elements import text
from drr.io.dicom.files import is_dicom, load_header
from drr.io.dicom.groups import Group, Header, group_headers, is_media_directory, kind_of, words
from drr.io.dicom.slices import is_localizer
from drr.io.packed.containers import Source, file_source, folder_files, open_archive

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Scan", "Series", "choose_series", "open_scan"]

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

BESIDE = "A DICOMDIR lists files; the DICOM files in and below its folder were read."

MOST_LISTED = 12


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
    notes: tuple[str, ...] = ()  # what was assumed to bring its files together

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
    notes: tuple[str, ...] = ()


@contextlib.contextmanager
def open_scan(path: Path, *, limit: int) -> Iterator[Scan]:
    """Parse the headers of every DICOM file in a folder, in a zip or tar, or beside a file.

    Raises
    ------
    ReadError
        Where nothing is DICOM, or the file that was asked for is damaged.
    """
    with contextlib.ExitStack() as stack:
        own: Source | None = None
        notes: tuple[str, ...] = ()
        if path.is_dir():
            sources = folder_files(path, wanted=is_dicom)
        else:
            archive = stack.enter_context(open_archive(path, limit=limit, wanted=is_dicom))
            if archive is None:
                own = file_source(path, wanted=is_dicom)
                named = load_header(own, limit=limit)
                medium = named is not None and is_media_directory(named[0])
                if medium:
                    own, notes = None, (BESIDE,)
                archive = folder_files(path.parent, recurse=medium, wanted=is_dicom)
            sources = archive
        yield replace(_scan(path, sources, own, limit), notes=notes)


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


def _scan(path: Path, sources: list[Source], own: Source | None, limit: int) -> Scan:
    headers: list[Header] = []
    damaged, reason = [], ""
    named = None if own is None else load_header(own, limit=limit)
    if own is not None and named is None:
        raise ReadError(f"{path}: not DICOM")
    for source in sources:
        try:
            found = load_header(source, limit=limit)
        except ReadError as error:
            damaged.append(source.label)
            reason = reason or str(error)
            continue
        if found is not None and not is_media_directory(found[0]):
            headers.append(Header(source, *found))
    if not headers:
        if damaged:
            raise ReadError(f"{path}: {reason}")
        raise ReadError(f"{path}: {_no_dicom(sources)}")
    groups = group_headers(headers)
    if own is not None and named is not None:
        groups = [_group_of(Header(own, *named), path.name, groups)]
    # By number, then in order of appearance: the same listing every time.
    groups.sort(key=lambda group: _number_key(group.headers[0].dataset))
    series = tuple(_series(index, group) for index, group in enumerate(groups, 1))
    return Scan(path, series, tuple(damaged), None if own is None else series[0])


def _group_of(own: Header, label: str, groups: list[Group]) -> Group:
    """The group that a file is in; of its own where it is in none, as files of hidden names are."""

    def is_own(header: Header) -> bool:
        same = ("SOPInstanceUID", "SeriesInstanceUID")
        return header.source.label == label or all(
            text(header.dataset, keyword) == text(own.dataset, keyword) != "" for keyword in same
        )

    for group in groups:
        if any(is_own(header) for header in group.headers):
            return group
    return Group(text(own.dataset, "SeriesInstanceUID"), kind_of(own.dataset), (own,))


def _series(index: int, group: Group) -> Series:
    first = group.headers[0].dataset
    notes = group.notes
    if group.kind.assumed:
        notes += ("Modality is missing; the series was taken for CT, as its other attributes say.",)
    derived = words(first.get("ImageType"))[:2] == ["DERIVED", "SECONDARY"]
    return Series(
        index=index,
        uid=group.uid,
        number=text(first, "SeriesNumber"),
        description=text(first, "SeriesDescription") or text(first, "ConvolutionKernel"),
        modality=group.kind.modality or "unknown modality",
        derived=derived or group.kind.captured,
        headers=group.headers,
        problem=_problem(group),
        notes=notes,
    )


def _problem(group: Group) -> str:
    modality, headers = group.kind.modality, group.headers
    if modality != "CT":
        meaning = MODALITIES.get(modality)
        return f"its modality is {modality or 'missing'}" + (f" ({meaning})" if meaning else "")
    if all(is_localizer(header.dataset.get("ImageType")) for header in headers):
        return "localizer (scout) images only"
    if not any(
        "ImagePositionPatient" in h.dataset or "PerFrameFunctionalGroupsSequence" in h.dataset
        for h in headers
    ):
        if all("SliceLocation" in header.dataset for header in headers) and len(headers) > 1:
            return (
                "its images have no position in the patient, and SliceLocation does not tell "
                "which end is the head; bring files that kept ImagePositionPatient"
            )
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
    others = [s.label for s in sources if re.search(r"\.(nii|mha|mhd|nrrd|nhdr)(\.\w+)?$", s.label)]
    if others:
        return f"holds no DICOM; to read {others[0]} in it, name (or unpack) that file"
    return f"holds no DICOM among its {len(sources)} files; name the folder of a CT series"


def _number_key(dataset: Dataset) -> tuple[int, str]:
    number = text(dataset, "SeriesNumber")
    return (int(number), "") if re.fullmatch(r"-?\d+", number) else (1 << 31, number)
