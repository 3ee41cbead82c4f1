"""DeLong's test against its definition and a simulation; patients with several films; Holm."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from drr.evaluate.bootstrap import Bootstrap
from drr.evaluate.compare import bootstrap_p, delong, holm
from drr.evaluate.metrics import EvaluationError, rank


def made(n: int = 90, seed: int = 7) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, n)
    common = rng.normal(size=n)
    first = np.round(common + rng.normal(size=n) + 1.5 * truth, 1)
    return truth, first, np.round(common + rng.normal(size=n) + truth, 1)


def by_definition(truth: np.ndarray, *scores: np.ndarray) -> np.ndarray:
    """Covariance of the areas, as DeLong et al. write it, with all pairs."""
    tens, ones = [], []
    for values in scores:
        yes, no = values[truth == 1][:, None], values[truth == 0][None]
        kernel = (yes > no) + 0.5 * (yes == no)
        tens.append(kernel.mean(axis=1))
        ones.append(kernel.mean(axis=0))
    return np.cov(tens) / len(tens[0]) + np.cov(ones) / len(ones[0])


def test_equal_to_the_definition() -> None:
    truth, first, second = made()
    result = delong(truth, first, second)
    covariance = by_definition(truth, first, second)
    expected = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    assert result.first == pytest.approx(roc_auc_score(truth, first))
    assert result.second == pytest.approx(roc_auc_score(truth, second))
    assert result.standard_error == pytest.approx(math.sqrt(expected))
    assert result.p == pytest.approx(
        math.erfc(abs(result.difference) / math.sqrt(2 * expected)), abs=1e-12
    )
    low, high = result.interval()
    assert high - low == pytest.approx(2 * 1.959964 * math.sqrt(expected), rel=1e-6)


def test_copies_of_films_are_no_evidence() -> None:
    truth, first, second = made()
    once = delong(truth, first, second)
    copies = [np.repeat(values, 3) for values in (truth, first, second)]
    clustered = delong(*copies, patients=np.repeat(np.arange(len(truth)), 3))
    assert clustered.standard_error == pytest.approx(once.standard_error)
    assert delong(*copies).standard_error < 0.6 * once.standard_error


def test_patients_with_films_of_both_kinds_agree_with_the_bootstrap() -> None:
    rng = np.random.default_rng(8)
    owners = np.repeat(np.arange(150), 3)
    truth = (rng.normal(size=450) + rng.normal(size=150)[owners] > 0.6).astype(int)
    habit = rng.normal(size=(2, 150))[:, owners]
    first, second = habit + rng.normal(size=(2, 450)) + np.array([[1.4], [0.9]]) * truth
    result = delong(truth, first, second, patients=owners)
    draws = Bootstrap(draws=1000).resample(
        owners, lambda w: rank(truth, first).auroc(w) - rank(truth, second).auroc(w)
    )
    assert result.standard_error == pytest.approx(draws.std(), rel=0.12)


def test_p_is_uniform_where_models_are_alike() -> None:
    rng = np.random.default_rng(9)
    truth = np.repeat([1, 0], 40)
    p = [delong(truth, *(rng.normal(size=(2, 80)) + truth)).p for _ in range(400)]
    assert np.mean(np.array(p) < 0.1) == pytest.approx(0.1, abs=0.05)
    assert np.mean(np.array(p) < 0.5) == pytest.approx(0.5, abs=0.08)


def test_a_model_against_itself() -> None:
    truth, first, _ = made()
    result = delong(truth, first, 2 * first + 1)
    assert (result.difference, result.standard_error, result.p) == (0, 0, 1)


def test_too_few_patients() -> None:
    with pytest.raises(EvaluationError, match="two patients with the finding"):
        delong([1, 0, 0], [1, 2, 3], [3, 2, 1])
    with pytest.raises(EvaluationError, match="has 1 and 2"):
        delong([1, 1, 0, 0], [1, 2, 3, 4], [4, 3, 2, 1], patients=[0, 0, 1, 2])
    with pytest.raises(EvaluationError, match="3 patients were given for 4"):
        delong([1, 1, 0, 0], [1, 2, 3, 4], [4, 3, 2, 1], patients=[0, 1, 2])
    with pytest.raises(EvaluationError, match="must be a number"):
        delong([1, 1, 0, 0], [1, 2, 3, math.nan], [4, 3, 2, 1])


def test_bootstrap_p() -> None:
    assert bootstrap_p(np.ones(999)) == pytest.approx(0.002)
    assert bootstrap_p(np.arange(-500, 500)) == 1
    assert math.isnan(bootstrap_p([]))
    assert math.isnan(bootstrap_p([math.nan]))


def test_holm_keeps_order_and_leaves_nan_out() -> None:
    assert holm([0.01, math.nan, 0.04, 0.03]) == pytest.approx(
        (0.03, math.nan, 0.06, 0.06), nan_ok=True
    )
    assert holm([0.9, 0.8]) == (1.0, 1.0)
