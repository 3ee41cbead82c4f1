"""Whether a volume can be a patient's CT at all: its size, and what to take all the same.

An array saved without geometry has cubes of 1 mm, one in metres or micrometres a thousandth or a
thousandfold of the patient's size: projected, they are radiographs of something else.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from drr.errors import VolumeError

if TYPE_CHECKING:
    from drr.volume import Volume

__all__ = ["ACCEPTABLE", "Accept", "check_accept", "doubtful_size", "has_no_geometry"]
__all__ += ["refuse_doubtful"]

ACCEPTABLE = ("values", "size")
"""What can be accepted although it is implausible: values that are not HU, a size of no patient."""

Accept = str | Collection[str]

SIZE_LIMITS_MM = {"smallest": 50.0, "widest": 1000.0, "longest": 3000.0, "smallest_unplaced": 200.0}
"""Of the volume's largest extent, of its x and y, and of its z; of the largest extent where the
affine is the identity, so that nothing but the size speaks for it."""

_MATRICES = (256, 320, 340, 400, 512, 768, 1024)
# Of scanners: a field of view of as many mm, from the origin, is not a coincidence.


def check_accept(accept: Accept) -> tuple[str, ...]:
    """What is accepted, in order, or `VolumeError` for what cannot be."""
    names = (accept,) if isinstance(accept, str) else tuple(accept)
    for name in names:
        if name not in ACCEPTABLE:
            raise VolumeError(
                f"accept takes {' and '.join(map(repr, ACCEPTABLE))}, got {name!r}; "
                "leave out what is not to be taken as it is"
            )
    return tuple(name for name in ACCEPTABLE if name in names)


def refuse_doubtful(volume: Volume, accept: Accept = ()) -> None:
    """Refuse a volume that was read and whose values or size are implausible.

    A volume without a verdict, made in memory, is taken as it is: who made it vouches for it.

    Raises
    ------
    VolumeError
        With the reason, what to do, and what to accept instead.
    """
    accepted = check_accept(accept)
    verdict = volume.verdict
    if verdict is None:
        return
    for name, doubt in (("values", verdict.doubt), ("size", verdict.size)):
        if doubt and name not in accepted:
            raise VolumeError(
                f"{volume.name}: {doubt} To project it as it is, accept its {name} "
                f"(--accept {name}, or accept={name!r})."
            )


def doubtful_size(volume: Volume) -> str:
    """Why the volume's size cannot be a patient's and what to do; empty where it can."""
    limits = SIZE_LIMITS_MM
    nx, ny, nz = volume.shape[::-1]
    extents = [float(n * step) for n, step in zip((nx, ny, nz), volume.spacing, strict=True)]
    size = " x ".join(f"{extent:.3g}" for extent in extents)
    fix = "correct the spacing or its unit in the header, or pass affine= to drr.read."
    if max(extents) < limits["smallest"]:
        return f"All of it is {size} mm, too small for a patient: {fix}"
    if max(extents[:2]) > limits["widest"] or extents[2] > limits["longest"]:
        return f"All of it is {size} mm, too large for a patient: {fix}"
    scanners = nx == ny and nx in _MATRICES
    if has_no_geometry(volume) and (scanners or max(extents) < limits["smallest_unplaced"]):
        return (
            f"Its affine is the identity, as tools write that know no geometry: {nx} x {ny} x {nz} "
            "voxels would be cubes of 1 mm. Write the true affine into its header, or pass affine= "
            "to drr.read."
        )
    return ""


def has_no_geometry(volume: Volume) -> bool:
    """Whether the file's affine is the identity, in LPS or in RAS."""
    rows = volume.stored_affine.tolist()
    # RAS has x and y the other way round; no rounding spoils whole numbers.
    return any(
        rows == [[s, 0, 0, 0], [0, s, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]] for s in (1.0, -1.0)
    )
