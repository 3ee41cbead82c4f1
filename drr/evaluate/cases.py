"""Predictions beside the truth: the same samples, the same findings, unknowns left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.datasets.labels import ABSENT, PRESENT, UNCERTAIN, UNKNOWN
from drr.evaluate.bootstrap import patient_codes
from drr.evaluate.metrics import EvaluationError
from drr.evaluate.names import find_name, match_labels, nearest, stem
from drr.evaluate.predictions import Predictions
from drr.evaluate.truth import Truth, select

__all__ = ["AGE_GROUPS", "UNCERTAIN_AS", "Cases", "align", "in_common"]

AGE_GROUPS = (18, 40, 60, 80)
"""Years at which a group of ages ends and the next begins."""

UNCERTAIN_AS: Mapping[str, int] = {"unknown": UNKNOWN, "absent": ABSENT, "present": PRESENT}
"""What an uncertain label counts as; `absent` and `present` are CheXpert's U-Zeros and U-Ones."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Cases:
    """Samples with predictions and truth.

    Parameters
    ----------
    labels
        Findings, as the truth calls them.
    predicted_as
        The same, as the predictions call them.
    codes
        `(n, findings)` int8: 1, 0, and -128 for what is left out.
    scores
        `(n, findings)` float64.
    patients
        `(n,)` number of the patient.
    by_patient
        Whether patients are known; else every sample counts as one.
    attributes
        `sex`, `age` (in groups) and `view`, `(n,)` texts each, as far as they are known.
    uncertain
        Labels that were uncertain, of each finding.
    places
        `(n,)` of the samples in the truth.
    notes
        What whoever reads the result should know.
    source
        Where the predictions come from.
    """

    labels: tuple[str, ...]
    predicted_as: tuple[str, ...]
    codes: NDArray[np.int8]
    scores: NDArray[np.float64]
    patients: NDArray[np.intp]
    by_patient: bool
    attributes: Mapping[str, NDArray[Any]]
    uncertain: tuple[int, ...]
    places: NDArray[np.intp]
    notes: tuple[str, ...] = ()
    source: str = "predictions"

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, index: NDArray[Any], columns: Sequence[int] | None = None) -> Cases:
        """Some of the samples, and of the findings."""
        some = list(range(len(self.labels))) if columns is None else list(columns)
        return Cases(
            labels=tuple(self.labels[i] for i in some),
            predicted_as=tuple(self.predicted_as[i] for i in some),
            codes=self.codes[index][:, some],
            scores=self.scores[index][:, some],
            patients=patient_codes(self.patients[index]),
            by_patient=self.by_patient,
            attributes={key: values[index] for key, values in self.attributes.items()},
            uncertain=tuple(self.uncertain[i] for i in some),
            places=self.places[index],
            notes=self.notes,
            source=self.source,
        )


def align(
    predictions: Predictions,
    truth: Truth,
    *,
    labels: Sequence[str] = (),
    mapping: Mapping[str, str] | None = None,
    split: str | None = None,
    views: str = "frontal",
    uncertain: str = "unknown",
) -> Cases:
    """Put predictions and truth side by side.

    Samples are joined by name (with and without folder and suffix), or by row where one of the two
    has no names and both have as many rows. Findings are joined by name, by the mappings of
    `drr.datasets.labels`, and by `mapping`.

    Parameters
    ----------
    labels
        Findings to look at, by either name; all that both have by default.
    mapping
        Predicted finding to known finding, where their names do not say it.
    split, views
        As in `drr.evaluate.truth.select`.
    uncertain
        What uncertain labels count as: one of `UNCERTAIN_AS`.

    Raises
    ------
    EvaluationError
        For names that do not exist, samples that cannot be joined, and where nothing is left.
    CohortError
        For patients in two splits.
    """
    if uncertain not in UNCERTAIN_AS:
        raise EvaluationError(
            f"uncertain labels cannot count as {uncertain!r}{nearest(uncertain, UNCERTAIN_AS)}"
        )
    try:
        pairs = match_labels(predictions.labels, truth.labels, mapping=mapping)
        pairs = _wanted(pairs, predictions.labels, truth.labels, labels)
    except EvaluationError as error:
        raise EvaluationError(f"{predictions.source}, {truth.source}: {error}") from None
    notes = [*truth.notes, *_label_notes(pairs, predictions, truth, bool(labels))]
    ours, theirs, joined = _join(predictions, truth)
    chosen = select(truth, split=split, views=views)
    keep = np.isin(theirs, chosen)
    if len(chosen) < len(truth):
        parts = [f"split {split!r}"] if split is not None else []
        parts += [f"{views} views"] if truth.view is not None and any(truth.view) else []
        notes.append(f"Only {' and '.join(parts)}: {len(chosen)} of {len(truth)} samples.")
    if views != "all" and not (truth.view and any(truth.view)):
        notes.append("The truth states no views; laterals, if there are any, are not left out.")
    if not keep.any():
        raise EvaluationError(
            f"{predictions.source}: predicts none of the {len(chosen)} samples that were asked "
            f"for of {truth.source}"
        )
    missing = len(chosen) - int(keep.sum())
    if missing:
        notes.append(f"{missing} of {len(chosen)} samples have no prediction and are left out.")
    if len(predictions) > len(ours):
        notes.append(
            f"{len(predictions) - len(ours)} of {len(predictions)} predictions are of samples "
            "that the truth does not have, and are left out."
        )
    if joined == "row":
        notes.append("Joined by the order of the rows: no names say whether it is the same.")
    ours, theirs = ours[keep], theirs[keep]
    codes = truth.codes[theirs][:, list(pairs.values())]
    doubtful = codes == UNCERTAIN
    by_patient = truth.patients is not None
    owners = np.arange(len(theirs))
    if truth.patients is not None:
        owners = patient_codes(np.array(truth.patients)[theirs])
    else:
        notes.append(
            "Nobody says which samples are of one patient: intervals take every sample for a "
            "patient of its own, and are too narrow if some are not."
        )
    return Cases(
        labels=tuple(truth.labels[place] for place in pairs.values()),
        predicted_as=tuple(predictions.labels[place] for place in pairs),
        codes=np.where(doubtful, UNCERTAIN_AS[uncertain], codes).astype(np.int8),
        scores=predictions.scores[ours][:, list(pairs)],
        patients=owners,
        by_patient=by_patient,
        attributes=_attributes(truth, theirs),
        uncertain=tuple(int(count) for count in doubtful.sum(axis=0)),
        places=theirs,
        notes=tuple(notes),
        source=predictions.source,
    )


def in_common(first: Cases, second: Cases) -> tuple[Cases, Cases]:
    """The samples and findings of two models on one truth that both have, in one order.

    Raises
    ------
    EvaluationError
        Where they have none in common.
    """
    names = [name for name in first.labels if name in second.labels]
    places = np.intersect1d(first.places, second.places)
    if not names or not places.size:
        raise EvaluationError(
            f"{first.source} and {second.source} have no "
            f"{'samples' if names else 'findings'} in common; there is nothing to compare"
        )
    one, other = (
        cases.take(
            np.argsort(cases.places)[np.searchsorted(np.sort(cases.places), places)],
            [cases.labels.index(name) for name in names],
        )
        for cases in (first, second)
    )
    if (one.codes != other.codes).any():
        raise EvaluationError(
            f"{first.source} and {second.source} were joined with truths that differ; compare "
            "models on one truth"
        )
    # Draws go by the patients' numbers: paired only if both models' samples bear the same.
    return one, replace(other, patients=one.patients)


def _wanted(
    pairs: dict[int, int], predicted: Sequence[str], known: Sequence[str], labels: Sequence[str]
) -> dict[int, int]:
    """The pairs of the findings asked for, in that order."""
    if not labels:
        return pairs
    names = [*(predicted[i] for i in pairs), *(known[j] for j in pairs.values())]
    keys = [*pairs, *pairs]
    places = [keys[find_name(label, names, what="the finding")] for label in labels]
    return {place: pairs[place] for place in places}


def _label_notes(
    pairs: dict[int, int], predictions: Predictions, truth: Truth, asked: bool
) -> list[str]:
    notes = []
    renamed = [
        f"{predictions.labels[i]} as {truth.labels[j]}"
        for i, j in pairs.items()
        if predictions.labels[i] != truth.labels[j]
    ]
    if renamed:
        notes.append(f"Findings were matched: {', '.join(renamed)}.")
    if not asked:
        for what, labels, used in (
            ("predicted but not known", predictions.labels, set(pairs)),
            ("known but not predicted", truth.labels, set(pairs.values())),
        ):
            rest = [name for i, name in enumerate(labels) if i not in used]
            if rest:
                notes.append(f"Left out, {what}: {', '.join(rest)}.")
    return notes


def _join(predictions: Predictions, truth: Truth) -> tuple[NDArray[np.intp], NDArray[np.intp], str]:
    """Places of the same samples in predictions and truth, and by what they were joined."""
    if predictions.names is None or truth.names is None:
        if len(predictions) != len(truth):
            raise EvaluationError(
                f"{predictions.source} has {len(predictions)} rows and {truth.source} "
                f"{len(truth)}; without names in both they are joined by row, so give both a "
                "column with the samples' names, or the same rows"
            )
        rows = np.arange(len(truth))
        return rows, rows, "row"
    for shorten in (str, stem):
        mine = [shorten(name) for name in predictions.names]
        yours = [shorten(name) for name in truth.names]
        if len(set(mine)) < len(mine) or len(set(yours)) < len(yours):
            continue
        places = {name: place for place, name in enumerate(mine)}
        pairs = [(places[name], j) for j, name in enumerate(yours) if name in places]
        if pairs:
            ours, theirs = np.array(pairs, np.intp).T
            return ours, theirs, "name"
    raise EvaluationError(
        f"{predictions.source}: no sample of it ({predictions.names[0]!r}, ...) is in "
        f"{truth.source} ({truth.names[0]!r}, ...); name samples alike in both"
    )


def _attributes(truth: Truth, places: NDArray[np.intp]) -> dict[str, NDArray[Any]]:
    result: dict[str, NDArray[Any]] = {}
    if truth.sex is not None:
        result["sex"] = np.array([truth.sex[i] or "unknown" for i in places])
    if truth.age is not None:
        result["age"] = np.array([_age_group(truth.age[i]) for i in places])
    if truth.view is not None:
        result["view"] = np.array([truth.view[i] or "unknown" for i in places])
    return {key: values for key, values in result.items() if (values != "unknown").any()}


def _age_group(age: float) -> str:
    if not age >= 0:
        return "unknown"
    edges = (0, *AGE_GROUPS)
    place = int(np.searchsorted(edges, age, "right")) - 1
    return f"{edges[place]}-{edges[place + 1] - 1}" if place < len(AGE_GROUPS) else f"{edges[-1]}+"
