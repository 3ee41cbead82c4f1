"""Pictures by the published DRR-RATE recipe: its geometry, its sums and its grey levels.

Everything here works on the volume as read: no clean-up, no clamping.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import drr
from drr.checks import whole
from drr.display.minmax import rescale_to_8_bits
from drr.errors import ProjectionError, VolumeError
from drr.geometry.geometry import Geometry, Vector
from drr.memory import check_memory
from drr.published.camera import Box, Pose
from drr.published.recipe import MU_PER_HU, DrrRate, check_recipe, find_projection
from drr.volume import Volume

__all__ = ["DrrRateImage", "drr_rate", "drr_rate_geometry", "path_sums"]

# Below this, mm, crossings 1.3 m from the source no longer differ in single precision.
_SMALLEST_VOXEL = 0.01


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
    recipe = check_recipe(recipe)
    name = find_projection(projection)
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
    recipe = check_recipe(recipe)
    box = Box.of(volume, recipe.order)
    rotation = _rotation(recipe, find_projection(projection))
    pose = Pose.of(box, recipe, rotation, volume.name)
    geometry = pose.geometry(box, recipe)
    if threads is not None:
        whole("threads", threads, error=ProjectionError, least=1)
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
        sums = (integrals * (pose.planes / (MU_PER_HU * lengths))).astype(np.float32)
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
    recipe = check_recipe(recipe)
    box = Box.of(volume, recipe.order)
    rotation = _rotation(recipe, find_projection(projection))
    return Pose.of(box, recipe, rotation, volume.name).geometry(box, recipe)


def _rotation(recipe: DrrRate, projection: str) -> Vector:
    x, y, z = recipe.rotation
    return x, y, z - 90.0 if projection == "LATERAL" else z


def _letter(direction: Any) -> str:
    """The patient's side that a vector points to most: L, R, P, A, H or F, as in DICOM."""
    axis = int(np.argmax(np.abs(direction)))
    return ("LR", "PA", "HF")[axis][0 if direction[axis] > 0 else 1]


def _single(value: float) -> float:
    return float(np.float32(value))
