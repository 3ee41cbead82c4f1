"""The style sheet and the tables that all pages share: no network, light or dark as the system."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from drr.errors import printable

__all__ = ["LONGEST_CELL", "STYLE", "table"]

LONGEST_CELL = 2000
"""Characters of a cell at most."""

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1f24; --quiet: #59636e;
  --line: #d1d9e0; --accent: #0b63b5; --second: #b3470e; --card: #f6f8fa; }
@media (prefers-color-scheme: dark) { :root { --paper: #0f1419; --ink: #e6e9ec;
  --quiet: #9aa5b1; --line: #38424d; --accent: #6cb2f7; --second: #f0a16b; --card: #182028; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 88rem; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .3rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: 1rem; margin: 0 0 .4rem; }
p { margin: .3rem 0; max-width: 60rem; } .quiet { color: var(--quiet); }
.tiles { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.2rem 0; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: .7rem 1.1rem; }
.tile b { display: block; font-size: 1.5rem; font-variant-numeric: tabular-nums; }
.tile span { color: var(--quiet); font-size: .85rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .88rem; }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid var(--line); }
th { color: var(--quiet); font-weight: 600; } th:first-child, td:first-child { text-align: left; }
tbody th { color: var(--ink); font-weight: 400; }
svg { max-width: 100%; height: auto; }
"""
"""Rules of every page; a page adds its own."""


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, kind: str = "", mean: str | None = None
) -> str:
    """Return a table of texts, which are escaped and cannot act on the lines around them.

    Parameters
    ----------
    head
        Titles of the columns.
    rows
        Cells of each row; the first one names it.
    kind
        Class of the table, for the style sheet.
    mean
        Name of the row that is emphasised as a mean.
    """
    lines = []
    for row in rows:
        name, *cells = (escape(printable(cell, most=LONGEST_CELL)) for cell in row)
        emphasis = ' class="mean"' if row[0] == mean else ""
        data = "".join(f"<td>{cell}</td>" for cell in cells)
        lines.append(f'<tr{emphasis}><th scope="row">{name}</th>{data}</tr>\n')
    titles = "".join(f'<th scope="col">{escape(title)}</th>' for title in head)
    return (
        f'<div class="wide"><table class="{kind}"><thead><tr>{titles}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )
