"""A CSV table as a source of CTs."""

from __future__ import annotations

from pathlib import Path

import pytest

from drr.datasets.labels import CT_RATE_LABELS
from drr.datasets.sources.manifest import find_manifest
from drr.datasets.study import CohortError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "cts").mkdir()
    for name in ("a.nii.gz", "b.nii.gz", "a_seg.nii.gz"):
        (tmp_path / "cts" / name).write_bytes(b"voxels are read later")
    return tmp_path


def table(root: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path = root / "scans.csv"
    path.write_bytes("\n".join(lines).encode(encoding))
    return path


def test_all_that_a_row_can_say(root: Path) -> None:
    path = table(
        root,
        "path,sample,patient,split,segmentation,sex,age,report,label:Nodule,label:Mass,Kernel,"
        "Study Date",
        'cts/a.nii.gz,first,anna,train,cts/a_seg.nii.gz,female,036Y,"Größer, as said",1,,B30f,2020',
        "cts\\b.nii.gz,,ben,valid,,,,,-1,0,,",
    )
    cohort = find_manifest(path)
    assert cohort.root == root
    assert cohort.label_names == ("Nodule", "Mass")
    first, second = cohort.studies
    assert (first.sample, first.patient, first.split) == ("first", "anna", "train")
    assert (first.sex, first.age) == ("F", 36.0)
    assert first.segmentation == "cts/a_seg.nii.gz"
    assert first.labels == (1, -128)
    assert first.report.findings == "Größer, as said"
    assert first.metadata == {"Kernel": "B30f"}
    assert "Study Date" in cohort.notes[0]
    assert (second.sample, second.path) == ("cts_b", "cts/b.nii.gz")
    assert second.labels == (-1, 0)
    kept = find_manifest(path, keep_identifiers=True)
    assert kept.studies[0].metadata == {"Kernel": "B30f", "Study Date": "2020"}
    assert not cohort.problems


def test_a_path_is_enough(root: Path) -> None:
    cohort = find_manifest(table(root, "path", "cts/a.nii.gz", "cts/b.nii.gz"))
    assert [study.patient for study in cohort.studies] == ["cts_a", "cts_b"]
    assert cohort.label_names == ()
    assert "every CT counts as another patient" in cohort.notes[0]


def test_the_labels_of_ct_rate_need_no_prefix(root: Path) -> None:
    names = ",".join(CT_RATE_LABELS)
    cohort = find_manifest(table(root, f"path,{names}", "cts/a.nii.gz" + ",1" * 18))
    assert cohort.label_names == CT_RATE_LABELS
    assert cohort.studies[0].labels == (1,) * 18


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("cts/missing.nii.gz,x,1", "there is no such file"),
        ("../elsewhere.nii.gz,x,1", "leads out of the source"),
        ("/etc/passwd,x,1", "is absolute"),
        ("C:\\cts\\a.nii.gz,x,1", "is absolute"),
        (",x,1", "is empty"),
        ("cts/a.nii.gz,x,2", "Nodule: "),
        ("cts/a.nii.gz,x,perhaps", "Nodule: "),
        ("cts/a.nii.gz,x", "the row has 2 fields, the header 3"),
        ("cts/a.nii.gz,a/b,1", "patient 'a/b' has a character"),
        ("cts/b.nii.gz,x,1", "row 2 has the same sample name"),
    ],
)
def test_bad_rows_are_problems_by_place(root: Path, row: str, words: str) -> None:
    cohort = find_manifest(table(root, "path,patient,label:Nodule", "cts/b.nii.gz,y,1", row))
    assert len(cohort) == 1
    (problem,) = cohort.problems
    assert problem.place == "scans.csv, row 3"
    assert words in problem.reason
    assert str(root) not in str(problem)


def test_links_must_not_lead_out(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "c.nii.gz"
    outside.write_bytes(b"")
    (root / "cts" / "c.nii.gz").symlink_to(outside)
    (root / "cts" / "loop").symlink_to(root / "cts" / "loop")
    rows = ("cts/a.nii.gz", "cts/c.nii.gz", "cts/loop")
    cohort = find_manifest(table(root, "path", *rows))
    reasons = [problem.reason for problem in cohort.problems]
    assert "a link that leads out of the source" in reasons[0]
    assert "there is no such file" in reasons[1]


def test_a_patient_in_two_splits_is_refused(root: Path) -> None:
    rows = ("cts/a.nii.gz,anna,train", "cts/b.nii.gz,anna,valid")
    with pytest.raises(CohortError, match=r"'anna' is in the splits 'train' and 'valid'"):
        find_manifest(table(root, "path,patient,split", *rows))


def test_tables_that_are_none(root: Path) -> None:
    with pytest.raises(CohortError, match="has no column 'path'"):
        find_manifest(table(root, "file", "cts/a.nii.gz"))
    with pytest.raises(CohortError, match="not UTF-8"):
        find_manifest(table(root, "path,report", "cts/a.nii.gz,größer", encoding="latin-1"))
    with pytest.raises(CohortError, match="no row can be used; the first problem: cts_no"):
        find_manifest(table(root, "path", "cts/no.nii.gz"))
    with pytest.raises(CohortError, match="is empty"):
        find_manifest(table(root, ""))
    with pytest.raises(CohortError, match="'path' twice"):
        find_manifest(table(root, "path,path", "cts/a.nii.gz,cts/b.nii.gz"))
    with pytest.raises(CohortError, match="the age 'old' is not understood"):
        find_manifest(table(root, "path,age", "cts/a.nii.gz,old"))
