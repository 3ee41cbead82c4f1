"""`drr project`, end to end."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import drr
from drr.cli import main
from drr.record import load_record

SMALL = ("--pixels", "48")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def succeed(*arguments: str | Path) -> Result:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result


def refused(*arguments: str | Path) -> str:
    """The one line that says why."""
    before = files()
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    errors = [line for line in result.stderr.splitlines() if line.startswith("drr: error: ")]
    assert len(errors) == 1, result.stderr
    assert "Traceback" not in result.stderr
    assert files() == before
    return errors[0]


def files() -> list[str]:
    return sorted(p.as_posix() for p in Path().rglob("*"))


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("phantom") / "ct.nii.gz"
    labels = path.with_name("labels.nii.gz")
    succeed("phantom", path, "--size", "64", "--labels", labels)
    return path


@pytest.fixture(autouse=True)
def ct(phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder holds a chest CT and nothing else."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(phantom, "ct.nii.gz")
    return Path("ct.nii.gz")


def record_of(image: str) -> Any:
    return load_record(f"{image}.json")


def test_one_argument_gives_a_pa_radiograph(ct: Path) -> None:
    result = succeed("project", ct)
    assert result.stdout == "ct_pa.png\n"
    assert files() == ["ct.nii.gz", "ct_pa.png", "ct_pa.png.json"]
    picture = np.asarray(Image.open("ct_pa.png"))
    assert picture.shape == (1024, 1024)
    assert picture.dtype == np.uint8
    assert picture.std() > 30
    assert record_of("ct_pa.png").geometry.view_position == "PA"


def test_picture_equals_the_python_interface(ct: Path) -> None:
    succeed("project", ct, "-v", "lao30", "-o", "x.npy", *SMALL)
    view = drr.geometry.views.parse_view("lao30", shape=(48, 48))  # type: ignore[attr-defined]
    expected = drr.project(drr.read(ct), view).line_integrals
    assert np.array_equal(np.load("x.npy"), expected)


def test_several_cts_and_views(ct: Path) -> None:
    shutil.copy(ct, "other.nii.gz")
    result = succeed("project", "*.nii.gz", "-o", "out/", "-v", "pa", "-v", "-30,15", *SMALL)
    assert result.stdout.split() == [
        "out/ct_pa.png",
        "out/ct_p-30_s15.png",
        "out/other_pa.png",
        "out/other_p-30_s15.png",
    ]
    assert record_of("out/ct_p-30_s15.png").geometry.positioner_angles == pytest.approx((-30, 15))


def test_bad_ct_among_several_is_reported_and_the_others_go_on(ct: Path) -> None:
    Path("bad.nii.gz").write_bytes(ct.read_bytes()[:5000])
    Path("worse.mha").write_text("not a scan")
    result = run("project", "bad.nii.gz", ct, "worse.mha", "-o", "out/", *SMALL, "--json")
    assert result.exit_code == 2
    summary = json.loads(result.stdout)
    assert [image["image"] for image in summary["images"]] == ["out/ct_pa.png"]
    assert summary["images"][0]["files"] == ["out/ct_pa.png", "out/ct_pa.png.json"]
    assert [failed["ct"] for failed in summary["failed"]] == ["bad.nii.gz", "worse.mha"]
    errors = [line for line in result.stderr.splitlines() if line.startswith("drr: error: ")]
    assert [name in error for name, error in zip(("bad", "worse"), errors, strict=True)] == [
        True
    ] * 2
    assert sorted(p.name for p in Path("out").iterdir()) == ["ct_pa.png", "ct_pa.png.json"]


def test_failure_leaves_no_folder(ct: Path) -> None:
    Path("bad.nii.gz").write_bytes(ct.read_bytes()[:5000])
    assert "bad.nii.gz" in refused("project", "bad.nii.gz", "-o", "new/deep/")


def test_existing_outputs_are_refused_before_anything_is_done(ct: Path) -> None:
    Path("out").mkdir()
    Path("out/ct_ll.png.json").write_text("mine")
    message = refused("project", ct, "-v", "pa", "-v", "ll", "-o", "out", *SMALL)
    assert "ct_ll.png.json would be overwritten" in message
    assert "--force" in message
    succeed("project", ct, "-v", "pa", "-v", "ll", "-o", "out", *SMALL, "--force")
    assert Path("out/ct_ll.png.json").read_text() != "mine"


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_inputs_are_never_replaced(ct: Path, phantom: Path, force: list[str]) -> None:
    before = ct.read_bytes()
    assert "is an input" in refused("project", ct, "-o", ct, *force)
    assert "is an input" in refused(
        "project", ct, "--format", "nifti", "-o", "../" + Path.cwd().name + "/{name}", *force
    )
    shutil.copy(phantom.with_name("labels.nii.gz"), "labels.nii.gz")
    assert "is an input" in refused(
        "project", ct, "--mask", "labels.nii.gz", "-o", "labels.nii.gz", *force
    )
    assert ct.read_bytes() == before


def test_quiet_says_nothing(ct: Path) -> None:
    assert "drr: note: ct: " in succeed("project", ct, *SMALL).stderr
    assert succeed("project", ct, "-q", "-f", *SMALL).output == ""


def test_formats_share_the_projection(ct: Path) -> None:
    formats = [part for name in ("png", "tiff", "npz", "dx") for part in ("--format", name)]
    succeed("project", ct, *SMALL, *formats, "-o", "o/")
    tiff = np.asarray(Image.open("o/ct_pa.tif"))
    assert np.array_equal(tiff, np.load("o/ct_pa.npz")["line_integrals"])
    import pydicom

    assert pydicom.dcmread("o/ct_pa.dcm").ViewPosition == "PA"


def test_view_options_reach_the_geometry(ct: Path) -> None:
    succeed(
        *("project", ct, "-v", "ap", "--source-to-detector", "1200", "--detector", "350x430"),
        *("--pixels", "86", "--viewed-from", "detector", "-o", "a.npy"),
    )
    geometry = record_of("a.npy").geometry
    assert geometry.source_to_detector_distance == pytest.approx(1200)
    assert geometry.shape == (70, 86)
    assert geometry.row_pitch == pytest.approx(5)
    assert geometry.viewed_from == "detector"
    succeed("project", ct, "--parallel", "--pixels", "30x20", "-o", "b.npy")
    parallel = record_of("b.npy").geometry
    assert parallel.source is None
    assert parallel.shape == (30, 20)
    succeed("project", ct, "--source-to-isocenter", "1500", *SMALL, "-o", "c.npy")
    assert record_of("c.npy").projection["view"]["source_to_isocenter_distance"] == 1500


def test_image_options_reach_the_record(ct: Path) -> None:
    succeed(
        *("project", ct, *SMALL, "--window", "2.5,4", "--curve", "linear", "--invert"),
        *("--bits", "16", "--kev", "80", "--method", "siddon", "--no-clean"),
        *("--no-anti-aliasing", "--threads", "1", "-o", "x.png"),
    )
    record = record_of("x.png")
    assert record.display.to_dict() == {
        "center": 2.5,
        "width": 4.0,
        "curve": "linear",
        "invert": True,
    }
    assert np.asarray(Image.open("x.png")).dtype == np.uint16
    assert record.projection["method"] == "siddon"
    assert record.projection["attenuation"]["name"] == "tissue-80keV"
    assert record.projection["cleanup"] is None
    assert record.projection["anti_aliasing"] is False


@pytest.mark.parametrize("look", ["film", "physical", "raw", "drr-rate"])
def test_every_look_is_recorded_and_repeated(ct: Path, look: str) -> None:
    size = () if look == "drr-rate" else SMALL
    view = "lateral" if look == "drr-rate" else "ll"
    succeed("project", ct, *size, "--look", look, "-v", view, "--invert", "-o", "x.png")
    record = record_of("x.png")
    assert record.projection["look"] == look
    assert record.display is not None
    assert record.display.invert
    assert (record.projection["detector"] is not None) == (look == "physical")
    succeed("project", ct, "--from", "x.png.json", "-o", "y.png")
    assert Path("y.png").read_bytes() == Path("x.png").read_bytes()


def test_random_variations_are_recorded_and_repeated(ct: Path) -> None:
    options = ("--look", "physical", "--randomise", "chest", "--seed", "3", *SMALL)
    succeed("project", ct, *options, "-v", "pa", "-v", "ll", "-o", "{view}.png")
    draws = [record_of(f"{view}.png").draw for view in ("pa", "ll")]
    assert None not in draws
    assert [draw.index for draw in draws] == [0, 1]
    for view in ("pa", "ll"):
        succeed("project", ct, "--from", f"{view}.png.json", "-o", f"{view}2.png")
        assert Path(f"{view}2.png").read_bytes() == Path(f"{view}.png").read_bytes()


def test_a_policy_can_be_a_file(ct: Path) -> None:
    Path("mine.json").write_text('{"preset": "none", "invert": 1.0}', "utf-8")
    succeed("project", ct, *SMALL, "--randomise", "mine.json", "-o", "x.png")
    assert record_of("x.png").draw.invert is True


def test_the_beam_and_the_detector_can_be_chosen(ct: Path) -> None:
    options = ("--kvp", "90", "--detector-model", "portable", "--exposure", "1", "--seed", "5")
    succeed("project", ct, *SMALL, *options, "-o", "x.png")
    made = record_of("x.png").projection
    assert made["attenuation"]["kvp"] == 90
    assert made["detector"]["receptor_air_kerma"] == 1
    assert made["detector"]["grid"] is None
    assert made["seed"] == 5


def test_record_repeats_the_image_to_the_bit(ct: Path) -> None:
    succeed(
        *("project", ct, *SMALL, "-v", "lao30", "--curve", "linear", "--bits", "16", "--mark"),
        *("--kev", "70", "--method", "joseph", "--pixels", "128", "-o", "one/"),
    )
    succeed("project", ct, "--from", "one/ct_lao30.png.json", "-o", "two/")
    for name in ("ct_lao30.png", "ct_lao30.png.json"):
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes()


def test_a_preview_is_recorded_and_repeated(ct: Path) -> None:
    succeed("project", ct, *SMALL, "-v", "lao30", "-o", "full.npy")
    succeed("project", ct, *SMALL, "-v", "lao30", "--quality", "preview", "-o", "fast.npy")
    assert record_of("full.npy").projection["quality"] == "standard"
    if record_of("fast.npy").projection["backend"] == "cpu":
        assert record_of("fast.npy").projection["quality"] == "preview"
        assert Path("fast.npy").read_bytes() != Path("full.npy").read_bytes()
    succeed("project", ct, "--from", "fast.npy.json", "-o", "again.npy")
    assert Path("again.npy").read_bytes() == Path("fast.npy").read_bytes()
    message = refused(
        "project", ct, "--from", "fast.npy.json", "--quality", "standard", "-o", "x.npy"
    )
    assert "leave out" in message


def test_a_record_that_names_no_quality_is_of_planes_taken_one_by_one(ct: Path) -> None:
    succeed("project", ct, *SMALL, "--quality", "finest", "-o", "x.npy")
    record = json.loads(Path("x.npy.json").read_text())
    del record["projection"]["quality"]
    Path("older.json").write_text(json.dumps(record))
    succeed("project", ct, "--from", "older.json", "-o", "y.npy")
    assert Path("y.npy").read_bytes() == Path("x.npy").read_bytes()


def test_record_of_a_thickness_needs_its_mask(ct: Path, phantom: Path) -> None:
    labels = phantom.with_name("labels.nii.gz")
    succeed("project", ct, *SMALL, "--mask", labels, "-o", "one.npz")
    result = succeed("project", ct, "--from", "one.npz.json", "-o", "two.npz")
    assert "--mask" in result.stderr
    assert "thickness" not in np.load("two.npz")
    succeed("project", ct, "--from", "one.npz.json", "--mask", labels, "-o", "three.npz")
    one, three = np.load("one.npz"), np.load("three.npz")
    assert all(np.array_equal(one[key], three[key]) for key in one)


def test_record_of_another_ct_is_refused(ct: Path) -> None:
    succeed("project", ct, *SMALL)
    succeed("phantom", "other.nii.gz", "--size", "48")
    message = refused("project", "other.nii.gz", "--from", "ct_pa.png.json", "-o", "x.png")
    assert "is not the CT that the record was made from" in message
    # But its geometry may be used.
    succeed("project", "other.nii.gz", "--geometry", "ct_pa.png.json", "-o", "x.npy")
    assert record_of("x.npy").geometry == record_of("ct_pa.png").geometry


@pytest.mark.parametrize(
    "option", [["-v", "ll"], ["--invert"], ["--kev", "60"], ["--backend", "cpu"], ["--parallel"]]
)
def test_record_is_not_mixed_with_options(ct: Path, option: list[str]) -> None:
    succeed("project", ct, *SMALL)
    message = refused("project", ct, "--from", "ct_pa.png.json", "-o", "x.png", *option)
    assert "leave out" in message


def test_record_of_an_unknown_format_is_refused(ct: Path) -> None:
    succeed("project", ct, "-o", "a.png", *SMALL)
    record = json.loads(Path("a.png.json").read_bytes())
    record["output"]["format"] = "exe"
    Path("edited.json").write_text(json.dumps(record))
    assert "unknown format 'exe'" in refused("project", ct, "--from", "edited.json")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no /dev/zero")
@pytest.mark.parametrize("option", ["--from", "--geometry"])
def test_record_without_an_end_is_refused(ct: Path, option: str) -> None:
    assert "MiB; is it the right file?" in refused("project", ct, option, "/dev/zero")


def test_record_made_elsewhere_is_noted(ct: Path) -> None:
    succeed("project", ct, *SMALL)
    record = json.loads(Path("ct_pa.png.json").read_text())
    record["projection"]["drr"] = "0.0.1"
    Path("old.json").write_text(json.dumps(record))
    result = succeed("project", ct, "--from", "old.json", "-o", "x.png")
    assert "may not repeat" in result.stderr


def test_explicit_geometry(ct: Path) -> None:
    geometry = drr.Geometry(
        direction=(0, -1, 0),
        detector_center=(0, -300, 0),
        u=(8, 0, 0),
        v=(0, 0, -8),
        shape=(40, 50),
    )
    Path("mine.json").write_text(json.dumps(geometry.to_dict()))
    result = succeed("project", ct, "--geometry", "mine.json", "-v", "ll", *SMALL)
    assert result.stdout.split() == ["ct_ll.png", "ct_mine.png"]
    assert record_of("ct_mine.png").geometry == geometry
    assert "edit its file" in refused("project", ct, "--geometry", "mine.json", *SMALL, "-o", "x/")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("{", "is not JSON"),
        ("[1]", "no JSON object"),
        ("{}", "lacks"),
        ('{"sources": 1}', "sources"),
        ('{"source": [0, 0, 0], "detector_center": [0, 0, 0], "u": [1, 0, 0], "v": [0, 1, 0], '
         '"shape": [4, 4]}', "middle of the detector"),
    ],
)  # fmt: skip
def test_bad_geometry_file(ct: Path, content: str | None, words: str) -> None:
    if content is not None:
        Path("bad.json").write_text(content)
    message = refused("project", ct, "--geometry", "bad.json")
    assert "bad.json" in message
    assert words in message


def test_mask_is_written_as_thickness_once_for_all_formats(ct: Path, phantom: Path) -> None:
    result = succeed(
        *("project", ct, *SMALL, "--mask", phantom.with_name("labels.nii.gz"), "--json"),
        *("--format", "png", "--format", "tiff", "-v", "pa", "-v", "ll", "-o", "o/"),
    )
    images = json.loads(result.stdout)["images"]
    assert all("o/ct_pa_thickness.nii.gz" in i["files"] for i in images if i["view"] == "pa")
    import nibabel

    thickness = nibabel.load("o/ct_ll_thickness.nii.gz").get_fdata()
    assert thickness.shape[:3] == (48, 48, 1)
    assert 100 < thickness.max() < 600
    assert "one CT" in refused("project", ct, phantom, "--mask", phantom, "-o", "z/")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-v", "lateral"], "which side"),
        (["-v", "pq"], "pq"),
        (["-v", "30,x"], "30,x"),
        (["-v", "nan,0"], "nan"),
        (["-v", "pa", "-v", "PA"], "given twice"),
        (["--source-to-detector", "-5"], "-5"),
        (["--source-to-detector", "100"], "inside the body"),
        (["--source-to-detector", "nan"], "finite"),
        (["--source-to-isocenter", "1900"], "beyond the isocentre"),
        (["--parallel", "--source-to-detector", "1800"], "leave one out"),
        (["--pixels", "0"], "above zero"),
        (["--pixels", "-4x9"], "above zero"),
        (["--pixels", "1000000"], "1000000 x 1000000 pixels are too many"),
        (["--detector", "0x100"], "above zero"),
        (["--detector", "nan"], "finite"),
        (["--kev", "1"], "keV"),
        (["--window", "2,0"], "width"),
        (["--look", "flim"], "did you mean 'film'"),
        (["--look", "drr-rate", "--kev", "60"], "leave out --kev"),
        (["--look", "drr-rate", "-v", "pa"], "it has AP and LATERAL"),
        (["--kvp", "300"], "150"),
        (["--kev", "60", "--kvp", "90"], "leave one out"),
        (["--detector-model", "flatpanel"], "did you mean 'flat-panel'"),
        (["--exposure", "-1"], "receptor_air_kerma"),
        (["--randomise", "chst"], "did you mean 'chest'"),
        (["--randomise", "absent.json"], "cannot be read"),
        (["--window", "nan,1"], "finite"),
        (["--backend", "cuda"], "CUDA"),
        (["--mask", "nothing.nii"], "nothing.nii"),
        (["--series", "2"], "series"),
        (["-o", "x.jpg"], ".jpg"),
        (["-o", "x.tif", "--mark"], "mark"),
        (["-o", "ct.nii.gz/x.png"], "is a file"),
        (["--from", "ct.nii.gz"], "ct.nii.gz"),
        (["--from", "nothing.json"], "nothing.json"),
    ],
)
def test_bad_options_are_one_line_and_leave_nothing(
    ct: Path, arguments: list[str], words: str
) -> None:
    assert words in refused("project", ct, *arguments)


def test_missing_ct(ct: Path) -> None:
    assert "nowhere.nii: no such file" in refused("project", ct, "nowhere.nii", "-o", "out/")


def test_values_that_are_no_hu_are_refused_unless_accepted(ct: Path) -> None:
    import nibabel

    image = nibabel.load(ct)
    shifted = nibabel.Nifti1Image(image.get_fdata() + 1024, image.affine)
    nibabel.save(shifted, "shifted.nii.gz")
    for more in ((), ("--look", "drr-rate"), ("--accept", "size")):
        pixels = SMALL if "drr-rate" not in more else ()
        result = run("project", "shifted.nii.gz", *pixels, *more)
        assert result.exit_code == 2
        assert "without their intercept" in result.stderr
        assert "--accept values" in result.stderr
        assert result.stderr.count("\n") == 1
        assert not list(Path().glob("shifted_*"))
    result = succeed("project", "shifted.nii.gz", *SMALL, "--accept", "values")
    assert "without their intercept" in result.stderr
    # What was made of it can be made again without saying so again.
    succeed("project", "shifted.nii.gz", "--from", "shifted_pa.png.json", "-o", "again.png")
    assert Path("again.png").read_bytes() == Path("shifted_pa.png").read_bytes()


def test_a_size_of_no_patient_is_refused_unless_accepted(ct: Path) -> None:
    import nibabel

    image = nibabel.load(ct)
    nibabel.save(nibabel.Nifti1Image(image.get_fdata(), np.eye(4)), "identity.nii.gz")
    result = run("project", "identity.nii.gz", *SMALL)
    assert result.exit_code == 2
    assert "affine is the identity" in result.stderr
    assert "--accept size" in result.stderr
    told = json.loads(succeed("inspect", "identity.nii.gz", "--json").stdout)
    assert "identity" in told["verdict"]["size"]
    succeed("project", "identity.nii.gz", *SMALL, "--accept", "size")


def test_fill_is_said_and_left_out(ct: Path) -> None:
    import nibabel

    image = nibabel.load(ct)
    values = np.asarray(image.dataobj).astype(np.int16)
    values[:3] = 0
    nibabel.save(nibabel.Nifti1Image(values, image.affine), "filled.nii.gz")
    values[:3] = -2048
    nibabel.save(nibabel.Nifti1Image(values, image.affine), "padded.nii.gz")
    result = succeed("project", "filled.nii.gz", *SMALL)
    assert "exactly 0 HU, so nothing was scanned there; it became air" in result.stderr
    succeed("project", "padded.nii.gz", *SMALL)
    filled, padded = (np.asarray(Image.open(f"{n}_pa.png")) for n in ("filled", "padded"))
    np.testing.assert_array_equal(filled, padded)
    result = succeed("project", "filled.nii.gz", *SMALL, "--no-clean", "-o", "left.png")
    assert "without clean-up it is projected" in result.stderr
    result = succeed("project", "filled.nii.gz", "--look", "drr-rate")
    assert "the published recipe projects it" in result.stderr
    assert "clean-up makes it air" in succeed("inspect", "filled.nii.gz").stdout


def test_no_identifier_of_a_dicom_reaches_an_output(test_data: Path) -> None:
    import pydicom

    source = test_data / "ct/lung_dx_a0001/a0001_5mm_kernelB_dicom.zip"
    formats = [part for name in ("png", "dx", "nifti") for part in ("--format", name)]
    succeed("project", source, *SMALL, *formats, "-o", "plain/{view}")
    volume = drr.read(source)
    secrets = {v for k, v in volume.identifiers.items() if len(v) > 6 or "ID" in k}
    assert secrets
    for path in Path("plain").iterdir():
        content = path.read_bytes()
        assert not [secret for secret in secrets if len(secret) > 6 and secret.encode() in content]
        assert str(source.parent).encode() not in content
    plain = pydicom.dcmread("plain/pa.dcm")
    assert volume.identifiers["PatientID"] not in str(plain.get("PatientID", ""))
    succeed("project", source, *SMALL, "--keep-identifiers", "-o", "kept.dcm")
    assert pydicom.dcmread("kept.dcm").PatientID == volume.identifiers["PatientID"]


def test_infinite_distance_is_a_parallel_beam(ct: Path) -> None:
    succeed("project", ct, "--source-to-detector", "inf", *SMALL, "-o", "x.npy")
    assert record_of("x.npy").geometry.source_to_detector_distance == math.inf


def test_a_phase_of_a_dicom_series_is_chosen(phantom: Path, tmp_path: Path) -> None:
    """The second phase projects as it does alone."""
    from dicom_files import save_series

    volume = drr.read(phantom)
    stored = (volume.hu.astype(int) + 1024).astype(np.uint16)
    spacing = [float(v) for v in volume.spacing[1::-1]]
    positions = [(0, 0, float(volume.spacing[2]) * k) for k in range(len(stored))]
    shared: dict[str, Any] = {"PixelSpacing": spacing, "positions": positions}
    alone = save_series(tmp_path / "alone", stored, **shared)
    both = save_series(tmp_path / "both", stored, AcquisitionNumber=2, **shared)
    save_series(both, stored // 2, prefix="early", AcquisitionNumber=1, **shared)
    assert "--acquisition" in refused("project", both, "-o", tmp_path / "no.png")
    for folder, options in ((alone, []), (both, ["--acquisition", "2"])):
        succeed(
            "project", folder, *options, "-o", tmp_path / f"{folder.name}.png", "--pixels", "64"
        )
    assert (tmp_path / "both.png").read_bytes() == (tmp_path / "alone.png").read_bytes()
