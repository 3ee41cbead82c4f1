"""The published experiment's figures again, with the intervals it does not give.

    python benchmarks/published.py [--draws N]

From the predictions that the authors of DRR-RATE published: two of five networks trained on DRRs,
tested on the 3,039 DRRs of the validation split, and one trained on CheXpert, tested on the 668
films of its test set. And from a published table of a CheXNet on NIH films (Zech's
reproduce-chexnet), where the patients are known.

The published rows have no names, so that nobody can say which are of one patient. But they are in
the order of the labels' file, where the reconstructions of a scan follow each other with the same
labels: runs of equal labels stand in for scans, and say how much narrower an interval is that
takes every reconstruction for a patient of its own.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drr.evaluate.bootstrap import Bootstrap
from drr.evaluate.cases import Cases, align
from drr.evaluate.compare import delong
from drr.evaluate.evaluate import evaluate
from drr.evaluate.predictions import read_predictions
from drr.evaluate.results import Evaluation
from drr.evaluate.truth import Truth, read_truth

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("DRR_TEST_DATA", ROOT.parent / "shared" / "data"))

TABLES = {
    "fold_0": "DRR to DRR, fold 0",
    "fold_1": "DRR to DRR, fold 1",
    "chexpert": "CheXpert to CheXpert",
}
IMAGES, PATIENTS, FOLDS = 47149, 20000, 5
"""DRR-RATE's training split, and the folds that were drawn from its images."""


def read(name: str, *, by_run: bool = False) -> Cases:
    """One published table; runs of equal labels as patients, or every row as one."""
    folder = DATA / "published" / "drr_rate"
    predictions = read_predictions(folder / f"{name}_y_pred.csv")
    truth = read_truth(folder / f"{name}_y_true.csv", labels=predictions.labels)
    if by_run:
        runs = tuple(map(str, run_numbers(truth.codes)))
        truth = Truth(codes=truth.codes, labels=truth.labels, patients=runs, source=truth.source)
    return align(predictions, truth)


def run_numbers(codes: NDArray[np.int8]) -> NDArray[np.intp]:
    """Number of the run of equal rows that each row belongs to."""
    return np.cumsum(np.r_[False, (codes[1:] != codes[:-1]).any(axis=1)])


def published(name: str) -> dict[str, tuple[float, float]]:
    """AUROC and average precision as the authors state them."""
    path = DATA / "published" / "drr_rate" / f"{name}_results.csv"
    with open(path, newline="") as file:
        return {row[""]: (float(row["ROC_AUC"]), float(row["AP"])) for row in csv.DictReader(file)}


def show(title: str, rows: Sequence[Sequence[str]]) -> None:
    """A table in Markdown."""
    print(f"\n{title}\n")
    for place, row in enumerate(rows):
        print(f"| {' | '.join(row)} |")
        if place == 0:
            print(f"|{'---|' * len(row)}")


def reproduce(name: str, bootstrap: Bootstrap) -> None:
    """Figures beside the published ones, with both kinds of intervals."""
    stated = published(name)
    start = time.perf_counter()
    by_row = evaluate(read(name), bootstrap=bootstrap, threshold={})
    seconds = time.perf_counter() - start
    by_run = evaluate(read(name, by_run=True), bootstrap=bootstrap, threshold={})
    rows = [["finding", "positive", "AUROC published", "AUROC (95 %, by row)", "(95 %, by run)",
             "AP published", "AP (95 %, by run)"]]  # fmt: skip
    largest = 0.0
    for row, run in zip(by_row.classes, by_run.classes, strict=True):
        area, precision = stated[row.label]
        ours = (row.auroc.value, row.average_precision.value)
        largest = max(largest, abs(ours[0] - area), abs(ours[1] - precision))
        rows.append([
            row.label, f"{row.positives}", f"{area:.6f}", str(row.auroc),
            str(run.auroc).partition(" ")[2], f"{precision:.6f}", str(run.average_precision),
        ])  # fmt: skip
    rows.append(["mean", "", f"{np.mean([a for a, _ in stated.values()]):.6f}",
                 str(by_row.macro_auroc), str(by_run.macro_auroc).partition(" ")[2],
                 f"{np.mean([p for _, p in stated.values()]):.6f}",
                 str(by_run.macro_average_precision)])  # fmt: skip
    show(f"**{TABLES[name]}**, {by_row.samples} images, {by_run.patients} runs", rows)
    print(f"\nLargest difference from what is published: {largest:.1e}. ", end="")
    print(f"Intervals by run are {widening(by_row, by_run):.2f} times as wide. ", end="")
    print(f"{bootstrap.draws} draws by row took {seconds:.1f} s.")


def widening(first: Evaluation, second: Evaluation) -> float:
    """Mean ratio of the widths of the areas' intervals, second to first."""
    widths = [
        np.array([c.auroc.high - c.auroc.low for c in result.classes]) for result in (first, second)
    ]
    return float(np.nanmean(widths[1] / widths[0]))


def alike() -> None:
    """How alike predictions are within a run, and from one run to the next."""
    cases = read("fold_0")
    logits = np.log(cases.scores) - np.log1p(-cases.scores)
    same = np.diff(run_numbers(cases.codes)) == 0
    within, across = (
        [np.corrcoef(logits[:-1][part, i], logits[1:][part, i])[0, 1] for i in range(6)]
        for part in (same, ~same)
    )
    print(
        f"\nNeighbouring rows of fold 0: correlation of the logits {min(within):.2f} to "
        f"{max(within):.2f} within a run of equal labels, {min(across):.2f} to {max(across):.2f} "
        "from one run to the next."
    )


def folds(bootstrap: Bootstrap) -> None:
    """Whether the two networks differ, taking rows, or runs, for independent."""
    first, second = read("fold_0", by_run=True), read("fold_1", by_run=True)
    comparison = evaluate(first, other=second, bootstrap=bootstrap, threshold={}).comparison
    assert comparison is not None
    rows = [["finding", "AUROC fold 0 - fold 1", "difference (95 %, by run)", "p, by row",
             "p, by run", "p, by run, Holm"]]  # fmt: skip
    for i, row in enumerate(comparison.classes):
        naive = delong(first.codes[:, i], first.scores[:, i], second.scores[:, i])
        rows.append([
            row.label, f"{row.first_auroc:.3f} - {row.second_auroc:.3f}", str(row.auroc),
            f"{naive.p:.3f}", f"{row.auroc_p:.3f}", f"{row.auroc_p_holm:.3f}",
        ])  # fmt: skip
    show("**Two of the five networks**, trained on four fifths of the same images", rows)


def leak(images: int, patients: int, folds: int) -> tuple[float, float]:
    """Least and greatest share of validation images whose patient also has training images.

    Folds are drawn from the images. An image of a patient who has k leaks with probability
    1 - (1 / folds) ** (k - 1). Summed over a patient's images that grows ever more slowly with k:
    it is least where one patient has all images that can be spared, greatest where all have alike.
    """

    def leaking(k: int) -> float:
        return k * (1 - (1 / folds) ** (k - 1))

    least = leaking(images - patients + 1)
    low, more = divmod(images, patients)
    most = (patients - more) * leaking(low) + more * leaking(low + 1)
    return least / images, most / images


def films(bootstrap: Bootstrap) -> None:
    """A CheXNet on NIH films, by patient and, for comparison, by image."""
    folder = DATA / "cxr" / "nih"
    predictions = read_predictions(folder / "chexnet_predictions.csv")
    truth = read_truth(folder / "labels.csv")
    by_patient = evaluate(align(predictions, truth), bootstrap=bootstrap, threshold={})
    rows = [["finding", "films", "patients", "AUROC (95 %)", "AP (95 %)"]]
    rows += [
        [
            c.label,
            str(c.positives),
            str(c.positive_patients),
            str(c.auroc),
            str(c.average_precision),
        ]
        for c in by_patient.classes
    ]
    rows.append(
        ["mean", "", "", str(by_patient.macro_auroc), str(by_patient.macro_average_precision)]
    )
    show(
        f"**CheXNet on NIH films**, {by_patient.samples} films of {by_patient.patients} patients, "
        "enriched for disease",
        rows,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=2000)
    options = parser.parse_args()
    if not (DATA / "published").is_dir():
        print(f"no published predictions in {DATA}; set DRR_TEST_DATA to their folder")
        return
    bootstrap = Bootstrap(draws=options.draws)
    for name in TABLES:
        reproduce(name, bootstrap)
    alike()
    folds(bootstrap)
    low, high = leak(IMAGES, PATIENTS, FOLDS)
    print(
        f"\nFolds were drawn from {IMAGES} images of {PATIENTS} patients: between "
        f"{100 * low:.1f} % and {100 * high:.1f} % of the images on which a network was chosen "
        "show patients it was trained on."
    )
    films(bootstrap)


if __name__ == "__main__":
    main()
