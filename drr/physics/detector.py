"""From line integrals to those that a detector measures: `Detector.detect`.

What happens to the beam, in order; every effect is off unless it is given:

1. the primary exp(-p) is blurred by the focal spot's image (`focal_spot`),
2. it is weighted by the heel effect and the collimator (`heel`, `collimation`),
3. scatter is added, in proportion to what the grid lets through (`scatter`, `grid`),
4. quanta are counted (`air_kerma` or `receptor_air_kerma`),
5. the detector spreads what they leave (`blur`), so that their noise is correlated,
6. electronic noise is added (`electronic_noise`),
7. the logarithm is taken of no less than `floor`.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.checks import whole
from drr.errors import BeamError
from drr.geometry.geometry import Geometry
from drr.kernels.cpu.image.nodes import Nodes
from drr.kernels.cpu.image.taps import box_taps, gaussian_taps, lorentzian_taps
from drr.physics.part import Effect, check_name, check_number
from drr.physics.scatter import Grid, Scatter
from drr.physics.tube import Collimation, Heel

__all__ = ["DETECTORS", "FLUENCE_PER_AIR_KERMA", "Blur", "Detector", "parse_detector"]

FLUENCE_PER_AIR_KERMA = {"RQA3": 21759.0, "RQA5": 30174.0, "RQA7": 32362.0, "RQA9": 31077.0}
"""Photons per mm^2 and microgray of air kerma (IEC 62220-1:2003, table 2, squared input
signal-to-noise ratio) behind the radiation qualities of IEC 61267, 50 to 120 kVp."""

# Line integral beyond which a pixel counts as behind the patient: some 15 mm of water.
_BEHIND_PATIENT = 0.3
_EFFECTS = (
    "scatter",
    "grid",
    "air_kerma",
    "receptor_air_kerma",
    "electronic_noise",
    "focal_spot",
    "blur",
    "heel",
    "collimation",
)
# Rows that share a stream of random numbers, so that threads cannot change an image.
_BAND = 64


@dataclass(frozen=True, kw_only=True)
class Blur(Effect):
    """Spread of the signal in the detector, stated as its MTF at one frequency.

    Parameters
    ----------
    mtf
        Modulation transfer at `frequency`, above 0 and below 1. Without the pixels' own aperture.
    frequency
        Cycles per mm.
    shape
        `lorentzian`, 1 / (1 + (f / f_half)^2), the usual fit to scintillators (J. H. Siewerdsen
        et al., "Signal, noise power spectrum, and detective quantum efficiency of
        indirect-detection flat-panel imagers for diagnostic radiology", Med. Phys. 25(5), 1998),
        or `gaussian`, exp(-ln 2 (f / f_half)^2). Both are products of rows and columns.
    """

    mtf: float = 0.5
    frequency: float = 1.5
    shape: str = "lorentzian"

    def __post_init__(self) -> None:
        mtf = check_number("blur mtf", self.mtf, "", 0.001, 0.999)
        self._set(mtf=mtf)
        frequency = check_number("blur frequency", self.frequency, "cycles per mm", 0.01, 20)
        self._set(frequency=frequency)
        check_name("blur shape", self.shape, ("gaussian", "lorentzian"))

    @classmethod
    def from_fwhm(cls, fwhm: float, shape: str = "lorentzian") -> Blur:
        """The blur whose line spread function is `fwhm` mm wide at half its maximum."""
        fwhm = check_number("blur fwhm", fwhm, "mm", 0.02, 20)
        check_name("blur shape", shape, ("gaussian", "lorentzian"))
        half = (2 if shape == "gaussian" else 1) * math.log(2) / (math.pi * fwhm)
        return cls(mtf=0.5, frequency=half, shape=shape)

    @property
    def fwhm(self) -> float:
        """Full width at half maximum of the line spread function, mm."""
        if self.shape == "gaussian":
            return 2 * math.sqrt(2 * math.log(2)) * self._scale
        return 2 * math.log(2) * self._scale

    @property
    def _scale(self) -> float:
        """Standard deviation of the Gaussian or decay length of the Lorentzian's LSF, mm."""
        if self.shape == "gaussian":
            return math.sqrt(-math.log(self.mtf) / 2) / (math.pi * self.frequency)
        return math.sqrt(1 / self.mtf - 1) / (2 * math.pi * self.frequency)

    def transfer(self, frequency: float) -> float:
        """MTF at a frequency in cycles per mm."""
        if self.shape == "gaussian":
            return math.exp(-2 * (math.pi * self._scale * frequency) ** 2)
        return 1 / (1 + (2 * math.pi * self._scale * frequency) ** 2)

    def taps(self, pitch: float) -> NDArray[np.float64]:
        """One-sided taps on pixels `pitch` mm apart."""
        make = gaussian_taps if self.shape == "gaussian" else lorentzian_taps
        return make(self._scale / pitch)


@dataclass(frozen=True, kw_only=True)
class Detector(Effect):
    """A detector, its grid, and the tube as far as the detector sees it.

    Every effect is None (or 0) when off. Immutable, and `eval(repr(d)) == d`.

    Parameters
    ----------
    scatter
        Scattered radiation.
    grid
        Anti-scatter grid: what it passes of primary and scatter.
    air_kerma
        Quantum noise: microgray in the open field, in front of the grid, up to 10000.
    receptor_air_kerma
        Quantum noise, as automatic exposure control has it: microgray at the detector (behind
        the grid, scatter included), averaged behind the patient, up to 1000. IEC 62494-1's
        exposure index is 100 times this. Takes the place of `air_kerma`.
    fluence_per_air_kerma
        Photons per mm^2 and microgray; see `FLUENCE_PER_AIR_KERMA`.
    detective_quantum_efficiency
        At zero frequency: the fraction of quanta that count, absorption and Swank factor together.
    electronic_noise
        Standard deviation in detected quanta, for one detector element.
    element_pitch
        mm between the elements that `electronic_noise` is stated for; a pixel of the image adds
        up those it covers. None: the image's own pixels.
    focal_spot
        mm, the side of a square focal spot, up to 5. Its image, focal_spot * (m - 1) wide with
        the magnification m of the anatomy, blurs the primary; parallel beams have none.
    object_distance
        mm from the anatomy's middle plane to the detector; only for the focal spot.
    blur
        Spread of the signal in the detector.
    heel
        Heel effect. Leave it off for detectors that are flat-fielded; parallel beams have none.
    collimation
        Border of the field.
    floor
        The least signal, relative to the open field, that is told from none: no line integral
        is above -ln(floor). By default one count of 16 bits, 11.09.

    Raises
    ------
    BeamError
        For values that are no such number or outside these ranges, both kinds of air kerma, or
        electronic noise without quanta to state it in.
    """

    parts = {  # noqa: RUF012 - never changed
        "scatter": Scatter,
        "grid": Grid,
        "blur": Blur,
        "heel": Heel,
        "collimation": Collimation,
    }

    scatter: Scatter | None = None
    grid: Grid | None = None
    air_kerma: float | None = None
    receptor_air_kerma: float | None = None
    fluence_per_air_kerma: float = FLUENCE_PER_AIR_KERMA["RQA9"]
    detective_quantum_efficiency: float = 1.0
    electronic_noise: float | None = None
    element_pitch: float | None = None
    focal_spot: float | None = None
    object_distance: float = 120.0
    blur: Blur | None = None
    heel: Heel | None = None
    collimation: Collimation | None = None
    floor: float = 2.0**-16

    def __post_init__(self) -> None:
        for name, kind in self.parts.items():
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise BeamError(f"{name} must be a {kind.__name__} or None, got {value!r}")
        for name, unit, high in (
            ("air_kerma", "microgray", 1e4),
            ("receptor_air_kerma", "microgray", 1e3),
            ("electronic_noise", "quanta", 1e6),
            ("element_pitch", "mm", 10.0),
            ("focal_spot", "mm", 5.0),
        ):
            value = getattr(self, name)
            if value is not None:
                self._set(**{name: check_number(name, value, unit, 0, high) or None})
        for name, unit, low, high in (
            ("fluence_per_air_kerma", "photons per mm^2 and microgray", 1e3, 1e5),
            ("detective_quantum_efficiency", "", 0.001, 1.0),
            ("object_distance", "mm", 0.0, 1e4),
            ("floor", "of the open field", 1e-12, 0.1),
        ):
            self._set(**{name: check_number(name, getattr(self, name), unit, low, high)})
        if self.air_kerma and self.receptor_air_kerma:
            raise BeamError(
                f"air_kerma={self.air_kerma:g} (open field) and receptor_air_kerma="
                f"{self.receptor_air_kerma:g} (behind the patient) both set the exposure; "
                "give one of them"
            )
        if self.electronic_noise and not (self.air_kerma or self.receptor_air_kerma):
            raise BeamError(
                f"electronic_noise={self.electronic_noise:g} is in quanta and needs to know how "
                "many there are; give air_kerma or receptor_air_kerma, too"
            )

    @property
    def effects(self) -> tuple[str, ...]:
        """Names of the effects that are on."""
        return tuple(f.name for f in fields(self) if f.name in _EFFECTS and getattr(self, f.name))

    def without(self, *names: str) -> Detector:
        """The same detector with effects switched off by name."""
        off: dict[str, Any] = {check_name("effect", name, _EFFECTS): None for name in names}
        return replace(self, **off)

    def quanta(self, geometry: Geometry, air_kerma: float) -> float:
        """Detected quanta in one pixel of the image at an air kerma (microgray) at the detector."""
        area = float(np.linalg.norm(geometry.normal))
        fluence = air_kerma * self.fluence_per_air_kerma
        return fluence * area * self.detective_quantum_efficiency

    def detect(
        self,
        line_integrals: NDArray[np.floating],
        geometry: Geometry,
        *,
        seed: int = 0,
        object_distance: float | None = None,
        threads: int | None = None,
    ) -> NDArray[np.float32]:
        """The image that the detector makes of a beam.

        Parameters
        ----------
        line_integrals
            `(rows, columns)`, dimensionless: -ln of what the patient lets through.
        geometry
            The view they belong to.
        seed
            Whole number from 0. The same seed and view give the same noise on any number of
            threads; other views of the same seed have other noise.
        object_distance
            Instead of the detector's own.
        threads
            CPU threads; all available ones by default.

        Returns
        -------
        `(rows, columns)` float32: -ln(signal / open field), where the open field is that of the
        same tube and grid on the central ray without patient, collimator or scatter. Values
        below zero are noise. With all effects off the input, bit for bit.

        Raises
        ------
        BeamError
            For line integrals that are not finite or not of the geometry's shape, a seed that is
            no whole number, or an anatomy plane behind the source.
        """
        from drr.kernels.cpu.image import exposure
        from drr.kernels.cpu.image.blur import convolve

        p = _checked(line_integrals, geometry)
        seeds = _seeds(seed, geometry)
        unsharpness = self.unsharpness(geometry, object_distance)
        if not self.effects:
            return p.copy()
        pitches = geometry.row_pitch, geometry.column_pitch
        signal = np.negative(p)
        np.exp(signal, out=signal)
        if unsharpness > 0:
            down, across = (box_taps(unsharpness / pitch) for pitch in pitches)
            signal = convolve(signal, down, across, threads=threads)

        field_rows, field_columns = (np.ones(count) for count in geometry.shape)
        heel = self.heel if geometry.source is not None else None
        if self.collimation:
            field_rows, field_columns = self.collimation.profiles(geometry, self.focal_spot)
        if heel or self.collimation:
            nodes = heel.nodes(geometry) if heel else _ones(geometry.shape)
            exposure.illuminate(signal, field_rows, field_columns, nodes, threads=threads)

        scattered, quanta = None, math.inf
        if self.scatter or self.receptor_air_kerma:
            scatter = self.scatter or Scatter(amplitude=0.0)
            block = scatter.block(*pitches)
            sums = exposure.block_sums(
                signal,
                p,
                block,
                growth=scatter.growth,
                threshold=_BEHIND_PATIENT,
                field=(field_rows > 0.5, field_columns > 0.5),
                threads=threads,
            )
            scattered, mean = self._scattered(scatter, sums, block, pitches)
            if self.receptor_air_kerma:
                quanta = self.quanta(geometry, self.receptor_air_kerma) / max(mean, 1e-9)
        if self.air_kerma:
            passed = self.grid.primary_transmission if self.grid else 1.0
            quanta = self.quanta(geometry, self.air_kerma * (passed or 1.0))

        noisy = math.isfinite(quanta)
        normals = _normals(seeds, 0, geometry.shape, threads) if noisy else None
        exposure.expose(signal, scattered, normals, quanta=quanta, threads=threads)
        if self.blur:
            down, across = (self.blur.taps(pitch) for pitch in pitches)
            signal = convolve(signal, down, across, threads=threads)
        if self.electronic_noise:
            area = float(np.linalg.norm(geometry.normal))
            elements = area / self.element_pitch**2 if self.element_pitch else 1.0
            noise = _normals(seeds, 1, geometry.shape, threads)
            noise *= np.float32(self.electronic_noise * math.sqrt(elements) / quanta)
            signal += noise
        np.maximum(signal, np.float32(self.floor), out=signal)
        np.log(signal, out=signal)
        return np.negative(signal, out=signal)

    def unsharpness(self, geometry: Geometry, object_distance: float | None = None) -> float:
        """Width in mm of the focal spot's image at the detector: focal_spot * (m - 1)."""
        distance = check_number(
            "object_distance",
            self.object_distance if object_distance is None else object_distance,
            "mm",
            0,
            1e4,
        )
        total = geometry.source_to_detector_distance
        if not self.focal_spot or math.isinf(total):
            return 0.0
        if distance >= total:
            raise BeamError(
                f"object_distance {distance:g} mm puts the anatomy behind the source, which is "
                f"{total:g} mm from the detector; measure it from the detector"
            )
        return self.focal_spot * (total / (total - distance) - 1)

    def _scattered(
        self,
        scatter: Scatter,
        sums: NDArray[np.float64],
        block: tuple[int, int],
        pitches: tuple[float, float],
    ) -> tuple[Nodes, float]:
        """Scattered signal behind the grid, and the mean of all signal behind the patient."""
        source, primary, pixels = sums
        nodes = scatter.spread(source, block, pitches)
        # Behind the patient: primary, and scatter at the middle of each block.
        inside = nodes.values[1:-1, 1:-1]
        direct, diffuse = float(primary.sum()), float((inside * pixels).sum())
        amplitude = scatter.amplitude
        if scatter.fraction is not None:
            ratio = scatter.fraction / (1 - scatter.fraction)
            amplitude = ratio * direct / diffuse if diffuse > 0 else 0.0
        if self.grid:
            amplitude /= self.grid.selectivity
        mean = (direct + amplitude * diffuse) / pixels.sum() if pixels.any() else 1.0
        return replace(nodes, values=amplitude * nodes.values), mean


def parse_detector(name: str) -> Detector:
    """The detector of a name in `DETECTORS`; unknown names are refused with the nearest one."""
    return DETECTORS[check_name("detector", name, tuple(DETECTORS))]


_FLAT_PANEL = Detector(
    scatter=Scatter(),
    grid=Grid(ratio=12),
    receptor_air_kerma=2.5,
    detective_quantum_efficiency=0.65,
    electronic_noise=4.0,
    element_pitch=0.148,
    focal_spot=1.2,
    blur=Blur(mtf=0.62, frequency=1.0),
)

DETECTORS: dict[str, Detector] = {
    "ideal": Detector(),
    "flat-panel": _FLAT_PANEL,
    "computed-radiography": replace(
        _FLAT_PANEL,
        grid=Grid(ratio=10),
        receptor_air_kerma=5.0,
        detective_quantum_efficiency=0.25,
        electronic_noise=2.0,
        element_pitch=0.175,
        blur=Blur(mtf=0.55, frequency=1.0),
        heel=Heel(),
    ),
    "portable": replace(
        _FLAT_PANEL,
        grid=None,
        fluence_per_air_kerma=FLUENCE_PER_AIR_KERMA["RQA7"],
        detective_quantum_efficiency=0.6,
        electronic_noise=5.0,
    ),
}
"""Detectors by name; docs/detector.md says where their values come from."""


def _checked(line_integrals: NDArray[np.floating], geometry: Geometry) -> NDArray[np.float32]:
    values = np.ascontiguousarray(line_integrals, dtype=np.float32)
    if values.shape != geometry.shape:
        raise BeamError(
            f"line integrals have the shape {values.shape}, the geometry {geometry.shape}; "
            "give the geometry that they were projected with"
        )
    if not np.isfinite(values.sum(dtype=np.float64)):
        raise BeamError("line integrals must be finite, got NaN or infinity among them")
    return values


def _seeds(seed: Any, geometry: Geometry) -> list[int]:
    """Entropy of one view: the seed and all of its geometry that has an effect on the image."""
    seed = whole("seed", seed, error=BeamError)
    view = {key: value for key, value in geometry.to_dict().items() if key != "view_position"}
    digest = hashlib.sha256(json.dumps(view, sort_keys=True).encode()).digest()
    return [seed, int.from_bytes(digest[:16], "little")]


def _normals(
    seeds: list[int], purpose: int, shape: tuple[int, int], threads: int | None
) -> NDArray[np.float32]:
    """Standard normal numbers; every band of rows has its own stream, whichever thread fills it."""
    from drr.threads import available_cpus, run

    normals = np.empty(shape, np.float32)
    bands = [(start, min(start + _BAND, shape[0])) for start in range(0, shape[0], _BAND)]

    def task(start: int, stop: int) -> None:
        sequence = np.random.SeedSequence(seeds, spawn_key=(purpose, start // _BAND))
        stream = np.random.Generator(np.random.PCG64(sequence))
        stream.standard_normal(dtype=np.float32, out=normals[start:stop])

    run(task, bands, available_cpus() if threads is None else threads)
    return normals


def _ones(shape: tuple[int, int]) -> Nodes:
    return Nodes(values=np.ones((2, 2)), first=(0, 0), step=(float(shape[0]), float(shape[1])))
