"""A cohort from a CSV table: one row a CT, its columns what is known of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from drr.datasets.labels import CT_RATE_LABELS, parse_label
from drr.datasets.names import (
    CohortError,
    check_place,
    check_relative_path,
    folded,
    sample_from_path,
    stand_in,
)
from drr.datasets.privacy.identifying import identifying
from drr.datasets.privacy.public_text import without_names
from drr.datasets.sources.tables import Row, Table, parse_age, parse_sex, read_table
from drr.datasets.study import Cohort, Place, Problem, Report, Study

__all__ = ["COLUMNS", "LABEL_PREFIX", "find_manifest"]

LABEL_PREFIX = "label:"
"""Of the names of columns that hold a label: 1, 0, -1 (uncertain) or nothing (unknown)."""

COLUMNS: Mapping[str, str] = {
    "path": "the CT, relative to the table's folder: a file, a DICOM folder, a zip; required",
    "sample": "unique name; by default from the path",
    "patient": "pseudonym; by default the sample's name, so that every CT is another patient",
    "scan": "the acquisition, shared by its reconstructions",
    "split": "`train`, `valid`, ...; all CTs of a patient have the same",
    "series": "which series of a DICOM input",
    "segmentation": "label volume of the same patient, relative to the table's folder",
    "sex": "M, F or O",
    "age": "years, or as DICOM writes it (`036Y`)",
    "report": "text, taken for the findings",
    "clinical_information": "a part of the report",
    "technique": "a part of the report",
    "findings": "a part of the report",
    "impressions": "a part of the report",
}
"""Columns with a meaning. Labels have `label:` before their name, or are CT-RATE's 18, all of
them; every other column is carried along."""


def find_manifest(
    path: str | Path, *, keep_identifiers: bool = False, keep_names: bool = False
) -> Cohort:
    """The CTs that a CSV table lists, in its order.

    Parameters
    ----------
    path
        The table: UTF-8, commas, one header row with names of `COLUMNS`.
    keep_identifiers
        Carry columns along whose names are those of identifying attributes.
    keep_names
        Let paths, and the names that are made from them where the table gives none, be in all that
        is made from the cohort. Without it they are so in memory only: see
        `drr.datasets.privacy.pseudonyms`. Names that the table gives are its own choice and stay.

    Returns
    -------
    Cohort
        Rows that cannot be used are in its problems.

    Raises
    ------
    CohortError
        For a table that cannot be read or has no usable row, and for a patient in two splits.
    """
    path = Path(path)
    table = read_table(path)
    table.require(("path",))
    labels = _label_columns(table)
    known = {*COLUMNS, *labels.values()}
    others = [column for column in table.columns if column and column not in known]
    dropped = [] if keep_identifiers else [column for column in others if identifying(column)]
    carried = [column for column in others if column not in dropped]
    problems: list[Problem] = []
    studies = _studies(table, path.parent, labels, carried, problems, keep_names=keep_names)
    if not studies:
        first = f"; the first problem: {problems[0]}" if problems else ""
        raise CohortError(f"{path.name}: no row can be used{first}")
    check_splits(studies)
    notes = []
    if dropped:
        notes.append(f"Columns that can identify a patient were left out: {', '.join(dropped)}.")
    if "patient" not in table.columns:
        notes.append("There is no column 'patient', so every CT counts as another patient.")
    return Cohort(
        kind="manifest",
        root=path.parent,
        studies=tuple(studies),
        label_names=tuple(labels),
        found=f"a table of {len(table.rows)} rows",
        notes=tuple(notes),
        problems=tuple(problems),
    )


def _studies(
    table: Table,
    root: Path,
    labels: Mapping[str, str],
    carried: Iterable[str],
    problems: list[Problem],
    *,
    keep_names: bool,
) -> list[Study]:
    """A study of each row that can be used."""
    studies: dict[str, Study] = {}
    places: dict[str, str] = {}
    for row in table:
        name = row.values.get("path", "").strip()
        reason = row.problem
        if not reason:
            try:
                place = _place(row, root, keep_names=keep_names)
                study = _study(row, place, labels, carried)
                name = study.sample
                _check_files(place, root)
            except (CohortError, ValueError) as error:
                reason = str(error)
        if not reason and folded(study.sample) in studies:
            reason = f"{places[folded(study.sample)]} has the same sample name; rename one"
        if reason:
            if not keep_names:
                paths = [row.values.get(column, "") for column in ("path", "segmentation")]
                reason = without_names(reason, paths, stand_in="its file")
            problems.append(Problem(name=name or "?", place=row.place, reason=reason))
            continue
        if keep_names:
            study = replace(study, place=None)
        studies[folded(study.sample)] = study
        places[folded(study.sample)] = row.place
    return list(studies.values())


def _place(row: Row, root: Path, *, keep_names: bool) -> Place:
    """Where a row's files are; which names will be made of that."""
    named: tuple[str, ...] = ()
    if not row.values.get("sample", "").strip():
        named = ("sample",) if row.values.get("patient", "").strip() else ("sample", "patient")
    paths = []
    for column in ("path", "segmentation"):
        text = row.values.get(column, "").strip()
        if not keep_names and _is_odd_file(text, root):
            paths.append(text)  # no path for every system, but a file of this one
        else:
            paths.append(check_relative_path(text) if text or column == "path" else "")
    return Place(path=paths[0], segmentation=paths[1] or None, named=named)


def _is_odd_file(text: str, root: Path) -> bool:
    try:
        return stand_in(text) != text and Path(root, check_place(text)).exists()
    except (CohortError, OSError):
        return False


def check_splits(studies: Iterable[Study]) -> None:
    """Raise `CohortError` for a patient who is in more than one split."""
    splits: dict[str, str] = {}
    for study in studies:
        split = study.split or ""
        if splits.setdefault(study.patient, split) != split:
            raise CohortError(
                f"the patient {study.patient!r} is in the splits {splits[study.patient]!r} and "
                f"{split!r}; give all CTs of a patient the same"
            )


def _label_columns(table: Table) -> dict[str, str]:
    """Name of each label to its column."""
    labels = {
        column.removeprefix(LABEL_PREFIX).strip(): column
        for column in table.columns
        if column.startswith(LABEL_PREFIX)
    }
    if not labels and set(CT_RATE_LABELS) <= set(table.columns):
        labels = {name: name for name in CT_RATE_LABELS}
    return labels


def _study(row: Row, place: Place, labels: Mapping[str, str], carried: Iterable[str]) -> Study:
    def text(column: str) -> str:
        return row.values.get(column, "").strip()

    codes = []
    for name, column in labels.items():
        try:
            codes.append(parse_label(row.values[column]))
        except ValueError as error:
            raise CohortError(f"{name}: {error}") from None
    sex, age = parse_sex(text("sex")), parse_age(text("age"))
    for column, value in (("sex", sex), ("age", age)):
        if text(column) and value is None:
            raise CohortError(
                f"the {column} {text(column)!r} is not understood; correct or drop it"
            )
    path, segmentation = stand_in(place.path), place.segmentation
    sample = text("sample") or sample_from_path(path)
    return Study(
        sample=sample,
        patient=text("patient") or sample,
        scan=text("scan"),
        path=path,
        split=text("split") or None,
        series=text("series") or None,
        segmentation=None if segmentation is None else stand_in(segmentation),
        place=place,
        labels=tuple(codes),
        report=Report(
            clinical_information=text("clinical_information"),
            technique=text("technique"),
            findings=text("findings") or text("report"),
            impressions=text("impressions"),
        ),
        sex=sex,
        age=age,
        metadata={column: row.values[column] for column in carried if row.values[column] != ""},
    )


def _check_files(place: Place, root: Path) -> None:
    """The files are there and lie below the root, links followed."""
    for path in filter(None, (place.path, place.segmentation)):
        try:
            real = Path(root, path).resolve(strict=True)
        except (OSError, RuntimeError):
            raise CohortError(f"{path}: there is no such file; correct the path") from None
        if not real.is_relative_to(root.resolve()):
            raise CohortError(f"{path}: is a link that leads out of the source; copy the file")
