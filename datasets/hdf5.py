"""Data sets' files opened with care, and every error of HDF5 in one place.

One damaged byte can make libhdf5 loop for ever, crash or ask for all memory. So another process
looks at a file first (`look`): at every object, attribute and index, and at every column that will
be read, in steps that are short however large the file is. It is killed where it gives no sign of
life for `SECONDS`; a file of any size on a slow disk passes. Nothing else than its own process
reads a file that did not pass. What h5py raises all the same becomes a `DatasetError` that names
the file (`reading`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from drr.datasets.layout import columns, problems_of_layout
from drr.datasets.schema import FORMAT, SCHEMA_VERSION, DatasetError
from drr.errors import DocumentError, DRRError, printable
from drr.isolated import Isolated, IsolatedError

if TYPE_CHECKING:
    import h5py

__all__ = ["DAMAGED", "look", "open_again", "open_dataset", "reading"]

SECONDS = 30.0
"""Without a sign of life until a file counts as damaged. One step reads at most `layout.ROWS` rows
of a column, some hundred places of a file, which take a slow disk a few seconds."""

MAX_BYTES = 8 << 30
"""Address space of the process that looks; a block of any column takes megabytes."""

DAMAGED = (
    *(OSError, KeyError, IndexError, ValueError, TypeError, RuntimeError, AttributeError),
    *(ArithmeticError, EOFError),
)
"""What h5py, NumPy and json raise where a file holds something else than they are asked for."""

_process = Isolated(max_bytes=MAX_BYTES)
_seen: dict[tuple[object, ...], tuple[str, ...]] = {}


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what is raised for damage in a file into a `DatasetError` that names it.

    Other errors of this package, about values in the file, pass; they name it as well.
    """
    try:
        yield
    except DRRError as error:
        if str(path) in error.args[0]:
            raise
        if isinstance(error, DocumentError):
            raise DatasetError(f"{path}: is damaged (one of its texts {error})") from None
        raise type(error)(f"{path}: {error}") from None
    except DAMAGED as error:
        text = printable(error, most=200) or type(error).__name__
        raise DatasetError(f"{path}: is damaged ({text}); 'drr verify' says where") from None


def open_dataset(path: Path, *, everything: bool = True) -> h5py.File:
    """The file of a data set, for reading, after another process looked at it.

    Parameters
    ----------
    everything
        Whether texts that are long, reports and records, will be read as well.

    Raises
    ------
    DatasetError
        For a file that is none, cannot be opened, has another version or is damaged.
    """
    problems = look(path, everything=everything)
    if problems:
        raise DatasetError(f"{path}: is damaged ({problems[0]}); 'drr verify' says what else is")
    return open_again(path)


def look(
    path: Path, *, everything: bool = True, complete: bool = False, seconds: float | None = None
) -> tuple[str, ...]:
    """What is wrong with the structure of a data set's file, one sentence each.

    A file is looked at once by a process as long as its size and time of change stay.

    Parameters
    ----------
    everything
        Read every column, also reports and records.
    complete
        Whether what is missing or more than the schema names is wrong.
    seconds
        Without a sign of life until the process that looks is killed; `SECONDS` by default.

    Raises
    ------
    DatasetError
        For a file that is none, cannot be opened, has another version, or that libhdf5 crashes on
        or does not get through.
    """
    try:
        state = path.stat()
    except OSError as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise DatasetError(
            f"{path}: is no HDF5 file: {reason}; give the one that 'drr build' made"
        ) from None
    if path.is_dir():
        raise DatasetError(f"{path}: is a folder, not the file of a data set")
    if not path.is_file():
        raise DatasetError(f"{path}: is a device or pipe, not the file of a data set")
    what = (path.absolute(), everything, complete)
    key = (*what, state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)
    if key not in _seen:
        try:
            found = _process.call(
                "drr.datasets.hdf5:look_here",
                *what,
                seconds=SECONDS if seconds is None else seconds,
            )
        except IsolatedError as error:
            raise DatasetError(
                f"{path}: is damaged: HDF5 cannot get through it ({error}); build or copy it again"
            ) from None
        if problem := found.pop("error", ""):
            raise DatasetError(f"{path}: {problem}")
        _seen[key] = tuple(found["problems"])
    return _seen[key]


def look_here(path: Path, everything: bool, complete: bool) -> dict[str, str | list[str]]:
    """`look` in this process, which may not live through it."""
    try:
        with open_again(path) as file, reading(path):
            problems = list(problems_of_layout(file, complete=complete))
            if not problems:
                problems += columns(file, everything=everything)
    except DatasetError as error:
        # Without the path, which the caller spells as its user did.
        return {"error": error.args[0].removeprefix(f"{path}: ")}
    return {"problems": problems}


def open_again(path: Path) -> h5py.File:
    """The file of a data set that was looked at before.

    Raises
    ------
    DatasetError
        For a file that is none, cannot be opened or has another version.
    """
    import h5py

    try:
        file = h5py.File(path, "r", locking=False)
    except DAMAGED as error:
        raise DatasetError(
            f"{path}: is no HDF5 file or damaged, and cannot be opened as HDF5 "
            f"({printable(error, most=200)}); give the one that 'drr build' made"
        ) from None
    try:
        with reading(path):
            found, version = file.attrs.get("format"), file.attrs.get("schema_version")
            if str(found) != FORMAT:
                raise DatasetError(
                    f"{path}: is not a data set of 'drr build' (format "
                    f"{printable(found, most=60)!r})"
                )
            if str(version) != str(SCHEMA_VERSION):
                raise DatasetError(
                    f"{path}: has schema version {printable(version, most=60)}, this release reads "
                    f"{SCHEMA_VERSION}; build the data set again, or use the release that wrote it"
                )
    except BaseException:
        file.close()
        raise
    return file
