"""Messages about a CT without its name: for what is written and may travel.

Errors and notes of readers begin with the file they are about, and may name a folder or a slice in
it. Where a study's place is nobody's business, all of these give way to what stands for it.
"""

from __future__ import annotations

import os
import re
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from drr.datasets.study import Place, Study
from drr.errors import printable

__all__ = ["hidden_text", "message_of", "public_text", "without_names"]

LONGEST_TEXT = 2000
"""Characters; a note on how a scan was read has hundreds."""

MOST_NAMES = 20_000
"""Files of one CT whose names are looked for."""

_SUFFIX = re.compile(
    r"(?i)(\.(nii|img|hdr|tar|mha|mhd|nrrd|nhdr|npy|npz|dcm|ima|zip|raw))?\.[a-z0-9]{1,5}$"
)
# Names made of these alone say nothing of anybody, and their like is in most messages.
_OURS = frozenset(
    re.findall(
        r"\w+",
        "a an as at be by ct cts hu in is it no not of on or so to the and dicom dicomdir scan "
        "scans series slice slices image images img volume volumes voxel voxels file files "
        "folder data dataset mask masks label labels segmentation seg chest thorax lung lungs "
        "body mm train valid test cohort study studies patient patients nii nifti nrrd zip "
        "phantom header axial",
    )
)
# DICOM's own UIDs, such as those of transfer syntaxes, are the same everywhere.
_UID = re.compile(r"(?<![\w.])(?!1\.2\.840\.10008\.)[0-2](\.(0|[1-9][0-9]*)){4,}(?![\w.])")


def message_of(error: BaseException) -> str:
    """An error's text as it was raised, before `printable` shortens it and changes its letters."""
    return BaseException.__str__(error)


def public_text(text: str, study: Study, root: str | Path) -> str:
    """What is said of a study without where its source lies, nor its names where those are hidden.

    Parameters
    ----------
    text
        A note, or what `message_of` gives.
    root
        Root folder of the cohort.

    Returns
    -------
    One line of printable text.
    """
    if study.place is None:
        return printable(_without_root(text, root), most=LONGEST_TEXT)
    return hidden_text(text, study.place, root, stand_in=study.path)


def hidden_text(text: str, place: Place, root: str | Path, *, stand_in: str) -> str:
    """As `public_text`, with `stand_in` for all names that a place has."""
    paths = [place.path, place.segmentation or "", *_inner_names(Path(root, place.path))]
    text = without_names(_without_root(text, root), paths, stand_in=stand_in)
    return printable(text, most=LONGEST_TEXT)


def without_names(text: str, paths: Iterable[str], *, stand_in: str) -> str:
    """A text in which `stand_in` is for every path, and for every name of folder or file in it.

    UIDs go, too. Names that only repeat words of the field, such as `ct`, and short numbers stay
    where they are words of a sentence: whole paths go all the same.
    """
    names = {written for path in paths for name in _names(path) for written in _spellings(name)}
    if not names:
        return text
    # Longest first: a path before the folders in it.
    ordered = sorted(names, key=lambda name: (-len(name), name))
    text = _UID.sub("(a UID)", text)
    for start in range(0, len(ordered), 500):
        some = "|".join(map(re.escape, ordered[start : start + 500]))
        text = re.sub(rf"(?<!\w)({some})(?!\w)", lambda _: stand_in, text)
    # A file in a folder: both are called the same now.
    return _mended(text, ordered).replace(f"{stand_in}: {stand_in}: ", f"{stand_in}: ")


def _without_root(text: str, root: str | Path) -> str:
    """Where the source lies is nobody's business."""
    end = re.escape(os.sep)
    for place in sorted({str(root), os.path.abspath(root), os.path.realpath(root)}, key=len)[::-1]:
        if place in (".", os.sep, ""):
            continue
        for written in map(re.escape, _spellings(place)):
            text = re.sub(rf"(?<![\w{end}]){written}{end}+", "", text)
            text = re.sub(rf"(?<![\w{end}]){written}(?!\w)", "the source", text)
    return text


def _mended(text: str, names: list[str]) -> str:
    """Where `printable` left out the middle of a text, what is left of a name that it cut."""
    left, gap, right = text.partition(" ... ")
    if not gap:
        return text
    for name in names:
        for length in range(len(name) - 1, 2, -1):
            if left.endswith(name[:length]):
                left = left[:-length]
            if right.startswith(name[-length:]):
                right = right[length:]
    return left + gap + right


def _names(path: str) -> Iterator[str]:
    """A path, its folders, its file with and without suffix; all but what is said of any CT."""
    if not path or path == ".":
        return
    parts = [part for part in re.split(r"[/\\]" if os.sep == "\\" else "/", path) if part]
    if len(parts) > 1:
        yield path
        if os.sep != "/":
            yield path.replace("/", os.sep)
    for part in parts:
        for name in (part, _SUFFIX.sub("", part)):
            words = re.split(r"[\W_]+", name.casefold())
            short = name.isdigit() and len(name) < 5
            if name and not short and not all(word in _OURS for word in words if word):
                yield name


def _spellings(name: str) -> set[str]:
    """A name as messages may have it: as it is, escaped, quoted, with accents composed or not."""
    forms = {name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))}
    shown = {printable(form, most=10_000) for form in forms}
    return {f for f in forms | shown | {repr(f)[1:-1] for f in forms} | {ascii(name)[1:-1]} if f}


def _inner_names(file: Path) -> list[str]:
    """Files in a study's folder or archive."""
    try:
        if file.is_dir():
            walked = ((folder, name) for folder, _, names in os.walk(file) for name in names)
            return [os.path.relpath(Path(*pair), file) for pair in islice(walked, MOST_NAMES)]
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                return archive.namelist()[:MOST_NAMES]
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        pass
    return []
