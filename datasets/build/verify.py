"""Whether a data set's file is sound: structure, ranges, digests, patients, images made again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from drr.datasets.build.part import Images, make
from drr.datasets.build.plan import Configuration
from drr.datasets.hdf5 import DAMAGED, look, open_again
from drr.datasets.labels import CODES
from drr.datasets.privacy.pseudonyms import key_beside, open_key, read_places
from drr.datasets.schema import PIXELS, content_digest, dequantise, pixels_digest
from drr.datasets.splits import check_leakage
from drr.datasets.study import CohortError, Study
from drr.errors import DRRError, printable
from drr.files.documents import parse_json
from drr.record import salted

if TYPE_CHECKING:
    import h5py

__all__ = ["TOLERANCE", "Verdict", "verify"]

TOLERANCE = {"picture": 2.0, "line_integrals": 2e-3, "masks": 0.5}
"""What 99.9 % of the pixels may differ by where version, back-end or CPU are others: grey levels,
the largest line integral's share, mm."""

_SHOWN = 5
_DIGEST = re.compile(r"[0-9a-f]{64}")


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
    key: str | Path | None = None,
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
    key
        File that tells whose the pseudonyms are, for `source`; `PATH.key.csv` by default.

    Raises
    ------
    DatasetError
        For a file that is none of ours, of another version, or that libhdf5 does not get through.
    """
    path = Path(path)
    problems = [printable(problem) for problem in look(path, complete=True)]
    checked = ["structure"]

    def check(what: str, found: Callable[[], Iterator[str]]) -> None:
        try:
            problems.extend(printable(problem) for problem in found())
        except (DRRError, *DAMAGED) as error:
            text = printable(error, most=200)
            problems.append(f"{what}: the file is damaged ({type(error).__name__}: {text})")
        checked.append(what)

    if not problems:
        with open_again(path) as file:
            check("ranges", lambda: _ranges(file))
            check("patients and splits", lambda: _patients(file))
            check("records and geometry", lambda: _records(file))
            if pixels:
                check("digests of images", lambda: _pixels(file))
            check("digest of content", lambda: _content(file))
            if source is not None:
                count = min(remake, len(file["samples/name"]))
                what = f"{count} sample{'' if count == 1 else 's'} made again"
                place = key_beside(path) if key is None else Path(key)
                check(what, lambda: _remade(file, Path(source), count, seed, place))
    return Verdict(problems=tuple(problems), checked=tuple(checked))


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
            geometry = parse_json(text)["geometry"]
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
                except DAMAGED:
                    same = False
                if not same:
                    bad.append(name)
            yield from _several(
                f"views/{view}/{quantity}", names, bad, "images that are not as built"
            )


def _content(file: h5py.File) -> Iterator[str]:
    if content_digest(file) != file.attrs["content_sha256"]:
        yield "the content is not what was built: its digest differs from content_sha256"


def _remade(file: h5py.File, source: Path, count: int, seed: int, key: Path) -> Iterator[str]:
    configuration = Configuration.from_dict(parse_json(file.attrs["configuration"]))
    places, salt = read_places(key), None
    if configuration.unlinkable:
        if not key.exists():
            yield f"{key}: is missing, and without it digests of CTs cannot be compared"
            return
        salt = open_key(key).salt
    names = _texts(file["samples/name"])
    rows = np.random.default_rng(seed).choice(len(names), count, replace=False)
    for row in sorted(rows.tolist()):
        study = _study(file, row)
        study = replace(study, place=places.get(study.sample))
        try:
            made = make(study, source, configuration)
        except DRRError as error:
            lost = "" if places or study.path != study.sample else f"; is its key {key} there?"
            yield f"{names[row]}: cannot be made again: {error}{lost}"
            continue
        found = made.source_sha256
        if salt is not None:
            found = salted(found, salt)
        if found != file["samples/source_sha256"].asstr()[row]:
            yield f"{names[row]}: {study.file('')} is no longer the file that it was made from"
            continue
        for view, images in made.views.items():
            group = file["views"][view]
            yield from (f"{names[row]}: {text}" for text in _differences(view, group, row, images))


def _differences(view: str, group: h5py.Group, row: int, images: Images) -> Iterator[str]:
    then = parse_json(group["record"].asstr()[row])["projection"]
    now = parse_json(images.record)["projection"]
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
        metadata=parse_json(text("metadata")),
    )


def _several(place: str, among: Sequence[Any], bad: Sequence[Any], what: str) -> Iterator[str]:
    """One sentence for however many."""
    if len(bad):
        shown = ", ".join(str(value) for value in bad[:_SHOWN])
        more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        yield f"{place}: {what}: {shown}{more} (of {len(among)})"


def _texts(dataset: h5py.Dataset) -> list[str]:
    return [str(value) for value in dataset.asstr()[...]]
