"""The numbers of one sample of a randomised data set, and what they change."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.checks import number, unknown, whole
from drr.errors import PolicyError
from drr.geometry.views import View
from drr.physics.attenuation import Attenuation
from drr.randomise import picture_effects
from drr.randomise.quantities import CHANCES, CORNERS, LIMITS, Quantities

__all__ = ["Draw", "check_seed", "within"]

# Blurs are stated in pixels of a picture this long, so that they look alike at any size.
_REFERENCE = 512
# Quantities that are effects of the same name, in the order in which they are applied.
_ON_GREYS = ("clahe", "gamma", "gain", "contrast", "brightness")
_AFFINE = ("rotation", "scale", "shear_across", "shear_down", "shift_across", "shift_down")


@dataclass(frozen=True, kw_only=True)
class _Origin:
    seed: int = 0
    index: int = 0
    policy: str = ""
    noise_seed: int = 0


@dataclass(frozen=True, kw_only=True, repr=False)
class Draw(Quantities[float, bool, str], _Origin):
    """The numbers of one sample; None and False leave things as they are. `eval(repr(d)) == d`.

    Parameters
    ----------
    seed, index, policy
        The policy that it was drawn from, and which of its samples it is.
    noise_seed
        Seed of the picture's noise and, if one likes, of the detector's.

    Every other field is a quantity of `drr.randomise.quantities.Quantities`, which has its unit
    and says what it changes.

    Raises
    ------
    PolicyError
        For a number outside `LIMITS`, or none.
    """

    unknown_key = "there is no drawn quantity {key!r}{near}; there are {known}"

    def __post_init__(self) -> None:
        for name in ("seed", "index", "noise_seed"):
            self._set(**{name: check_seed(name, getattr(self, name))})
        for name in LIMITS:
            if (value := getattr(self, name)) is not None:
                self._set(**{name: within(name, value)})
        for name in CHANCES:
            if not isinstance(value := getattr(self, name), bool | np.bool_):
                raise PolicyError(f"{name} is true or false, got {value!r}")
            self._set(**{name: bool(value)})
        if self.marker_corner not in CORNERS:
            raise unknown("corner", self.marker_corner, CORNERS, error=PolicyError)

    def to_dict(self) -> dict[str, Any]:
        """Where it came from, and what is varied, for JSON."""
        return {f.name: getattr(self, f.name) for f in fields(_Origin)} | self.changed()

    def attenuation(self, attenuation: Attenuation) -> Attenuation:
        """The attenuation with that of each tissue multiplied.

        Tissues are told by HU: lung up to -500, fat at -100, soft tissue from 20 to 120, bone from
        300; the factor runs straight in between and the product is made straight between those
        HU and the knots there were. A mapping from HU to anything else that is attenuated (a
        channel of a polychromatic beam) may be given as well.
        """
        factors = [
            1.0 if factor is None else factor
            for factor in (self.lung, self.fat, self.soft_tissue, self.soft_tissue, self.bone)
        ]
        if set(factors) == {1.0}:
            return attenuation
        anchors = (-500.0, -100.0, 20.0, 120.0, 300.0)
        knots = {*attenuation.hu, *(hu for hu in anchors if hu > attenuation.hu[0])}
        if max(knots) <= anchors[-1]:
            knots.add(anchors[-1] + 1000.0)  # so that what lies beyond has the slope of bone
        hu = np.array(sorted(knots))
        mu = attenuation(hu) * np.interp(hu, anchors, factors)
        name = f"{attenuation.name.removesuffix('-varied')}-varied"
        return Attenuation(hu=tuple(hu.tolist()), mu=tuple(mu.round(9).tolist()), name=name)

    def view(self, view: View) -> View:
        """The view with angles, offset, distances and field varied.

        One whose beam is turned is no longer what its name says and is called `pa-varied`. A
        parallel beam has no distances to vary.

        Raises
        ------
        GeometryError
            When the distances drawn put the detector before the isocentre.
        """
        changes: dict[str, Any] = {}
        for angle in ("primary_angle", "secondary_angle", "detector_rotation"):
            if turn := getattr(self, angle):
                changes[angle] = math.fmod(getattr(view, angle) + turn, 360.0)
        turned = {"primary_angle", "secondary_angle"} & set(changes)
        if turned and view.name and not view.name.endswith("-varied"):
            changes["name"] = f"{view.name}-varied"
        if self.offset_across or self.offset_down:
            across, down = view.offset
            offset = across + (self.offset_across or 0), down + (self.offset_down or 0)
            changes["offset"] = offset
        if self.field_size is not None:
            height, width = view.detector_size
            changes["detector_size"] = height * self.field_size, width * self.field_size
        changes |= self._distances(view)
        return replace(view, **changes)

    def _distances(self, view: View) -> dict[str, float]:
        before = view.source_to_detector_distance
        if before == math.inf:
            return {}
        detector = self.source_to_detector_distance or before
        detector *= self.source_to_detector_factor or 1.0
        changes = {} if detector == before else {"source_to_detector_distance": detector}
        if self.source_to_isocenter_distance is not None:
            changes["source_to_isocenter_distance"] = self.source_to_isocenter_distance
        elif view.source_to_isocenter_distance is not None and changes:
            behind = before - view.source_to_isocenter_distance
            changes["source_to_isocenter_distance"] = detector - behind
        return changes

    @property
    def beam_overrides(self) -> dict[str, float]:
        """What is drawn of `energy_kev` and `kvp`."""
        return self._drawn("energy_kev", "kvp")

    @property
    def detector_overrides(self) -> dict[str, float | None]:
        """Fields to replace in a `Detector`: `receptor_air_kerma`, which rules out `air_kerma`."""
        drawn: dict[str, float | None] = {**self._drawn("receptor_air_kerma")}
        return {"air_kerma": None, **drawn} if drawn else drawn

    def _drawn(self, *names: str) -> dict[str, float]:
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def picture(self, grey: NDArray[np.float32], *, sides: str = "RL") -> NDArray[np.float32]:
        """The picture with everything drawn for it, in this order.

        Percentiles, mirror image, affine map, blur, sharpness, CLAHE, gamma, gain, contrast,
        brightness, noise, border, marker, inversion.

        Parameters
        ----------
        grey
            `(rows, columns)` float32 in [0, 1].
        sides
            Letters that a marker in the picture's left and right half shows. `RL` is right for
            frontal pictures as they are hung, and `LL` and `RR` for laterals; a mirror image turns
            them round.

        Returns
        -------
        `(rows, columns)` float32 in [0, 1].

        Raises
        ------
        PolicyError
            For anything else than such a picture.
        """
        grey = picture_effects.checked(grey)
        if not (float(grey.min()) >= 0 and float(grey.max()) <= 1):
            raise PolicyError(
                f"grey levels are within 0 and 1, got {grey.min():g} to {grey.max():g}; display "
                "the line integrals first"
            )
        if len(sides) != 2 or not set(sides) <= set(picture_effects.MARKERS):
            raise PolicyError(f"sides is two letters of R and L such as 'RL', got {sides!r}")
        rows, columns = grey.shape
        pixel = max(rows, columns) / _REFERENCE
        result = grey.copy()
        if self.clip is not None:
            result = picture_effects.clip_percentiles(result, self.clip)
        if self.flip:
            result, sides = picture_effects.flip(result), sides[::-1]
        if self._drawn(*_AFFINE):
            result = picture_effects.affine(
                result,
                rotation=self.rotation or 0.0,
                scale=1.0 if self.scale is None else self.scale,
                shear=(self.shear_across or 0.0, self.shear_down or 0.0),
                shift=((self.shift_across or 0.0) * columns, (self.shift_down or 0.0) * rows),
            )
        if self.blur is not None:
            result = picture_effects.blur(result, self.blur * pixel)
        if self.sharpness is not None:
            # sqrt(6 / 13) pixels of 256.
            sigma = math.sqrt(6 / 13) * 2 * pixel
            result = picture_effects.sharpen(result, self.sharpness, sigma=sigma)
        for name, amount in self._drawn(*_ON_GREYS).items():
            result = getattr(picture_effects, name)(result, amount)
        if self.noise is not None:
            result = picture_effects.noise(result, self.noise, seed=self.noise_seed)
        if self._drawn("border_top", "border_bottom", "border_left", "border_right"):
            result = self._with_border(result)
        if self.marker_height is not None:
            result = self._with_marker(result, self.marker_height, sides)
        return picture_effects.invert(result) if self.invert else result

    def _with_border(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        rows, columns = picture.shape
        return picture_effects.border(
            picture,
            top=round((self.border_top or 0.0) * rows),
            bottom=round((self.border_bottom or 0.0) * rows),
            left=round((self.border_left or 0.0) * columns),
            right=round((self.border_right or 0.0) * columns),
            grey=1.0 if self.border_white else 0.0,
        )

    def _with_marker(
        self, picture: NDArray[np.float32], height: float, sides: str
    ) -> NDArray[np.float32]:
        rows, columns = picture.shape
        size = max(height * rows, 4.0)
        across = (0.05 if self.marker_across is None else self.marker_across) * columns
        down = (0.05 if self.marker_down is None else self.marker_down) * rows
        left, top = "left" in self.marker_corner, "top" in self.marker_corner
        width = size * picture_effects.MARKER_WIDTH
        return picture_effects.marker(
            picture,
            # The letter is that of the half of the picture in which it lies.
            sides[0 if (across + width / 2 < columns / 2) == left else 1],
            row=down if top else rows - down - size,
            column=across if left else columns - across - width,
            height=size,
            grey=1.0 if self.marker_grey is None else self.marker_grey,
        )


def check_seed(name: str, value: Any) -> int:
    """A whole number that seeds random numbers."""
    return whole(name, value, error=PolicyError, most=2**63 - 1)


def within(key: str, value: Any) -> float:
    """A number that a quantity may be."""
    value = number(key, value, error=PolicyError)
    low, high = LIMITS[key]
    if not low <= value <= high:
        raise PolicyError(
            f"{key} of {value:g} is impossible; it must be within {low:g} and {high:g}"
        )
    return value
