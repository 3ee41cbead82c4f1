"""`drr inspect` on real and made scans."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from click.testing import CliRunner
from PIL import Image

import drr
from drr.cli import main
from drr.cli.inspect import _half_blocks
from drr.datasets.phantom.nifti import nifti_bytes
from drr.datasets.phantom.thorax import thorax
from drr.errors import ReadError, WriteError

LUNG_DX = Path("ct", "lung_dx_a0001", "a0001_5mm_kernelB_dicom.zip")


def run(*arguments: str | Path) -> str:
    given = ["inspect", *(str(a) for a in arguments)]
    result = CliRunner().invoke(main, given, catch_exceptions=False, standalone_mode=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A bright sphere at the patient's left, anterior and superior, stored LAS-like, oblique."""
    z, y, x = np.mgrid[:20, :30, :40]
    hu = np.full(z.shape, -1000, np.int16)
    hu[np.hypot(np.hypot(x - 30, y - 8), z - 14) < 5] = 400
    image = SimpleITK.GetImageFromArray(hu)
    image.SetSpacing([2, 2, 3])
    path = tmp_path / "scan.nii.gz"
    SimpleITK.WriteImage(image, str(path))
    return path


def test_text(test_data: Path) -> None:
    text = run(test_data / LUNG_DX)
    for words in (
        "format       DICOM",
        "512 x 512 x 64 voxels",
        "0.8418 x 0.8418 x 5 mm",
        "431.0 x 431.0 x 320.0 mm",
        "stored LPS",
        "Hounsfield units",
        "padded with -1024",
        "coronal",
        "axial",
    ):
        assert words in text
    assert "\x1b" not in text  # not a terminal


def test_what_the_scan_covers(test_data: Path) -> None:
    text = run(test_data / LUNG_DX)
    assert "region       chest: lungs of " in text
    assert "arms raised" in text
    told = json.loads(run(test_data / LUNG_DX, "--json"))["coverage"]
    assert told["region"] == "chest"
    assert told["arms"] == "raised"


def test_no_identifiers(test_data: Path) -> None:
    volume = drr.read(test_data / LUNG_DX)
    printed = run(test_data / LUNG_DX) + run(test_data / LUNG_DX, "--json")
    printed += run(test_data / LUNG_DX, "--series")
    for keyword, value in volume.identifiers.items():
        if keyword not in ("PatientSex", "SeriesDescription", "StudyDescription"):
            assert value not in printed, keyword


def test_json(scan: Path) -> None:
    told = json.loads(run(scan, "--json"))
    assert told["shape"] == [40, 30, 20]
    assert told["spacing_mm"] == [2, 2, 3]
    assert told["extent_mm"] == [80, 60, 60]
    assert told["orientation"] == "LPS"
    assert told["hu_percentiles"]["0"] == -1000
    assert told["hu_percentiles"]["100"] == 400
    assert told["verdict"]["kind"] == "unclear"
    assert told["coverage"] is None  # of values that may be no HU
    assert str(scan.parent) not in json.dumps(told)


def test_picture_is_the_right_way_round(scan: Path, tmp_path: Path) -> None:
    run(scan, "--png", tmp_path / "out.png")
    picture = np.asarray(Image.open(tmp_path / "out.png"))
    coronal_width = round(512 * 80 / 60)
    rows, columns = np.nonzero(picture[:, :coronal_width] > 100)
    # Superior at the top; the patient's left on the right.
    assert rows.mean() < 256
    assert columns.mean() > coronal_width / 2
    sagittal = picture[:, coronal_width + 4 : coronal_width + 4 + 512]
    assert np.nonzero(sagittal > 100)[1].mean() < 256  # anterior on the left
    axial = picture[:, coronal_width + 520 :]
    rows, columns = np.nonzero(axial > 100)
    assert rows.mean() < 256  # anterior at the top
    assert columns.mean() > axial.shape[1] / 2


def test_picture_is_not_overwritten(scan: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.png"
    target.write_bytes(b"mine")
    with pytest.raises(WriteError, match=r"out\.png"):
        run(scan, "--png", target)
    assert target.read_bytes() == b"mine"
    run(scan, "--png", target, "--force")
    assert Image.open(io.BytesIO(target.read_bytes())).format == "PNG"


def test_preview_can_be_left_out(scan: Path) -> None:
    assert "coronal" in run(scan)
    assert "coronal" not in run(scan, "--no-preview")


def test_half_blocks() -> None:
    (line,) = _half_blocks(np.array([[0.0, 1.0], [1.0, 0.0]]))
    assert line == "\x1b[38;5;232;48;5;255m▀\x1b[38;5;255;48;5;232m▀\x1b[0m"


def test_series(test_data: Path) -> None:
    assert run(test_data / LUNG_DX, "--series") == "#1 '5mm' (series 3, CT, 64 slices)\n"
    listed = json.loads(run(test_data / LUNG_DX, "--json", "--series"))
    assert listed[0]["number"] == "3"
    assert listed[0]["problem"] == ""
    assert "64 voxels" in run(test_data / LUNG_DX, "--series", "3", "--no-preview")
    with pytest.raises(ReadError, match="no series '9' here"):
        run(test_data / LUNG_DX, "--series", "9")


def test_errors_are_the_readers(tmp_path: Path, scan: Path) -> None:
    with pytest.raises(ReadError, match="no such file"):
        run(tmp_path / "none.nii")
    with pytest.raises(ReadError, match="only DICOM has series"):
        run(scan, "--series")


def test_acquisition(tmp_path: Path) -> None:
    from dicom_files import save_series

    pixels = np.zeros((8, 6, 5), np.uint16)
    folder = save_series(tmp_path / "scan", pixels, AcquisitionNumber=1)
    save_series(folder, pixels + 100, prefix="late", AcquisitionNumber=2)
    with pytest.raises(ReadError, match=r"choose one with acquisition= \(--acquisition\)"):
        run(folder)
    described = json.loads(run(folder, "--acquisition", "2", "--json"))
    assert described["hu_percentiles"]["50"] == 100 - 1024


@pytest.mark.skipif(sys.platform == "win32", reason="files cannot be called so there")
def test_nothing_in_a_name_acts_on_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[31m\u202eb\udcff.nii"
    path.write_bytes(nifti_bytes(thorax(32), Path("ct.nii")))
    out = str(tmp_path / "{name}.png")
    for words in (
        ("inspect", path, "--no-preview"),
        ("project", path, "--pixels", "16", "-o", out),
    ):
        result = CliRunner().invoke(main, [str(word) for word in words])
        assert result.exit_code == 0, result.output
        assert "a\\x1b[31m\\u202eb" in result.output
        assert not set(result.output) & {"\x1b", "\u202e", "\udcff"}
