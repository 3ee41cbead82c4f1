"""CT-RATE's tables: metadata, labels, reports, and the lists of volumes without a chest."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from drr.datasets.labels import CT_RATE_LABELS, parse_label
from drr.datasets.privacy.identifying import identifying
from drr.datasets.sources.ctrate_names import Name, count, parse_name, some
from drr.datasets.sources.tables import Row, read_table
from drr.datasets.study import CohortError, Problem, Report

__all__ = ["REPORT_COLUMNS", "TABLES", "Tables"]

TABLES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "train": {
        "metadata": ("metadata/train_metadata.csv",),
        "labels": ("multi_abnormality_labels/train_predicted_labels.csv",),
        "reports": ("radiology_text_reports/train_reports.csv",),
        "no_chest": ("metadata/no_chest_train.txt", "no_chest_train.txt"),
    },
    "valid": {
        "metadata": ("metadata/validation_metadata.csv", "metadata/valid_metadata.csv"),
        "labels": (
            "multi_abnormality_labels/valid_predicted_labels.csv",
            "multi_abnormality_labels/validation_predicted_labels.csv",
        ),
        "reports": (
            "radiology_text_reports/validation_reports.csv",
            "radiology_text_reports/valid_reports.csv",
        ),
        "no_chest": ("metadata/no_chest_valid.txt", "no_chest_valid.txt"),
    },
}
"""Published name first, then the one that the other tables' naming suggests."""

REPORT_COLUMNS = {
    "clinical_information": "ClinicalInformation_EN",
    "technique": "Technique_EN",
    "findings": "Findings_EN",
    "impressions": "Impressions_EN",
}


@dataclass
class Tables:
    """What the tables say of the volumes that are here, by sample."""

    base: Path
    problems: list[Problem]
    notes: list[str]
    metadata: dict[str, dict[str, str]] = field(default_factory=dict)
    labels: dict[str, tuple[int, ...]] = field(default_factory=dict)
    reports: dict[str, Report] = field(default_factory=dict)
    no_chest: set[str] = field(default_factory=set)
    conflicts: list[Problem] = field(default_factory=list)
    dropped: set[str] = field(default_factory=set)

    def read(self, split: str, volumes: Iterable[Name], *, keep_identifiers: bool) -> None:
        wanted = {str(name) for name in volumes if name.split == split}

        def texts(row: Row) -> dict[str, str]:
            columns = {c: v for c, v in row.values.items() if c != "VolumeName" and v != ""}
            found = {} if keep_identifiers else {c: v for c, v in columns.items() if identifying(c)}
            self.dropped.update(found)
            return {c: v for c, v in columns.items() if c not in found}

        self._table(split, "metadata", (), wanted, self.metadata, texts)
        self._table(split, "labels", CT_RATE_LABELS, wanted, self.labels, _codes)
        columns = tuple(REPORT_COLUMNS.values())
        written: dict[Report, Report] = {}

        def report(row: Row) -> Report:
            made = _report(row)
            # All reconstructions of a scan have the same text: keep it once.
            return written.setdefault(made, made)

        self._table(split, "reports", columns, wanted, self.reports, report)
        self._no_chest(split)

    def shows_no_chest(self, name: Name) -> bool:
        return not self.no_chest.isdisjoint((str(name), name.scan, name.patient))

    def note_missing(self, names: Sequence[Name]) -> None:
        """Say which studies have no row, table by table."""
        for what, known in (
            ("metadata", self.metadata),
            ("labels", self.labels),
            ("report", self.reports),
        ):
            missing = [name for name in names if str(name) not in known]
            if missing:
                self.notes.append(
                    f"No row of {what} for {count(len(missing), 'volume')}: {some(missing)}."
                )

    def _file(self, split: str, kind: str) -> tuple[Path, str] | None:
        found = [name for name in TABLES[split][kind] if (self.base / name).is_file()]
        if not found:
            self.notes.append(f"There is no {TABLES[split][kind][0]}.")
            return None
        if len(found) > 1:
            self.notes.append(f"{found[0]} was read, {found[1]} was not.")
        return self.base / found[0], found[0]

    def _table(
        self,
        split: str,
        kind: str,
        columns: Sequence[str],
        wanted: set[str],
        into: dict,
        convert: Callable[[Row], object],
    ) -> None:
        file = self._file(split, kind)
        if file is None:
            return
        table = read_table(file[0], name=file[1])
        table.require(("VolumeName", *columns))
        first: dict[str, Row] = {}
        absent = 0
        for row in table:
            key = row.values.get("VolumeName", "").strip()
            try:
                sample = str(parse_name(key))
            except CohortError as error:
                self.problems.append(Problem(name=key, place=row.place, reason=str(error)))
                continue
            if sample not in wanted:
                absent += 1
                continue
            reason = row.problem
            if sample in first:
                if row.values == first[sample].values:
                    continue
                reason = f"differs from {first[sample].place}; remove one"
            first.setdefault(sample, row)
            if not reason:
                try:
                    into[sample] = convert(row)
                except (CohortError, ValueError) as error:
                    reason = str(error)
            if reason:
                problem = Problem(name=sample, place=row.place, reason=reason)
                self.problems.append(problem)
                self.conflicts.append(problem)
        if absent:
            self.notes.append(
                f"{table.name} names {count(absent, 'more volume')} that are not in this folder."
            )

    def _no_chest(self, split: str) -> None:
        file = self._file(split, "no_chest")
        if file is None:
            return
        try:
            lines = file[0].read_text("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise CohortError(f"{file[1]}: cannot be read as UTF-8 text ({error})") from None
        for number, line in enumerate(lines, 1):
            # Lists give a bare name or a path of the publishers' own.
            entry = re.sub(r"\.nii(\.gz)?$", "", re.split(r"[/\\]", line.strip())[-1])
            if not entry:
                continue
            if re.fullmatch(r"(train|valid)_[1-9][0-9]*(_[a-z]+(_[1-9][0-9]*)?)?", entry):
                self.no_chest.add(entry)
            else:
                self.problems.append(
                    Problem(
                        name=entry,
                        place=f"{file[1]}, line {number}",
                        reason="names no volume, scan or patient of CT-RATE",
                    )
                )


def _codes(row: Row) -> tuple[int, ...]:
    codes = []
    for name in CT_RATE_LABELS:
        try:
            codes.append(parse_label(row.values[name]))
        except ValueError as error:
            raise CohortError(f"{name}: {error}") from None
    return tuple(codes)


def _report(row: Row) -> Report:
    def text(column: str) -> str:
        value = row.values[column].strip()
        return "" if value.lower().rstrip(".") in ("not given", "nan") else value

    return Report(**{part: text(column) for part, column in REPORT_COLUMNS.items()})
