"""What can go wrong, one family per concern.

Every message says what was wrong, with the value, and what to do about it. The command line
prints any `DRRError` as one line and exits with status 2; anything else is a bug.
"""

from __future__ import annotations

import unicodedata

__all__ = [
    "BeamError",
    "DRRError",
    "DisplayError",
    "DocumentError",
    "GeometryError",
    "MissingDependencyError",
    "PolicyError",
    "ProjectionError",
    "ReadError",
    "VolumeError",
    "WriteError",
    "printable",
]

LONGEST_MESSAGE = 500
"""Characters of an error message; the middle of longer ones is left out."""


def printable(value: object, *, most: int = LONGEST_MESSAGE) -> str:
    """Text on one line in which nothing acts on a terminal, of at most `most` characters.

    Control characters, bidirectional controls (which display a name in another order than it is
    stored), line separators and bytes that are no text become escapes such as `\\x1b`. Of longer
    text the beginning, which names the file, and the end, which gives the advice, are kept.

    Parameters
    ----------
    value
        Anything that has a text.
    most
        Characters to return at most, 10 or more.
    """
    text = str(value).strip()
    if len(text) > 4 * most:  # escapes make it longer, never shorter
        text = f"{text[: 2 * most]}{text[-2 * most :]}"
    if not (text.isascii() and text.isprintable()):
        text = "".join(
            character if _is_harmless(character) else _escape(character) for character in text
        )
    if len(text) <= most:
        return text
    end = most // 3
    return f"{text[: most - end - 5]} ... {text[len(text) - end :]}"


def _is_harmless(character: str) -> bool:
    # Cc controls, Cf invisible formatting, Cs lone surrogates, Zl and Zp separators of lines.
    return unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp")


def _escape(character: str) -> str:
    code = ord(character)
    # How Python keeps bytes of a file name that are no UTF-8 (PEP 383).
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


class DRRError(Exception):
    """Base of every error this package raises on purpose; its text is `printable`."""

    def __str__(self) -> str:
        return printable(super().__str__())


class DocumentError(DRRError, ValueError):
    """A JSON or YAML document that cannot be read, is damaged or is beyond a limit."""


class VolumeError(DRRError, ValueError):
    """Voxels or an affine that cannot be a CT volume."""


class ReadError(DRRError):
    """An input that cannot be read as a CT volume; the message names the file."""


class GeometryError(DRRError, ValueError):
    """A source, detector or angle that cannot make a radiograph."""


class ProjectionError(DRRError, ValueError):
    """A projection asked for with a method, back-end or option that does not exist here."""


class BeamError(DRRError, ValueError):
    """A material, energy, spectrum or detector that does not exist or is outside its tables."""


class DisplayError(DRRError, ValueError):
    """A look or display mapping that does not exist or cannot make a picture."""


class PolicyError(DRRError, ValueError):
    """A randomisation policy with an unknown key or a range that cannot be drawn from."""


class WriteError(DRRError):
    """An output that cannot be written; nothing half-written is left behind."""


class MissingDependencyError(DRRError, ImportError):
    """An optional package is not installed; the message gives the command that installs it."""
