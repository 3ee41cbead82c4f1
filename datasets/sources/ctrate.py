"""CT-RATE as it is distributed: names, folders, tables, and their quirks.

25,692 chest CT scans of 21,304 patients in 50,188 reconstructions (Hamamci et al. 2024,
arXiv:2403.17834). A volume is called `train_1_a_1.nii.gz`: split, patient, scan, reconstruction.
Version 1 lies in `train/` and `valid/`, version 2 in `train_fixed/` and `valid_fixed/`, always as
`train/train_1/train_1_a/train_1_a_1.nii.gz`; the tables of the validation split are called
`validation_*` for metadata and reports and `valid_*` for labels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from drr.datasets.labels import CT_RATE_LABELS
from drr.datasets.names import check_relative_path
from drr.datasets.sources.ctrate_names import Name, count, parse_name, some
from drr.datasets.sources.ctrate_tables import Tables
from drr.datasets.sources.reconstruction import RULE, choose_reconstruction
from drr.datasets.sources.tables import parse_age, parse_sex
from drr.datasets.sources.walk import walk
from drr.datasets.study import Cohort, CohortError, Problem, Report, Study

__all__ = [
    "ATTRIBUTION",
    "FOLDERS",
    "LICENCE",
    "SYNTHETIC",
    "Name",
    "find_ct_rate",
    "is_ct_rate",
    "parse_name",
]

LICENCE = "CC BY-NC-SA 4.0"
ATTRIBUTION = (
    "CT-RATE: Hamamci et al., Developing Generalist Foundation Models from a Multimodal Dataset "
    "for 3D Computed Tomography, arXiv:2403.17834"
)

SYNTHETIC = "SYNTHETIC.txt"
"""File that marks a cohort of phantoms in CT-RATE's shape: no patients, and another licence."""

FOLDERS = ("train_fixed", "valid_fixed", "train", "valid")
"""Where volumes lie; of one that is in several, the first is used: version 2 before version 1."""

_VOLUME = re.compile(r"(.*)\.nii(\.gz)?", re.ASCII | re.IGNORECASE)


def is_ct_rate(root: str | Path) -> bool:
    """Whether a folder, or `dataset` in it, has CT-RATE's folders of volumes."""
    base = _base(Path(root))
    for name in FOLDERS:
        folder = base / name
        try:
            inner = [entry.name for entry in folder.iterdir()]
        except OSError:
            continue
        if any(re.match(r"(train|valid)_[1-9]", name) for name in inner):
            return True
    return False


def find_ct_rate(
    root: str | Path,
    *,
    reconstructions: str = "one",
    non_chest: bool = False,
    keep_identifiers: bool = False,
) -> Cohort:
    """The volumes of a (partial) download of CT-RATE with all that its tables say of them.

    Parameters
    ----------
    root
        The folder that has `train_fixed`, `valid`, ...; or the one that has `dataset`.
    reconstructions
        `one` for each scan, chosen by `drr.datasets.sources.reconstruction.RULE`, or `all`.
    non_chest
        Keep volumes that the publishers list as showing no chest.
    keep_identifiers
        Keep columns of dates and the like in the metadata.

    Returns
    -------
    Cohort
        Studies in the order of their names, of the 18 labels those that the tables give, patients
        as `train_1`. What cannot be used is in its problems.

    Raises
    ------
    CohortError
        Where there is no volume, or a table is damaged as a whole.
    """
    if reconstructions not in ("one", "all"):
        raise CohortError(f"reconstructions is 'one' or 'all', not {reconstructions!r}")
    base = _base(Path(root))
    problems: list[Problem] = []
    notes: list[str] = []
    volumes = _volumes(base, problems, notes)
    if not volumes:
        raise CohortError(
            f"{base}: holds no volume of CT-RATE in {', '.join(FOLDERS)}"
            + (f"; {len(problems)} problems, first {problems[0]}" if problems else "")
        )
    splits = sorted({name.split for name in volumes})
    tables = Tables(base, problems, notes)
    for split in splits:
        tables.read(split, volumes, keep_identifiers=keep_identifiers)
    bad = {problem.name for problem in tables.conflicts}
    names = [name for name in sorted(volumes) if str(name) not in bad]
    if not non_chest:
        outside = [name for name in names if tables.shows_no_chest(name)]
        names = [name for name in names if not tables.shows_no_chest(name)]
        if outside:
            notes.append(
                f"{count(len(outside), 'volume')} without a chest left out, as the publishers "
                f"list them: {some(outside)}."
            )
    if reconstructions == "one":
        found = len(names)
        names = _one_each(names, tables.metadata)
        notes.append(
            f"One reconstruction of each scan: {len(names)} of {found} volumes. The rule: {RULE}."
        )
    studies = tuple(_study(name, volumes[name], tables) for name in names)
    tables.note_missing(names)
    if dropped := sorted(tables.dropped):
        notes.append(f"Columns that can identify a patient were left out: {', '.join(dropped)}.")
    synthetic = (base / SYNTHETIC).is_file()
    return Cohort(
        kind="ct-rate",
        root=base,
        studies=studies,
        label_names=CT_RATE_LABELS,
        licence="" if synthetic else LICENCE,
        attribution="Synthetic phantoms of drr-rate; no patients." if synthetic else ATTRIBUTION,
        found=("phantoms in the shape of " if synthetic else "")
        + "CT-RATE by its folders "
        + ", ".join(
            f"{f}/" for f in FOLDERS if any(p.startswith(f"{f}/") for p in volumes.values())
        )
        + ("." if synthetic else "; labels are a text classifier's reading of the reports."),
        notes=tuple(notes),
        problems=tuple(problems),
    )


def _base(root: Path) -> Path:
    inner = root / "dataset"
    return inner if inner.is_dir() and not any((root / f).is_dir() for f in FOLDERS) else root


def _volumes(base: Path, problems: list[Problem], notes: list[str]) -> dict[Name, str]:
    """Path of each volume relative to the base."""
    volumes: dict[Name, str] = {}
    shadowed = 0
    for top in FOLDERS:
        if not (base / top).is_dir():
            continue
        here: dict[Name, str] = {}
        for folder, file in walk(base, problems, below=top):
            path = f"{folder}/{file}"
            match = _VOLUME.fullmatch(file)
            if match is None:
                continue
            try:
                name = parse_name(match[1])
            except CohortError as error:
                problems.append(Problem(name=path, reason=str(error)))
                continue
            if reason := _misplaced(name, top, folder) or _unwritable(path):
                problems.append(Problem(name=path, reason=reason))
            elif name in here:
                problems.append(
                    Problem(name=path, reason=f"the volume is also {here[name]}; remove one")
                )
            else:
                here[name] = path
        shadowed += len(here.keys() & volumes.keys())
        volumes = here | volumes
    if shadowed:
        notes.append(
            f"{count(shadowed, 'volume')} of version 1 also here in version 2: that is used."
        )
    return volumes


def _misplaced(name: Name, top: str, folder: str) -> str:
    """What is wrong with where a volume lies: then it may be another's file."""
    if name.split != top.removesuffix("_fixed"):
        return f"lies in {top}/ but its name says {name.split}"
    for part in folder.split("/")[1:]:
        # Other folders in between do no harm.
        like = re.fullmatch(r"(train|valid)_[0-9]+(_[a-z]+)?", part)
        if like and part not in (name.patient, name.scan):
            return f"lies in {part}/, which is another patient's or scan's folder"
    return ""


def _unwritable(path: str) -> str:
    """Why a path cannot be in a data set: folders in between may be called anything."""
    try:
        plain = check_relative_path(path)
    except CohortError as error:
        return str(error)
    return "" if plain == path else "has a backslash in its path; rename the folder"


def _one_each(names: Sequence[Name], metadata: Mapping[str, Mapping[str, str]]) -> list[Name]:
    scans: dict[str, list[Name]] = {}
    for name in names:
        scans.setdefault(name.scan, []).append(name)
    return [
        group[choose_reconstruction([metadata.get(str(name), {}) for name in group])]
        for group in scans.values()
    ]


def _study(name: Name, path: str, tables: Tables) -> Study:
    sample = str(name)
    metadata = tables.metadata.get(sample, {})
    return Study(
        sample=sample,
        patient=name.patient,
        scan=name.scan,
        split=name.split,
        path=path,
        reader="ct-rate",
        labels=tables.labels.get(sample, ()),
        report=tables.reports.get(sample, Report()),
        sex=parse_sex(metadata.get("PatientSex", "")),
        age=parse_age(metadata.get("PatientAge", "")),
        metadata=metadata,
    )
