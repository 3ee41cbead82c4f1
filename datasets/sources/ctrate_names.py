"""Names of CT-RATE's volumes: `train_1_a_1` is split, patient, scan and reconstruction."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from drr.datasets.study import CohortError

__all__ = ["Name", "count", "parse_name", "some"]

_NAME = re.compile(r"(train|valid)_([1-9][0-9]*)_([a-z]+)_([1-9][0-9]*)", re.ASCII)
_SHOWN = 5


@dataclass(frozen=True, order=True)
class Name:
    """A volume's name in its parts; sorts as people count, not as text."""

    split: str
    patient_number: int
    scan_order: tuple[int, str]
    reconstruction: int

    @property
    def patient(self) -> str:
        """`train_1`."""
        return f"{self.split}_{self.patient_number}"

    @property
    def scan(self) -> str:
        """`train_1_a`."""
        return f"{self.patient}_{self.scan_order[1]}"

    @property
    def folder(self) -> str:
        """`train_1/train_1_a`."""
        return f"{self.patient}/{self.scan}"

    def __str__(self) -> str:
        return f"{self.scan}_{self.reconstruction}"


def parse_name(text: str) -> Name:
    """Parts of `train_1_a_1`, with or without `.nii.gz`, `.nii` or `.png`.

    Raises
    ------
    CohortError
        For anything else, such as numbers with leading zeros.
    """
    match = _NAME.fullmatch(re.sub(r"\.(nii(\.gz)?|png)$", "", text.strip()))
    if match is None:
        raise CohortError(
            f"{text!r} is not a CT-RATE name; split, patient, scan and reconstruction make one, "
            "as in train_1_a_1.nii.gz"
        )
    split, patient, scan, reconstruction = match.groups()
    return Name(split, int(patient), (len(scan), scan), int(reconstruction))


def count(number: int, what: str) -> str:
    """`1 volume`, `2 volumes`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def some(names: Sequence[Name]) -> str:
    """The first few, and how many more."""
    shown = ", ".join(str(name) for name in names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown
