"""Pseudonyms in place of names that were made from paths, and the key that tells whose they are.

Folders and files of CTs are often called after patients. A pseudonym is a keyed hash (HMAC-SHA-256)
of a path relative to the source; the key is drawn at random, so that nobody can find a name by
hashing candidates. The key file lies beside the output, readable by its owner alone, with the path
of every pseudonym: with it a source built again has the same pseudonyms, and `drr verify --source`
finds the CTs. The data set never needs it, and it should not travel with the data set.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from drr.datasets.names import folded
from drr.datasets.privacy.public_text import without_names
from drr.datasets.schema import DatasetError
from drr.datasets.study import Cohort, Place, Problem, Study
from drr.errors import WriteError
from drr.files.atomic import refuse_existing
from drr.files.documents import read_limited
from drr.files.spreadsheet import csv_text, unquoted

__all__ = ["Key", "hides_names", "key_beside", "open_key", "pseudonymised", "read_places"]

HEAD = ("kind", "pseudonym", "name")
NOTE = "Names that the source's paths tell are pseudonyms here; a key file apart has the paths."

_LARGEST = 1 << 30  # bytes; a million CTs take 150 MB
_SALT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Key:
    """What pseudonyms are made with, and which were made.

    Parameters
    ----------
    path
        Path of the key file.
    salt
        32 random bytes.
    rows
        Name by kind (`sample`, `segmentation`, `patient`, `file` (of problems)) and pseudonym.
    is_new
        Whether there was no file: then its pseudonyms are others than those of any earlier build.
    """

    path: Path
    salt: bytes
    rows: dict[tuple[str, str], str]
    is_new: bool

    def pseudonym(self, kind: str, *names: str) -> str:
        """A letter and 80 bits in hexadecimal digits, always the same for the same names."""
        text = "\0".join((kind, *names)).encode("utf-8", "surrogatepass")
        return kind[0] + hmac.new(self.salt, text, hashlib.sha256).hexdigest()[:20]

    def save(self) -> None:
        """Write the file, for its owner alone.

        Raises
        ------
        WriteError
            Where it cannot be written.
        """
        rows = [(*key, name) for key, name in sorted(self.rows.items())]
        text = csv_text(HEAD, [("salt", "", self.salt.hex()), *rows])
        # Names of files may be no text: their bytes are kept.
        content = text.encode("utf-8", "surrogatepass")
        if self.is_new or self.path.read_bytes() != content:
            refuse_existing([self.path], force=not self.is_new)
            _write_private(self.path, content)


def key_beside(out: str | Path) -> Path:
    """Where the key of an output is: `OUT.key.csv`."""
    path = Path(os.path.abspath(out))
    return path.with_name(f"{path.name}.key.csv")


def open_key(path: str | Path) -> Key:
    """The key in a file, or a new one where there is none; nothing is written before `save`.

    Raises
    ------
    DatasetError
        For a file that is no key.
    """
    # Through links, so that they stay.
    path = Path(os.path.realpath(path))
    if not os.path.lexists(path):
        return Key(path=path, salt=secrets.token_bytes(32), rows={}, is_new=True)
    found: dict[tuple[str, str], str] = {}
    salt = ""
    for kind, pseudonym, name in _rows(path):
        if kind == "salt":
            salt = name
        else:
            found[kind, pseudonym] = name
    if not _SALT.fullmatch(salt):
        raise DatasetError(
            f"{path}: is no key file, or lost its salt; restore it, or name another with --key"
        )
    return Key(path=path, salt=bytes.fromhex(salt), rows=found, is_new=False)


def read_places(path: Path) -> dict[str, Place]:
    """Place of every sample that a key file tells of; none without the file."""
    if not path.exists():
        return {}
    rows = open_key(path).rows
    return {
        sample: Place(path=name, segmentation=rows.get(("segmentation", f"{sample}_segmentation")))
        for (kind, sample), name in rows.items()
        if kind == "sample"
    }


def hides_names(cohort: Cohort) -> bool:
    """Whether a cohort has names that nobody chose to publish."""
    return any(study.place is not None for study in cohort.studies)


def pseudonymised(cohort: Cohort, key: Key) -> Cohort:
    """The cohort as it may be written, with pseudonyms where names came from paths.

    What its pseudonyms stand for is added to `key`, which is to be saved before anything is built.
    Studies of a folder are put into the order of their pseudonyms, since that of the paths would
    tell the order of the names. A cohort without hidden names stays as it is.
    """
    if not hides_names(cohort):
        return cohort
    studies = [_study(study, key) for study in cohort.studies]
    if cohort.kind != "manifest":
        studies.sort(key=lambda study: folded(study.sample))
    return replace(
        cohort,
        studies=tuple(studies),
        problems=tuple(_problem(problem, key) for problem in cohort.problems),
        notes=(*cohort.notes, NOTE),
    )


def _study(study: Study, key: Key) -> Study:
    place = study.place
    if place is None:
        return study
    sample, patient = study.sample, study.patient
    if "sample" in place.named:
        sample = key.pseudonym("sample", place.path, study.series or "")
    if "patient" in place.named:
        patient = key.pseudonym("patient", place.path)
        key.rows["patient", patient] = place.path
    key.rows["sample", sample] = place.path
    segmentation = None
    if place.segmentation is not None:
        segmentation = f"{sample}_segmentation"
        key.rows["segmentation", segmentation] = place.segmentation
    return replace(
        study,
        sample=sample,
        patient=patient,
        scan=sample if study.scan == study.sample else study.scan,
        path=sample,
        segmentation=segmentation,
    )


def _problem(problem: Problem, key: Key) -> Problem:
    name = key.pseudonym("file", problem.name)
    key.rows["file", name] = problem.name
    reason = without_names(problem.reason, [problem.name], stand_in=name)
    # A table's row says enough; its name may be somebody's, too.
    return Problem(name=name, reason=reason, place=problem.place.rpartition(", ")[2])


def _write_private(path: Path, content: bytes) -> None:
    """Write a file whole, at no moment readable by others than its owner."""
    part = path.with_name(f".drr-{secrets.token_hex(6)}.part")
    try:
        with open(part, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise WriteError(
            f"{path}: cannot be written: {error.strerror or error}; give another place with --key"
        ) from None
    finally:
        part.unlink(missing_ok=True)


def _rows(path: Path) -> Iterator[tuple[str, str, str]]:
    try:
        content = read_limited(path, most=_LARGEST)
        text = content.decode("utf-8-sig", "surrogatepass")
        # Spreadsheets end lines otherwise when they save.
        table = csv.reader(io.StringIO(text, newline=""))
        if tuple(next(table, ())) != HEAD:
            raise ValueError(f"its first row is not {','.join(HEAD)}")
        for row in table:
            if row:
                kind, pseudonym, name = map(unquoted, row)
                yield kind, pseudonym, name
    except (OSError, ValueError, csv.Error) as error:
        text = getattr(error, "strerror", None) or str(error)
        raise DatasetError(
            f"{path}: is not the key file of a data set ({text}); restore it, or name another "
            "with --key"
        ) from None
