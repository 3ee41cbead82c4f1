"""AUROC, average precision and their curves against scikit-learn and against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from drr.evaluate.metrics import (
    EvaluationError,
    auroc,
    average_precision,
    precision_recall_curve,
    rank,
    roc_curve,
)

SAMPLES = st.lists(st.tuples(st.booleans(), st.integers(0, 6), st.integers(0, 3)), min_size=2)


@settings(max_examples=200, deadline=None)
@given(SAMPLES)
def test_equal_to_scikit_learn_with_ties_and_weights(samples: list[tuple[bool, int, int]]) -> None:
    truth, scores, weights = (np.array(column) for column in zip(*samples, strict=True))
    if truth.all() or not truth.any():
        return
    assert auroc(truth, scores) == pytest.approx(sk.roc_auc_score(truth, scores), abs=1e-12)
    expected = sk.average_precision_score(truth, scores)
    assert average_precision(truth, scores) == pytest.approx(expected, abs=1e-12)
    if (weights * truth).any() and (weights * ~truth).any():
        area, precision = rank(truth, scores).both(weights)
        assert area == pytest.approx(sk.roc_auc_score(truth, scores, sample_weight=weights))
        expected = sk.average_precision_score(truth, scores, sample_weight=weights)
        assert precision == pytest.approx(expected)


def test_auroc_is_the_chance_of_the_right_order() -> None:
    rng = np.random.default_rng(0)
    truth, scores = rng.integers(0, 2, 60), rng.integers(0, 9, 60)
    pairs = scores[truth == 1][:, None] - scores[truth == 0]
    assert auroc(truth, scores) == pytest.approx(((pairs > 0) + (pairs == 0) / 2).mean())


def test_order_in_the_file_does_not_matter_among_ties() -> None:
    truth, scores = np.array([1, 0, 1, 0, 0]), np.array([3, 3, 3, 3, 1])
    for order in ([0, 1, 2, 3, 4], [4, 3, 1, 2, 0], [1, 3, 0, 2, 4]):
        assert auroc(truth[order], scores[order]) == pytest.approx(2 / 3)
        assert average_precision(truth[order], scores[order]) == pytest.approx(0.5)


def test_weights_are_repeats() -> None:
    rng = np.random.default_rng(1)
    truth, scores = rng.integers(0, 2, 40), rng.integers(0, 12, 40)
    weights = rng.integers(0, 4, (5, 40))
    both = rank(truth, scores).both(weights)
    assert both.shape == (5, 2)
    for row, (area, precision) in zip(weights, both, strict=True):
        again = np.repeat(truth, row), np.repeat(scores, row)
        assert area == pytest.approx(auroc(*again))
        assert precision == pytest.approx(average_precision(*again))


def test_curves_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    truth, scores = rng.integers(0, 2, 80), rng.integers(0, 20, 80)
    for ours, theirs in zip(
        roc_curve(truth, scores),
        sk.roc_curve(truth, scores, drop_intermediate=False),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs)
    precision, recall, thresholds = sk.precision_recall_curve(truth, scores)
    ours = precision_recall_curve(truth, scores)
    np.testing.assert_allclose(ours[2], thresholds[::-1])
    np.testing.assert_allclose(ours[0], precision[-2::-1])
    np.testing.assert_allclose(ours[1], recall[-2::-1])


def test_one_kind_of_sample_has_no_area() -> None:
    assert np.isnan(auroc([1, 1], [0.1, 0.2]))
    assert np.isnan(auroc([0, 0], [0.1, 0.2]))
    assert np.isnan(average_precision([0, 0], [0.1, 0.2]))
    assert average_precision([1, 1], [0.1, 0.2]) == 1


@pytest.mark.parametrize(
    ("truth", "scores", "message"),
    [
        ([1, 0], [0.5], "scores of shape"),
        ([], [], "one sample at least"),
        ([1, -1], [0.5, 0.1], "uncertain and unknown"),
        ([1, 0], [0.5, np.nan], "sample 1 is nan"),
        ([[1, 0]], [[0.5, 0.1]], "shape"),
    ],
)
def test_what_cannot_be_ranked(truth: object, scores: object, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        rank(truth, scores)
