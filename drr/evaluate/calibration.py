"""Whether probabilities mean what they say: of films called 20 %, do 20 % have the finding?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drr.checks import Plain
from drr.evaluate.metrics import EvaluationError

__all__ = ["Calibration", "ReliabilityBin", "calibrate"]

EDGE = 1e-7
"""Probabilities of 0 and 1 have no logit; float32 cannot tell 1 from what is nearer than this."""


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin(Plain):
    """Samples of neighbouring probabilities.

    Parameters
    ----------
    samples
        How many.
    predicted
        Their mean probability.
    observed
        Share of them that have the finding.
    """

    samples: int
    predicted: float
    observed: float


@dataclass(frozen=True, kw_only=True)
class Calibration(Plain):
    """Calibration of one finding.

    Parameters
    ----------
    brier
        Mean squared distance of probability and truth; 0 is perfect (Brier 1950).
    brier_skill
        1 - brier / brier of always saying the prevalence; 0 knows no more than that, and what is
        negative, less.
    expected_error
        Mean over the bins, by their samples, of |observed - predicted|: the expected calibration
        error, with bins of equal counts (Nixon et al. 2019).
    in_the_large
        Mean probability less prevalence; positive for what is called too often.
    slope, intercept
        Of the logistic regression of the truth on the logit; 1 and 0 are perfect, a slope below 1
        is overconfidence (Cox 1958). NaN where it has no solution: the finding is separated.
    bins
        Bins of rising probability and nearly equal counts; equal probabilities stay together.
    """

    brier: float
    brier_skill: float
    expected_error: float
    in_the_large: float
    slope: float
    intercept: float
    bins: tuple[ReliabilityBin, ...]


def calibrate(truth: ArrayLike, probabilities: ArrayLike, *, bins: int = 10) -> Calibration:
    """Calibration of probabilities.

    Parameters
    ----------
    truth
        `(n,)` 0 or 1.
    probabilities
        `(n,)` from 0 to 1.
    bins
        Number of bins of the reliability curve.

    Raises
    ------
    EvaluationError
        For no samples, other shapes, or what is no probability.
    """
    present, chance = np.asarray(truth, np.float64), np.asarray(probabilities, np.float64)
    if present.ndim != 1 or present.shape != chance.shape or not present.size:
        raise EvaluationError(
            f"truth of shape {present.shape} and probabilities of shape {chance.shape}: give one "
            "of each for every sample, and one sample at least"
        )
    if not ((chance >= 0) & (chance <= 1)).all():
        raise EvaluationError(
            "probabilities lie between 0 and 1; put logits through a sigmoid first"
        )
    if bins < 1:
        raise EvaluationError(f"bins must be 1 or more, got {bins!r}")
    prevalence = present.mean()
    brier = float(np.mean((chance - present) ** 2))
    reference = prevalence * (1 - prevalence)
    parts = _bins(present, chance, bins)
    intercept, slope = _recalibrate(present, chance)
    return Calibration(
        brier=brier,
        brier_skill=float(1 - brier / reference) if reference > 0 else math.nan,
        expected_error=sum(b.samples * abs(b.observed - b.predicted) for b in parts) / len(present),
        in_the_large=float(chance.mean() - prevalence),
        slope=slope,
        intercept=intercept,
        bins=parts,
    )


def _bins(
    present: NDArray[np.float64], chance: NDArray[np.float64], bins: int
) -> tuple[ReliabilityBin, ...]:
    order = np.argsort(chance, kind="stable")
    ordered = chance[order]
    # A cut within a probability moves to its nearer end, so that none is on both sides.
    cuts = np.arange(bins) * len(order) // bins
    starts, ends = (np.searchsorted(ordered, ordered[cuts], side) for side in ("left", "right"))
    edges = np.unique(np.where(cuts - starts <= ends - cuts, starts, ends))
    edges = edges[edges < len(order)]
    return tuple(
        ReliabilityBin(
            samples=len(part),
            predicted=float(chance[part].mean()),
            observed=float(present[part].mean()),
        )
        for part in np.split(order, edges[edges > 0])
    )


def _recalibrate(present: NDArray[np.float64], chance: NDArray[np.float64]) -> tuple[float, float]:
    """Intercept and slope of the logistic regression on the logit, by Newton's method."""
    clipped = np.clip(chance, EDGE, 1 - EDGE)
    logit = np.log(clipped) - np.log1p(-clipped)
    spread = float(logit.std())
    if spread == 0 or present.min() == present.max() or _separated(present, logit):
        return math.nan, math.nan
    # Centred and scaled, the two unknowns are of one size.
    centre = float(logit.mean())
    design = np.stack([np.ones_like(logit), (logit - centre) / spread])
    share = present.mean()
    beta = np.array([np.log(share / (1 - share)), 0.0])
    loss = _loss(beta, design, present)
    for _ in range(100):
        fitted = 1 / (1 + np.exp(-beta @ design))
        gradient = design @ (present - fitted)
        hessian = (design * (fitted * (1 - fitted))) @ design.T
        step = np.linalg.solve(hessian + 1e-12 * np.eye(2), gradient)
        # Halve a step that overshoots: the likelihood has one maximum, and a path to it.
        while (after := _loss(beta + step, design, present)) > loss and np.abs(step).max() > 1e-12:
            step /= 2
        beta, loss = beta + step, after
        if np.abs(step).max() < 1e-10:
            break
    slope = float(beta[1] / spread)
    return float(beta[0] - slope * centre), slope


def _loss(
    beta: NDArray[np.float64], design: NDArray[np.float64], present: NDArray[np.float64]
) -> float:
    linear = beta @ design
    return float(np.sum(np.logaddexp(0, linear) - present * linear))


def _separated(present: NDArray[np.float64], logit: NDArray[np.float64]) -> bool:
    """Whether one threshold parts positives and negatives: the slope would be infinite."""
    yes, no = logit[present == 1], logit[present == 0]
    return bool(yes.min() >= no.max() or yes.max() <= no.min())
