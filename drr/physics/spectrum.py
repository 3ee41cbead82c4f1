"""The X-ray tube's spectrum: tabulated spekpy spectra of tungsten anodes, any kVp, any filter.

G. Poludniowski, A. Omar, R. Bujila and P. Andreo, "SpekPy v2.0 - a software toolkit for modeling
x-ray tube spectra", Med. Phys. 48 (2021) 3630; the parameters are in `tables/spectra.csv`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.errors import BeamError
from drr.physics.materials import Material, check_quantity, find_material
from drr.physics.tables import read_table
from drr.sharing import kept_property

__all__ = ["Filtration", "Spectrum", "absorbed_energy", "check_filtration", "kvp_range"]

Filtration = tuple[tuple[str, float], ...]

CHEST_FILTRATION: Filtration = (("aluminium", 3.0),)
_MOST_FILTRATION_MM = 100.0
# 1 keV/g in uGy: CODATA 2018's elementary charge.
_MICROGRAY = 1.602176634e-7


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """Fluence of a tube behind its filters. `eval(repr(s)) == s`.

    Parameters
    ----------
    kvp
        Peak tube voltage in kV, 60 to 150.
    filtration
        All filters, the tube's own included: `((material, mm), ...)`. By default 3.0 mm of
        aluminium, what the European guidelines on quality criteria for diagnostic radiographic
        images (EUR 16260, 1996) ask for in a PA chest radiograph. Photons below 10 keV are not
        in the tables; a millimetre of aluminium stops them anyhow.

    Raises
    ------
    BeamError
        For a voltage outside the tables, unknown materials, negative or absurd thicknesses.
    """

    kvp: float = 120.0
    filtration: Filtration = CHEST_FILTRATION

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "kvp", check_quantity("tube voltage", self.kvp, "kVp", *kvp_range())
        )
        object.__setattr__(self, "filtration", check_filtration(self.filtration))

    @kept_property
    def energies_kev(self) -> NDArray[np.float64]:
        """`(n,)` float64: the middle of every bin up to the tube voltage."""
        energies = read_table("spectra").energies_kev
        return energies[energies < self.kvp]

    @kept_property
    def fluence(self) -> NDArray[np.float64]:
        """`(n,)` float64: photons/(cm^2 keV mAs) at 1 m.

        Linear between the tabulated tube voltages, 5 kV apart, which keeps the characteristic
        lines where they are.
        """
        table = read_table("spectra")
        voltages = np.array([float(name) for name in table.columns])
        upper = int(np.clip(np.searchsorted(voltages, self.kvp), 1, voltages.size - 1))
        low, high = list(table.columns.values())[upper - 1 : upper + 1]
        part = (self.kvp - voltages[upper - 1]) / (voltages[upper] - voltages[upper - 1])
        fluence = ((1 - part) * low + part * high)[: self.energies_kev.size]
        for name, mm in self.filtration:
            fluence = fluence * np.exp(-Material(name=name).attenuation(self.energies_kev) * mm)
        return np.asarray(fluence)

    @property
    def bin_kev(self) -> float:
        """Width of a bin."""
        return float(read_table("spectra").parameters["bin_kev"])

    @property
    def mean_energy(self) -> float:
        """Mean photon energy in keV."""
        return float(self.fluence @ self.energies_kev / self.fluence.sum())

    @kept_property
    def air_kerma(self) -> float:
        """Air kerma in uGy per mAs at 1 m: the fluence times E times mu_en / rho of air."""
        return float(self.fluence @ self._kerma_per_photon) * self.bin_kev

    @property
    def photons_per_microgray(self) -> float:
        """Photons per mm^2 for an air kerma of 1 uGy."""
        return float(self.fluence.sum()) * self.bin_kev / 100.0 / self.air_kerma

    @property
    def _kerma_per_photon(self) -> NDArray[np.float64]:
        """uGy cm^2 of one photon of every energy."""
        table = read_table("mass_attenuation")
        absorption = np.log(table.columns["air energy absorption"])
        energies = np.log(self.energies_kev)
        coefficient = np.exp(np.interp(energies, np.log(table.energies_kev), absorption))
        return np.asarray(_MICROGRAY * self.energies_kev * coefficient)

    def half_value_layer(self, material: str | Material = "aluminium") -> float:
        """Thickness in mm that halves the air kerma of a narrow beam."""
        mu = find_material(material).attenuation(self.energies_kev)
        kerma = self.fluence * self._kerma_per_photon
        # Starts too thin, since the beam hardens; from there Newton's steps never overshoot.
        t = 0.0
        for _ in range(100):
            left = kerma * np.exp(-mu * t)
            step = float(np.log(2 * left.sum() / kerma.sum()) * left.sum() / (mu @ left))
            t += step
            if step < 1e-9 * t:
                break
        return t


def absorbed_energy(
    energies_kev: NDArray[np.float64], material: str | Material, thickness_mm: float
) -> NDArray[np.float64]:
    """Energy in keV that a photon leaves, on average, in a scintillator: E (1 - exp(-mu t)).

    Every interaction counts as absorption: fluorescence that escapes above the K edge, a fifth
    of the energy at most, and coherent scattering are left out.
    """
    mu = find_material(material).attenuation(energies_kev)
    return np.asarray(energies_kev * -np.expm1(-mu * thickness_mm))


def kvp_range() -> tuple[float, float]:
    """Lowest and highest tube voltage of the tables in kV."""
    voltages = [float(name) for name in read_table("spectra").columns]
    return min(voltages), max(voltages)


def check_filtration(filtration: Any) -> Filtration:
    """Filters as `((material, mm), ...)`, from pairs or a mapping; `BeamError` for bad ones."""
    pairs = filtration.items() if isinstance(filtration, Mapping) else filtration
    checked = []
    try:
        for name, mm in pairs:
            thickness = check_quantity(f"filtration of {name}", mm, "mm", 0.0, _MOST_FILTRATION_MM)
            checked.append((Material(name=name).name, thickness))
    except (TypeError, ValueError) as error:
        if isinstance(error, BeamError):
            raise
        raise BeamError(
            f"filtration must be pairs of a material and mm, such as (('copper', 0.1),), got "
            f"{filtration!r}"
        ) from None
    return tuple(checked)
