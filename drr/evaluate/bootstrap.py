"""Bootstrap intervals that draw patients, not images.

Films of one patient are alike, so that images drawn one by one pretend to more evidence than there
is. Every draw takes as many patients as there are, with replacement, and all films of each: as
weights, so that samples are ranked once and all draws are counted together.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drr.checks import Plain, whole
from drr.evaluate.metrics import EvaluationError

__all__ = ["Bootstrap", "Estimate", "patient_codes"]

Floats = NDArray[np.float64]

BLOCK = 1 << 17
"""Weights in work at a time: what the processor's cache holds."""


@dataclass(frozen=True, kw_only=True)
class Estimate(Plain):
    """A figure and its interval; NaN where there is none."""

    value: float
    low: float = math.nan
    high: float = math.nan

    def __str__(self) -> str:
        if not math.isfinite(self.value):
            return "-"
        if not math.isfinite(self.low + self.high):
            return f"{self.value:.3f}"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True, kw_only=True)
class Bootstrap(Plain):
    """How intervals are made.

    Parameters
    ----------
    draws
        Number of draws of patients; 0 for no intervals, else 100 at least.
    level
        Share of the draws inside an interval, such as 0.95.
    seed
        Another seed, other draws.

    Raises
    ------
    EvaluationError
        For values that cannot be.
    """

    draws: int = 2000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if type(self.draws) is not int or (self.draws != 0 and self.draws < 100):
            raise EvaluationError(
                f"draws must be 0 (no intervals) or a whole number from 100 on, got {self.draws!r}"
            )
        if not 0.5 <= self.level < 1:
            raise EvaluationError(f"level must be at least 0.5 and below 1, got {self.level!r}")
        whole("seed", self.seed, error=EvaluationError)

    def resample(
        self,
        patients: ArrayLike,
        statistic: Callable[[NDArray[np.int32]], Floats],
        *,
        strata: ArrayLike | None = None,
    ) -> Floats:
        """A statistic of every draw. The same patients and seed give the same draws.

        Parameters
        ----------
        patients
            `(n,)` number of each sample's patient, 0 to the number of patients less one.
        statistic
            Of weights `(b, n)`, how often each sample counts in each of b draws; gives `(b, ...)`.
        strata
            `(patients,)` whole numbers; patients are drawn from their own stratum only, so that
            every stratum keeps its size.

        Returns
        -------
        `(draws, ...)`.
        """
        owners = np.asarray(patients, np.intp)
        count = int(owners.max()) + 1
        kinds = np.zeros(count, np.intp) if strata is None else np.asarray(strata)
        members = [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]
        generator = np.random.default_rng(self.seed)
        block = max(1, BLOCK // len(owners))
        parts = []
        for first in range(0, max(self.draws, 1), block):  # no draws: an empty result of its shape
            size = min(block, self.draws - first)
            counts = np.zeros((size, count), np.int32)
            for group in members:
                drawn = generator.integers(len(group), size=(size, len(group)))
                drawn += len(group) * np.arange(size)[:, None]
                times = np.bincount(drawn.ravel(), minlength=drawn.size)
                counts[:, group] = times.reshape(size, len(group))
            parts.append(statistic(np.take(counts, owners, axis=1)))
        return np.concatenate(parts)

    def estimate(self, value: float, draws: ArrayLike) -> Estimate:
        """Percentile interval of a figure from its draws.

        There is none if a draw has no value, nor if all draws are alike: 13 hits of 13 stay 13 of
        13 in every draw, which does not make them certain.

        Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
        """
        values = np.asarray(draws, np.float64)
        if not values.size or not np.isfinite(values).all() or values.min() == values.max():
            return Estimate(value=float(value))
        tail = (1 - self.level) / 2
        low, high = np.quantile(values, [tail, 1 - tail])
        return Estimate(value=float(value), low=float(low), high=float(high))


def patient_codes(patients: ArrayLike) -> NDArray[np.intp]:
    """Numbers for names, from 0, `(n,)`."""
    return np.unique(np.asarray(patients), return_inverse=True)[1].reshape(-1)
