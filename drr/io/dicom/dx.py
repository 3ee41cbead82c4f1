"""DICOM Digital X-Ray Image Storage - For Presentation (PS3.3 A.26, B.5.1.1 of PS3.4)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from drr.geometry.geometry import Geometry
from drr.io.dicom.object import decimal, encode_dataset, new_image, patient_orientation

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from drr.radiograph import Projection

__all__ = ["encode_dx"]

DX_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.1"

# SNOMED CT; DICOM PS3.16 CID 4009 "DX Anatomy Imaged" and CID 4010 "DX View".
_CHEST = ("816094009", "Chest")
_VIEWS = {
    "PA": ("272479007", "postero-anterior"),
    "AP": ("399348003", "antero-posterior"),
    "LL": ("399173006", "left lateral"),
    "RL": ("399198007", "right lateral"),
    "LAO": ("399135007", "left anterior oblique"),
    "RAO": ("399356000", "right anterior oblique"),
    "LPO": ("399006002", "left posterior oblique"),
    "RPO": ("399038007", "right posterior oblique"),
}
# PS3.3 C.8.1.1: the terms of View Position among those.
_VIEW_POSITIONS = ("PA", "AP", "LL", "RL")


def encode_dx(
    projection: Projection,
    pixels: NDArray[np.uint16],
    *,
    inverted: bool,
    marked: bool,
    record: str,
    keep_identifiers: bool,
) -> bytes:
    """DX image of a picture; see `drr.io.dicom.object.new_image` for the parameters.

    Distance Source to Patient (0018,1111) is left out: in this object it ends at the support or
    bucky nearest the patient, and there is none.
    """
    geometry = projection.geometry
    dataset = new_image(
        projection,
        pixels,
        sop_class=DX_FOR_PRESENTATION,
        modality="DX",
        marked=marked,
        record=record,
        keep_identifiers=keep_identifiers,
    )
    dataset.PresentationIntentType = "FOR PRESENTATION"

    # DX Image: value 3 is present and empty. SECONDARY (PS3.3 C.7.6.1.1.2): created after the
    # examination, as a radiograph that a detector took never is.
    dataset.ImageType = ["DERIVED", "SECONDARY", ""]
    dataset.PixelIntensityRelationship = "LOG"
    # Bright bone: higher values mean less X-ray intensity, which is -1.
    dataset.PixelIntensityRelationshipSign = 1 if inverted else -1
    dataset.RescaleIntercept = "0"
    dataset.RescaleSlope = "1"
    dataset.RescaleType = "US"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.PatientOrientation = [
        patient_orientation(geometry.u),
        patient_orientation(geometry.v),
    ]

    dataset.BodyPartExamined = "CHEST"
    dataset.ImageLaterality = "U"
    dataset.AnatomicRegionSequence = [_code(*_CHEST)]

    dataset.AcquisitionContextSequence = []
    dataset.DetectorType = ""
    spacing = [decimal(geometry.row_pitch), decimal(geometry.column_pitch)]
    dataset.ImagerPixelSpacing = spacing

    view = view_name(geometry)
    if view in _VIEW_POSITIONS:
        dataset.ViewPosition = view
    if view:
        dataset.ViewCodeSequence = [_code(*_VIEWS[view])]
    # The angles are defined for a C-arm, and a virtual tube can be held by one.
    dataset.PositionerType = "CARM"
    primary, secondary = geometry.positioner_angles
    dataset.PositionerPrimaryAngle = decimal(primary)
    dataset.PositionerSecondaryAngle = decimal(secondary)
    if geometry.source is not None:
        distance = math.dist(geometry.source, geometry.detector_center)
        dataset.DistanceSourceToDetector = decimal(distance)
    return encode_dataset(dataset)


def view_name(geometry: Geometry) -> str:
    """The view by its positioner angles: PA, AP, LL, RL or an oblique; empty where none fits.

    Angles count, not `Geometry.view_position`, which is free text. An oblique is at least 10
    degrees from any of the four others; none has a craniocaudal tilt.
    """
    primary, secondary = (round(angle, 3) for angle in geometry.positioner_angles)
    if secondary:
        return ""
    exact = {0.0: "PA", 90.0: "LL", -90.0: "RL", 180.0: "AP", -180.0: "AP"}
    if primary in exact:
        return exact[primary]
    if not 10 <= abs(primary) % 90 <= 80:
        return ""
    return f"{'L' if primary > 0 else 'R'}{'A' if abs(primary) < 90 else 'P'}O"


def _code(value: str, meaning: str) -> Dataset:
    from pydicom.dataset import Dataset

    code = Dataset()
    code.CodeValue = value
    code.CodingSchemeDesignator = "SCT"
    code.CodeMeaning = meaning
    return code
