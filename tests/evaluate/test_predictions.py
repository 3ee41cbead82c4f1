"""Prediction files: what is read, and every way in which they can be wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from drr.datasets.study import CohortError
from drr.errors import WriteError
from drr.evaluate.metrics import EvaluationError
from drr.evaluate.predictions import Predictions, read_predictions, write_predictions


def table(folder: Path, text: str) -> Path:
    path = folder / "predictions.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_names_prefixes_and_columns_about_the_patient(tmp_path: Path) -> None:
    read = read_predictions(
        table(tmp_path, "image,Patient ID,age,prob_Edema,prob_Mass\na,1,50,.1,.2\nb,2,60,.3,1e-4\n")
    )
    assert read.labels == ("Edema", "Mass")
    assert read.names == ("a", "b")
    np.testing.assert_allclose(read.scores, [[0.1, 0.2], [0.3, 1e-4]])
    assert len(read) == 2


def test_prefixed_columns_are_the_predictions_where_there_are_some(tmp_path: Path) -> None:
    read = read_predictions(table(tmp_path, "name,Edema,pred Edema\na,1,.25\n"))
    assert read.labels == ("Edema",)
    assert read.scores.tolist() == [[0.25]]


def test_without_names(tmp_path: Path) -> None:
    assert read_predictions(table(tmp_path, "Edema,Mass\n.1,.2\n")).names is None
    # The count that pandas writes is no name, an index of names is one.
    assert read_predictions(table(tmp_path, ",Edema\n0,.1\n1,.1\n")).names is None
    assert read_predictions(table(tmp_path, ",Edema\nx,.1\ny,.1\n")).names == ("x", "y")


@pytest.mark.parametrize("suffix", ["csv", "npz"])
@pytest.mark.parametrize("names", [("a", "b,c"), None])
def test_round_trip(tmp_path: Path, suffix: str, names: tuple[str, ...] | None) -> None:
    scores = np.random.default_rng(0).random((2, 3)).astype(np.float32)
    path = tmp_path / f"out.{suffix}"
    labels = ("Edema", "Lung Opacity", "Pleural_Thickening")
    write_predictions(path, Predictions(scores=scores, labels=labels, names=names))
    read = read_predictions(path)
    assert (read.labels, read.names) == (labels, names)
    np.testing.assert_array_equal(read.scores.astype(np.float32), scores)
    with pytest.raises(WriteError, match="exists already"):
        write_predictions(path, read)
    write_predictions(path, read, force=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,Edema\na,nan\n", "prediction of 'Edema' for sample 'a' is nan"),
        ("image,Edema\na,\n", "is nan"),
        ("Edema\n0.5\ninf\n", "sample number 2 is inf"),
        ("image,Edema\na,yes\n", "row 2: the prediction of 'Edema' is 'yes'"),
        ("image,Edema\na,.1\na,.2\n", "the sample 'a' is there twice"),
        ("image,Edema\n,.1\n", "without a name"),
        ("image,Edema\n", "header and no rows"),
        ("image,age\na,3\n", "no column with predictions"),
        ("image,Edema\na,.1,.2\n", "row 2: the row has 3 fields"),
        ("prob_Edema,pred_Edema\n.1,.2\n", "the finding 'Edema' is there twice"),
    ],
)
def test_what_is_wrong_is_said_by_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        read_predictions(table(tmp_path, text))


def test_no_file_and_no_table(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="cannot be read"):
        read_predictions(tmp_path / "none.csv")
    with pytest.raises(EvaluationError, match="No such file"):
        read_predictions(tmp_path / "none.npz")
    for content in (b"", b"no zip", b"\x93NUMPY", b"PK\x03\x04broken"):
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(EvaluationError, match="NPZ file"):
            read_predictions(tmp_path / "bad.npz")
    np.savez(tmp_path / "half.npz", scores=np.zeros((2, 2)))
    with pytest.raises(EvaluationError, match="no array 'labels'"):
        read_predictions(tmp_path / "half.npz")
    np.savez(tmp_path / "object.npz", scores=np.array([[None]]), labels=["a"])
    with pytest.raises(EvaluationError, match="plain arrays"):
        read_predictions(tmp_path / "object.npz")
    np.savez(tmp_path / "text.npz", scores=np.array([["x"]]), labels=["a"])
    with pytest.raises(EvaluationError, match="not numbers"):
        read_predictions(tmp_path / "text.npz")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"scores": np.zeros((2, 1)) + 1j, "labels": ["a"]}, "'scores' holds complex128"),
        ({"scores": np.zeros((2, 1), "M8[s]"), "labels": ["a"]}, "'scores' holds datetime64"),
        ({"scores": np.zeros((2, 1)), "labels": "a"}, "'labels' has 0 axes"),
        ({"scores": np.zeros((2, 1)), "labels": [["a"]]}, "'labels' has 2 axes"),
        ({"scores": np.zeros((2, 1)), "labels": ["a"], "names": np.zeros((2, 2))}, "has 2 axes"),
        ({"scores": np.zeros((2, 1)), "labels": ["a"], "names": np.zeros(2, "M8")}, "not texts"),
    ],
)
def test_arrays_of_other_kinds_are_refused(tmp_path: Path, arrays: dict, message: str) -> None:
    np.savez(tmp_path / "p.npz", **arrays)
    with pytest.raises(EvaluationError, match=message) as info:
        read_predictions(tmp_path / "p.npz")
    assert str(tmp_path / "p.npz") in str(info.value)


@pytest.mark.parametrize("text", ["1_0", "0x1p3", "\uff11", "9" * 400, "1e999", "-inf", "--1"])
def test_numbers_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(EvaluationError, match=r"p.*\.csv"):
        read_predictions(table(tmp_path, f"image,Edema\na,{text}\n"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scores": np.zeros((2, 2)), "labels": ("a",)}, "by 1 findings"),
        ({"scores": np.zeros((0, 1)), "labels": ("a",)}, "no table"),
        ({"scores": np.zeros((2, 1)), "labels": ("a",), "names": ("x",)}, "1 names"),
    ],
)
def test_shapes(options: dict, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        Predictions(**options)
