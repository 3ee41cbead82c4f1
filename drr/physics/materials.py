"""Materials, and what mixture of them a CT number stands for.

A CT number alone fixes one quantity: the attenuation at the scanner's effective energy. Which
materials share it is calibrated by anchors, CT numbers whose material is known; between two
anchors the voxel is a mixture of both by volume, which gives every mixture the CT number it was
read from, exactly. The anchors are air, lung (air and soft tissue), adipose tissue, water, soft
tissue up to 100 HU and cortical bone, after U. Schneider, E. Pedroni and A. Lomax, Phys. Med.
Biol. 41 (1996) 111 and W. Schneider, T. Bortfeld and W. Schlegel, Phys. Med. Biol. 45 (2000) 459.
Soft tissue is water of another density: from 50 to 150 keV blood, lung and soft tissue of
ICRU Report 44 are within 0.8 % of that.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drr.checks import did_you_mean, within
from drr.errors import BeamError
from drr.physics.tables import read_materials, read_table
from drr.sharing import kept_property

__all__ = [
    "ADIPOSE",
    "BONE",
    "CT_ENERGY_KEV",
    "WATER",
    "Material",
    "calibrate",
    "find_material",
    "material_names",
]

# Effective energy of a 120 kVp CT scanner. Between the 65 and 75 keV that are in use; here the
# CT numbers of cortical bone and adipose tissue are 1559 and -77 HU.
CT_ENERGY_KEV = 70.0
_CT_RANGE_KEV = (40.0, 120.0)
WATER, ADIPOSE, BONE = "water", "adipose tissue", "cortical bone"
# Where soft tissue ends and bone begins: Schneider 2000.
_FIRST_BONE_HU = 100.0
# Densest lung, seldom met. Fat of thin patients and soft kernels reaches down to -120.
_LAST_LUNG_HU = -200.0
# CT numbers over which one reading of a voxel gives way to another.
FADE_HU = 50.0
_HIGHEST_METAL_HU = 30000.0


@dataclass(frozen=True, kw_only=True)
class Material:
    """A material of known composition. `eval(repr(m)) == m`.

    Parameters
    ----------
    name
        One of `material_names()`.
    density
        g/cm^3; 0 takes the tabulated one.

    Raises
    ------
    BeamError
        For a name that is not tabulated and a density that is none.
    """

    name: str
    density: float = 0.0

    def __post_init__(self) -> None:
        rows = read_materials()
        if not isinstance(self.name, str) or self.name not in rows:
            near = did_you_mean(self.name, rows, question=True, cutoff=0.5)
            raise BeamError(
                f"there is no material {self.name!r}{near}; materials are {', '.join(rows)}"
            )
        density = check_quantity("the density of " + self.name, self.density, "g/cm^3", 0.0, 30.0)
        tabulated = float(rows[self.name]["density_g_per_cm3"])
        object.__setattr__(self, "density", density or tabulated)

    def mass_attenuation(self, energies_kev: ArrayLike) -> NDArray[np.float64]:
        """Total mass attenuation coefficient in cm^2/g, of the energies' shape.

        Interpolated in log-log between tabulated energies, of which two enclose every K edge.

        Raises
        ------
        BeamError
            For energies outside the table, 10 to 160 keV.
        """
        energies = check_energies(energies_kev)
        x, curves = _log_table()
        return np.asarray(np.exp(np.interp(np.log(energies), x, curves[self.name])))

    def attenuation(self, energies_kev: ArrayLike) -> NDArray[np.float64]:
        """Linear attenuation coefficient in 1/mm, of the energies' shape."""
        return self.mass_attenuation(energies_kev) * self.density / 10.0  # 1/cm to 1/mm

    @kept_property
    def composition(self) -> str:
        """Elements and mass fractions, or the chemical formula."""
        return read_materials()[self.name]["composition"]

    def ct_number(self, ct_energy_kev: float = CT_ENERGY_KEV) -> float:
        """HU of the pure material: 1000 (mu / mu_water - 1), at a CT's effective energy."""
        water = Material(name=WATER).attenuation(ct_energy_kev)
        return float(1000.0 * (self.attenuation(ct_energy_kev) / water - 1.0))


def material_names() -> tuple[str, ...]:
    """Names of all tabulated materials."""
    return tuple(read_materials())


def find_material(name: str | Material) -> Material:
    """The material of that name at its tabulated density; a `Material` passes."""
    return name if isinstance(name, Material) else Material(name=name)


def calibrate(
    *,
    ct_energy_kev: float = CT_ENERGY_KEV,
    fat: bool = True,
    contrast: tuple[float, float] | None = None,
    metal: str | None = None,
    metal_hu: float = 3000.0,
) -> tuple[tuple[float, ...], dict[str, tuple[float, ...]]]:
    """Partial densities of the materials that a voxel of given HU consists of.

    =======================  =====================================================================
    CT number                mixture
    =======================  =====================================================================
    -1000                    nothing: air's own attenuation counts as zero, as the CT scale has it
    -1000 to -200            lung: air and water
    -200 to adipose tissue   lung and adipose tissue; as lung without `fat`
    adipose tissue to 0      adipose tissue and water; as lung without `fat`
    0 to 100                 soft tissue: water of higher density
    100 to cortical bone     soft tissue and cortical bone
    above                    cortical bone of higher density
    =======================  =====================================================================

    Parameters
    ----------
    ct_energy_kev
        Effective energy of the CT scanner, 40 to 120 keV: about 70 at 120 kVp.
    fat
        Whether adipose tissue is a material of its own.
    contrast
        Lowest and highest HU of voxels that are blood with iodine instead of bone. Bone of these
        CT numbers, mostly spongy, becomes iodine with them.
    metal
        Material of implants; None when dense voxels are bone.
    metal_hu
        Voxels of this CT number and above are the metal, of the density that the number gives.
        A scan of 12 bits ends at 3071 HU: there metal keeps that, far below its true density.

    Returns
    -------
    hu, densities
        Ascending anchors, and for each material its partial density there, relative to the
        density of the pure material (mm of material per mm). Straight in between; the last slope
        goes on.

    Raises
    ------
    BeamError
        For an energy outside the tables, unknown metals, and ranges that cannot be.
    """
    energy = check_quantity("the effective energy of the CT", ct_energy_kev, "keV", *_CT_RANGE_KEV)
    solid = {name: Material(name=name) for name in (ADIPOSE, BONE)}
    bone_hu = solid[BONE].ct_number(energy)
    anchors: list[tuple[float, dict[str, float]]] = [
        (-1000.0, {}),
        (0.0, {WATER: 1.0}),
        (_FIRST_BONE_HU, {WATER: 1.0 + _FIRST_BONE_HU / 1000}),
        (bone_hu, {BONE: 1.0}),
        (2 * bone_hu + 1000, {BONE: 2.0}),
    ]
    if fat:
        fat_hu = solid[ADIPOSE].ct_number(energy)
        lung = 1.0 + _LAST_LUNG_HU / 1000
        anchors[1:1] = [(_LAST_LUNG_HU, {WATER: lung}), (fat_hu, {ADIPOSE: 1.0})]
    if contrast is not None:
        anchors = _with_contrast(anchors, contrast, energy)
    metal_hu = check_quantity(
        "metal_hu", metal_hu, "HU", _FIRST_BONE_HU + FADE_HU, _HIGHEST_METAL_HU
    )
    if metal is not None:
        anchors = _with_metal(anchors, metal, metal_hu, energy, contrast)
    found = dict.fromkeys(name for _, mixture in anchors for name in mixture)
    names = sorted(found, key=lambda name: (name != WATER, name != BONE))
    return (
        tuple(hu for hu, _ in anchors),
        {name: tuple(mixture.get(name, 0.0) for _, mixture in anchors) for name in names},
    )


Anchors = list[tuple[float, dict[str, float]]]


def _with_contrast(anchors: Anchors, contrast: Any, energy: float) -> Anchors:
    try:
        low, high = (float(hu) for hu in contrast)
    except (TypeError, ValueError):
        raise BeamError(
            f"contrast must be the lowest and the highest HU of iodinated blood, got {contrast!r}"
        ) from None
    if not (low >= _FIRST_BONE_HU and low + FADE_HU <= high <= 3000):
        raise BeamError(
            f"contrast must be a range of at least {FADE_HU:g} HU between {_FIRST_BONE_HU:g} and "
            f"3000 HU, got {low:g} to {high:g}; iodinated blood in chest CT has 150 to 500"
        )
    blood = 1.0 + Material(name="blood").ct_number(energy) / 1000  # as much water
    iodine = 1.0 + Material(name="iodine").ct_number(energy) / 1000

    def iodinated(hu: float) -> dict[str, float]:
        return {WATER: blood, "iodine": (1.0 + hu / 1000 - blood) / iodine}

    inside = [
        (low, _mixture(anchors, low)),
        (low + FADE_HU, iodinated(low + FADE_HU)),
        (high, iodinated(high)),
        (high + FADE_HU, _mixture(anchors, high + FADE_HU)),
    ]
    if high == low + FADE_HU:
        del inside[2]
    outside = [(hu, mixture) for hu, mixture in anchors if not low <= hu <= high + FADE_HU]
    return sorted(inside + outside, key=lambda anchor: anchor[0])


def _with_metal(
    anchors: Anchors, metal: str, metal_hu: float, energy: float, contrast: Any
) -> Anchors:
    material = Material(name=metal)
    lowest = _FIRST_BONE_HU if contrast is None else float(contrast[1]) + FADE_HU
    start = check_quantity("metal_hu", metal_hu, "HU", lowest + FADE_HU, _HIGHEST_METAL_HU)
    pure = 1.0 + material.ct_number(energy) / 1000
    if pure <= 1.0 + start / 1000:
        raise BeamError(
            f"{metal} has {1000 * (pure - 1):.0f} HU, no more than metal_hu ({start:g}); "
            "name a metal such as titanium or stainless steel"
        )
    begin = start - FADE_HU
    below = [(hu, mixture) for hu, mixture in anchors if hu < begin]
    return [
        *below,
        (begin, _mixture(anchors, begin)),
        (start, {metal: (1.0 + start / 1000) / pure}),
        (1000 * (2 * pure - 1), {metal: 2.0}),
    ]


def _mixture(anchors: Anchors, hu: float) -> dict[str, float]:
    """The mixture of anchors at any HU between the first and the last."""
    knots = [at for at, _ in anchors]
    names = {name for _, mixture in anchors for name in mixture}
    values = {
        name: float(np.interp(hu, knots, [mixture.get(name, 0.0) for _, mixture in anchors]))
        for name in names
    }
    return {name: value for name, value in values.items() if value > 0.0}


def check_quantity(what: str, value: Any, unit: str, lowest: float, highest: float) -> float:
    """A finite number in a closed range, or a `BeamError` that names both."""
    wanted = f"{lowest:g} to {highest:g} {unit}"
    return within(what, value, lowest, highest, error=BeamError, wanted=wanted)


def energy_range() -> tuple[float, float]:
    """Lowest and highest energy of the tables in keV."""
    energies = read_table("mass_attenuation").energies_kev
    return float(energies[0]), float(energies[-1])


def check_energies(energies_kev: ArrayLike) -> NDArray[np.float64]:
    """Energies as float64, or a `BeamError` for those outside the tables."""
    energies = np.asarray(energies_kev)
    # Text and truth values are no energies.
    if energies.dtype.kind not in "iuf":
        raise BeamError(f"photon energies must be numbers in keV, got {energies_kev!r}")
    energies = energies.astype(np.float64)
    lowest, highest = energy_range()
    outside = energies[~((energies >= lowest) & (energies <= highest))]
    if outside.size:
        raise BeamError(
            f"photon energy {outside.flat[0]:g} keV is outside the tables "
            f"({lowest:g} to {highest:g} keV); chest beams average 50 to 70 keV"
        )
    return energies


def check_energy(energy_kev: Any) -> float:
    """One energy as float; as `check_energies`."""
    if np.ndim(energy_kev):
        raise BeamError(f"the photon energy must be one number in keV, got {energy_kev!r}")
    return float(check_energies(energy_kev))


@cache
def _log_table() -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    table = read_table("mass_attenuation")
    curves = {name: np.log(values) for name, values in table.columns.items()}
    return np.log(table.energies_kev), curves
