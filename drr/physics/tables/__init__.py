"""Tables of physics as data: mass attenuation and X-ray spectra, with how they were made.

`materials.csv` is written by hand; `python -m drr.physics.tables.make` derives the other two from
it with xraydb and spekpy (both in the `dev` extra). Nothing is derived when the package runs.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["Table", "read_materials", "read_table"]


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of numbers over energy, and how they were made.

    Parameters
    ----------
    energies_kev
        `(n,)` float64, ascending.
    columns
        Name to `(n,)` float64; the unit is in `parameters`.
    parameters
        Name to value, as text.
    """

    energies_kev: NDArray[np.float64]
    columns: dict[str, NDArray[np.float64]]
    parameters: dict[str, str]


@cache
def read_table(name: str) -> Table:
    """Read `mass_attenuation` or `spectra`: `# name: value` lines, a row of names, numbers."""
    lines = _lines(name)
    comments = [line[1:] for line in lines if line.startswith("#")]
    pairs = (line.partition(":") for line in comments)
    parameters = {key.strip(): value.strip() for key, _, value in pairs}
    header, *rows = csv.reader(line for line in lines if not line.startswith("#"))
    numbers = np.array(rows, dtype=np.float64)
    numbers.setflags(write=False)
    columns = {key: numbers[:, i] for i, key in enumerate(header)}
    return Table(columns.pop("energy_kev"), columns, parameters)


@cache
def read_materials() -> dict[str, dict[str, str]]:
    """Rows of `materials.csv` by name: `density_g_per_cm3`, `composition`, `source`."""
    rows = csv.DictReader(line for line in _lines("materials") if not line.startswith("#"))
    return {row["name"]: row for row in rows}


def _lines(name: str) -> list[str]:
    return Path(__file__).with_name(f"{name}.csv").read_text(encoding="utf-8").splitlines()
