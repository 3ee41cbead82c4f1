"""Thresholds by every rule, against trying all of them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from drr.evaluate.bootstrap import Bootstrap
from drr.evaluate.metrics import EvaluationError
from drr.evaluate.thresholds import choose_threshold, operating_point, parse_rule

RNG = np.random.default_rng(6)
TRUTH = RNG.integers(0, 2, 80)
SCORES = np.round(RNG.normal(size=80) + TRUTH, 1)


def rates(threshold: float) -> tuple[float, float, float]:
    called = threshold <= SCORES
    sensitivity = called[TRUTH == 1].mean()
    f1 = 2 * (called & (TRUTH == 1)).sum() / (called.sum() + TRUTH.sum())
    return sensitivity, 1 - called[TRUTH == 0].mean(), f1


def test_rules_find_what_trying_all_finds() -> None:
    tried = {t: rates(t) for t in np.unique(SCORES)[::-1]}
    best = max(a + b for a, b, _ in tried.values())
    youden = choose_threshold(TRUTH, SCORES)
    assert sum(rates(youden)[:2]) == pytest.approx(best)
    f1 = choose_threshold(TRUTH, SCORES, rule="f1")
    assert rates(f1)[2] == max(f for _, _, f in tried.values())
    high = choose_threshold(TRUTH, SCORES, rule="sensitivity=0.9")
    assert high == max(t for t, (a, _, _) in tried.items() if a >= 0.9)
    low = choose_threshold(TRUTH, SCORES, rule="specificity=0.9")
    assert low == min(t for t, (_, b, _) in tried.items() if b >= 0.9)
    assert choose_threshold(TRUTH, SCORES, rule="0.25") == 0.25


def test_only_calling_nothing_is_specific_enough() -> None:
    assert choose_threshold([0, 1], [0.9, 0.1], rule="specificity=1") == math.inf


def test_no_threshold_without_both_kinds() -> None:
    assert math.isnan(choose_threshold([0, 0], [0.9, 0.1]))


def test_operating_point_counts_and_intervals() -> None:
    patients = np.arange(80) // 2
    boot = Bootstrap(draws=200)
    point = operating_point(TRUTH, SCORES, 0.5, patients=patients, bootstrap=boot, rule="0.5")
    sensitivity, specificity, _ = rates(0.5)
    assert point.sensitivity.value == pytest.approx(sensitivity)
    assert point.specificity.value == pytest.approx(specificity)
    assert point.sensitivity.low < sensitivity < point.sensitivity.high
    total = point.true_positives + point.false_positives
    assert point.precision.value == pytest.approx(point.true_positives / total)
    assert total + point.false_negatives + point.true_negatives == 80
    assert point.to_dict()["sensitivity"]["value"] == pytest.approx(sensitivity)


def test_calling_nothing() -> None:
    point = operating_point(
        [0, 1], [0.1, 0.2], math.inf, patients=[0, 1], bootstrap=Bootstrap(draws=0)
    )
    assert point.sensitivity.value == 0
    assert math.isnan(point.precision.value)
    assert point.to_dict()["threshold"] is None


@pytest.mark.parametrize("rule", ["best", "sensitivity", "sensitivity=0", "specificity=2", "nan"])
def test_rules_that_do_not_exist(rule: str) -> None:
    with pytest.raises(EvaluationError, match="youden, f1"):
        parse_rule(rule)
