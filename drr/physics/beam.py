"""A polychromatic beam: channels of materials to project, and what the detector makes of them.

Beer and Lambert's law over the spectrum, for an energy-integrating detector without scatter:
the signal behind thicknesses t of materials m, relative to the open field, is

    sum over E of S(E) D(E) exp(-sum over m of mu_m(E) t_m) / sum over E of S(E) D(E)

with the fluence S of `drr.physics.spectrum` and the energy D that the scintillator absorbs.
Projecting basis materials rather than attenuation makes it exact for any ray (R. E. Alvarez and A.
Macovski, Phys. Med. Biol. 21 (1976) 733).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drr.checks import Recorded
from drr.errors import BeamError
from drr.physics.attenuation import Attenuation
from drr.physics.materials import ADIPOSE, CT_ENERGY_KEV, WATER, Material, calibrate, check_quantity
from drr.physics.spectrum import CHEST_FILTRATION, Filtration, Spectrum, absorbed_energy
from drr.sharing import kept_property

__all__ = ["Beam"]

# The tabulated signal: mm of the first and the second material. Straight between the nodes it is
# within 3e-4 of the sum over the spectrum behind 2.5 mm of aluminium (4e-3 without any filter);
# rays beyond are summed one by one.
_STEPS_MM = 2.0, 0.25
_NODES = 301, 801
# Pixels taken together, so that temporary arrays stay in the cache.
_TABLE_BLOCK, _SUM_BLOCK = 16384, 1024
# A chest's worth of water, for the effective energy.
_CHEST_MM = 200.0


@dataclass(frozen=True, kw_only=True)
class Beam(Recorded):
    """Tube, filters, scintillator, and the materials told apart. `eval(repr(b)) == b`.

    Parameters
    ----------
    kvp
        Peak tube voltage in kV, 60 to 150.
    filtration
        All filters, `((material, mm), ...)`.
    scintillator, scintillator_mm
        Material and its thickness in mm when solid. Half a millimetre of caesium iodide is a
        layer of needles of about 0.6 mm.
    ct_energy_kev, contrast, metal, metal_hu
        How CT numbers are read, see `drr.physics.materials.calibrate`. Water and bone are two
        channels; iodine (`contrast`) and metal are one more each when asked for. Fat needs none: it
        counts as so much water as attenuates like it at the beam's effective energy.

    Raises
    ------
    BeamError
        For values outside the tables and materials that are not in them.
    """

    error = BeamError
    unknown_key = "unknown beam key {key!r}{question}"

    kvp: float = 120.0
    filtration: Filtration = CHEST_FILTRATION
    scintillator: str = "caesium iodide"
    scintillator_mm: float = 0.5
    ct_energy_kev: float = CT_ENERGY_KEV
    contrast: tuple[float, float] | None = None
    metal: str | None = None
    metal_hu: float = 3000.0

    def __post_init__(self) -> None:
        spectrum = Spectrum(kvp=self.kvp, filtration=self.filtration)
        self._set(kvp=spectrum.kvp, filtration=spectrum.filtration)
        thickness = check_quantity("scintillator_mm", self.scintillator_mm, "mm", 0.01, 10.0)
        self._set(scintillator_mm=thickness)
        Material(name=self.scintillator)
        self._calibration  # noqa: B018 - refuses what cannot be calibrated
        if self.contrast is not None:
            low, high = self.contrast
            self._set(contrast=(float(low), float(high)))
        self._set(ct_energy_kev=float(self.ct_energy_kev), metal_hu=float(self.metal_hu))

    @kept_property
    def spectrum(self) -> Spectrum:
        """The tube's spectrum behind the filters."""
        return Spectrum(kvp=self.kvp, filtration=self.filtration)

    @property
    def materials(self) -> tuple[str, ...]:
        """Name of the material of every channel; water and bone are the first two."""
        return tuple(name for name in self._calibration[1] if name != ADIPOSE)

    @kept_property
    def channels(self) -> tuple[Attenuation, ...]:
        """HU to mm of material per mm, for every channel; what the kernels project."""
        hu, densities = self._calibration
        fat, water = (
            Material(name=name).attenuation(self.effective_energy) for name in (ADIPOSE, WATER)
        )
        as_water = np.multiply(densities[ADIPOSE], fat / water) + densities[WATER]
        densities = {**densities, WATER: tuple(as_water.tolist())}
        return tuple(_channel(name, hu, densities[name]) for name in self.materials)

    @kept_property
    def weights(self) -> NDArray[np.float64]:
        """`(n,)` float64: share of every bin of the spectrum in the open field's signal."""
        energies = self.spectrum.energies_kev
        absorbed = absorbed_energy(energies, self.scintillator, self.scintillator_mm)
        signal = self.spectrum.fluence * absorbed
        return np.asarray(signal / signal.sum())

    @kept_property
    def effective_energy(self) -> float:
        """Energy in keV at which 200 mm of water, a chest, attenuate as they do this beam."""
        energies = self.spectrum.energies_kev
        water = Material(name=WATER).attenuation(energies)
        effective = -np.log(self.weights @ np.exp(-water * _CHEST_MM)) / _CHEST_MM
        return float(np.interp(effective, water[::-1], energies[::-1]))

    def line_integrals(self, thickness: NDArray[np.floating]) -> NDArray[np.float32]:
        """-ln(detected energy with the object / without).

        Up to 600 mm of water with 200 mm of bone are interpolated in a table, to within 3e-4;
        rays beyond and rays that meet any other material are summed over the spectrum.

        Parameters
        ----------
        thickness
            `(channels, rows, columns)` mm of each of `materials`, as projected by `channels`.

        Returns
        -------
        `(rows, columns)` float32, dimensionless; none below zero where no thickness is.

        Raises
        ------
        BeamError
            For another number of channels, and for thickness that is not finite.
        """
        thickness = np.asarray(thickness, dtype=np.float32)
        if thickness.ndim != 3 or len(thickness) != len(self.materials):
            raise BeamError(
                f"line_integrals needs {len(self.materials)} images of thickness "
                f"({', '.join(self.materials)}), got an array of shape {thickness.shape}"
            )
        if not np.isfinite(thickness).all():
            raise BeamError("thickness must be finite; check the volume and what projected it")
        flat = thickness.reshape(len(thickness), -1)
        out = np.empty(flat.shape[1], np.float32)
        beyond = np.zeros(flat.shape[1], np.bool_)
        for start in range(0, out.size, _TABLE_BLOCK):
            block = slice(start, start + _TABLE_BLOCK)
            self._interpolate(flat[:, block], out[block], beyond[block])
        (rest,) = np.nonzero(beyond)
        for start in range(0, rest.size, _SUM_BLOCK):
            pixels = rest[start : start + _SUM_BLOCK]
            out[pixels] = self._sum(flat[:, pixels])
        if thickness.min(initial=0) >= 0:
            np.maximum(out, 0, out=out)  # next to nothing rounds to less
        return out.reshape(thickness.shape[1:])

    def _interpolate(
        self,
        thickness: NDArray[np.float32],
        out: NDArray[np.float32],
        beyond: NDArray[np.bool_],
    ) -> None:
        """Signals of the first two materials from the table, and which rays it cannot tell."""
        table, columns = self._table.ravel(), _NODES[1]
        x, y = (thickness[i] * np.float32(1 / _STEPS_MM[i]) for i in (0, 1))
        np.greater(x, _NODES[0] - 1, out=beyond)
        beyond |= y > _NODES[1] - 1
        beyond |= thickness[2:].any(axis=0)
        # For thicknesses a little below zero the table goes on.
        i = np.clip(x, 0, _NODES[0] - 2).astype(np.intp)
        j = np.clip(y, 0, _NODES[1] - 2).astype(np.intp)
        x -= i
        y -= j
        i *= columns
        i += j
        at = table.take(i)
        across = table[1:].take(i) - at
        down = table[columns:].take(i)
        corner = table[columns + 1 :].take(i) - down
        down -= at
        corner -= across
        # at + x (down) + y (across) + x y (mixed difference)
        corner *= x
        corner += across
        corner *= y
        down *= x
        np.add(corner, down, out=out)
        out += at

    def _sum(self, thickness: NDArray[np.float32]) -> NDArray[np.float64]:
        """`(n,)` float64 signals of `(channels, n)` thicknesses, summed over the spectrum."""
        exponents = self._mu.T @ thickness.astype(np.float64)
        # Taken from the least attenuated energy on, so that no sum vanishes behind metal.
        least = exponents.min(axis=0)
        return np.asarray(least - np.log(self.weights @ np.exp(least - exponents)))

    @kept_property
    def _table(self) -> NDArray[np.float32]:
        """Signals over the nodes of the thicknesses of the first two materials."""
        first, second = (
            np.exp(-np.outer(np.arange(nodes) * step, mu))
            for nodes, step, mu in zip(_NODES, _STEPS_MM, self._mu[:2], strict=True)
        )
        return np.asarray(-np.log((first * self.weights) @ second.T), dtype=np.float32)

    @kept_property
    def _mu(self) -> NDArray[np.float64]:
        """`(channels, n)` attenuation of the materials in 1/mm over the spectrum."""
        energies = self.spectrum.energies_kev
        return np.stack([Material(name=name).attenuation(energies) for name in self.materials])

    @kept_property
    def _calibration(self) -> tuple[tuple[float, ...], dict[str, tuple[float, ...]]]:
        return calibrate(
            ct_energy_kev=self.ct_energy_kev,
            contrast=self.contrast,
            metal=self.metal,
            metal_hu=self.metal_hu,
        )


def _channel(name: str, hu: tuple[float, ...], values: tuple[float, ...]) -> Attenuation:
    """The partial density of a material with no more knots than it bends at.

    Each knot is work for every voxel, and rows of voxels below the first are skipped.
    """
    knots = [(round(x, 3), round(y, 12)) for x, y in zip(hu, values, strict=True)]
    while len(knots) > 2 and knots[1][1] == 0.0:
        del knots[0]
    kept = knots[:1]
    for point, after in itertools.pairwise(knots[1:]):
        slope = (point[1] - kept[-1][1]) / (point[0] - kept[-1][0])
        next_slope = (after[1] - point[1]) / (after[0] - point[0])
        if abs(next_slope - slope) > 1e-6 * max(abs(slope), abs(next_slope)):
            kept.append(point)
    kept.append(knots[-1])
    return Attenuation(hu=tuple(x for x, _ in kept), mu=tuple(y for _, y in kept), name=name)
