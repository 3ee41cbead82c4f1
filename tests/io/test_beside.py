"""Which files a header may name, and under which names they are found."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import drr
from drr.cli import main
from drr.errors import ReadError

META = (
    "NDims = 3\nDimSize = 3 4 5\nElementSpacing = 1 2 3\nElementType = MET_SHORT\n"
    "ElementDataFile = {}\n"
)
NRRD = (
    "NRRD0004\ntype: short\ndimension: 3\nspace: LPS\nsizes: 3 4 5\nendian: little\n"
    "space directions: (1,0,0) (0,2,0) (0,0,3)\nspace origin: (0,0,0)\nencoding: raw\n"
    "data file: {}\n"
)
HEADERS = {"scan.mhd": META, "scan.nhdr": NRRD}
VOXELS = np.arange(60, dtype="<i2").reshape(5, 4, 3)


@pytest.fixture(params=HEADERS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where headers go; what lies in `tmp_path` is outside."""
    (tmp_path / "outside.raw").write_bytes(VOXELS.tobytes())
    made = tmp_path / "scan"
    made.mkdir()
    return made


def header(folder: Path, kind: str, data: str) -> Path:
    path = folder / kind
    path.write_text(HEADERS[kind].format(data))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ReadError) as error:
        drr.read(path)
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith(str(path))
    return text


def test_names_that_lead_outside_are_refused(folder: Path, kind: str) -> None:
    outside = folder.parent / "outside.raw"
    (folder / "link.raw").symlink_to(outside)
    (folder / "sub").mkdir()
    (folder / "out").symlink_to(folder.parent)
    for data in (
        str(outside),
        "../outside.raw",
        "sub/../../outside.raw",
        "..\\outside.raw",
        "link.raw",
        "out/outside.raw",
    ):
        path = header(folder, kind, data)
        assert "outside its folder" in refusal(path), data
        np.testing.assert_array_equal(drr.read(path, outside=True).hu, VOXELS)


def test_lists_and_patterns_are_held_to_it(folder: Path) -> None:
    for k, plane in enumerate(VOXELS):
        (folder.parent / f"s{k}.raw").write_bytes(plane.tobytes())
    path = header(folder, "scan.mhd", "../s%d.raw 0 4 1")
    assert "outside its folder" in refusal(path)
    np.testing.assert_array_equal(drr.read(path, outside=True).hu, VOXELS)
    path = header(folder, "scan.nhdr", "LIST\n" + "\n".join(f"../s{k}.raw" for k in range(5)))
    assert "outside its folder" in refusal(path)
    np.testing.assert_array_equal(drr.read(path, outside=True).hu, VOXELS)


def test_the_command_line_can_be_told_to(folder: Path) -> None:
    path = header(folder, "scan.mhd", "../outside.raw")
    done = CliRunner().invoke(main, ["inspect", str(path), "--no-preview"])
    assert done.exit_code == 2
    assert "--outside" in done.output
    done = CliRunner().invoke(main, ["inspect", str(path), "--no-preview", "--outside"])
    assert done.exit_code == 0, done.output


def test_files_below_and_links_beside_are_inside(folder: Path, kind: str) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "ct.raw").write_bytes(VOXELS.tobytes())
    (folder / "link.raw").symlink_to(Path("sub", "ct.raw"))
    for data in ("sub/ct.raw", "sub\\ct.raw", ".\\sub\\ct.raw", "link.raw", "sub/../sub/ct.raw"):
        volume = drr.read(header(folder, kind, data))
        np.testing.assert_array_equal(volume.hu, VOXELS)
        assert not any("header names" in note for note in volume.notes)


def test_a_header_that_is_a_link_has_its_files_where_it_lies(folder: Path, kind: str) -> None:
    (folder / "ct.raw").write_bytes(VOXELS.tobytes())
    path = header(folder, kind, "ct.raw")
    view = folder.parent / "view"
    view.mkdir()
    for file in (path, folder / "ct.raw"):
        (view / file.name).symlink_to(file)
    np.testing.assert_array_equal(drr.read(view / kind).hu, VOXELS)


@pytest.mark.parametrize("data", ["C:\\data\\ct.raw", "\\\\server\\a\\ct.raw", "/data/x/ct.raw"])
def test_absolute_names_are_looked_for_beside(folder: Path, kind: str, data: str) -> None:
    (folder / "ct.raw").write_bytes(VOXELS.tobytes())
    volume = drr.read(header(folder, kind, data))
    np.testing.assert_array_equal(volume.hu, VOXELS)
    note = next(note for note in volume.notes if "header names" in note)
    assert "beside it was read" in note
    assert "data" not in note  # nor anything else of the path, which may name the patient


@pytest.mark.skipif(os.name == "nt", reason="names differ in case only elsewhere")
def test_names_in_another_case(folder: Path, kind: str) -> None:
    (folder / "CT.RAW").write_bytes(VOXELS.tobytes())
    path = header(folder, kind, "ct.raw")
    volume = drr.read(path)
    np.testing.assert_array_equal(volume.hu, VOXELS)
    assert any("another case" in note for note in volume.notes)
    (folder / "Ct.raw").write_bytes(VOXELS.tobytes())
    assert "is not there" in refusal(path)


@pytest.mark.parametrize(
    "data", ["none.raw", ".", "sub", "x" * 5000, "a\0b", "\\", "C:", "..", "/"]
)
def test_what_is_no_file(folder: Path, kind: str, data: str) -> None:
    (folder / "sub").mkdir(exist_ok=True)
    assert len(refusal(header(folder, kind, data))) <= 500
