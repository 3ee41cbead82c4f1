"""What samples, patients and files may be called, so that a name is a file name on any system."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from drr.errors import DRRError

__all__ = [
    "LONGEST_NAME",
    "CohortError",
    "check_name",
    "check_place",
    "check_relative_path",
    "encodable",
    "folded",
    "sample_from_path",
    "stand_in",
]


class CohortError(DRRError, ValueError):
    """A source of CTs, or a statement in it, that cannot become a data set."""


LONGEST_NAME = 200
"""Bytes of a sample's name: with a suffix it must still be a file name on any system."""

# Characters that separate folders, that Windows does not allow in a file name, or that act on the
# line they are shown in: controls, separators of lines, and what reverses the direction of text.
FORBIDDEN = re.compile(
    r'[/\\:*?"<>|\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]'
)
# Devices of Windows, with any suffix.
_RESERVED = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])[ ]*(\..*)?", re.IGNORECASE
)


def check_relative_path(path: str, *, who: str = "") -> str:
    """A path below a root, with `/` between folders and nothing superfluous.

    Raises
    ------
    CohortError
        For an absolute path, one with `..`, and one that no file can have.
    """
    start = f"{who}: " if who else ""
    if not isinstance(path, str) or not path.strip():
        raise CohortError(f"{start}the path {path!r} is empty; name a file below the source")
    if "\0" in path or not encodable(path) or any(unicodedata.category(c) == "Cc" for c in path):
        raise CohortError(f"{start}the path {path!r} has control characters; rename the file")
    plain = path.replace("\\", "/")
    if PurePosixPath(plain).is_absolute() or PureWindowsPath(plain).drive:
        raise CohortError(
            f"{start}the path {path!r} is absolute; paths are relative to the source, so that it "
            "can be moved and its place is not published"
        )
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    if ".." in parts or not parts:
        raise CohortError(f"{start}the path {path!r} leads out of the source; remove the '..'")
    return "/".join(parts)


def check_place(path: str) -> str:
    """A path below a root that is read on this machine and never written: any that a file has.

    Raises
    ------
    CohortError
        For a path that leads elsewhere, or that no file of this system can have.
    """
    if not isinstance(path, str) or not path or "\0" in path:
        raise CohortError(f"{path!r} is no path of a file; name one below the source")
    kind = PureWindowsPath if os.name == "nt" else PurePosixPath
    plain = kind(path)
    if plain.is_absolute() or plain.drive or ".." in plain.parts:
        raise CohortError(f"the path {path!r} leads out of the source; name a file below it")
    return path


def stand_in(path: str) -> str:
    """A path that names can be made of, for one below a root that a system has: any file's."""
    plain = "".join(c if c.isprintable() else "_" for c in path)
    # What Windows takes for a folder or a drive is a part of a name elsewhere.
    plain = plain if os.name == "nt" else plain.replace("\\", "_")
    return re.sub(r"(^|/)([A-Za-z]):", r"\1\2_", plain)


def sample_from_path(path: str) -> str:
    """A sample's name from a relative path: folders joined by `_`, no suffix, no odd characters.

    `a/b/ct.nii.gz` becomes `a_b_ct`.
    """
    plain = check_relative_path(path)
    stem = re.sub(
        r"(?i)\.(nii|hdr|img|mha|mhd|nrrd|nhdr|npy|npz|dcm|zip|tar|tgz)(\.(gz|bz2|xz|zst))?$",
        "",
        plain,
    )
    name = FORBIDDEN.sub("_", unicodedata.normalize("NFC", stem.replace("/", "_")))
    name = name.strip(" .").lstrip("-").strip() or "ct"
    if _RESERVED.fullmatch(name):
        name = f"ct_{name}"
    if len(name.encode()) > LONGEST_NAME:
        digest = hashlib.sha256(plain.encode()).hexdigest()[:12]
        name = f"{name.encode()[: LONGEST_NAME - 13].decode(errors='ignore')}-{digest}"
    return name


def check_name(what: str, value: Any, *, who: str = "") -> None:
    """Raise `CohortError` for a name that could not be a file's or a folder's on some system."""
    start = f"{who}: " if who else ""
    if not isinstance(value, str) or not value:
        raise CohortError(f"{start}{what} must be a name, got {value!r}")
    if not encodable(value) or FORBIDDEN.search(value):
        raise CohortError(
            f"{start}{what} {value!r} has a character that no file name may have "
            '(/ \\ : * ? " < > | or a control character); rename it'
        )
    if value != value.strip() or value.startswith((".", "-")) or value.endswith("."):
        raise CohortError(
            f"{start}{what} {value!r} starts with a dot, a dash or a space, or ends with a dot or "
            "a space; rename it"
        )
    if _RESERVED.fullmatch(value):
        raise CohortError(f"{start}{what} {value!r} is a device on Windows, not a file; rename it")
    if len(value.encode()) > LONGEST_NAME:
        raise CohortError(
            f"{start}{what} {value[:40]!r}... is longer than {LONGEST_NAME} bytes; shorten it"
        )


def folded(name: str) -> str:
    """The same for names that are one file on some system: without case, accents in one form."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def encodable(text: str) -> bool:
    """Whether UTF-8 can hold it: names of files that are not UTF-8 come as lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
