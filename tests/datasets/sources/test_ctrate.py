"""CT-RATE's folders, names and tables, on a small copy of their layout."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from drr.datasets.labels import CT_RATE_LABELS, UNKNOWN
from drr.datasets.phantom.thorax import thorax
from drr.datasets.sources.ctrate import LICENCE, find_ct_rate, is_ct_rate, parse_name
from drr.datasets.study import CohortError, read_volume

ROW = {"RescaleSlope": "1", "RescaleIntercept": "-1024", "PatientAge": "036Y", "PatientSex": "M"}
KERNELS = {"train_1_a_1": "B70f", "train_1_a_2": "B30f", "train_2_a_1": "B30f"}


def write_table(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="module")
def volume():
    return thorax(40, seed=1)


def layout(root: Path, volume, *, fixed: bool) -> Path:
    """Three volumes of two patients; v1 has blank headers and stored values, v2 is in HU."""
    base = root / "dataset"
    x, y, z = volume.spacing.tolist()
    metadata, labels, reports = [], [], []
    for name, kernel in KERNELS.items():
        patient, scan = name.rsplit("_", 2)[0], name.rsplit("_", 1)[0]
        folder = base / ("train_fixed" if fixed else "train") / patient / scan
        folder.mkdir(parents=True, exist_ok=True)
        hu = volume.hu.transpose(2, 1, 0)
        values = hu if fixed else hu.astype(np.float32) + 1024
        affine = np.diag([-1, -1, 1, 1]) @ volume.affine if fixed else np.eye(4)
        nibabel.save(nibabel.Nifti1Image(values, affine), folder / f"{name}.nii.gz")
        metadata.append(
            {"VolumeName": f"{name}.nii.gz", **ROW}
            | {"ConvolutionKernel": kernel, "XYSpacing": f"[{x}, {y}]", "ZSpacing": str(z)}
            | {"Rows": "40", "Columns": "40", "NumberofSlices": "40"}
        )
        codes = {label: "1" if label == "Cardiomegaly" else "0" for label in CT_RATE_LABELS}
        labels.append({"VolumeName": f"{name}.nii.gz", **codes})
        reports.append(
            {
                "VolumeName": f"{name}.nii.gz",
                "ClinicalInformation_EN": "Not given.",
                "Technique_EN": "Non-contrast.",
                "Findings_EN": "The heart is large.",
                "Impressions_EN": "Cardiomegaly.",
            }
        )
    write_table(base / "metadata/train_metadata.csv", metadata)
    write_table(base / "multi_abnormality_labels/train_predicted_labels.csv", labels)
    write_table(base / "radiology_text_reports/train_reports.csv", reports)
    return root


def test_names_are_read_strictly() -> None:
    assert parse_name("train_53_a_1").patient == "train_53"
    for wrong in ("train_053_a_1", "test_1_a_1", "train_1_a_0", "train_1_A_1", "train_1_a_1/.."):
        with pytest.raises(CohortError):
            parse_name(wrong)


@pytest.mark.parametrize("fixed", [True, False])
def test_both_versions_give_the_same_hounsfield_units(tmp_path, volume, fixed: bool) -> None:
    root = layout(tmp_path, volume, fixed=fixed)
    assert is_ct_rate(root)
    cohort = find_ct_rate(root)
    assert cohort.licence == LICENCE
    read = read_volume(cohort.studies[0], cohort.root)
    # Blank headers do not say which way the axes run, and the table gives rows before columns.
    assert sorted(read.spacing) == pytest.approx(sorted(volume.spacing), rel=1e-4)
    assert abs(np.sort(read.hu, None).astype(int) - np.sort(volume.hu, None)).max() <= 1


def test_one_reconstruction_a_scan_prefers_the_soft_kernel(tmp_path, volume) -> None:
    root = layout(tmp_path, volume, fixed=True)
    one = find_ct_rate(root)
    assert [study.sample for study in one.studies] == ["train_1_a_2", "train_2_a_1"]
    every = find_ct_rate(root, reconstructions="all")
    assert len(every.studies) == 3
    assert {study.patient for study in every.studies} == {"train_1", "train_2"}


def test_tables_reach_the_study(tmp_path, volume) -> None:
    cohort = find_ct_rate(layout(tmp_path, volume, fixed=True))
    study = cohort.studies[0]
    assert cohort.label_names == CT_RATE_LABELS
    assert study.labels[CT_RATE_LABELS.index("Cardiomegaly")] == 1
    assert UNKNOWN not in study.labels
    assert study.report.findings == "The heart is large."
    assert study.report.clinical_information == "", "'Not given.' is nothing"


def test_a_list_of_no_chests_is_obeyed(tmp_path, volume) -> None:
    root = layout(tmp_path, volume, fixed=True)
    (root / "dataset/metadata/no_chest_train.txt").write_text("train_2_a_1.nii.gz\n", "utf-8")
    assert [s.sample for s in find_ct_rate(root).studies] == ["train_1_a_2"]
    assert len(find_ct_rate(root, non_chest=True).studies) == 2


def test_a_folder_that_is_not_ct_rate_is_refused(tmp_path) -> None:
    with pytest.raises(CohortError, match=str(tmp_path)):
        find_ct_rate(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="folders cannot be called so there")
def test_a_folder_that_no_data_set_can_name_stops_nothing(tmp_path: Path) -> None:
    for folder in ("tab\there", "back\\slash", "plain"):
        number = 1 + len(list(tmp_path.rglob("*.nii.gz")))
        path = tmp_path / "train_fixed" / f"train_{number}" / folder / f"train_{number}_a_1.nii.gz"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"voxels are read later")
    cohort = find_ct_rate(tmp_path)
    assert [study.sample for study in cohort.studies] == ["train_3_a_1"]
    reasons = [problem.reason for problem in cohort.problems]
    assert "control characters" in reasons[0]
    assert "backslash" in reasons[1]
