"""Where to call a finding: thresholds, and what each one costs.

A threshold that is chosen on the samples it is judged on looks better than it is: choose it on one
split, and judge it on another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from drr.checks import Plain
from drr.evaluate.bootstrap import Bootstrap, Estimate
from drr.evaluate.metrics import EvaluationError, rank

__all__ = ["RULES", "OperatingPoint", "choose_threshold", "operating_point", "parse_rule"]

RULES = {
    "youden": "the largest sum of sensitivity and specificity (Youden 1950)",
    "f1": "the largest harmonic mean of precision and recall",
    "sensitivity=0.95": "the highest threshold with at least this sensitivity",
    "specificity=0.95": "the lowest threshold with at least this specificity",
    "0.5": "a number: this threshold",
}
"""How thresholds are given, as the command line and `choose_threshold` take them."""


@dataclass(frozen=True, kw_only=True)
class OperatingPoint(Plain):
    """Calling the finding at or above one score.

    Parameters
    ----------
    threshold
        The score; infinite where nothing is called.
    rule
        How it was chosen.
    true_positives, false_positives, false_negatives, true_negatives
        Samples.
    sensitivity, specificity, precision, negative_predictive_value
        With intervals; precision is NaN where nothing is called.
    """

    threshold: float
    rule: str
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    sensitivity: Estimate
    specificity: Estimate
    precision: Estimate
    negative_predictive_value: Estimate


def parse_rule(rule: str) -> tuple[str, float]:
    """A rule's kind (`youden`, `f1`, `sensitivity`, `specificity`, `score`) and number.

    Raises
    ------
    EvaluationError
        For a rule that does not exist.
    """
    word = rule.strip().lower()
    if word in ("youden", "f1"):
        return word, 0.0
    kind, _, number = word.rpartition("=")
    try:
        value = float(number)
    except ValueError:
        value = np.nan
    if kind in ("sensitivity", "specificity") and 0 < value <= 1:
        return kind, value
    if not kind and np.isfinite(value):
        return "score", value
    raise EvaluationError(
        f"no rule for thresholds is called {rule!r}; use one such as {', '.join(RULES)}"
    )


def choose_threshold(truth: ArrayLike, scores: ArrayLike, *, rule: str = "youden") -> float:
    """The score at or above which the finding is called.

    Parameters
    ----------
    truth, scores
        As in `drr.evaluate.metrics.rank`.
    rule
        As `RULES` lists them. Of equally good thresholds the highest.

    Returns
    -------
    One of the scores, or infinity for a specificity that only calling nothing reaches. NaN without
    positives or negatives, unless the rule is a number.

    Raises
    ------
    EvaluationError
        For what `rank` refuses, and a rule that does not exist.
    """
    kind, number = parse_rule(rule)
    if kind == "score":
        return number
    ranking = rank(truth, scores)
    hits, false_alarms = ranking.counts()
    if not hits[-1] or not false_alarms[-1]:
        return float("nan")
    sensitivity, specificity = hits / hits[-1], 1 - false_alarms / false_alarms[-1]
    if kind == "sensitivity":
        return float(ranking.scores[np.argmax(sensitivity >= number)])
    if kind == "specificity":
        passing = np.flatnonzero(specificity >= number)
        return float(ranking.scores[passing[-1]]) if passing.size else float("inf")
    quality = sensitivity + specificity
    if kind == "f1":
        quality = 2 * hits / (hits + false_alarms + hits[-1])
    return float(ranking.scores[np.argmax(quality)])


def operating_point(
    truth: ArrayLike,
    scores: ArrayLike,
    threshold: float,
    *,
    patients: ArrayLike,
    bootstrap: Bootstrap,
    strata: ArrayLike | None = None,
    rule: str = "given",
) -> OperatingPoint:
    """What calling at a threshold does.

    Intervals are those of a fixed threshold: they do not know how it was chosen.

    Parameters
    ----------
    truth, scores
        `(n,)`, as in `drr.evaluate.metrics.rank`.
    threshold
        Scores at or above it are called.
    patients, strata
        As in `Bootstrap.resample`.
    rule
        For the record.
    """
    present = np.asarray(truth).astype(bool)
    called = np.asarray(scores, np.float64) >= threshold
    cells = np.stack([present & called, ~present & called, present & ~called, ~present & ~called])
    table = cells.T.astype(np.float32)  # counts: exact

    def rates(weights: Any) -> Any:
        sums = np.asarray(weights.astype(np.float32) @ table, np.float64)
        hit, false_alarm, miss, silence = np.moveaxis(sums, -1, 0)
        with np.errstate(invalid="ignore"):
            return np.stack(
                [
                    hit / (hit + miss),
                    silence / (silence + false_alarm),
                    hit / (hit + false_alarm),
                    silence / (silence + miss),
                ],
                axis=-1,
            )

    values = rates(np.ones(len(present), np.int32))
    draws = np.empty((0, 4))
    if bootstrap.draws:
        draws = bootstrap.resample(patients, rates, strata=strata)
    estimates = [bootstrap.estimate(value, draws[:, i]) for i, value in enumerate(values)]
    counts = [int(cell.sum()) for cell in cells]
    return OperatingPoint(
        threshold=float(threshold),
        rule=rule,
        true_positives=counts[0],
        false_positives=counts[1],
        false_negatives=counts[2],
        true_negatives=counts[3],
        sensitivity=estimates[0],
        specificity=estimates[1],
        precision=estimates[2],
        negative_predictive_value=estimates[3],
    )
