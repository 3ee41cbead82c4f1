"""Evaluation: the published tables again, real films by patient, and data with known answers."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from drr.datasets.labels import UNKNOWN
from drr.evaluate.bootstrap import Bootstrap
from drr.evaluate.cases import Cases, align
from drr.evaluate.compare import compare
from drr.evaluate.evaluate import CURVE_POINTS, evaluate
from drr.evaluate.metrics import EvaluationError, auroc, average_precision
from drr.evaluate.predictions import Predictions, read_predictions
from drr.evaluate.truth import Truth, read_truth

QUICK = Bootstrap(draws=200)


def made(n: int = 120, seed: int = 0, strength: float = 1.5, **options: object) -> Cases:
    """Two films of each of n / 2 patients, two findings, probabilities."""
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 2, (n, 2))
    noise = np.random.default_rng(seed).normal(size=(n, 2))
    scores = 1 / (1 + np.exp(-(noise + strength * codes)))
    truth = {
        "codes": codes,
        "labels": ("Edema", "Mass"),
        "patients": tuple(f"p{i // 2}" for i in range(n)),
        "sex": tuple("MF"[i % 4 > 1] for i in range(n)),
    }
    return align(Predictions(scores=scores, labels=("Edema", "Mass")), Truth(**(truth | options)))


@pytest.mark.parametrize("name", ["fold_0", "fold_1", "chexpert"])
def test_the_published_tables_again(test_data: Path, name: str) -> None:
    """AUROC and average precision as the authors of DRR-RATE published them, to 1e-6."""
    folder = test_data / "published" / "drr_rate"
    predictions = read_predictions(folder / f"{name}_y_pred.csv")
    truth = read_truth(folder / f"{name}_y_true.csv", labels=predictions.labels)
    result = evaluate(align(predictions, truth), bootstrap=Bootstrap(draws=0))
    with open(folder / f"{name}_results.csv", newline="") as file:
        published = {row[""]: row for row in csv.DictReader(file)}
    assert [c.label for c in result.classes] == list(published)
    for finding in result.classes:
        row = published[finding.label]
        assert finding.auroc.value == pytest.approx(float(row["ROC_AUC"]), abs=1e-6)
        assert finding.average_precision.value == pytest.approx(float(row["AP"]), abs=1e-6)


def test_real_films_by_patient(test_data: Path) -> None:
    folder = test_data / "cxr" / "nih"
    predictions = read_predictions(folder / "chexnet_predictions.csv")
    cases = align(predictions, read_truth(folder / "labels.csv"))
    result = evaluate(cases, bootstrap=QUICK)
    assert (result.samples, result.patients, result.by_patient) == (478, 408, True)
    assert len(result.classes) == 14
    for finding in result.classes:
        assert finding.auroc.low < finding.auroc.value < finding.auroc.high
    assert 0.75 < result.macro_auroc.value < 0.85
    assert {g.attribute for g in result.groups} == {"sex", "age", "view"}
    for attribute in ("sex", "age", "view"):
        parts = [g for g in result.groups if g.attribute == attribute]
        assert sum(g.samples for g in parts) == 478
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["samples"] == 478


def test_figures_are_those_of_the_samples_that_are_known() -> None:
    cases = made()
    codes = cases.codes.copy()
    codes[::3, 0] = UNKNOWN
    truth = Truth(codes=codes, labels=("Edema", "Mass"))
    again = align(Predictions(scores=cases.scores, labels=("Edema", "Mass")), truth)
    first, second = evaluate(again, bootstrap=QUICK).classes
    known = codes[:, 0] != UNKNOWN
    assert first.auroc.value == pytest.approx(auroc(codes[known, 0], cases.scores[known, 0]))
    assert second.average_precision.value == pytest.approx(
        average_precision(codes[:, 1], cases.scores[:, 1])
    )
    assert (first.samples, first.unknown) == (80, 40)
    assert first.calibration is not None
    assert first.point is not None
    assert first.point.rule == "youden"


def test_macro_is_the_mean_and_its_interval_narrower() -> None:
    result = evaluate(made(), bootstrap=QUICK)
    assert result.macro_auroc.value == pytest.approx(
        np.mean([c.auroc.value for c in result.classes])
    )
    widths = [c.auroc.high - c.auroc.low for c in result.classes]
    assert result.macro_auroc.high - result.macro_auroc.low < min(widths)


def test_the_same_seed_gives_the_same_report() -> None:
    first, second = (evaluate(made(), bootstrap=QUICK).to_dict() for _ in range(2))
    assert first == second


def test_classes_that_cannot_be_measured_are_named() -> None:
    codes = np.zeros((120, 2), int)
    codes[:4, 0] = 1
    result = evaluate(made(codes=codes), bootstrap=QUICK)
    edema, mass = result.classes
    assert math.isnan(mass.auroc.value)
    assert str(mass.auroc) == "-"
    assert result.macro_auroc.value == edema.auroc.value
    notes = " ".join(result.notes)
    assert "for no positives: Mass" in notes
    assert "Edema (2)" in notes
    # Two patients have it: some draws have neither.
    assert edema.stratified
    assert math.isfinite(edema.auroc.low)
    codes[1:4] = 0
    assert math.isnan(evaluate(made(codes=codes), bootstrap=QUICK).classes[0].auroc.low)
    with pytest.raises(EvaluationError, match="no finding"):
        evaluate(made(codes=0 * codes), bootstrap=QUICK)


def test_thresholds_from_elsewhere() -> None:
    result = evaluate(made(), bootstrap=QUICK, threshold={"Edema": 0.5})
    edema, mass = result.classes
    assert edema.point is not None
    assert (edema.point.threshold, edema.point.rule) == (0.5, "given")
    assert mass.point is None
    assert "No threshold was given for Mass." in result.notes
    assert not any("chosen on these samples" in note for note in result.notes)
    assert any(
        "chosen on these samples" in note for note in evaluate(made(), bootstrap=QUICK).notes
    )
    with pytest.raises(EvaluationError, match="youden"):
        evaluate(made(), bootstrap=QUICK, threshold="best")


def test_scores_that_are_no_probabilities_have_no_calibration() -> None:
    cases = made()
    logits = Predictions(scores=cases.scores * 9 - 4, labels=("Edema", "Mass"))
    truth = Truth(codes=cases.codes, labels=("Edema", "Mass"))
    result = evaluate(align(logits, truth), bootstrap=QUICK)
    assert all(c.calibration is None for c in result.classes)
    assert any("no calibration" in note for note in result.notes)


def test_subgroups() -> None:
    result = evaluate(made(), bootstrap=QUICK, subgroups=("sex",))
    women, men = result.groups
    assert (women.value, women.samples, women.patients) == ("F", 60, 30)
    assert men.macro_auroc.low < men.macro_auroc.value < men.macro_auroc.high
    assert evaluate(made(), bootstrap=QUICK, subgroups=()).groups == ()
    with pytest.raises(EvaluationError, match="did you mean 'sex'"):
        evaluate(made(), bootstrap=QUICK, subgroups=("sexx",))


def test_curves_end_at_the_corners_and_are_short() -> None:
    (edema, _) = evaluate(made(6000), bootstrap=Bootstrap(draws=0)).classes
    assert edema.roc[0] == (0, 0)
    assert edema.roc[-1] == (1, 1)
    assert len(edema.roc) <= CURVE_POINTS + 2
    x, y = np.array(edema.roc).T
    assert np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2) == pytest.approx(edema.auroc.value, abs=2e-3)
    assert edema.precision_recall[-1][0] == 1


def test_comparison_of_two_models() -> None:
    better, worse = made(seed=1, strength=2.5), made(seed=2, strength=0.3)
    result = evaluate(better, bootstrap=QUICK, other=worse).comparison
    assert result is not None
    assert (result.samples, result.patients) == (120, 60)
    for row in result.classes:
        assert row.auroc.value == pytest.approx(row.first_auroc - row.second_auroc)
        assert row.auroc.low > 0
        assert row.auroc_p < 1e-3
        assert row.auroc_p <= row.auroc_p_holm
        assert row.average_precision_p == pytest.approx(2 / 201)
    assert result.macro.auroc.low > 0
    assert result.macro.auroc_p == pytest.approx(2 / 201)


def test_a_model_against_itself_and_pairing() -> None:
    same = compare(made(), made(), bootstrap=QUICK)
    for row in same.classes:
        assert (row.auroc.value, row.auroc_p, row.average_precision_p) == (0, 1, 1)
        assert math.isnan(row.auroc.low)  # all draws are alike
    # A model that differs by a little noise: the paired interval is far narrower than either.
    cases = made()
    shaken = Predictions(
        scores=np.clip(cases.scores + np.random.default_rng(5).normal(0, 0.02, (120, 2)), 0, 1),
        labels=("Edema", "Mass"),
    )
    truth = Truth(
        codes=cases.codes,
        labels=("Edema", "Mass"),
        patients=tuple(f"p{code}" for code in cases.patients),
    )
    (row, _) = compare(cases, align(shaken, truth), bootstrap=QUICK).classes
    (alone, _) = evaluate(cases, bootstrap=QUICK).classes
    assert row.auroc.high - row.auroc.low < 0.5 * (alone.auroc.high - alone.auroc.low)


def test_too_few_patients_to_compare_have_no_p() -> None:
    codes = np.zeros((120, 2), int)
    codes[0, 0] = 1
    codes[:60, 1] = 1
    one, other = (made(codes=codes, seed=seed) for seed in (1, 2))
    edema, mass = compare(one, other, bootstrap=QUICK).classes
    assert math.isnan(edema.auroc_p)
    assert mass.auroc_p_holm == mass.auroc_p
    with pytest.raises(EvaluationError, match="both positive and negative"):
        compare(made(codes=0 * codes), made(codes=0 * codes), bootstrap=QUICK)
