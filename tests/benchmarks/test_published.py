"""The figures of `benchmarks/published.py` that are not `drr evaluate`'s."""

from __future__ import annotations

import runpy

import numpy as np
import pytest
from places import ROOT

SCRIPT = runpy.run_path(str(ROOT / "benchmarks/published.py"))


def simulated(sizes: np.ndarray, folds: int, draws: int = 30) -> float:
    """Share of images whose patient also has images in another fold, folds drawn by image."""
    rng = np.random.default_rng(0)
    owners = np.repeat(np.arange(len(sizes)), sizes)
    shares = []
    for _ in range(draws):
        fold = rng.integers(folds, size=len(owners))
        counts = np.zeros((len(sizes), folds))
        np.add.at(counts, (owners, fold), 1)
        shares.append((counts[owners].sum(axis=1) > counts[owners, fold]).mean())
    return float(np.mean(shares))


def test_bounds_of_the_leak_hold_and_are_reached() -> None:
    images, patients, folds = 470, 200, 5
    low, high = SCRIPT["leak"](images, patients, folds)
    one = np.ones(patients, int)
    one[0] += images - patients
    even = np.full(patients, 2)
    even[: images - 2 * patients] += 1
    rng = np.random.default_rng(1)
    mixed = 1 + np.bincount(rng.geometric(0.1, images - patients) % patients, minlength=patients)
    assert simulated(one, folds) == pytest.approx(low, abs=0.01)
    assert simulated(even, folds) == pytest.approx(high, abs=0.01)
    assert low < simulated(mixed, folds) < high


def test_runs_of_equal_labels() -> None:
    codes = np.array([[0, 1], [0, 1], [1, 1], [0, 1], [0, 1]], np.int8)
    assert SCRIPT["run_numbers"](codes).tolist() == [0, 0, 1, 2, 2]
