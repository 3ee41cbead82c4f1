"""Evaluate a model's predictions: figures with intervals by patient, subgroups, comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drr.chexnet.bootstrap import Bootstrap, Estimate
from drr.chexnet.calibration import calibrate
from drr.chexnet.cases import Cases, in_common
from drr.chexnet.compare import bootstrap_p, delong, holm
from drr.chexnet.metrics import EvaluationError, Ranking, precision_recall_curve, rank, roc_curve
from drr.chexnet.names import nearest
from drr.chexnet.results import ClassResult, Comparison, Difference, Evaluation, Group
from drr.chexnet.thresholds import OperatingPoint, choose_threshold, operating_point, parse_rule
from drr.datasets.labels import PRESENT, UNKNOWN

__all__ = ["compare", "evaluate"]

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
        From `drr.chexnet.cases.align`.
    truth
        Where the truth comes from, for the record.
    bootstrap
        How intervals are made; 2000 draws by default.
    subgroups
        Attributes of the cases to split by; all of them by default.
    threshold
        A rule of `drr.chexnet.thresholds.RULES`, or thresholds by finding, as chosen on another
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
    measured = _measure(cases, boot)
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


def compare(first: Cases, second: Cases, *, bootstrap: Bootstrap | None = None) -> Comparison:
    """Two models on the samples that both predict, from the same draws of patients.

    Raises
    ------
    EvaluationError
        Where they have nothing in common.
    """
    boot = bootstrap or Bootstrap()
    first, second = in_common(first, second)
    ours, theirs = (_measure(cases, boot) for cases in (first, second))
    gaps = ours.draws - theirs.draws

    def difference(label: str, a: Floats, b: Floats, draws: Floats, area_p: float) -> Difference:
        return Difference(
            label=label,
            first_auroc=float(a[0]),
            second_auroc=float(b[0]),
            auroc=boot.estimate(a[0] - b[0], draws[:, 0]),
            auroc_p=bootstrap_p(draws[:, 0]) if math.isnan(area_p) else area_p,
            first_average_precision=float(a[1]),
            second_average_precision=float(b[1]),
            average_precision=boot.estimate(a[1] - b[1], draws[:, 1]),
            average_precision_p=bootstrap_p(draws[:, 1]),
        )

    rows = [
        difference(
            label,
            ours.values[i],
            theirs.values[i],
            gaps[:, i],
            _delong_p(first, second, i),
        )
        for i, label in enumerate(first.labels)
    ]
    areas, precisions = (
        holm([getattr(row, name) for row in rows]) for name in ("auroc_p", "average_precision_p")
    )
    names = [Path(cases.source).name for cases in (first, second)]
    if names[0] == names[1]:
        names = [first.source, second.source]
    valid = np.isfinite(ours.values[:, 0])
    if not valid.any():
        raise EvaluationError(
            f"{first.source} and {second.source}: no finding has both positive and negative "
            "samples among those in common"
        )
    return Comparison(
        first=names[0],
        second=names[1],
        samples=len(first),
        patients=len(np.unique(first.patients)),
        by_patient=first.by_patient,
        classes=tuple(
            replace(row, auroc_p_holm=a, average_precision_p_holm=p)
            for row, a, p in zip(rows, areas, precisions, strict=True)
        ),
        macro=difference(
            "macro",
            ours.values[valid].mean(axis=0),
            theirs.values[valid].mean(axis=0),
            gaps[:, valid].mean(axis=1),
            math.nan,
        ),
    )


class _Measured(NamedTuple):
    """`classes`, and for each AUROC and average precision: `(findings, 2)`, `(draws, .., 2)`."""

    classes: tuple[ClassResult, ...]
    macro: tuple[Estimate, Estimate]
    values: Floats
    draws: Floats


def _measure(cases: Cases, boot: Bootstrap) -> _Measured:
    known = cases.codes != UNKNOWN
    positive = cases.codes == PRESENT
    findings = range(len(cases.labels))
    with_finding = [np.unique(cases.patients[positive[:, i]]) for i in findings]
    without = [np.unique(cases.patients[known[:, i] & ~positive[:, i]]) for i in findings]
    valid = [i for i in findings if with_finding[i].size and without[i].size]
    rankings = {i: _rank(positive[:, i], cases.scores[:, i], known[:, i]) for i in valid}
    values = np.full((len(findings), 2), np.nan)
    for i in valid:
        values[i] = rankings[i].both()

    def statistic(weights: NDArray[np.int32]) -> Floats:
        return np.stack([rankings[i].both(weights) for i in valid], axis=1)

    draws = np.full((boot.draws, len(findings), 2), np.nan)
    stratified = [False] * len(findings)
    if boot.draws and valid:
        draws[:, valid] = boot.resample(cases.patients, statistic)
    for i in valid:
        # Draws without a positive or a negative have no area: keep their numbers of patients.
        if np.isnan(draws[:, i]).any():
            strata = _strata(cases.patients, with_finding[i], without[i])
            draws[:, i] = boot.resample(cases.patients, rankings[i].both, strata=strata)
            stratified[i] = True
        if min(len(with_finding[i]), len(without[i])) < 2:
            draws[:, i] = np.nan  # one patient says nothing about how patients vary
    classes = tuple(
        ClassResult(
            label=cases.labels[i],
            predicted_as=cases.predicted_as[i],
            samples=int(known[:, i].sum()),
            positives=int(positive[:, i].sum()),
            patients=len(np.unique(cases.patients[known[:, i]])),
            positive_patients=len(with_finding[i]),
            unknown=int((~known[:, i]).sum()),
            uncertain=cases.uncertain[i],
            auroc=boot.estimate(values[i, 0], draws[:, i, 0]),
            average_precision=boot.estimate(values[i, 1], draws[:, i, 1]),
            stratified=stratified[i],
        )
        for i in findings
    )
    macro = (Estimate(value=math.nan), Estimate(value=math.nan))
    if valid:
        means, spread = values[valid].mean(axis=0), draws[:, valid].mean(axis=1)
        macro = (boot.estimate(means[0], spread[:, 0]), boot.estimate(means[1], spread[:, 1]))
    return _Measured(classes, macro, values, draws)


def _rank(positive: NDArray[np.bool_], scores: Floats, known: NDArray[np.bool_]) -> Ranking:
    """The samples with a known label, ranked; weights are those of all samples."""
    ranking = rank(positive[known], scores[known])
    return replace(ranking, order=np.flatnonzero(known)[ranking.order])


def _strata(
    patients: NDArray[np.intp], with_finding: NDArray[np.intp], without: NDArray[np.intp]
) -> NDArray[np.intp]:
    kinds = np.zeros(int(patients.max()) + 1, np.intp)
    kinds[with_finding] += 1
    kinds[without] += 2
    return kinds


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
        strata = _strata(owners, np.unique(owners[present]), np.unique(owners[~present]))
    return operating_point(
        present, scores, value, patients=owners, bootstrap=boot, strata=strata, rule=rule
    )


def _groups(cases: Cases, attribute: str, boot: Bootstrap) -> list[Group]:
    groups = []
    for value in np.unique(cases.attributes[attribute]):
        part = cases.take(np.flatnonzero(cases.attributes[attribute] == value))
        measured = _measure(part, boot)
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


def _delong_p(first: Cases, second: Cases, column: int) -> float:
    known = first.codes[:, column] != UNKNOWN
    try:
        return delong(
            first.codes[known, column],
            first.scores[known, column],
            second.scores[known, column],
            patients=first.patients[known],
        ).p
    except EvaluationError:
        return math.nan


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
    if isinstance(threshold, str) and parse_rule(threshold)[0] != "score":
        notes.append(
            f"Thresholds ({threshold}) were chosen on these samples: sensitivity and specificity "
            "there are flattered. Choose them on another split."
        )
    return notes
