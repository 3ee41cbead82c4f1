"""`drr.randomise.quantities`: the one table, and the documentation that follows from it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from drr.randomise.quantities import CHANCES, CORNERS, LIMITS, Quantities

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "randomisation.md"


def row(name: str, metadata: dict) -> str:
    low, high = metadata.get("limits", (None, None))
    unit = metadata.get("unit", "")
    values = "true or false" if name in CHANCES else ", ".join(CORNERS)
    if low is not None:
        values = f"{low:g} to {high:g}"
    return f"| `{name}` | {metadata['change']} | {unit} | {values} |"


def test_the_documentation_tables_every_quantity_in_order() -> None:
    rows = [row(f.name, dict(f.metadata)) for f in fields(Quantities)]
    tabled = [line for line in DOCUMENT.read_text("utf-8").splitlines() if line in rows]
    assert tabled == rows


def test_every_quantity_says_what_it_changes() -> None:
    assert {*LIMITS, *CHANCES, "marker_corner"} == {f.name for f in fields(Quantities)}
    assert all(low < high for low, high in LIMITS.values())
    assert all(f.metadata["change"] for f in fields(Quantities))
