"""The shipped tables are what their sources give, made again here with xraydb and spekpy."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import xraydb

from drr.physics import tables
from drr.physics.tables import make, read_materials, read_table

FOLDER = Path(tables.__file__).parent


def numbers(text: str) -> tuple[list[str], np.ndarray]:
    header, *rows = csv.reader(line for line in text.splitlines() if line[0] != "#")
    return header, np.array(rows, float)


@pytest.mark.parametrize("name", ["mass_attenuation", "spectra"])
def test_a_table_made_again_is_the_shipped_one(name):
    header, made = numbers(getattr(make, f"make_{name}")())
    shipped_header, shipped = numbers((FOLDER / f"{name}.csv").read_text(encoding="utf-8"))
    assert header == shipped_header
    # Five digits are stored.
    np.testing.assert_allclose(made, shipped, rtol=1e-4)


def test_xraydb_gives_attenuation_in_per_cm():
    # NISTIR 5632: water at 60 keV has 0.2059 cm^2/g, so 0.2059/cm at 1 g/cm^3.
    assert xraydb.material_mu("water", 60e3) == pytest.approx(0.2059, rel=0.002)
    water = read_table("mass_attenuation").columns["water"]
    energies = read_table("mass_attenuation").energies_kev
    assert np.interp(60.0, energies, water) == pytest.approx(0.2059, rel=0.002)


@pytest.mark.parametrize(
    ("name", "edge"),
    [("iodine", 33.17), ("caesium iodide", 35.985), ("gadolinium oxysulfide", 50.24)],
)
def test_k_edges_are_steps_and_not_slopes(name, edge):
    table = read_table("mass_attenuation")
    values = table.columns[name]
    rises = np.flatnonzero(np.diff(values) > 0.5 * values[:-1])
    steps = [(table.energies_kev[i], table.energies_kev[i + 1]) for i in rises]
    below, above = next(step for step in steps if abs(step[0] - edge) < 0.05)
    assert above - below < 0.01


def test_log_log_interpolation_is_good_to_a_thousandth_between_entries():
    table = read_table("mass_attenuation")
    fine = np.geomspace(10.01, 159.9, 1500)
    edges = np.array([20.0, 33.17, 35.985, 50.24])
    fine = fine[np.abs(fine[:, None] - edges).min(axis=1) > 0.01]
    for name, row in read_materials().items():
        x, y = np.log(table.energies_kev), np.log(table.columns[name])
        direct = make.mass_attenuation(row["composition"], fine)
        np.testing.assert_allclose(np.exp(np.interp(np.log(fine), x, y)), direct, rtol=5e-4)


def test_mass_fractions_add_up_to_one():
    for name, row in read_materials().items():
        if " " in row["composition"]:
            total = sum(map(float, row["composition"].split()[1::2]))
            assert total == pytest.approx(1.0, abs=0.0015), name


def test_tables_state_how_they_were_made():
    spectra = read_table("spectra").parameters
    assert spectra["anode"] == "tungsten"
    assert float(spectra["anode_angle_degrees"]) == 12.0
    assert spectra["source"].startswith("spekpy")
    assert "photons/(cm^2 keV mAs) at 1 m" in spectra["unit"]
    assert read_table("mass_attenuation").parameters["unit"] == "cm^2/g"


def test_tables_are_small_and_cannot_be_written_to():
    assert sum(path.stat().st_size for path in FOLDER.glob("*.csv")) < 100_000
    with pytest.raises(ValueError, match="read-only"):
        read_table("spectra").energies_kev[0] = 1.0


def test_main_writes_both_tables(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(make, "__file__", str(tmp_path / "make.py"))
    monkeypatch.setattr(make, "make_mass_attenuation", lambda: "energy_kev\n")
    monkeypatch.setattr(make, "make_spectra", lambda: "energy_kev\n")
    make.main()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "mass_attenuation.csv",
        "spectra.csv",
    ]
    assert "spectra.csv: 11 bytes" in capsys.readouterr().err
