"""Calibration against scikit-learn, and on probabilities whose calibration is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from drr.evaluate.calibration import calibrate
from drr.evaluate.metrics import EvaluationError


def made(factor: float, shift: float = 0.0, n: int = 20000) -> tuple[np.ndarray, np.ndarray]:
    """Truth, and probabilities whose logit is `factor` times too large, and shifted."""
    rng = np.random.default_rng(5)
    logit = rng.normal(-1, 1.5, n)
    truth = rng.random(n) < 1 / (1 + np.exp(-logit))
    return truth.astype(int), 1 / (1 + np.exp(-factor * logit - shift))


def test_honest_probabilities() -> None:
    result = calibrate(*made(1))
    assert result.slope == pytest.approx(1, abs=0.05)
    assert result.intercept == pytest.approx(0, abs=0.06)
    assert result.expected_error < 0.015
    assert abs(result.in_the_large) < 0.01
    assert result.brier_skill > 0.2


def test_overconfidence_and_a_shift() -> None:
    result = calibrate(*made(2, 1))
    assert result.slope == pytest.approx(0.5, abs=0.03)
    assert result.intercept == pytest.approx(-0.5, abs=0.06)
    assert result.expected_error > 0.03
    assert result.in_the_large > 0.01


def test_figures_of_scikit_learn() -> None:
    truth, chance = made(1.7, -0.4, n=700)
    result = calibrate(truth, chance)
    assert result.brier == pytest.approx(brier_score_loss(truth, chance))
    logit = np.log(chance / (1 - chance))
    fit = LogisticRegression(C=1e9, tol=1e-10, max_iter=1000).fit(logit[:, None], truth)
    assert result.slope == pytest.approx(fit.coef_[0, 0], rel=1e-4)
    assert result.intercept == pytest.approx(fit.intercept_[0], abs=1e-4)


def test_bins_are_of_equal_counts_and_keep_ties_together() -> None:
    truth, chance = made(1, n=1000)
    result = calibrate(truth, chance, bins=5)
    assert [b.samples for b in result.bins] == [200] * 5
    assert [b.predicted for b in result.bins] == sorted(b.predicted for b in result.bins)
    assert sum(b.samples * b.observed for b in result.bins) == pytest.approx(truth.sum())
    few = calibrate([0, 1, 0, 1, 1, 1], [0.1, 0.1, 0.1, 0.1, 0.1, 0.9], bins=3)
    assert [(b.samples, b.predicted) for b in few.bins] == [(5, pytest.approx(0.1)), (1, 0.9)]


def test_no_slope_where_a_threshold_parts_all() -> None:
    for truth in ([0, 0, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]):
        assert math.isnan(calibrate(truth, [0.1, 0.2, 0.8, 1.0]).slope)
    assert math.isnan(calibrate([0, 1], [0.5, 0.5]).slope)
    assert calibrate([0, 0, 0, 0], [0.1] * 4).to_dict()["brier_skill"] is None


def test_certainty_that_is_wrong_is_still_finite() -> None:
    result = calibrate([1, 0, 0, 1, 0, 1], [0.0, 0.0, 1.0, 1.0, 0.4, 0.4])
    assert math.isfinite(result.slope)
    assert result.to_dict()["bins"][0]["samples"] == 2


def test_logits_are_refused() -> None:
    with pytest.raises(EvaluationError, match="sigmoid"):
        calibrate([0, 1], [-2.0, 3.0])
    with pytest.raises(EvaluationError, match="sigmoid"):
        calibrate([0, 1], [0.5, math.nan])
    with pytest.raises(EvaluationError, match="shape"):
        calibrate([0, 1], [0.5])
    with pytest.raises(EvaluationError, match="bins"):
        calibrate([0, 1], [0.5, 0.2], bins=0)
