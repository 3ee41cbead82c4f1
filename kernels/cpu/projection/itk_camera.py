"""The camera of ITK's Siddon-Jacobs program, to the last bit: where source and pixels lie.

Lengths are mm in the box frame: axis order as in the array, fastest index first; the outer corner
of the first voxel is the origin; direction cosines play no part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cpu.projection.itk_inverse import inverse

__all__ = ["MISS", "BoxRays", "camera"]

# A Euler angle within this cosine of a quarter turn has no neighbours to tell apart.
_GIMBAL_LOCK = 0.00005
# The filter keeps degrees-to-radians in single precision when it turns its camera.
_CAMERA_ANGLE = float(np.float32(math.pi / 180.0)) * -90.0
# What a ray may seem to leave before it enters, by rounding, and still be followed.
MISS = 1e-3


@dataclass(frozen=True, eq=False)
class BoxRays:
    """One view: the ray of pixel (row, column) runs from `source` through a point of a plane.

    Parameters
    ----------
    source
        `(3,)` float64 mm.
    origin
        `(3,)` float64 mm of the point of pixel (0, 0).
    u, v
        `(3,)` float64 mm from one column's point to the next and from one row's to the next.
    shape
        Rows and columns.
    """

    source: NDArray[np.float64]
    origin: NDArray[np.float64]
    u: NDArray[np.float64]
    v: NDArray[np.float64]
    shape: tuple[int, int]


def camera(
    size: NDArray[np.float64],
    *,
    rotation: Sequence[float],
    translation: Sequence[float],
    distance: float,
    pitch: tuple[float, float],
    shape: tuple[int, int],
) -> BoxRays:
    """Source and pixels where the published program puts them, to the last bit that shows.

    The volume is turned about the middle of its box, moved, seen by a camera `distance` before
    that middle's old place, and the whole chain inverted. Each link of the chain is an
    `itk::Euler3DTransform`, which after every composition reads the three angles off its matrix
    and builds the matrix anew.

    Parameters
    ----------
    size
        `(3,)` mm, number of voxels times spacing.
    rotation
        Degrees about the three axes, applied x first.
    translation
        mm, after the rotation.
    distance
        mm from the source to the plane of the pixels.
    pitch
        mm between columns and between rows in that plane.
    shape
        Rows and columns. Row 0 is the picture's top, as after the program's flip.
    """
    middle = np.asarray(size, dtype=np.float64) / 2.0
    moved = np.array(translation, dtype=np.float32).astype(np.float64)
    # The program parses its options as single-precision numbers.
    degrees = np.array(rotation, dtype=np.float32).astype(np.float64)
    matrix = _from_euler(*(degrees * (math.atan(1.0) * 4.0 / 180.0)).tolist())
    offset = moved + middle - _times(matrix, middle)
    matrix = _rebuilt(matrix)  # the gantry stays at zero degrees
    offset = offset + np.array([-middle[0], np.float64(distance) - middle[1], -middle[2]])
    matrix = _rebuilt(matrix)
    turn = _from_euler(_CAMERA_ANGLE, 0.0, 0.0)
    matrix, offset = _rebuilt(_times(turn, matrix)), _times(turn, offset)
    # From here the other way round: camera to box.
    # Where the source's coordinate is a single-precision number (spacings such as 0.703125 mm)
    # the last bits decide on which side of a voxel's face every ray of the picture enters.
    back = inverse(matrix)
    source = -_times(back, offset)
    back = _rebuilt(back)
    rows, columns = shape
    step_x, step_y = (np.float32(step) for step in pitch)
    left = float(-step_x * np.float32((columns - 1) / 2))
    bottom = float(-step_y * np.float32((rows - 1) / 2))
    u, up = back[:, 0] * float(step_x), back[:, 1] * float(step_y)
    first = _times(back, np.array([left, bottom, -float(np.float32(distance))])) + source
    return BoxRays(source, first + (rows - 1) * up, u, -up, (rows, columns))


def _from_euler(x: float, y: float, z: float) -> NDArray[np.float64]:
    """Rotation about x, then y, then z, radians."""
    cx, sx, cy, sy = math.cos(x), math.sin(x), math.cos(y), math.sin(y)
    cz, sz = math.cos(z), math.sin(z)
    about_x = np.array([[1.0, 0.0, 0.0], [0.0, cx, -sx], [0.0, sx, cx]])
    about_y = np.array([[cy, 0.0, sy], [0.0, 1.0, 0.0], [-sy, 0.0, cy]])
    about_z = np.array([[cz, -sz, 0.0], [sz, cz, 0.0], [0.0, 0.0, 1.0]])
    return _times(_times(about_z, about_y), about_x)


def _rebuilt(matrix: NDArray[np.floating]) -> NDArray[np.float64]:
    """The rotation that a matrix's Euler angles give back.

    Near a quarter turn about y, where every lateral view is, the angle from the arc sine is only
    good to 1e-8 and the turn about x is given up; that is visible in single precision.
    """
    m = matrix.tolist()
    # Rounding may leave a sine just above one; the filter then goes blank, this does not.
    y = -math.asin(min(1.0, max(-1.0, m[2][0])))
    cosine = math.cos(y)
    if abs(cosine) > _GIMBAL_LOCK:
        x = math.atan2(m[2][1] / cosine, m[2][2] / cosine)
        z = math.atan2(m[1][0] / cosine, m[0][0] / cosine)
    else:
        x, z = 0.0, math.atan2(-m[0][1], m[1][1])
    return _from_euler(x, y, z)


def _times(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Product of a `(3, 3)` with a `(3, 3)` or `(3,)`, summed in order and without fused steps."""
    if b.ndim == 1:
        return np.asarray(a[:, 0] * b[0] + a[:, 1] * b[1] + a[:, 2] * b[2])
    return np.asarray(a[:, :1] * b[:1] + a[:, 1:2] * b[1:2] + a[:, 2:] * b[2:])
