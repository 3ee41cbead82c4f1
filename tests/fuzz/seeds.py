"""Small sound inputs, one a format, from a synthetic chest: each a few kilobytes of files."""

from __future__ import annotations

import bz2
import csv
import functools
import gzip
import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "CT_RATE_TABLES", "DICOM_SYNTAXES", "Files", "cohort", "ct_rate", "data_set", "dicom",
    "document", "films", "gzipped", "metaimage", "nifti", "nrrd", "numpy", "predictions", "record",
    "store", "zipped",
]  # fmt: skip

Files = dict[str, bytes]
SIZE = 16
"""Voxels along each axis of the scans that are only read."""

DICOM_SYNTAXES = {
    "explicit": "1.2.840.10008.1.2.1",
    "implicit": "1.2.840.10008.1.2",
    "deflated": "1.2.840.10008.1.2.1.99",
    "rle": "1.2.840.10008.1.2.5",
    "jpeg": "JPEG",
    "jpeg2000": "JPEG2000",
}


@functools.cache
def chest(size: int = SIZE) -> Any:
    """The synthetic chest as a `drr.Volume` of about `size` voxels along each axis."""
    from drr.datasets.phantom.thorax import thorax

    return thorax(size, seed=1)


def nifti(name: str = "a.nii", *, size: int = SIZE, dtype: str = "i2", version: int = 1) -> Files:
    """A NIfTI file, or a pair where the name ends in `.hdr`; compressed by its suffix."""
    import nibabel

    volume = chest(size)
    kinds = {1: nibabel.Nifti1Image, 2: nibabel.Nifti2Image, 0: nibabel.Nifti1Pair}
    affine = np.diag([-1, -1, 1, 1]) @ volume.affine
    values = volume.hu.transpose(2, 1, 0).astype(np.dtype(dtype).newbyteorder("="))
    image = kinds[version](values, affine)
    image.header.set_xyzt_units("mm")
    if dtype.startswith(">"):
        image = nibabel.Nifti1Image(values, affine, image.header.as_byteswapped(">"))
    with tempfile.TemporaryDirectory() as folder:
        image.to_filename(Path(folder) / name)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def _by_simpleitk(name: str, *, packed: bool) -> Files:
    import SimpleITK

    volume = chest()
    image = SimpleITK.GetImageFromArray(volume.hu)
    image.SetSpacing(volume.spacing.tolist())
    image.SetOrigin(volume.affine[:3, 3].tolist())
    with tempfile.TemporaryDirectory() as folder:
        SimpleITK.WriteImage(image, str(Path(folder) / name), packed)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def metaimage(name: str = "a.mha", *, packed: bool = False, slices: str = "") -> Files:
    """A MetaImage; with `slices` (`list` or `pattern`) one raw file for each slice."""
    files = _by_simpleitk(name, packed=packed)
    if not slices:
        return files
    planes = chest().hu
    raw = {f"s{k:02}.raw": plane.tobytes() for k, plane in enumerate(planes)}
    body = "LIST\n" + "\n".join(raw) if slices == "list" else f"s%02d.raw 0 {len(raw) - 1} 1"
    head = files[name].decode().split("ElementDataFile")[0]
    return {name: f"{head}ElementDataFile = {body}\n".encode(), **raw}


def nrrd(name: str = "a.nrrd", *, encoding: str = "raw") -> Files:
    """A NRRD file whose voxels are raw, gzip, bzip2 or ascii."""
    if name.endswith(".nhdr") or encoding in ("raw", "gzip"):
        return _by_simpleitk(name, packed=encoding == "gzip")
    head, body = _by_simpleitk(name, packed=False)[name].split(b"\n\n", 1)
    packed = bz2.compress(body)
    if encoding == "ascii":
        packed = " ".join(map(str, chest().hu.ravel().tolist())).encode()
    head = head.replace(b"encoding: raw", b"encoding: " + encoding.encode())
    return {name: head + b"\n\n" + packed}


def numpy(name: str = "a.npz", *, packed: bool = False) -> Files:
    """A NumPy array, or an archive of one with its affine."""
    buffer, volume = io.BytesIO(), chest()
    if name.endswith(".npy"):
        np.save(buffer, volume.hu)
    else:
        save = np.savez_compressed if packed else np.savez
        save(buffer, hu=volume.hu, affine=volume.affine)
    return {name: buffer.getvalue()}


def dicom(syntax: str = "explicit") -> Files:
    """Six slices of a CT series in a folder `ct`."""
    from drr.datasets.phantom.thorax import thorax

    volume = thorax(16, seed=1)
    uid = DICOM_SYNTAXES[syntax]
    return {f"ct/{k:02}.dcm": _slice(volume, k, uid) for k in range(len(volume.hu) // 2 - 3, 9)}


def _slice(volume: Any, k: int, uid: str) -> bytes:
    import pydicom
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RLELossless

    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, f"1.2.3.{k + 1}"
    data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.8", "1.2.9"
    data.Modality, data.SeriesNumber, data.InstanceNumber = "CT", 1, k + 1
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.PatientName, data.PatientID = "Doe^Jane", "1"
    data.ImagePositionPatient = [round(float(x), 3) for x in volume.affine[:3] @ (0, 0, k, 1)]
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.PixelSpacing = [round(float(s), 4) for s in volume.spacing[1::-1]]
    data.RescaleSlope, data.RescaleIntercept = 1, -1024
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = volume.hu.shape[1:]
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.PixelRepresentation = 0
    stored = np.ascontiguousarray(volume.hu[k] + 1024, "<u2")
    data.PixelData = stored.tobytes()
    data["PixelData"].VR = "OW"
    data.file_meta = FileMetaDataset()
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if uid == RLELossless:
        data.compress(RLELossless)
    elif uid.startswith("JPEG"):
        packed = _by_gdcm(stored, uid)
        data.file_meta.TransferSyntaxUID = packed.file_meta.TransferSyntaxUID
        data.PixelData = packed.PixelData
        data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
    else:
        data.file_meta.TransferSyntaxUID = uid
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, data, enforce_file_format=True)
    return buffer.getvalue()


def _by_gdcm(stored: Any, codec: str) -> Any:
    """A DICOM file whose pixels GDCM compressed without loss."""
    import pydicom
    import SimpleITK

    image = SimpleITK.GetImageFromArray(stored[None])[:, :, 0]
    writer = SimpleITK.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.UseCompressionOn()
    writer.SetCompressor(codec)
    with tempfile.TemporaryDirectory() as folder:
        writer.SetFileName(str(Path(folder) / "a.dcm"))
        writer.Execute(image)
        return pydicom.dcmread(Path(folder) / "a.dcm")


def zipped(files: Files, name: str = "a.zip") -> Files:
    """The files in one zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return {name: buffer.getvalue()}


def _made_by(arguments: list[str], files: Files, *, keep: Callable[[str], bool]) -> Files:
    """The files that a `drr` command makes of others, chosen by name."""
    import os

    from drr.cli import main

    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        for path, content in files.items():
            (Path(folder) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / path).write_bytes(content)
        try:
            os.chdir(folder)
            main(arguments, standalone_mode=False)
        finally:
            os.chdir(before)
        found = (p for p in Path(folder).rglob("*") if p.is_file())
        names = {path.relative_to(folder).as_posix(): path for path in found}
        return {name: path.read_bytes() for name, path in names.items() if keep(name)}


def record() -> Files:
    """A scan, and the record of a picture of it."""
    scan = nifti("ct.nii", size=16)
    arguments = ["project", "ct.nii", "-o", "x.png", "--pixels", "16", "-q"]
    return scan | _made_by(arguments, scan, keep=lambda name: name.endswith(".json"))


def cohort() -> Files:
    """A table of two scans with labels and a report."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["path", "patient", "split", "sex", "age", "report", "label:Nodule", "kernel"])
    rows.writerow(["a.nii", "one", "train", "M", "61", "A nodule, of 12 mm.", "1", "B30f"])
    rows.writerow(["b.nii", "two", "valid", "F", "058Y", "", "0", ""])
    scan = nifti("a.nii", size=16)["a.nii"]
    return {"cohort.csv": text.getvalue().encode(), "a.nii": scan, "b.nii": scan}


def data_set() -> Files:
    """The file of a data set."""
    arguments = ["build", "cohort.csv", "-o", "set.h5", "--pixels", "16", "--workers", "1", "-q"]
    return _made_by(arguments, cohort(), keep=lambda name: name == "set.h5")


def store() -> Files:
    """A store of prepared scans."""
    arguments = ["prepare", "cohort.csv", "-o", "store", "-q"]
    return _made_by(arguments, cohort(), keep=lambda name: name.startswith("store/"))


def predictions() -> Files:
    """A table of predictions and one of labels, of 40 films of 20 patients."""
    random = np.random.default_rng(0)
    truth = ["image,Patient ID,Patient Gender,Patient Age,View Position,Effusion,Nodule"]
    scores = ["image,Effusion,Nodule"]
    for film in range(40):
        sick = random.integers(0, 2, 2)
        chance = 1 / (1 + np.exp(-random.normal(sick)))
        about = f"{film // 2},{'MF'[film // 2 % 2]},{40 + film // 2},PA"
        truth.append(f"{film:03}.png,{about},{sick[0]},{sick[1]}")
        scores.append(f"{film:03}.png,{chance[0]:.4f},{chance[1]:.4f}")
    return {"p.csv": "\n".join(scores).encode(), "t.csv": "\n".join(truth).encode()}


CT_RATE_TABLES = (
    "ct-rate/multi_abnormality_labels/train_predicted_labels.csv",
    "ct-rate/radiology_text_reports/train_reports.csv",
    "ct-rate/metadata/train_metadata.csv",
)


@functools.cache
def ct_rate() -> Files:
    """Two scans in CT-RATE's folders, with its tables of labels, reports and metadata."""
    from drr.cli import main

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "ct-rate"
        options = ["-o", str(root), "--size", "32", "-q"]
        main(["phantom-cohort", "2", *options], standalone_mode=False)
        found = (path for path in root.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def films() -> Files:
    """Films as PNG, JPEG and DICOM in a folder, with a table as NIH's."""
    from PIL import Image

    table = "Image Index,Finding Labels,Patient ID,Patient Age,Patient Gender,View Position\n"
    rows = ("a.png,Effusion|Nodule,1,50,M,PA", "b.jpg,No Finding,2,60,F,AP", "c.dcm,Edema,3,1,F,PA")
    made = {"films/labels.csv": (table + "\n".join(rows) + "\n").encode()}
    for name, kind in (("a.png", "PNG"), ("b.jpg", "JPEG")):
        buffer = io.BytesIO()
        levels = np.random.default_rng(0).integers(0, 255, (24, 20), np.uint8)
        Image.fromarray(levels).save(buffer, kind)
        made[f"films/{name}"] = buffer.getvalue()
    made["films/c.dcm"] = dicom()["ct/07.dcm"]
    return made


def gzipped(files: Files) -> Files:
    """Each file compressed, under its name with `.gz`."""
    return {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in files.items()}


def document(name: str, value: Any, **others: bytes) -> Files:
    """A JSON document, and other files."""
    return {name: json.dumps(value).encode(), **others}
