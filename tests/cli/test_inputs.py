"""Which CTs the arguments of a command mean."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drr.cli.inputs import find_cts
from drr.errors import ReadError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names: str) -> None:
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(*arguments: str) -> list[tuple[str, str]]:
    return [(ct.path.as_posix(), ct.name) for ct in find_cts(arguments)]


def test_files_keep_their_order_and_lose_their_suffix(folder: Path) -> None:
    touch("b.nii.gz", "a.MHA", "c.d.nrrd", "IM0001", ".nii")
    assert found("b.nii.gz", "a.MHA", "c.d.nrrd", "IM0001", ".nii") == [
        ("b.nii.gz", "b"),
        ("a.MHA", "a"),
        ("c.d.nrrd", "c.d"),
        ("IM0001", "IM0001"),
        (".nii", ".nii"),
    ]


def test_folder_of_volumes_is_several_cts_and_any_other_is_one(folder: Path) -> None:
    touch("scans/b.nii", "scans/a.mha", "scans/notes.txt", "scans/.hidden.nii", "dicom/1.dcm")
    assert found("scans") == [("scans/a.mha", "a"), ("scans/b.nii", "b")]
    assert found("dicom") == [("dicom", "dicom")]


def test_current_folder_has_a_name(folder: Path) -> None:
    touch("1.dcm")
    assert found(".") == [(".", folder.name)]


def test_folder_of_both_kinds_is_refused(folder: Path) -> None:
    touch("mixed/1.dcm", "mixed/mask.nii.gz")
    with pytest.raises(ReadError, match=r"mixed: holds both DICOM files and mask\.nii\.gz"):
        find_cts(["mixed"])


def test_patterns_and_repetition(folder: Path) -> None:
    touch("p1/ct.nii", "p2/ct.nii", "odd[1].nii")
    assert found("p*/ct.nii", "p1/ct.nii", "./p1") == [
        ("p1/ct.nii", "p1_ct"),
        ("p2/ct.nii", "p2_ct"),
    ]
    # A file whose name looks like a pattern is that file.
    assert found("odd[1].nii") == [("odd[1].nii", "odd[1]")]


def test_equal_names_are_told_apart(folder: Path) -> None:
    touch("x/1/ct.nii", "y/1/ct.nii", "y/2/ct.nii", "one.nii", "one.mha")
    assert [name for _, name in found("x/1/ct.nii", "y/1/ct.nii", "y/2/ct.nii")] == [
        "x_1_ct",
        "y_1_ct",
        "2_ct",
    ]
    names = [name for _, name in found("one.nii", "one.mha")]
    assert len(set(names)) == 2


def test_empty_name(folder: Path) -> None:
    with pytest.raises(ReadError, match="empty"):
        find_cts([""])


@pytest.mark.parametrize("argument", ["nothing.nii", "nothing/*.nii"])
def test_what_is_not_there_is_named(folder: Path, argument: str) -> None:
    with pytest.raises(ReadError, match="nothing"):
        find_cts([argument])


def test_slices_of_a_series_are_one_ct(test_data: Path, folder: Path) -> None:
    """`drr project slices/*.dcm`, as a shell expands it."""
    import zipfile

    with zipfile.ZipFile(test_data / "ct/lung_dx_a0001/a0001_5mm_kernelB_dicom.zip") as archive:
        slices = [n for n in archive.namelist() if n.endswith(".dcm")][:3]
        archive.extractall(folder, slices)
    paths = [str(folder / name) for name in slices]
    assert [str(ct.path) for ct in find_cts(paths)] == paths[:1]
    touch("broken.dcm")
    assert len(find_cts([*paths, "broken.dcm"])) == 2


def test_compressed_files_are_found_and_named(folder: Path) -> None:
    touch("scans/a.nii.bz2", "scans/b.MHA.GZ", "scans/c.nrrd.zst", "scans/d.txt.gz")
    assert [name for _, name in found("scans")] == ["a", "b", "c"]
    touch("scan.tar.gz", "x.tgz", "y.tar", "z.npz.xz")
    assert [name for _, name in found("scan.tar.gz", "x.tgz", "y.tar", "z.npz.xz")] == [
        *("scan", "x", "y", "z")
    ]
    touch("mixed/1.dcm.gz", "mixed/mask.nii.gz")
    with pytest.raises(ReadError, match="holds both DICOM files"):
        find_cts(["mixed"])


def test_compressed_slices_of_a_series_are_one_ct(folder: Path) -> None:
    import pydicom
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    for k in range(3):
        one = pydicom.Dataset()
        one.file_meta = pydicom.dataset.FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = CTImageStorage
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = f"1.2.{k + 1}"
        one.SeriesInstanceUID = "1.2.3"
        buffer = io.BytesIO()
        one.save_as(buffer, enforce_file_format=True)
        Path(f"{k}.dcm.gz").write_bytes(gzip.compress(buffer.getvalue()))
    Path("9.dcm.gz").write_bytes(gzip.compress(bytes(128) + b"DICM\x02\x00" + b"\xff" * 400)[:-9])
    assert [path for path, _ in found("*.dcm.gz")] == ["0.dcm.gz", "9.dcm.gz"]


def save_slices(folder: Path, **options: Any) -> list[str]:
    from dicom_files import save_series

    pixels = np.zeros((4, 3, 2), np.uint16)
    return sorted(str(path) for path in save_series(folder, pixels, **options).iterdir())


def test_slices_that_lost_their_series_uid_are_one_ct(folder: Path) -> None:
    def own(k: int, dataset: Any) -> None:
        dataset.SeriesInstanceUID = f"1.2.3.{k + 50}"

    for name, options in {
        "none": {"SeriesInstanceUID": None},
        "own": {"edit": own},
    }.items():
        paths = save_slices(folder / name, **options)
        assert [str(ct.path) for ct in find_cts(paths)] == paths[:1]


def test_dicom_beside_a_volume_is_seen_whatever_its_name(folder: Path) -> None:
    for place, path in enumerate(save_slices(folder / "scan")):
        Path(path).rename(folder / "scan" / f"IM{place}")
    touch("scan/mask.nii.gz")
    with pytest.raises(ReadError, match=r"scan: holds both DICOM files and mask\.nii\.gz"):
        find_cts(["scan"])
