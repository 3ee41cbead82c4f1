"""DICOM DX and RT Image: pixels, geometry, provenance and privacy, read back by others."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.pixels import apply_voi_lut
from pydicom.uid import UID

from drr.display.window import Window
from drr.errors import WriteError
from drr.geometry.geometry import Geometry
from drr.geometry.views import View, parse_view
from drr.io.dicom.dx import view_name
from drr.io.dicom.object import decimal, patient_orientation
from drr.io.dicom.rt_image import machine_for
from drr.io.write import write
from drr.radiograph import Projection

WINDOW = Window(center=4.0, width=5.0, curve="sigmoid")
RECORD: dict[str, Any] = {
    "drr": "0.1.0",
    "input": {"sha256": "ab" * 32, "shape": [40, 50, 60], "spacing": [0.7, 0.7, 2.5]},
    "look": "film",
    "view": None,
    "recipe": None,
    "attenuation": {"name": "water"},
    "detector": None,
    "seed": 0,
    "cleanup": None,
    "extension": None,
    "method": "shear-warp",
    "backend": "cpu",
    "anti_aliasing": True,
    "cpu": "generic",
}
IDENTIFIERS = {
    "PatientName": "Dóe^Jané",
    "PatientID": "MRN-4711",
    "PatientBirthDate": "19610203",
    "PatientSex": "F",
    "StudyInstanceUID": "1.2.3.4.5",
    "SeriesInstanceUID": "1.2.3.4.6",
    "FrameOfReferenceUID": "1.2.3.4.7",
    "StudyDate": "20200229",
    "AccessionNumber": "A-1",
}


class Cylinder:
    """A body for views to be placed against: 300 mm wide, 200 mm deep, off the origin."""

    thorax_center = np.array([12.0, -30.0, 400.0])

    def support(self, direction: Any) -> float:
        x, y, z = np.asarray(direction, float)
        return float(self.thorax_center @ direction) + math.hypot(150 * x, 100 * y) + 200 * abs(z)

    def contains(self, point: Any) -> bool:
        x, y, z = np.asarray(point) - self.thorax_center
        return (x / 150) ** 2 + (y / 100) ** 2 < 1 and abs(z) < 200


def placed(name: str, **options: Any) -> Geometry:
    values = parse_view(name).to_dict()
    view = View.from_dict(values | {"shape": (20, 28), "detector_size": (420.0, 430.0)} | options)
    return view.place(Cylinder())


def tilted(*, mirrored: bool = False) -> Geometry:
    """A detector that is parallel to nothing, off its axis, with oblong pixels."""
    rotation, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    x, y, z = rotation.T
    return Geometry(
        source=tuple(z * 900.0 + x * 60.0 + y * 11.0),
        detector_center=(-30.0, 20.0, 50.0),
        u=tuple(x * (-0.8 if mirrored else 0.8)),
        v=tuple(y * 1.3),
        shape=(24, 31),
    )


def projection(geometry: Geometry, **changes: Any) -> Projection:
    generator = np.random.default_rng(0)
    values: dict[str, Any] = {
        "line_integrals": generator.uniform(0, 9, geometry.shape).astype(np.float32),
        "geometry": geometry,
        "record": RECORD,
        "display": WINDOW,
        "identifiers": IDENTIFIERS,
    }
    return Projection(**values | changes)


def written(
    folder: Path, geometry: Geometry, *, changes: dict[str, Any] | None = None, **options: Any
) -> Any:
    path = folder / "a.dcm"
    options = {"display": WINDOW, "force": True} | options
    return pydicom.dcmread(write(path, projection(geometry, **(changes or {})), **options))


def expected_pixels(geometry: Geometry, window: Window = WINDOW) -> Any:
    shown = window.apply(projection(geometry).line_integrals).astype(np.float64)
    return np.rint(shown * 65535)


# ---- DX --------------------------------------------------------------------------------------


def test_dx_shows_the_picture_in_pydicom_and_itk(tmp_path: Path) -> None:
    geometry = placed("pa")
    dataset = written(tmp_path, geometry)
    expected = expected_pixels(geometry)
    assert dataset.SOPClassUID == pydicom.uid.DigitalXRayImageStorageForPresentation
    np.testing.assert_array_equal(dataset.pixel_array, expected)
    # The window changes nothing: what is stored is what is shown.
    np.testing.assert_allclose(apply_voi_lut(dataset.pixel_array, dataset), expected, atol=1e-6)
    image = SimpleITK.ReadImage(str(tmp_path / "a.dcm"))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image)[0], expected)
    assert image.GetSpacing()[:2] == pytest.approx((430 / 28, 420 / 20))


def test_dx_says_what_it_is(tmp_path: Path) -> None:
    dataset = written(tmp_path, placed("pa"))
    assert list(dataset.ImageType) == ["DERIVED", "SECONDARY", ""]
    assert dataset.PresentationIntentType == "FOR PRESENTATION"
    assert dataset.SyntheticData == "YES"
    assert "Not for diagnosis" in dataset.DerivationDescription
    assert len(dataset.DerivationDescription) <= 1024
    assert dataset.BurnedInAnnotation == "NO"
    assert dataset.LossyImageCompression == "00"
    assert dataset.PhotometricInterpretation == "MONOCHROME2"
    assert dataset.PresentationLUTShape == "IDENTITY"
    assert dataset.PixelIntensityRelationship == "LOG"
    assert dataset.DistanceSourceToDetector == pytest.approx(1800)
    assert dataset.ImagerPixelSpacing == pytest.approx([21.0, 430 / 28])
    assert "DistanceSourceToPatient" not in dataset


def test_sign_follows_the_polarity(tmp_path: Path) -> None:
    # PS3.3 C.8.11.3.1.2: -1 when higher values correspond to less X-ray intensity.
    bright = written(tmp_path, placed("pa"))
    assert bright.PixelIntensityRelationshipSign == -1
    dark_window = Window(center=4.0, width=5.0, invert=True)
    dark = written(tmp_path, placed("pa"), display=dark_window)
    assert dark.PixelIntensityRelationshipSign == 1
    assert dark.PhotometricInterpretation == "MONOCHROME2"
    corr = np.corrcoef(bright.pixel_array.ravel(), dark.pixel_array.ravel())[0, 1]
    assert corr == pytest.approx(-1)


@pytest.mark.parametrize(
    ("name", "orientation", "position", "meaning", "angle"),
    [
        ("pa", ["L", "F"], "PA", "postero-anterior", 0),
        ("ap", ["L", "F"], "AP", "antero-posterior", 180),
        ("ll", ["P", "F"], "LL", "left lateral", 90),
        ("rl", ["A", "F"], "RL", "right lateral", -90),
        ("lao30", ["LP", "F"], None, "left anterior oblique", 30),
        ("rao45", ["LA", "F"], None, "right anterior oblique", -45),
        ("lpo45", ["LA", "F"], None, "left posterior oblique", 135),
        ("rpo60", ["LP", "F"], None, "right posterior oblique", -120),
    ],
)
def test_views_carry_the_terms_of_the_standard(
    tmp_path: Path,
    name: str,
    orientation: list[str],
    position: str | None,
    meaning: str,
    angle: float,
) -> None:
    dataset = written(tmp_path, placed(name))
    assert [set(x) for x in dataset.PatientOrientation] == [set(x) for x in orientation]
    assert dataset.get("ViewPosition") == position
    assert dataset.ViewCodeSequence[0].CodeMeaning == meaning
    assert abs(dataset.PositionerPrimaryAngle) == pytest.approx(abs(angle), abs=1e-6)
    assert dataset.PositionerSecondaryAngle == pytest.approx(0, abs=1e-6)


def test_codes_are_those_of_the_context_groups(tmp_path: Path) -> None:
    codes = pytest.importorskip("pydicom.sr.codedict").codes
    groups = {"ViewCodeSequence": codes.cid4010, "AnatomicRegionSequence": codes.cid4009}
    for name in ("pa", "ap", "ll", "rl", "lao", "rao", "lpo", "rpo"):
        dataset = written(tmp_path, placed(name))
        for keyword, group in groups.items():
            known = {
                (c.value, c.scheme_designator): c.meaning
                for c in map(group.__getattr__, group.dir())
            }
            item = dataset[keyword][0]
            assert known[item.CodeValue, item.CodingSchemeDesignator] == item.CodeMeaning


def test_a_view_that_has_no_name_gets_none(tmp_path: Path) -> None:
    dataset = written(tmp_path, placed("20,15"))
    assert "ViewPosition" not in dataset
    assert "ViewCodeSequence" not in dataset
    assert dataset.PositionerPrimaryAngle == pytest.approx(20)
    assert dataset.PositionerSecondaryAngle == pytest.approx(15)
    assert view_name(placed("5,0")) == ""


def test_a_parallel_beam_has_no_distance(tmp_path: Path) -> None:
    dataset = written(tmp_path, placed("ll", source_to_detector_distance=math.inf))
    assert "DistanceSourceToDetector" not in dataset
    assert dataset.ViewPosition == "LL"


@pytest.mark.parametrize(
    ("direction", "letters"),
    [
        ((1, 0, 0), "L"),
        ((-2, 0, 0), "R"),
        ((0, 0.4, 0), "P"),
        ((0, 0, -1), "F"),
        ((1, -2, 0), "AL"),
        ((-1, 2, 3), "HPR"),
        ((1, 1e-5, -1e-5), "L"),
        ((1, 1 + 1e-14, 0), "LP"),
    ],
)
def test_patient_orientation_letters(direction: tuple[float, ...], letters: str) -> None:
    assert patient_orientation(direction) == letters


def test_decimal_strings_fit_and_have_no_negative_zero() -> None:
    for value in (-1 / 3e4, math.pi * 1e5, -123456.123456789, 1e-12):
        assert len(str(decimal(value))) <= 16
        assert float(decimal(value)) == pytest.approx(value, rel=1e-8, abs=1e-9)
    assert str(decimal(-0.0)) == "0.0"


# ---- both ------------------------------------------------------------------------------------

BOTH = pytest.mark.parametrize("kind", ["dx", "rt-image"])


@BOTH
def test_without_identifiers_nothing_of_the_source_is_left(tmp_path: Path, kind: str) -> None:
    dataset = written(tmp_path, placed("pa"), format=kind)
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex"):
        assert keyword in dataset
        assert str(dataset[keyword].value or "") == ""
    assert dataset.PatientIdentityRemoved == "YES"
    assert dataset.DeidentificationMethod
    assert "FrameOfReferenceUID" not in dataset
    content = (tmp_path / "a.dcm").read_bytes() + (tmp_path / "a.dcm.json").read_bytes()
    for value in IDENTIFIERS.values():
        if len(value) > 1:
            assert value.encode() not in content
    assert all(e.value in ("", None) for e in dataset.iterall() if e.VR in ("DA", "TM", "DT"))


@BOTH
def test_identifiers_are_copied_on_request(tmp_path: Path, kind: str) -> None:
    dataset = written(tmp_path, placed("pa"), format=kind, keep_identifiers=True)
    for keyword, value in IDENTIFIERS.items():
        if keyword == "SeriesInstanceUID":
            assert dataset[keyword].value != value
        else:
            assert str(dataset[keyword].value) == value
    assert dataset.PatientIdentityRemoved == "NO"
    assert dataset.SyntheticData == "YES"


@BOTH
def test_an_identifier_that_is_not_dicom_is_named(tmp_path: Path, kind: str) -> None:
    changes = {"identifiers": {"StudyDate": "yesterday"}}
    with pytest.raises(WriteError, match=r"a\.dcm: the source's StudyDate 'yesterday'"):
        written(tmp_path, placed("pa"), changes=changes, format=kind, keep_identifiers=True)
    assert list(tmp_path.iterdir()) == []


@BOTH
def test_uids_are_new_valid_and_follow_the_image(tmp_path: Path, kind: str) -> None:
    first = written(tmp_path, placed("pa"), format=kind)
    again = written(tmp_path, placed("pa"), format=kind)
    other_view = written(tmp_path, placed("ll"), format=kind)
    marked = written(tmp_path, placed("pa", shape=(300, 300)), format=kind, mark=True)
    other_ct = RECORD | {"input": RECORD["input"] | {"sha256": "cd" * 32}}
    other = written(tmp_path, placed("pa"), changes={"record": other_ct}, format=kind)
    for dataset in (first, other_view, other):
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
            assert UID(dataset[keyword].value).is_valid
            assert dataset[keyword].value.startswith("2.25.")
    assert first.SOPInstanceUID == again.SOPInstanceUID
    assert len({d.SOPInstanceUID for d in (first, other_view, marked, other)}) == 4
    assert first.StudyInstanceUID == other_view.StudyInstanceUID != other.StudyInstanceUID
    assert first.file_meta.MediaStorageSOPInstanceUID == first.SOPInstanceUID


@BOTH
def test_the_record_is_inside(tmp_path: Path, kind: str) -> None:
    dataset = written(tmp_path, placed("pa"), format=kind)
    inside = dataset.private_block(0x0099, "DRR-RATE RECORD")[0x01].value
    assert json.loads(inside) == json.loads((tmp_path / "a.dcm.json").read_text())


@BOTH
def test_the_mark_is_declared(tmp_path: Path, kind: str) -> None:
    dataset = written(tmp_path, placed("pa", shape=(300, 300)), format=kind, mark=True)
    assert dataset.BurnedInAnnotation == "YES"
    corner = dataset.pixel_array[-12:-1, 1:58]
    assert set(np.unique(corner)) == {0, 65535}


@BOTH
def test_skewed_pixels_are_refused(tmp_path: Path, kind: str) -> None:
    skewed = Geometry(
        source=(0, 1000, 0), detector_center=(0, 0, 0), u=(1, 0, 0), v=(0.2, 0, -1), shape=(4, 4)
    )
    with pytest.raises(WriteError, match="not perpendicular"):
        written(tmp_path, skewed, format=kind)
    assert list(tmp_path.iterdir()) == []


@BOTH
@pytest.mark.parametrize("keep", [False, True])
def test_dciodvfy_finds_nothing(tmp_path: Path, kind: str, keep: bool) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian: dicom3tools)")
    for geometry in (placed("pa"), tilted()):
        written(tmp_path, geometry, format=kind, keep_identifiers=keep)
        command = ["dciodvfy", "-new", str(tmp_path / "a.dcm")]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = (found.stdout + found.stderr).splitlines()
        assert any(re.search("DXImageForPresentation|RTImage", line) for line in lines)
        # Synthetic Data (0008,001c) is newer than most copies of the checker.
        errors = [line for line in lines if "Error" in line and "(0008,001c)" not in line]
        assert errors == []


# ---- RT Image --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pa", "ap"])
def test_rt_image_is_the_beams_eye_view(tmp_path: Path, name: str) -> None:
    geometry = placed(name)
    dataset = written(tmp_path, geometry, format="rt-image")
    assert list(dataset.ImageType) == ["DERIVED", "SECONDARY", "DRR"]
    assert dataset.RTImagePlane == "NORMAL"
    expected = expected_pixels(geometry)
    # From behind, a PA beam sees the patient's right on the image's right.
    if name == "pa":
        expected = expected[:, ::-1]
    np.testing.assert_array_equal(dataset.pixel_array, expected)
    assert list(dataset.PatientOrientation) == (["R", "F"] if name == "pa" else ["L", "F"])
    by_itk = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "a.dcm")))[0]
    np.testing.assert_array_equal(by_itk, expected)


# Supine, head first, IEC 61217: gantry 0 irradiates from the front, 90 from the patient's left.
@pytest.mark.parametrize(
    ("name", "gantry"), [("ap", 0), ("rl", 90), ("pa", 180), ("ll", 270), ("lao30", 210)]
)
def test_gantry_angles_of_the_named_views(tmp_path: Path, name: str, gantry: float) -> None:
    dataset = written(tmp_path, placed(name), format="rt-image")
    assert dataset.GantryAngle == pytest.approx(gantry, abs=1e-6)
    assert dataset.PatientSupportAngle == 0
    assert dataset.XRayImageReceptorAngle == 0
    assert dataset.PatientPosition == "HFS"


@pytest.mark.parametrize(
    "geometry",
    [
        placed("pa"),
        placed("ap-portable"),
        placed("ll", source_to_isocenter_distance=1500.0),
        placed("20,15"),
        placed("0,90"),
        placed("-140,-35", detector_rotation=25.0),
        tilted(),
        tilted(mirrored=True),
    ],
    ids=["pa", "ap", "ll", "oblique", "axial", "rotated", "tilted", "mirrored"],
)
def test_attributes_put_every_pixel_where_it_was(tmp_path: Path, geometry: Geometry) -> None:
    """The chain of IEC 61217 systems, from nothing but what the file says."""
    dataset = written(tmp_path, geometry, format="rt-image")
    row_spacing, column_spacing = map(float, dataset.ImagePlanePixelSpacing)
    x0, y0 = map(float, dataset.RTImagePosition)
    row, column = np.indices(geometry.shape)
    receptor = np.stack(
        [x0 + column * column_spacing, y0 - row * row_spacing, np.zeros(geometry.shape)], axis=-1
    )
    translation = np.array(dataset.XRayImageReceptorTranslation, float)
    gantry = receptor @ about_z(dataset.XRayImageReceptorAngle).T + translation
    assert translation[2] == pytest.approx(dataset.RadiationMachineSAD - dataset.RTImageSID)

    def to_lps(in_gantry: Any) -> Any:
        fixed = in_gantry @ about_y(dataset.GantryAngle).T
        x, y, z = np.moveaxis(fixed @ about_z(dataset.PatientSupportAngle), -1, 0)
        return np.stack([x, -z, y], axis=-1) + np.array(dataset.IsocenterPosition, float)

    centers = geometry.pixel_centers()
    if geometry.viewed_from == "detector":
        centers = centers[:, ::-1]
    np.testing.assert_allclose(to_lps(gantry), centers, atol=1e-5)
    source = to_lps(np.array([0.0, 0.0, float(dataset.RadiationMachineSAD)]))
    np.testing.assert_allclose(source, geometry.source, atol=1e-5)


def about_z(degrees: Any) -> Any:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def about_y(degrees: Any) -> Any:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def test_isocentre_is_that_of_the_view(tmp_path: Path) -> None:
    view = View(name="ap", primary_angle=180, viewed_from="tube", source_to_isocenter_distance=1000)
    geometry = view.place(Cylinder())
    changes = {"record": RECORD | {"view": view.to_dict()}}
    dataset = written(tmp_path, geometry, changes=changes, format="rt-image")
    assert dataset.RadiationMachineSAD == 1000
    assert dataset.RTImageSID == 1800
    assert dataset.IsocenterPosition == pytest.approx(Cylinder.thorax_center)
    without = machine_for(geometry)
    assert without.source_to_axis_distance == without.source_to_image_distance


def test_a_parallel_beam_is_no_rt_image(tmp_path: Path) -> None:
    geometry = placed("pa", source_to_detector_distance=math.inf)
    with pytest.raises(WriteError, match=r"a\.dcm: an RT Image needs a cone beam"):
        written(tmp_path, geometry, format="rt-image")
    assert list(tmp_path.iterdir()) == []
