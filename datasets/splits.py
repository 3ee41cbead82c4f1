"""Splits and folds by patient, the same on every machine and for every order of the studies.

Patients are ranked by the SHA-256 of the seed and their name, and the ranking is cut. A patient
who joins later shifts only the cuts, so hardly anyone changes sides.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence

from drr.datasets.study import Cohort, CohortError

__all__ = ["DEFAULT_FRACTIONS", "check_leakage", "fold_patients", "split_cohort", "split_patients"]

DEFAULT_FRACTIONS: Mapping[str, float] = {"train": 0.8, "valid": 0.1, "test": 0.1}


def split_patients(
    patients: Iterable[str],
    *,
    fractions: Mapping[str, float] = DEFAULT_FRACTIONS,
    seed: int = 0,
) -> dict[str, str]:
    """Each patient's split.

    Parameters
    ----------
    patients
        Names; repeats count once.
    fractions
        Share of the patients for each split; they sum to 1. Shares are rounded to whole patients
        by the largest remainder, earlier splits first among equals.
    seed
        Another seed, another ranking.

    Raises
    ------
    CohortError
        For fractions that are not shares of a whole.
    """
    shares = dict(fractions)
    if (
        not shares
        or any(not math.isfinite(share) or share < 0 for share in shares.values())
        or abs(sum(shares.values()) - 1) > 1e-6
    ):
        raise CohortError(
            f"fractions {shares} are not shares of a whole; give positive numbers that sum to 1"
        )
    ranked = _ranked(patients, seed)
    exact = {name: share * len(ranked) for name, share in shares.items()}
    # A hair below a whole number is that number: 0.1 * 30 is not 2.
    counts = {name: math.floor(count + 1e-9) for name, count in exact.items()}
    remainders = sorted(exact, key=lambda name: round(counts[name] - exact[name], 9))
    for name in remainders[: len(ranked) - sum(counts.values())]:
        counts[name] += 1
    result: dict[str, str] = {}
    for name, count in counts.items():
        result |= dict.fromkeys(ranked[len(result) : len(result) + count], name)
    return result


def split_cohort(
    cohort: Cohort,
    *,
    fractions: Mapping[str, float] = DEFAULT_FRACTIONS,
    seed: int = 0,
    keep: bool = False,
) -> Cohort:
    """The cohort with every study's split drawn by patient.

    Parameters
    ----------
    keep
        Leave splits that the source gives, and draw only for patients without one.

    Raises
    ------
    CohortError
        For fractions that are not shares of a whole; for `keep`, patients in two splits.
    """
    given: dict[str, str] = {}
    if keep:
        decided = [study for study in cohort.studies if study.split is not None]
        check_leakage([s.patient for s in decided], [s.split or "" for s in decided])
        given = {study.patient: study.split or "" for study in decided}
    rest = [patient for patient in cohort.patients if patient not in given]
    splits = split_patients(rest, fractions=fractions, seed=seed) | given
    return dataclasses.replace(
        cohort,
        studies=tuple(dataclasses.replace(s, split=splits[s.patient]) for s in cohort.studies),
        notes=(
            *cohort.notes,
            f"Splits of {len(rest)} patients were drawn with seed {seed}: "
            + ", ".join(f"{name} {share:g}" for name, share in fractions.items())
            + ".",
        ),
    )


def fold_patients(patients: Iterable[str], *, folds: int, seed: int = 0) -> dict[str, int]:
    """Each patient's fold, 0 to `folds - 1`, for cross-validation; sizes differ by one at most.

    Raises
    ------
    CohortError
        For fewer than two folds, or fewer patients than folds.
    """
    ranked = _ranked(patients, seed)
    if folds < 2 or len(ranked) < folds:
        raise CohortError(
            f"{len(ranked)} patients cannot make {folds} folds; two folds at least, and a patient "
            "for each"
        )
    return {patient: rank % folds for rank, patient in enumerate(ranked)}


def check_leakage(patients: Sequence[str], splits: Sequence[str]) -> None:
    """Raise `CohortError` if a patient has samples in two splits.

    Parameters
    ----------
    patients, splits
        Patient and split of each sample, in the same order.
    """
    found: dict[str, set[str]] = {}
    for patient, split in zip(patients, splits, strict=True):
        found.setdefault(patient, set()).add(split)
    leaks = sorted(patient for patient, names in found.items() if len(names) > 1)
    if leaks:
        shown = "; ".join(f"{p} in {' and '.join(sorted(found[p]))}" for p in leaks[:5])
        more = f"; and {len(leaks) - 5} more" if len(leaks) > 5 else ""
        raise CohortError(
            f"{len(leaks)} patient{'s are' if len(leaks) > 1 else ' is'} in more than one split: "
            f"{shown}{more}; split by patient"
        )


def _ranked(patients: Iterable[str], seed: int) -> list[str]:
    def rank(patient: str) -> tuple[bytes, str]:
        return hashlib.sha256(f"{seed}\n{patient}".encode()).digest(), patient

    return sorted(set(patients), key=rank)
