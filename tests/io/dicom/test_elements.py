"""Values of DICOM elements: numbers as DICOM writes them, and whatever damage makes of them."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import SLICES, enhanced, fails, hu_of, save_series, write
from pydicom import Dataset, dcmread

import drr
from drr.io.dicom.numbers import number


@pytest.mark.parametrize(
    ("value", "expected"),
    [(" -1.5e2 \0", -150.0), ("1.", 1.0), ("+.5", 0.5), ("0,75", 0.75), (3, 3.0), (b"1.5 ", 1.5)],
)
def test_numbers(value: Any, expected: float) -> None:
    assert number(value) == expected


@pytest.mark.parametrize(
    "value",
    ["-1_309.5", "inf", "nan", "0x10", "1e", "", "\u0661", "9" * 400, b"1\xff", [None], [[1]]],
)
def test_what_is_no_number(value: Any) -> None:
    assert number(value) is None


def rewritten(folder: Path, keyword: str, vr: str, value: Any) -> Path:
    """Every slice with one element of another value representation."""
    for file in folder.iterdir():
        dataset = dcmread(file)
        tag = dataset[keyword].tag
        del dataset[tag]
        dataset.add_new(tag, vr, value)
        dataset.save_as(file)
    return folder


@pytest.mark.parametrize(
    ("keyword", "vr", "value"),
    [
        ("PixelSpacing", "UT", "0.75\\0.5"),
        ("PixelSpacing", "FD", [0.75, 0.5]),
        ("PixelSpacing", "UN", b"0.75\\0.5"),
        ("RescaleIntercept", "LO", "-1024"),
        ("RescaleIntercept", "SS", -1024),
        ("RescaleSlope", "UN", b"1 "),
        ("Rows", "IS", "6"),
    ],
)
def test_other_value_representations_of_the_same_numbers(
    tmp_path: Path, pixels: np.ndarray, keyword: str, vr: str, value: Any
) -> None:
    volume = drr.read(rewritten(save_series(tmp_path / "scan", pixels), keyword, vr, value))
    np.testing.assert_array_equal(volume.hu, hu_of(pixels))
    np.testing.assert_allclose(volume.spacing, [0.5, 0.75, 2.5])


@pytest.mark.parametrize(
    ("keyword", "vr", "value", "message"),
    [
        ("RescaleIntercept", "UT", "-1_024", "RescaleIntercept holds what is no number"),
        ("RescaleIntercept", "UN", b"-1_024", "RescaleIntercept holds what is no number"),
        ("RescaleIntercept", "UT", "-10x4", "RescaleIntercept holds what is no number"),
        ("RescaleSlope", "UT", "1.0.0", "RescaleSlope holds what is no number"),
        ("PixelSpacing", "OB", b"\0\x01", "PixelSpacing holds what is no number"),
        ("ImagePositionPatient", "UT", "1\\2\\inf", "ImagePositionPatient holds"),
        ("ImagePositionPatient", "SQ", [Dataset()], "ImagePositionPatient holds"),
        ("Rows", "DS", "12.9", "Rows is '12.9', not a whole number"),
        ("Rows", "IS", "1_2", "Rows is '1_2', not a whole number"),
        ("Columns", "SQ", [Dataset()], "not a whole number"),
        ("BitsStored", "UT", "twelve", "BitsStored is 'twelve'"),
        ("BitsAllocated", "US", [16, 16], "BitsAllocated is"),
        ("PixelData", "UT", "no pixels", "value representation UT, which is not for pixels"),
        ("PixelData", "SQ", [Dataset()], "value representation SQ"),
    ],
)
def test_damaged_elements_are_named(
    tmp_path: Path, pixels: np.ndarray, keyword: str, vr: str, value: Any, message: str
) -> None:
    folder = save_series(tmp_path / "scan", pixels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rewritten(folder, keyword, vr, value)
    fails(folder, message)


def test_no_default_for_a_damaged_number_in_one_slice(tmp_path: Path, pixels: np.ndarray) -> None:
    folder = save_series(tmp_path / "scan", pixels)
    file = folder / "ct003.dcm"
    data = file.read_bytes()
    assert b"-1024" in data
    file.write_bytes(data.replace(b"-1024", b"-1_24"))
    fails(folder, r"ct003\.dcm: RescaleIntercept holds what is no number \('-1_24")


@pytest.mark.parametrize(
    "keyword",
    [
        "SharedFunctionalGroupsSequence",
        "PerFrameFunctionalGroupsSequence",
        "PlanePositionSequence",
        "PixelValueTransformationSequence",
        "CTImageFrameTypeSequence",
    ],
)
@pytest.mark.parametrize(("vr", "value"), [("UT", "no sequence"), ("OB", b"\1\2"), ("US", 4)])
def test_sequences_that_are_none(
    tmp_path: Path, pixels: np.ndarray, keyword: str, vr: str, value: Any
) -> None:
    dataset = enhanced(pixels, [(0, 0, k) for k in range(SLICES)])
    place = dataset if keyword in dataset else dataset.PerFrameFunctionalGroupsSequence[2]
    if keyword in place:
        del place[keyword]
    place.add_new(keyword, vr, value)
    fails(write(tmp_path / "e.dcm", dataset), f"{keyword} is no sequence but {vr}")


def test_an_image_type_that_is_no_text(tmp_path: Path, pixels: np.ndarray) -> None:
    folder = rewritten(save_series(tmp_path / "scan", pixels), "ImageType", "US", 5)
    np.testing.assert_array_equal(drr.read(folder).hu, hu_of(pixels))


def test_rubbish_after_the_pixels_is_not_read(tmp_path: Path, pixels: np.ndarray) -> None:
    folder = save_series(tmp_path / "scan", pixels)
    shutil.copytree(folder, tmp_path / "padded")
    for file in (tmp_path / "padded").iterdir():
        file.write_bytes(file.read_bytes() + b"\xfc\xff\xfc\xffOB" + b"\xee" * 500)
    assert drr.read(tmp_path / "padded").sha256 == drr.read(folder).sha256
