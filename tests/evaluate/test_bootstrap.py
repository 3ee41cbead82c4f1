"""Bootstrap by patient: what is drawn, and that intervals are as wide as they should be."""

from __future__ import annotations

import math

import numpy as np
import pytest

from drr.evaluate.bootstrap import Bootstrap, Estimate, patient_codes
from drr.evaluate.metrics import EvaluationError, rank


def weights(boot: Bootstrap, patients: object, **options: object) -> np.ndarray:
    return boot.resample(patients, lambda w: w, **options)


def test_every_draw_takes_as_many_patients_and_keeps_their_films_together() -> None:
    patients = np.array([0, 0, 1, 2, 2, 2, 3])
    drawn = weights(Bootstrap(draws=300), patients)
    assert drawn.shape == (300, 7)
    by_patient = drawn[:, [0, 2, 3, 6]]
    assert (by_patient.sum(axis=1) == 4).all()
    np.testing.assert_array_equal(drawn, by_patient[:, patients])
    # Each count is binomial(4, 1/4).
    assert by_patient.mean() == 1
    assert by_patient.var() == pytest.approx(0.75, abs=0.1)


def test_strata_keep_their_size() -> None:
    patients, strata = np.arange(10), np.array([1] * 2 + [5] * 8)
    drawn = weights(Bootstrap(draws=200), patients, strata=strata)
    assert (drawn[:, :2].sum(axis=1) == 2).all()
    assert (drawn[:, 2:].sum(axis=1) == 8).all()
    assert len({tuple(row) for row in drawn}) > 100


def test_draws_depend_on_the_seed_only() -> None:
    patients = np.arange(5)
    first = weights(Bootstrap(draws=100, seed=1), patients)
    np.testing.assert_array_equal(first, weights(Bootstrap(draws=100, seed=1), patients))
    assert (first != weights(Bootstrap(draws=100, seed=2), patients)).any()


def test_blocks_cover_all_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drr.evaluate.bootstrap.BLOCK", 33)
    drawn = weights(Bootstrap(draws=101), np.arange(10))
    assert drawn.shape == (101, 10)
    assert (drawn.sum(axis=1) == 10).all()


def test_no_draws_are_an_empty_result() -> None:
    assert weights(Bootstrap(draws=0), np.arange(10)).shape == (0, 10)
    ranking = rank([0, 1, 1], [0.1, 0.2, 0.3])
    assert Bootstrap(draws=0).resample([0, 1, 2], ranking.both).shape == (0, 2)


def test_interval_is_the_percentiles() -> None:
    boot = Bootstrap(draws=1000, level=0.9)
    estimate = boot.estimate(0.5, np.arange(1001) / 1000)
    assert (estimate.low, estimate.high) == pytest.approx((0.05, 0.95))
    assert str(estimate) == "0.500 (0.050 to 0.950)"
    assert math.isnan(boot.estimate(0.5, [0.1, math.nan]).low)
    assert str(boot.estimate(1.0, np.ones(1000))) == "1.000"
    assert str(Estimate(value=math.nan)) == "-"
    assert Estimate(value=0.5).to_dict() == {"value": 0.5, "low": None, "high": None}
    assert eval(repr(estimate)) == estimate


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Scores N(1, 1) and N(0, 1): the area is 0.760; 80 % intervals hold it in 80 % of trials."""
    rng = np.random.default_rng(3)
    truth = np.repeat([1, 0], 60)
    boot = Bootstrap(draws=200, level=0.8)
    covered = 0
    for _ in range(200):
        scores = rng.normal(size=120) + truth
        draws = boot.resample(np.arange(120), rank(truth, scores).auroc)
        estimate = boot.estimate(0, draws)
        covered += estimate.low <= 0.7602 <= estimate.high
    assert 0.70 < covered / 200 < 0.88


def test_copies_of_a_film_are_no_evidence() -> None:
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 2, 50)
    scores = rng.normal(size=50) + truth
    boot = Bootstrap(draws=500)

    def width(copies: int, by_patient: bool) -> float:
        many = [np.repeat(values, copies) for values in (truth, scores, np.arange(50))]
        owners = many[2] if by_patient else np.arange(50 * copies)
        draws = boot.resample(owners, rank(many[0], many[1]).auroc)
        estimate = boot.estimate(0, draws)
        return estimate.high - estimate.low

    assert width(4, by_patient=True) == pytest.approx(width(1, by_patient=True))
    assert width(4, by_patient=False) < 0.7 * width(1, by_patient=True)


def test_codes_of_names() -> None:
    assert patient_codes(["b", "a", "b"]).tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draws": 10}, "draws"),
        ({"draws": 2.5}, "draws"),
        ({"level": 1.0}, "level"),
        ({"level": math.nan}, "level"),
        ({"seed": -1}, "seed"),
    ],
)
def test_settings_that_cannot_be(options: dict[str, object], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        Bootstrap(**options)
