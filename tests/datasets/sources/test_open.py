"""Folders of CTs, and what a source is recognised by."""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from dicom_files import save_series

from drr.cli import main
from drr.datasets.build.verify import verify
from drr.datasets.phantom.nifti import nifti_bytes
from drr.datasets.phantom.thorax import thorax
from drr.datasets.privacy.pseudonyms import key_beside, read_places
from drr.datasets.sources.folder import find_folder
from drr.datasets.sources.open import open_source
from drr.datasets.study import CohortError, read_volume


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cts")
    for name in ("b.nii.gz", "deep/a.nii", "deep/a_seg.nii"):
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(nifti_bytes(thorax(32, seed=len(name)), path))
    (root / "notes.txt").write_text("no CT")
    return root


def test_every_volume_is_a_study(folder: Path) -> None:
    cohort = find_folder(folder)
    assert [study.sample for study in cohort.studies] == ["b", "deep_a"]
    assert [study.path for study in cohort.studies] == ["b.nii.gz", "deep/a.nii"]
    assert cohort.notes[1] == "Label maps were left out: 1."
    assert "deep/a_seg.nii" in find_folder(folder, keep_names=True).notes[1]
    assert cohort.digest == find_folder(folder).digest
    for study in cohort.studies:
        assert read_volume(study, folder).shape == (32, 32, 32)


def test_every_series_of_a_dicom_folder_is_a_study(tmp_path: Path) -> None:
    stored = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        save_series(tmp_path / name, stored)
    cohort = find_folder(tmp_path)
    assert cohort.kind == "dicom"
    assert [study.sample for study in cohort.studies] == ["one", "two"]
    assert [study.path for study in cohort.studies] == ["one", "two"]
    for study in cohort.studies:
        assert read_volume(study, tmp_path).shape == (5, 6, 7)


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_loops_and_dead_links_are_problems(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "ct.nii.gz").write_bytes((folder / "b.nii.gz").read_bytes())
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "dead.nii.gz").symlink_to(tmp_path / "nothing")
    cohort = find_folder(tmp_path)
    assert len(cohort) == 1
    assert sorted(problem.name for problem in cohort.problems) == ["dead.nii.gz", "loop"]


def test_sources_are_recognised(folder: Path, tmp_path: Path) -> None:
    assert open_source(folder).kind == "folder"
    table = folder / "list.csv"
    table.write_text("path\nb.nii.gz\n")
    assert open_source(table).kind == "manifest"
    ct_rate = tmp_path / "train_fixed" / "train_1" / "train_1_a"
    ct_rate.mkdir(parents=True)
    (ct_rate / "train_1_a_1.nii.gz").write_bytes((folder / "b.nii.gz").read_bytes())
    assert open_source(tmp_path).kind == "ct-rate"
    (tmp_path / "nothing").mkdir()
    with pytest.raises(CohortError, match="holds no CT"):
        open_source(tmp_path / "nothing")
    with pytest.raises(CohortError, match="there is no such file"):
        open_source(tmp_path / "absent")
    with pytest.raises(CohortError, match="use 'drr project'"):
        open_source(folder / "b.nii.gz")


def test_real_scans_from_a_table(test_data: Path, tmp_path: Path) -> None:
    """The LIDC CT with its segmentation, and a DICOM series in a zip."""
    for name, source in (
        ("lidc.nii.gz", "lidc_idri_0001/cxr.nii.gz"),
        ("mask.nii.gz", "lidc_idri_0001/mask.nii.gz"),
        ("a0001.zip", "lung_dx_a0001/a0001_5mm_kernelB_dicom.zip"),
    ):
        (tmp_path / name).write_bytes((test_data / "ct" / source).read_bytes())
    table = tmp_path / "scans.csv"
    table.write_text(
        "path,patient,segmentation,label:Nodule\nlidc.nii.gz,one,mask.nii.gz,1\na0001.zip,two,,1\n"
    )
    out = tmp_path / "real.h5"
    arguments = ["build", str(table), "-o", str(out), "-v", "pa", "-v", "ll", "--pixels", "128"]
    done = CliRunner().invoke(main, [*arguments, "--workers", "1", "--mask", "10", "--quiet"])
    assert done.exit_code == 0, done.output
    places = read_places(key_beside(out))
    with h5py.File(out) as file:
        names = list(file["samples/name"].asstr())
        assert [places[name].path for name in names] == ["lidc.nii.gz", "a0001.zip"]
        assert list(file["samples/patient"].asstr()) == ["one", "two"]
        assert file["views/pa/picture"].shape == (2, 128, 128)
        assert file["failures/name"].shape == (0,)
        assert all(file["views/pa/picture"][i].std() > 40 for i in range(2))
    assert verify(out, source=tmp_path, remake=2)


def test_series_of_a_folder_are_told_apart_by_place(tmp_path: Path) -> None:
    """Whatever their numbers are: the first is number 2 here, and the second number 3."""
    stored = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)
    for number, count in ((2, 5), (3, 4)):
        save_series(
            tmp_path / "scan",
            stored[:count],
            prefix=str(number),
            SeriesNumber=number,
            SeriesInstanceUID=f"1.2.3.{number}",
            SeriesDescription=f"Thorax 1 of {number}",
        )
    cohort = find_folder(tmp_path)
    assert [study.series for study in cohort.studies] == ["#1", "#2"]
    assert [read_volume(study, tmp_path).shape[0] for study in cohort.studies] == [5, 4]
