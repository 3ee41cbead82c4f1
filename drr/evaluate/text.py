"""An evaluation as text for a terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from drr.evaluate.results import Comparison, Difference, Evaluation, Group

__all__ = [
    "comparison_rows",
    "finding_rows",
    "format_p",
    "group_rows",
    "shared",
    "summary",
    "to_text",
]

Rows = list[list[str]]


def to_text(result: Evaluation, *, width: int = 100) -> str:
    """Tables of findings, subgroups and comparison, then the notes.

    Parameters
    ----------
    width
        Width of the notes' lines in characters; tables are as wide as they must be.
    """
    parts = [summary(result), _table(finding_rows(result))]
    for attribute in dict.fromkeys(group.attribute for group in result.groups):
        some = [group for group in result.groups if group.attribute == attribute]
        parts.append(f"By {attribute}, AUROC\n\n{_table(group_rows(some))}")
    if result.comparison is not None:
        both = result.comparison
        parts.append(
            f"{both.first} less {both.second}, on {shared(both)} that both predict\n\n"
            + _table(comparison_rows(both))
        )
    if result.notes:
        parts.append("\n".join(_bullet(note, width) for note in result.notes))
    return "\n\n".join(parts)


def summary(result: Evaluation) -> str:
    """What was measured on what, in a sentence or two."""
    boot = result.bootstrap
    intervals = "no intervals"
    if boot.draws:
        unit = "patients" if result.by_patient else "samples"
        intervals = f"{100 * boot.level:g} % intervals from {boot.draws} draws of {unit}"
    return (
        f"{result.source} against {result.truth}\n{shared(result)}; {intervals}, seed {boot.seed}"
    )


def shared(result: Evaluation | Comparison) -> str:
    """`478 samples of 408 patients`."""
    who = f" of {result.patients} patients" if result.by_patient else ""
    return f"{result.samples} samples{who}"


def finding_rows(result: Evaluation) -> Rows:
    """Header and a row for every finding, then the mean."""
    points = any(finding.point for finding in result.classes)
    calibrated = any(finding.calibration for finding in result.classes)
    rows = [["finding", "positive", "AUROC", "average precision"]]
    rows[0] += ["threshold", "sensitivity", "specificity"] if points else []
    rows[0] += ["Brier", "slope"] if calibrated else []
    for finding in result.classes:
        row = [
            finding.label,
            f"{finding.positives} of {finding.samples}",
            str(finding.auroc),
            str(finding.average_precision),
        ]
        point, calibration = finding.point, finding.calibration
        if points and point:
            row += [f"{point.threshold:.4g}", str(point.sensitivity), str(point.specificity)]
        elif points:
            row += ["-"] * 3
        if calibrated and calibration:
            row += [f"{calibration.brier:.3f}", _number(calibration.slope)]
        elif calibrated:
            row += ["-"] * 2
        rows.append(row)
    mean = ["mean", "", str(result.macro_auroc), str(result.macro_average_precision)]
    return [*rows, mean + [""] * (len(rows[0]) - len(mean))]


def group_rows(groups: Sequence[Group]) -> Rows:
    """Header and a row for every finding; a column for every group of one attribute."""
    rows = [["finding", *(f"{g.value} ({g.samples})" for g in groups)]]
    for place, finding in enumerate(groups[0].classes):
        rows.append([finding.label, *(str(g.classes[place].auroc) for g in groups)])
    return [*rows, ["mean", *(str(g.macro_auroc) for g in groups)]]


def comparison_rows(comparison: Comparison) -> Rows:
    """Header and a row for every finding, then the mean."""
    rows = [["finding", "AUROC", "difference", "p", "p, Holm", "average precision", "difference",
             "p", "p, Holm"]]  # fmt: skip
    rows += [_difference_row(row) for row in comparison.classes]
    mean = _difference_row(comparison.macro)
    return [*rows, ["mean", *mean[1:]]]


def format_p(value: float) -> str:
    """`0.034`, `<0.001`, or `-`."""
    if math.isnan(value):
        return "-"
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _difference_row(row: Difference) -> list[str]:
    return [
        row.label,
        _pair(row.first_auroc, row.second_auroc),
        str(row.auroc),
        format_p(row.auroc_p),
        format_p(row.auroc_p_holm),
        _pair(row.first_average_precision, row.second_average_precision),
        str(row.average_precision),
        format_p(row.average_precision_p),
        format_p(row.average_precision_p_holm),
    ]


def _pair(first: float, second: float) -> str:
    return f"{first:.3f} - {second:.3f}" if math.isfinite(first + second) else "-"


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "-"


def _table(rows: Rows) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _bullet(note: str, width: int) -> str:
    return textwrap.fill(note, width, initial_indent="- ", subsequent_indent="  ")
