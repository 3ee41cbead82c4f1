"""Truth from CT-RATE, CheXpert, NIH and plain tables, HDF5 and torchxrayvision's data sets."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from dataset_file import write_dataset

from drr.datasets.study import CohortError
from drr.evaluate.metrics import EvaluationError
from drr.evaluate.truth import Truth, from_torchxrayvision, read_truth, select

CHEXPERT = """Path,Sex,Age,Frontal/Lateral,AP/PA,Edema,Fracture
C/valid/patient1/study1/view1_frontal.jpg,Female,70,Frontal,AP,1.0,
C/valid/patient1/study1/view2_lateral.jpg,Female,70,Lateral,,-1.0,0.0
C/valid/patient2/study1/view1_frontal.jpg,Male,0,Frontal,,0.0,0.0
"""
NIH = """Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position
00000001_000.png,Cardiomegaly|Effusion,0,1,058Y,M,PA
00000001_001.png,No Finding,1,1,059Y,M,AP
00000002_000.png,,0,2,413Y,F,PA
"""


def table(folder: Path, text: str) -> Path:
    path = folder / "truth.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_chexpert(tmp_path: Path) -> None:
    truth = read_truth(table(tmp_path, CHEXPERT))
    assert truth.labels == ("Edema", "Fracture")
    assert truth.codes.tolist() == [[1, -128], [-1, 0], [0, 0]]
    assert truth.patients == ("patient1", "patient1", "patient2")
    assert truth.sex == ("F", "F", "M")
    assert truth.view == ("AP", "Lateral", "Frontal")
    assert select(truth).tolist() == [0, 2]
    assert select(truth, views="all").tolist() == [0, 1, 2]
    assert select(truth, views="lateral").tolist() == [1]
    with pytest.raises(EvaluationError, match="no sample has a LL view; the views are AP"):
        select(truth, views="LL")
    assert truth.take([2, 0]).codes.tolist() == [[0, 0], [1, -128]]


def test_nih(tmp_path: Path) -> None:
    truth = read_truth(table(tmp_path, NIH), labels=("Effusion", "Tuberculosis", "no finding"))
    assert truth.patients == ("1", "1", "2")
    assert truth.age.tolist()[:2] == [58, 59]
    assert np.isnan(truth.age[2])
    column = dict(zip(truth.labels, truth.codes.T.tolist(), strict=True))
    assert column["Effusion"] == [1, 0, -128]
    assert column["Mass"] == [0, 0, -128]
    assert column["No Finding"] == [0, 1, -128]
    # Nobody listed it: whether it was looked for is not known.
    assert len(truth.labels) == 15
    own = NIH.replace("Cardiomegaly|", "Tuberculosis|")
    truth = read_truth(table(tmp_path, own), labels=("Tuberculosis", "Pleural effusion"))
    assert truth.labels[-1] == "Tuberculosis"
    assert truth.codes[:, -1].tolist() == [1, 0, -128]


def test_ct_rate_names_tell_the_patient_and_other_columns_are_passed_over(tmp_path: Path) -> None:
    text = "VolumeName,Atelectasis,Lung nodule,CTDIvol\n"
    text += "valid_1_a_1.nii.gz,0,1,7\nvalid_1_a_2.nii.gz,0,1,\n"
    truth = read_truth(table(tmp_path, text))
    assert truth.patients == ("valid_1", "valid_1")
    assert truth.labels == ("Atelectasis", "Lung nodule")


def test_labels_of_ones_own_and_predictions_in_the_same_table(tmp_path: Path) -> None:
    text = "name,Gallstone,prob_Edema,Edema\nx,1,.3,0\n"
    truth = read_truth(table(tmp_path, text), labels=("Gallstone",))
    assert truth.labels == ("Gallstone", "Edema")
    assert truth.patients is None


def test_splits(tmp_path: Path) -> None:
    text = "name,patient,split,Edema\na,1,train,0\nb,2,test,1\nc,2,test,0\nd,3,,1\n"
    truth = read_truth(table(tmp_path, text))
    assert select(truth, split="test").tolist() == [1, 2]
    with pytest.raises(EvaluationError, match="did you mean 'test'"):
        select(truth, split="tests")
    with pytest.raises(EvaluationError, match="no column 'split'"):
        select(read_truth(table(tmp_path, "name,Edema\na,1\n")), split="test")
    leaking = read_truth(table(tmp_path, text.replace("d,3,,1", "d,2,train,1")))
    for split in ("test", None):
        with pytest.raises(CohortError, match="2 in test and train"):
            select(leaking, split=split)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,Edema\na,2\n", "row 2, Edema: the label '2'"),
        ("name,Edema\n", "header and no rows"),
        ("name,colour\na,red\n", "no column of a known finding"),
        ("name,patient,Edema\na,,1\n", "row 2: has no patient"),
        ("name,Edema\na,1,2\n", "row 2: the row has 3 fields"),
        ("name,Edema\na,1\na,0\n", "'a' is there twice"),
        ("name,findings\na,Cardiomegly\n", "row 2: 'Cardiomegly' is no finding; did you mean"),
    ],
)
def test_what_is_wrong_is_said_by_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        read_truth(table(tmp_path, text))


def test_npz(tmp_path: Path) -> None:
    path = tmp_path / "truth.npz"
    np.savez(path, codes=[[1], [0]], labels=["Edema"], patients=[7, 8], age=[30, 40])
    truth = read_truth(path)
    assert truth.patients == ("7", "8")
    assert truth.age.tolist() == [30, 40]
    np.savez(path, codes=[[1], [3]], labels=["Edema"])
    with pytest.raises(EvaluationError, match="sample 2 is 3"):
        read_truth(path)
    np.savez(path, labels=["Edema"])
    with pytest.raises(EvaluationError, match="no array 'codes'"):
        read_truth(path)


def test_hdf5_of_a_data_set(tmp_path: Path) -> None:
    path = tmp_path / "data.h5"
    write_dataset(
        path,
        np.zeros((2, 4, 4)),
        labels=[[1], [-128]],
        label_names=["Edema"],
        patients=["p", "q"],
        splits=["train", "test"],
    )
    truth = read_truth(path)
    assert (truth.names, truth.patients) == (("s0", "s1"), ("p", "q"))
    assert truth.codes.tolist() == [[1], [-128]]
    assert select(truth, split="test").tolist() == [1]
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(EvaluationError, match="drr build"):
        read_truth(tmp_path / "other.h5")
    (tmp_path / "no.h5").write_text("no")
    with pytest.raises(EvaluationError, match="drr build"):
        read_truth(tmp_path / "no.h5")


def test_torchxrayvision(tmp_path: Path) -> None:
    """As that package keeps it: labels of 1, 0 and NaN beside a pandas table."""
    pandas = pytest.importorskip("pandas")
    dataset = SimpleNamespace(
        pathologies=["Edema", "Mass"],
        labels=np.array([[1, np.nan], [0, 1]], np.float32),
        csv=pandas.DataFrame(
            {
                "Image Index": ["a.png", "b.png"],
                "patientid": [5, 6],
                "view": ["PA", "L"],
                "age_years": [40, np.nan],
                "sex_male": [True, False],
                "sex_female": [False, True],
            }
        ),
    )
    truth = from_torchxrayvision(dataset)
    assert truth.codes.tolist() == [[1, -128], [0, 1]]
    assert truth.names == ("a.png", "b.png")
    assert truth.patients == ("5", "6")
    assert truth.sex == ("M", "F")
    assert select(truth).tolist() == [0]


def test_shapes() -> None:
    with pytest.raises(EvaluationError, match="by 2 findings"):
        Truth(codes=np.zeros((3, 1)), labels=("a", "b"))
    with pytest.raises(EvaluationError, match="1 of patients"):
        Truth(codes=np.zeros((3, 1)), labels=("a",), patients=("x",))
