"""Splits and folds keep patients together."""

from __future__ import annotations

import pytest

from drr.datasets.splits import check_leakage, fold_patients, split_patients
from drr.datasets.study import CohortError

PATIENTS = [f"p{i}" for i in range(50)]


def test_every_patient_has_one_split_of_the_size_asked_for() -> None:
    split = split_patients(PATIENTS * 2, fractions={"train": 0.7, "test": 0.3}, seed=3)
    assert sorted(split) == sorted(PATIENTS)
    assert list(split.values()).count("train") == 35
    assert split == split_patients(
        reversed(PATIENTS), fractions={"train": 0.7, "test": 0.3}, seed=3
    )
    assert split != split_patients(PATIENTS, fractions={"train": 0.7, "test": 0.3}, seed=4)


def test_folds_differ_by_one_at_most() -> None:
    fold = fold_patients(PATIENTS[:13], folds=5)
    sizes = [list(fold.values()).count(k) for k in range(5)]
    assert sum(sizes) == 13
    assert max(sizes) - min(sizes) <= 1
    with pytest.raises(CohortError, match="folds"):
        fold_patients(PATIENTS[:2], folds=3)


def test_a_patient_in_two_splits_is_named() -> None:
    check_leakage(["a", "a", "b"], ["train", "train", "test"])
    with pytest.raises(CohortError, match="b in test and train"):
        check_leakage(["a", "b", "b"], ["train", "train", "test"])


def test_fractions_that_do_not_sum_to_one_are_refused() -> None:
    with pytest.raises(CohortError):
        split_patients(PATIENTS, fractions={"train": 0.7, "test": 0.7})
