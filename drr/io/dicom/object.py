"""What the DICOM images have in common: patient, study, equipment, pixels, provenance.

Attribute types and meanings are those of DICOM PS3.3. Attributes of type 2 are present and empty
when nothing may be said; dates and times are never invented.
"""

from __future__ import annotations

import hashlib
import io
import uuid
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drr.errors import WriteError
from drr.geometry.geometry import Geometry

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from drr.radiograph import Projection

__all__ = ["decimal", "encode_dataset", "new_image", "new_uid", "patient_orientation"]

# Of this project alone: UIDs are name-based UUIDs (RFC 9562 version 5) under the arc 2.25.
UID_NAMESPACE = uuid.UUID("c1f6f3a1-7d0a-4d0b-9a51-5e0c3b0d8b57")
PRIVATE_GROUP = 0x0099
PRIVATE_CREATOR = "DRR-RATE RECORD"

_PATIENT = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
_STUDY = ("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName")
# Copied with keep_identifiers where the source has them. The source's own series and image UIDs
# are not: this is another image in another series.
_KEPT = (
    *_PATIENT,
    *_STUDY,
    "IssuerOfPatientID",
    "OtherPatientIDs",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "StudyDescription",
    "StudyInstanceUID",
    "InstitutionName",
    "FrameOfReferenceUID",
)


def new_image(
    projection: Projection,
    pixels: NDArray[np.uint16],
    *,
    sop_class: str,
    modality: str,
    marked: bool,
    record: str,
    keep_identifiers: bool,
) -> Dataset:
    """Data set with every module that the image objects share.

    Patient, General Study, General Series, General Equipment, General Image, Image Pixel, VOI LUT,
    SOP Common, and the JSON record as private UT (0099,xx01).

    Parameters
    ----------
    projection
        Its record, geometry and identifiers are used.
    pixels
        `(rows, columns)` uint16, as they are stored.
    sop_class, modality
        SOP Class UID and Modality (0008,0060).
    marked
        Whether the visible mark is burned in.
    record
        The JSON record's text.
    keep_identifiers
        Copy what `projection.identifiers` says of patient and study.

    Raises
    ------
    WriteError
        When the detector's pixels are not rectangles, which DICOM cannot express.
    """
    from pydicom.dataset import Dataset

    from drr import __version__

    _refuse_skew(projection.geometry)
    made_from = projection.record
    digest = hashlib.sha256(np.ascontiguousarray(pixels, "<u2").tobytes()).hexdigest()
    image_uid = new_uid("image", sop_class, digest, record)

    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    for keyword in (*_PATIENT, *_STUDY):
        setattr(dataset, keyword, "")
    dataset.StudyInstanceUID = new_uid("study", str(made_from["input"]["sha256"]))
    if keep_identifiers:
        _copy_identifiers(dataset, projection.identifiers)
        dataset.PatientIdentityRemoved = "NO"
    else:
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = "No patient or study attribute of the source is copied"

    dataset.Modality = modality
    dataset.SeriesInstanceUID = new_uid("series", image_uid)
    dataset.SeriesNumber = 1
    view = projection.geometry.view_position
    dataset.SeriesDescription = " ".join(filter(None, ["DRR", view, "- not for diagnosis"]))[:64]

    dataset.Manufacturer = "DRR-RATE"
    dataset.ManufacturerModelName = "drr-rate"
    dataset.SoftwareVersions = __version__

    dataset.InstanceNumber = 1
    dataset.ImageComments = "SYNTHETIC. Computed from a CT scan. Not for diagnosis."
    dataset.DerivationDescription = (
        f"Digitally reconstructed radiograph: X-ray attenuation summed through a CT volume by "
        f"drr-rate {made_from['drr']} (method {made_from['method']}). No patient was exposed for "
        f"this image. Not for diagnosis. The full record is private text "
        f"({PRIVATE_GROUP:04x},1001) of {PRIVATE_CREATOR}."
    )
    dataset.BurnedInAnnotation = "YES" if marked else "NO"
    dataset.LossyImageCompression = "00"

    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 0
    dataset.PixelData = np.ascontiguousarray(pixels, "<u2").tobytes()
    # The display mapping is in the pixels already: PS3.3 C.11.2.1.2.1 maps 0 to black and 65535
    # to white with exactly these numbers.
    dataset.WindowCenter = "32768"
    dataset.WindowWidth = "65536"
    dataset.VOILUTFunction = "LINEAR"

    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = image_uid
    dataset.SyntheticData = "YES"
    block = dataset.private_block(PRIVATE_GROUP, PRIVATE_CREATOR, create=True)
    block.add_new(0x01, "UT", record)
    return dataset


def encode_dataset(dataset: Dataset) -> bytes:
    """A DICOM file, explicit VR little endian, of a data set with its SOP UIDs."""
    from pydicom import dcmwrite
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    from drr import __version__

    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.ImplementationClassUID = UID(new_uid("implementation"))
    dataset.file_meta.ImplementationVersionName = f"DRR_RATE {__version__}"[:16]
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def new_uid(*name: str) -> str:
    """UID under 2.25 that follows from a name: the same image has the same UID, no other has."""
    return f"2.25.{uuid.uuid5(UID_NAMESPACE, '|'.join(name)).int}"


def decimal(value: float) -> Any:
    """A number as DICOM Decimal String: at most 16 characters, no negative zero."""
    from pydicom.valuerep import DSfloat

    # Below a nanometre or nanodegree there is only rounding.
    return DSfloat(round(float(value), 9) + 0.0, auto_format=True)


def patient_orientation(direction: ArrayLike) -> str:
    """Where a `(3,)` LPS direction points: `L`, `P`, `F`, or combined, largest first: `LA`.

    PS3.3 C.7.6.1.1.1. Components below 0.001 (0.06 degrees) are rounding and have no letter.
    """
    unit = np.asarray(direction, float) / np.linalg.norm(direction)
    letters = [
        (abs(component), positive if component > 0 else negative)
        for component, positive, negative in zip(unit, "LPH", "RAF", strict=True)
        if abs(component) >= 1e-3
    ]
    # Rounded: of equal components the order is x, y, z and not that of the last bit.
    return "".join(letter for _, letter in sorted(letters, key=lambda item: -round(item[0], 9)))


def _refuse_skew(geometry: Geometry) -> None:
    cosine = np.dot(geometry.u, geometry.v) / (geometry.column_pitch * geometry.row_pitch)
    if abs(cosine) > 1e-6:
        raise WriteError(
            f"the pixel steps u={geometry.u} and v={geometry.v} are not perpendicular, which "
            "DICOM cannot express; write a NIfTI or MetaImage, or make them perpendicular"
        )


def _copy_identifiers(dataset: Dataset, identifiers: Mapping[str, str]) -> None:
    for keyword in _KEPT:
        if value := identifiers.get(keyword):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    setattr(dataset, keyword, str(value))
            except (ValueError, TypeError, UserWarning) as error:
                raise WriteError(
                    f"the source's {keyword} {str(value)!r} is not valid DICOM ({error}); "
                    "correct it in the source or leave identifiers out"
                ) from None
    if "FrameOfReferenceUID" in dataset:
        dataset.PositionReferenceIndicator = ""
