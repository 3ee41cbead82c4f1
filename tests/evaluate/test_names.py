"""What tables call the same: columns, patients, views, findings."""

from __future__ import annotations

import pytest

from drr.datasets.labels import CHEXPERT_LABELS, CT_RATE_LABELS, NIH_LABELS, TORCHXRAYVISION_LABELS
from drr.evaluate.metrics import EvaluationError
from drr.evaluate.names import find_column, is_frontal, match_labels, nearest, patient_of, stem

DRR_RATE = ("Cardiomegaly", "Atelectasis", "Lung Nodule", "Lung Opacity", "Pleural Effusion",
            "Consolidation")  # fmt: skip


def matched(predicted: tuple[str, ...], known: tuple[str, ...], **options: object) -> dict:
    pairs = match_labels(predicted, known, **options)
    return {predicted[i]: known[j] for i, j in pairs.items()}


def test_the_six_of_the_authors_are_found_everywhere() -> None:
    assert matched(DRR_RATE, CHEXPERT_LABELS)["Lung Nodule"] == "Lung Lesion"
    assert len(matched(DRR_RATE, CHEXPERT_LABELS)) == 6
    assert matched(DRR_RATE, CT_RATE_LABELS)["Lung Nodule"] == "Lung nodule"
    nih = matched(DRR_RATE, NIH_LABELS)
    assert nih["Pleural Effusion"] == "Effusion"
    assert nih["Lung Nodule"] == "Nodule"
    assert "Lung Opacity" not in nih


def test_between_sets_by_way_of_ct_rate() -> None:
    pairs = matched(CHEXPERT_LABELS, NIH_LABELS)
    assert pairs["Pleural Effusion"] == "Effusion"
    assert pairs["Lung Lesion"] == "Nodule"
    assert "Fracture" not in pairs


def test_the_same_name_goes_before_a_synonym_and_pairs_are_one_to_one() -> None:
    pairs = matched(TORCHXRAYVISION_LABELS, CT_RATE_LABELS)
    assert pairs["Nodule"] == "Lung nodule"
    assert "Lung Lesion" not in pairs
    assert len(set(pairs.values())) == len(pairs)
    assert matched(("Lung Lesion", "Nodule"), ("Nodule",)) == {"Nodule": "Nodule"}


def test_a_given_mapping_goes_first() -> None:
    pairs = matched(
        ("Mass", "Nodule"), ("Lung Opacity", "Nodule"), mapping={"mass": "lung opacity"}
    )
    assert pairs == {"Mass": "Lung Opacity", "Nodule": "Nodule"}
    with pytest.raises(EvaluationError, match="did you mean 'Mass'"):
        match_labels(("Mass",), ("Mass",), mapping={"Masss": "Mass"})
    with pytest.raises(EvaluationError, match="known finding 'Opacity'"):
        match_labels(("Mass",), ("Mass",), mapping={"Mass": "Opacity"})
    with pytest.raises(EvaluationError, match="twice"):
        match_labels(("a", "b"), ("c",), mapping={"a": "c", "b": "c"})


def test_nothing_in_common() -> None:
    with pytest.raises(EvaluationError, match="no predicted finding"):
        match_labels(("Cat",), ("Dog",))


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("valid_12_b_2.nii.gz", "valid_12"),
        ("train/train_1/train_1_a_1.png", "train_1"),
        ("00000013_026.png", "00000013"),
        ("CheXpert-v1.0/valid/patient64541/study1/view1_frontal.jpg", "patient64541"),
        ("film.png", None),
        ("valid_0_a_1", None),
    ],
)
def test_patients_from_names(name: str, patient: str | None) -> None:
    assert patient_of(name) == patient


def test_stems() -> None:
    assert stem("a/b\\valid_1_a_1.nii.gz") == "valid_1_a_1"
    assert stem("00000001_000.PNG") == "00000001_000"
    assert stem("1.2.3") == "1.2.3"


@pytest.mark.parametrize("view", ["PA", "ap", "AP Supine", "Frontal", "pa-varied", "AP_erect"])
def test_frontal(view: str) -> None:
    assert is_frontal(view)


@pytest.mark.parametrize("view", ["Lateral", "LL", "L", "", "LAO30", "apical", "pat"])
def test_not_frontal(view: str) -> None:
    assert not is_frontal(view)


def test_columns() -> None:
    assert find_column(("Image Index", "Patient ID"), "name") == "Image Index"
    assert find_column(("Image Index", "Patient ID"), "patient") == "Patient ID"
    assert find_column(("PatientSex", "x"), "sex") == "PatientSex"
    assert find_column(("x",), "age") is None


def test_nearest_lists_a_few_where_nothing_is_near() -> None:
    assert nearest("zzz", [f"q{i}" for i in range(30)]).endswith("and 10 more")
