"""A tiny cohort in CT-RATE's folders, for tests of what is built from one."""

from __future__ import annotations

import csv
from pathlib import Path

from drr.datasets.labels import CT_RATE_LABELS
from drr.datasets.phantom.nifti import nifti_bytes
from drr.datasets.phantom.thorax import thorax

OPTIONS = ("--view", "pa", "--view", "ll", "--pixels", "48")


def write_cohort(root: Path, count: int, *, bad: tuple[int, ...] = (), size: int = 40) -> Path:
    """`count` CTs of every second number of patients, some of them damaged; returns the root."""
    rows = []
    for number in range(count):
        split = "valid" if number >= count - count // 4 else "train"
        patient, scan = number // 2 + 1, "ab"[number % 2]
        name = f"{split}_{patient}_{scan}_1"
        folder = root / f"{split}_fixed" / f"{split}_{patient}" / f"{split}_{patient}_{scan}"
        folder.mkdir(parents=True)
        path = folder / f"{name}.nii.gz"
        content = nifti_bytes(thorax(size, seed=number), path)
        path.write_bytes(content[: len(content) // 2] if number in bad else content)
        rows.append((split, [f"{name}.nii.gz", *(str((number + k) % 2) for k in range(18))]))
    labels = root / "multi_abnormality_labels"
    labels.mkdir()
    for split in ("train", "valid"):
        with (labels / f"{split}_predicted_labels.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["VolumeName", *CT_RATE_LABELS])
            writer.writerows(row for name, row in rows if name == split)
    return root
