"""Slices that lie at one place: copies, repeats, and the phases of a scan."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drr.errors import ReadError
from drr.io.dicom.elements import text
from drr.io.dicom.groups import Header
from drr.io.dicom.numbers import number
from drr.io.dicom.slices import Frame
from drr.io.dicom.stack import SAME_POSITION

__all__ = ["choose_acquisition", "distinct", "without_copies"]

FEW = 3
"""At most so many repeated slices, or a tenth of all, are taken for repeats and not for phases."""

CHUNK = 1 << 16  # bytes compared at a time

# What tells phases apart, and what messages call it. Times are left out: they identify.
DISTINCTIONS = {
    "AcquisitionNumber": "acquisition numbers",
    "FrameAcquisitionNumber": "acquisition numbers",
    "TemporalPositionIdentifier": "temporal positions",
    "TemporalPositionIndex": "temporal positions",
    "NominalPercentageOfCardiacPhase": "cardiac phases",
    "ConvolutionKernel": "kernels",
    "SliceThickness": "slice thicknesses",
    "KVP": "tube voltages",
}


def without_copies(headers: Sequence[Header]) -> tuple[list[Header], tuple[str, ...]]:
    """Leave out files that another file with the same instance UID equals, byte for byte.

    Files that share the UID and differ are kept: anonymisers give several slices one. Whether
    they are repeats tells `distinct`.
    """
    kept: list[Header] = []
    by_uid: dict[str, list[Header]] = {}
    for header in headers:
        uid = str(header.dataset.get("SOPInstanceUID") or "")
        twins = by_uid.setdefault(uid, []) if uid else []
        if not any(_same_bytes(header, twin) for twin in twins):
            twins.append(header)
            kept.append(header)
    copies = len(headers) - len(kept)
    return kept, (f"{copies} copies of files were left out.",) if copies else ()


def choose_acquisition(path: Path, frames: list[Frame], wanted: str | int) -> list[Frame]:
    """The slices of one acquisition or phase, by a value of one of `DISTINCTIONS`.

    Without such a value, `#2` is the second slice at every place, by instance number.

    Raises
    ------
    ReadError
        Where no slice is of that acquisition.
    """
    name = str(wanted).strip()
    for keyword in DISTINCTIONS:
        found = [f for f in frames if _natural(text(f.content, keyword)) == _natural(name)]
        if found:
            return found
    if re.fullmatch(r"#\d{1,4}", name) and (found := _of_rank(frames, int(name[1:]))):
        return found
    several = {meaning: _values(frames, keyword) for keyword, meaning in DISTINCTIONS.items()}
    told = "; ".join(f"{meaning} {_listed(v)}" for meaning, v in several.items() if any(v))
    raise ReadError(f"{path}: no slice is of acquisition {name!r}; there are {told or 'none'}")


def distinct(
    path: Path, frames: list[Frame], hu: NDArray[np.int16], along: NDArray[np.float64]
) -> tuple[list[int], tuple[str, ...]]:
    """Which slices to keep, one at each place, and notes on the others.

    Parameters
    ----------
    frames, hu, along
        Slices sorted along their normal, their voxels and places in mm.

    Raises
    ------
    ReadError
        Where many places have several slices that differ: the phases of a dynamic scan.
    """
    places: list[list[int]] = []
    for k in range(len(frames)):
        if places and along[k] - along[places[-1][0]] <= SAME_POSITION:
            if not any(np.array_equal(hu[k], hu[other]) for other in places[-1]):
                places[-1].append(k)
        else:
            places.append([k])
    different = sum(len(place) - 1 for place in places)
    repeated = len(frames) - len(places) - different
    notes: tuple[str, ...] = ()
    if repeated:
        notes += (f"{repeated} repeated slices were left out.",)
    if not different:
        return [place[0] for place in places], notes
    if len(places) == 1:
        raise ReadError(
            f"{path}: all {len(frames)} slices share a position, {along[0]:.4g} mm, as a faulty "
            "export leaves them, and nothing else tells which end is the head; export them again"
        )
    if different > max(min(FEW, len(places) // 4), len(places) // 10):
        raise ReadError(
            f"{path}: {different} slices share a position with a different one, as the phases of "
            f"a dynamic scan do ({_choices(frames, [len(place) for place in places])}); "
            "choose one with acquisition= (--acquisition)"
        )
    usual = Counter(_acquisition(frame) for frame in frames)
    kept = [min(place, key=lambda k: (-usual[_acquisition(frames[k])], k)) for place in places]
    return kept, (
        *notes,
        f"At {sum(len(place) > 1 for place in places)} of {len(places)} positions several slices "
        "differ, as after a repeat; that of the acquisition with most slices was kept.",
    )


def _choices(frames: list[Frame], counts: list[int]) -> str:
    """What the phases can be told apart by: acquisition numbers 1, 2."""
    most = max(counts)
    for keyword, meaning in DISTINCTIONS.items():
        values = _values(frames, keyword)
        if len(values) >= most:
            return f"{meaning} {_listed(values)}"
    numbers = _values(frames, "AcquisitionNumber")
    return f"acquisition numbers {_listed(numbers)}; by order #1 to #{most}"


def _values(frames: list[Frame], keyword: str) -> list[str]:
    return sorted({text(frame.content, keyword) for frame in frames}, key=_natural)


def _listed(values: list[str]) -> str:
    more = f" and {len(values) - 6} more" if len(values) > 6 else ""
    return ", ".join(value.removesuffix(".0") or "?" for value in values[:6]) + more


def _natural(value: str) -> tuple[float, str]:
    """By which numbers are equal however they are written, and come before text."""
    found = number(value)
    return (np.inf, value.lower()) if found is None else (found, "")


def _acquisition(frame: Frame) -> str:
    return text(frame.content, "AcquisitionNumber") or text(frame.content, "FrameAcquisitionNumber")


def _of_rank(frames: list[Frame], rank: int) -> list[Frame]:
    """The slice of that rank, counted from 1, at each place, ordered by time and number."""
    normal = frames[0].normal
    places: dict[int, list[Frame]] = {}
    for frame in frames:
        place = round(float(frame.position @ normal) / SAME_POSITION / 2)
        places.setdefault(place, []).append(frame)

    def order(frame: Frame) -> tuple[str, tuple[float, str], int]:
        header = frame.header.dataset
        numbered = _natural(text(header, "InstanceNumber"))
        return text(header, "AcquisitionTime"), numbered, frame.number

    return [sorted(p, key=order)[rank - 1] for p in places.values() if 0 < rank <= len(p)]


def _same_bytes(one: Header, other: Header) -> bool:
    with one.source.open() as first, other.source.open() as second:
        while True:
            chunk = first.read(CHUNK)
            if chunk != second.read(CHUNK):
                return False
            if not chunk:
                return True
