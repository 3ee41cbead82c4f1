"""Small DICOM series that the tests make, and what is asked of reading them."""

from __future__ import annotations

import copy
import locale
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)

import drr
from drr.errors import ReadError

ROWS, COLUMNS, SLICES = 6, 5, 8


AXIAL = [1, 0, 0, 0, 1, 0]


def ct_slice(stored: np.ndarray, position: Any, **attributes: Any) -> Dataset:
    """One CT image; keyword arguments replace or (None) remove attributes."""
    dataset = Dataset()
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID = "1.2.3"
    dataset.SeriesInstanceUID = "1.2.3.4"
    dataset.FrameOfReferenceUID = "1.2.3.9"
    dataset.Modality = "CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.PatientName = "Doe^Jane"
    dataset.PatientID = "SECRET-1"
    dataset.StudyDate = "20200102"
    dataset.SeriesNumber = 4
    dataset.SeriesDescription = "Thorax 1.0 B70f"
    dataset.ImagePositionPatient = [float(p) for p in position]
    dataset.ImageOrientationPatient = AXIAL
    dataset.PixelSpacing = [0.75, 0.5]
    dataset.RescaleSlope = 1
    dataset.RescaleIntercept = -1024
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    dataset.BitsAllocated = stored.dtype.itemsize * 8
    dataset.BitsStored = 12 if stored.dtype == np.uint16 else dataset.BitsAllocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    dataset.PixelData = stored.tobytes()
    for keyword, value in attributes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def write(path: Path, dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset["PixelData"].VR = "OW"
    dataset.save_as(path, enforce_file_format=True)
    return path


def save_series(
    folder: Path,
    pixels: np.ndarray,
    *,
    positions: Any = None,
    prefix: str = "ct",
    edit: Callable[[int, Dataset], None] | None = None,
    syntax: str = ExplicitVRLittleEndian,
    **attributes: Any,
) -> Path:
    """A series in which file order is not slice order."""
    if positions is None:
        positions = [(-10, -20, -300 + 2.5 * k) for k in range(len(pixels))]
    order = np.random.default_rng(0).permutation(len(pixels))
    for name, k in enumerate(order):
        dataset = ct_slice(pixels[k], positions[k], InstanceNumber=int(k) + 1, **attributes)
        if edit:
            edit(int(k), dataset)
        write(folder / f"{prefix}{name:03}.dcm", dataset, syntax)
    return folder


def hu_of(pixels: np.ndarray) -> np.ndarray:
    return (pixels.astype(int) - 1024).astype(np.int16)


def fails(path: Path, match: str, **options: Any) -> None:
    """`drr.read` gives one clear line that names the path."""
    with pytest.raises(ReadError, match=match) as error:
        drr.read(path, **options)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def enhanced(pixels: np.ndarray, positions: Any) -> Dataset:
    """Enhanced CT: plane positions and rescaling per frame, the rest shared."""
    dataset = ct_slice(
        pixels,
        (0, 0, 0),
        SOPClassUID=EnhancedCTImageStorage,
        NumberOfFrames=len(pixels),
        ImagePositionPatient=None,
        ImageOrientationPatient=None,
        PixelSpacing=None,
        RescaleSlope=None,
        RescaleIntercept=None,
    )
    shared, orientation, measures = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = AXIAL
    measures.PixelSpacing = [0.75, 0.5]
    shared.PlaneOrientationSequence = Sequence([orientation])
    shared.PixelMeasuresSequence = Sequence([measures])
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    groups = []
    for k, position in enumerate(positions):
        group, plane, values = Dataset(), Dataset(), Dataset()
        plane.ImagePositionPatient = [float(p) for p in position]
        values.RescaleSlope, values.RescaleIntercept = 1 + k % 2, -1024
        group.PlanePositionSequence = Sequence([plane])
        group.PixelValueTransformationSequence = Sequence([values])
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(groups)
    return dataset


def compress_with_gdcm(path: Path, compressor: str) -> None:
    """Recode a slice in place with SimpleITK, keeping the headers that matter."""
    original = dcmread(path)
    bare = copy.deepcopy(original)
    bare.RescaleIntercept, bare.RescaleSlope = 0, 1
    bare.save_as(path)
    writer = SimpleITK.ImageFileWriter()
    writer.SetFileName(str(path))
    writer.KeepOriginalImageUIDOn()
    writer.UseCompressionOn()
    writer.SetCompressor(compressor)
    characters = locale.setlocale(locale.LC_CTYPE)
    writer.Execute(SimpleITK.ReadImage(str(path), SimpleITK.sitkUInt16))
    # GDCM leaves the process with another one.
    locale.setlocale(locale.LC_CTYPE, characters)
    packed = dcmread(path)
    assert packed.file_meta.TransferSyntaxUID.is_compressed
    original.PixelData = packed.PixelData
    original["PixelData"].is_undefined_length = True
    for keyword in ("BitsStored", "HighBit", "BitsAllocated", "PixelRepresentation"):
        setattr(original, keyword, getattr(packed, keyword))
    original.file_meta.TransferSyntaxUID = packed.file_meta.TransferSyntaxUID
    original.save_as(path)
