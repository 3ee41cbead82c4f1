"""A cohort from a folder of CTs in any layout: every volume file, zip and DICOM series in it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from drr.datasets.names import LONGEST_NAME, CohortError, folded, sample_from_path, stand_in
from drr.datasets.privacy.public_text import hidden_text, message_of
from drr.datasets.sources.walk import walk
from drr.datasets.study import Cohort, Place, Problem, Study
from drr.errors import DRRError
from drr.files.names import ARCHIVES, VOLUMES, suffix_of
from drr.io.packed.inflate import DEFAULT_LIMIT
from drr.io.packed.unpack import open_unpacked

__all__ = ["find_folder"]

_VOLUMES = (*VOLUMES, *ARCHIVES)
# Label maps that usually lie beside a CT and are none.
_LABEL_MAPS = ("mask", "seg", "segmentation", "label", "labels", "labelmap")


def find_folder(root: str | Path, *, keep_names: bool = False) -> Cohort:
    """Every CT below a folder, in the order of the paths.

    A folder with DICOM files is one study for each of its CT series. Every CT counts as another
    patient, since nothing says otherwise: a table says more, see `drr.datasets.sources.manifest`.

    Parameters
    ----------
    keep_names
        Let the names of folders and files be those of samples and patients in all that is made
        from the cohort. Without it they are so in memory only: see
        `drr.datasets.privacy.pseudonyms`.

    Returns
    -------
    Cohort
        With `keep_names`, files whose names cannot be written are in its problems.

    Raises
    ------
    CohortError
        Where there is no CT.
    """
    root = Path(root)
    problems: list[Problem] = []
    volumes, masks, dicom = _look(root, problems)
    found: list[tuple[str, str | None]] = [(path, None) for path in sorted(volumes)]
    for folder in dicom:
        found += ((folder, series) for series in _series(root, folder, problems, keep_names))
    studies = _studies(root, found, problems, keep_names=keep_names)
    if not studies:
        first = f"; {problems[0]}" if problems else ""
        raise CohortError(f"{root}: holds no CT ({', '.join(_VOLUMES)} or DICOM){first}")
    notes = ["Every CT counts as another patient; a table with a column 'patient' says more."]
    if masks and keep_names:
        notes.append(f"Label maps were left out: {', '.join(masks[:5])}.")
    elif masks:
        notes.append(f"Label maps were left out: {len(masks)}.")
    kind = "dicom" if dicom and not volumes else "folder"
    return Cohort(
        kind=kind,
        root=root,
        studies=tuple(studies),
        found=f"a folder with {len(studies)} CTs",
        notes=tuple(notes),
        problems=tuple(problems),
    )


def _look(root: Path, problems: list[Problem]) -> tuple[list[str], list[str], list[str]]:
    """Files of volumes, files of label maps, and folders with DICOM."""
    volumes: list[str] = []
    masks: list[str] = []
    dicom: dict[str, None] = {}
    for folder, file in walk(root, problems):
        path = f"{folder}/{file}" if folder else file
        name = file.lower()
        suffix = suffix_of(name, _VOLUMES)
        if suffix is not None:
            stem = name.removesuffix(suffix)
            is_mask = stem in _LABEL_MAPS or stem.endswith(tuple(f"_{m}" for m in _LABEL_MAPS))
            (masks if is_mask else volumes).append(path)
        elif folder not in dicom and _is_dicom(root / path):
            dicom[folder] = None
    return volumes, masks, list(dicom)


def _studies(
    root: Path,
    found: Iterable[tuple[str, str | None]],
    problems: list[Problem],
    *,
    keep_names: bool,
) -> list[Study]:
    """A study of each path and series, with names of their own."""
    studies: dict[str, Study] = {}
    for path, series in found:
        try:
            study = _study(path, root, series, keep_names=keep_names)
        except CohortError as error:
            advice = "or build without --keep-names, for pseudonyms"
            problems.append(Problem(name=path or ".", reason=f"{message_of(error)}, {advice}"))
            continue
        same = studies.get(folded(study.sample))
        if same is not None and keep_names:
            reason = f"{same.path} has the same sample name {study.sample!r}; rename one"
            problems.append(Problem(name=path, reason=reason))
            continue
        if same is not None:  # only until there are pseudonyms, which differ
            digest = hashlib.sha256(os.fsencode(f"{path}\0{series}")).hexdigest()[:12]
            study = replace(study, sample=_longer(study.sample, f"-{digest}"), scan="")
        studies[folded(study.sample)] = study
    return list(studies.values())


def _study(path: str, root: Path, series: str | None, *, keep_names: bool) -> Study:
    # The root's own name stands for DICOM files that lie in it.
    shown = path or root.resolve().name or "ct"
    if not keep_names:
        shown = stand_in(shown)
    patient = sample = sample_from_path(shown)
    if series is not None:
        sample = _longer(sample, f"_{series}")
    place = None
    if not keep_names:
        place = Place(path=path or ".", named=("sample", "patient"))
    elif not path:
        place = Place(path=".")
    # By its place: a bare number would be taken for a series number.
    chosen = None if series is None else f"#{series}"
    study = Study(sample=sample, patient=patient, path=shown, series=chosen, place=place)
    if keep_names and study.path != shown:
        raise CohortError(f"the path {shown!r} is another on another system; rename the file")
    return study


def _longer(name: str, suffix: str) -> str:
    """A name and a suffix, within what a name may have."""
    return name.encode()[: LONGEST_NAME - len(suffix)].decode(errors="ignore") + suffix


def _is_dicom(path: Path) -> bool:
    try:
        with open_unpacked(path, limit=DEFAULT_LIMIT) as unpacked:
            return unpacked.stream.read(132)[128:] == b"DICM"
    except (DRRError, OSError):
        return False


def _series(
    root: Path, folder: str, problems: list[Problem], keep_names: bool
) -> Iterator[str | None]:
    """Each CT series of a folder as `drr.read` takes it; None for the only one."""
    from drr.io.read import series_in

    place = folder or "."
    try:
        found = [series for series in series_in(root / place) if not series.problem]
    except DRRError as error:
        reason = message_of(error).replace(f"{root}/", "")
        if not keep_names:
            reason = hidden_text(message_of(error), Place(path=place), root, stand_in="the folder")
        problems.append(Problem(name=place, reason=reason))
        return
    if not found:
        problems.append(Problem(name=place, reason="holds no series that is a CT volume"))
    for series in found:
        yield str(series.index) if len(found) > 1 else None
