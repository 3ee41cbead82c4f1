"""DICOM RT Image Storage (PS3.3 A.17, C.8.8.2) for radiotherapy software."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from drr.errors import WriteError
from drr.geometry.geometry import Geometry
from drr.io.dicom.object import decimal, encode_dataset, new_image, patient_orientation

if TYPE_CHECKING:
    from drr.radiograph import Projection

__all__ = ["Machine", "encode_rt_image", "machine_for"]

RT_IMAGE = "1.2.840.10008.5.1.4.1.1.481.1"

# Rows are IEC 61217 fixed axes of a supine patient, head first: left, superior, anterior.
LPS_TO_IEC = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True)
class Machine:
    """A treatment machine that stands as the geometry says, in the terms of IEC 61217.

    Parameters
    ----------
    gantry_angle, patient_support_angle, receptor_angle
        Degrees, right-handed about the IEC axes Yf, Zf and Zr; from 0 up to 360.
    isocenter
        `(3,)` LPS mm.
    source_to_axis_distance, source_to_image_distance
        mm from the source to the isocentre and to the image plane, along the plane's normal.
    first_pixel
        `(2,)` mm: centre of the first pixel of the beam's eye view along the X-ray image
        receptor's Xr and Yr, from the beam axis.
    """

    gantry_angle: float
    patient_support_angle: float
    receptor_angle: float
    isocenter: NDArray[np.float64]
    source_to_axis_distance: float
    source_to_image_distance: float
    first_pixel: NDArray[np.float64]


def encode_rt_image(
    projection: Projection,
    pixels: NDArray[np.uint16],
    *,
    inverted: bool,
    marked: bool,
    record: str,
    keep_identifiers: bool,
) -> bytes:
    """RT Image of a picture; see `drr.io.dicom.object.new_image` for the parameters.

    `pixels` are the beam's eye view: with columns reversed where the geometry is viewed from the
    detector. That is what PS3.3 C.8.8.2.7 means by a NORMAL plane without other orientation, and
    what every planning system shows.
    """
    geometry = projection.geometry
    machine = machine_for(geometry, _isocenter_distance(projection))
    dataset = new_image(
        projection,
        pixels,
        sop_class=RT_IMAGE,
        modality="RTIMAGE",
        marked=marked,
        record=record,
        keep_identifiers=keep_identifiers,
    )
    dataset.OperatorsName = ""
    dataset.ImageType = ["DERIVED", "SECONDARY", "DRR"]
    dataset.ConversionType = "WSD"
    row_direction = np.array(geometry.u)
    if geometry.viewed_from == "detector":
        row_direction = -row_direction
    dataset.PatientOrientation = [
        patient_orientation(row_direction),
        patient_orientation(geometry.v),
    ]
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = 1 if inverted else -1

    dataset.RTImageLabel = f"DRR {geometry.view_position}"[:16].strip()
    dataset.RTImageDescription = "Synthetic, computed from a CT scan. Not for diagnosis."
    dataset.RTImagePlane = "NORMAL"
    dataset.XRayImageReceptorTranslation = [
        decimal(0.0),
        decimal(0.0),
        decimal(machine.source_to_axis_distance - machine.source_to_image_distance),
    ]
    dataset.XRayImageReceptorAngle = decimal(machine.receptor_angle)
    dataset.ImagePlanePixelSpacing = [
        decimal(geometry.row_pitch),
        decimal(geometry.column_pitch),
    ]
    dataset.RTImagePosition = [decimal(value) for value in machine.first_pixel]
    dataset.RadiationMachineName = ""
    dataset.PrimaryDosimeterUnit = ""
    dataset.RadiationMachineSAD = decimal(machine.source_to_axis_distance)
    dataset.RTImageSID = decimal(machine.source_to_image_distance)
    dataset.GantryAngle = decimal(machine.gantry_angle)
    dataset.BeamLimitingDeviceAngle = "0"
    dataset.PatientSupportAngle = decimal(machine.patient_support_angle)
    # The only position in which the patient's axes and the machine's are these.
    dataset.PatientPosition = "HFS"
    dataset.IsocenterPosition = [decimal(value) for value in machine.isocenter]
    return encode_dataset(dataset)


def machine_for(geometry: Geometry, source_to_axis_distance: float | None = None) -> Machine:
    """The machine whose beam axis is the detector's normal through the source.

    With that axis any flat detector is a NORMAL image plane: a detector beside the axis only moves
    the first pixel. Gantry, patient support and receptor angle then give any direction of the
    axis and any rotation about it.

    Parameters
    ----------
    geometry
        A cone beam.
    source_to_axis_distance
        mm from the source to the isocentre; None puts the isocentre into the image plane.

    Raises
    ------
    WriteError
        For a parallel beam.
    """
    if geometry.source is None:
        raise WriteError(
            "an RT Image needs a cone beam and this one is parallel; write a DX image, or give the "
            "view a source"
        )
    source = np.array(geometry.source)
    center = np.array(geometry.detector_center)
    normal = geometry.normal / np.linalg.norm(geometry.normal)
    # Zr points to the source; Yr up the columns; Xr to the right as seen from the source.
    z_axis = -normal if geometry.viewed_from == "tube" else normal
    y_axis = -np.array(geometry.v) / geometry.row_pitch
    x_axis = np.cross(y_axis, z_axis)

    distance = geometry.source_to_detector_distance
    axis_distance = source_to_axis_distance or distance
    half_width = (geometry.columns - 1) / 2 * geometry.column_pitch
    half_height = (geometry.rows - 1) / 2 * geometry.row_pitch
    from_source = center - source
    first_pixel = np.array([from_source @ x_axis - half_width, from_source @ y_axis + half_height])

    gantry, support = _gantry_and_support(LPS_TO_IEC @ z_axis)
    # How far the receptor's Xr is turned from the gantry's Xg about their common z axis.
    gantry_x = _rotation_z(-support) @ np.array([math.cos(gantry), 0.0, -math.sin(gantry)])
    gantry_y = _rotation_z(-support) @ np.array([0.0, 1.0, 0.0])
    receptor_x = LPS_TO_IEC @ x_axis
    receptor = math.atan2(receptor_x @ gantry_y, receptor_x @ gantry_x)
    return Machine(
        gantry_angle=_degrees(gantry),
        patient_support_angle=_degrees(support),
        receptor_angle=_degrees(receptor),
        isocenter=source - axis_distance * z_axis,
        source_to_axis_distance=axis_distance,
        source_to_image_distance=distance,
        first_pixel=first_pixel,
    )


def _gantry_and_support(beam_axis: NDArray[np.float64]) -> tuple[float, float]:
    """Radians that turn the gantry's z axis to a direction in the supine patient's IEC axes.

    Solves Rz(-support) (sin gantry, 0, cos gantry) = axis with the support within 90 degrees of
    straight, and straight (0) for every axis in the transverse plane.
    """
    x, y, z = (float(value) for value in beam_axis)
    if abs(y) < 1e-12:
        return math.atan2(x, z), 0.0
    sine = math.copysign(math.hypot(x, y), x)
    return math.atan2(sine, z), math.atan2(-y / sine, x / sine)


def _rotation_z(angle: float) -> NDArray[np.float64]:
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])


def _degrees(radians: float) -> float:
    return round(math.degrees(radians), 9) % 360.0


def _isocenter_distance(projection: Projection) -> float | None:
    view = projection.record.get("view")
    distance = view.get("source_to_isocenter_distance") if isinstance(view, dict) else None
    return None if distance is None else float(distance)
