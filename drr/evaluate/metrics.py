"""How well scores rank the samples of one finding: ROC and precision-recall, ties counted right.

Samples of equal score are one step: their order in a file must not matter. So the area under the
ROC curve gives a tie half a point, as the Mann-Whitney statistic does, and average precision
looks only at whole steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drr.errors import DRRError
from drr.sharing import kept_property

__all__ = [
    "EvaluationError",
    "Ranking",
    "auroc",
    "average_precision",
    "precision_recall_curve",
    "rank",
    "roc_curve",
]

Floats = NDArray[np.float64]


class EvaluationError(DRRError, ValueError):
    """Predictions, labels or options that cannot be evaluated."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Ranking:
    """Samples of one finding by falling score; a step for every distinct score.

    Parameters
    ----------
    order
        `(n,)` indices of the samples.
    positive
        `(n,)` whether each has the finding, in that order.
    starts
        `(steps,)` place in `order` of the first sample of every step.
    scores
        `(steps,)` the scores, falling.
    """

    order: NDArray[np.intp]
    positive: NDArray[np.bool_]
    starts: NDArray[np.intp]
    scores: Floats

    def counts(self, weights: ArrayLike | None = None) -> tuple[Floats, Floats]:
        """Weight of positives and of negatives at or above every step's score.

        Parameters
        ----------
        weights
            `(..., n)`, zero or more, in the samples' own order: how often each one counts.

        Returns
        -------
        `(..., steps)` true positives and false positives.
        """
        if weights is None:
            weights = np.ones(len(self.order))
        ordered = np.asarray(weights, np.float64)[..., self.order]
        hits, false_alarms = ordered * self.positive, ordered * ~self.positive
        if len(self.starts) < len(self.order):
            hits = np.add.reduceat(hits, self.starts, axis=-1)
            false_alarms = np.add.reduceat(false_alarms, self.starts, axis=-1)
        return np.cumsum(hits, axis=-1), np.cumsum(false_alarms, axis=-1)

    def auroc(self, weights: ArrayLike | None = None) -> Floats:
        """Area under the ROC curve, `(...)`; NaN where positives or negatives have no weight."""
        return self.both(weights)[..., 0]

    def average_precision(self, weights: ArrayLike | None = None) -> Floats:
        """Average precision, `(...)`; NaN where positives have no weight."""
        return self.both(weights)[..., 1]

    def both(self, weights: ArrayLike | None = None) -> Floats:
        """`(..., 2)`: `auroc` and `average_precision`."""
        if weights is None:
            weights = np.ones(int(self.order.max()) + 1, np.int32)
        ordered = np.take(np.asarray(weights), self.order, axis=-1)
        # NumPy adds up int32 twenty times as fast as floating point; Bootstrap's counts are that.
        if ordered.dtype != np.int32:
            ordered = ordered.astype(np.float64)
        places, last, starts, ends = self._positive_steps
        if not places.size:
            return np.full((*ordered.shape[:-1], 2), np.nan)
        # Both are sums over the positives: only steps that hold some are looked at, and ties
        # within a step are counted as a whole.
        running = np.cumsum(ordered, axis=-1, dtype=ordered.dtype)
        called = running[..., ends - 1].astype(np.float64)
        before = np.where(starts > 0, running[..., starts - 1], 0)
        hits = np.cumsum(ordered[..., places], axis=-1, dtype=ordered.dtype)[..., last]
        hits = hits.astype(np.float64)
        gains = np.diff(hits, axis=-1, prepend=0)
        total, positives = running[..., -1].astype(np.float64), hits[..., -1]
        negatives = total - positives
        beside = called - before - gains
        below = negatives[..., None] - (called - hits)
        with np.errstate(invalid="ignore"):
            # A negative beside a positive counts half.
            area = np.sum(gains * (below + beside / 2), axis=-1) / (positives * negatives)
            precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
            average = np.sum(gains * precision, axis=-1) / positives
        return np.stack([area, average], axis=-1)

    @kept_property
    def _positive_steps(self) -> tuple[NDArray[np.intp], ...]:
        """Places of the positives; of these the last of every step; where those steps lie."""
        places = np.flatnonzero(self.positive)
        steps = np.searchsorted(self.starts, places, "right") - 1
        last = np.flatnonzero(np.diff(steps, append=-1))
        ends = np.r_[self.starts, len(self.order)][steps[last] + 1]
        return places, last, self.starts[steps[last]], ends


def rank(truth: ArrayLike, scores: ArrayLike) -> Ranking:
    """Put samples in order of falling score.

    Parameters
    ----------
    truth
        `(n,)` 1 or True where the sample has the finding, 0 where not.
    scores
        `(n,)` the higher the likelier; any finite numbers.

    Raises
    ------
    EvaluationError
        For no samples, other shapes, other truth, or scores that are not finite.
    """
    present, values = np.asarray(truth), np.asarray(scores, np.float64)
    if present.ndim != 1 or present.shape != values.shape or not present.size:
        raise EvaluationError(
            f"truth of shape {present.shape} and scores of shape {values.shape}: give one of each "
            "for every sample, and one sample at least"
        )
    if not np.isin(present, (0, 1)).all():
        raise EvaluationError("truth must be 0 or 1; leave out uncertain and unknown samples first")
    if not np.isfinite(values).all():
        bad = int(np.flatnonzero(~np.isfinite(values))[0])
        raise EvaluationError(f"the score of sample {bad} is {values[bad]}; it must be a number")
    order = np.argsort(-values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    return Ranking(
        order=order,
        positive=present[order].astype(bool),
        starts=starts,
        scores=ordered[starts],
    )


def auroc(truth: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties half.

    Parameters and errors as `rank`. NaN where there are no positives or no negatives.

    Source: Hanley and McNeil, Radiology 143:29 (1982).
    """
    return float(rank(truth, scores).auroc())


def average_precision(truth: ArrayLike, scores: ArrayLike) -> float:
    """Mean of the precision over the positives, without interpolation between the steps.

    Sum over the steps of the gain in recall times the precision there, the definition of
    scikit-learn's `average_precision_score`. Parameters and errors as `rank`. NaN where there are
    no positives. Chance gives the share of positives, not 0.5.
    """
    return float(rank(truth, scores).average_precision())


def roc_curve(truth: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """False positive rate, true positive rate, and score, from (0, 0) on.

    Returns
    -------
    Three arrays of one length; the first score is infinite: nobody is above it. A rate of nothing
    (no positives, no negatives) is NaN.
    """
    ranking = rank(truth, scores)
    hits, false_alarms = ranking.counts()
    with np.errstate(invalid="ignore"):
        rates = [np.r_[0.0, part] / part[-1] for part in (false_alarms, hits)]
    return rates[0], rates[1], np.r_[np.inf, ranking.scores]


def precision_recall_curve(truth: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Precision, recall and score at every step, the highest score first.

    Returns
    -------
    Three arrays of one length; recall is NaN without positives.
    """
    ranking = rank(truth, scores)
    hits, false_alarms = ranking.counts()
    with np.errstate(invalid="ignore"):
        return hits / (hits + false_alarms), hits / hits[-1], ranking.scores
