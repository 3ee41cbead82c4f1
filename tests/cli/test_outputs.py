"""Where a command writes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from drr.cli.outputs import SUFFIXES, Output, check_outputs, output_folders, plan_outputs
from drr.errors import WriteError
from drr.io.write import FORMATS


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def planned(
    out: str | None,
    names: tuple[str, ...] = ("ct",),
    views: tuple[str, ...] = ("pa",),
    formats: tuple[str, ...] = (),
) -> list[tuple[str, str]]:
    plan = plan_outputs(out, names, views, formats)
    return [(o.path.as_posix(), o.format) for of_ct in plan for outputs in of_ct for o in outputs]


def test_formats_are_those_of_the_writer() -> None:
    assert dict(SUFFIXES) == dict(FORMATS)


def test_default_is_a_png_in_the_current_folder() -> None:
    assert planned(None) == [("ct_pa.png", "png")]
    assert planned(None, ("a", "b"), ("pa", "ll"))[3] == ("b_ll.png", "png")


@pytest.mark.parametrize(
    ("out", "expected"),
    [
        ("x.png", ("x.png", "png")),
        ("deep/x.TIFF", ("deep/x.TIFF", "tiff")),
        ("x.nii.gz", ("x.nii.gz", "nifti")),
        ("x.nii", ("x.nii", "nifti")),
        ("x.dcm", ("x.dcm", "dx")),
        ("folder", ("folder/ct_pa.png", "png")),
        ("folder.png/", ("folder.png/ct_pa.png", "png")),
        ("{view}/{name}.mha", ("pa/ct.mha", "metaimage")),
        ("{name}.{view}", ("ct.pa.png", "png")),
        ("a{{b}}{view}", ("a{b}pa.png", "png")),
    ],
)
def test_out_is_a_file_a_folder_or_a_template(out: str, expected: tuple[str, str]) -> None:
    assert planned(out) == [expected]


def test_existing_folder_with_a_suffix_is_a_folder(folder: Path) -> None:
    (folder / "run.png").mkdir()
    assert planned("run.png") == [("run.png/ct_pa.png", "png")]


def test_formats_side_by_side() -> None:
    formats = ("png", "dx", "rt-image", "png")
    assert planned("o/", formats=formats) == [
        ("o/ct_pa.png", "png"),
        ("o/ct_pa.dcm", "dx"),
        ("o/ct_pa_rt-image.dcm", "rt-image"),
    ]
    assert planned("x.dcm", formats=("rt-image",)) == [("x.dcm", "rt-image")]


def test_labels_of_views_make_file_names() -> None:
    assert planned(None, views=("lao:30/x",)) == [("ct_lao-30-x.png", "png")]


@pytest.mark.parametrize(
    ("out", "views", "formats", "words"),
    [
        ("x.png", ("pa", "ll"), (), "several images cannot share one file"),
        ("x.jpg", ("pa",), (), r"no image format has the suffix \.jpg"),
        ("x.png", ("pa",), ("tiff",), "tiff images cannot have the suffix"),
        ("{name}.png", ("pa", "ll"), (), "several images would be written"),
        (None, ("lao:30", "lao-30"), (), "several images would be written"),
        ("{patient}.png", ("pa",), (), "knows {name} and {view}"),
        ("{view", ("pa",), (), "is not a template"),
        ("{view!r:>9}", ("pa",), (), "knows {name} and {view}"),
    ],
)
def test_contradictions_are_refused(
    out: str | None, views: tuple[str, ...], formats: tuple[str, ...], words: str
) -> None:
    with pytest.raises(WriteError, match=words):
        planned(out, views=views, formats=formats)


def test_files_of_an_image() -> None:
    nifti = Output(Path("a/x.nii.gz"), "nifti")
    assert [str(p) for p in nifti.files(thickness=False)] == ["a/x.nii.gz", "a/x.nii.gz.json"]
    assert nifti.files(thickness=True)[2] == Path("a/x_thickness.nii.gz")
    assert len(Output(Path("x.npz"), "npz").files(thickness=True)) == 2


def test_existing_outputs_are_refused_together(folder: Path) -> None:
    paths = [folder / name for name in ("a.png", "b.png", "c.png")]
    paths[1].touch()
    paths[2].symlink_to(folder / "nowhere")
    with pytest.raises(WriteError, match=r"b\.png and 1 more of the outputs .* --force"):
        check_outputs(paths, force=False)
    check_outputs(paths, force=True)


def test_places_that_cannot_be_written(folder: Path) -> None:
    (folder / "file").touch()
    (folder / "x.png").mkdir()
    with pytest.raises(WriteError, match="file: is a file"):
        check_outputs([folder / "file" / "deep" / "x.png"], force=False)
    with pytest.raises(WriteError, match="is a folder"):
        check_outputs([folder / "x.png"], force=True)


@pytest.mark.skipif(
    os.name == "nt" or getattr(os, "geteuid", lambda: 1)() == 0, reason="root may write anywhere"
)
def test_read_only_folder(folder: Path) -> None:
    locked = folder / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(WriteError, match="locked: is not writable"):
        check_outputs([locked / "new" / "x.png"], force=False)


def test_folders_are_made_and_empty_ones_removed(folder: Path) -> None:
    with output_folders([Path("a/b/x.png"), Path("c/y.png")]):
        Path("a/b/x.png").touch()
    assert Path("a/b/x.png").exists()
    assert not Path("c").exists()


def test_relative_folder_below_a_file(folder: Path) -> None:
    Path("file").touch()
    with pytest.raises(WriteError, match="cannot be made"), output_folders([Path("file/x/y.png")]):
        pass
