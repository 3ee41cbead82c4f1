"""The published DRR-RATE recipe: its geometry, its sums and its grey levels.

The data set was made by `getDRRSiddonJacobsRayTracing -threshold -100 -t 0 300 0`, with `-rz -90`
for LATERAL, and that program's defaults (J. Wu, "ITK-based implementation of two-projection 2D/3D
registration method", Insight Journal 784, 2010). docs/drr_rate.md has the recipe and what follows
from it. Everything here works on the volume as read: no clean-up, no clamping.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from numbers import Real
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from drr.errors import DisplayError, GeometryError, ProjectionError, VolumeError
from drr.geometry.geometry import Geometry, Vector
from drr.memory import check_memory
from drr.physics.attenuation import Attenuation
from drr.published.camera import Box, Pose
from drr.volume import Volume

__all__ = [
    "PROJECTIONS",
    "DrrRate",
    "DrrRateImage",
    "MinMax",
    "drr_rate",
    "drr_rate_geometry",
    "path_sums",
    "rescale_to_8_bits",
]

PROJECTIONS = ("AP", "LATERAL")
"""The two folders of the data set; see `drr_rate_geometry` for what they are in the patient."""

# 1/mm per HU above the threshold: an arbitrary scale that makes line integrals of a chest's size.
_MU_PER_HU = 1e-5
# Below this, mm, crossings 1.3 m from the source no longer differ in single precision.
_SMALLEST_VOXEL = 0.01


@dataclass(frozen=True, kw_only=True)
class DrrRate:
    """What the published program was told, and how far its arithmetic is followed.

    The defaults are the published recipe; `eval(repr(recipe)) == recipe`.

    Parameters
    ----------
    threshold
        HU; a voxel counts by what it has above this, and not at all below.
    rotation
        Degrees about the box's three axes, x first, about the middle of the box. LATERAL turns
        another -90 about the third.
    translation
        mm that the volume is moved along the box's axes after that.
    source_to_isocenter_distance
        mm from the source to the plane that has the pitch, where the middle of the box would be
        without the translation.
    pitch
        mm between columns and between rows in that plane.
    shape
        Rows and columns.
    order
        `stored`: the box's axes are the file's own, as published, wherever they point in the
        patient. `patient`: they are left, posterior and superior as nearly as the scan allows,
        as if the file had been stored so. Direction cosines are ignored by both.
    strict
        True repeats the arithmetic of ITK's filter, errors included
        (`drr.kernels.reference.siddon_jacobs`). False sums exactly (Siddon 1985), in double
        precision.
    truncate
        Whether sums are cut to whole numbers (int16), as published.

    Raises
    ------
    GeometryError, ProjectionError
        For values that cannot make a picture; the message says which.
    """

    threshold: float = -100.0
    rotation: Vector = (0.0, 0.0, 0.0)
    translation: Vector = (0.0, 300.0, 0.0)
    source_to_isocenter_distance: float = 1000.0
    pitch: tuple[float, float] = (0.51, 0.51)
    shape: tuple[int, int] = (512, 512)
    order: Literal["stored", "patient"] = "stored"
    strict: bool = True
    truncate: bool = True

    def __post_init__(self) -> None:
        for name, count in (("rotation", 3), ("translation", 3), ("pitch", 2)):
            object.__setattr__(self, name, _numbers(name, getattr(self, name), count))
        for name in ("threshold", "source_to_isocenter_distance"):
            object.__setattr__(self, name, _numbers(name, (getattr(self, name),), 1)[0])
        if not -32768 <= self.threshold < 32767:
            raise ProjectionError(
                f"threshold must be from -32768 to below 32767 HU, got {self.threshold:g}; "
                "the published one is -100"
            )
        if self.source_to_isocenter_distance < 1 or min(self.pitch) <= 0:
            raise GeometryError(
                "source_to_isocenter_distance must be 1 mm or more and pitch above zero mm, got "
                f"{self.source_to_isocenter_distance:g} and {self.pitch}"
            )
        if max(map(abs, self.rotation)) > 360:
            raise GeometryError(f"rotation must be within +-360 degrees, got {self.rotation}")
        if self.order not in ("stored", "patient"):
            raise ProjectionError(f"order must be 'stored' or 'patient', got {self.order!r}")
        for name in ("strict", "truncate"):
            if not isinstance(getattr(self, name), bool):
                raise ProjectionError(f"{name} must be True or False, got {getattr(self, name)!r}")
        object.__setattr__(self, "shape", _shape(self.shape, strict=self.strict))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, text and lists, for JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DrrRate:
        """Inverse of `to_dict`; unknown keys are refused by name, missing ones are defaults."""
        return cls(**_known(cls, values, ProjectionError))

    @property
    def attenuation(self) -> Attenuation:
        """The threshold as an attenuation, 1e-5 / mm for each HU above it."""
        return Attenuation(
            hu=(self.threshold, self.threshold + 1000.0),
            mu=(0.0, 1000.0 * _MU_PER_HU),
            name="drr-rate",
        )


@dataclass(frozen=True, kw_only=True)
class MinMax:
    """Every picture from its own least to its own greatest value, as published: a display.

    Parameters
    ----------
    bits
        Grey levels are cut to this many bits, 1 to 16; None keeps them continuous.
    invert
        Bone black instead of bright.
    """

    bits: int | None = 8
    invert: bool = False

    def __post_init__(self) -> None:
        whole = isinstance(self.bits, int) and not isinstance(self.bits, bool)
        if self.bits is not None and not (whole and 1 <= self.bits <= 16):
            raise DisplayError(
                f"bits must be a whole number from 1 to 16 or None, got {self.bits!r}"
            )
        if not isinstance(self.invert, bool):
            raise DisplayError(f"invert must be True or False, got {self.invert!r}")

    def apply(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Grey levels from 0 (black) to 1 (white), float32, same shape.

        A picture of one value is black.
        """
        top = 1 if self.bits is None else 2**self.bits - 1
        grey = _rescale(values, top)
        if self.bits is not None:
            grey = np.trunc(grey)
        grey /= top
        return np.asarray(1.0 - grey if self.invert else grey, dtype=np.float32)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MinMax:
        """Inverse of `to_dict`; unknown keys are refused by name."""
        return cls(**_known(cls, values, DisplayError))


@dataclass(frozen=True, eq=False)
class DrrRateImage:
    """One picture of the recipe and how it was made.

    Parameters
    ----------
    path_sums
        `(rows, columns)` HU above the threshold times fraction of the ray: int16 when truncated,
        else float32.
    picture
        `(rows, columns)` uint8, bone bright; `MinMax().apply(path_sums)` shows the same.
    geometry
        Where source and pixels are in the patient (LPS, mm).
    record
        Everything needed to repeat the image, ready for JSON.
    """

    path_sums: NDArray[Any]
    picture: NDArray[np.uint8]
    geometry: Geometry
    record: dict[str, Any]


def drr_rate(
    volume: Volume,
    projection: str = "AP",
    *,
    recipe: DrrRate | None = None,
    threads: int | None = None,
) -> DrrRateImage:
    """Make the picture that DRR-RATE would hold of a volume.

    Parameters
    ----------
    volume
        As read: neither cleaned nor clamped.
    projection
        `AP` or `LATERAL`, in any case.
    recipe
        The published one by default.
    threads
        CPU threads; all available ones by default.

    Raises
    ------
    GeometryError
        When the source would lie inside the scan or level with it.
    ProjectionError
        For another projection, or a blank image.
    VolumeError
        For voxels too small for the strict arithmetic.
    """
    import drr

    recipe = _checked(recipe)
    name = _projection(projection)
    geometry = drr_rate_geometry(volume, name, recipe=recipe)
    sums = path_sums(volume, name, recipe=recipe, threads=threads)
    low, high = sums.min(), sums.max()
    if low == high:
        raise ProjectionError(
            f"the {name} image of {volume.name} is blank: no ray meets enough above "
            f"{recipe.threshold:g} HU; 'drr inspect' shows what the scan holds"
        )
    record = {
        "drr": drr.__version__,
        "input": {
            "sha256": volume.sha256,
            "shape": list(volume.shape),
            "spacing": volume.spacing.round(6).tolist(),
            "stored_orientation": volume.orientation,
        },
        "projection": name,
        "recipe": recipe.to_dict(),
        # What DICOM's Patient Orientation (0020,0020) would say: where rows and columns run.
        "patient_orientation": [_letter(geometry.u), _letter(geometry.v)],
        "source_side": _letter(-geometry.central_ray),
        "viewed_from": geometry.viewed_from,
        "path_sum_range": [float(low), float(high)],
    }
    return DrrRateImage(sums, rescale_to_8_bits(sums), geometry, record)


def path_sums(
    volume: Volume,
    projection: str = "AP",
    *,
    recipe: DrrRate | None = None,
    threads: int | None = None,
) -> NDArray[Any]:
    """Sums along the rays: HU above the threshold times fraction of the source-to-pixel vector.

    Not line integrals: rays to the picture's corners are 1.7 % longer than the middle one, so a
    millimetre there is a smaller fraction and counts that much less.

    Parameters
    ----------
    volume, projection, recipe, threads
        As in `drr_rate`.

    Returns
    -------
    `(rows, columns)`, row 0 at the top: int16 where the recipe truncates, else float32.

    Raises
    ------
    GeometryError, ProjectionError, VolumeError
        As `drr_rate`, except that a blank image is no error.
    """
    recipe = _checked(recipe)
    box = Box.of(volume, recipe.order)
    rotation = _rotation(recipe, _projection(projection))
    pose = Pose.of(box, recipe, rotation, volume.name)
    geometry = pose.geometry(box, recipe)
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise ProjectionError(f"threads must be a whole number above zero, got {threads!r}")
    rows, columns = recipe.shape
    # Sums as float32; without the filter also where the pixels lie, as float64.
    pixel = 4 if recipe.strict else 4 + 3 * 8
    check_memory(pixel * rows * columns, f"path sums of {rows} x {columns} pixels")
    if recipe.strict:
        from drr.kernels.cpu.projection.itk_camera import camera
        from drr.kernels.cpu.projection.siddon_jacobs import siddon_jacobs

        if box.spacing.min() < _SMALLEST_VOXEL:
            raise VolumeError(
                f"{volume.name}: voxels of {box.spacing.min():.2g} mm are too small for the single "
                "precision of the published filter; use strict=False"
            )
        rays = camera(
            box.size,
            rotation=rotation,
            translation=recipe.translation,
            distance=recipe.source_to_isocenter_distance,
            pitch=recipe.pitch,
            shape=recipe.shape,
        )
        sums = siddon_jacobs(
            box.hu, box.spacing, rays, threshold=_single(recipe.threshold), threads=threads
        )
    else:
        from drr.kernels.cpu.projection.project import project

        integrals = project(
            volume.hu,
            recipe.attenuation.mapping,
            geometry.rays(volume.affine),
            method="siddon",
            anti_aliasing=False,
            threads=threads,
        )
        # Fractions of a ray are the same in any affine frame, so that lengths in the patient,
        # tilted gantries included, cancel.
        lengths = np.linalg.norm(geometry.pixel_centers() - np.array(geometry.source), axis=2)
        sums = (integrals * (pose.planes / (_MU_PER_HU * lengths))).astype(np.float32)
    if not recipe.truncate:
        return sums
    return np.trunc(np.clip(sums, -32768, 32767)).astype(np.int16)


def drr_rate_geometry(
    volume: Volume, projection: str = "AP", *, recipe: DrrRate | None = None
) -> Geometry:
    """Where the recipe puts source and pixels in the patient.

    Kept from the published program: the middle of the box as isocentre, axes in `recipe.order`,
    the source and the direction of every ray. One thing is not: its pixel plane lies *before*
    the patient (1000 mm from the source, the patient at 1300), and rays here end at their pixel,
    so the detector is moved along the same rays to the first whole multiple of that distance
    beyond the scan, and its pitch grows with it (2000 mm and 1.02 mm for a chest).

    For a file stored as L, P, S, `AP` has the source in front of the patient and the detector at
    the back, seen from the tube; `LATERAL` has the source at the patient's *left*, a right
    lateral (RL), but is seen from the tube and so hung like a left one, anterior on the image's
    left. For other stored orders the sides follow the file's axes: of a file stored as L, A, S,
    `AP` is in truth a PA beam. `Geometry.view_position` tells the beam's true side (AP, PA, RL)
    where it is within 15 degrees of one, and is empty otherwise; it is never LL, which would
    promise a film against the left side hung as usual.

    Parameters
    ----------
    volume, projection, recipe
        As in `drr_rate`.

    Raises
    ------
    GeometryError, ProjectionError
        As `drr_rate`.
    """
    recipe = _checked(recipe)
    box = Box.of(volume, recipe.order)
    rotation = _rotation(recipe, _projection(projection))
    return Pose.of(box, recipe, rotation, volume.name).geometry(box, recipe)


def rescale_to_8_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Least value to 0, greatest to 255, cut to whole numbers: ITK's RescaleIntensityImageFilter.

    Parameters
    ----------
    values
        Any shape and real type, finite. One value everywhere gives 0 everywhere.

    Raises
    ------
    DisplayError
        For no values, or values that are not finite numbers.
    """
    return _rescale(values, 255).astype(np.uint8)


def _rescale(values: NDArray[Any], top: int) -> NDArray[np.float64]:
    array = np.asarray(values)
    if array.size == 0 or array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise DisplayError(
            f"a picture is made from finite numbers, got {array.dtype} of shape {array.shape}"
            + (" with NaN or infinite values" if array.size and array.dtype.kind == "f" else "")
        )
    # One product and one sum in double precision, as the filter does it: another order of
    # operations moves values across whole numbers.
    low, high = float(array.min()), float(array.max())
    scale = top / (high - low) if high > low else 0.0
    return np.clip(array.astype(np.float64) * scale + (0.0 - low * scale), 0.0, top)


def _checked(recipe: Any) -> DrrRate:
    if recipe is None:
        return DrrRate()
    if not isinstance(recipe, DrrRate):
        raise ProjectionError(f"recipe must be a DrrRate, got {recipe!r}; see DrrRate.from_dict")
    return recipe


def _projection(name: Any) -> str:
    if isinstance(name, str) and name.strip().upper() in PROJECTIONS:
        return name.strip().upper()
    near = difflib.get_close_matches(str(name).strip().upper(), PROJECTIONS, n=1, cutoff=0.4)
    raise ProjectionError(
        f"DRR-RATE has no projection {name!r}{f', did you mean {near[0]!r}' if near else ''}; "
        f"it has {' and '.join(PROJECTIONS)}"
    )


def _rotation(recipe: DrrRate, projection: str) -> Vector:
    x, y, z = recipe.rotation
    return x, y, z - 90.0 if projection == "LATERAL" else z


def _letter(direction: Any) -> str:
    """The patient's side that a vector points to most: L, R, P, A, H or F, as in DICOM."""
    axis = int(np.argmax(np.abs(direction)))
    return ("LR", "PA", "HF")[axis][0 if direction[axis] > 0 else 1]


def _single(value: float) -> float:
    return float(np.float32(value))


def _numbers(name: str, values: Any, count: int) -> tuple[float, ...]:
    try:
        numbers = tuple(values)
        good = len(numbers) == count and not any(
            isinstance(n, bool | np.bool_) or not isinstance(n, Real) or not math.isfinite(n)
            for n in numbers
        )
    except TypeError:
        numbers, good = (values,), False
    if not good:
        shown = numbers[0] if count == 1 else values
        wanted = "a finite number" if count == 1 else f"{count} finite numbers"
        raise GeometryError(f"{name} must be {wanted}, got {shown!r}")
    return tuple(float(n) for n in numbers)


def _shape(value: Any, *, strict: bool) -> tuple[int, int]:
    try:
        rows, columns = (int(n) for n in value)
        exact = (rows, columns) == tuple(value) and min(rows, columns) >= 1
    except (TypeError, ValueError, OverflowError):
        exact = False
    if not exact:
        raise GeometryError(f"shape must be two whole numbers above zero, got {value!r}")
    if strict and (rows % 2 or columns % 2):
        # A ray in a plane between voxels is where the filter divides by what rounding leaves.
        raise GeometryError(
            f"shape must be even in strict mode, got {rows} x {columns}: the published filter's "
            "sums along the middle row and column of an odd one are noise; use an even shape or "
            "strict=False"
        )
    return rows, columns


def _known(cls: Any, values: Mapping[str, Any], error: type[Exception]) -> dict[str, Any]:
    known = [f.name for f in fields(cls)]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            raise error(
                f"{cls.__name__} has no option {key!r}"
                f"{f', did you mean {near[0]!r}' if near else ''}; options are {', '.join(known)}"
            )
    return dict(values)
