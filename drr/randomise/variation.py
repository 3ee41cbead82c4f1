"""The numbers of one sample of a randomised data set, and what they change."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.errors import PolicyError
from drr.geometry.views import View
from drr.physics.attenuation import Attenuation
from drr.randomise import picture_effects
from drr.randomise.ranges import known, number, unknown

__all__ = ["CHANCES", "CORNERS", "LIMITS", "Draw", "whole", "within"]

CORNERS = ("top left", "top right", "bottom left", "bottom right")

LIMITS: dict[str, tuple[float, float]] = {
    "lung": (0, 20),
    "fat": (0, 20),
    "soft_tissue": (0, 20),
    "bone": (0, 20),
    "energy_kev": (20, 150),
    "kvp": (60, 150),
    "primary_angle": (-360, 360),
    "secondary_angle": (-90, 90),
    "detector_rotation": (-360, 360),
    "offset_across": (-2000, 2000),
    "offset_down": (-2000, 2000),
    "source_to_detector_distance": (100, 10000),
    "source_to_detector_factor": (0.1, 10),
    "source_to_isocenter_distance": (100, 10000),
    "field_size": (0.05, 20),
    "receptor_air_kerma": (0.001, 1000),
    "clip": (0, 49.9),
    "rotation": (-360, 360),
    "scale": (0.05, 20),
    "shear_across": (-44, 44),
    "shear_down": (-44, 44),
    "shift_across": (-1, 1),
    "shift_down": (-1, 1),
    "blur": (0, 20),
    "sharpness": (0, 10),
    "clahe": (1, 256),
    "gamma": (0.05, 20),
    "gain": (0, 10),
    "contrast": (0, 10),
    "brightness": (-1, 1),
    "noise": (0, 1),
    "border_top": (0, 0.9),
    "border_bottom": (0, 0.9),
    "border_left": (0, 0.9),
    "border_right": (0, 0.9),
    "marker_height": (0.02, 0.5),
    "marker_across": (0, 1),
    "marker_down": (0, 1),
    "marker_grey": (0, 1),
}
"""What every quantity may be at most; beyond it the picture would be none."""

CHANCES = ("flip", "border_white", "invert")
# Blurs are stated in pixels of a picture this long, so that they look alike at any size.
_REFERENCE = 512


@dataclass(frozen=True, kw_only=True)
class Draw:
    """The numbers of one sample; None and False leave things as they are. `eval(repr(d)) == d`.

    Parameters
    ----------
    seed, index, policy
        Where it came from.
    noise_seed
        Of the picture's noise and, if one likes, of the detector's.
    lung, fat, soft_tissue, bone
        Factors on the attenuation of these tissues.
    energy_kev, kvp
        Photon energy of a monoenergetic beam; tube voltage of a polychromatic one.
    primary_angle, secondary_angle, detector_rotation
        Degrees added to the view's.
    offset_across, offset_down
        mm added to the view's offset.
    source_to_detector_distance, source_to_isocenter_distance
        mm, instead of the view's.
    source_to_detector_factor
        On the source-to-detector distance: the tube moves, patient and detector stay.
    field_size
        Factor on height and width of the detector.
    receptor_air_kerma
        Air kerma at the detector in microgray, for its noise.
    clip
        Percentile of grey levels, at either end, stretched to black and white.
    flip
        Left for right.
    rotation, scale, shear_across, shear_down, shift_across, shift_down
        Of what the picture shows: degrees anticlockwise, factor, degrees, and fractions of width
        and height to the right and down. Black comes in.
    blur
        Gaussian sigma in 1/512 of the longer side (pixels of a 512-pixel picture).
    sharpness
        1 leaves it, 0 smooths, above 1 sharpens, over 1.36/512 of the longer side: that of the
        customary 3x3 kernel in a 256-pixel picture.
    clahe
        Clip limit, in mean bins; 8 x 8 tiles.
    gamma, gain, contrast, brightness
        Exponent; factor; factor about the mean; shift in fractions of white.
    noise
        Gaussian sigma in fractions of white.
    border_top, border_bottom, border_left, border_right
        Covered edges, fractions of height and width.
    border_white
        White instead of black ones.
    marker_height
        Side marker, fraction of the height.
    marker_corner, marker_across, marker_down, marker_grey
        Nearest corner, its distance from there (fractions of width and height), its grey level.
    invert
        White for black, last of all.

    Raises
    ------
    PolicyError
        For a number outside `LIMITS`, or none.
    """

    seed: int = 0
    index: int = 0
    policy: str = ""
    noise_seed: int = 0
    lung: float | None = None
    fat: float | None = None
    soft_tissue: float | None = None
    bone: float | None = None
    energy_kev: float | None = None
    kvp: float | None = None
    primary_angle: float | None = None
    secondary_angle: float | None = None
    detector_rotation: float | None = None
    offset_across: float | None = None
    offset_down: float | None = None
    source_to_detector_distance: float | None = None
    source_to_detector_factor: float | None = None
    source_to_isocenter_distance: float | None = None
    field_size: float | None = None
    receptor_air_kerma: float | None = None
    clip: float | None = None
    flip: bool = False
    rotation: float | None = None
    scale: float | None = None
    shear_across: float | None = None
    shear_down: float | None = None
    shift_across: float | None = None
    shift_down: float | None = None
    blur: float | None = None
    sharpness: float | None = None
    clahe: float | None = None
    gamma: float | None = None
    gain: float | None = None
    contrast: float | None = None
    brightness: float | None = None
    noise: float | None = None
    border_top: float | None = None
    border_bottom: float | None = None
    border_left: float | None = None
    border_right: float | None = None
    border_white: bool = False
    marker_height: float | None = None
    marker_corner: str = "top left"
    marker_across: float | None = None
    marker_down: float | None = None
    marker_grey: float | None = None
    invert: bool = False

    def __post_init__(self) -> None:
        for name in ("seed", "index", "noise_seed"):
            object.__setattr__(self, name, whole(name, getattr(self, name)))
        for name in LIMITS:
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, within(name, value))
        for name in CHANCES:
            if not isinstance(value := getattr(self, name), bool | np.bool_):
                raise PolicyError(f"{name} is true or false, got {value!r}")
            object.__setattr__(self, name, bool(value))
        if self.marker_corner not in CORNERS:
            raise unknown("corner", self.marker_corner, CORNERS)

    def __repr__(self) -> str:
        changed = (
            f"{f.name}={value!r}"
            for f in fields(self)
            if (value := getattr(self, f.name)) != f.default
        )
        return f"Draw({', '.join(changed)})"

    def to_dict(self) -> dict[str, Any]:
        """For JSON: where it came from, and what is varied."""
        always = ("seed", "index", "policy", "noise_seed")
        return {
            f.name: value
            for f in fields(self)
            if (value := getattr(self, f.name)) != f.default or f.name in always
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Draw:
        """Inverse of `to_dict`; unknown keys are refused by name."""
        return cls(**known(cls, values, "drawn quantity"))

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
        if self._drawn(
            "rotation", "scale", "shear_across", "shear_down", "shift_across", "shift_down"
        ):
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
        if self.clahe is not None:
            result = picture_effects.clahe(result, self.clahe)
        if self.gamma is not None:
            result = picture_effects.gamma(result, self.gamma)
        if self.gain is not None:
            result = picture_effects.gain(result, self.gain)
        if self.contrast is not None:
            result = picture_effects.contrast(result, self.contrast)
        if self.brightness is not None:
            result = picture_effects.brightness(result, self.brightness)
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


def whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value < 2**63:
        raise PolicyError(f"{name} must be a whole number from 0 to 2^63 - 1, got {value!r}")
    return int(value)


def within(key: str, value: Any) -> float:
    value = number(key, value)
    low, high = LIMITS[key]
    if not low <= value <= high:
        raise PolicyError(
            f"{key} of {value:g} is impossible; it must be within {low:g} and {high:g}"
        )
    return value
