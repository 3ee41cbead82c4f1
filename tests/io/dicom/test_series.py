"""Which DICOM files are one volume: objects, patients, lost UIDs, copies, repeats and phases."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import SLICES, ct_slice, enhanced, fails, hu_of, save_series, write
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

import drr
from drr.io.read import series_in

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
POSITIONS = [(-10, -20, -300 + 2.5 * k) for k in range(SLICES)]


@pytest.fixture
def pixels() -> np.ndarray:
    rng = np.random.default_rng(4)
    return rng.integers(0, 4096, (SLICES, 6, 5)).astype(np.uint16)


def notes_of(path: Path, **options: Any) -> str:
    return " ".join(drr.read(path, **options).notes)


def reads(path: Path, pixels: np.ndarray, **options: Any) -> str:
    """`drr.read` gives these slices at their places; returns its notes."""
    volume = drr.read(path, **options)
    np.testing.assert_array_equal(volume.hu, hu_of(pixels))
    np.testing.assert_allclose(volume.affine[:3, 3], POSITIONS[0], atol=1e-6)
    np.testing.assert_allclose(volume.spacing, [0.5, 0.75, 2.5], rtol=1e-4)
    return " ".join(volume.notes)


def bare(modality: str, sop_class: str) -> Dataset:
    """An object without pixels that carries the CT's series UID."""
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = sop_class, generate_uid()
    made.Modality, made.SeriesInstanceUID, made.StudyInstanceUID = modality, "1.2.3.4", "1.2.3"
    made.PatientID, made.SeriesNumber = "SECRET-1", 1
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = sop_class
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    return made


# ---- objects are grouped by what they are --------------------------------------------------------


@pytest.mark.parametrize("name", ["AA.dcm", "zz.dcm"])
@pytest.mark.parametrize(
    ("modality", "sop_class"),
    [
        ("RTSTRUCT", "1.2.840.10008.5.1.4.1.1.481.3"),
        ("SR", "1.2.840.10008.5.1.4.1.1.88.67"),
        ("PR", "1.2.840.10008.5.1.4.1.1.11.1"),
        ("KO", "1.2.840.10008.5.1.4.1.1.88.59"),
        ("CT", "1.2.840.10008.5.1.4.1.1.66"),  # raw data
    ],
)
def test_other_objects_with_the_series_uid(
    tmp_path: Path, pixels: np.ndarray, modality: str, sop_class: str, name: str
) -> None:
    folder = save_series(tmp_path / "scan", pixels)
    bare(modality, sop_class).save_as(folder / name, enforce_file_format=True)
    reads(folder, pixels)
    reads(folder / "ct003.dcm", pixels)
    for choice in (4, "1.2.3.4"):
        reads(folder, pixels, series=choice)


@pytest.mark.parametrize("modality", ["PT", "SEG", "RTDOSE"])
def test_other_images_with_the_series_uid(
    tmp_path: Path, pixels: np.ndarray, modality: str
) -> None:
    folder = save_series(tmp_path / "scan", pixels)
    other = {"Modality": modality, "SOPClassUID": "1.2.840.10008.5.1.4.1.1.128"}
    save_series(folder, pixels[::-1], prefix="aa", **other)
    reads(folder, pixels)
    fails(folder / "aa000.dcm", f"its modality is {modality}")


def test_screenshots_in_the_series(tmp_path: Path, pixels: np.ndarray) -> None:
    """Grey or coloured, marked as such or not, though they carry the position of a slice."""
    folder = save_series(tmp_path / "scan", pixels)
    colour = {
        "SamplesPerPixel": 3,
        "PhotometricInterpretation": "RGB",
        "PlanarConfiguration": 0,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelData": bytes(90),
    }
    pages: list[dict[str, Any]] = [
        {"SOPClassUID": SECONDARY_CAPTURE},
        {"SOPClassUID": SECONDARY_CAPTURE, **colour},
        colour,
        {"ImagePositionPatient": None},
    ]
    for place, page in enumerate(pages):
        write(folder / f"aa{place}.dcm", ct_slice(pixels[2] // 2, POSITIONS[2], **page))
    reads(folder, pixels)


def test_a_secondary_capture_with_positions_is_read_where_it_is_all(
    tmp_path: Path, pixels: np.ndarray
) -> None:
    reads(save_series(tmp_path / "scan", pixels, SOPClassUID=SECONDARY_CAPTURE), pixels)


def test_two_patients_with_one_series_uid(tmp_path: Path, pixels: np.ndarray) -> None:
    save_series(tmp_path / "s" / "a", pixels)
    above = [(x, y, z + 2.5 * SLICES) for x, y, z in POSITIONS]  # which would continue the first
    save_series(tmp_path / "s" / "b", pixels[::-1], positions=above, PatientID="SECRET-2")
    fails(tmp_path / "s", "holds 2 CT series")
    reads(tmp_path / "s" / "a" / "ct000.dcm", pixels)
    reads(tmp_path / "s", pixels, series="#1")


def test_patient_id_removed_from_some_slices(tmp_path: Path, pixels: np.ndarray) -> None:
    def edit(k: int, dataset: Dataset) -> None:
        dataset.PatientID = "" if k % 3 else "SECRET-1"

    reads(save_series(tmp_path / "scan", pixels, edit=edit), pixels)


# ---- lost UIDs, modality and numbers -------------------------------------------------------------


def test_a_series_uid_for_each_slice(tmp_path: Path, pixels: np.ndarray) -> None:
    def edit(k: int, dataset: Dataset) -> None:
        dataset.SeriesInstanceUID = generate_uid()
        dataset.StudyInstanceUID = generate_uid()
        dataset.FrameOfReferenceUID = generate_uid()

    folder = save_series(tmp_path / "scan", pixels, edit=edit)
    note = reads(folder, pixels)
    assert "8 slices without a common series UID were taken as one series" in note
    reads(folder / "ct002.dcm", pixels)
    assert [series.slices for series in series_in(folder)] == [8]


@pytest.mark.parametrize(
    "differs",
    [
        {"SeriesNumber": 5},
        {"SeriesDescription": "Thorax 5.0 B30f"},
        {"ConvolutionKernel": "B70f"},
        {"PatientID": "SECRET-2"},
    ],
)
@pytest.mark.parametrize("uid", ["own", "none"])
def test_slices_that_differ_in_more_than_their_uid(
    tmp_path: Path, pixels: np.ndarray, differs: dict[str, Any], uid: str
) -> None:
    def edit(k: int, dataset: Dataset) -> None:
        dataset.SeriesInstanceUID = generate_uid() if uid == "own" else None

    save_series(tmp_path / "s", pixels, edit=edit)
    save_series(tmp_path / "s", pixels // 2, prefix="other", edit=edit, **differs)
    fails(tmp_path / "s", "holds 2 CT series")
    reads(tmp_path / "s", pixels, series="#1")


def test_a_series_uid_lost_in_some_slices(tmp_path: Path, pixels: np.ndarray) -> None:
    def edit(k: int, dataset: Dataset) -> None:
        if k % 2:
            del dataset.SeriesInstanceUID

    note = reads(save_series(tmp_path / "scan", pixels, edit=edit), pixels)
    assert "without a common series UID" in note


def test_nothing_but_the_picture_left(tmp_path: Path, pixels: np.ndarray) -> None:
    def edit(k: int, dataset: Dataset) -> None:
        lost = "StudyInstanceUID SeriesInstanceUID FrameOfReferenceUID PatientName PatientID"
        for keyword in [*lost.split(), "StudyDate", "SeriesNumber", "SeriesDescription"]:
            delattr(dataset, keyword)

    reads(save_series(tmp_path / "scan", pixels, edit=edit), pixels)


def strip(folder: Path, *keywords: str, keep_class: bool = False) -> Path:
    """The slices without these attributes, and without the class in their meta header."""
    for file in folder.iterdir():
        dataset = dcmread(file)
        for keyword in keywords:
            if keyword in dataset:
                delattr(dataset, keyword)
        if not keep_class:
            dataset.file_meta = FileMetaDataset()
            dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.save_as(file, enforce_file_format=False)
    return folder


@pytest.mark.parametrize("keep_class", [True, False])
def test_modality_and_class_removed(tmp_path: Path, pixels: np.ndarray, keep_class: bool) -> None:
    """CT, since the class in the meta header or an intercept of -1024 says so."""
    folder = save_series(tmp_path / "scan", pixels)
    strip(folder, "Modality", "SOPClassUID", keep_class=keep_class)
    assert "Modality is missing" in reads(folder, pixels)


def test_modality_removed_where_nothing_says_ct(tmp_path: Path, pixels: np.ndarray) -> None:
    folder = save_series(tmp_path / "scan", pixels)
    strip(folder, "Modality", "SOPClassUID", "RescaleIntercept", "RescaleSlope")
    fails(folder, "its modality is missing")


def test_dicomdir_is_named(tmp_path: Path, pixels: np.ndarray) -> None:
    save_series(tmp_path / "cd" / "DICOM" / "S0", pixels[:4], positions=POSITIONS[:4])
    save_series(tmp_path / "cd" / "DICOM" / "S1", pixels[4:], positions=POSITIONS[4:])
    listing = bare("", "1.2.840.10008.1.3.10")
    del listing.SOPClassUID, listing.SOPInstanceUID, listing.Modality, listing.SeriesInstanceUID
    listing.save_as(tmp_path / "cd" / "DICOMDIR", enforce_file_format=True)
    assert "DICOMDIR" in reads(tmp_path / "cd" / "DICOMDIR", pixels)
    assert reads(tmp_path / "cd", pixels) == ""
    assert len(series_in(tmp_path / "cd" / "DICOMDIR")) == 1


def test_img_is_named(tmp_path: Path, pixels: np.ndarray) -> None:
    folder = save_series(tmp_path / "scan", pixels)
    for file in list(folder.iterdir()):
        file.rename(file.with_suffix(".img"))
    reads(folder / "ct004.img", pixels)


def test_two_frames_of_reference_are_said(tmp_path: Path, pixels: np.ndarray) -> None:
    def edit(k: int, dataset: Dataset) -> None:
        dataset.FrameOfReferenceUID = f"1.2.3.{9 + k // 4}"

    folder = save_series(tmp_path / "scan", pixels, edit=edit)
    assert "2 frames of reference" in reads(folder, pixels)


# ---- copies, repeats, phases ---------------------------------------------------------------------


@pytest.mark.parametrize("shared", [2, SLICES])
def test_slices_that_share_an_instance_uid(tmp_path: Path, pixels: np.ndarray, shared: int) -> None:
    """A copy is a file with the same pixels at the same place, whatever its UID."""

    def edit(k: int, dataset: Dataset) -> None:
        dataset.SOPInstanceUID = f"1.2.3.5.{k % (SLICES // shared)}"

    assert reads(save_series(tmp_path / "scan", pixels, edit=edit), pixels) == ""


def test_copies_with_another_encoding(tmp_path: Path, pixels: np.ndarray) -> None:
    folder = save_series(tmp_path / "scan", pixels)
    for file in list(folder.iterdir()):
        write(folder / f"again_{file.name}", dcmread(file), ImplicitVRLittleEndian)
    assert "8 repeated slices were left out." in reads(folder, pixels)


def test_one_repeated_slice_with_other_noise(tmp_path: Path, pixels: np.ndarray) -> None:
    folder = save_series(tmp_path / "scan", pixels, AcquisitionNumber=1)
    again = ct_slice(pixels[3] // 2, POSITIONS[3], AcquisitionNumber=2, InstanceNumber=9)
    write(folder / "a.dcm", again)
    assert "At 1 of 8 positions several slices differ" in reads(folder, pixels)


def phases(folder: Path, pixels: np.ndarray, keyword: str, values: list[Any]) -> Path:
    """A dynamic scan of which each phase is halved once more."""
    for n, value in enumerate(values):

        def edit(k: int, dataset: Dataset, n: int = n, value: Any = value) -> None:
            dataset.InstanceNumber = 1 + k + n * SLICES
            if keyword:
                setattr(dataset, keyword, value)

        save_series(folder, pixels >> n, prefix=f"phase{n}", edit=edit)
    return folder


@pytest.mark.parametrize(
    ("keyword", "values", "told"),
    [
        ("AcquisitionNumber", [3, 4], "acquisition numbers 3, 4"),
        ("TemporalPositionIdentifier", [1, 2, 3], "temporal positions 1, 2, 3"),
        ("NominalPercentageOfCardiacPhase", [40, 75], "cardiac phases 40, 75"),
        ("ConvolutionKernel", ["B30f", "B70f"], "kernels B30f, B70f"),
        ("", ["#1", "#2", "#3"], r"by order #1 to #3"),
    ],
)
def test_a_phase_is_chosen(
    tmp_path: Path, pixels: np.ndarray, keyword: str, values: list[Any], told: str
) -> None:
    folder = phases(tmp_path / "scan", pixels, keyword, values)
    fails(folder, rf"share a position .*{told}.*acquisition= \(--acquisition\)")
    for n, value in enumerate(values):
        assert reads(folder, pixels >> n, acquisition=value) == ""
    fails(folder, "no slice is of acquisition '99'", acquisition=99)


def test_an_acquisition_of_overlapping_ones(tmp_path: Path, pixels: np.ndarray) -> None:
    folder = save_series(tmp_path / "scan", pixels, AcquisitionNumber=1)
    beside = [(x, y, z + 9.5) for x, y, z in POSITIONS]
    save_series(folder, pixels // 2, positions=beside, prefix="two", AcquisitionNumber=2)
    fails(folder, "choose one acquisition")
    reads(folder, pixels, acquisition="1")


def test_phases_of_an_enhanced_file(tmp_path: Path, pixels: np.ndarray) -> None:
    both = np.concatenate([pixels, pixels >> 1])
    dataset = enhanced(both, POSITIONS * 2)
    for k, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        group.PixelValueTransformationSequence[0].RescaleSlope = 1
        group.FrameContentSequence = [Dataset()]
        group.FrameContentSequence[0].TemporalPositionIndex = 1 + k // SLICES
    path = write(tmp_path / "e.dcm", dataset)
    fails(path, "temporal positions 1, 2")
    reads(path, pixels >> 1, acquisition=2)


def test_acquisitions_are_of_dicom(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 4, 4), np.int16))
    fails(tmp_path / "a.npy", "only DICOM has acquisitions", acquisition=1)


# ---- what the values are -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "meaning"), [("MGML", "mg/ml of a material"), ("Z_EFF", "effective atomic numbers")]
)
def test_other_quantities_are_no_hu(
    tmp_path: Path, pixels: np.ndarray, kind: str, meaning: str
) -> None:
    """Whatever the values look like, and if only one slice says so."""

    def one(k: int, dataset: Dataset) -> None:
        dataset.RescaleType = kind if k == 2 else "HU"

    for name, edit in (("all", None), ("one", one)):
        folder = save_series(tmp_path / name, pixels, edit=edit, RescaleType=kind)
        verdict = drr.read(folder).verdict
        assert verdict.kind == "declared"
        assert not verdict.is_hu
        assert f"their rescale type is {kind} ({meaning})" in verdict.summary


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("lost", [["RescaleIntercept"], ["RescaleSlope", "RescaleIntercept"]])
def test_a_slice_that_lost_its_rescale(
    tmp_path: Path, pixels: np.ndarray, lost: list[str], empty: bool
) -> None:
    """It would be 1024 HU brighter than the others."""

    def edit(k: int, dataset: Dataset) -> None:
        for keyword in lost if k == 3 else []:
            if empty:
                setattr(dataset, keyword, None)
            else:
                delattr(dataset, keyword)

    folder = save_series(tmp_path / "scan", pixels, edit=edit)
    fails(folder, "RescaleIntercept .* in some slices and missing in others")


def test_empty_rescale_is_said(tmp_path: Path, pixels: np.ndarray) -> None:
    lost = {"RescaleSlope": "", "RescaleIntercept": ""}
    volume = drr.read(save_series(tmp_path / "scan", pixels, **lost))
    np.testing.assert_array_equal(volume.hu, pixels)
    assert any("no rescale slope" in note for note in volume.notes)


@pytest.mark.parametrize("kind", ["HU", "hu", "US", "", "HU_MOD"])
def test_rescale_types_of_hu(tmp_path: Path, pixels: np.ndarray, kind: str) -> None:
    folder = save_series(tmp_path / "scan", pixels, RescaleType=kind)
    assert reads(folder, pixels) == ""
    assert drr.read(folder).verdict.kind != "declared"


def test_an_unknown_rescale_type_is_said(tmp_path: Path, pixels: np.ndarray) -> None:
    folder = save_series(tmp_path / "scan", pixels, RescaleType="NORMALIZED")
    assert "The rescale type is NORMALIZED, not HU" in reads(folder, pixels)


def test_junk_of_a_mac(tmp_path: Path, pixels: np.ndarray) -> None:
    folder = save_series(tmp_path / "Müller CT", pixels)
    double = b"\0\5\x16\7\0\2\0\0Mac OS X" + bytes(140)
    for file in list(folder.iterdir()):
        (folder / f"._{file.name}").write_bytes(double)
        (folder / "__MACOSX").mkdir(exist_ok=True)
        (folder / "__MACOSX" / f"._{file.name}").write_bytes(double)
    (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1" + bytes(100))
    assert reads(folder, pixels) == ""
    packed = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", folder))
    assert reads(packed, pixels) == ""
