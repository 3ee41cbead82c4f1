"""What every source of CTs is brought to: studies, and the cohort they make.

A `Study` is one CT that becomes one sample: where its voxels are, whose they are, and what is known
about them. A `Cohort` is the ordered list of them with the names of the labels, the terms of use,
and what could not be used. Readers of sources (`ctrate`, `manifest`, `folder`) make cohorts; the
builder needs nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from drr.checks import Recorded
from drr.datasets.labels import CODES, UNKNOWN
from drr.datasets.names import (
    LONGEST_NAME,
    CohortError,
    check_name,
    check_place,
    check_relative_path,
    encodable,
    folded,
    sample_from_path,
)
from drr.sharing import kept_property

if TYPE_CHECKING:
    from drr.volume import Volume

__all__ = [
    "LONGEST_NAME",
    "READERS",
    "Cohort",
    "CohortError",
    "Place",
    "Problem",
    "Report",
    "Study",
    "check_relative_path",
    "read_volume",
    "sample_from_path",
]


READERS = ("any", "ct-rate")
"""How a study's voxels become HU: `drr.read`, or CT-RATE's rules (`ctrate_volume`)."""


class _Recorded(Recorded):
    error = CohortError
    unknown_key = "{name} has no key {key!r}{question}"


@dataclass(frozen=True, kw_only=True)
class Report(_Recorded):
    """A radiology report in CT-RATE's four parts; empty text is a part that was not given."""

    clinical_information: str = ""
    technique: str = ""
    findings: str = ""
    impressions: str = ""

    def __post_init__(self) -> None:
        for part in fields(self):
            value = getattr(self, part.name)
            if not isinstance(value, str):
                raise CohortError(f"the report's {part.name} must be text, got {value!r}")
            if "\0" in value or not encodable(value):
                raise CohortError(
                    f"the report's {part.name} has characters that UTF-8 cannot hold; save its "
                    "file as UTF-8"
                )

    def __bool__(self) -> bool:
        return any(getattr(self, part.name) for part in fields(self))


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the files of a study lie, where that is nobody's business: in nothing that is written.

    Parameters
    ----------
    path, segmentation
        Relative to the root, as the system names them.
    named
        Which of the study's names were made from the path: `sample`, `patient`.
    """

    path: str
    segmentation: str | None = None
    named: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_place(self.path)
        if self.segmentation is not None:
            check_place(self.segmentation)


@dataclass(frozen=True, kw_only=True)
class Study(_Recorded):
    """One CT volume and what is known about it; `eval(repr(s)) == s`.

    Parameters
    ----------
    sample
        Name of the sample, unique in its cohort and fit for a file name: `train_1_a_1`.
    patient
        Who it is, as a pseudonym; samples of one patient never part.
    path
        The volume, relative to the cohort's root, with `/` between folders.
    scan
        The acquisition: reconstructions of one scan share it. Empty for none known: the sample.
    split
        `train`, `valid`, ..., or None where nobody decided.
    series
        Which series of a DICOM input, as `drr.read` takes it; None for the only one.
    reader
        One of `READERS`.
    segmentation
        Its segmentation, relative to the root, or None.
    labels
        A code of `drr.datasets.labels` for each of the cohort's label names, or empty: all unknown.
    report
        What the radiologist wrote.
    sex
        `M`, `F`, `O`, or None.
    age
        In years, or None.
    metadata
        Anything else, by column name, as its source writes it.
    place
        Where its files are, if `path` and `segmentation` only stand for them: then names made
        from paths become pseudonyms before anything is written (`drr.datasets.privacy.pseudonyms`).
        Of this machine, as a cohort's root: neither in `to_dict` nor in any digest.

    Raises
    ------
    CohortError
        For a value that cannot be used, named with the sample.
    """

    parts = {"report": Report}  # noqa: RUF012 - never changed

    sample: str
    patient: str
    path: str
    scan: str = ""
    split: str | None = None
    series: str | None = None
    reader: str = "any"
    segmentation: str | None = None
    labels: tuple[int, ...] = ()
    report: Report = field(default_factory=Report)
    sex: str | None = None
    age: float | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    place: Place | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_name("sample", self.sample)
        check_name("patient", self.patient, who=self.sample)
        self._set(scan=self.scan or self.sample)
        check_name("scan", self.scan, who=self.sample)
        if self.split is not None:
            check_name("split", self.split, who=self.sample)
        self._set(path=check_relative_path(self.path, who=self.sample))
        if self.segmentation is not None:
            self._set(segmentation=check_relative_path(self.segmentation, who=self.sample))
        if self.reader not in READERS:
            raise CohortError(f"{self.sample}: reader {self.reader!r} is none of {READERS}")
        if self.series is not None and not isinstance(self.series, str):
            raise CohortError(f"{self.sample}: series must be text, got {self.series!r}")
        codes = tuple(int(code) for code in self.labels)
        for place, (code, given) in enumerate(zip(codes, self.labels, strict=True)):
            if code not in CODES or code != given:
                raise CohortError(
                    f"{self.sample}: label {place + 1} is {given!r}; codes are 1, 0, -1 "
                    f"(uncertain) and {UNKNOWN} (unknown)"
                )
        self._set(labels=codes)
        if not isinstance(self.report, Report):
            raise CohortError(f"{self.sample}: report must be a Report, got {self.report!r}")
        if self.sex not in (None, "M", "F", "O"):
            raise CohortError(f"{self.sample}: sex {self.sex!r} is none of M, F, O and None")
        if self.age is not None:
            if not 0 <= self.age <= 130:
                raise CohortError(f"{self.sample}: age {self.age!r} is not in years from 0 to 130")
            self._set(age=float(self.age))
        for key, value in self.metadata.items():
            texts = isinstance(key, str) and isinstance(value, str)
            if not (texts and key and encodable(key + value)) or "\0" in key + value:
                raise CohortError(f"{self.sample}: metadata {key!r}: {value!r} is not UTF-8 text")
        self._set(metadata=dict(self.metadata))

    def file(self, root: str | Path) -> Path:
        """Where the volume is."""
        return Path(root, self.path if self.place is None else self.place.path)

    def segmentation_file(self, root: str | Path) -> Path | None:
        """Where its segmentation is, if it has one."""
        name = self.segmentation if self.place is None else self.place.segmentation
        return None if name is None else Path(root, name)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; without the place."""
        return {key: value for key, value in super().to_dict().items() if key != "place"}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Study:
        """Inverse of `to_dict`."""
        return super().from_dict({**values, "labels": tuple(values.get("labels", ()))})


@dataclass(frozen=True, kw_only=True)
class Problem(_Recorded):
    """Something of a source that cannot be used; recorded with the data set, never dropped.

    Parameters
    ----------
    name
        The sample or the file, relative to the root.
    reason
        What is wrong with it and what to do, in one line.
    place
        Where that stands, such as `metadata/train_metadata.csv, row 17`; empty for the file itself.
    """

    name: str
    reason: str
    place: str = ""

    def __post_init__(self) -> None:
        # Names of files may hold anything; what is recorded must be one line of UTF-8.
        for part in fields(self):
            text = "".join(
                c if c.isprintable() else c.encode("unicode_escape").decode("ascii")
                for c in str(getattr(self, part.name))
            )
            self._set(**{part.name: text})

    def __str__(self) -> str:
        return f"{self.name}{f' ({self.place})' if self.place else ''}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class Cohort(_Recorded):
    """The studies of a source in plan order, and what holds for all of them.

    Parameters
    ----------
    kind
        `ct-rate`, `manifest`, `folder`, `dicom`, ...
    root
        Folder that every path is relative to. Of this machine: in no record and no digest.
    studies
        In the order in which they become samples.
    label_names
        Names of the labels; every study has a code for each, or none at all.
    licence, attribution
        Terms of use and whom to cite; empty where the source does not say.
    found
        How the source was recognised and read, for people.
    notes
        What a user may want to know, one sentence each.
    problems
        What could not be used, with reasons.

    Raises
    ------
    CohortError
        For a sample named twice, and for labels that do not match their names.
    """

    kind: str
    root: Path
    studies: tuple[Study, ...]
    label_names: tuple[str, ...] = ()
    licence: str = ""
    attribution: str = ""
    found: str = ""
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    def __post_init__(self) -> None:
        self._set(root=Path(self.root))
        for name in ("studies", "label_names", "notes", "problems"):
            self._set(**{name: tuple(getattr(self, name))})
        if len(set(self.label_names)) < len(self.label_names):
            twice = sorted({n for n in self.label_names if self.label_names.count(n) > 1})
            raise CohortError(f"label {twice[0]!r} is named twice; give every label its own name")
        seen: dict[str, Study] = {}
        for study in self.studies:
            # Samples become file names, which some systems compare without case.
            key = folded(study.sample)
            if key in seen:
                raise CohortError(
                    f"two studies have the sample name {study.sample!r}: {seen[key].path} and "
                    f"{study.path}; give each its own"
                )
            seen[key] = study
            if study.labels and len(study.labels) != len(self.label_names):
                raise CohortError(
                    f"{study.sample}: {len(study.labels)} labels for {len(self.label_names)} names"
                )

    def __len__(self) -> int:
        return len(self.studies)

    @property
    def codes(self) -> NDArray[np.int8]:
        """`(studies, labels)` int8 codes, unknown where a study has none."""
        blank = (UNKNOWN,) * len(self.label_names)
        rows = [study.labels or blank for study in self.studies]
        return np.array(rows, np.int8).reshape(len(rows), len(self.label_names))

    @property
    def patients(self) -> tuple[str, ...]:
        """Every patient once, in order of appearance."""
        return tuple(dict.fromkeys(study.patient for study in self.studies))

    @kept_property
    def digest(self) -> str:
        """SHA-256 of everything but the root: the same plan gives the same digest anywhere."""
        text = json.dumps(self.to_dict(), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode("ascii")).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON, without the root."""
        plain = super().to_dict()
        first = ("kind", "label_names", "licence", "attribution", "found", "notes", "problems")
        return {key: plain[key] for key in (*first, "studies")}

    @classmethod
    def from_dict(  # type: ignore[override] # a record does not hold the root
        cls, values: Mapping[str, Any], *, root: str | Path
    ) -> Cohort:
        """Inverse of `to_dict`, for a source that now lies at `root`."""
        cls.check_keys(values)
        studies = tuple(Study.from_dict(study) for study in values.get("studies", ()))
        problems = tuple(Problem.from_dict(problem) for problem in values.get("problems", ()))
        return cls(**{**values, "root": Path(root), "studies": studies, "problems": problems})


def read_volume(study: Study, root: str | Path, *, threads: int | None = None) -> Volume:
    """The study's CT in HU, by the rules of its source; what was decided is in `Volume.notes`.

    Parameters
    ----------
    threads
        CPU threads; all available ones by default.

    Raises
    ------
    ReadError
        For a file that is not that CT.
    """
    path = study.file(root)
    if study.reader == "ct-rate":
        from drr.datasets.ctrate_volume import read_ct_rate

        return read_ct_rate(path, metadata=study.metadata, threads=threads)
    from drr.io.read import read

    return read(path, series=study.series, threads=threads)
