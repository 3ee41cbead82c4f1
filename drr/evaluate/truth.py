"""Truth: what is known of every sample - findings, patient, sex, age, view, split."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.datasets.hdf5 import open_dataset, reading
from drr.datasets.labels import ABSENT, CODES, NIH_LABELS, PRESENT, UNKNOWN, parse_label
from drr.datasets.schema import DatasetError
from drr.datasets.sources.tables import Table, parse_age, parse_sex, read_table
from drr.datasets.splits import check_leakage
from drr.evaluate.metrics import EvaluationError
from drr.evaluate.names import KNOWN_LABELS, find_column, is_frontal, nearest, patient_of, plain
from drr.evaluate.predictions import PREFIX, name_column, read_npz, texts

__all__ = ["Truth", "from_torchxrayvision", "read_truth", "select"]

NO_FINDING = "No Finding"
_ATTRIBUTES = ("patients", "sex", "view", "split")


@dataclass(frozen=True, eq=False, kw_only=True)
class Truth:
    """What is known of samples.

    Parameters
    ----------
    codes
        `(n, findings)` codes of `drr.datasets.labels`: 1, 0, -1 uncertain, -128 unknown; int8.
    labels
        Names of the findings.
    names
        Unique names of the samples; None where only their order is known.
    patients
        Whose each is; None where nobody says. Then the names are asked: CT-RATE's, CheXpert's and
        NIH ChestX-ray14's tell.
    sex, view, split
        `(n,)` texts, empty for unknown; None where nobody says.
    age
        `(n,)` years, NaN for unknown; None where nobody says.
    notes
        What whoever reads the result should know.
    source
        For messages.

    Raises
    ------
    EvaluationError
        For shapes that do not fit, codes that do not exist, names that are there twice.
    """

    codes: NDArray[np.int8]
    labels: tuple[str, ...]
    names: tuple[str, ...] | None = None
    patients: tuple[str, ...] | None = None
    sex: tuple[str, ...] | None = None
    age: NDArray[np.float64] | None = None
    view: tuple[str, ...] | None = None
    split: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    source: str = "truth"

    def __post_init__(self) -> None:
        codes = np.asarray(self.codes)
        if codes.ndim != 2 or codes.shape[1] != len(self.labels) or not codes.size:
            raise EvaluationError(
                f"{self.source}: labels of shape {codes.shape} are no table of samples by "
                f"{len(self.labels)} findings, with one of each at least"
            )
        wrong = np.argwhere(~np.isin(codes, CODES))
        if len(wrong):
            row, column = wrong[0]
            raise EvaluationError(
                f"{self.source}: the label of {self.labels[column]!r} of sample {row + 1} is "
                f"{codes[row, column]}; it must be one of {', '.join(map(str, CODES))}"
            )
        object.__setattr__(self, "codes", codes.astype(np.int8))
        for attribute in ("names", "age", *_ATTRIBUTES):
            values = getattr(self, attribute)
            if values is not None and len(values) != len(codes):
                raise EvaluationError(
                    f"{self.source}: {len(values)} of {attribute} were given for {len(codes)} "
                    "samples"
                )
        if self.names is not None:
            if len(set(self.names)) < len(self.names):
                twice = Counter(self.names).most_common(1)[0][0]
                raise EvaluationError(f"{self.source}: the sample {twice!r} is there twice")
            if self.patients is None:
                derived = tuple(patient_of(name) or "" for name in self.names)
                if all(derived):
                    object.__setattr__(self, "patients", derived)

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, places: Sequence[int] | NDArray[Any]) -> Truth:
        """The samples at these places."""
        index = np.asarray(places, np.intp)

        def part(values: Any) -> Any:
            return None if values is None else tuple(values[i] for i in index)

        return replace(
            self,
            codes=self.codes[index],
            age=None if self.age is None else self.age[index],
            **{name: part(getattr(self, name)) for name in ("names", *_ATTRIBUTES)},
        )


def read_truth(path: str | Path, *, labels: Sequence[str] = ()) -> Truth:
    """Read what is known of samples from a CSV, NPZ or `drr build` HDF5 file.

    CSV: a row for every sample. Findings are columns of 1, 0, -1 (uncertain) and blank (unknown),
    or one column `Finding Labels` or `findings` with NIH ChestX-ray14's names between `|`. The
    columns of name, patient, sex, age, view and split are found by their usual names in CT-RATE,
    CheXpert, NIH ChestX-ray14 and DICOM; other columns are passed over.

    NPZ: `codes` (n, findings), `labels`, and any of `names`, `patients`, `sex`, `age`, `view`,
    `split`.

    Parameters
    ----------
    labels
        Findings to look for besides those of CT-RATE, CheXpert, NIH and torchxrayvision.

    Raises
    ------
    EvaluationError, CohortError
        For files that hold no such table, by row and column.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in (".h5", ".hdf5"):
        return _read_hdf5(path)
    if suffix == ".npz":
        return _read_npz(path)
    table = read_table(path, name=str(path))
    if not table.rows:
        raise EvaluationError(f"{path}: has a header and no rows; there is nothing to evaluate")
    for row in table:
        if row.problem:
            raise EvaluationError(f"{row.place}: {row.problem}")
    key = name_column(table)
    about: dict[str, Any] = {}
    for attribute, meaning in (("patients", "patient"), ("split", "split")):
        if column := find_column(table.columns, meaning):
            about[attribute] = tuple(texts(table, column))
    if (patients := about.get("patients")) and "" in patients:
        place = table.place(table.rows[patients.index("")][0])
        raise EvaluationError(f"{place}: has no patient; give every sample one, or drop the column")
    if column := find_column(table.columns, "sex"):
        about["sex"] = tuple(parse_sex(text) or "" for text in texts(table, column))
    if column := find_column(table.columns, "age"):
        ages = [parse_age(text) for text in texts(table, column)]
        about["age"] = np.array([math.nan if age is None else age for age in ages])
    about["view"] = _views(table)
    names, codes = _findings(table, labels)
    return Truth(
        codes=codes,
        labels=names,
        names=None if key is None else tuple(texts(table, key)),
        source=str(path),
        **about,
    )


def from_torchxrayvision(dataset: Any, *, source: str = "") -> Truth:
    """What a torchxrayvision data set knows of its samples, in its order.

    Parameters
    ----------
    dataset
        With `pathologies`, `labels` (1, 0, NaN) and `csv`, as `torchxrayvision.datasets` have.
    """
    table = dataset.csv
    about: dict[str, Any] = {}
    if "patientid" in table:
        about["patients"] = tuple(map(str, table["patientid"]))
    if "view" in table:
        about["view"] = tuple("" if view != view else str(view) for view in table["view"])
    if "age_years" in table:
        about["age"] = np.asarray(table["age_years"], np.float64)
    if "sex_male" in table and "sex_female" in table:
        pairs = zip(table["sex_male"], table["sex_female"], strict=True)
        about["sex"] = tuple("M" if male else "F" if female else "" for male, female in pairs)
    column = find_column(list(map(str, table.columns)), "name")
    if column is not None and len(set(table[column])) == len(table[column]):
        about["names"] = tuple(map(str, table[column]))
    values = np.asarray(dataset.labels, np.float64)
    return Truth(
        codes=np.where(np.isnan(values), UNKNOWN, np.nan_to_num(values)),
        labels=tuple(dataset.pathologies),
        source=source or type(dataset).__name__,
        **about,
    )


def select(truth: Truth, *, split: str | None = None, views: str = "frontal") -> NDArray[np.intp]:
    """Places of the samples of a split and of the views asked for.

    Parameters
    ----------
    split
        None for all. That no patient is in two of the splits is looked at in any case.
    views
        `frontal`, `all`, or the name of one view. A table that states no views passes.

    Raises
    ------
    EvaluationError
        For a split or a view that nobody has.
    CohortError
        For patients in two splits.
    """
    if truth.split is not None and truth.patients is not None:
        decided = [place for place, name in enumerate(truth.split) if name]
        check_leakage(
            [truth.patients[place] for place in decided], [truth.split[place] for place in decided]
        )
    keep = np.ones(len(truth), bool)
    if split is not None:
        if truth.split is None:
            raise EvaluationError(
                f"{truth.source}: has no column 'split', and the split {split!r} was asked for"
            )
        keep &= np.array(truth.split) == split
        if not keep.any():
            there = sorted(set(truth.split) - {""})
            raise EvaluationError(
                f"{truth.source}: nobody is in the split {split!r}{nearest(split, there)}"
            )
    if views != "all" and truth.view is not None and any(truth.view):
        wanted = plain(views)
        keep &= np.array(
            [
                is_frontal(view) if wanted == "frontal" else plain(view) == wanted
                for view in truth.view
            ]
        )
        if not keep.any():
            there = sorted(set(truth.view) - {""})
            raise EvaluationError(
                f"{truth.source}: no sample has a {views} view; the views are "
                f"{', '.join(there)}; ask for one of them, or for all"
            )
    return np.flatnonzero(keep)


def _views(table: Table) -> tuple[str, ...] | None:
    view, side = find_column(table.columns, "view"), find_column(table.columns, "side")
    if view is None and side is None:
        return None
    # CheXpert: AP or PA where the film is frontal, else blank, and `Lateral` in another column.
    texts_of = [texts(table, column) for column in (view, side) if column is not None]
    return tuple(next(filter(None, row), "") for row in zip(*texts_of, strict=True))


def _findings(table: Table, labels: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.int8]]:
    wanted = {plain(name) for name in (*KNOWN_LABELS, *labels)}
    columns = [c for c in table.columns if plain(c) in wanted and not PREFIX.match(c)]
    if columns:
        codes = np.empty((len(table.rows), len(columns)), np.int8)
        for i, column in enumerate(columns):
            for place, text in enumerate(texts(table, column)):
                try:
                    codes[place, i] = parse_label(text)
                except ValueError as error:
                    where = table.place(table.rows[place][0])
                    raise EvaluationError(f"{where}, {column}: {error}") from None
        return tuple(columns), codes
    if (listing := find_column(table.columns, "findings")) is None:
        raise EvaluationError(
            f"{table.name}: has no column of a known finding, and no column 'Finding Labels'; "
            f"its columns are {', '.join(map(repr, table.columns[:30]))}"
        )
    cells = [[w for w in map(str.strip, t.split("|")) if w] for t in texts(table, listing)]
    listed = {plain(word) for words in cells for word in words}
    standard = (*NIH_LABELS, NO_FINDING)
    # Names that nobody lists are not the table's: what it looked for beyond NIH's is not known.
    more = [n for n in labels if plain(n) in listed and plain(n) not in map(plain, standard)]
    known = [*standard, *dict.fromkeys(more)]
    places = {plain(name): place for place, name in enumerate(known)}
    codes = np.full((len(table.rows), len(known)), ABSENT, np.int8)
    for place, words in enumerate(cells):
        for word in words:
            if plain(word) not in places:
                where = table.place(table.rows[place][0])
                raise EvaluationError(f"{where}: {word!r} is no finding{nearest(word, known)}")
            codes[place, places[plain(word)]] = PRESENT
        if not words:
            codes[place] = UNKNOWN
    return tuple(known), codes


def _read_npz(path: Path) -> Truth:
    arrays = read_npz(path)
    if missing := [name for name in ("codes", "labels") if name not in arrays]:
        raise EvaluationError(
            f"{path}: has no array {' and '.join(map(repr, missing))}; truth is 'codes' "
            "(n, findings), 'labels' and, if known, 'names', 'patients', 'sex', 'age', 'view', "
            "'split'"
        )
    about: dict[str, Any] = {
        name: tuple(map(str, arrays[name])) for name in ("names", *_ATTRIBUTES) if name in arrays
    }
    age = arrays.get("age")
    if age is not None and (age.dtype.kind not in "iuf" or age.ndim != 1):
        raise EvaluationError(f"{path}: 'age' is no list of numbers")
    if arrays["codes"].dtype.kind not in "iufb":
        raise EvaluationError(f"{path}: 'codes' holds {arrays['codes'].dtype}, not numbers")
    return Truth(
        codes=arrays["codes"],
        labels=tuple(map(str, arrays["labels"])),
        age=None if age is None else np.asarray(age, np.float64),
        source=str(path),
        **about,
    )


def _read_hdf5(path: Path) -> Truth:
    try:
        with open_dataset(path, everything=False) as file, reading(path):
            samples = file["samples"]

            def column(name: str) -> tuple[str, ...]:
                return tuple(samples[name].asstr()[...])

            return Truth(
                codes=samples["labels"][...],
                labels=tuple(file["label_names"].asstr()[...]),
                names=column("name"),
                patients=column("patient"),
                sex=column("sex"),
                age=samples["age"][...].astype(np.float64),
                split=column("split"),
                source=str(path),
            )
    except DatasetError as error:
        raise EvaluationError(str(error)) from None
