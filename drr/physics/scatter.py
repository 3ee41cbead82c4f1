"""Scattered radiation behind the patient, and the grid that holds it back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.errors import BeamError
from drr.kernels.cpu.image.nodes import Nodes
from drr.physics.part import Effect, check_number, check_pair

__all__ = ["GRIDS", "Grid", "Scatter"]

GRIDS: dict[float, tuple[float, float]] = {
    4: (0.771, 0.256),
    5: (0.758, 0.196),
    6: (0.746, 0.153),
    8: (0.724, 0.099),
    10: (0.703, 0.068),
    12: (0.682, 0.049),
    14: (0.662, 0.036),
    16: (0.642, 0.029),
}
"""Primary and scatter transmission of focused linear grids by their ratio.

Computed for 40 lines per cm, lead strips of 0.045 mm and aluminium between them, 60 keV: the
primary runs along the strips; scatter, from a Monte Carlo simulation of 200 mm of water, is
followed through strips and interspaces (the geometry of G. J. Day and D. R. Dance, "X-ray
transmission formula for antiscatter grids", Phys. Med. Biol. 28(12), 1983, with uniform offsets
and no fluorescence). tests/physics/test_scatter.py repeats the simulation.
"""


@dataclass(frozen=True, kw_only=True)
class Grid(Effect):
    """A focused anti-scatter grid, moving: no lines, no cut-off.

    Parameters
    ----------
    ratio
        Height of the strips over the width of their gaps, 4 to 16. Chest stands have 10 to 13.
    primary_transmission, scatter_transmission
        Fractions that pass (IEC 60627); by default those of `GRIDS`, interpolated.

    Raises
    ------
    BeamError
        For ratios outside the table, fractions outside (0, 1], or a grid that would hold back
        more primary than scatter.
    """

    ratio: float
    primary_transmission: float | None = None
    scatter_transmission: float | None = None

    def __post_init__(self) -> None:
        self._set(ratio=check_number("grid ratio", self.ratio, "", min(GRIDS), max(GRIDS)))
        table = np.array([GRIDS[ratio] for ratio in GRIDS])
        for column, name in enumerate(("primary_transmission", "scatter_transmission")):
            value: Any = getattr(self, name)
            if value is None:
                value = round(float(np.interp(self.ratio, list(GRIDS), table[:, column])), 6)
            self._set(**{name: check_number(f"grid {name}", value, "", 0, 1, above=True)})
        if self.selectivity < 1:
            raise BeamError(
                f"a grid must pass more primary than scatter, got primary_transmission="
                f"{self.primary_transmission:g} and scatter_transmission="
                f"{self.scatter_transmission:g}; exchange them"
            )

    @property
    def selectivity(self) -> float:
        """Primary over scatter transmission (IEC 60627)."""
        assert self.primary_transmission is not None
        assert self.scatter_transmission is not None
        return self.primary_transmission / self.scatter_transmission

    def contrast_improvement(self, scatter_to_primary: float) -> float:
        """Contrast with the grid over contrast without it (IEC 60627): Tp / Tt.

        Parameters
        ----------
        scatter_to_primary
            Of the radiation in front of the grid.
        """
        return (1 + scatter_to_primary) / (1 + scatter_to_primary / self.selectivity)


@dataclass(frozen=True, kw_only=True)
class Scatter(Effect):
    """Scattered radiation as a convolution of what generates it.

    Every ray of line integral p scatters amplitude * exp(-p) p (1 + growth p) of the open
    field, spread by two Gaussians:

        S = amplitude * (exp(-p) p (1 + growth p)) convolved with sum_i weights_i G(sigmas_i).

    exp(-p) p is scattered once on the way (B. Ohnesorge et al., "Efficient object scatter
    correction algorithm for third and fourth generation CT scanners", Eur. Radiol. 9, 1999);
    growth adds what is scattered more often; two Gaussians are the kernel of M. Sun and J. M.
    Star-Lack, "Improved scatter correction using adaptive scatter kernel superposition", Phys.
    Med. Biol. 55(22), 2010. The defaults are fitted to a Monte Carlo simulation of a wide beam of
    60 keV, an energy-integrating detector 15 mm behind 20 to 300 mm of water: scatter-to-primary
    ratios to 5 %, radii of 200 mm of water. tests/physics/test_scatter.py repeats it.

    Parameters
    ----------
    fraction
        Scatter over all radiation, S / (S + P), averaged behind the patient and before any grid:
        the amplitude is chosen so. None takes the amplitude.
    amplitude, growth
        A wide beam behind a uniform slab has S / P = amplitude p (1 + growth p).
    sigmas
        mm at the detector, 10 to 500.
    weights
        Weights of the two Gaussians; their sum is one.

    Raises
    ------
    BeamError
        For values outside these ranges.
    """

    fraction: float | None = None
    amplitude: float = 0.48
    growth: float = 0.14
    sigmas: tuple[float, float] = (45.0, 105.0)
    weights: tuple[float, float] = (0.5, 0.5)

    def __post_init__(self) -> None:
        if self.fraction is not None:
            self._set(fraction=check_number("scatter fraction", self.fraction, "", 0, 0.95))
        for name, high in (("amplitude", 10.0), ("growth", 2.0)):
            self._set(**{name: check_number(f"scatter {name}", getattr(self, name), "", 0, high)})
        self._set(sigmas=check_pair("scatter sigmas", self.sigmas, "mm", 10, 500))
        self._set(weights=check_pair("scatter weights", self.weights, "", 0, 1))
        if not math.isclose(sum(self.weights), 1.0, abs_tol=1e-9):
            raise BeamError(f"scatter weights must add up to one, got {self.weights}")

    def block(self, row_pitch: float, column_pitch: float) -> tuple[int, int]:
        """Rows and columns of the blocks of pixels on which scatter is smooth enough."""
        step = min(self.sigmas) / 6
        return max(1, round(step / row_pitch)), max(1, round(step / column_pitch))

    def spread(
        self, sums: NDArray[np.float64], block: tuple[int, int], pitches: tuple[float, float]
    ) -> Nodes:
        """Scattered signal at the middle of every block and of the blocks around the image.

        Parameters
        ----------
        sums
            `(block rows, block columns)`: what scatters, summed over the pixels of each block.
        block
            Rows and columns of a block.
        pitches
            mm from row to row and column to column.

        Returns
        -------
        Signal with an amplitude of one. Nothing scatters outside the image.
        """
        source = np.pad(sums, 1)
        values = np.zeros_like(source)
        for sigma, weight in zip(self.sigmas, self.weights, strict=True):
            down, across = (
                _gaussian(source.shape[axis], block[axis] * pitches[axis], sigma) * pitches[axis]
                for axis in (0, 1)
            )
            # No BLAS: its sums could depend on the number of its threads.
            spread = np.einsum("ij,jk->ik", down, source)
            values += weight * np.einsum("ij,kj->ik", spread, across)
        first = (-(block[0] + 1) / 2, -(block[1] + 1) / 2)
        return Nodes(values=values, first=first, step=(float(block[0]), float(block[1])))


def _gaussian(count: int, step: float, sigma: float) -> NDArray[np.float64]:
    """`(count, count)` normal density, 1/mm, of the distances between nodes `step` mm apart."""
    position = np.arange(count) * step
    distance = position[:, None] - position[None, :]
    return np.exp(-0.5 * (distance / sigma) ** 2) / (math.sqrt(2 * math.pi) * sigma)
