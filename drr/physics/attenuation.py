"""From Hounsfield units to linear attenuation coefficients."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drr.errors import ProjectionError
from drr.physics.materials import Material, calibrate, check_energy
from drr.sharing import kept_property

if TYPE_CHECKING:
    from drr.kernels.mapping import Mapping

__all__ = ["Attenuation", "tissue", "water", "water_attenuation"]

# J. H. Hubbell and S. M. Seltzer, "Tables of X-Ray Mass Attenuation Coefficients", NISTIR 5632
# (NIST Standard Reference Database 126), liquid water: keV and cm^2/g.
_WATER_KEV = (20.0, 30.0, 40.0, 50.0, 60.0, 80.0, 100.0, 150.0)
_WATER_MASS_ATTENUATION = (0.8096, 0.3756, 0.2683, 0.2269, 0.2059, 0.1837, 0.1707, 0.1505)


@dataclass(frozen=True, kw_only=True)
class Attenuation:
    """Linear attenuation coefficient as a piecewise-linear function of HU.

    Zero up to the first knot; straight from knot to knot; beyond the last knot the last slope
    goes on, so that metal stays brighter than bone. `eval(repr(a)) == a`.

    Parameters
    ----------
    hu
        Two or more knots, ascending.
    mu
        1/mm at each knot; the first is zero, none is negative.
    name
        For records.

    Raises
    ------
    ProjectionError
        For knots that are not such a function.
    """

    hu: tuple[float, ...]
    mu: tuple[float, ...]
    name: str = "custom"

    def __post_init__(self) -> None:
        try:
            hu, mu = (tuple(float(x) for x in values) for values in (self.hu, self.mu))
        except (TypeError, ValueError):
            raise ProjectionError(
                f"attenuation knots must be numbers, got hu={self.hu!r}, mu={self.mu!r}"
            ) from None
        object.__setattr__(self, "hu", hu)
        object.__setattr__(self, "mu", mu)
        if len(hu) != len(mu) or len(hu) < 2:
            raise ProjectionError(
                f"attenuation needs as many mu as HU, at least two; got {len(mu)} and {len(hu)}"
            )
        if not all(map(math.isfinite, hu + mu)) or any(b <= a for a, b in itertools.pairwise(hu)):
            raise ProjectionError(f"attenuation knots must be finite and ascending, got hu={hu}")
        if mu[0] != 0.0 or min(mu) < 0.0:
            raise ProjectionError(
                f"mu must start at zero (air) and never be negative, got mu={mu} in 1/mm"
            )
        if mu[-1] < mu[-2]:
            raise ProjectionError(
                f"mu must not fall beyond the last knot, or metal would attenuate less than "
                f"nothing; got mu={mu}"
            )

    def __call__(self, hu: ArrayLike) -> NDArray[np.float64]:
        """Attenuation in 1/mm of any array of HU."""
        hu = np.asarray(hu, dtype=np.float64)
        last = (self.mu[-1] - self.mu[-2]) / (self.hu[-1] - self.hu[-2])
        beyond = np.maximum(hu - self.hu[-1], 0.0) * last
        return np.asarray(np.interp(hu, self.hu, self.mu) + beyond)

    @property
    def channels(self) -> tuple[Attenuation, ...]:
        """What the kernels project, as a `Beam` has it: the attenuation itself."""
        return (self,)

    def line_integrals(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """The one of `(1, rows, columns)` images of `channels`, dimensionless."""
        return images[0]

    @kept_property
    def mapping(self) -> Mapping:
        """The form the kernels read."""
        from drr.kernels.mapping import Mapping

        hu = np.arange(-32768, 32768, dtype=np.float32)
        table = self(hu).astype(np.float32)
        steepness = np.diff(self.mu) / np.diff(self.hu)
        thresholds = np.array(self.hu[:-1], np.float32)
        slopes = np.diff(steepness, prepend=0.0).astype(np.float32)
        hinges = sum(s * np.maximum(hu - t, 0) for s, t in zip(slopes, thresholds, strict=True))
        # Steps are hinges too steep for float32 and are looked up instead. Above the 12 bits of
        # a CT, where rounding of all the hinges below adds up, metal needs no such precision.
        tolerance = np.where(hu < 4096, 3e-5, 3e-4) * table.max()
        if (np.abs(hinges - table) > tolerance).any():
            thresholds = slopes = np.empty(0, np.float32)
        return Mapping(table=table, thresholds=thresholds, slopes=slopes)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and lists, for JSON; the unit stands in the key."""
        return {"name": self.name, "hu": list(self.hu), "mu_per_mm": list(self.mu)}

    @classmethod
    def from_dict(cls, values: MappingOf[str, Any]) -> Attenuation:
        """Inverse of `to_dict`."""
        if set(values) != {"name", "hu", "mu_per_mm"}:
            raise ProjectionError(
                f"an attenuation record has the keys name, hu and mu_per_mm, got {sorted(values)}"
            )
        return cls(hu=tuple(values["hu"]), mu=tuple(values["mu_per_mm"]), name=str(values["name"]))


def water_attenuation(energy_kev: float) -> float:
    """Linear attenuation coefficient of water (1 g/cm^3) in 1/mm, interpolated in log-log."""
    if not (isinstance(energy_kev, int | float) and _WATER_KEV[0] <= energy_kev <= _WATER_KEV[-1]):
        raise ProjectionError(
            f"photon energy {energy_kev!r} keV is outside the table "
            f"({_WATER_KEV[0]:g} to {_WATER_KEV[-1]:g} keV); chest beams average 50 to 70 keV"
        )
    log_mu = np.interp(math.log(energy_kev), np.log(_WATER_KEV), np.log(_WATER_MASS_ATTENUATION))
    return float(np.exp(log_mu)) / 10.0  # 1/cm to 1/mm


def water(energy_kev: float = 60.0) -> Attenuation:
    """All matter as water of its density: mu = mu_water(E) * max(0, 1 + HU / 1000)."""
    mu = round(water_attenuation(energy_kev), 9)
    return Attenuation(hu=(-1000.0, 0.0), mu=(0.0, mu), name=f"water-{energy_kev:g}keV")


def tissue(
    energy_kev: float = 60.0, *, ct_energy_kev: float = 70.0, fat: bool = True
) -> Attenuation:
    """Lung, fat, soft tissue and bone by CT number, at one photon energy.

    Low energies are attenuated by bone more than CT numbers say, and by fat less: at 60 keV
    cortical bone is 15 % above and adipose tissue 1.4 % below `water`. The calibration is that of
    `drr.physics.materials.calibrate`, without metal and contrast; beyond cortical bone the last
    slope goes on. At the CT's own energy all this is `water`.

    Parameters
    ----------
    energy_kev
        Photon energy, 10 to 160 keV.
    ct_energy_kev
        Effective energy of the CT scanner, 40 to 120 keV: about 70 at 120 kVp.
    fat
        Whether fat is told from water; without it the mapping has two knots less.

    Raises
    ------
    BeamError
        For energies out of these ranges.
    """
    energy = check_energy(energy_kev)
    hu, densities = calibrate(ct_energy_kev=ct_energy_kev, fat=fat)
    pure = {name: float(Material(name=name).attenuation(energy)) for name in densities}
    mu = [sum(densities[name][i] * pure[name] for name in pure) for i in range(len(hu))]
    if not fat:  # then air, water and soft tissue lie on one line
        hu, mu = (hu[0], *hu[2:]), [mu[0], *mu[2:]]
    return Attenuation(
        # The last anchor only bends the line beyond cortical bone by a few per cent.
        hu=tuple(round(value, 3) for value in hu[:-1]),
        mu=tuple(round(value, 9) for value in mu[:-1]),
        name=f"tissue-{energy:g}keV",
    )
