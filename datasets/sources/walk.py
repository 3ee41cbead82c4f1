"""The files below a folder: sorted, links followed, loops and dead links reported."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from drr.datasets.study import CohortError, Problem

__all__ = ["walk"]

Identity = tuple[int, int]


def walk(root: Path, problems: list[Problem], *, below: str = "") -> Iterator[tuple[str, str]]:
    """Folder and name of every regular file, both relative to `root` and with `/`.

    Parameters
    ----------
    problems
        Receives what cannot be followed or opened: links that lead back to a folder they lie in,
        links that lead nowhere, folders that may not be read.
    below
        Start at this folder of the root; names stay relative to the root.

    Raises
    ------
    CohortError
        When the first folder cannot be read.
    """
    start = root / below
    try:
        first = start.stat()
        os.scandir(start).close()
    except OSError as error:
        raise CohortError(f"{start}: cannot be read ({error.strerror or error})") from None
    yield from _walk(start, below, ((first.st_dev, first.st_ino),), problems)


def _walk(
    folder: Path, name: str, ancestors: tuple[Identity, ...], problems: list[Problem]
) -> Iterator[tuple[str, str]]:
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        problems.append(
            Problem(name=name, reason=f"the folder cannot be read ({error.strerror or error})")
        )
        return
    folders = []
    for entry in entries:
        if entry.name.startswith("."):
            continue
        inner = f"{name}/{entry.name}" if name else entry.name
        try:
            status = entry.stat()
        except OSError as error:
            # Managed downloads leave such links where the content was not fetched.
            text = (
                "a link that leads nowhere; fetch or copy the file it stands for"
                if entry.is_symlink()
                else f"cannot be read ({error.strerror or error})"
            )
            problems.append(Problem(name=inner, reason=text))
            continue
        if entry.is_file():
            yield name, entry.name
        elif entry.is_dir():
            # Windows gives an entry no inode; only the path's own status has one.
            status = status if status.st_ino else os.stat(entry.path)
            identity = (status.st_dev, status.st_ino)
            if identity in ancestors:
                problems.append(
                    Problem(name=inner, reason="a link back to a folder that it lies in; remove it")
                )
            else:
                folders.append((Path(entry.path), inner, identity))
    for path, inner, identity in folders:
        yield from _walk(path, inner, (*ancestors, identity), problems)
