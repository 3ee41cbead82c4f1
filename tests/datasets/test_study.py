"""Studies and cohorts: what they refuse, and that they come back from JSON as they were."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from drr.datasets.study import (
    LONGEST_NAME,
    Cohort,
    CohortError,
    Problem,
    Report,
    Study,
    check_relative_path,
    sample_from_path,
)

FULL = Study(
    sample="train_1_a_1",
    patient="train_1",
    scan="train_1_a",
    path="train/train_1/ct.nii.gz",
    split="train",
    series="2",
    reader="ct-rate",
    segmentation="seg/ct.nii.gz",
    labels=(1, 0, -1, -128),
    report=Report(findings="Größer.", impressions="Ja."),
    sex="F",
    age=61,
    metadata={"Kernel": "B30f"},
)


def cohort(*studies: Study, **options: object) -> Cohort:
    return Cohort(
        kind="manifest",
        root=Path("somewhere"),
        studies=studies,
        **{"label_names": ("a", "b", "c", "d"), **options},  # type: ignore[arg-type]
    )


def test_a_study_is_its_repr_and_its_json() -> None:
    assert eval(repr(FULL)) == FULL
    assert Study.from_dict(json.loads(json.dumps(FULL.to_dict()))) == FULL
    assert FULL.age == 61.0
    assert not Report()
    assert FULL.report


def test_defaults_say_nothing() -> None:
    study = Study(sample="a", patient="p", path="a.nii")
    assert study.scan == "a"
    assert (study.split, study.sex, study.age, study.labels) == (None, None, None, ())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sample": ""}, "sample must be a name"),
        ({"sample": "a/b"}, "has a character that no file name may have"),
        ({"sample": ".hidden"}, "starts with a dot"),
        ({"sample": "x" * (LONGEST_NAME + 1)}, "longer than 200 bytes"),
        ({"patient": "a:b"}, "patient 'a:b'"),
        ({"split": "tr\tain"}, "split"),
        ({"path": "/etc/passwd"}, "is absolute"),
        ({"path": "../x"}, "leads out of the source"),
        ({"segmentation": "a/../../x"}, "leads out of the source"),
        ({"reader": "guess"}, "reader 'guess' is none of"),
        ({"labels": (2, 0, 0, 0)}, "label 1 is 2"),
        ({"labels": (0, 0.5, 0, 0)}, "label 2 is 0.5"),
        ({"sex": "female"}, "none of M, F, O"),
        ({"age": -1}, "age -1"),
        ({"age": 131}, "age 131"),
        ({"metadata": {"": "x"}}, "metadata ''"),
        ({"metadata": {"x": "\ud800"}}, "is not UTF-8 text"),
    ],
)
def test_what_a_study_cannot_be(change: dict[str, object], words: str) -> None:
    with pytest.raises(CohortError, match=words):
        Study(**{**FULL.to_dict(), "report": FULL.report, **change})  # type: ignore[arg-type]


def test_reports_are_text() -> None:
    with pytest.raises(CohortError, match="findings must be text"):
        Report(findings=None)  # type: ignore[arg-type]
    with pytest.raises(CohortError, match="UTF-8 cannot hold"):
        Report(findings="\udc80")


def test_unknown_keys_are_refused_with_the_nearest() -> None:
    with pytest.raises(CohortError, match="no key 'pateint'; did you mean 'patient'"):
        Study.from_dict({"pateint": "x"})


def test_a_cohort_is_its_json_wherever_it_lies() -> None:
    other = Study(sample="b", patient="p", path="b.nii")
    one = cohort(FULL, other, problems=(Problem(name="x", reason="bad\nbytes"),), notes=("n",))
    again = Cohort.from_dict(json.loads(json.dumps(one.to_dict())), root="elsewhere")
    assert again.root == Path("elsewhere")
    assert again.studies == one.studies
    assert again.digest == one.digest
    assert again.digest != cohort(other, FULL).digest
    assert len(one) == 2
    assert one.patients == ("train_1", "p")
    np.testing.assert_array_equal(one.codes, [[1, 0, -1, -128], [-128] * 4])
    assert one.problems[0].reason == "bad\\nbytes"
    assert str(Problem(name="x", reason="bad", place="t.csv, row 2")) == "x (t.csv, row 2): bad"


def test_what_a_cohort_cannot_be() -> None:
    upper = Study(sample="TRAIN_1_A_1", patient="q", path="b.nii")
    with pytest.raises(CohortError, match="two studies have the sample name"):
        cohort(FULL, upper)
    with pytest.raises(CohortError, match="4 labels for 1 names"):
        cohort(FULL, label_names=("a",))
    with pytest.raises(CohortError, match="'a' is named twice"):
        cohort(FULL, label_names=("a", "a", "b", "c"))


@pytest.mark.parametrize(
    ("path", "tidy"), [("a//./b.nii", "a/b.nii"), ("a\\b.nii", "a/b.nii"), ("ä/ö", "ä/ö")]
)
def test_paths_are_tidied(path: str, tidy: str) -> None:
    assert check_relative_path(path) == tidy


@pytest.mark.parametrize("path", ["", " ", "C:x", "\\\\host\\share", "a\0b", "a\nb", ".", ".."])
def test_paths_that_are_none(path: str) -> None:
    with pytest.raises(CohortError):
        check_relative_path(path)


def test_samples_are_named_after_their_paths() -> None:
    assert sample_from_path("a/b/ct.nii.gz") == "a_b_ct"
    assert sample_from_path("a/ct.mha.bz2") == sample_from_path("a/ct.tar.gz") == "a_ct"
    assert sample_from_path("scan 1: left?.mha") == "scan 1_ left_"
    long = "x" * 300 + "/ct.nii.gz"
    assert len(sample_from_path(long).encode()) <= LONGEST_NAME
    assert sample_from_path(long) != sample_from_path("x" * 301 + "/ct.nii.gz")
