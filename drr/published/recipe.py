"""The published DRR-RATE recipe: what its program was told.

The data set was made by `getDRRSiddonJacobsRayTracing -threshold -100 -t 0 300 0`, with `-rz -90`
for LATERAL, and that program's defaults (J. Wu, "ITK-based implementation of two-projection 2D/3D
registration method", Insight Journal 784, 2010). docs/drr_rate.md has the recipe and what follows
from it; `drr.published.render` makes its pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from drr.checks import Recorded, choice, did_you_mean, flag, items, number
from drr.errors import GeometryError, ProjectionError
from drr.geometry.geometry import Vector, check_shape
from drr.physics.attenuation import Attenuation

__all__ = ["PROJECTIONS", "DrrRate", "check_recipe", "find_projection"]

PROJECTIONS = ("AP", "LATERAL")
"""The two folders of the data set; see `drr.published.render.drr_rate_geometry` for what they are
in the patient."""

MU_PER_HU = 1e-5
"""1/mm per HU above the threshold: an arbitrary scale, which makes line integrals of a chest's
size."""


@dataclass(frozen=True, kw_only=True)
class DrrRate(Recorded):
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

    error = ProjectionError

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
            self._set(**{name: _numbers(name, getattr(self, name), count)})
        for name in ("threshold", "source_to_isocenter_distance"):
            self._set(**{name: number(name, getattr(self, name), error=GeometryError)})
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
        choice("order", self.order, ("stored", "patient"), error=ProjectionError)
        for name in ("strict", "truncate"):
            flag(name, getattr(self, name), error=ProjectionError)
        self._set(shape=check_shape("shape", self.shape))
        if self.strict and (self.shape[0] % 2 or self.shape[1] % 2):
            # A ray in a plane between voxels is where the filter divides by what rounding leaves.
            raise GeometryError(
                f"shape must be even in strict mode, got {self.shape[0]} x {self.shape[1]}: the "
                "published filter's sums along the middle row and column of an odd one are noise; "
                "use an even shape or strict=False"
            )

    @property
    def attenuation(self) -> Attenuation:
        """The threshold as an attenuation, 1e-5 / mm for each HU above it."""
        return Attenuation(
            hu=(self.threshold, self.threshold + 1000.0),
            mu=(0.0, 1000.0 * MU_PER_HU),
            name="drr-rate",
        )


def check_recipe(recipe: Any) -> DrrRate:
    """The recipe, by default the published one."""
    if recipe is None:
        return DrrRate()
    if not isinstance(recipe, DrrRate):
        raise ProjectionError(f"recipe must be a DrrRate, got {recipe!r}; see DrrRate.from_dict")
    return recipe


def find_projection(name: Any) -> str:
    """`AP` or `LATERAL`, from a name in any case."""
    if isinstance(name, str) and name.strip().upper() in PROJECTIONS:
        return name.strip().upper()
    near = did_you_mean(str(name).strip().upper(), PROJECTIONS, cutoff=0.4)
    raise ProjectionError(
        f"DRR-RATE has no projection {name!r}{near}; it has {' and '.join(PROJECTIONS)}"
    )


def _numbers(name: str, values: Any, count: int) -> tuple[float, ...]:
    wanted = f"{count} finite numbers"
    given = items(name, values, count, error=GeometryError, wanted=wanted)
    return tuple(number(name, value, error=GeometryError, wanted=wanted) for value in given)
