"""Files that a header names: found beside it, and not elsewhere unless the reader says so.

A header comes with the data, from whoever sent them; what it names must not make a program read
another file of the machine and put it into a picture.
"""

from __future__ import annotations

from pathlib import Path, PureWindowsPath

from drr.errors import ReadError

__all__ = ["Neighbours"]

LONGEST_NAME = 4096


class Neighbours:
    """The files in the folder of a header, by the names that the header gives them.

    Parameters
    ----------
    header
        The file that names others.
    outside
        Whether it may name files outside its own folder.

    Attributes
    ----------
    notes
        What was assumed where a name was not found as it is written.
    """

    def __init__(self, header: Path, *, outside: bool = False) -> None:
        self.header, self._outside = header, outside
        self._lowered: dict[Path, dict[str, list[Path]]] = {}
        self.notes: list[str] = []

    def find(self, name: str) -> Path:
        """The file of that name.

        As written, or else with Windows' separators, or else, for an absolute name, beside the
        header, or else in another case; the last two with a note.

        Raises
        ------
        ReadError
            Where it is not there, or lies outside the header's folder and may not.
        """
        folder = self.header.parent
        if name and len(name) <= LONGEST_NAME and "\0" not in name:
            windows = PureWindowsPath(name)
            for path in (folder / name, folder.joinpath(*windows.parts)):
                if _is_file(path) and (self._outside or self._inside(path)):
                    return path
            absolute = bool(windows.anchor) or Path(name).is_absolute()
            near = folder / windows.name if absolute else folder.joinpath(*windows.parts)
            for path in [near] if _is_file(near) else self._in_another_case(near):
                if self._outside or self._inside(path):
                    self._note(absolute)
                    return path
            if _is_file(folder / name) or _is_file(near):
                raise ReadError(
                    f"{self.header}: its voxels are in {name!r}, outside its folder; put both "
                    "into one folder, or read with outside=True (--outside) if you trust it"
                )
        raise ReadError(
            f"{self.header}: its voxels are in {name!r}, which is not there; put both into one "
            "folder"
        )

    def _inside(self, path: Path) -> bool:
        """Whether a file lies in or below the header's folder, links followed."""
        real = path.resolve()
        folders = (self.header.parent.resolve(), self.header.resolve().parent)
        return any(real.is_relative_to(folder) for folder in folders)

    def _in_another_case(self, path: Path) -> list[Path]:
        """The only file whose name differs in nothing but its case, if there is one."""
        if path.parent not in self._lowered:
            names: dict[str, list[Path]] = {}
            try:
                for entry in path.parent.iterdir():
                    names.setdefault(entry.name.lower(), []).append(entry)
            except OSError:
                pass
            self._lowered[path.parent] = names
        found = [p for p in self._lowered[path.parent].get(path.name.lower(), []) if _is_file(p)]
        return found if len(found) == 1 else []

    def _note(self, absolute: bool) -> None:
        # Without the name, which may be the patient's.
        note = (
            "The header names a file in another folder; that of its name beside it was read."
            if absolute
            else "The header names a file in another case than the one that was read."
        )
        if note not in self.notes:
            self.notes.append(note)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False
