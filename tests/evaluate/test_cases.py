"""Predictions and truth side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from drr.evaluate.cases import align, in_common
from drr.evaluate.metrics import EvaluationError
from drr.evaluate.predictions import Predictions
from drr.evaluate.truth import Truth, read_truth


def predictions(names: tuple[str, ...] | None = ("a", "b", "c"), **options: object) -> Predictions:
    n = 3 if names is None else len(names)
    values = {"scores": np.arange(2.0 * n).reshape(n, 2) / 10, "labels": ("Edema", "Nodule")}
    return Predictions(names=names, **(values | options))


def truth(names: tuple[str, ...] | None = ("a", "b", "c"), **options: object) -> Truth:
    values = {"codes": [[1, 0], [0, 1], [-1, -128]], "labels": ("Lung nodule", "Edema")}
    return Truth(names=names, **(values | options))


def test_joined_by_name_whatever_the_order() -> None:
    cases = align(predictions(("c", "a", "b")), truth())
    assert cases.labels == ("Edema", "Lung nodule")
    assert cases.predicted_as == ("Edema", "Nodule")
    assert cases.codes.tolist() == [[0, 1], [1, 0], [-128, -128]]
    np.testing.assert_allclose(cases.scores, [[0.2, 0.3], [0.4, 0.5], [0, 0.1]])
    assert cases.uncertain == (0, 1)
    assert any("Nodule as Lung nodule" in note for note in cases.notes)
    assert any("Nobody says which samples are of one patient" in note for note in cases.notes)
    assert not cases.by_patient


@pytest.mark.parametrize(("uncertain", "code"), [("absent", 0), ("present", 1), ("unknown", -128)])
def test_uncertain(uncertain: str, code: int) -> None:
    assert align(predictions(), truth(), uncertain=uncertain).codes[2, 1] == code
    with pytest.raises(EvaluationError, match="did you mean 'present'"):
        align(predictions(), truth(), uncertain="presnt")


def test_folders_and_suffixes_are_looked_through() -> None:
    cases = align(predictions(("x/a.png", "b", "c.jpg")), truth(("a", "y/b.nii.gz", "c")))
    assert len(cases) == 3


def test_what_one_side_lacks_is_counted() -> None:
    cases = align(predictions(("a", "b", "z")), truth())
    assert cases.places.tolist() == [0, 1]
    text = " ".join(cases.notes)
    assert "1 of 3 samples have no prediction" in text
    assert "1 of 3 predictions are of samples that the truth does not have" in text


def test_by_row_where_there_are_no_names() -> None:
    cases = align(predictions(None), truth())
    assert any("order of the rows" in note for note in cases.notes)
    with pytest.raises(EvaluationError, match="has 3 rows and truth 2"):
        align(predictions(None), truth(None, codes=[[1, 0], [0, 1]]))


def test_no_sample_in_common() -> None:
    with pytest.raises(EvaluationError, match="no sample of it"):
        align(predictions(("x", "y", "z")), truth())
    with pytest.raises(EvaluationError, match="predicts none of the 1 samples"):
        align(predictions(("a", "b")), truth(split=("train", "train", "test")), split="test")


def test_findings_asked_for() -> None:
    cases = align(predictions(), truth(), labels=("lung nodule",))
    assert cases.labels == ("Lung nodule",)
    assert not any("Left out" in note for note in cases.notes)
    with pytest.raises(EvaluationError, match="did you mean 'Nodule'"):
        align(predictions(), truth(), labels=("Nodul",))


def test_patients_and_groups() -> None:
    cases = align(
        predictions(),
        truth(
            patients=("p", "q", "p"),
            sex=("F", "", "M"),
            age=np.array([17.9, 80, np.nan]),
            view=("PA", "AP", "PA"),
        ),
    )
    assert cases.patients.tolist() == [0, 1, 0]
    assert cases.attributes["age"].tolist() == ["0-17", "80+", "unknown"]
    assert cases.attributes["sex"].tolist() == ["F", "unknown", "M"]
    assert cases.attributes["view"].tolist() == ["PA", "AP", "PA"]


def test_attributes_that_nobody_knows_are_none() -> None:
    cases = align(predictions(), truth(sex=("", "", ""), age=np.full(3, np.nan)))
    assert not cases.attributes


def test_frontal_only_unless_asked() -> None:
    views = ("PA", "Lateral", "AP")
    cases = align(predictions(), truth(view=views))
    assert cases.places.tolist() == [0, 2]
    assert any("frontal views: 2 of 3" in note for note in cases.notes)
    assert len(align(predictions(), truth(view=views), views="all")) == 3


def test_two_models_on_what_both_have() -> None:
    first = align(predictions(("c", "b", "a")), truth())
    second = align(predictions(("b", "c"), labels=("Mass", "Edema")), truth())
    one, two = in_common(first, second)
    assert one.labels == two.labels == ("Edema",)
    assert one.places.tolist() == two.places.tolist() == [1, 2]
    np.testing.assert_allclose(one.scores[:, 0], [0.2, 0.0])
    np.testing.assert_allclose(two.scores[:, 0], [0.1, 0.3])
    with pytest.raises(EvaluationError, match="no findings in common"):
        in_common(first.take(np.arange(3), [1]), second)
    with pytest.raises(EvaluationError, match="truths that differ"):
        in_common(first, align(predictions(), truth(), uncertain="absent"))


def test_findings_of_another_set_on_nih_films(tmp_path: Path) -> None:
    """A model with CT-RATE's names: the table's own findings are used, not columns of unknowns."""
    path = tmp_path / "nih.csv"
    path.write_text("image,Finding Labels\na,Effusion\nb,No Finding\nc,Nodule\n")
    model = predictions(labels=("Pleural effusion", "Lung nodule"))
    cases = align(model, read_truth(path, labels=model.labels))
    assert cases.labels == ("Effusion", "Nodule")
    assert cases.codes.tolist() == [[1, 0], [0, 0], [0, 1]]
