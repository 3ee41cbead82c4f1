"""Make the tables of this folder anew: `python -m drr.physics.tables.make`.

Needs xraydb and spekpy, which are in the `dev` extra. The tests make both tables again and
compare them with the files.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drr.physics.tables import read_materials

__all__ = [
    "SPECTRUM_KVP",
    "air_energy_absorption",
    "energy_grid",
    "make_mass_attenuation",
    "make_spectra",
    "mass_attenuation",
    "spectrum",
]

LOWEST_KEV, HIGHEST_KEV = 10.0, 160.0
# Elements of materials.csv that are abundant and have a K edge in that range.
EDGE_ELEMENTS = ("Mo", "I", "Cs", "Gd")
SPECTRUM_KVP = tuple(range(60, 151, 5))
ANODE_ANGLE, BIN_KEV = 12.0, 1.0


def energy_grid() -> NDArray[np.float64]:
    """Energies in keV: 2.4 % apart, with one 4 eV to either side of every K edge.

    The cross-sections of xraydb jump up to 2.5 eV from the edges that it names.
    """
    import xraydb

    steps = np.round(np.geomspace(LOWEST_KEV, HIGHEST_KEV, 118), 2)
    edges = [xraydb.xray_edge(element, "K").energy / 1000 for element in EDGE_ELEMENTS]
    both = [edge + side for edge in edges for side in (-0.004, 0.004)]
    return np.unique(np.round(np.concatenate([steps, both]), 4))


def mass_attenuation(composition: str, energies_kev: NDArray[np.float64]) -> NDArray[np.float64]:
    """Total mass attenuation in cm^2/g of a formula or a list of elements and mass fractions."""
    import xraydb

    # Energies in eV; at 1 g/cm^3 the attenuation in 1/cm is the mass attenuation in cm^2/g.
    if " " not in composition:
        return np.asarray(xraydb.material_mu(composition, energies_kev * 1000, density=1.0))
    parts = re.findall(r"([A-Z][a-z]?) ([0-9.]+)", composition)
    fractions = {element: float(fraction) for element, fraction in parts}
    total = sum(fractions.values())
    return np.asarray(
        sum(
            fraction / total * np.asarray(xraydb.mu_elam(element, energies_kev * 1000))
            for element, fraction in fractions.items()
        )
    )


def air_energy_absorption(energies_kev: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mass energy-absorption coefficient of air in cm^2/g, as spekpy has it."""
    import spekpy

    coefficients = spekpy.Spek(kvp=100, th=ANODE_ANGLE).muen_air_data
    return np.asarray(coefficients.get_muen_over_rho_air(energies_kev))


def spectrum(kvp: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Energies in keV and unfiltered fluence in photons/(cm^2 keV mAs) at 1 m of a voltage."""
    import spekpy

    tube = spekpy.Spek(kvp=kvp, th=ANODE_ANGLE, dk=BIN_KEV, z=100, mas=1)
    energies, fluence = tube.get_spectrum()
    return np.asarray(energies), np.asarray(fluence)


def make_mass_attenuation() -> str:
    """Text of `mass_attenuation.csv`."""
    import spekpy
    import xraydb

    energies = energy_grid()
    materials = read_materials()
    columns = {
        name: mass_attenuation(row["composition"], energies) for name, row in materials.items()
    }
    columns["air energy absorption"] = air_energy_absorption(energies)
    parameters = {
        "quantity": "total mass attenuation coefficient; the last column mass energy absorption",
        "unit": "cm^2/g",
        "source": f"xraydb {xraydb.__version__} (W. T. Elam et al. 2002); the last column "
        f"spekpy {spekpy.__version__} (PENELOPE)",
    }
    return _csv(parameters, energies, columns, "%.4f")


def make_spectra() -> str:
    """Text of `spectra.csv`."""
    import spekpy

    spectra = {kvp: spectrum(kvp) for kvp in SPECTRUM_KVP}
    energies = max((energies for energies, _ in spectra.values()), key=len)
    energies = energies[energies > LOWEST_KEV]
    columns = {
        f"{kvp:g}": np.interp(energies, here, fluence, left=0.0, right=0.0)
        for kvp, (here, fluence) in spectra.items()
    }
    parameters = {
        "quantity": "fluence at the middle of every bin; a column for every tube voltage in kV",
        "unit": "photons/(cm^2 keV mAs) at 1 m",
        "source": f"spekpy {spekpy.__version__}, model spekpy-v2-casim",
        "anode": "tungsten",
        "anode_angle_degrees": f"{ANODE_ANGLE:g}",
        "filtration": "none but the anode itself",
        "bin_kev": f"{BIN_KEV:g}",
    }
    return _csv(parameters, energies, columns, "%.2f")


def _csv(
    parameters: dict[str, str],
    energies: NDArray[np.float64],
    columns: dict[str, NDArray[np.float64]],
    energy_format: str,
) -> str:
    lines = [f"# {key}: {value}" for key, value in parameters.items()]
    lines.append(",".join(["energy_kev", *columns]))
    for energy, *row in zip(energies, *columns.values(), strict=True):
        lines.append(",".join([energy_format % energy, *(f"{value:.5g}" for value in row)]))
    return "\n".join(lines) + "\n"


def main() -> None:
    folder = Path(__file__).parent
    texts = {"mass_attenuation": make_mass_attenuation(), "spectra": make_spectra()}
    for name, text in texts.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8", newline="\n")
        print(f"{name}.csv: {len(text)} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
