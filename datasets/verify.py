"""Whether a data set's file is sound: structure, ranges, digests, patients, images made again."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from drr.datasets.labels import CODES
from drr.datasets.part import Images, make
from drr.datasets.plan import Configuration
from drr.datasets.schema import (
    ATTRIBUTES,
    DATASETS,
    FORMAT,
    IMAGES,
    LATER,
    PIXELS,
    SCHEMA_VERSION,
    VIEW_DATASETS,
    Column,
    DatasetError,
    content_digest,
    dequantise,
    pixels_digest,
    walk,
)
from drr.datasets.splits import check_leakage
from drr.datasets.study import CohortError, Study
from drr.errors import DRRError

if TYPE_CHECKING:
    import h5py

__all__ = ["TOLERANCE", "Verdict", "verify"]

TOLERANCE = {"picture": 2.0, "line_integrals": 2e-3, "masks": 0.5}
"""What 99.9 % of the pixels may differ by where version, back-end or CPU are others: grey levels,
the largest line integral's share, mm."""

_SHOWN = 5
_DIGEST = re.compile(r"[0-9a-f]{64}")
_DAMAGED = (KeyError, OSError, ValueError, TypeError, RuntimeError, AttributeError)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was found.

    Parameters
    ----------
    problems
        One sentence each; none for a sound file.
    checked
        What was looked at, in words.
    """

    problems: tuple[str, ...]
    checked: tuple[str, ...]

    def __bool__(self) -> bool:
        return not self.problems


def verify(
    path: str | Path,
    *,
    source: str | Path | None = None,
    remake: int = 3,
    seed: int = 0,
    pixels: bool = True,
) -> Verdict:
    """Examine a file that `drr build` made.

    Parameters
    ----------
    path
        The file.
    source
        Folder that its paths are relative to: then images of some samples are made again.
    remake, seed
        How many samples, and which: drawn with this seed.
    pixels
        Compare every image with its digest.

    Raises
    ------
    DatasetError
        For a file that is none of ours, or of another version.
    """
    import h5py

    path = Path(path)
    problems: list[str] = []
    checked: list[str] = []

    def check(what: str, found: Callable[[], Iterator[str]]) -> bool:
        before = len(problems)
        try:
            for problem in found():
                problems.append(problem)
        except _DAMAGED as error:
            problems.append(f"{what}: the file is damaged ({type(error).__name__}: {error})")
        checked.append(what)
        return len(problems) == before

    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        raise DatasetError(
            f"{path}: is no HDF5 file, or is damaged ({error}); give one that 'drr build' made"
        ) from None
    with file:
        if file.attrs.get("format") != FORMAT:
            raise DatasetError(f"{path}: is not a data set that 'drr build' made")
        if (version := file.attrs.get("schema_version")) != SCHEMA_VERSION:
            raise DatasetError(
                f"{path}: has schema version {version}, this release reads {SCHEMA_VERSION}"
            )
        if check("structure", lambda: _structure(file)):
            check("ranges", lambda: _ranges(file))
            check("patients and splits", lambda: _patients(file))
            check("records and geometry", lambda: _records(file))
            if pixels:
                check("digests of images", lambda: _pixels(file))
            check("digest of content", lambda: _content(file))
            if source is not None:
                count = min(remake, len(file["samples/name"]))
                what = f"{count} sample{'' if count == 1 else 's'} made again"
                check(what, lambda: _remade(file, Path(source), count, seed))
    return Verdict(problems=tuple(problems), checked=tuple(checked))


def _structure(file: h5py.File) -> Iterator[str]:
    for name in ATTRIBUTES:
        if name not in file.attrs:
            yield f"the attribute {name!r} is missing"
    lengths = {"n": len(file["samples/name"])}
    views = tuple(file["views"])
    wanted = tuple(json.loads(file.attrs["configuration"])["view_names"])
    if lengths["n"] and set(views) != set(wanted):
        yield f"views are {', '.join(views)}, the configuration names {', '.join(wanted)}"
    expected = dict(DATASETS)
    for view in views:
        for name, column in VIEW_DATASETS.items():
            quantity = name.removesuffix("_sha256")
            # Quantities that were not stored have nothing.
            of = "line_integrals" if quantity in ("scale", "offset") else quantity
            if of not in PIXELS or of in file["views"][view]:
                expected[f"views/{view}/{name}"] = column
        if not any(name in file["views"][view] for name in IMAGES):
            yield f"views/{view}: has neither pictures nor line integrals"
    for name in expected:
        if not (name in LATER and name not in file) and not isinstance(file.get(name), _dataset()):
            yield f"{name}: is missing"
    for name, dataset in walk(file):
        if name.startswith("splits/"):
            continue
        if name not in expected:
            yield f"{name}: is not in the schema"
        else:
            yield from _shape(name, dataset, expected[name], lengths)


def _shape(name: str, dataset: Any, column: Column, lengths: dict[str, int]) -> Iterator[str]:
    text = dataset.dtype.kind == "O"
    kind = "text" if text else dataset.dtype.name
    floats = name.endswith("/line_integrals") and kind == "float32"
    if kind != column.dtype and not floats:
        yield f"{name}: holds {kind}, not {column.dtype}"
        return
    length = lengths.setdefault(column.length, len(dataset))
    if len(dataset) != length:
        yield f"{name}: has {len(dataset)} rows where others have {length}"
    quantity = name.rsplit("/", 1)[-1]
    dimensions = {"labels": 2, "picture": 3, "line_integrals": 3, "masks": 4}
    dimensions |= dict.fromkeys(("source", "direction", "detector_center", "u", "v"), 2)
    wanted = dimensions.get(quantity, 1) if "/" in name else 1
    if dataset.ndim != wanted:
        yield f"{name}: has {dataset.ndim} axes, not {wanted}"
    elif quantity in PIXELS and dataset.chunks != (*(1,) * (wanted - 2), *dataset.shape[-2:]):
        yield f"{name}: its chunks are {dataset.chunks}, not one image each"


def _ranges(file: h5py.File) -> Iterator[str]:
    samples = file["samples"]
    names = _texts(samples["name"])
    yield from _several(
        "samples/name", names, [n for n, c in Counter(names).items() if c > 1], "twice"
    )
    yield from _several("samples/name", names, [n for n in names if not n], "empty")
    failed = _texts(file["failures/name"])
    both = sorted(set(names) & set(failed))
    yield from _several("failures/name", failed, both, "samples that are there")
    labels = samples["labels"][...]
    if labels.shape[1] != len(file["label_names"]):
        yield f"samples/labels: {labels.shape[1]} columns for {len(file['label_names'])} names"
    codes = sorted(set(np.unique(labels).tolist()) - set(CODES))
    yield from _several("samples/labels", labels, codes, f"no codes; codes are {CODES}")
    age = samples["age"][...]
    odd = age[~np.isnan(age) & ~((age >= 0) & (age <= 130))].tolist()
    yield from _several("samples/age", age, odd, "not in years from 0 to 130")
    sexes = sorted(set(_texts(samples["sex"])) - {"M", "F", "O", ""})
    yield from _several("samples/sex", sexes, sexes, "none of M, F, O")
    for name in ("source_sha256", "voxels_sha256"):
        digests = _texts(samples[name])
        bad = [value for value in digests if not _DIGEST.fullmatch(value)]
        yield from _several(f"samples/{name}", digests, bad, "no digests")
    for view, group in file["views"].items():
        if "scale" in group:
            scale, offset = group["scale"][...], group["offset"][...]
            if not (np.isfinite(scale).all() and (scale > 0).all() and np.isfinite(offset).all()):
                yield f"views/{view}: scale or offset of line integrals is not a number above 0"


def _patients(file: h5py.File) -> Iterator[str]:
    patients = _texts(file["samples/patient"])
    splits = _texts(file["samples/split"])
    try:
        check_leakage(patients, splits)
    except CohortError as error:
        yield str(error)
    listed = dict(
        zip(_texts(file["patients/name"]), file["patients/samples"][...].tolist(), strict=True)
    )
    if listed != dict(Counter(patients)):
        yield "patients: their counts are not those of samples/patient"
    given = set(file["splits"]) if "splits" in file else set()
    for name in sorted(given | (set(splits) - {""})):
        members = [row for row, split in enumerate(splits) if split == name]
        if name not in given or file["splits"][name][...].tolist() != members:
            yield f"splits/{name}: does not list the samples that samples/split puts there"


def _records(file: h5py.File) -> Iterator[str]:
    names = _texts(file["samples/name"])
    for view, group in file["views"].items():
        vectors = {
            name: group[name][...] for name in ("source", "direction", "detector_center", "u", "v")
        }
        bad: list[str] = []
        for row, text in enumerate(_texts(group["record"])):
            geometry = json.loads(text)["geometry"]
            for name, values in vectors.items():
                stated = geometry.get(name)
                here = None if np.isnan(values[row]).all() else values[row].tolist()
                if here != (None if stated is None else list(stated)):
                    bad.append(names[row])
                    break
        yield from _several(
            f"views/{view}", names, bad, "samples whose vectors differ from their record"
        )


def _pixels(file: h5py.File) -> Iterator[str]:
    names = _texts(file["samples/name"])
    for view, group in file["views"].items():
        for quantity in PIXELS:
            if quantity not in group:
                continue
            digests = _texts(group[f"{quantity}_sha256"])
            bad = []
            for row, name in enumerate(names):
                try:
                    image = group[quantity][row]
                    if digests[row]:
                        same = pixels_digest(image) == digests[row]
                    else:
                        same = quantity == "masks" and not image.any()
                except OSError:
                    same = False
                if not same:
                    bad.append(name)
            yield from _several(
                f"views/{view}/{quantity}", names, bad, "images that are not as built"
            )


def _content(file: h5py.File) -> Iterator[str]:
    if content_digest(file) != file.attrs["content_sha256"]:
        yield "the content is not what was built: its digest differs from content_sha256"


def _remade(file: h5py.File, source: Path, count: int, seed: int) -> Iterator[str]:
    configuration = Configuration.from_dict(json.loads(file.attrs["configuration"]))
    names = _texts(file["samples/name"])
    rows = np.random.default_rng(seed).choice(len(names), count, replace=False)
    for row in sorted(rows.tolist()):
        study = _study(file, row)
        try:
            made = make(study, source, configuration)
        except DRRError as error:
            yield f"{names[row]}: cannot be made again: {error}"
            continue
        if made.source_sha256 != file["samples/source_sha256"].asstr()[row]:
            yield f"{names[row]}: {study.path} is no longer the file that it was made from"
            continue
        for view, images in made.views.items():
            group = file["views"][view]
            yield from (f"{names[row]}: {text}" for text in _differences(view, group, row, images))


def _differences(view: str, group: h5py.Group, row: int, images: Images) -> Iterator[str]:
    then = json.loads(group["record"].asstr()[row])["projection"]
    now = json.loads(images.record)["projection"]
    others = [key for key in ("drr", "backend", "cpu") if then[key] != now[key]]
    for name, array in images.pixels.items():
        stored = group[name][row]
        if np.array_equal(stored, array):
            continue
        if not others:
            yield f"the {name} of {view} made again is not the same"
            continue
        apart = _apart(name, group, row, stored, array, images)
        if apart > TOLERANCE[name]:
            yield (
                f"the {name} of {view} made again differs by {apart:.3g}, more than the "
                f"{TOLERANCE[name]:g} allowed for another {' and '.join(others)}"
            )


def _apart(
    name: str,
    group: h5py.Group,
    row: int,
    stored: NDArray[Any],
    array: NDArray[Any],
    images: Images,
) -> float:
    """What 99.9 % of the pixels differ by, in the units of `TOLERANCE`."""
    before, after = stored.astype(np.float64), array.astype(np.float64)
    if name == "line_integrals":
        before = dequantise(stored, group["scale"][row], group["offset"][row]).astype(np.float64)
        after = dequantise(array, images.scale, images.offset).astype(np.float64)
        scale = 1 / max(float(np.abs(before).max()), 1e-6)
    else:
        scale = 0.01 if name == "masks" else 1.0
    return float(np.quantile(np.abs(before - after), 0.999)) * scale


def _study(file: h5py.File, row: int) -> Study:
    def text(name: str) -> str:
        return str(file[f"samples/{name}"].asstr()[row])

    return Study(
        sample=text("name"),
        patient=text("patient"),
        path=text("path"),
        series=text("series") or None,
        reader=text("reader"),
        segmentation=text("segmentation") or None,
        metadata=json.loads(text("metadata")),
    )


def _several(place: str, among: Sequence[Any], bad: Sequence[Any], what: str) -> Iterator[str]:
    """One sentence for however many."""
    if len(bad):
        shown = ", ".join(str(value) for value in bad[:_SHOWN])
        more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        yield f"{place}: {what}: {shown}{more} (of {len(among)})"


def _texts(dataset: h5py.Dataset) -> list[str]:
    return [str(value) for value in dataset.asstr()[...]]


def _dataset() -> type:
    import h5py

    return h5py.Dataset
