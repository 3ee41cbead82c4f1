"""What an evaluation found, as plain data."""

from __future__ import annotations

import math
from dataclasses import dataclass

from drr.checks import Plain
from drr.evaluate.bootstrap import Bootstrap, Estimate
from drr.evaluate.calibration import Calibration
from drr.evaluate.thresholds import OperatingPoint

__all__ = ["ClassResult", "Comparison", "Difference", "Evaluation", "Group"]


@dataclass(frozen=True, kw_only=True)
class ClassResult(Plain):
    """One finding.

    Parameters
    ----------
    label, predicted_as
        Its names in the truth and in the predictions.
    samples, positives
        Samples whose label is known, and those of them that have the finding.
    patients, positive_patients
        The same in patients: with a known label, with a positive sample.
    unknown
        Samples left out because nobody knows, or because the label is uncertain.
    uncertain
        Samples with an uncertain label, whatever they count as.
    auroc, average_precision
        NaN without positives or without negatives.
    stratified
        Whether intervals keep the number of patients with the finding: it is so rare (or so
        common) that draws without it came up.
    calibration
        None where the scores are no probabilities.
    point
        At the threshold; None where there is none.
    roc, precision_recall
        Points of the curves: (false positive rate, true positive rate), (recall, precision).
    """

    label: str
    predicted_as: str
    samples: int
    positives: int
    patients: int
    positive_patients: int
    unknown: int
    uncertain: int
    auroc: Estimate
    average_precision: Estimate
    stratified: bool = False
    calibration: Calibration | None = None
    point: OperatingPoint | None = None
    roc: tuple[tuple[float, float], ...] = ()
    precision_recall: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Group(Plain):
    """One subgroup of the samples.

    Parameters
    ----------
    attribute, value
        Such as `sex` and `F`.
    samples, patients
        How many there are.
    macro_auroc, macro_average_precision
        Mean over the findings that have both kinds of samples in this group.
    classes
        The findings, in the order of the whole; without curves, calibration and thresholds.
    """

    attribute: str
    value: str
    samples: int
    patients: int
    macro_auroc: Estimate
    macro_average_precision: Estimate
    classes: tuple[ClassResult, ...]


@dataclass(frozen=True, kw_only=True)
class Difference(Plain):
    """Two models on one finding, first less second; or, with the label `macro`, on all.

    Parameters
    ----------
    label
        The finding.
    first_auroc, second_auroc, first_average_precision, second_average_precision
        On the samples that both predict.
    auroc, average_precision
        Differences with intervals of the paired bootstrap.
    auroc_p, average_precision_p
        Two-sided, of no difference: DeLong's for the area of one finding, the bootstrap's for the
        rest. NaN where there are too few patients.
    auroc_p_holm, average_precision_p_holm
        The same adjusted for the number of findings.
    """

    label: str
    first_auroc: float
    second_auroc: float
    auroc: Estimate
    auroc_p: float
    first_average_precision: float
    second_average_precision: float
    average_precision: Estimate
    average_precision_p: float
    auroc_p_holm: float = math.nan
    average_precision_p_holm: float = math.nan


@dataclass(frozen=True, kw_only=True)
class Comparison(Plain):
    """Two models on the samples and findings that both predict.

    Parameters
    ----------
    first, second
        Where their predictions come from, without folders where their names differ.
    samples, patients
        In common.
    by_patient
        Whether the patients are known.
    classes
        A difference for every finding.
    macro
        Comparison of the means over the findings.
    """

    first: str
    second: str
    samples: int
    patients: int
    by_patient: bool
    classes: tuple[Difference, ...]
    macro: Difference


@dataclass(frozen=True, kw_only=True)
class Evaluation(Plain):
    """A model on a set of samples.

    Parameters
    ----------
    source, truth
        Where predictions and truth come from, without folders.
    samples, patients
        How many there are; as many patients as samples where nobody knows the patients.
    by_patient
        Whether the patients are known.
    bootstrap
        How intervals were made.
    classes
        The findings.
    macro_auroc, macro_average_precision
        Mean over the findings with both kinds of samples.
    groups
        Subgroups.
    comparison
        With another model, or None.
    notes
        What whoever reads this should know.
    """

    source: str
    truth: str
    samples: int
    patients: int
    by_patient: bool
    bootstrap: Bootstrap
    classes: tuple[ClassResult, ...]
    macro_auroc: Estimate
    macro_average_precision: Estimate
    groups: tuple[Group, ...] = ()
    comparison: Comparison | None = None
    notes: tuple[str, ...] = ()
