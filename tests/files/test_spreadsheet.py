"""Cells that a spreadsheet would run, and that they come back as they were."""

from __future__ import annotations

import csv
import io

import pytest

from drr.files.spreadsheet import csv_text, quoted, unquoted

NUMBERS = ("-1.5", "+3", "1e5", "-.5")
CELLS = [
    *NUMBERS,
    *(
        "=1+1",
        "+a",
        "-a",
        "@SUM(A1)",
        "\tx",
        "\rx",
        "\nx",
        "＝1",
        "=HYPERLINK(1)",
        "-",
        "=",
        "- no",
    ),
    *("'=1", "''=1", "'", "'a", "a=b", "", " =1", "-1.5.2", "-inf"),
    *("-1e", "--1", '"=1"', "a,b", 'a"b', "a\r\nb", "ä", "-1²", "-١"),
]


@pytest.mark.parametrize("cell", CELLS)
def test_cells_come_back(cell: str) -> None:
    assert unquoted(quoted(cell)) == cell
    text = csv_text(["a", "b"], [[cell, "next"]])
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert [unquoted(c) for c in rows[1]] == [cell, "next"]
    assert len(rows) == 2


@pytest.mark.parametrize("cell", CELLS)
def test_nothing_is_run(cell: str) -> None:
    if cell not in NUMBERS:
        assert not str(quoted(cell)).startswith(tuple("=+-@\t\r\n＝＋－＠"))


def test_numbers_stay_numbers() -> None:
    for cell in ("-1.5", "+3", "-1e-5", "-.5", "-7", -1.5, -1, 0.0, None):
        assert quoted(cell) is cell
    assert csv_text(["name", "x"], [["a", -1.5]]) == "name,x\na,-1.5\n"
