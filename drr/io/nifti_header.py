"""The fixed headers of NIfTI-1 and NIfTI-2, decoded without a library.

They are 348 and 540 bytes, and importing nibabel takes longer than reading a small scan; it stays
the oracle of the tests. Layouts are those of `nifti1.h` and `nifti2.h` (NIfTI Data Format Working
Group, 2004 and 2011).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["announces", "decode_header", "qform", "sform", "voxel_dtype"]

NIFTI_1 = np.dtype(
    [
        ("sizeof_hdr", "i4"), ("unused_1", "V35"), ("dim_info", "u1"), ("dim", "i2", 8),
        ("intent", "f4", 3), ("intent_code", "i2"), ("datatype", "i2"), ("bitpix", "i2"),
        ("slice_start", "i2"), ("pixdim", "f4", 8), ("vox_offset", "f4"), ("scl_slope", "f4"),
        ("scl_inter", "f4"), ("slice_end", "i2"), ("slice_code", "u1"), ("xyzt_units", "u1"),
        ("cal_max", "f4"), ("cal_min", "f4"), ("slice_duration", "f4"), ("toffset", "f4"),
        ("unused_2", "V8"), ("descrip", "V80"), ("aux_file", "V24"), ("qform_code", "i2"),
        ("sform_code", "i2"), ("quatern", "f4", 3), ("qoffset", "f4", 3), ("srow", "f4", (3, 4)),
        ("intent_name", "V16"), ("magic", "S4"),
    ]
)  # fmt: skip
NIFTI_2 = np.dtype(
    [
        ("sizeof_hdr", "i4"), ("magic", "S8"), ("datatype", "i2"), ("bitpix", "i2"),
        ("dim", "i8", 8), ("intent", "f8", 3), ("pixdim", "f8", 8), ("vox_offset", "i8"),
        ("scl_slope", "f8"), ("scl_inter", "f8"), ("cal_max", "f8"), ("cal_min", "f8"),
        ("slice_duration", "f8"), ("toffset", "f8"), ("slice_start", "i8"), ("slice_end", "i8"),
        ("descrip", "V80"), ("aux_file", "V24"), ("qform_code", "i4"), ("sform_code", "i4"),
        ("quatern", "f8", 3), ("qoffset", "f8", 3), ("srow", "f8", (3, 4)), ("slice_code", "i4"),
        ("xyzt_units", "i4"), ("intent_code", "i4"), ("intent_name", "V16"), ("dim_info", "u1"),
        ("unused", "V15"),
    ]
)  # fmt: skip

DATA_TYPES: dict[int, Any] = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 32: "c8", 64: "f8", 128: [("rgb", "u1", 3)], 256: "i1",
    512: "u2", 768: "u4", 1024: "i8", 1280: "u8", 1536: "V16", 1792: "c16",
    2048: "V32", 2304: [("rgba", "u1", 4)],
}  # fmt: skip
"""Voxels by the header's `datatype`; NumPy has no quadruple precision."""


def announces(head: bytes, size: int) -> bool:
    """Whether the header's first field gives this size, in either byte order."""
    return size in (int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big"))


def decode_header(head: bytes) -> NDArray[np.void]:
    """The header as a structured scalar in the file's byte order.

    Parameters
    ----------
    head
        At least the 348 or 540 bytes that its first field announces.
    """
    layout = NIFTI_2 if announces(head, 540) else NIFTI_1
    little = int.from_bytes(head[:4], "little") == layout.itemsize
    layout = layout.newbyteorder("<" if little else ">")
    header: NDArray[np.void] = np.frombuffer(head, layout, 1)[0]
    return header


def voxel_dtype(header: NDArray[np.void]) -> np.dtype:
    """Of the stored voxels, in the file's byte order.

    Raises
    ------
    KeyError
        For a data type that NIfTI does not have.
    """
    little = header.dtype["sizeof_hdr"].newbyteorder("<") == header.dtype["sizeof_hdr"]
    return np.dtype(DATA_TYPES[int(header["datatype"])]).newbyteorder("<" if little else ">")


def sform(header: NDArray[np.void]) -> NDArray[np.float64]:
    """`(4, 4)` voxel index to RAS in the header's unit, by method 3 of `nifti1.h`."""
    return np.vstack([np.asarray(header["srow"], np.float64), [0, 0, 0, 1]])


def qform(header: NDArray[np.void]) -> NDArray[np.float64]:
    """`(4, 4)` voxel index to RAS in the header's unit, by method 2 of `nifti1.h`.

    Raises
    ------
    ValueError
        When the quaternion is longer than one.
    """
    b, c, d = (float(q) for q in header["quatern"])
    rest = 1.0 - (b * b + c * c + d * d)
    # As much as rounding to float32 may add.
    if not math.isfinite(rest) or rest < -3 * np.finfo(np.float32).eps:
        raise ValueError(f"the quaternion ({b}, {c}, {d}) is no rotation")
    a = math.sqrt(max(rest, 0.0))
    if rest <= 0:
        length = math.sqrt(b * b + c * c + d * d)
        b, c, d = b / length, c / length, d / length
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    # Lengths, whatever sign a writer gave them.
    steps = np.abs(np.array(header["pixdim"][1:4], np.float64))
    # The third axis is turned around where pixdim[0] is negative.
    steps[2] *= -1.0 if float(header["pixdim"][0]) < 0 else 1.0
    affine = np.eye(4)
    affine[:3, :3] = rotation * steps
    affine[:3, 3] = header["qoffset"]
    return affine
