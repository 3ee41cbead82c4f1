"""A cohort from a folder of CTs in any layout: every volume file, zip and DICOM series in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from drr.datasets.study import Cohort, CohortError, Problem, Study, sample_from_path
from drr.datasets.walk import walk
from drr.errors import DRRError
from drr.io.inflate import DEFAULT_LIMIT
from drr.io.names import ARCHIVES, VOLUMES, suffix_of
from drr.io.unpack import open_unpacked

__all__ = ["find_folder"]

_VOLUMES = (*VOLUMES, *ARCHIVES)
# Label maps that usually lie beside a CT and are none.
_LABEL_MAPS = ("mask", "seg", "segmentation", "label", "labels", "labelmap")


def find_folder(root: str | Path) -> Cohort:
    """Every CT below a folder, in the order of the paths.

    A folder with DICOM files is one study for each of its CT series. Every CT counts as another
    patient, since nothing says otherwise: a table says more, see `drr.datasets.manifest`.

    Raises
    ------
    CohortError
        Where there is no CT.
    """
    root = Path(root)
    problems: list[Problem] = []
    volumes: list[str] = []
    dicom: dict[str, None] = {}
    masks: list[str] = []
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
    studies = [_study(path) for path in sorted(volumes)]
    for folder in dicom:
        studies += _series(root, folder, problems)
    if not studies:
        first = f"; {problems[0]}" if problems else ""
        raise CohortError(f"{root}: holds no CT ({', '.join(_VOLUMES)} or DICOM){first}")
    notes = ["Every CT counts as another patient; a table with a column 'patient' says more."]
    if masks:
        notes.append(f"Label maps were left out: {', '.join(masks[:5])}.")
    kind = "dicom" if dicom and not volumes else "folder"
    return Cohort(
        kind=kind,
        root=root,
        studies=tuple(studies),
        found=f"a folder with {len(studies)} CTs",
        notes=tuple(notes),
        problems=tuple(problems),
    )


def _study(path: str) -> Study:
    sample = sample_from_path(path)
    return Study(sample=sample, patient=sample, path=path)


def _is_dicom(path: Path) -> bool:
    try:
        with open_unpacked(path, limit=DEFAULT_LIMIT) as unpacked:
            return unpacked.stream.read(132)[128:] == b"DICM"
    except (DRRError, OSError):
        return False


def _series(root: Path, folder: str, problems: list[Problem]) -> Iterator[Study]:
    from drr.io.read import series_in

    place = folder or "."
    try:
        found = [series for series in series_in(root / place) if not series.problem]
    except DRRError as error:
        problems.append(Problem(name=place, reason=str(error).replace(f"{root}/", "")))
        return
    if not found:
        problems.append(Problem(name=place, reason="holds no series that is a CT volume"))
    for series in found:
        name = sample_from_path(folder or root.resolve().name)
        if len(found) > 1:
            name = f"{name}_{series.index}"
        yield Study(
            sample=name,
            patient=sample_from_path(folder or root.resolve().name),
            path=place,
            series=f"#{series.index}" if len(found) > 1 else None,
        )
