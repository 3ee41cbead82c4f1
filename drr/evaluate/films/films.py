"""Real films: a folder or ZIP file of pictures and a table, as a data set to predict on."""

from __future__ import annotations

import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.datasets.labels import UNKNOWN
from drr.datasets.loaders.samples import Samples, Transform
from drr.datasets.sources.tables import read_table
from drr.datasets.study import CohortError
from drr.errors import DocumentError, printable
from drr.evaluate.films.pixels import SUFFIXES, read_film
from drr.evaluate.metrics import EvaluationError
from drr.evaluate.names import KNOWN_LABELS, find_name, match_labels, plain, stem
from drr.evaluate.truth import Truth, read_truth, select
from drr.files.documents import read_limited
from drr.sharing import kept_property

__all__ = ["Films", "aligned", "only_table"]

MOST_BYTES = 2 << 30
"""Of a film's file, unpacked."""

_SIZES = {
    "width": ("originalimagewidth", "origw"),
    "height": ("height", "originalimageheight", "origh"),
    "across": ("originalimagepixelspacingx", "pxmmx"),
    "down": ("y", "originalimagepixelspacingy", "pxmmy"),
}


class Films(Samples):
    """Films with what a table says of them. Frontal ones only, unless asked.

    Parameters
    ----------
    folder
        Folder or ZIP file with PNG, JPEG, TIFF, BMP or DICOM files, at any depth.
    table
        As `drr.evaluate.truth.read_truth` reads it: NIH ChestX-ray14's, CheXpert's, or columns of
        0, 1, -1 and blank; or what it read. By default the only CSV file in the folder. Films are
        found by the name in the table, with or without folders and suffix.
    labels
        Findings wanted, in this order and by these names: the table's own are matched to them
        (`drr.evaluate.names.match_labels`), and what it does not know stays unknown. All of the
        table's by default.
    split
        Split of the table to take; all by default.
    views
        `frontal`, `all`, or the name of one view. A table that states no views passes.
    original_shape
        Undo what ChestX-ray14 did to films of any shape: squeeze them into a square. Needs the
        columns of the original sizes. A model that learnt from DRRs knows no squeezed chests.
    style, transform
        See `drr.datasets.loaders.samples.Samples`.

    Attributes
    ----------
    truth
        `Truth` of the films, in their order, with the table's own findings.
    views
        View of each film.
    notes
        What was left out, and how findings were matched.

    Raises
    ------
    EvaluationError, CohortError
        For tables that cannot be read, films that are not there or cannot be told apart, findings,
        splits and views that do not exist, patients in two splits.
    """

    def __init__(
        self,
        folder: str | Path,
        table: str | Path | Truth | None = None,
        *,
        labels: Sequence[str] | None = None,
        split: str | None = None,
        views: str = "frontal",
        original_shape: bool = False,
        style: str = "plain",
        transform: Transform | None = None,
    ) -> None:
        self.folder = Path(folder)
        if isinstance(table, Truth):
            truth, path = table, Path(table.source)
        else:
            path = only_table(self.folder) if table is None else Path(table)
            truth = read_truth(path, labels=labels or ())
        if truth.names is None:
            raise EvaluationError(
                f"{path}: has no column that names the films, such as 'image' or 'Path'"
            )
        chosen = select(truth, split=split, views=views)
        files = _files(self.folder)
        found = _find(files, [truth.names[place] for place in chosen], self.folder)
        there = [i for i, name in enumerate(found) if name is not None]
        if not there:
            raise EvaluationError(
                f"{self.folder}: holds none of the {len(chosen)} films of {path} "
                f"({truth.names[chosen[0]]!r}, ...)"
            )
        notes = []
        if len(chosen) < len(truth):
            notes.append(f"{len(truth) - len(chosen)} rows are of other splits or views.")
        if len(there) < len(chosen):
            missing = truth.names[chosen[next(i for i, f in enumerate(found) if f is None)]]
            notes.append(
                f"{len(chosen) - len(there)} of {len(chosen)} films are not there, {missing!r} "
                "first."
            )
        places = chosen[there]
        self.truth = truth.take(places)
        self._files = [found[i] or "" for i in there]
        self._shapes = _shapes(path, len(truth))[places] if original_shape else None
        pathologies, codes, more = aligned(self.truth, labels)
        self.notes = (*notes, *more)
        self.views = list(self.truth.view or [""] * len(places))
        super().__init__(
            names=self.truth.names or (),
            patients=self.truth.patients or self.truth.names or (),
            sexes=self.truth.sex or [""] * len(places),
            ages=np.asarray(
                np.full(len(places), np.nan) if self.truth.age is None else self.truth.age,
                np.float32,
            ),
            splits=self.truth.split or [""] * len(places),
            pathologies=pathologies,
            codes=codes,
            view=views,
            style=style,
            transform=transform,
        )

    def image(self, epoch: int, index: int) -> NDArray[np.float32]:
        """`(1, rows, columns)` float32 from 0 to 1; films differ in size.

        Raises
        ------
        ReadError
            For a film that cannot be read, by name.
        """
        grey = read_film(self._read(self._files[index]), name=self._files[index])
        if self._shapes is not None:
            grey = _stretched(grey, float(self._shapes[index]))
        return grey[None]

    @kept_property
    def csv(self) -> Any:
        """As `Samples.csv`, with the view of each film."""
        table = super().csv
        table["view"] = self.views
        return table

    def _keep(self, indices: NDArray[np.int64]) -> None:
        self.truth = self.truth.take(indices)
        self._files = [self._files[i] for i in indices]
        self.views = [self.views[i] for i in indices]
        if self._shapes is not None:
            self._shapes = self._shapes[indices]

    def _read(self, file: str) -> bytes:
        try:
            if self.folder.is_dir():
                return read_limited(self.folder / file, most=MOST_BYTES)
            # Opened anew for every film: an open ZIP file's place is shared by forked workers.
            with zipfile.ZipFile(self.folder) as archive:
                size = archive.getinfo(file).file_size
                if size > MOST_BYTES:
                    raise DocumentError(f"unpacks to {size >> 20} MiB")
                return archive.read(file)
        except MemoryError:
            raise
        except Exception as error:  # zlib's, zipfile's and others', by what is damaged
            reason = printable(getattr(error, "strerror", None) or error, most=150)
            raise EvaluationError(f"{self.folder}: {file} cannot be read ({reason})") from None


def only_table(folder: str | Path) -> Path:
    """The one CSV file in a folder.

    Raises
    ------
    EvaluationError
        Where there is none, or several.
    """
    folder = Path(folder)
    tables = sorted(folder.glob("*.csv")) if folder.is_dir() else []
    if len(tables) != 1:
        raise EvaluationError(
            f"{folder}: has {len(tables) or 'no'} CSV file{'s' if len(tables) > 1 else ''}; say "
            "which table tells about the films"
        )
    return tables[0]


def _files(folder: Path) -> list[str]:
    """Films in a folder or ZIP file, by path within it."""
    if folder.is_dir():
        names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    else:
        try:
            with zipfile.ZipFile(folder) as archive:
                names = [info.filename for info in archive.infolist() if not info.is_dir()]
        except OSError as error:
            raise EvaluationError(
                f"{folder}: cannot be read ({error.strerror or error}); films come in a folder or "
                "a ZIP file"
            ) from None
        except Exception as error:  # zipfile's and others', by what is damaged
            raise EvaluationError(
                f"{folder}: is neither a folder nor a ZIP file that can be read "
                f"({printable(error, most=150)})"
            ) from None
    films = sorted(name for name in names if name.lower().endswith(SUFFIXES))
    if not films:
        raise EvaluationError(f"{folder}: holds no film ({', '.join(SUFFIXES)})")
    return films


def _find(files: Sequence[str], names: Sequence[str], folder: Path) -> list[str | None]:
    """The file of every name, or None."""
    exact = {}
    by_end: dict[str, list[str]] = defaultdict(list)
    for file in files:
        exact[file] = file
        parts = re.sub(r"\.[^./]+$", "", file).split("/")
        for start in range(len(parts)):
            by_end["/".join(parts[start:])].append(file)
    result: list[str | None] = []
    for name in names:
        if name in exact:
            result.append(name)
            continue
        # The longest end of the path that some file has: folders above differ between copies.
        *folders, _ = name.replace("\\", "/").split("/")
        ends = ["/".join([*folders[start:], stem(name)]) for start in range(len(folders) + 1)]
        hits = next((by_end[end] for end in ends if end in by_end), [])
        if len(hits) > 1:
            raise EvaluationError(
                f"{folder}: {name!r} may be {hits[0]} or {hits[1]}; give films different names, "
                "or their paths in the table"
            )
        result.append(hits[0] if hits else None)
    used = [file for file in result if file is not None]
    if len(set(used)) < len(used):
        twice = Counter(used).most_common(1)[0][0]
        raise EvaluationError(f"{folder}: {twice} is the film of two rows; name each its own")
    return result


def aligned(
    truth: Truth, labels: Sequence[str] | None
) -> tuple[tuple[str, ...], NDArray[np.int8], list[str]]:
    """Findings and `(n, findings)` codes as they were asked for, and notes.

    Raises
    ------
    EvaluationError
        For findings that do not exist, are named twice, or of which the truth knows none.
    """
    if labels is None:
        return truth.labels, truth.codes, []
    wanted = tuple(labels)
    there = (*truth.labels, *KNOWN_LABELS)
    for name in wanted:
        find_name(name, there, what="the finding")
    if len(set(map(plain, wanted))) < len(wanted) or not wanted:
        raise EvaluationError(f"labels are different names, one at least; got {wanted}")
    pairs = match_labels(wanted, truth.labels)
    codes = np.full((len(truth), len(wanted)), UNKNOWN, np.int8)
    for place, known in pairs.items():
        codes[:, place] = truth.codes[:, known]
    notes = []
    if renamed := [
        f"{truth.labels[known]} as {wanted[place]}"
        for place, known in pairs.items()
        if truth.labels[known] != wanted[place]
    ]:
        notes.append(f"Findings were matched: {', '.join(renamed)}.")
    if unknown := [name for place, name in enumerate(wanted) if place not in pairs]:
        notes.append(f"Unknown of these films: {', '.join(unknown)}.")
    return wanted, codes, notes


def _shapes(path: Path, count: int) -> NDArray[np.float64]:
    """Height over width of every film, in mm, `(count,)`."""
    table = read_table(path)
    spelled = {plain(column): column for column in table.columns}
    sides = {}
    for side, words in _SIZES.items():
        column = next((spelled[word] for word in words if word in spelled), None)
        if column is None:
            raise CohortError(
                f"{path}: does not state the films' original sizes and pixel spacings; leave "
                "original_shape out"
            )
        place = table.columns.index(column)
        try:
            sides[side] = np.array([float(fields[place]) for _, fields in table.rows])
        except (ValueError, IndexError) as error:
            raise CohortError(f"{path}: the column {column!r} holds no numbers ({error})") from None
    with np.errstate(all="ignore"):  # what comes of numbers that are no sizes is refused below
        ratio = sides["height"] * sides["down"] / (sides["width"] * sides["across"])
    wrong = np.flatnonzero(~((ratio > 0.2) & (ratio < 5)))
    if wrong.size:
        place_of = table.place(table.rows[wrong[0]][0])
        raise CohortError(f"{place_of}: the original size is no film's; correct or leave it out")
    assert len(ratio) == count
    return ratio


def _stretched(grey: NDArray[np.float32], ratio: float) -> NDArray[np.float32]:
    """The longer side kept, the other such that the picture's height over width is `ratio`."""
    from PIL import Image

    longest = max(grey.shape)
    rows, columns = longest, longest
    if ratio > 1:
        columns = max(1, round(longest / ratio))
    else:
        rows = max(1, round(longest * ratio))
    image = Image.fromarray(grey).resize((columns, rows), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(image, np.float32), 0, 1)
