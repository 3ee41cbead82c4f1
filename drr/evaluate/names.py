"""What tables call the same thing: columns, samples, patients and findings.

Names are compared without case, blanks and punctuation. Findings of different sets are the same
where `drr.datasets.labels` says so; what has no counterpart is left out, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from drr import checks
from drr.datasets.labels import (
    CHEXPERT_LABELS,
    CT_RATE_LABELS,
    CT_RATE_TO_CHEXPERT,
    CT_RATE_TO_TORCHXRAYVISION,
    NIH_LABELS,
    TORCHXRAYVISION_LABELS,
)
from drr.evaluate.metrics import EvaluationError

__all__ = [
    "COLUMNS",
    "KNOWN_LABELS",
    "find_column",
    "find_name",
    "is_frontal",
    "match_labels",
    "nearest",
    "patient_of",
    "plain",
    "stem",
]

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "name": (
        "image", "imagename", "imageindex", "imageid", "filename", "file", "name", "sample",
        "samplename", "volumename", "path", "imagepath", "dicomid",
    ),
    "patient": ("patient", "patientid", "subject", "subjectid"),
    "sex": ("sex", "gender", "patientsex", "patientgender"),
    "age": ("age", "patientage", "ageyears"),
    "view": ("view", "viewposition", "appa", "projection"),
    "side": ("frontallateral",),
    "split": ("split", "fold"),
    "findings": ("findinglabels", "findings"),
}  # fmt: skip
"""Columns by what they mean, as `plain` spells them, the likelier first."""

KNOWN_LABELS = (*CT_RATE_LABELS, *CHEXPERT_LABELS, *TORCHXRAYVISION_LABELS, *NIH_LABELS)

# The authors of DRR-RATE, and torchxrayvision, for names of CheXpert.
_ALIASES = {
    "Enlg. Cardiomed.": "Enlarged Cardiomediastinum",
    "Effusion": "Pleural Effusion",
}
_TABLES = (CT_RATE_TO_TORCHXRAYVISION, CT_RATE_TO_CHEXPERT, _ALIASES)


def plain(name: str) -> str:
    """A name without case, blanks and punctuation."""
    return re.sub(r"[\W_]", "", name).lower()


def find_column(columns: Sequence[str], meaning: str) -> str | None:
    """The column of one of the meanings in `COLUMNS`, or None."""
    spelled = {plain(column): column for column in reversed(columns)}
    return next((spelled[word] for word in COLUMNS[meaning] if word in spelled), None)


def nearest(word: str, words: Iterable[str]) -> str:
    """`; did you mean 'x'?` or, where nothing is near, the first of what there is."""
    there = list(words)
    spelled = {plain(name): name for name in there}
    near = checks.nearest(plain(word), spelled)
    if near:
        return f"; did you mean {spelled[near]!r}?"
    more = f" and {len(there) - 20} more" if len(there) > 20 else ""
    return f"; there is {', '.join(map(repr, there[:20]))}{more}"


def find_name(word: str, names: Sequence[str], *, what: str) -> int:
    """Place of a name that the user gave.

    Raises
    ------
    EvaluationError
        Where there is none, with the nearest.
    """
    for place, name in enumerate(names):
        if plain(name) == plain(word):
            return place
    raise EvaluationError(f"{what} {word!r} does not exist{nearest(word, names)}")


def stem(name: str) -> str:
    """A sample's name without folders and without the suffix of a picture or a volume."""
    last = re.split(r"[/\\]", name.strip())[-1]
    return re.sub(r"\.(nii(\.gz)?|png|jpe?g|dcm|tiff?|npy|mha)$", "", last, flags=re.IGNORECASE)


def patient_of(name: str) -> str | None:
    """Whose a sample is, where its name says so: CT-RATE, CheXpert, NIH ChestX-ray14; else None."""
    for pattern in (
        r"((?:train|valid)_[1-9][0-9]*)_[a-z]+_[1-9][0-9]*",  # train_1_a_1
        r"([0-9]{8})_[0-9]{3}",  # 00000001_000
    ):
        if match := re.fullmatch(pattern, stem(name)):
            return match[1]
    match = re.search(r"(?:^|/)(patient[0-9]+)/", name)  # .../patient00001/study1/...
    return match[1] if match else None


def is_frontal(view: str) -> bool:
    """Whether a view's name is a frontal one: PA, AP (supine, portable, ...), frontal."""
    return re.match(r"(pa|ap|frontal)(?![a-z])", view.strip().lower()) is not None


def match_labels(
    predicted: Sequence[str],
    known: Sequence[str],
    *,
    mapping: Mapping[str, str] | None = None,
) -> dict[int, int]:
    """Which predicted finding is which of the truth's, one to one.

    Parameters
    ----------
    predicted, known
        Names of the findings that were predicted, and of those that are known.
    mapping
        Predicted to known, where the names do not say it; goes before what they say.

    Returns
    -------
    dict
        Place in `predicted` to place in `known`, in the order of `predicted`.

    Raises
    ------
    EvaluationError
        For a mapping of names that do not exist, or two to one; and where nothing matches.
    """
    result: dict[int, int] = {}
    for source, target in (mapping or {}).items():
        place = find_name(source, predicted, what="the predicted finding")
        other = find_name(target, known, what="the known finding")
        if place in result or other in result.values():
            raise EvaluationError(
                f"{source!r} = {target!r}: a finding is mapped twice; map one to one"
            )
        result[place] = other
    places = {plain(name): place for place, name in reversed(list(enumerate(known)))}
    for steps in range(3):
        for place, name in enumerate(predicted):
            if place in result:
                continue
            for word in _synonyms(name, steps):
                if word in places and places[word] not in result.values():
                    result[place] = places[word]
                    break
    if not result:
        raise EvaluationError(
            f"no predicted finding ({', '.join(predicted[:20])}) is among the known ones "
            f"({', '.join(known[:20])}); say which is which with a mapping"
        )
    return dict(sorted(result.items()))


def _synonyms(name: str, steps: int) -> list[str]:
    """What a finding is called elsewhere, that many tables away, the likelier first."""
    found, frontier = [plain(name)], [plain(name)]
    for _ in range(steps):
        beyond: list[str] = []
        for table in _TABLES:
            for pair in table.items():
                one, other = map(plain, pair)
                beyond += [other] if one in frontier else []
                beyond += [one] if other in frontier else []
        frontier = [word for word in dict.fromkeys(beyond) if word not in found]
        found += frontier
    return frontier
