"""Ranking figures of every finding, with draws of patients that all findings share."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drr.datasets.labels import PRESENT, UNKNOWN
from drr.evaluate.bootstrap import Bootstrap, Estimate
from drr.evaluate.cases import Cases
from drr.evaluate.metrics import Ranking, rank
from drr.evaluate.results import ClassResult

__all__ = ["Measured", "measure", "patient_strata"]

Floats = NDArray[np.float64]


class Measured(NamedTuple):
    """AUROC and average precision of every finding and of their mean.

    Parameters
    ----------
    classes
        The findings, without curves, calibration and thresholds.
    macro
        The means over the findings that have both kinds of samples.
    values, draws
        `(findings, 2)` and `(draws, findings, 2)`; NaN where there is none.
    """

    classes: tuple[ClassResult, ...]
    macro: tuple[Estimate, Estimate]
    values: Floats
    draws: Floats


def measure(cases: Cases, boot: Bootstrap) -> Measured:
    """Rank the samples of every finding, with the same draws of patients for all of them.

    A finding that some draw has none of is drawn anew by `patient_strata`; its draws are then its
    own, and the mean takes it for independent of the others. One that a single patient has, or has
    not, gets no interval: nothing is known of how patients vary.
    """
    known = cases.codes != UNKNOWN
    positive = cases.codes == PRESENT
    findings = range(len(cases.labels))
    with_finding = [np.unique(cases.patients[positive[:, i]]) for i in findings]
    without = [np.unique(cases.patients[known[:, i] & ~positive[:, i]]) for i in findings]
    valid = [i for i in findings if with_finding[i].size and without[i].size]
    rankings = {i: _rank(positive[:, i], cases.scores[:, i], known[:, i]) for i in valid}
    values = np.full((len(findings), 2), np.nan)
    for i in valid:
        values[i] = rankings[i].both()

    def statistic(weights: NDArray[np.int32]) -> Floats:
        return np.stack([rankings[i].both(weights) for i in valid], axis=1)

    draws = np.full((boot.draws, len(findings), 2), np.nan)
    stratified = [False] * len(findings)
    if boot.draws and valid:
        draws[:, valid] = boot.resample(cases.patients, statistic)
    for i in valid:
        # Draws without a positive or a negative have no area: keep their numbers of patients.
        if np.isnan(draws[:, i]).any():
            strata = patient_strata(cases.patients, with_finding[i], without[i])
            draws[:, i] = boot.resample(cases.patients, rankings[i].both, strata=strata)
            stratified[i] = True
        if min(len(with_finding[i]), len(without[i])) < 2:
            draws[:, i] = np.nan
    classes = tuple(
        ClassResult(
            label=cases.labels[i],
            predicted_as=cases.predicted_as[i],
            samples=int(known[:, i].sum()),
            positives=int(positive[:, i].sum()),
            patients=len(np.unique(cases.patients[known[:, i]])),
            positive_patients=len(with_finding[i]),
            unknown=int((~known[:, i]).sum()),
            uncertain=cases.uncertain[i],
            auroc=boot.estimate(values[i, 0], draws[:, i, 0]),
            average_precision=boot.estimate(values[i, 1], draws[:, i, 1]),
            stratified=stratified[i],
        )
        for i in findings
    )
    macro = (Estimate(value=math.nan), Estimate(value=math.nan))
    if valid:
        means, spread = values[valid].mean(axis=0), draws[:, valid].mean(axis=1)
        macro = (boot.estimate(means[0], spread[:, 0]), boot.estimate(means[1], spread[:, 1]))
    return Measured(classes, macro, values, draws)


def _rank(positive: NDArray[np.bool_], scores: Floats, known: NDArray[np.bool_]) -> Ranking:
    """The samples with a known label, ranked; weights are those of all samples."""
    ranking = rank(positive[known], scores[known])
    return replace(ranking, order=np.flatnonzero(known)[ranking.order])


def patient_strata(
    patients: NDArray[np.intp], with_finding: NDArray[np.intp], without: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Stratum of every patient: with the finding, without, or with samples of both kinds."""
    kinds = np.zeros(int(patients.max()) + 1, np.intp)
    kinds[with_finding] += 1
    kinds[without] += 2
    return kinds
