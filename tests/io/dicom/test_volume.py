"""DICOM CT: series, geometry, values, compression, and every way to be broken."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
import threading
import warnings
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from dicom_files import (
    AXIAL,
    COLUMNS,
    ROWS,
    SLICES,
    compress_with_gdcm,
    ct_slice,
    enhanced,
    fails,
    hu_of,
    save_series,
    write,
)
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    generate_uid,
)

import drr
from drr.errors import ReadError
from drr.io.dicom.files import PIXEL_DATA, load_header, pixel_bytes, quiet
from drr.io.packed.containers import Source
from drr.io.read import series_in


def test_series(tmp_path: Path, pixels: np.ndarray) -> None:
    volume = drr.read(save_series(tmp_path / "scan", pixels))
    np.testing.assert_array_equal(volume.hu, hu_of(pixels))
    expected = [[0.5, 0, 0, -10], [0, 0.75, 0, -20], [0, 0, 2.5, -300], [0, 0, 0, 1]]
    np.testing.assert_allclose(volume.affine, expected)
    assert volume.notes == ()


def test_identifiers_stay_apart(tmp_path: Path, pixels: np.ndarray) -> None:
    volume = drr.read(save_series(tmp_path / "scan", pixels))
    assert volume.identifiers["PatientName"] == "Doe^Jane"
    assert volume.identifiers["FrameOfReferenceUID"] == "1.2.3.9"
    assert volume.identifiers["StudyDate"] == "20200102"
    told = " ".join([volume.name, str(volume.verdict), *volume.notes])
    for secret in ("Doe", "SECRET", "1.2.3", "2020"):
        assert secret not in told


@pytest.mark.parametrize("beside", [True, False])
def test_one_file_stands_for_its_series(tmp_path: Path, pixels: np.ndarray, beside: bool) -> None:
    folder = save_series(tmp_path / "scan", pixels)
    if beside:
        save_series(folder, pixels, prefix="other", SeriesInstanceUID="1.2.3.5")
        (folder / "notes.txt").write_text("not DICOM")
    expected = drr.read(save_series(tmp_path / "alone", pixels))
    assert drr.read(folder / "ct003.dcm").sha256 == expected.sha256


def test_zip(tmp_path: Path, pixels: np.ndarray) -> None:
    folder = save_series(tmp_path / "scan", pixels)
    shutil.make_archive(str(tmp_path / "packed"), "zip", folder)
    assert drr.read(tmp_path / "packed.zip").sha256 == drr.read(folder).sha256


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian],
)
def test_native_transfer_syntaxes(tmp_path: Path, pixels: np.ndarray, syntax: str) -> None:
    volume = drr.read(save_series(tmp_path / "scan", pixels, syntax=syntax))
    np.testing.assert_array_equal(volume.hu, hu_of(pixels))


def test_big_endian(tmp_path: Path, pixels: np.ndarray) -> None:
    def swap(k: int, dataset: Dataset) -> None:
        dataset.PixelData = pixels[k].astype(">u2").tobytes()

    volume = drr.read(save_series(tmp_path / "s", pixels, syntax=ExplicitVRBigEndian, edit=swap))
    np.testing.assert_array_equal(volume.hu, hu_of(pixels))


def test_without_preamble(tmp_path: Path, pixels: np.ndarray) -> None:
    folder = save_series(tmp_path / "scan", pixels, syntax=ImplicitVRLittleEndian)
    expected = drr.read(folder).sha256
    for file in folder.iterdir():
        raw = file.read_bytes()
        file.write_bytes(raw[144 + int.from_bytes(raw[140:144], "little") :])
    assert drr.read(folder).sha256 == expected


# ---- values --------------------------------------------------------------------------------------


def test_rescale_per_slice(tmp_path: Path, pixels: np.ndarray) -> None:
    def edit(k: int, dataset: Dataset) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = [(1, -1024), (0.5, -100.25), (2, 7)][k % 3]

    volume = drr.read(save_series(tmp_path / "scan", pixels, edit=edit))
    for k, plane in enumerate(pixels.astype(float)):
        slope, intercept = [(1, -1024), (0.5, -100.25), (2, 7)][k % 3]
        np.testing.assert_array_equal(volume.hu[k], np.rint(plane * slope + intercept))


def test_signed_with_padding(tmp_path: Path, pixels: np.ndarray) -> None:
    signed = hu_of(pixels)
    signed[:, 0, :] = -2000
    folder = save_series(tmp_path / "scan", signed, RescaleIntercept=0, PixelPaddingValue=-2000)
    volume = drr.read(folder)
    np.testing.assert_array_equal(volume.hu, signed)
    assert any("padding value is -2000" in note for note in volume.notes)


def test_bits_above_the_stored_ones_do_not_count(tmp_path: Path, pixels: np.ndarray) -> None:
    folder = save_series(tmp_path / "unsigned", pixels | np.uint16(0xA000))
    np.testing.assert_array_equal(drr.read(folder).hu, hu_of(pixels))
    # 12-bit two's complement, not extended to 16 bits.
    signed = (pixels.astype(int) - 2048).astype(np.int16)
    folder = save_series(
        tmp_path / "signed",
        (signed & 0x0FFF).astype(np.int16),
        BitsStored=12,
        HighBit=11,
        RescaleIntercept=0,
    )
    np.testing.assert_array_equal(drr.read(folder).hu, signed)


def test_negative_padding_in_unsigned_pixels(tmp_path: Path, pixels: np.ndarray) -> None:
    padded = pixels.copy()
    padded[:, :2] = 63536  # -2000 in 16 bits, though 12 are declared
    folder = save_series(tmp_path / "scan", padded, PixelPaddingValue=63536)
    volume = drr.read(folder)
    assert (volume.hu[:, :2] == -3024).all()
    np.testing.assert_array_equal(volume.hu[:, 2:], hu_of(pixels)[:, 2:])


def test_without_rescale(tmp_path: Path, pixels: np.ndarray) -> None:
    volume = drr.read(
        save_series(tmp_path / "scan", pixels, RescaleSlope=None, RescaleIntercept=None)
    )
    np.testing.assert_array_equal(volume.hu, pixels)
    assert any("no rescale slope" in note for note in volume.notes)


def test_eight_bits(tmp_path: Path, pixels: np.ndarray) -> None:
    small = (pixels % 200).astype(np.uint8)
    volume = drr.read(save_series(tmp_path / "scan", small, RescaleIntercept=-100))
    np.testing.assert_array_equal(volume.hu, small.astype(int) - 100)


# ---- geometry ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "orientation",
    [AXIAL, [-1, 0, 0, 0, -1, 0], [1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1], [0, -1, 0, 1, 0, 0]],
    ids=["axial", "prone", "coronal", "sagittal", "turned"],
)
@pytest.mark.parametrize("backwards", [False, True])
def test_equals_simpleitk(
    tmp_path: Path, pixels: np.ndarray, orientation: list[int], backwards: bool
) -> None:
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    normal = np.cross(row, column) * (-1 if backwards else 1)
    folder = save_series(
        tmp_path / "scan",
        pixels,
        positions=[np.array([5.0, 6, 7]) + 2.5 * k * normal for k in range(SLICES)],
        ImageOrientationPatient=orientation,
    )
    volume = drr.read(folder)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    for index in [(0, 0, 0), (COLUMNS - 1, 0, 1), (1, ROWS - 1, SLICES - 1)]:
        point = image.TransformIndexToPhysicalPoint(index)
        place = (volume.world_to_voxel @ [*point, 1])[:3]
        np.testing.assert_allclose(place, np.rint(place), atol=1e-4)
        x, y, z = np.rint(place).astype(int)
        assert volume.hu[z, y, x] == image.GetPixel(index)


def test_gantry_tilt_is_a_shear(tmp_path: Path, pixels: np.ndarray) -> None:
    tilt = np.radians(15)
    column = [0, np.cos(tilt), np.sin(tilt)]
    positions = [(-10, -20, -300 + 2.5 * k) for k in range(SLICES)]  # the table moves along z
    volume = drr.read(
        save_series(
            tmp_path / "scan",
            pixels,
            positions=positions,
            ImageOrientationPatient=[1, 0, 0, *column],
        )
    )
    np.testing.assert_array_equal(volume.hu, hu_of(pixels))
    np.testing.assert_allclose(volume.affine[:3, 1], 0.75 * np.array(column), atol=1e-6)
    np.testing.assert_allclose(volume.affine[:3, 2], [0, 0, 2.5], atol=1e-6)
    assert any("15.0 degrees (gantry tilt)" in note for note in volume.notes)


def test_small_jitter_is_regular(tmp_path: Path, pixels: np.ndarray) -> None:
    # Positions rounded to a tenth of a mm.
    positions = [(-10, -20, round(-300 + 2.56 * k, 1)) for k in range(SLICES)]
    volume = drr.read(save_series(tmp_path / "scan", pixels, positions=positions))
    np.testing.assert_array_equal(volume.hu, hu_of(pixels))
    assert volume.notes == ()


def test_uneven_spacing_is_resampled(tmp_path: Path) -> None:
    # A ramp along z is reproduced exactly by linear interpolation, wherever it was sampled.
    z = np.cumsum([0, 2, 2.9, 2, 2.9, 2, 2, 2.2])
    ramp = np.rint(z * 100).astype(np.uint16)[:, None, None] * np.ones(
        (1, ROWS, COLUMNS), np.uint16
    )
    volume = drr.read(
        save_series(tmp_path / "scan", ramp, positions=[(0, 0, value) for value in z])
    )
    assert any("resampled linearly" in note for note in volume.notes)
    nz = volume.shape[0]
    expected = 100 * volume.spacing[2] * np.arange(nz) - 1024
    assert np.abs(volume.hu[:, 0, 0] - expected).max() <= 0.5 + 1e-6
    np.testing.assert_allclose(volume.spacing[2] * (nz - 1), z[-1])


def test_missing_slices_are_named(tmp_path: Path, pixels: np.ndarray) -> None:
    folder = save_series(tmp_path / "scan", pixels)
    for file in folder.iterdir():
        if dcmread(file).InstanceNumber in (4, 5):
            file.unlink()
    fails(folder, r"about 2 slices are missing: 7.5 mm between slice 3 at .* and slice 6 at ")


def test_damaged_slice_is_named(tmp_path: Path, pixels: np.ndarray) -> None:
    folder = save_series(tmp_path / "scan", pixels)
    middle = next(f for f in folder.iterdir() if dcmread(f).InstanceNumber == 4)
    middle.write_bytes(middle.read_bytes()[:300] + b"\xff" * 60)
    fails(folder, r"missing|damaged|position")


def test_overlapping_acquisitions(tmp_path: Path, pixels: np.ndarray) -> None:
    positions = [(0, 0, z) for z in (0, 2, 4, 6, 8, 8.4, 10.4, 12.4)]
    fails(save_series(tmp_path / "scan", pixels, positions=positions), "slices overlap")


def test_table_shift(tmp_path: Path, pixels: np.ndarray) -> None:
    positions = [(0 if k < 4 else 30, 0, 2.5 * k) for k in range(SLICES)]
    fails(save_series(tmp_path / "scan", pixels, positions=positions), "table shift")


def test_identical_copies_are_dropped(tmp_path: Path, pixels: np.ndarray) -> None:
    folder = save_series(tmp_path / "scan", pixels)
    expected = drr.read(folder).sha256
    shutil.copy(folder / "ct000.dcm", folder / "copy.dcm")  # the same instance
    twin = dcmread(folder / "ct001.dcm")
    twin.SOPInstanceUID = generate_uid()  # another instance of the same slice
    write(folder / "twin.dcm", twin)
    volume = drr.read(folder)
    assert volume.sha256 == expected
    assert len(volume.notes) == 2


def test_phases_in_one_series(tmp_path: Path, pixels: np.ndarray) -> None:
    folder = save_series(tmp_path / "scan", pixels, AcquisitionNumber=1)
    save_series(folder, pixels[::-1], prefix="late", AcquisitionNumber=2)
    fails(folder, r"share a position .* \(acquisition numbers 1, 2\)")


# ---- which series --------------------------------------------------------------------------------


@pytest.fixture
def study(tmp_path: Path, pixels: np.ndarray) -> Path:
    """Two CT volumes, a scout, a dose report and an MR, in one folder tree."""
    folder = tmp_path / "study"
    save_series(folder / "thin", pixels)
    save_series(
        folder / "thick",
        pixels[:4] // 2,
        SeriesInstanceUID="1.2.3.5",
        SeriesNumber=5,
        SeriesDescription="Thorax 5.0 B30f",
    )
    scout = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    save_series(
        folder / "scout",
        pixels[:2],
        SeriesInstanceUID="1.2.3.1",
        SeriesNumber=1,
        ImageType=scout,
        SeriesDescription="Topogram",
    )
    save_series(
        folder / "dose",
        pixels[:1],
        SeriesInstanceUID="1.2.3.6",
        SeriesNumber=501,
        ImagePositionPatient=None,
        SeriesDescription="Dose report",
    )
    save_series(
        folder / "mr",
        pixels,
        SeriesInstanceUID="1.2.3.7",
        SeriesNumber=7,
        Modality="MR",
        SOPClassUID="1.2.840.10008.5.1.4.1.1.4",
        SeriesDescription="T2",
    )
    return folder


def test_several_volumes_are_listed(study: Path) -> None:
    fails(study, r"2 CT series.*#2 'Thorax 1\.0 B70f' \(series 4, CT, 8 slices\); #3 'Thorax 5\.0")


@pytest.mark.parametrize(
    ("name", "slices"),
    [
        ("1.2.3.4", 8),
        ("4", 8),
        (4, 8),
        ("#2", 8),
        ("thorax 1.0 b70f", 8),
        ("b30", 4),
        (5, 4),
        ("#3", 4),
    ],
)
def test_named_series(study: Path, name: str | int, slices: int) -> None:
    assert drr.read(study, series=name).shape[0] == slices


def test_badly_named_series(study: Path) -> None:
    fails(study, "fits 2 series", series="thorax")
    fails(study, "no series 'bone' here; there are #1 'Topogram'", series="bone")
    fails(study, r"'T2' .* MR \(magnetic resonance\)", series=7)
    fails(study, "localizer", series="topogram")
    fails(study, "no position", series=501)


def test_only_volume_is_chosen(study: Path) -> None:
    shutil.rmtree(study / "thick")
    volume = drr.read(study)
    assert volume.shape[0] == SLICES
    assert any("Series 4 was read; 3 other series" in note for note in volume.notes)


def test_original_is_preferred_to_derived(tmp_path: Path, pixels: np.ndarray) -> None:
    save_series(tmp_path / "s" / "a", pixels)
    save_series(
        tmp_path / "s" / "b",
        pixels[:4],
        SeriesInstanceUID="1.2.3.5",
        ImageType=["DERIVED", "SECONDARY", "MPR"],
    )
    assert drr.read(tmp_path / "s").shape[0] == SLICES
    assert drr.read(tmp_path / "s", series="1.2.3.5").shape[0] == 4


def test_series_in(study: Path) -> None:
    found = series_in(study)
    assert [s.number for s in found] == ["1", "4", "5", "7", "501"]
    assert [bool(s.problem) for s in found] == [True, False, False, True, True]


def test_not_ct(study: Path, tmp_path: Path) -> None:
    fails(study / "mr", r"modality is MR \(magnetic resonance\)")
    fails(next((study / "mr").iterdir()), "modality is MR")
    fails(study / "scout", "localizer")


def test_radiograph_is_not_ct(test_data: Path) -> None:
    fails(test_data / "cxr" / "dicom" / "RG1_J2KI.dcm", r"CR \(computed radiography\)")


@pytest.mark.parametrize("modality", ["RTSTRUCT", "RTDOSE", "RTPLAN", "SEG", "PT"])
def test_refused_by_name(tmp_path: Path, pixels: np.ndarray, modality: str) -> None:
    folder = save_series(
        tmp_path / "s", pixels, Modality=modality, SOPClassUID="1.2.840.10008.5.1.4.1.1.481.3"
    )
    fails(folder, rf"modality is {modality} \(")


def test_scouts_within_the_series_are_left_out(tmp_path: Path, pixels: np.ndarray) -> None:
    folder = save_series(tmp_path / "scan", pixels)
    expected = drr.read(folder).sha256
    for marked in (True, False):
        scout = ct_slice(
            np.zeros((12, 7), np.uint16), (0, 0, 0), ImageOrientationPatient=[1, 0, 0, 0, 0, -1]
        )
        if marked:
            scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        write(folder / f"scout{marked}.dcm", scout)
    assert drr.read(folder).sha256 == expected


def test_mixed_orientations(tmp_path: Path, pixels: np.ndarray) -> None:
    folder = save_series(tmp_path / "scan", pixels)
    coronal = {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}
    save_series(folder, pixels, prefix="mpr", positions=[(0, k, 0) for k in range(8)], **coronal)
    fails(folder, "mixes 2 kinds of slices: 8 axial of 5 x 6 at 0.5 mm; 8 coronal")


# ---- enhanced multi-frame ------------------------------------------------------------------------


def test_enhanced(tmp_path: Path, pixels: np.ndarray) -> None:
    order = np.random.default_rng(1).permutation(SLICES)
    dataset = enhanced(pixels[order], [(-10, -20, -300 + 2.5 * k) for k in order])
    path = write(tmp_path / "enhanced.dcm", dataset)
    slopes = np.array([1 + list(order).index(k) % 2 for k in range(SLICES)])
    expected = pixels.astype(int) * slopes[:, None, None] - 1024
    for place in (path, tmp_path):
        volume = drr.read(place)
        np.testing.assert_array_equal(volume.hu, expected)
        np.testing.assert_allclose(volume.spacing, [0.5, 0.75, 2.5])
        assert volume.affine[2, 3] == -300


def test_enhanced_without_positions(tmp_path: Path, pixels: np.ndarray) -> None:
    dataset = enhanced(pixels, [(0, 0, k) for k in range(SLICES)])
    del dataset.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence
    fails(write(tmp_path / "e.dcm", dataset), "frame 4 has no position")
    dataset.PerFrameFunctionalGroupsSequence = Sequence(
        list(dataset.PerFrameFunctionalGroupsSequence)[:5]
    )
    fails(write(tmp_path / "e.dcm", dataset), "describes 5 of its 8 frames")


# ---- compression ---------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", ["folder", "zip"])
@pytest.mark.parametrize("codec", ["RLE", "JPEG", "JPEG2000"])
def test_compressed(
    tmp_path: Path, codec: str, packed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(4)
    pixels = rng.integers(0, 4096, (4, 32, 32)).astype(np.uint16)
    folder = save_series(tmp_path / "scan", pixels)
    for file in folder.iterdir():
        if codec == "RLE":
            dataset = dcmread(file)
            dataset.compress(RLELossless)
            dataset.save_as(file)
        else:
            compress_with_gdcm(file, codec)
    path = folder
    if packed == "zip":
        path = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", folder))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    np.testing.assert_array_equal(drr.read(path).hu, hu_of(pixels))
    assert os.listdir(tmp_path / "temporary") == []


def test_corrupt_compressed_pixels(tmp_path: Path) -> None:
    pixels = np.arange(2 * 32 * 32).reshape(2, 32, 32).astype(np.uint16)
    folder = save_series(tmp_path / "scan", pixels)
    for file in folder.iterdir():
        compress_with_gdcm(file, "JPEG")
    dataset = dcmread(file)
    dataset.PixelData = dataset.PixelData[:40] + bytes(len(dataset.PixelData) - 40)
    dataset.save_as(file)
    fails(folder, "cannot be decoded")


# ---- threads -------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", [AXIAL, [-1, 0, 0, 0, -1, 0], [0, 1, 0, 0, 0, -1]])
def test_any_number_of_threads(
    tmp_path: Path, pixels: np.ndarray, orientation: list[float]
) -> None:
    """Supine, prone and sagittal slices, on one thread and on more than there are slices."""
    normal = np.cross(orientation[:3], orientation[3:])
    folder = save_series(
        tmp_path / "ct",
        pixels,
        positions=[2.5 * k * normal for k in range(SLICES)],
        ImageOrientationPatient=orientation,
    )
    for threads in (1, 2, 20):
        volume = drr.read(folder, threads=threads)
        np.testing.assert_array_equal(volume.stored_order(), hu_of(pixels))
        assert volume.sha256 == drr.Volume(hu=volume.hu, affine=volume.affine).sha256


@pytest.mark.parametrize("threads", [1, 2, 20])
def test_frames_of_one_file_on_threads(tmp_path: Path, threads: int) -> None:
    pixels = np.random.default_rng(4).integers(0, 4096, (9, 32, 32)).astype(np.uint16)
    dataset = enhanced(pixels, [(0, 0, 2.5 * k) for k in range(len(pixels))])
    expected = pixels.astype(int) * (1 + np.arange(9) % 2)[:, None, None] - 1024
    path = write(tmp_path / "native.dcm", dataset)
    np.testing.assert_array_equal(drr.read(path, threads=threads).hu, expected)
    dataset.compress(RLELossless)
    (tmp_path / "packed").mkdir()
    dataset.save_as(tmp_path / "packed" / "rle.dcm")
    volume = drr.read(tmp_path / "packed" / "rle.dcm", threads=threads)
    np.testing.assert_array_equal(volume.hu, expected)


@pytest.mark.parametrize("packed", ["folder", "zip", "frames"])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_plain_pixels_are_read_where_they_lie(
    tmp_path: Path, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch, syntax: str, packed: str
) -> None:
    """Without parsing a file again."""
    path = tmp_path / "ct"
    if packed == "frames":
        dataset = enhanced(pixels, [(0, 0, 2.5 * k) for k in range(SLICES)])
        write(path / "enhanced.dcm", dataset, syntax)
    else:
        save_series(path, pixels, syntax=syntax)
    if packed == "zip":
        path = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", path))
    expected = drr.read(path).sha256

    def parse(*_: object, **__: object) -> None:
        raise AssertionError("parsed twice")

    monkeypatch.setattr("drr.io.dicom.hu.load", parse)
    assert drr.read(path).sha256 == expected
    monkeypatch.undo()
    monkeypatch.setattr("drr.io.dicom.hu.pixel_bytes", lambda *_, **__: None)
    assert drr.read(path).sha256 == expected


@pytest.mark.parametrize(
    ("at", "change"), [(0, b"\xe1"), (4, b"UN"), (6, b"\x01"), (8, b"\xff\xff\xff\xff")]
)
def test_odd_pixel_elements_are_left_to_the_parser(
    tmp_path: Path, pixels: np.ndarray, at: int, change: bytes
) -> None:
    path = write(tmp_path / "ct.dcm", ct_slice(pixels[0], (0, 0, 0)))
    raw = bytearray(path.read_bytes())
    start = raw.rindex(PIXEL_DATA)
    source = Source("ct.dcm", lambda: path.open("rb"))
    dataset, found = load_header(source, limit=1 << 20) or (Dataset(), -1)
    assert found == start
    assert pixel_bytes(source, dataset, start, limit=1 << 20) == pixels[0].tobytes()
    assert pixel_bytes(source, dataset, start, limit=10) is None
    assert pixel_bytes(source, dataset, -1, limit=1 << 20) is None
    raw[start + at : start + at + len(change)] = change
    path.write_bytes(raw)
    assert pixel_bytes(source, dataset, start, limit=1 << 33) is None
    path.write_bytes(raw[:-1])
    assert pixel_bytes(source, dataset, start, limit=1 << 33) is None
    path.unlink()
    assert pixel_bytes(source, dataset, start, limit=1 << 33) is None


def test_settings_of_the_process_are_put_back(tmp_path: Path, pixels: np.ndarray) -> None:
    """Warnings and pydicom's settings, whichever of several reading threads ends last."""
    folder = save_series(tmp_path / "ct", pixels)
    filters, mode = list(warnings.filters), pydicom.config.settings.reading_validation_mode
    with ThreadPoolExecutor(4) as pool:
        digests = {volume.sha256 for volume in pool.map(drr.read, [folder] * 12)}
    assert len(digests) == 1
    assert list(warnings.filters) == filters
    assert pydicom.config.settings.reading_validation_mode == mode


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_of_a_reading_process_can_read(tmp_path: Path, pixels: np.ndarray) -> None:
    """Forked while another thread keeps pydicom quiet."""
    folder = save_series(tmp_path / "ct", pixels)
    expected = drr.read(folder).sha256
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with quiet():
            inside.set()
            leave.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait(60)
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            status = 0 if drr.read(folder).sha256 == expected else 2
        os._exit(status)
    leave.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# ---- bad input -----------------------------------------------------------------------------------


def test_single_slice(tmp_path: Path, pixels: np.ndarray) -> None:
    fails(save_series(tmp_path / "scan", pixels[:1]), "single slice")
    fails(tmp_path / "scan" / "ct000.dcm", "single slice")


def test_truncated_slice(tmp_path: Path, pixels: np.ndarray) -> None:
    folder = save_series(tmp_path / "scan", pixels)
    file = folder / "ct002.dcm"
    file.write_bytes(file.read_bytes()[:-20])
    fails(folder, r"ct002\.dcm: .*truncated")


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"PixelSpacing": [0, 1]}, "must be positive"),
        ({"PixelSpacing": [-1, 1]}, "must be positive"),
        ({"PixelSpacing": None}, "PixelSpacing is missing"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "perpendicular"),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "perpendicular"),
        ({"ImageOrientationPatient": None}, "no slice of the series has a position"),
        ({"ImagePositionPatient": [0, 0]}, "3 numbers"),
        ({"RescaleSlope": 0}, "slope 0"),
        ({"RescaleSlope": 100}, "do not fit int16"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "RGB"),
        ({"BitsAllocated": 64, "BitsStored": 64, "HighBit": 63}, "is not CT"),
        ({"HighBit": 16}, "correct BitsStored and HighBit"),
        ({"PixelData": b"12"}, "2 of 60 bytes"),
        ({"Rows": 60000, "Columns": 60000}, "beyond the limit"),
    ],
)
def test_bad_attributes(
    tmp_path: Path, pixels: np.ndarray, attributes: dict[str, Any], message: str
) -> None:
    fails(save_series(tmp_path / "scan", pixels, **attributes), message)


def test_same_position_everywhere(tmp_path: Path, pixels: np.ndarray) -> None:
    folder = save_series(tmp_path / "scan", pixels, positions=[(0, 0, 0)] * SLICES)
    fails(folder, "share a position")


def test_no_dicom(tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    fails(folder, "holds no files")
    (folder / "notes.txt").write_text("hello")
    fails(folder, "holds no DICOM among its 1 files")
    (folder / "scan.nii.gz").write_bytes(b"x")
    fails(folder, r"to read scan\.nii\.gz in it")


def test_zip_bomb(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for k in range(4):
            archive.writestr(f"{k}.dcm", bytes(1 << 20))
    fails(path, "unpacks to 4 files and 4 MiB, beyond the limit", max_bytes=1 << 21)
    fails(path, "holds no DICOM")


def test_deflated_bomb(tmp_path: Path, pixels: np.ndarray) -> None:
    folder = save_series(tmp_path / "s", pixels[:2], syntax=DeflatedExplicitVRLittleEndian)
    file = folder / "ct000.dcm"
    raw = file.read_bytes()
    start = 144 + int.from_bytes(raw[140:144], "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = zlib.decompress(raw[start:], -15) + bytes(1 << 25)
    file.write_bytes(raw[:start] + packer.compress(body) + packer.flush())
    fails(file, "expands beyond 16 MiB", max_bytes=1 << 24)


@pytest.mark.parametrize("keep", [2, 30, 2000])
def test_broken_zip(tmp_path: Path, pixels: np.ndarray, keep: int) -> None:
    folder = save_series(tmp_path / "scan", pixels)
    path = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", folder))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ReadError, match=r"packed\.zip"):
        drr.read(path)


def test_encrypted_zip(tmp_path: Path, pixels: np.ndarray) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.dcm", b"x" * 200)
    raw = bytearray(buffer.getvalue())
    raw[6] |= 1
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(bytes(raw))
    fails(tmp_path / "locked.zip", "encrypted")


def complaint_about(path: Path) -> str | None:
    """What `drr.read` says, or None if it can read the file."""
    try:
        drr.read(path)
    except ReadError as error:
        return str(error)
    return None


def test_damaged_headers_never_escape(tmp_path: Path, pixels: np.ndarray) -> None:
    """Random damage to slices gives a volume or one clear line, nothing else."""
    folder = save_series(tmp_path / "scan", pixels[:3])
    file = folder / "ct001.dcm"
    good = file.read_bytes()
    rng = np.random.default_rng(6)
    for _ in range(200):
        raw = bytearray(good)
        for at in rng.integers(132, len(raw) - 60, 8):
            raw[at] = rng.integers(256)
        file.write_bytes(bytes(raw))
        for path in (folder, file):
            complaint = complaint_about(path)
            assert complaint is None or (str(folder) in complaint and "\n" not in complaint)


def test_lung_dx_equals_simpleitk(test_data: Path, tmp_path: Path) -> None:
    path = test_data / "ct" / "lung_dx_a0001" / "a0001_5mm_kernelB_dicom.zip"
    volume = drr.read(path)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    image = reader.Execute()
    np.testing.assert_array_equal(volume.hu, SimpleITK.GetArrayViewFromImage(image))
    np.testing.assert_allclose(volume.affine[:3, 3], image.GetOrigin(), atol=1e-5)
    np.testing.assert_allclose(volume.spacing, image.GetSpacing(), rtol=1e-6)
    assert volume.verdict.kind == "hu"
    assert drr.read(tmp_path / "1-07.dcm").sha256 == volume.sha256


def test_a_file_that_says_it_is_no_hu(tmp_path: Path, pixels: np.ndarray) -> None:
    volume = drr.read(save_series(tmp_path / "scan", pixels, RescaleType="MGML"))
    assert volume.verdict.kind == "declared"
    assert "MGML" in volume.verdict.doubt
    for kind in ("HU", "US", "HU_MOD"):
        other = drr.read(save_series(tmp_path / kind, pixels, RescaleType=kind))
        assert other.verdict.kind != "declared"


@pytest.mark.parametrize("stored", [63536, 65535])
def test_unsigned_padding_beyond_int16(tmp_path: Path, stored: int) -> None:
    values = np.random.default_rng(0).integers(900, 1100, (6, 32, 32)).astype(np.uint16)
    values[:, :3] = stored
    folder = save_series(
        tmp_path / "scan", values, BitsAllocated=16, BitsStored=16, HighBit=15, Rows=32, Columns=32
    )
    volume = drr.read(folder)
    assert (volume.hu[:, :3] == stored - 65536 - 1024).all()
    np.testing.assert_array_equal(volume.hu[:, 3:], hu_of(values[:, 3:]))
    assert any("taken for padding" in note for note in volume.notes)


def test_metal_beyond_int16(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(90, 110, (6, 32, 32)).astype(np.uint16)
    values[3, 10, 10:13] = 5500
    volume = drr.read(
        save_series(
            tmp_path / "scan",
            values,
            BitsAllocated=16,
            BitsStored=16,
            HighBit=15,
            Rows=32,
            Columns=32,
            RescaleSlope=10,
            RescaleIntercept=-1024,
        )
    )
    assert (volume.hu[3, 10, 10:13] == 32767).all()
    assert any("3 voxels of up to 53976 HU, metal" in note for note in volume.notes)
