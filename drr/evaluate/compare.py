"""Is one model better than another on the same samples?

Both see the same patients, so that much of what varies is common to both: the interval of the
difference is far narrower than the two intervals suggest. `delong` answers for the area under one
ROC curve by formula, a paired bootstrap for any figure; `compare` puts them side by side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drr.datasets.labels import UNKNOWN
from drr.evaluate.bootstrap import Bootstrap, patient_codes
from drr.evaluate.cases import Cases, in_common
from drr.evaluate.measure import measure
from drr.evaluate.metrics import EvaluationError, rank
from drr.evaluate.results import Comparison, Difference

__all__ = ["DeLong", "bootstrap_p", "compare", "delong", "holm"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class DeLong:
    """Difference of two areas under ROC curves, first less second.

    Parameters
    ----------
    first, second
        The areas.
    difference
        First less second.
    standard_error
        Standard error of the difference.
    p
        Two-sided, of no difference.
    """

    first: float
    second: float
    difference: float
    standard_error: float
    p: float

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Normal interval of the difference."""
        reach = NormalDist().inv_cdf((1 + level) / 2) * self.standard_error
        return self.difference - reach, self.difference + reach


def delong(
    truth: ArrayLike, first: ArrayLike, second: ArrayLike, *, patients: ArrayLike | None = None
) -> DeLong:
    """Compare the areas under the ROC curves of two models on the same samples.

    Parameters
    ----------
    truth
        `(n,)` 0 or 1.
    first, second
        `(n,)` scores of either model.
    patients
        `(n,)` who each sample is of; samples of one patient are not independent. None for all
        different: then this is the method of DeLong et al.

    Raises
    ------
    EvaluationError
        For what `rank` refuses, and fewer than two positives, two negatives, or two patients with
        either.

    Sources: DeLong, DeLong and Clarke-Pearson, Biometrics 44:837 (1988); computed by ranks as Sun
    and Xu, IEEE Signal Process. Lett. 21:1389 (2014); patients with several samples as Obuchowski,
    Biometrics 53:567 (1997), which is the former where everyone has one.
    """
    present = np.asarray(truth).astype(bool)
    parts = []
    for scores in (first, second):
        rank(truth, scores)  # refuses what has no ranks
        parts.append(_placements(present, np.asarray(scores, np.float64)))
    owners = np.arange(len(present)) if patients is None else patient_codes(patients)
    if owners.shape != present.shape:
        raise EvaluationError(f"{owners.size} patients were given for {present.size} samples")
    yes, no = owners[present], owners[~present]
    if len(np.unique(yes)) < 2 or len(np.unique(no)) < 2:
        raise EvaluationError(
            "a comparison needs two patients with the finding and two without, at least; this "
            f"one has {len(np.unique(yes))} and {len(np.unique(no))}"
        )
    count = int(owners.max()) + 1
    areas = np.array([placement[present].mean() for placement in parts])
    # Per model and patient: how far its positives, and its negatives, are from the mean.
    sums = np.array(
        [
            [
                np.bincount(owners[side], placement[side] - area, minlength=count)
                for side in (present, ~present)
            ]
            for placement, area in zip(parts, areas, strict=True)
        ]
    )
    positive, negative = sums[:, 0], sums[:, 1]
    several, all_patients = [len(np.unique(side)) for side in (yes, no)], len(np.unique(owners))
    within = several[0] / (several[0] - 1) * (positive @ positive.T) / len(yes) ** 2
    within += several[1] / (several[1] - 1) * (negative @ negative.T) / len(no) ** 2
    across = all_patients / (all_patients - 1) * (positive @ negative.T) / (len(yes) * len(no))
    covariance = within + across + across.T
    difference = float(areas[0] - areas[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    # Rounding leaves a trace of variance, of either sign, where two models rank alike.
    error = math.sqrt(variance) if variance > 1e-15 else 0.0
    if error > 0:
        p = math.erfc(abs(difference) / error / math.sqrt(2))
    else:
        p = 1.0 if abs(difference) < 1e-12 else 0.0
    return DeLong(
        first=float(areas[0]),
        second=float(areas[1]),
        difference=difference,
        standard_error=error,
        p=p,
    )


def bootstrap_p(draws: ArrayLike) -> float:
    """Two-sided p of no difference from draws of the difference, never below 2 / (draws + 1).

    Source: Davison and Hinkley, Bootstrap Methods and their Application (1997), chapter 4.
    """
    values = np.asarray(draws, np.float64)
    if not values.size or not np.isfinite(values).all():
        return math.nan
    below, above = np.sum(values <= 0), np.sum(values >= 0)
    return min(1.0, 2 * (1 + int(min(below, above))) / (len(values) + 1))


def holm(p: Sequence[float]) -> tuple[float, ...]:
    """p values adjusted for how many there are (Holm 1979); NaN stays, and does not count."""
    adjusted = [math.nan] * len(p)
    ranked = sorted((value, place) for place, value in enumerate(p) if not math.isnan(value))
    largest = 0.0
    for rest, (value, place) in zip(range(len(ranked), 0, -1), ranked, strict=True):
        largest = max(largest, min(1.0, rest * value))
        adjusted[place] = largest
    return tuple(adjusted)


def compare(first: Cases, second: Cases, *, bootstrap: Bootstrap | None = None) -> Comparison:
    """Two models on the samples that both predict, from the same draws of patients.

    Raises
    ------
    EvaluationError
        Where they have nothing in common.
    """
    boot = bootstrap or Bootstrap()
    first, second = in_common(first, second)
    ours, theirs = (measure(cases, boot) for cases in (first, second))
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


def _placements(present: NDArray[np.bool_], scores: Floats) -> Floats:
    """Of each positive the share of negatives below it, of each negative that of positives above.

    Ties count half. Their means over positives, and over negatives, are the area.
    """
    yes, no = np.sort(scores[present]), np.sort(scores[~present])
    result = np.empty(len(scores))
    with np.errstate(invalid="ignore", divide="ignore"):
        result[present] = _below(no, scores[present]) / len(no) if len(no) else np.nan
        result[~present] = 1 - _below(yes, scores[~present]) / len(yes) if len(yes) else np.nan
    return result


def _below(ordered: Floats, values: Floats) -> Floats:
    left = np.searchsorted(ordered, values, "left")
    return (left + np.searchsorted(ordered, values, "right")) / 2
