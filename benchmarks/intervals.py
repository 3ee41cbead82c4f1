"""How often 95 % intervals of AUROC and average precision hold what they should.

    python benchmarks/intervals.py [--trials N] [--draws N]

Patients with one film each, and with two whose scores share half of their variance, are drawn
from normal distributions with a known answer (that of three million films), and evaluated by
patient and, for comparison, as if every film were another patient's.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from drr.evaluate.bootstrap import Bootstrap
from drr.evaluate.metrics import rank

PATIENTS = 480
SHIFT = 1.5
"""Distance of the two distributions, in their standard deviation: an AUROC of 0.856."""


def draw(
    rng: np.random.Generator, positives: int, patients: int, films: int
) -> tuple[NDArray[np.int8], NDArray[np.float64], NDArray[np.intp]]:
    """Truth, scores and patients; films of one patient are alike in truth and in score."""
    owners = np.repeat(np.arange(patients), films)
    truth = (owners < positives).astype(np.int8)
    shared = rng.normal(size=patients)[owners]
    noise = rng.normal(size=len(owners))
    scores = noise if films == 1 else (shared + noise) / np.sqrt(2)
    return truth, scores + SHIFT * truth, owners


def answer(rng: np.random.Generator, positives: int) -> NDArray[np.float64]:
    """What a very large sample of the same make-up gives: AUROC, average precision."""
    truth, scores, _ = draw(rng, positives * 6250, PATIENTS * 6250, 1)
    return rank(truth, scores).both()


def coverage(
    rng: np.random.Generator, positives: int, films: int, by_patient: bool, trials: int, draws: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of trials whose interval holds the answer, and the mean width."""
    truth_of_all = answer(rng, positives)
    held, width = np.zeros(2), np.zeros(2)
    for trial in range(trials):
        truth, scores, owners = draw(rng, positives, PATIENTS, films)
        units = owners if by_patient else np.arange(len(owners))
        values = Bootstrap(draws=draws, seed=trial).resample(units, rank(truth, scores).both)
        low, high = np.nanquantile(values, [0.025, 0.975], axis=0)
        held += (low <= truth_of_all) & (truth_of_all <= high)
        width += high - low
    return held / trials, width / trials


def main() -> None:
    parser = argparse.ArgumentParser(description="Coverage of the intervals.")
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--draws", type=int, default=400)
    options = parser.parse_args()
    print(f"{PATIENTS} patients, {options.trials} trials of {options.draws} draws\n")
    print(
        "| patients with the finding | films each | drawn | AUROC held | width | AP held | width |"
    )
    print("|---|---|---|---|---|---|---|")
    for positives in (5, 13, 40, 150):
        for films, by_patient in ((1, True), (2, True), (2, False)):
            rng = np.random.default_rng(0)
            held, width = coverage(rng, positives, films, by_patient, options.trials, options.draws)
            print(
                f"| {positives} | {films} | {'patients' if by_patient else 'films'} | "
                f"{100 * held[0]:.1f} % | {width[0]:.3f} | {100 * held[1]:.1f} % | "
                f"{width[1]:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
