"""Line integrals with their place in the patient: NIfTI, MetaImage and NumPy archives."""

from __future__ import annotations

import gzip
import io
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.geometry.geometry import Geometry

__all__ = ["encode_metaimage", "encode_nifti", "encode_npy", "encode_npz", "image_affine"]

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Float noise hardly compresses: higher levels cost ten times the time for 2 % of the size.
COMPRESSION_LEVEL = 4


def image_affine(geometry: Geometry) -> NDArray[np.float64]:
    """`(4, 4)` from the pixel index (column, row, slice, 1) to LPS mm.

    The image is one slice thick, on the detector. Its third axis is u x v of length 1 mm, so that
    a viewer lays the radiograph where the detector stood around the CT.
    """
    affine = np.eye(4)
    affine[:3, 0] = geometry.u
    affine[:3, 1] = geometry.v
    affine[:3, 2] = geometry.normal / np.linalg.norm(geometry.normal)
    affine[:3, 3] = (
        np.array(geometry.detector_center)
        - (geometry.columns - 1) / 2 * np.array(geometry.u)
        - (geometry.rows - 1) / 2 * np.array(geometry.v)
    )
    return affine


def encode_nifti(
    values: NDArray[np.float32], geometry: Geometry, *, record: str, compress: bool
) -> bytes:
    """NIfTI-1 image in RAS mm.

    Parameters
    ----------
    values
        `(rows, columns)`, stored as (columns, rows, 1), or `(labels, rows, columns)`, stored as
        (columns, rows, 1, labels).
    record
        JSON text, kept in a header extension of the kind "comment".
    """
    import nibabel

    channels = values[None] if values.ndim == 2 else values
    stored = channels.transpose(2, 1, 0)[:, :, None, :]
    affine = LPS_TO_RAS @ image_affine(geometry)
    image = nibabel.Nifti1Image(stored[..., 0] if values.ndim == 2 else stored, affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"drr-rate, synthetic, not for diagnosis"
    image.set_sform(affine, code="scanner")
    # A quaternion can only hold perpendicular axes; readers then fall back on the sform.
    if abs(np.dot(geometry.u, geometry.v)) < 1e-9 * geometry.column_pitch * geometry.row_pitch:
        image.set_qform(affine, code="scanner")
    else:
        image.set_qform(None, code="unknown")
    image.header.extensions.append(
        nibabel.nifti1.Nifti1Extension("comment", record.encode("ascii"))
    )
    content = image.to_bytes()
    # A fixed time stamp: the same image gives the same file.
    return gzip.compress(content, COMPRESSION_LEVEL, mtime=0) if compress else content


def encode_metaimage(values: NDArray[np.float32], geometry: Geometry) -> bytes:
    """MetaImage (.mha) in LPS mm: header and zlib-compressed data in one file.

    `values` is `(rows, columns)`; the image has the size (columns, rows, 1).
    """
    affine = image_affine(geometry)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    data = zlib.compress(np.asarray(values, dtype="<f4").tobytes(), COMPRESSION_LEVEL)
    rows, columns = values.shape
    header = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "True",
        "CompressedDataSize": str(len(data)),
        # MetaImage lists the direction of each index axis in turn.
        "TransformMatrix": _numbers((affine[:3, :3] / spacing).T.ravel()),
        "Offset": _numbers(affine[:3, 3]),
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": _numbers(spacing),
        "DimSize": f"{columns} {rows} 1",
        "ElementType": "MET_FLOAT",
        "ElementDataFile": "LOCAL",
    }
    return "".join(f"{key} = {value}\n" for key, value in header.items()).encode() + data


def encode_npy(values: NDArray[np.float32]) -> bytes:
    """NumPy .npy of `(rows, columns)` float32."""
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()


def encode_npz(
    line_integrals: NDArray[np.float32],
    thickness: NDArray[np.float32] | None,
    labels: tuple[int, ...],
    geometry: Geometry,
    *,
    record: str,
) -> bytes:
    """NumPy .npz archive.

    Holds `line_integrals` (rows, columns), `affine` (4, 4: pixel index (column, row, slice, 1) to
    LPS mm), `record` (JSON text) and, where labels were projected, `thickness` (labels, rows,
    columns) in mm and `labels`.
    """
    arrays: dict[str, Any] = {
        "line_integrals": line_integrals,
        "affine": image_affine(geometry),
        "record": np.array(record),
    }
    if thickness is not None:
        arrays |= {"thickness": thickness, "labels": np.array(labels, np.int64)}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _numbers(values: NDArray[np.float64]) -> str:
    return " ".join(repr(float(value)) for value in values)
