"""Evaluate a model's predictions: figures with intervals by patient, subgroups, comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drr.datasets.labels import PRESENT, UNKNOWN
from drr.evaluate.bootstrap import Bootstrap
from drr.evaluate.calibration import calibrate
from drr.evaluate.cases import Cases
from drr.evaluate.compare import compare
from drr.evaluate.measure import measure, patient_strata
from drr.evaluate.metrics import EvaluationError, precision_recall_curve, roc_curve
from drr.evaluate.names import nearest
from drr.evaluate.results import ClassResult, Evaluation, Group
from drr.evaluate.thresholds import OperatingPoint, choose_threshold, operating_point, parse_rule

__all__ = ["evaluate"]

Floats = NDArray[np.float64]

FEW = 20
"""Patients with, or without, a finding below which a note says that they are few."""

CURVE_POINTS = 400

_GROUPS = (
    "Subgroups: means are over the findings that have both kinds of samples there, so that those "
    "of different groups need not be of the same findings; many intervals are looked at, and some "
    "will part by chance."
)


def evaluate(
    cases: Cases,
    *,
    truth: str = "truth",
    bootstrap: Bootstrap | None = None,
    subgroups: Sequence[str] | None = None,
    threshold: str | Mapping[str, float] = "youden",
    other: Cases | None = None,
) -> Evaluation:
    """Everything there is to say about predictions whose truth is known.

    Parameters
    ----------
    cases
        From `drr.evaluate.cases.align`.
    truth
        Where the truth comes from, for the record.
    bootstrap
        How intervals are made; 2000 draws by default.
    subgroups
        Attributes of the cases to split by; all of them by default.
    threshold
        A rule of `drr.evaluate.thresholds.RULES`, or thresholds by finding, as chosen on another
        split; a finding without one has no operating point.
    other
        The same truth with another model's predictions, to compare with.

    Raises
    ------
    EvaluationError
        Where no finding has both kinds of samples, and for attributes and rules that do not exist.
    """
    boot = bootstrap or Bootstrap()
    if isinstance(threshold, str):
        parse_rule(threshold)
    wanted = tuple(cases.attributes) if subgroups is None else tuple(subgroups)
    for name in wanted:
        if name not in cases.attributes:
            raise EvaluationError(f"no subgroups by {name!r}{nearest(name, cases.attributes)}")
    measured = measure(cases, boot)
    if not any(math.isfinite(result.auroc.value) for result in measured.classes):
        raise EvaluationError(
            f"{cases.source}: no finding ({', '.join(cases.labels)}) has both positive and "
            "negative samples, so that nothing can be measured; check the labels"
        )
    classes = tuple(
        _details(cases, column, result, boot, threshold)
        for column, result in enumerate(measured.classes)
    )
    return Evaluation(
        source=Path(cases.source).name,
        truth=Path(truth).name,
        samples=len(cases),
        patients=len(np.unique(cases.patients)),
        by_patient=cases.by_patient,
        bootstrap=boot,
        classes=classes,
        macro_auroc=measured.macro[0],
        macro_average_precision=measured.macro[1],
        groups=tuple(group for name in wanted for group in _groups(cases, name, boot)),
        comparison=None if other is None else compare(cases, other, bootstrap=boot),
        notes=(*cases.notes, *_notes(classes, cases, threshold), *([_GROUPS] if wanted else [])),
    )


def _details(
    cases: Cases,
    column: int,
    result: ClassResult,
    boot: Bootstrap,
    threshold: str | Mapping[str, float],
) -> ClassResult:
    """The result with calibration, threshold and curves."""
    known = cases.codes[:, column] != UNKNOWN
    if not known.any():
        return result
    present, scores = cases.codes[known, column] == PRESENT, cases.scores[known, column]
    calibration = None
    if ((cases.scores >= 0) & (cases.scores <= 1)).all():
        calibration = calibrate(present, scores)
    if not math.isfinite(result.auroc.value):
        return replace(result, calibration=calibration)
    across, up, _ = roc_curve(present, scores)
    precision, recall, _ = precision_recall_curve(present, scores)
    return replace(
        result,
        calibration=calibration,
        point=_point(present, scores, cases.patients[known], result, boot, threshold),
        roc=_thin(across, up),
        precision_recall=_thin(recall, precision),
    )


def _point(
    present: NDArray[np.bool_],
    scores: Floats,
    patients: NDArray[np.intp],
    result: ClassResult,
    boot: Bootstrap,
    threshold: str | Mapping[str, float],
) -> OperatingPoint | None:
    if isinstance(threshold, str):
        rule, value = threshold, choose_threshold(present, scores, rule=threshold)
    elif (found := threshold.get(result.label)) is not None:
        rule, value = "given", float(found)
    else:
        return None
    owners = np.unique(patients, return_inverse=True)[1].reshape(-1)
    strata = None
    if result.stratified:
        strata = patient_strata(owners, np.unique(owners[present]), np.unique(owners[~present]))
    return operating_point(
        present, scores, value, patients=owners, bootstrap=boot, strata=strata, rule=rule
    )


def _groups(cases: Cases, attribute: str, boot: Bootstrap) -> list[Group]:
    groups = []
    for value in np.unique(cases.attributes[attribute]):
        part = cases.take(np.flatnonzero(cases.attributes[attribute] == value))
        measured = measure(part, boot)
        groups.append(
            Group(
                attribute=attribute,
                value=str(value),
                samples=len(part),
                patients=len(np.unique(part.patients)),
                macro_auroc=measured.macro[0],
                macro_average_precision=measured.macro[1],
                classes=measured.classes,
            )
        )
    return groups


def _thin(x: Floats, y: Floats) -> tuple[tuple[float, float], ...]:
    """A curve's corners, and of many of them some, evenly along it."""
    ahead, behind = np.diff(np.stack([x, y])[:, 1:]), np.diff(np.stack([x, y])[:, :-1])
    corner = np.r_[True, ahead[0] * behind[1] != ahead[1] * behind[0], True][: len(x)]
    x, y = x[corner], y[corner]
    if len(x) > CURVE_POINTS:
        length = np.r_[0, np.cumsum(np.hypot(np.diff(x), np.diff(y)))]
        steps = np.searchsorted(length, np.linspace(0, length[-1], CURVE_POINTS))
        some = np.unique(np.r_[0, steps, len(x) - 1])
        x, y = x[some], y[some]
    return tuple((round(float(a), 5), round(float(b), 5)) for a, b in zip(x, y, strict=True))


def _notes(
    classes: Sequence[ClassResult], cases: Cases, threshold: str | Mapping[str, float]
) -> list[str]:
    def names(chosen: Sequence[ClassResult]) -> str:
        return ", ".join(f"{c.label} ({c.positive_patients})" for c in chosen)

    notes = []
    who = "patients" if cases.by_patient else "samples"
    for what, chosen in (
        ("no known label", [c for c in classes if not c.samples]),
        ("no positives", [c for c in classes if c.samples and not c.positives]),
        ("no negatives", [c for c in classes if c.samples and c.positives == c.samples]),
    ):
        if chosen:
            labels = ", ".join(c.label for c in chosen)
            notes.append(f"Not measured, and not in the mean, for {what}: {labels}.")
    measured = [c for c in classes if math.isfinite(c.auroc.value)]
    if few := [c for c in measured if c.positive_patients < FEW]:
        notes.append(
            f"Fewer than {FEW} {who} have the finding, so that intervals are rough: {names(few)}."
        )
    if rare := [c.label for c in measured if c.stratified]:
        notes.append(
            f"Draws keep the number of {who} with the finding, as it is rare: {', '.join(rare)}."
        )
    if sum(cases.uncertain):
        parts = [f"{c.label} {c.uncertain}" for c in classes if c.uncertain]
        notes.append(f"Uncertain labels: {', '.join(parts)}.")
    if not any(c.calibration for c in classes):
        notes.append("Scores are not all between 0 and 1, so that no calibration is judged.")
    if threshold and not isinstance(threshold, str):
        if bare := [c.label for c in measured if c.label not in threshold]:
            notes.append(f"No threshold was given for {', '.join(bare)}.")
    elif isinstance(threshold, str) and parse_rule(threshold)[0] != "score":
        notes.append(
            f"Thresholds ({threshold}) were chosen on these samples: sensitivity and specificity "
            "there are flattered. Choose them on another split."
        )
    return notes
