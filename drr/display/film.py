"""The film look: what a digital radiography system makes of line integrals for reading.

The logarithm of the detector's signal is the line integral. What follows is the exposure (which
line integrals are black and white, found from the anatomy), multi-scale contrast, and an S-shaped
characteristic curve; see docs/film.md. `film_for` decides on numbers, `Film` holds and applies
them, so that a recorded `Film` repeats a picture exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from drr.checks import Recorded, flag, number
from drr.errors import DisplayError
from drr.geometry.geometry import Geometry

if TYPE_CHECKING:
    from drr.patient.anatomy import Anatomy

__all__ = ["FILM_PARAMETERS", "Film", "film_for"]

FILM_PARAMETERS: dict[str, Any] = {
    "lung_grey": 0.38,
    "lung_between": (0.1, 0.7),
    "thin_between": (0.1, 0.3),
    "dense_grey": 0.87,
    "dense_between": (0.8, 0.98),
    "air": (0.2, 0.4),
    "smallest_range": 0.5,
    "gain_at_mm": {0.5: 3.0, 1.0: 3.0, 2.0: 2.2, 4.0: 1.5, 8.0: 1.25, 16.0: 1.1, 32.0: 1.0},
}
"""How `film_for` chooses, for records.

The line integrals in the lungs' shadow between the quantiles `lung_between` are in the mean shown
as `lung_grey`, those in the body's shadow between the quantiles `dense_between` (mediastinum,
spine, abdomen) as `dense_grey`; without lungs `thin_between` of the body takes their place. Line
integrals in the range `air` turn from air to body. Gains are for bands by their pixel pitch in mm
at the detector. The greys and gains were chosen beside PA films of the NIH ChestX-ray14 set, whose
medians are 0.40 in the lungs, 0.79 in the mediastinum, 0.89 in the abdomen, 0.08 in air; somewhat
darker lungs bring the whole picture's grey levels nearer to theirs (docs/realism.md)."""

# The field is looked at in about so many rows and columns.
_SAMPLES = 64
_MOST_BANDS = 16
_TOO_MUCH_GAIN = 9.0


@dataclass(frozen=True, kw_only=True)
class Film(Recorded):
    """A mapping from line integrals to the grey levels of a processed chest radiograph.

    Line integrals are scaled to x = (value - black) / (white - black). Faint detail of x is
    amplified by scale (`drr.kernels.cpu.image.pyramid`, after MUSICA: P. Vuylsteke and E.
    Schoeters, Proc. SPIE 2167 (1994) 551-560). Then the characteristic curve, with toe and
    shoulder: brightest (s(x) - s(0)) / (s(1) - s(0)) with s(x) = 1 / (1 + exp(-slope (x -
    middle))), the sigmoid of DICOM's VOI LUT (PS3.3 C.11.2.1.3.1), clipped to 0 and `brightest`.

    Parameters
    ----------
    black, white
        Line integrals at the two ends of the curve; white above black. Black may be negative:
        then air is shown a little above black.
    slope, middle
        Steepness of the curve at its steepest point, and the x of that point.
    brightest
        Grey that nothing in the picture exceeds, up to 1; films keep some light everywhere.
    gains
        Gains of the bands of detail, finest first; from 0 up to below 9, 1 changes nothing.
    knee
        Strength of detail, in x, that gets half of what a gain adds; stronger detail gets less.
    pixel_pitch
        mm at the detector between the pixels that the gains were made for. An image of another
        pitch needs other gains.
    invert
        Bone black instead of bright (the polarity of a MONOCHROME1 film).

    Raises
    ------
    DisplayError
        For levels, gains or a curve that cannot make a picture.
    """

    error = DisplayError

    black: float
    white: float
    slope: float = 9.0
    middle: float = 0.5
    brightest: float = 0.95
    gains: tuple[float, ...] = ()
    knee: float = 0.04
    pixel_pitch: float = 1.0
    invert: bool = False

    def __post_init__(self) -> None:
        for field in ("black", "white", "slope", "middle", "brightest", "knee", "pixel_pitch"):
            self._set(**{field: _number(field, getattr(self, field))})
        if self.white - self.black < 1e-3:
            raise DisplayError(
                f"white must be above black, got black={self.black:g} and white={self.white:g}; "
                "chest line integrals run from 0 (air) to about 8"
            )
        for field, most in (("slope", 50.0), ("knee", math.inf), ("pixel_pitch", math.inf)):
            value = getattr(self, field)
            if not 0 < value <= most:
                limit = "" if most == math.inf else f" and at most {most:g}"
                raise DisplayError(f"{field} must be above zero{limit}, got {value:g}")
        if not 0 <= self.middle <= 1:
            raise DisplayError(f"middle must be from 0 (black) to 1 (white), got {self.middle:g}")
        if not 0 < self.brightest <= 1:
            raise DisplayError(
                f"brightest must be a grey above 0 and up to 1, got {self.brightest:g}"
            )
        given: Any = self.gains
        if not isinstance(given, Sequence) or isinstance(given, str):
            raise DisplayError(f"gains must be a list of numbers, finest first, got {given!r}")
        gains = tuple(_number("a gain", gain) for gain in given)
        if len(gains) > _MOST_BANDS or not all(0 <= gain < _TOO_MUCH_GAIN for gain in gains):
            raise DisplayError(
                f"gains must be up to {_MOST_BANDS} numbers from 0 to below {_TOO_MUCH_GAIN:g} "
                f"(more would reverse shades of grey), got {gains}"
            )
        self._set(gains=gains)
        flag("invert", self.invert, error=DisplayError)

    def apply(
        self, line_integrals: NDArray[np.floating], *, threads: int | None = None
    ) -> NDArray[np.float32]:
        """Grey levels from 0 (black) to 1 (white).

        Parameters
        ----------
        line_integrals
            `(rows, columns)`, dimensionless, finite.
        threads
            All available ones by default; they do not change the result.

        Returns
        -------
        `(rows, columns)` float32.

        Raises
        ------
        DisplayError
            For anything but one image of finite numbers.
        """
        from drr.kernels.cpu.image.pyramid import amplify_bands

        values = np.asarray(line_integrals)
        if values.ndim != 2 or values.dtype.kind not in "fiu" or not values.size:
            raise DisplayError(
                "a film is made of one image of line integrals (rows, columns), got "
                f"{values.dtype} of shape {values.shape}"
            )
        scale = 1 / (self.white - self.black)
        x = values.astype(np.float32, order="C")
        x -= np.float32(self.black)
        x *= np.float32(scale)
        if not np.isfinite(x).all():
            bad = int(x.size - np.isfinite(x).sum())
            raise DisplayError(
                f"{bad} of {x.size} line integrals are NaN or infinite; the film cannot show them"
            )
        return self._curve(amplify_bands(x, self.gains, self.knee, threads=threads), threads)

    def grey(self, level: float) -> float:
        """Grey of a wide, even area of this line integral, from 0 to 1."""
        x = np.array([(level - self.black) / (self.white - self.black)], np.float32)
        return float(self._curve(x)[0])

    def _curve(self, x: NDArray[np.float32], threads: int | None = None) -> NDArray[np.float32]:
        """Characteristic curve of normalised x; overwrites `x`."""
        from drr.kernels.cpu.image.curve import bend

        toe, shoulder = self._ends
        bend(
            x,
            slope=self.slope,
            middle=self.middle,
            scale=self.brightest / (shoulder - toe),
            toe=toe,
            brightest=self.brightest,
            invert=self.invert,
            threads=threads,
        )
        return x

    def _position(self, grey: float) -> float:
        """The x that the curve shows as this grey: its inverse."""
        toe, shoulder = self._ends
        height = toe + grey / self.brightest * (shoulder - toe)
        return self.middle + math.log(height / (1 - height)) / self.slope

    @property
    def _ends(self) -> tuple[float, float]:
        return _sigmoid(-self.slope * self.middle), _sigmoid(self.slope * (1 - self.middle))


def film_for(
    line_integrals: NDArray[np.floating], geometry: Geometry, anatomy: Anatomy, **options: Any
) -> Film:
    """The film of one view: exposed for the lungs and the densest parts of this patient.

    The lungs' and the body's shadows are found by projecting the lungs' mask and from the line
    integrals; levels are weighted quantiles of these, so they do not hang on single pixels and
    turn smoothly with the view. Gains are resolved for the geometry's pixels.

    Parameters
    ----------
    line_integrals
        `(rows, columns)` of the view.
    geometry
        Geometry of the view.
    anatomy
        Anatomy of the patient. Without lungs, the thinner parts of the body take their place.
    **options
        Fields of `Film` to set.

    Raises
    ------
    DisplayError
        When image and geometry do not belong together, or for an unknown option.
    """
    p = FILM_PARAMETERS
    values = np.asarray(line_integrals)
    if values.shape != geometry.shape:
        raise DisplayError(
            f"the image of shape {values.shape} is not of this geometry, which has "
            f"{geometry.rows} rows and {geometry.columns} columns"
        )
    curve = Film.from_dict({"black": 0.0, "white": 1.0, **options})
    samples, coarse = _sampled(values, geometry)
    if not np.isfinite(samples).all():
        raise DisplayError("line integrals are NaN or infinite; no film can be exposed for them")
    low, high = p["air"]
    body = np.clip((samples - low) / (high - low), 0, 1)
    lungs = np.zeros_like(body) if anatomy.lungs is None else _lungs_shadow(anatomy, coarse)
    # Sorted once for both levels.
    order = np.argsort(samples, axis=None, kind="stable")
    ascending, body, lungs = (a.ravel()[order] for a in (samples, body, lungs))
    if lungs.any():
        # Squared: what counts is where there is much lung and little else.
        lung = _level(ascending, body * lungs**2, p["lung_between"])
    else:
        lung = _level(ascending, body, p["thin_between"])
    dense = max(_level(ascending, body, p["dense_between"]), lung + p["smallest_range"])
    lung_x, dense_x = curve._position(p["lung_grey"]), curve._position(p["dense_grey"])
    span = (dense - lung) / (dense_x - lung_x)
    black = lung - lung_x * span
    pitch = math.sqrt(geometry.row_pitch * geometry.column_pitch)
    chosen = {
        "black": round(black, 3),
        "white": round(black + span, 3),
        "gains": _gains(pitch),
        "pixel_pitch": round(pitch, 4),
    }
    return replace(curve, **{**chosen, **options})


def _gains(pitch: float) -> tuple[float, ...]:
    """Gains of the bands of an image of this pixel pitch in mm, until they are 1."""
    table = FILM_PARAMETERS["gain_at_mm"]
    coarsest = max(table)
    bands = max(0, min(_MOST_BANDS, math.ceil(math.log2(coarsest / pitch))))
    at = np.log2(list(table))
    gains = np.interp(np.log2(pitch) + np.arange(bands), at, list(table.values()))
    return tuple(round(float(gain), 3) for gain in gains)


def _sampled(
    values: NDArray[np.floating], geometry: Geometry
) -> tuple[NDArray[np.float64], Geometry]:
    """Means of blocks of pixels, and the geometry whose pixels the blocks are."""
    (rows, columns), (down, across) = geometry.shape, _blocks(geometry.shape)
    shape = rows // down, columns // across
    used = values[: shape[0] * down, : shape[1] * across]
    # Rows first, for whole rows are added as vectors.
    sums = used.reshape(shape[0], down, -1).sum(axis=1, dtype=np.float32)
    means = sums.reshape(*shape, across).sum(axis=2) / np.float32(down * across)
    u, v = np.array(geometry.u), np.array(geometry.v)
    center = np.array(geometry.detector_center)
    center = center - (rows - used.shape[0]) / 2 * v - (columns - used.shape[1]) / 2 * u
    coarse = replace(
        geometry,
        detector_center=tuple(center.tolist()),
        u=tuple((across * u).tolist()),
        v=tuple((down * v).tolist()),
        shape=shape,
    )
    return means.astype(np.float64), coarse


def _blocks(shape: tuple[int, int]) -> tuple[int, int]:
    return max(1, shape[0] // _SAMPLES), max(1, shape[1] // _SAMPLES)


def _lungs_shadow(anatomy: Anatomy, geometry: Geometry) -> NDArray[np.float64]:
    """`(rows, columns)` mm of lung along each ray."""
    from drr.kernels.cpu.projection.project import project
    from drr.kernels.mapping import Mapping as HuMapping

    assert anatomy.lungs is not None
    lungs = anatomy.lungs
    # Only the lungs' box: most blocks of the grid are not lung.
    footprint = np.asarray(lungs.any(axis=0))
    sides = lungs.any(axis=(1, 2)), footprint.any(axis=1), footprint.any(axis=0)
    spans = [np.flatnonzero(side) for side in sides]
    box = tuple(slice(int(span[0]), int(span[-1]) + 1) for span in spans)
    affine = np.array(anatomy.affine)
    affine[:3, 3] += affine[:3, :3] @ [part.start for part in box[::-1]]
    ones = HuMapping(
        table=np.arange(-32768, 32768, dtype=np.float32),
        thresholds=np.zeros(1, np.float32),
        slopes=np.ones(1, np.float32),
    )
    mask = np.ascontiguousarray(lungs[box], dtype=np.int16)
    shadow = project(mask, ones, geometry.rays(affine), anti_aliasing=False, threads=1)
    return np.asarray(shadow, dtype=np.float64)


def _level(
    ascending: NDArray[np.float64], weights: NDArray[np.float64], between: tuple[float, float]
) -> float:
    """Weighted mean of the values between two quantiles: robust, and without jumps."""
    if not weights.any():
        return 0.0
    reached = np.cumsum(weights)
    shares = np.diff(np.clip(reached / reached[-1], *between), prepend=between[0])
    return float(shares @ ascending / shares.sum())


def _number(name: str, value: Any) -> float:
    name = f"{name} of a film"
    return number(name, value, error=DisplayError, wanted="a number", finite="finite")


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))
