"""A synthetic cohort in the shape of CT-RATE, so that everyone can run everything.

Phantoms with the 18 findings present or absent in the anatomy, in CT-RATE's folders with its
tables: metadata, labels, reports, the list of volumes without a chest. Several scans of some
patients, several reconstructions of some scans, padding of -8192 HU in some volumes, and a few
files that are deliberately bad. The same arguments give the same bytes.
"""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from drr.checks import whole
from drr.datasets.labels import CT_RATE_LABELS
from drr.datasets.phantom.finding import Finding, draw
from drr.datasets.phantom.nifti import nifti_bytes
from drr.datasets.phantom.thorax import thorax
from drr.datasets.sources.ctrate import SYNTHETIC
from drr.datasets.study import CohortError
from drr.errors import WriteError
from drr.files.atomic import temporary_path
from drr.files.spreadsheet import csv_text
from drr.volume import Volume

__all__ = ["BAD", "PREVALENCE", "Scan", "plan_scans", "write_phantom_cohort"]

PREVALENCE = {
    "Medical material": 0.12,
    "Arterial wall calcification": 0.28,
    "Cardiomegaly": 0.12,
    "Pericardial effusion": 0.07,
    "Coronary artery wall calcification": 0.25,
    "Hiatal hernia": 0.14,
    "Lymphadenopathy": 0.25,
    "Emphysema": 0.19,
    "Atelectasis": 0.26,
    "Lung nodule": 0.45,
    "Lung opacity": 0.37,
    "Pulmonary fibrotic sequela": 0.27,
    "Pleural effusion": 0.14,
    "Mosaic attenuation pattern": 0.08,
    "Peribronchial thickening": 0.11,
    "Consolidation": 0.18,
    "Bronchiectasis": 0.11,
    "Interlobular septal thickening": 0.09,
}
"""Share of patients with each finding: the order of magnitude of CT-RATE's labels."""

BAD = ("truncated", "empty", "another size")
"""What is wrong with the bad files, in turn: cut in half, no byte, not the volume of its row."""

VALID_SHARE = 0.2
SECOND_SCAN, SECOND_RECONSTRUCTION, PADDED = 0.2, 0.3, 0.3
PADDING_HU = -8192
INTERCEPT = -1024


@dataclass(frozen=True, kw_only=True)
class Scan:
    """One scan of the cohort.

    Parameters
    ----------
    name
        As CT-RATE names scans: `train_1_a`.
    seed
        Seed of the anatomy; scans of one patient share it.
    patient
        Arguments of the phantom: sex, age, bmi.
    findings
        What the patient has.
    reconstructions
        1 or 2: a soft kernel, and a sharp one of thicker slices.
    padded
        Whether a round field of view is padded.
    bad
        What is wrong with its last file, one of `BAD`; empty for nothing.
    """

    name: str
    seed: int
    patient: dict[str, Any]
    findings: tuple[Finding, ...]
    reconstructions: int
    padded: bool
    bad: str = ""

    @property
    def split(self) -> str:
        """`train` or `valid`."""
        return self.name.partition("_")[0]


def plan_scans(count: int, *, seed: int = 0, bad: int | None = None) -> tuple[Scan, ...]:
    """What is in a cohort, without making it.

    Parameters
    ----------
    count
        Scans.
    seed
        Seed of everything that is drawn at random.
    bad
        Scans with a bad file, among the count; by default 3, or a quarter of few.
    """
    if type(count) is not int or not 1 <= count <= 100_000:
        raise CohortError(f"a cohort has from 1 to 100000 scans, not {count!r}")
    whole("seed", seed, error=CohortError)
    bad = min(3, count // 4) if bad is None else bad
    whole("bad", bad, error=CohortError, most=count)
    scans: list[Scan] = []
    valid = round(count * VALID_SHARE)
    for split, wanted in (("train", count - valid), ("valid", valid)):
        number = 0
        while wanted:
            number += 1
            rng = np.random.default_rng((seed, int(split == "valid"), number))
            patient = {
                "sex": str(rng.choice(["F", "M"])),
                "age": float(rng.integers(20, 90)),
                "bmi": round(float(rng.uniform(19, 34)), 1),
            }
            names = [name for name, share in PREVALENCE.items() if rng.random() < share]
            findings = tuple(draw(name, rng) for name in names)
            body = int(rng.integers(2**31))
            of_patient = min(wanted, 2 if rng.random() < SECOND_SCAN else 1)
            for letter in "ab"[:of_patient]:
                scans.append(
                    Scan(
                        name=f"{split}_{number}_{letter}",
                        seed=body,
                        patient=patient,
                        findings=findings,
                        reconstructions=2 if rng.random() < SECOND_RECONSTRUCTION else 1,
                        padded=bool(rng.random() < PADDED),
                    )
                )
            wanted -= of_patient
    places = np.random.default_rng((seed, 2)).permutation(count)[:bad]
    for turn, place in enumerate(sorted(places.tolist())):
        scans[place] = replace(scans[place], bad=BAD[turn % len(BAD)])
    return tuple(scans)


def write_phantom_cohort(
    folder: str | Path,
    count: int,
    *,
    seed: int = 0,
    size: int = 128,
    version: int = 2,
    bad: int | None = None,
    report: Callable[[int], object] | None = None,
) -> tuple[Scan, ...]:
    """Write a cohort into a folder that does not exist yet or is empty.

    Parameters
    ----------
    folder
        Complete or not there: it takes its name when all is written.
    count, seed, bad
        See `plan_scans`.
    size
        Voxels along each axis of a volume.
    version
        Version of CT-RATE: 2 has HU and headers, 1 stored values and blank headers.
    report
        Called with 1 after every scan.

    Raises
    ------
    CohortError
        For numbers that cannot be.
    WriteError
        For a folder that is not empty, and whatever the disk refuses.
    """
    folder = Path(folder)
    if version not in (1, 2):
        raise CohortError(f"CT-RATE has the versions 1 and 2, not {version!r}")
    if type(size) is not int or not 24 <= size <= 512:
        raise CohortError(f"size must be from 24 to 512 voxels, not {size!r}")
    scans = plan_scans(count, seed=seed, bad=bad)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise WriteError(f"{folder}: exists and is not an empty folder; choose another")
    if not folder.parent.is_dir():
        raise WriteError(f"{folder}: the folder {folder.parent} does not exist; create it first")
    try:
        part = temporary_path(folder.parent)
        try:
            part.mkdir()
            _write(part, scans, size, version, report)
            if folder.exists():
                folder.rmdir()
            os.replace(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise WriteError(
            f"{folder}: cannot be written: {error.strerror or error}; nothing was kept"
        ) from None
    return scans


def _write(
    root: Path,
    scans: Sequence[Scan],
    size: int,
    version: int,
    report: Callable[[int], object] | None,
) -> None:
    (root / SYNTHETIC).write_text("Synthetic phantoms made by drr-rate. No patients.\n")
    metadata: dict[str, list[dict[str, str]]] = {"train": [], "valid": []}
    for scan in scans:
        for number, volume in enumerate(_volumes(scan, size), 1):
            name = f"{scan.name}_{number}"
            patient = scan.name.rpartition("_")[0]
            top = f"{scan.split}_fixed" if version == 2 else scan.split
            path = root / top / patient / scan.name / f"{name}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            content = nifti_bytes(volume, path) if version == 2 else _blank(volume)
            if scan.bad and number == scan.reconstructions:
                content = _spoilt(content, scan.bad, scan, size, version, path)
            path.write_bytes(content)
            metadata[scan.split].append(_metadata(scan, number, volume))
        if report is not None:
            report(1)
    for split, rows in metadata.items():
        of_split = [scan for scan in scans if scan.split == split]
        if not of_split:
            continue
        # The published names: validation_* for metadata and reports, valid_* for labels.
        long = "validation" if split == "valid" else split
        _table(root / "metadata" / f"{long}_metadata.csv", rows)
        _table(
            root / "multi_abnormality_labels" / f"{split}_predicted_labels.csv",
            [_labels(scan, number) for scan, number in _each(of_split)],
        )
        _table(
            root / "radiology_text_reports" / f"{long}_reports.csv",
            [_report(scan, number) for scan, number in _each(of_split)],
        )
        (root / "metadata" / f"no_chest_{split}.txt").write_text("")


def _each(scans: Sequence[Scan]) -> Iterator[tuple[Scan, int]]:
    for scan in scans:
        for number in range(1, scan.reconstructions + 1):
            yield scan, number


def _volumes(scan: Scan, size: int) -> Iterator[Volume]:
    """The scan's reconstructions: the first soft and thin, the second sharp and thick."""
    for number in range(scan.reconstructions):
        slices = size if number == 0 else max(16, size // 2)
        volume = thorax(
            (slices, size, size),
            seed=scan.seed,
            noise=10.0 if number == 0 else 25.0,
            findings=scan.findings,
            **scan.patient,
        )
        if scan.padded:
            hu = volume.hu.copy()
            y, x = np.ogrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
            hu[:, x**2 + y**2 > 1] = PADDING_HU
            volume = replace(volume, hu=hu)
        yield volume


def _blank(volume: Volume) -> bytes:
    """As version 1 has it: stored values, and a header that says nothing of where they lie."""
    import nibabel

    stored = np.where(volume.hu == PADDING_HU, PADDING_HU, volume.hu.astype(int) - INTERCEPT)
    image = nibabel.Nifti1Image(stored.astype(np.int16).transpose(2, 1, 0), np.eye(4))
    image.set_sform(None, code=0)
    image.set_qform(None, code=0)
    return gzip.compress(image.to_bytes(), compresslevel=1, mtime=0)


def _spoilt(content: bytes, bad: str, scan: Scan, size: int, version: int, path: Path) -> bytes:
    if bad == "truncated":
        return content[: len(content) // 2]
    if bad == "empty":
        return b""
    other = thorax(max(16, size // 2), seed=scan.seed)
    return nifti_bytes(other, path) if version == 2 else _blank(other)


def _metadata(scan: Scan, number: int, volume: Volume) -> dict[str, str]:
    x, y, z = (round(float(step), 6) for step in volume.spacing)
    nz, ny, nx = volume.shape
    return {
        "VolumeName": f"{scan.name}_{number}.nii.gz",
        "Manufacturer": "drr-rate phantom",
        "SeriesDescription": f"Thorax {z:.1f}",
        "PatientSex": scan.patient["sex"],
        "PatientAge": f"{scan.patient['age']:03.0f}Y",
        "ConvolutionKernel": "B30f" if number == 1 else "B70f",
        "XYSpacing": f"[{y}, {x}]",
        "ZSpacing": f"{z}",
        "RescaleIntercept": f"{INTERCEPT}",
        "RescaleSlope": "1",
        "RescaleType": "HU",
        "Rows": f"{ny}",
        "Columns": f"{nx}",
        "NumberofSlices": f"{nz}",
        "ImageOrientationPatient": "[1.0, 0.0, 0.0, 0.0, 1.0, 0.0]",
        "ImagePositionPatient": str([round(float(v), 6) for v in volume.affine[:3, 3]]),
    }


def _labels(scan: Scan, number: int) -> dict[str, str]:
    names = {finding.name for finding in scan.findings}
    codes = {name: str(int(name in names)) for name in CT_RATE_LABELS}
    return {"VolumeName": f"{scan.name}_{number}.nii.gz", **codes}


def _report(scan: Scan, number: int) -> dict[str, str]:
    """Sentences that say of every finding whether it is there."""
    present = [_sentence(finding) for finding in scan.findings]
    absent = [name for name in CT_RATE_LABELS if name not in {f.name for f in scan.findings}]
    denials = [f"No {name[0].lower()}{name[1:]} was detected." for name in absent]
    return {
        "VolumeName": f"{scan.name}_{number}.nii.gz",
        "ClinicalInformation_EN": "Synthetic phantom; not a patient.",
        "Technique_EN": f"Simulated CT of the thorax, {'soft' if number == 1 else 'sharp'} kernel.",
        "Findings_EN": " ".join([*present, *denials]),
        "Impressions_EN": " ".join(present) or "Normal examination.",
    }


def _sentence(finding: Finding) -> str:
    degree = ("Mild", "Moderate", "Severe")[min(2, int(3 * finding.severity))]
    text = f"{degree} {finding.name[0].lower()}{finding.name[1:]}"
    if finding.has_zone:
        text += f" in the {finding.zone} zone"
    if finding.has_side:
        text += " on both sides" if finding.side == "both" else f" on the {finding.side}"
    return f"{text}."


def _table(path: Path, rows: Sequence[dict[str, str]]) -> None:
    path.parent.mkdir(exist_ok=True)
    head = list(rows[0])
    path.write_bytes(csv_text(head, ([row[key] for key in head] for row in rows)).encode())
