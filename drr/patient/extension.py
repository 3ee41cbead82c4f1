"""Continue a scan beyond its ends and its round field of view, so that neither shows in a film.

What is added is no anatomy: it continues what the scan shows at its edge, ever more blurred, so
that a field with a radiographer's margins and divergent rays ends nowhere in empty air.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.checks import Recorded, within
from drr.errors import VolumeError
from drr.kernels.cpu.body.continuation import blend_slices, blur_inside, mean_slice
from drr.kernels.cpu.body.cut import kept_box
from drr.kernels.cpu.body.morphology import outermost, shadow
from drr.patient.anatomy import Anatomy, check_anatomy
from drr.patient.outline import OUTLINE_PARAMETERS, Outline, estimate_outline
from drr.volume import Volume

__all__ = [
    "CONTINUATION_PARAMETERS",
    "EXTENSION_PARAMETERS",
    "Extension",
    "Margins",
    "extend",
    "fill_margins",
    "margins",
    "repeated",
]

EXTENSION_PARAMETERS = {
    "longest_mm": 400.0,
    "mean_mm": 12.0,
    "to_mean_mm": 6.0,
    "to_blurred_mm": 40.0,
    "alike": 0.1,
    "blur_mm": 10.0,
    "lowest_hu": -1000,
    "highest_hu": 1000,
    "background_hu": -1000,
    "tissue_hu": -400,
}
"""Lengths (mm) and values (HU) of `extend`'s ends, for records; of its sides,
`drr.patient.outline`.

Beyond the last slice, over `to_mean_mm`, the slices turn into the mean of the last `mean_mm`;
over `to_blurred_mm` into that mean blurred within the slice by a standard deviation of `blur_mm`.
From `to_mean_mm` on, slices are the same while the share of the blurred mean in them grows by no
more than `alike`.
"""


CONTINUATION_PARAMETERS = {
    **EXTENSION_PARAMETERS,
    **{f"outline_{key}": value for key, value in OUTLINE_PARAMETERS.items()},
}
"""Of ends and sides, for records."""


@dataclass(frozen=True, kw_only=True)
class Extension(Recorded):
    """How far a scan is continued: immutable, and `eval(repr(extension)) == extension`.

    Parameters
    ----------
    superior_mm, inferior_mm
        Beyond the last slice towards head and feet, along the slices' axis; rounded up to whole
        slices. 0 adds nothing.
    sides
        Whether the body is continued where the field of view cuts its sides.

    Raises
    ------
    VolumeError
        For a length that is not a number from 0 to 400 mm, or sides that are not True or False.
    """

    error = VolumeError
    unknown_key = "extension: unknown key {key!r}{question}"

    superior_mm: float = 0.0
    inferior_mm: float = 0.0
    sides: bool = False

    def __post_init__(self) -> None:
        for name in ("superior_mm", "inferior_mm"):
            self._set(**{name: _length(name, getattr(self, name))})
        if not isinstance(self.sides, bool | np.bool_):
            raise VolumeError(f"extension: sides must be True or False, not {self.sides!r}")
        self._set(sides=bool(self.sides))

    def __bool__(self) -> bool:
        return self.sides or self.superior_mm > 0 or self.inferior_mm > 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Margins:
    """The voxels that an extension adds to one volume, or a crop takes away.

    Parameters
    ----------
    before, after
        Voxels added at the lower and upper end of the axes z, y and x; negative where taken away.
    outline
        The body's estimated outline where the field of view cuts it, or None.
    """

    before: tuple[int, int, int]
    after: tuple[int, int, int]
    outline: Outline | None = None

    def shape(self, volume: Volume) -> tuple[int, int, int]:
        """Voxels along z, y and x with the margins."""
        z, y, x = (b + n + a for b, n, a in zip(self.before, volume.shape, self.after, strict=True))
        return z, y, x

    def affine(self, volume: Volume) -> NDArray[np.float64]:
        """`(4, 4)` voxel index (x, y, z) with the margins to LPS mm."""
        affine = np.array(volume.affine)
        affine[:3, 3] -= affine[:3, :3] @ np.array(self.before[::-1])
        return affine


def extend(
    volume: Volume,
    anatomy: Anatomy,
    *,
    superior_mm: float = 0.0,
    inferior_mm: float = 0.0,
    sides: bool = False,
    threads: int | None = None,
) -> Volume:
    """Continue a volume beyond its ends and, if asked, beyond its field of view.

    Beyond an end the last slice is repeated: it turns first into the mean of the last slices, so
    that noise makes no streaks, then into that mean blurred within the slice, so that ribs and
    bowel fade while the spine goes on. At the sides the body's outline is carried on smoothly, in
    every slice, from where the field of view cuts it, and filled with soft tissue that turns
    into fat. Voxels of the scan stay as they are; but voxels of padding or air inside the outline
    at the edge of the field become part of the fill.

    Extend what `drr.patient.cleaning.clean` returned, or a couch goes on too; `clean` itself takes
    an `Extension`, which saves a copy.

    Parameters
    ----------
    volume
        HU in the patient's frame.
    anatomy
        Anatomy of this volume, from `find_anatomy`. It stays valid for the result wherever points
        in mm are meant, but knows nothing of what was added.
    superior_mm, inferior_mm
        How far to go on towards head and feet, mm.
    sides
        Whether to fill what the field of view cuts off.
    threads
        CPU threads; all available ones by default.

    Returns
    -------
    The larger volume, its affine moved so that every voxel stays where it was, with a note that
    says what was added; or `volume` itself when nothing was.

    Raises
    ------
    VolumeError
        For lengths that are not numbers from 0 to 400 mm, or an anatomy of another grid.
    """
    extension = Extension(superior_mm=superior_mm, inferior_mm=inferior_mm, sides=sides)
    check_anatomy(volume, anatomy)
    added = margins(volume, anatomy, extension)
    if added is None:
        return volume
    out = np.full(added.shape(volume), EXTENSION_PARAMETERS["background_hu"], np.int16)
    (bz, by, bx), (nz, ny, nx) = added.before, volume.shape
    out[bz : bz + nz, by : by + ny, bx : bx + nx] = volume.hu
    return fill_margins(volume, out, added, threads=threads)


def margins(
    volume: Volume, anatomy: Anatomy, extension: Extension, *, crop: bool = False
) -> Margins | None:
    """The voxels to add to a volume, or to crop from around the body; None when there are none."""
    step = float(volume.spacing[2])
    below, above = (
        math.ceil(length / step - 1e-6) for length in (extension.inferior_mm, extension.superior_mm)
    )
    # Voxels before the first and beyond the last, along y and x.
    sides = [(0, 0), (0, 0)]
    if crop:
        box = kept_box(anatomy.footprint, anatomy.factors, volume.shape)
        sides = [(-start, stop - n) for (start, stop), n in zip(box, volume.shape[1:], strict=True)]
    outline = estimate_outline(volume, anatomy) if extension.sides else None
    if outline is not None:
        pairs = zip(sides, outline.beyond(volume), strict=True)
        sides = [(max(a[0], b[0]), max(a[1], b[1])) for a, b in pairs]
    (y0, y1), (x0, x1) = sides
    if not (below or above or any((y0, y1, x0, x1)) or outline is not None):
        return None
    return Margins(before=(below, y0, x0), after=(above, y1, x1), outline=outline)


def fill_margins(
    volume: Volume, out: NDArray[np.int16], added: Margins, *, threads: int | None = None
) -> Volume:
    """Fill the margins around a volume's voxels, which already lie in `out`, and say so.

    Beside the voxels, `out` is background.
    """
    (bz, by, bx), nz = added.before, volume.shape[0]
    scan = out[bz : bz + nz]
    notes = []
    if added.outline is not None:
        added.outline.fill(volume, scan, (by, bx), threads=threads)
        notes.append(added.outline.note)
    for name, slices, beyond in (
        ("below", scan, out[:bz][::-1]),
        ("above", scan[::-1], out[bz + nz :]),
    ):
        if len(beyond):
            _continue_end(slices, beyond, volume.spacing, threads=threads)
            notes.append(
                f"extension: {len(beyond) * float(volume.spacing[2]):.0f} mm {name} the scan "
                "repeat its last slices, blurred with the distance; they are not anatomy"
            )
    return replace(volume, hu=out, affine=added.affine(volume), notes=(*volume.notes, *notes))


def repeated(added: int, spacing: NDArray[np.float64]) -> NDArray[np.int32]:
    """`(added,)` which of the slices that differ each one beyond an end is, counted from it on."""
    p = EXTENSION_PARAMETERS
    distance, _, blurred = _beyond(added, spacing)
    steps = np.where(blurred < 1, blurred // p["alike"], np.inf)
    own = distance <= p["to_mean_mm"]
    changes = own[1:] | (steps[1:] > steps[:-1])
    return np.cumsum(np.concatenate([[0], changes])[:added]).astype(np.int32)


def _beyond(added: int, spacing: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Of slices beyond an end, the distance, and how far on the way to the mean and the blurred."""
    p = EXTENSION_PARAMETERS
    distance = np.arange(1.0, added + 1) * spacing[2]
    to_mean = np.minimum(distance / p["to_mean_mm"], 1.0)
    to_blurred = np.minimum(distance / p["to_blurred_mm"], 1.0)
    return distance, to_mean, to_blurred * to_blurred * (3 - 2 * to_blurred)


def _continue_end(
    scan: NDArray[np.int16],
    beyond: NDArray[np.int16],
    spacing: NDArray[np.float64],
    *,
    threads: int | None = None,
) -> None:
    """Fill slices beyond an end of a scan by the last one, a mean of the last, and that blurred.

    Parameters
    ----------
    scan, beyond
        `(nz, ny, nx)` and `(n, ny, nx)` int16, both counted from the end on.
    spacing
        `(3,)` mm along x, y and z.
    """
    p = EXTENSION_PARAMETERS
    slices = np.empty((3, *beyond.shape[1:]), np.float32)
    last, mean, blurred = slices
    count = max(1, round(p["mean_mm"] / float(spacing[2])))
    limits = int(p["lowest_hu"]), int(p["highest_hu"])
    mean_slice(scan[:1], *limits, last)
    mean_slice(scan[:count], *limits, mean)
    inside = _filled(mean > p["tissue_hu"])
    sigmas = p["blur_mm"] / float(spacing[1]), p["blur_mm"] / float(spacing[0])
    blur_inside(mean, inside, sigmas, blurred)
    numbers = repeated(len(beyond), spacing)
    # Of slices that are the same, the mean.
    _, to_mean, to_blurred = (
        np.bincount(numbers, way) / np.bincount(numbers) for way in _beyond(len(beyond), spacing)
    )
    shares = [(1 - to_blurred) * (1 - to_mean), (1 - to_blurred) * to_mean, to_blurred]
    weights = np.stack(shares, axis=1).astype(np.float32)
    blend_slices(slices, weights[numbers], beyond, threads=threads)


def _filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask, and what has some of it on all four sides."""
    plane = mask[None]
    start, stop = outermost(plane)
    x = np.arange(mask.shape[1], dtype=np.int32)
    between = (x >= start[0, :, None]) & (x < stop[0, :, None])
    return np.asarray(between & shadow(plane)[0] & shadow(plane, backward=True)[0])


def _length(name: str, value: Any) -> float:
    longest = EXTENSION_PARAMETERS["longest_mm"]
    wanted = f"a length from 0 to {longest:g} mm"
    return within(f"extension: {name}", value, 0, longest, error=VolumeError, wanted=wanted)
