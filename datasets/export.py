"""A data set's file as a folder of PNGs and CSVs, laid out as other tools expect.

`drr-rate` is the published layout of DRR-RATE, `chexpert` a CheXpert-style table, `torchxrayvision`
one table with that package's names, `png` pictures with one table of everything. Unknown labels
are left blank; nothing is imputed.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from drr.datasets.hdf5 import DAMAGED, open_dataset, reading
from drr.datasets.labels import (
    CHEXPERT_LABELS,
    CT_RATE_TO_CHEXPERT,
    CT_RATE_TO_TORCHXRAYVISION,
    UNKNOWN,
    remap,
)
from drr.datasets.names import folded
from drr.datasets.schema import DatasetError
from drr.datasets.sources.ctrate_tables import REPORT_COLUMNS
from drr.datasets.study import Study
from drr.errors import WriteError
from drr.files.atomic import place_folder, temporary_path
from drr.files.documents import parse_json
from drr.files.spreadsheet import csv_text
from drr.io.picture import encode_png
from drr.record import unlinked

if TYPE_CHECKING:
    import h5py

__all__ = ["LAYOUTS", "MARKER", "export"]

LAYOUTS = ("drr-rate", "chexpert", "torchxrayvision", "png")

MARKER = "export.json"
"""Tells what a folder is; only a folder that has it is ever replaced."""

# DRR-RATE calls its frontal view AP and its left lateral LATERAL.
_PUBLISHED = {"ap": "AP", "lateral": "LATERAL", "ll": "LATERAL"}
_LATERAL = ("lateral", "ll", "rl")


@dataclass(frozen=True, kw_only=True)
class _Sample:
    """One row of the file, ready to be written."""

    row: int
    study: Study
    codes: NDArray[np.int8]


def export(
    file: str | Path,
    out: str | Path,
    *,
    layout: str,
    views: Sequence[str] = (),
    split: str | None = None,
    unlinkable: bool = False,
    force: bool = False,
) -> int:
    """Write a folder, whole or not at all.

    Parameters
    ----------
    file
        HDF5 file of `drr build`, with pictures.
    out
        The folder.
    layout
        One of `LAYOUTS`.
    views
        Which; all by default. `pa=AP` also names its folder.
    split
        `train`, `valid`, ...; all by default.
    unlinkable
        Mix the CTs' digests in the images' records with a salt that is forgotten, so that whoever
        has the CTs cannot know them by it.
    force
        Replace a folder that an export made. Any other folder that is not empty stays.

    Returns
    -------
    How many images were written.

    Raises
    ------
    DatasetError
        For a layout, view or split that does not exist, a view without pictures, names that
        cannot be file names, and a damaged file.
    WriteError
        For a folder that exists or cannot be written.
    """
    if layout not in LAYOUTS:
        raise DatasetError(f"there is no layout {layout!r}; layouts are {', '.join(LAYOUTS)}")
    path, out = Path(file), Path(out)
    with open_dataset(path) as opened:
        with reading(path):
            chosen = _views(opened, views, path, published=layout == "drr-rate")
            labels = [str(name) for name in opened["label_names"].asstr()[...]]
            samples = _samples(opened, split, path)
        salt = secrets.token_bytes(32) if unlinkable else None
        _refuse(out, force=force)
        made = temporary_path(out.absolute().parent)
        try:
            made.mkdir()
            write = _WRITERS[layout]
            count = 0
            for target, row, view in write(made, opened, samples, chosen, labels):
                _save(made / target, _png(opened["views"][view], row, path, salt))
                count += 1
            _save(made / "README.md", _readme(opened, layout, chosen).encode())
            note = {"layout": layout, "data_set": opened.attrs.get("content_sha256", "")}
            _save(made / MARKER, (json.dumps(note, indent=1) + "\n").encode())
            place_folder(made, out)
        except OSError as error:
            raise WriteError(f"{out}: cannot be written: {error.strerror or error}") from None
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return count


Images = Iterator[tuple[str, int, str]]
"""Path of an image below the folder, its row and its view."""


def _drr_rate(
    folder: Path,
    file: h5py.File,
    samples: Sequence[_Sample],
    views: Mapping[str, str],
    labels: Sequence[str],
) -> Images:
    splits = dict.fromkeys(s.study.split or "all" for s in samples)
    for split in splits:
        some = [s for s in samples if (s.study.split or "all") == split]
        # The published names are not consistent: valid_predicted_labels, validation_reports.
        long = {"valid": "validation"}.get(split, split)
        columns = dict.fromkeys(key for s in some for key in s.study.metadata)
        columns = dict.fromkeys(["PatientSex", "PatientAge", *columns])
        _table(
            folder / f"metadata/{long}_metadata.csv",
            ["ImageName", *columns],
            ([_image(s), *(_metadata(s.study).get(c, "") for c in columns)] for s in some),
        )
        _table(
            folder / f"multi_abnormality_labels/{split}_predicted_labels.csv",
            ["ImageName", *labels],
            ([_image(s), *_blank(s.codes)] for s in some),
        )
        _table(
            folder / f"radiology_text_reports/{long}_reports.csv",
            ["ImageName", *REPORT_COLUMNS.values()],
            ([_image(s), *(getattr(s.study.report, p) for p in REPORT_COLUMNS)] for s in some),
        )
    for s in samples:
        for view, name in views.items():
            place = f"{s.study.split or 'all'}/{name}/{s.study.patient}/{s.study.scan}"
            yield f"{place}/{_image(s)}", s.row, view


def _chexpert(
    folder: Path,
    file: h5py.File,
    samples: Sequence[_Sample],
    views: Mapping[str, str],
    labels: Sequence[str],
) -> Images:
    mapping = {name: CT_RATE_TO_CHEXPERT.get(name, name) for name in labels}
    head = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEXPERT_LABELS]
    for split in dict.fromkeys(s.study.split or "all" for s in samples):
        rows = []
        for s in samples:
            if (s.study.split or "all") != split:
                continue
            codes = _remapped(s.codes, labels, CHEXPERT_LABELS, mapping)
            sex = {"F": "Female", "M": "Male"}.get(s.study.sex or "", "Unknown")
            age = "" if s.study.age is None else str(int(s.study.age))
            for view, name in views.items():
                lateral = view.lower().startswith(_LATERAL)
                side = view.upper() if view.lower() in ("pa", "ap") else ""
                kind = "Lateral" if lateral else "Frontal"
                target = f"{split}/{s.study.patient}/{s.study.scan}/{_stem(s)}_{name}.png"
                rows.append([target, sex, age, kind, side, *_blank(codes)])
                yield target, s.row, view
        _table(folder / f"{split}.csv", head, rows)


def _torchxrayvision(
    folder: Path,
    file: h5py.File,
    samples: Sequence[_Sample],
    views: Mapping[str, str],
    labels: Sequence[str],
) -> Images:
    mapping = {name: CT_RATE_TO_TORCHXRAYVISION.get(name, name) for name in labels}
    targets = list(dict.fromkeys(mapping.values()))
    rows = []
    for s in samples:
        codes = _remapped(s.codes, labels, targets, mapping)
        age = "" if s.study.age is None else f"{s.study.age:g}"
        sexes = ["" if s.study.sex is None else str(int(s.study.sex == x)) for x in "MF"]
        for view, name in views.items():
            target = f"images/{name}/{_image(s)}"
            shown = "L" if view.lower().startswith(_LATERAL) else view.upper()
            rows.append(
                [target, s.study.patient, shown, age, *sexes, s.study.split or "", *_blank(codes)]
            )
            yield target, s.row, view
    head = ["path", "patientid", "view", "age_years", "sex_male", "sex_female", "split", *targets]
    _table(folder / "labels.csv", head, rows)


def _everything(
    folder: Path,
    file: h5py.File,
    samples: Sequence[_Sample],
    views: Mapping[str, str],
    labels: Sequence[str],
) -> Images:
    head = ["name", "patient", "scan", "split", "sex", "age", *REPORT_COLUMNS, *labels]
    rows = []
    for s in samples:
        study = s.study
        age = "" if study.age is None else f"{study.age:g}"
        known = [_stem(s), study.patient, study.scan, study.split or "", study.sex or "", age]
        parts = [getattr(study.report, part) for part in REPORT_COLUMNS]
        rows.append([*known, *parts, *_blank(s.codes)])
        for view, name in views.items():
            yield f"{name}/{_image(s)}", s.row, view
    _table(folder / "samples.csv", head, rows)


_WRITERS: Mapping[str, Callable[..., Images]] = {
    "drr-rate": _drr_rate,
    "chexpert": _chexpert,
    "torchxrayvision": _torchxrayvision,
    "png": _everything,
}


def _stem(sample: _Sample) -> str:
    return sample.study.sample


def _image(sample: _Sample) -> str:
    return f"{sample.study.sample}.png"


def _metadata(study: Study) -> dict[str, str]:
    age = "" if study.age is None else f"{int(study.age):03d}Y"
    return {"PatientSex": study.sex or "", "PatientAge": age} | dict(study.metadata)


def _blank(codes: Iterable[int]) -> list[str]:
    return ["" if code == UNKNOWN else str(int(code)) for code in codes]


def _remapped(
    codes: NDArray[np.int8],
    labels: Sequence[str],
    targets: Sequence[str],
    mapping: Mapping[str, str],
) -> NDArray[np.int8]:
    try:
        return remap(codes, labels, targets, mapping=mapping)
    except ValueError as error:
        raise DatasetError(f"labels cannot be renamed: {error}; rename one") from None


def _views(
    file: h5py.File, wanted: Sequence[str], path: Path, *, published: bool
) -> dict[str, str]:
    """Each view and the name of its folder."""
    known = sorted(file["views"])
    pairs = [text.partition("=") for text in (wanted or known)]
    result: dict[str, str] = {}
    for view, equals, name in pairs:
        if view not in known:
            raise DatasetError(f"{path}: there is no view {view!r}; it has {', '.join(known)}")
        if "picture" not in file["views"][view]:
            raise DatasetError(f"{path}: the view {view!r} has no pictures; build it with them")
        default = _PUBLISHED.get(view.lower(), view.upper()) if published else view
        result[view] = name if equals else default
    # A name is a folder: what holds for names of samples holds here.
    for name in result.values():
        Study(sample=name, patient="view", path="view")
    if len({folded(name) for name in result.values()}) < len(result):
        raise DatasetError(f"two views would share a folder: {result}; name one with VIEW=NAME")
    return result


def _samples(file: h5py.File, split: str | None, path: Path) -> list[_Sample]:
    from drr.datasets.study import Report

    group = file["samples"]
    columns = {
        name: group[name].asstr()[...]
        for name in ("name", "patient", "scan", "split", "sex", "metadata")
    }
    reports = {part: file[f"reports/{part}"].asstr()[...] for part in REPORT_COLUMNS}
    ages, codes = group["age"][...], group["labels"][...]
    result, seen = [], set()
    for row in range(len(ages)):
        text = {name: str(values[row]) for name, values in columns.items()}
        if split is not None and text["split"] != split:
            continue
        # Checks that every name may be part of a path.
        study = Study(
            sample=text["name"],
            patient=text["patient"],
            scan=text["scan"],
            split=text["split"] or None,
            path="ct",
            sex=text["sex"] or None,
            age=None if np.isnan(ages[row]) else float(ages[row]),
            report=Report(**{part: str(values[row]) for part, values in reports.items()}),
            metadata=parse_json(text["metadata"]),
        )
        if study.split is not None:
            Study(sample=study.split, patient="split", path="split")
        if folded(study.sample) in seen:
            raise DatasetError(f"{path}: has two samples named {study.sample!r}")
        seen.add(folded(study.sample))
        result.append(_Sample(row=row, study=study, codes=codes[row]))
    if not result:
        have = ", ".join(sorted(set(map(str, columns["split"])) - {""})) or "none"
        raise DatasetError(f"{path}: no sample is left; its splits: {have}")
    return result


def _png(view: h5py.Group, row: int, path: Path, salt: bytes | None) -> bytes:
    try:
        picture = view["picture"][row]
        pitch = [float(np.linalg.norm(view[step][row])) for step in ("u", "v")]
        record = str(view["record"].asstr()[row])
        if salt is not None:
            stated = parse_json(record)
            stated["projection"] = unlinked(stated["projection"], salt)
            record = json.dumps(stated, sort_keys=True)
    except DAMAGED as error:
        raise DatasetError(
            f"{path}: image {row} of {view.name} cannot be read ({error}); 'drr verify' tells "
            "what is damaged"
        ) from None
    return encode_png(picture, pixel_pitch=(pitch[0], pitch[1]), record=record)


def _table(path: Path, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    _save(path, csv_text(head, rows).encode())


def _save(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(content)


def _readme(file: h5py.File, layout: str, views: Mapping[str, str]) -> str:
    attrs = file.attrs
    named = ", ".join(f"`{name}` is the view `{view}`" for view, name in views.items())
    return (
        f"Exported from a file of `drr build` as `{layout}`: {named}.\n\n"
        "Synthetic radiographs; not for diagnosis. Labels are 1, 0, -1 (uncertain) and blank "
        "(unknown).\n\n"
        f"Licence: {attrs.get('licence') or 'not stated'}\n\n{attrs.get('attribution', '')}\n"
    )


def _refuse(out: Path, *, force: bool) -> None:
    if not out.absolute().parent.is_dir():
        raise WriteError(f"{out}: the folder {out.parent} does not exist; create it first")
    if not os.path.lexists(out):
        return
    if out.is_symlink() or not out.is_dir():
        raise WriteError(f"{out}: exists and is not a folder; choose another name")
    if not any(out.iterdir()):
        return
    if not force:
        raise WriteError(
            f"{out}: exists already; choose another name, or pass force=True (--force) to replace "
            "an earlier export"
        )
    if not (out / MARKER).is_file():
        raise WriteError(
            f"{out}: is not an export (it has no {MARKER}) and is never replaced; choose another "
            "name"
        )
