"""DRR-RATE as it was published: PNGs in folders, tables keyed by `ImageName`.

`train/AP/train_1/train_1_a/train_1_a_1.png`, `LATERAL` beside `AP`, and CT-RATE's tables with
`ImageName` for `VolumeName` (huggingface.co/datasets/farrell236/DRR-RATE). `drr export --format
drr-rate` writes the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drr.datasets.labels import CT_RATE_LABELS, parse_label
from drr.datasets.loaders.samples import Samples, Transform, chosen_labels
from drr.datasets.schema import DatasetError
from drr.datasets.sources.ctrate_tables import REPORT_COLUMNS
from drr.datasets.sources.tables import Row, parse_age, parse_sex, read_table
from drr.datasets.study import Problem, Report, Study

__all__ = ["PublishedDRRs", "PublishedSample", "find_drr_rate"]


@dataclass(frozen=True, kw_only=True)
class PublishedSample:
    """One image; its study has the path relative to the root, labels, report and metadata."""

    view: str
    study: Study


def find_drr_rate(
    root: str | Path, *, view: str = "AP", split: str | None = None
) -> tuple[list[PublishedSample], list[Problem]]:
    """The images of a (partial) download, in order of their names, and what cannot be used.

    Parameters
    ----------
    root
        Folder with `train`, `valid`, ...
    view
        `AP` or `LATERAL`, or another folder of that level.
    split
        Only this one.

    Raises
    ------
    DatasetError
        Where there is no image of the view.
    CohortError
        For a table that is damaged as a whole.
    """
    base = Path(root)
    problems: list[Problem] = []
    samples: list[PublishedSample] = []
    try:
        splits = sorted(p.name for p in base.iterdir() if (p / view).is_dir())
    except OSError as error:
        raise DatasetError(f"{base}: cannot be read ({error.strerror}); check the path") from None
    for name in splits if split is None else [s for s in splits if s == split]:
        samples += _split(base, name, view, problems)
    if not samples:
        more = f"; {len(problems)} problems, first {problems[0]}" if problems else ""
        raise DatasetError(
            f"{base}: holds no image of DRR-RATE's view {view!r}"
            f"{f' in split {split!r}' if split else ''}; there should be "
            f"train/{view}/train_1/train_1_a/train_1_a_1.png and others{more}"
        )
    return samples, problems


def _split(base: Path, split: str, view: str, problems: list[Problem]) -> Iterator[PublishedSample]:
    paths: dict[str, Path] = {}
    for path in sorted((base / split / view).glob("*/*/*.png")):
        inside = path.relative_to(base).as_posix()
        if path.is_symlink() or not path.resolve().is_relative_to(base.resolve()):
            problems.append(Problem(name=inside, reason="leads out of the folder; copy it there"))
        elif path.name in paths:
            reason = f"the image is also {paths[path.name].relative_to(base)}; remove one"
            problems.append(Problem(name=inside, reason=reason))
        else:
            paths[path.name] = path
    tables = {
        kind: _rows(base, files, set(paths), problems)
        for kind, files in {
            "metadata": _names("metadata", split, "metadata"),
            "labels": _names("multi_abnormality_labels", split, "predicted_labels"),
            "reports": _names("radiology_text_reports", split, "reports"),
        }.items()
    }
    for name, path in sorted(paths.items()):
        metadata, labels, report = (tables[k].get(name, {}) for k in tables)
        inside = path.relative_to(base).as_posix()
        try:
            texts = {part: report.get(column, "") for part, column in REPORT_COLUMNS.items()}
            yield PublishedSample(
                view=view,
                study=Study(
                    sample=path.stem,
                    patient=path.parent.parent.name,
                    scan=path.parent.name,
                    split=split,
                    path=inside,
                    labels=tuple(parse_label(labels.get(label, "")) for label in CT_RATE_LABELS),
                    report=Report(
                        **{k: "" if v.strip() == "Not given." else v for k, v in texts.items()}
                    ),
                    sex=parse_sex(metadata.get("PatientSex", "")),
                    age=parse_age(metadata.get("PatientAge", "")),
                    metadata={k: v for k, v in metadata.items() if v and k != "ImageName"},
                ),
            )
        except ValueError as error:
            problems.append(Problem(name=inside, reason=str(error)))


def _names(folder: str, split: str, kind: str) -> list[str]:
    also = {"valid": "validation"}.get(split, split)
    return [f"{folder}/{name}_{kind}.csv" for name in dict.fromkeys((also, split))]


def _rows(
    base: Path, files: Sequence[str], wanted: set[str], problems: list[Problem]
) -> dict[str, dict[str, str]]:
    """A table's rows by image; none where there is no such table."""
    file = next((name for name in files if (base / name).is_file()), None)
    if file is None:
        problems.append(Problem(name=files[0], reason="is missing; what it tells is unknown"))
        return {}
    table = read_table(base / file, name=file)
    table.require(["ImageName"])
    found: dict[str, Row] = {}
    for row in table:
        name = row.values.get("ImageName", "").strip()
        if name not in wanted:
            continue
        reason = row.problem
        if name in found and row.values != found[name].values:
            reason = f"differs from {found[name].place}; remove one"
        if reason:
            problems.append(Problem(name=name, place=row.place, reason=reason))
        else:
            found[name] = row
    return {name: row.values for name, row in found.items()}


class PublishedDRRs(Samples):
    """A view of the published data set to train on.

    Parameters
    ----------
    root, view, split
        As of `find_drr_rate`.
    labels
        Names of the labels wanted; all 18 by default.
    style, transform
        See `drr.datasets.loaders.samples.Samples`.

    Attributes
    ----------
    reports, problems
        Report of each sample; descriptions of what could not be used.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        view: str = "AP",
        split: str | None = None,
        labels: Sequence[str] | None = None,
        style: str = "plain",
        transform: Transform | None = None,
    ) -> None:
        samples, self.problems = find_drr_rate(root, view=view, split=split)
        self.root = Path(root)
        studies = [sample.study for sample in samples]
        codes = np.array([study.labels for study in studies], np.int8)
        names, chosen = chosen_labels(codes, list(CT_RATE_LABELS), labels, str(root))
        self.paths = [study.path for study in studies]
        self.reports = [study.report for study in studies]
        super().__init__(
            names=[study.sample for study in studies],
            patients=[study.patient for study in studies],
            sexes=[study.sex or "" for study in studies],
            ages=np.array([np.nan if s.age is None else s.age for s in studies], np.float32),
            splits=[study.split or "" for study in studies],
            pathologies=names,
            codes=chosen,
            view=view,
            style=style,
            transform=transform,
        )

    def image(self, epoch: int, index: int) -> NDArray[np.float32]:
        """`(1, rows, columns)` float32 from 0 to 1.

        Raises
        ------
        DatasetError
            For a PNG that cannot be read, with its path.
        """
        from PIL import Image

        path = self.root / self.paths[index]
        try:
            with Image.open(path) as opened:
                grey = np.asarray(opened.convert("L"), np.float32)
        except (OSError, ValueError, SyntaxError) as error:
            raise DatasetError(f"{path}: cannot be read ({error}); download it again") from None
        return (grey / np.float32(255))[None]

    def _keep(self, indices: NDArray[np.int64]) -> None:
        self.paths = [self.paths[i] for i in indices]
        self.reports = [self.reports[i] for i in indices]
