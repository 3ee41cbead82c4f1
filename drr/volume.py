"""A CT volume: Hounsfield units and where they lie in the patient.

The one place where axes are reordered. Readers hand over what the file stores; everything after
this module sees arrays whose axes run towards the patient's head (z), back (y) and left (x) as
nearly as the acquisition allows.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drr.errors import VolumeError
from drr.sharing import kept_property
from drr.threads import available_cpus, run, split
from drr.unusual import Unusual, settle

__all__ = ["Volume", "round_to_int16", "slice_digest"]

INT16 = np.iinfo(np.int16)


@dataclass(frozen=True, eq=False, repr=False)
class Volume:
    """Voxels in Hounsfield units, in the patient's frame.

    Parameters
    ----------
    hu
        `(nz, ny, nx)` int16, C-contiguous, unclamped. Axes run towards +z (superior), +y
        (posterior) and +x (left) as nearly as the scan allows.
    affine
        `(4, 4)` float64. Maps the homogeneous voxel index `(x, y, z, 1)`, whole numbers at voxel
        centres, to LPS patient coordinates in mm. May be oblique or sheared (gantry tilt);
        its determinant is positive.
    stored_axes, stored_flips
        How `hu` came from the file's own index order; see `stored_order`.
    name
        What messages call the volume, usually the file's name.
    notes
        What the reader did that a user may want to know, one sentence each.
    verdict
        What the values look like (`drr.patient.hu_check.Verdict`), or None if nobody asked.
    identifiers
        DICOM attributes that identify a patient or study, by keyword. Never written to any output
        unless the user asks for it.
    """

    hu: NDArray[np.int16]
    affine: NDArray[np.float64]
    stored_axes: tuple[int, int, int] = (0, 1, 2)
    stored_flips: tuple[bool, bool, bool] = (False, False, False)
    name: str = "volume"
    notes: tuple[str, ...] = ()
    verdict: Any = None
    identifiers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.hu.ndim != 3 or min(self.hu.shape) < 1:
            raise VolumeError(
                f"{self.name}: shape {self.hu.shape} is not a volume; three axes (z, y, x) "
                "of at least one voxel are needed"
            )
        if self.hu.dtype != np.int16 or not self.hu.flags.c_contiguous:
            raise VolumeError(
                f"{self.name}: voxels must be C-contiguous int16 HU, not {self.hu.dtype}; "
                "build the volume with Volume.from_stored"
            )
        object.__setattr__(self, "affine", check_affine(self.affine, self.name))
        if np.linalg.det(self.affine[:3, :3]) < 0:
            raise VolumeError(
                f"{self.name}: the affine is left-handed, which would mirror the patient; "
                "build the volume with Volume.from_stored"
            )

    def __repr__(self) -> str:
        # Short, and without identifiers: notebooks keep what they show.
        size = " x ".join(str(n) for n in self.shape[::-1])
        spacing = " x ".join(f"{s:.4g}" for s in self.spacing)
        return f"<Volume {self.name}: {size} voxels (x, y, z) of {spacing} mm>"

    @classmethod
    def from_stored(
        cls,
        stored: ArrayLike,
        affine: ArrayLike,
        *,
        name: str = "volume",
        notes: tuple[str, ...] = (),
        verdict: Any = None,
        identifiers: Mapping[str, str] | None = None,
    ) -> Volume:
        """Build a volume from an array in any axis order, left- or right-handed.

        Parameters
        ----------
        stored
            `(n2, n1, n0)` array of HU, slowest index first, any real dtype. Non-integer values
            are rounded to the nearest even. What is not finite or beyond int16 is padding at the
            edges, metal or a failed division where there is little of it, and refused otherwise.
        affine
            `(4, 4)`, maps the stored index `(i0, i1, i2, 1)` (fastest first) to LPS mm.

        Raises
        ------
        VolumeError
            For a shape, values or an affine that cannot be a CT volume.
        """
        values = np.asarray(stored)
        if values.ndim != 3 or min(values.shape) < 1:
            raise VolumeError(
                f"{name}: shape {values.shape} is not a volume; three axes of at least one "
                "voxel are needed"
            )
        affine = check_affine(affine, name)
        axes, flips = nearest_lps_axes(affine)
        found = Unusual()
        hu = round_to_int16(values, found=found, name=name).transpose(axes)
        hu = hu[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
        hu = np.ascontiguousarray(hu)
        notes = (*notes, *settle(hu, found, name=name))
        return cls(
            hu=hu,
            affine=affine @ _index_map(axes, flips, values.shape),
            stored_axes=axes,
            stored_flips=flips,
            name=name,
            notes=tuple(notes),
            verdict=verdict,
            identifiers=dict(identifiers or {}),
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along z, y and x."""
        nz, ny, nx = self.hu.shape
        return nz, ny, nx

    @property
    def spacing(self) -> NDArray[np.float64]:
        """`(3,)` distance in mm between neighbouring voxel centres along x, y and z."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0), dtype=np.float64)

    @kept_property
    def world_to_voxel(self) -> NDArray[np.float64]:
        """`(4, 4)` inverse of `affine`: LPS mm to voxel index (x, y, z)."""
        return np.asarray(np.linalg.inv(self.affine), dtype=np.float64)

    @property
    def corners(self) -> NDArray[np.float64]:
        """`(8, 3)` LPS mm of the corners of the volume's box (outer faces of the voxels)."""
        bounds = [(-0.5, n - 0.5) for n in reversed(self.shape)]
        index = np.array(list(itertools.product(*bounds)))
        return index @ self.affine[:3, :3].T + self.affine[:3, 3]

    @property
    def center(self) -> NDArray[np.float64]:
        """`(3,)` LPS mm of the middle of the volume's box."""
        return self.corners.mean(axis=0)

    @property
    def orientation(self) -> str:
        """Where the stored axes point, fastest first, as in DICOM: `LPS`, `LAS`, ..."""
        letters = []
        for stored_axis in (2, 1, 0):
            axis = self.stored_axes.index(stored_axis)
            positive, negative = ("SI", "PA", "LR")[axis]
            letters.append(negative if self.stored_flips[axis] else positive)
        return "".join(letters)

    @property
    def stored_affine(self) -> NDArray[np.float64]:
        """`(4, 4)` file's own index (i0, i1, i2, 1) to LPS mm, as `affine` from `hu`'s index."""
        shape = tuple(self.shape[self.stored_axes.index(axis)] for axis in range(3))
        to_stored = _index_map(self.stored_axes, self.stored_flips, shape)
        return np.asarray(self.affine @ np.linalg.inv(to_stored))

    def stored_order(self) -> NDArray[np.int16]:
        """View of `hu` in the file's own index order, slowest index first."""
        unflipped = self.hu[tuple(slice(None, None, -1 if f else 1) for f in self.stored_flips)]
        return unflipped.transpose(np.argsort(self.stored_axes))

    @kept_property
    def sha256(self) -> str:
        """Digest of shape, affine and voxels: the same scan in another container agrees.

        Of the shape, the affine to 1e-6 and the digests of the slices along z, so that slices can
        be digested in any order and on any number of threads.
        """
        found = [b""] * len(self.hu)

        def work(start: int, stop: int) -> None:
            for z in range(start, stop):
                found[z] = slice_digest(self.hu[z])

        run(work, split(len(found), 4 * available_cpus()), available_cpus())
        return self.digest_of(found)

    def digest_of(self, slices: Iterable[bytes]) -> str:
        """`sha256`, from the `slice_digest` of every slice along z."""
        digest = hashlib.sha256(np.array(self.shape, "<i8").tobytes())
        digest.update((self.affine.round(6) + 0.0).astype("<f8").tobytes())
        for each in slices:
            digest.update(each)
        return digest.hexdigest()


def slice_digest(slice_: NDArray[np.int16]) -> bytes:
    """SHA-256 of a C-contiguous slice's values as little-endian int16."""
    return hashlib.sha256(slice_.astype("<i2", copy=False).data).digest()


def check_affine(affine: ArrayLike, name: str) -> NDArray[np.float64]:
    """Return a usable, read-only affine or raise `VolumeError` naming the volume."""
    matrix = np.array(affine, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise VolumeError(f"{name}: the affine is not a finite 4x4 matrix; got {matrix.tolist()}")
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    if not (spacing > 0).all() or abs(np.linalg.det(matrix[:3, :3] / spacing)) < 1e-3:
        raise VolumeError(
            f"{name}: the affine is singular (voxel spacing {spacing.round(6).tolist()} mm); "
            "the file does not say where its voxels lie, so repair its header first"
        )
    matrix.flags.writeable = False
    return matrix


def nearest_lps_axes(
    affine: NDArray[np.float64],
) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Which stored array axis becomes z, y and x, and which of them must be reversed.

    The permutation with the largest sum of absolute direction cosines wins; of equals, the one
    that moves the fewest axes.
    """
    cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    # Rows x, y, z; columns stored index i0 (fastest). Candidates list the column of x, y and z.
    candidates = list(itertools.permutations(range(3)))
    columns = max(
        candidates,
        key=lambda c: (
            round(sum(abs(cosines[row, c[row]]) for row in range(3)), 9),
            sum(c[row] == row for row in range(3)),
        ),
    )
    # Array axis a holds stored index 2 - a.
    axes = (2 - columns[2], 2 - columns[1], 2 - columns[0])
    flips = tuple(bool(cosines[row, columns[row]] < 0) for row in (2, 1, 0))
    return axes, (flips[0], flips[1], flips[2])


def round_to_int16(
    values: NDArray[Any], *, found: Unusual, name: str = "volume"
) -> NDArray[np.int16]:
    """HU as int16, rounded to the nearest even; what is not finite or beyond int16 is marked.

    `drr.unusual.settle` decides what `found` is, once the voxels are in the patient's order.
    """
    if values.dtype == np.int16:
        return values
    if values.dtype.kind not in "iufb":
        raise VolumeError(f"{name}: voxels of type {values.dtype} are not numbers on one scale")
    low, high = values.min(), values.max()
    if not (low >= INT16.min and high <= INT16.max):  # NaN compares with nothing
        span = 2.0 ** (8 * values.itemsize) if values.dtype.kind == "u" else None
        values = values.astype(np.float64)
        found.mark(values, span=span)
    if values.dtype.kind == "f":
        values = np.rint(values)
    return values.astype(np.int16)


def _index_map(
    axes: tuple[int, int, int], flips: tuple[bool, bool, bool], shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """`(4, 4)` from the new voxel index (x, y, z, 1) to the stored index (i0, i1, i2, 1)."""
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1.0
    for new_axis, (stored_axis, flip) in enumerate(zip(axes, flips, strict=True)):
        row, column = 2 - stored_axis, 2 - new_axis
        matrix[row, column] = -1.0 if flip else 1.0
        matrix[row, 3] = shape[stored_axis] - 1.0 if flip else 0.0
    return matrix
