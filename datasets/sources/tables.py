"""CSV tables about a cohort, read strictly: what is wrong is said by file and row.

Rows are counted as a spreadsheet does: the header is row 1, and a report that spans lines is one
row.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from drr.datasets.names import CohortError
from drr.errors import DocumentError
from drr.files.documents import read_limited
from drr.files.spreadsheet import unquoted

__all__ = ["LARGEST_FIELD", "Row", "Table", "parse_age", "parse_sex", "read_table"]

LARGEST_FIELD = 1 << 24
"""Characters; a report has thousands, a quote left open swallows the rest of the file."""

MOST_BYTES = 1 << 30
MOST_COLUMNS = 10_000


@dataclass(frozen=True)
class Row:
    """One record: its place, and its texts by column; or what is wrong with it."""

    place: str
    values: dict[str, str]
    problem: str = ""


@dataclass(frozen=True)
class Table:
    """A CSV file that could be read as a whole."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[int, list[str]], ...]

    def place(self, number: int) -> str:
        """How messages name a row."""
        return f"{self.name}, row {number}"

    def __iter__(self) -> Iterator[Row]:
        for number, fields in self.rows:
            problem = ""
            if len(fields) != len(self.columns):
                problem = (
                    f"the row has {len(fields)} fields, the header {len(self.columns)}; quote "
                    "texts that contain commas"
                )
            yield Row(self.place(number), dict(zip(self.columns, fields, strict=False)), problem)

    def require(self, columns: Sequence[str]) -> None:
        """Raise `CohortError` for columns that are not there."""
        missing = [column for column in columns if column not in self.columns]
        if missing:
            raise CohortError(
                f"{self.name}: has no column {', '.join(map(repr, missing))}; its columns are "
                f"{', '.join(map(repr, self.columns[:30]))}"
            )


def read_table(path: Path, *, name: str = "") -> Table:
    """Read a CSV file: UTF-8 with or without byte order mark, commas, one header row.

    An apostrophe that keeps a spreadsheet from running a cell (`drr.files.spreadsheet`) is left
    out.

    Parameters
    ----------
    name
        What messages call the file; by default its own name.

    Raises
    ------
    CohortError
        For a file that is not such a table, naming the line or row.
    """
    name = name or path.name
    try:
        content = read_limited(path, most=MOST_BYTES)
    except OSError as error:
        raise CohortError(f"{name}: cannot be read ({error.strerror or error})") from None
    except DocumentError as error:
        raise CohortError(f"{name}: {error}") from None
    text = _decode(content, name)
    # Values of a few words repeat in thousands of rows: keep each once.
    known: dict[str, str] = {}
    rows: list[tuple[int, list[str]]] = []
    old_limit = csv.field_size_limit(LARGEST_FIELD)
    try:
        for number, fields in enumerate(csv.reader(io.StringIO(text, newline="")), 1):
            if any(field.strip() for field in fields):
                plain = map(unquoted, fields)
                rows.append((number, [known.setdefault(f, f) for f in plain]))
    except csv.Error as error:
        raise CohortError(
            f"{name}: row {len(rows) + 1} cannot be read ({error}); look for a quote left open"
        ) from None
    finally:
        csv.field_size_limit(old_limit)
    if not rows:
        raise CohortError(f"{name}: is empty; a header row with the columns' names is needed")
    columns = tuple(column.strip() for column in rows[0][1])
    if len(columns) == 1 and any(mark in columns[0] for mark in ";\t"):
        raise CohortError(f"{name}: its fields are not separated by commas; save it as CSV again")
    if len(columns) > MOST_COLUMNS:
        raise CohortError(f"{name}: has {len(columns)} columns; at most {MOST_COLUMNS} are read")
    twice = sorted(column for column, count in Counter(columns).items() if count > 1)
    if twice:
        raise CohortError(f"{name}: has the column {twice[0]!r} twice; rename one")
    return Table(name, columns, tuple(rows[1:]))


def parse_age(text: str) -> float | None:
    """Years from DICOM's `036Y`, `018M`, `003W`, `010D`, or a plain number of years.

    None for what is neither, or for more than 130 years.
    """
    match = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)\s*([YMWD]?)", text.strip().upper())
    if match is None:
        return None
    years = float(match[1]) / {"Y": 1.0, "": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}[match[2]]
    return round(years, 3) if years <= 130 else None


def parse_sex(text: str) -> str | None:
    """`M`, `F` or `O` from DICOM's letters or the words; None for anything else."""
    words = {"m": "M", "male": "M", "f": "F", "female": "F", "o": "O", "other": "O"}
    return words.get(text.strip().lower())


def _decode(content: bytes, name: str) -> str:
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise CohortError(f"{name}: is UTF-16; save it as UTF-8")
    if b"\0" in content:
        line = content[: content.index(b"\0")].count(b"\n") + 1
        raise CohortError(f"{name}: has a zero byte in line {line}; it is not a text file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise CohortError(
            f"{name}: line {line} is not UTF-8 (byte 0x{content[error.start]:02x}); save the file "
            "as UTF-8"
        ) from None
