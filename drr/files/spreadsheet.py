"""Tables as CSV whose cells no spreadsheet runs.

Spreadsheets take a cell that starts with `=`, `+`, `-`, `@`, a tab or a line's end for a formula,
which may send the table elsewhere or start a program. The common mitigation is an apostrophe
before it, which spreadsheets take for "this is text" and do not show (OWASP, CSV injection).
Numbers stay numbers. `unquoted` undoes it, so that what this package writes it reads back as it
was.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

__all__ = ["csv_text", "quoted", "unquoted"]

# Fullwidth signs are run by spreadsheets of East Asian locales. What has apostrophes before such a
# sign of its own gets one more, so that undoing is exact.
_RUN = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)


def quoted(cell: Any) -> Any:
    """A cell as it is written: text that a spreadsheet would run gets an apostrophe before it."""
    if isinstance(cell, str) and _RUN.match(cell) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def unquoted(cell: str) -> str:
    """Inverse of `quoted`."""
    return cell[1:] if cell.startswith("'") and _RUN.match(cell) else cell


def csv_text(head: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table as CSV with `quoted` cells, lines ended by a line feed."""
    lines: list[str] = []
    # Older Pythons quote a line's end in a cell only if it ends lines, too: so both do, at first.
    writer = csv.writer(SimpleNamespace(write=lines.append), lineterminator="\r\n")
    writer.writerow([quoted(cell) for cell in head])
    writer.writerows([quoted(cell) for cell in row] for row in rows)
    return "".join(line.removesuffix("\r\n") + "\n" for line in lines)
