"""Where slices lie by their headers: removed and rounded attributes, shifts, odd numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import SLICES, ct_slice, fails, hu_of, save_series, write
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ImplicitVRLittleEndian

import drr

ROWS, COLUMNS = 40, 50
FIELD = (30.0, 25.0)  # mm, to the first pixel of a field whose middle is at 0


@pytest.fixture
def pixels() -> np.ndarray:
    """`(8, 40, 50)`, smooth, so that parts of a pixel can be judged."""
    z, y, x = np.mgrid[:SLICES, :ROWS, :COLUMNS]
    return (900 + 5 * z + 20 * y + 10 * x).astype(np.uint16)


def place(x: float, y: float, k: int) -> tuple[float, float, float]:
    return x, y, -300 + 2.5 * k


# ---- orientation ---------------------------------------------------------------------------------


def without_orientation(
    folder: Path, pixels: np.ndarray, stance: str, signs: tuple[int, int], **more: Any
) -> Path:
    """Slices of a patient who lies as `stance` says, their rows and columns along x and y."""
    half = np.array([(COLUMNS - 1) * 0.5, (ROWS - 1) * 0.75]) / 2
    x, y = -half * signs + (1.5, -2.0)
    attributes = {"PatientPosition": stance, "ImageOrientationPatient": None, **more}
    positions = [place(x, y, k) for k in range(SLICES)]
    return save_series(folder, pixels, positions=positions, **attributes)


@pytest.mark.parametrize(
    ("stance", "signs"),
    [
        ("HFS", (1, 1)),
        ("HFP", (-1, -1)),
        ("HFP", (1, 1)),
        ("FFS", (-1, 1)),
        ("FFS", (1, 1)),
        ("FFP", (1, -1)),
    ],
)
def test_orientation_that_position_and_first_pixel_settle(
    tmp_path: Path, pixels: np.ndarray, stance: str, signs: tuple[int, int]
) -> None:
    folder = without_orientation(tmp_path / "a", pixels, stance, signs)
    told = without_orientation(
        tmp_path / "b",
        pixels,
        stance,
        signs,
        ImageOrientationPatient=[signs[0], 0, 0, 0, signs[1], 0],
    )
    volume, expected = drr.read(folder), drr.read(told)
    assert volume.sha256 == expected.sha256
    assert any("ImageOrientationPatient is missing" in note for note in volume.notes)


@pytest.mark.parametrize(
    ("stance", "signs", "more"),
    [
        ("HFS", (-1, 1), {}),  # mirrored, or not supine
        ("HFP", (1, -1), {}),
        ("HFDR", (1, 1), {}),  # rows along y
        ("", (1, 1), {}),
        ("HFS", (1, 1), {"GantryDetectorTilt": 12}),
        ("HFS", (1, 1), {"PatientOrientation": ["R", "P"]}),
        ("HFS", (1, 1), {"ImageType": ["DERIVED", "SECONDARY", "MPR"]}),
    ],
)
def test_orientation_that_is_open_is_refused(
    tmp_path: Path, pixels: np.ndarray, stance: str, signs: tuple[int, int], more: dict[str, Any]
) -> None:
    folder = without_orientation(tmp_path / "scan", pixels, stance, signs, **more)
    fails(folder, r"a guess might mirror the patient, .* \(--assume-axial\)")
    assert drr.read(folder, assume_axial=True).orientation == "LPS"


def test_orientation_of_slices_that_are_not_axial_is_refused(
    tmp_path: Path, pixels: np.ndarray
) -> None:
    positions = [(-12.0, 2.5 * k, 15.0) for k in range(SLICES)]
    folder = save_series(
        tmp_path / "scan",
        pixels,
        positions=positions,
        PatientPosition="HFS",
        ImageOrientationPatient=None,
    )
    fails(folder, "a guess might mirror the patient")


def test_orientation_lost_in_some_slices(tmp_path: Path, pixels: np.ndarray) -> None:
    def edit(k: int, dataset: Dataset) -> None:
        if k in (2, 3):
            del dataset.ImageOrientationPatient

    volume = drr.read(save_series(tmp_path / "scan", pixels, edit=edit))
    np.testing.assert_array_equal(volume.hu, hu_of(pixels))
    assert any("of some slices is missing" in note for note in volume.notes)


def test_a_page_with_a_position_takes_no_orientation(tmp_path: Path, pixels: np.ndarray) -> None:
    folder = save_series(tmp_path / "scan", pixels)
    lost = {"ImageOrientationPatient": None, "PixelSpacing": None}
    write(folder / "page.dcm", ct_slice(pixels[0], place(0, 0, 3), **lost))
    volume = drr.read(folder)
    np.testing.assert_array_equal(volume.hu, hu_of(pixels))
    assert any("1 images without a position" in note for note in volume.notes)


def test_slice_location_tells_no_end(tmp_path: Path, pixels: np.ndarray) -> None:
    """It may count from either, so that a guess would mirror."""

    def edit(k: int, dataset: Dataset) -> None:
        dataset.SliceLocation = -300 + 2.5 * k

    lost = save_series(
        tmp_path / "lost",
        pixels,
        edit=edit,
        ImagePositionPatient=None,
        ImageOrientationPatient=None,
    )
    fails(lost, "SliceLocation does not tell which end is the head")
    alike = save_series(tmp_path / "alike", pixels, positions=[(0, 0, 7)] * SLICES, edit=edit)
    fails(alike, "all 8 slices share a position")


def test_last_digits_of_the_orientation(tmp_path: Path, pixels: np.ndarray) -> None:
    rng = np.random.default_rng(0)

    def edit(k: int, dataset: Dataset) -> None:
        dataset.ImageOrientationPatient = [
            f"{v:.5f}" for v in np.array([1, 0, 0, 0, 1, 0]) + rng.normal(0, 2e-4, 6)
        ]

    volume = drr.read(save_series(tmp_path / "scan", pixels, edit=edit))
    np.testing.assert_array_equal(volume.hu, hu_of(pixels))


def test_a_slice_that_is_turned_a_little_is_not_left_out(
    tmp_path: Path, pixels: np.ndarray
) -> None:
    def edit(k: int, dataset: Dataset) -> None:
        if k == SLICES - 1:
            dataset.ImageOrientationPatient = [0.9994, 0.0349, 0, -0.0349, 0.9994, 0]

    fails(save_series(tmp_path / "scan", pixels, edit=edit), "mixes 2 kinds of slices")


# ---- spacing and numbers -------------------------------------------------------------------------


def test_spacing_rounded_in_some_slices(tmp_path: Path, pixels: np.ndarray) -> None:
    def edit(k: int, dataset: Dataset) -> None:
        if k % 5 == 0:
            dataset.PixelSpacing = [0.7515, 0.501]

    volume = drr.read(save_series(tmp_path / "scan", pixels, edit=edit))
    np.testing.assert_array_equal(volume.hu, hu_of(pixels))
    np.testing.assert_allclose(volume.spacing, [0.5, 0.75, 2.5])
    assert any("PixelSpacing differs by up to 0.2 %" in note for note in volume.notes)


def test_two_fields_of_view(tmp_path: Path, pixels: np.ndarray) -> None:
    def edit(k: int, dataset: Dataset) -> None:
        if k > 3:
            dataset.PixelSpacing = [0.765, 0.51]

    fails(save_series(tmp_path / "scan", pixels, edit=edit), "mixes 2 kinds of slices")


def test_spacing_is_one_number(tmp_path: Path, pixels: np.ndarray) -> None:
    volume = drr.read(save_series(tmp_path / "scan", pixels, PixelSpacing=0.6))
    np.testing.assert_allclose(volume.spacing, [0.6, 0.6, 2.5])
    assert any("PixelSpacing is a single number" in note for note in volume.notes)


def test_a_reconstruction_diameter_is_no_spacing(tmp_path: Path, pixels: np.ndarray) -> None:
    folder = save_series(tmp_path / "scan", pixels, PixelSpacing=None, ReconstructionDiameter=30)
    fails(folder, "ReconstructionDiameter of 30 mm is the image's width, write 0.6 into")


def retyped(pixels: np.ndarray, folder: Path, edit: Callable[[Dataset], None]) -> Path:
    """Slices whose attributes are text in the file, with the VR of numbers."""
    for k, plane in enumerate(pixels):
        dataset = ct_slice(plane, place(-10.5, -20.25, k))
        edit(dataset)
        write(folder / f"{k}.dcm", dataset, ImplicitVRLittleEndian)
    return folder


def text_of(dataset: Dataset, keyword: str, form: Callable[[float], str]) -> None:
    element = dataset[keyword]
    values = np.atleast_1d(element.value)
    written = "\\".join(form(float(value)) for value in values)
    dataset.add_new(element.tag, "UT", written)


def test_decimal_commas(tmp_path: Path, pixels: np.ndarray) -> None:
    def edit(dataset: Dataset) -> None:
        for keyword in ("ImagePositionPatient", "PixelSpacing", "ImageOrientationPatient"):
            text_of(dataset, keyword, lambda value: f"{value:.3f}".replace(".", ","))
        text_of(dataset, "RescaleIntercept", lambda value: f"{value:.1f}".replace(".", ","))

    volume = drr.read(retyped(pixels, tmp_path / "scan", edit))
    np.testing.assert_array_equal(volume.hu, hu_of(pixels))
    np.testing.assert_allclose(volume.affine[:3, 3], [-10.5, -20.25, -300])
    np.testing.assert_allclose(volume.spacing, [0.5, 0.75, 2.5])
    assert any("decimal commas" in note for note in volume.notes)


@pytest.mark.parametrize(
    ("keyword", "written", "message"),
    [
        ("RescaleIntercept", "-1,024", "may be thousands or have a decimal comma"),
        ("RescaleIntercept", "-1_024", "holds what is no number"),
        ("PixelSpacing", "0.5 mm\\0.5 mm", "holds what is no number"),
        ("PixelSpacing", "0.5\\0.5\\0.5", "2 numbers are needed"),
        ("ImagePositionPatient", "-1_0\\0\\0", "holds what is no number"),
        ("ImagePositionPatient", "nan\\0\\0", "holds what is no number"),
        ("ImagePositionPatient", "1e999\\0\\0", "holds what is no number"),
    ],
)
def test_what_is_no_number(
    tmp_path: Path, pixels: np.ndarray, keyword: str, written: str, message: str
) -> None:
    def edit(dataset: Dataset) -> None:
        dataset.add_new(dataset[keyword].tag, "UT", written)

    fails(retyped(pixels, tmp_path / "scan", edit), message)


# ---- where slices lie ----------------------------------------------------------------------------


def test_positions_rounded_by_an_archive(tmp_path: Path, pixels: np.ndarray) -> None:
    positions = [(-10, -20, round(-300 + 0.56 * k, 1)) for k in range(SLICES)]
    volume = drr.read(save_series(tmp_path / "scan", pixels, positions=positions))
    np.testing.assert_array_equal(volume.hu, hu_of(pixels))
    assert abs(volume.spacing[2] - 0.56) < 0.02


def test_table_shift_is_honoured(tmp_path: Path, pixels: np.ndarray) -> None:
    """What the second half shows stays where its positions say, though it is no tilt."""
    x = np.where(np.arange(SLICES) < 5, -10.0, -7.75)
    positions = [place(x[k], -20, k) for k in range(SLICES)]
    volume = drr.read(save_series(tmp_path / "scan", pixels, positions=positions))
    np.testing.assert_array_equal(volume.hu[:5], hu_of(pixels)[:5])
    np.testing.assert_allclose(volume.affine[:3, 2], [0, 0, 2.5], atol=1e-9)
    # 2.25 mm to the left is four and a half pixels.
    expected = (hu_of(pixels)[5:, :, :-5].astype(int) + hu_of(pixels)[5:, :, 1:-4]) / 2
    assert np.abs(volume.hu[5:, :, 5:] - expected).max() <= 0.5
    assert any("3 slices lie up to 2.25 mm beside the line" in note for note in volume.notes)
    assert not any("tilt" in note for note in volume.notes)


@pytest.mark.parametrize("threads", [1, 3])
def test_blocks_of_two_spacings(tmp_path: Path, pixels: np.ndarray, threads: int) -> None:
    """The voxels are linear along z as well, so that interpolation is exact."""
    z = np.array([0, 2, 4, 6, 12, 18, 24, 30])
    ramp = np.broadcast_to((1000 + 10 * z)[:, None, None], pixels.shape).astype(np.uint16)
    positions = [(-10, -20, value) for value in z]
    folder = save_series(tmp_path / "scan", ramp, positions=positions)
    volume = drr.read(folder, threads=threads)
    assert volume.shape[0] == 16
    np.testing.assert_array_equal(volume.hu[:, 0, 0], 20 * np.arange(16) - 24)
    assert any("from 2 to 6 mm; 8 slices were resampled" in note for note in volume.notes)
    fails(folder, "beyond the limit", max_bytes=2 * ROWS * COLUMNS * 12)


def test_frames_without_positions(tmp_path: Path, pixels: np.ndarray) -> None:
    stack = ct_slice(pixels, (0, 0, 0), NumberOfFrames=SLICES)
    fails(write(tmp_path / "a.dcm", stack), "8 frames but no position for each of them")
    stack.PerFrameFunctionalGroupsSequence = Sequence([Dataset()])
    fails(write(tmp_path / "a.dcm", stack), "describes 1 of its 8 frames")
