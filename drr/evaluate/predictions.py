"""Predictions: one score for every sample and finding, as files hold them."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.datasets.sources.tables import Table, read_table
from drr.errors import DocumentError
from drr.evaluate.metrics import EvaluationError
from drr.evaluate.names import COLUMNS, find_column, plain
from drr.files.arrays import read_npz as arrays_of
from drr.files.atomic import write_files
from drr.files.spreadsheet import csv_text

__all__ = ["PREFIX", "Predictions", "read_npz", "read_predictions", "write_predictions"]

PREFIX = re.compile(r"(prob|pred|score)s?[ _:-]+(?=\S)", re.IGNORECASE)
"""Of columns that hold predictions, in tables that hold the truth as well."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Predictions:
    """Scores of samples.

    Parameters
    ----------
    scores
        `(n, findings)` finite numbers, the higher the likelier; probabilities if the calibration
        is to be judged. Kept as float64.
    labels
        Names of the findings.
    names
        Unique names of the samples; None where only their order is known.
    source
        For messages.

    Raises
    ------
    EvaluationError
        For shapes that do not fit, names that are there twice, and scores that are not finite,
        by sample and finding.
    """

    scores: NDArray[np.float64]
    labels: tuple[str, ...]
    names: tuple[str, ...] | None = None
    source: str = "predictions"

    def __post_init__(self) -> None:
        try:
            scores = np.asarray(self.scores, np.float64)
        except (TypeError, ValueError):
            raise EvaluationError(f"{self.source}: the scores are not numbers") from None
        object.__setattr__(self, "scores", scores)
        object.__setattr__(self, "labels", tuple(map(str, self.labels)))
        if scores.ndim != 2 or scores.shape[1] != len(self.labels) or not scores.size:
            raise EvaluationError(
                f"{self.source}: scores of shape {scores.shape} are no table of samples by "
                f"{len(self.labels)} findings, with one of each at least"
            )
        _refuse_twice(self.labels, "the finding", self.source)
        if self.names is not None:
            object.__setattr__(self, "names", tuple(map(str, self.names)))
            if len(self.names) != len(scores):
                raise EvaluationError(
                    f"{self.source}: {len(self.names)} names were given for {len(scores)} samples"
                )
            _refuse_twice(self.names, "the sample", self.source)
        bad = np.argwhere(~np.isfinite(scores))
        if len(bad):
            row, column = bad[0]
            who = repr(self.names[row]) if self.names else f"number {row + 1}"
            raise EvaluationError(
                f"{self.source}: the prediction of {self.labels[column]!r} for sample {who} is "
                f"{scores[row, column]}, and {len(bad)} of {scores.size} are not finite numbers; "
                "look for what went wrong in the model, or leave those samples out"
            )

    def __len__(self) -> int:
        return len(self.scores)


def read_predictions(path: str | Path) -> Predictions:
    """Read predictions from a CSV or NPZ file.

    CSV: a row for every sample, a column for every finding; `prob_`, `pred_` or `score_` before
    a finding's name is dropped, and where a table has such columns it is only those. A column with
    the samples' names (`image`, `ImageName`, `Image Index`, `Path`, ...) may be there; without one
    the order of the rows has to be that of the truth. Columns about the patient are passed over.

    NPZ: `scores` (n, findings), `labels`, and `names` or not.

    Raises
    ------
    EvaluationError, CohortError
        For files that hold no such table, by row and column.
    """
    path = Path(path)
    if path.suffix.lower() == ".npz":
        arrays = read_npz(path)
        if missing := [name for name in ("scores", "labels") if name not in arrays]:
            raise EvaluationError(
                f"{path}: has no array {' and '.join(map(repr, missing))}; predictions are "
                "'scores' (n, findings), 'labels' and, if known, 'names'"
            )
        names = arrays.get("names")
        return Predictions(
            scores=arrays["scores"],
            labels=tuple(map(str, arrays["labels"])),
            names=None if names is None else tuple(map(str, names)),
            source=str(path),
        )
    table = read_table(path, name=str(path))
    if not table.rows:
        raise EvaluationError(f"{path}: has a header and no rows; there is nothing to evaluate")
    key = name_column(table)
    rest = [column for column in table.columns if column and column != key]
    marked = [column for column in rest if PREFIX.match(column)]
    about = {word for words in COLUMNS.values() for word in words}
    columns = marked or [column for column in rest if plain(column) not in about]
    if not columns:
        raise EvaluationError(f"{path}: has no column with predictions of a finding")
    scores = np.empty((len(table.rows), len(columns)))
    for place, row in enumerate(table):
        if row.problem:
            raise EvaluationError(f"{row.place}: {row.problem}")
        for i, column in enumerate(columns):
            scores[place, i] = _number(row.values[column], column, row.place)
    return Predictions(
        scores=scores,
        labels=tuple(PREFIX.sub("", column, count=1) for column in columns),
        names=None if key is None else tuple(texts(table, key)),
        source=str(path),
    )


def write_predictions(path: str | Path, predictions: Predictions, *, force: bool = False) -> None:
    """Write what `read_predictions` reads, as CSV or NPZ by the file's suffix.

    Raises
    ------
    WriteError
        For a file that exists, unless `force`, or cannot be written.
    """
    path = Path(path)
    scores, names = predictions.scores, predictions.names
    if path.suffix.lower() == ".npz":
        binary = io.BytesIO()
        own = {} if names is None else {"names": np.array(names)}
        arrays: dict[str, Any] = {"scores": scores, "labels": np.array(predictions.labels), **own}
        np.savez_compressed(binary, **arrays)
        content = binary.getvalue()
    else:
        head = [*([] if names is None else ["name"]), *predictions.labels]
        rows = (
            [*([] if names is None else [names[place]]), *(f"{value:.9g}" for value in row)]
            for place, row in enumerate(scores)
        )
        content = csv_text(head, rows).encode()
    write_files({path: content}, force=force)


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an NPZ file; nothing in it is executed.

    Raises
    ------
    EvaluationError
        For a file that is none.
    """
    try:
        arrays = arrays_of(path)
    except (OSError, DocumentError) as error:
        reason = getattr(error, "strerror", None) or error
        raise EvaluationError(
            f"{path}: cannot be read as an NPZ file of plain arrays ({reason})"
        ) from None
    for name, wanted in _NPZ_KINDS.items():
        if name in arrays and arrays[name].dtype.kind not in wanted:
            kind = "texts" if wanted == _TEXT else "numbers"
            raise EvaluationError(f"{path}: {name!r} holds {arrays[name].dtype}, not {kind}")
        if name in arrays and wanted == _TEXT and arrays[name].ndim != 1:
            raise EvaluationError(f"{path}: {name!r} has {arrays[name].ndim} axes, not one")
    return arrays


_TEXT = "UiufbS"  # also names that are numbers
_NPZ_KINDS = {
    **dict.fromkeys(("scores", "codes", "age"), "iufbUS"),
    **dict.fromkeys(("labels", "names", "patients", "sex", "view", "split"), _TEXT),
}


def name_column(table: Table) -> str | None:
    """The column with the samples' names; None for a table that goes by its order."""
    if "" in table.columns and not all(re.fullmatch(r"\d+", t) for t in texts(table, "")):
        return ""  # the index that pandas writes, where it is no mere count
    return find_column(table.columns, "name")


def texts(table: Table, column: str) -> list[str]:
    """One column, stripped; empty where a row is too short."""
    place = table.columns.index(column)
    return [fields[place].strip() if place < len(fields) else "" for _, fields in table.rows]


def _number(text: str, column: str, place: str) -> float:
    try:
        if "_" in text or not text.isascii():  # Python reads more than tables hold
            raise ValueError
        return float(text) if text.strip() else math.nan
    except ValueError:
        raise EvaluationError(
            f"{place}: the prediction of {column!r} is {text!r}; it must be a number"
        ) from None


def _refuse_twice(names: Sequence[str], what: str, source: str) -> None:
    seen: set[str] = set()
    for name in names:
        if not name:
            raise EvaluationError(f"{source}: {what} without a name; give every one its own")
        if name in seen:
            raise EvaluationError(f"{source}: {what} {name!r} is there twice; keep one")
        seen.add(name)
