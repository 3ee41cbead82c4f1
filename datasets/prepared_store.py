"""Prepared scans on disk, mapped into memory by whoever projects them.

A folder:

=======================  =========================================================================
`store.json`             format, version, options, label names, volumes in order, failures;
                         written last: a store without it is unfinished
`<sample>/entry.json`    what is known of one scan, digests of its files
`<sample>/hu.npy`        `(nz, ny, nx)` int16 HU, couch and padding removed, cropped to the body
`<sample>/anatomy.npz`   coarse masks of body and lungs, for placing views
`<sample>/mask.npy`      labels on a grid of their own, where the scan has a segmentation
=======================  =========================================================================

Workers on one machine share the pages of `hu.npy`: a scan is in memory once. Making a store can be
interrupted; scans that are there are kept as long as they and the options are the same.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import drr
from drr.datasets.coarser import resampled, thinned
from drr.datasets.labels import UNKNOWN
from drr.datasets.prepared_files import (
    INDEX,
    STORE_FORMAT,
    STORE_VERSION,
    Entry,
    anatomy_bytes,
    array_bytes,
    file_digest,
    mapped_voxels,
    read_anatomy,
    read_index,
)
from drr.datasets.schema import DatasetError
from drr.datasets.study import Cohort, Study, read_volume
from drr.errors import DRRError, WriteError
from drr.extension import Extension
from drr.io.atomic import write_files
from drr.masks import check_mask
from drr.preparation import Prepared, prepare
from drr.sharing import kept_property
from drr.volume import Volume

__all__ = ["PreparedStore", "prepare_store"]

Read = Callable[[Study], tuple[Volume, Volume | None]]

# Open maps; each costs a few kilobytes and the pages that are in use.
_KEEP = 16


class PreparedStore:
    """Prepared scans in a folder.

    Parameters
    ----------
    folder
        Made by `prepare_store` (`drr prepare`).

    Raises
    ------
    DatasetError
        For a folder that is no store, is unfinished, is of another version, or lacks files.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        index = read_index(self.folder)
        self.options: dict[str, Any] = index["options"]
        self.label_names: tuple[str, ...] = tuple(index["label_names"])
        self.failures: dict[str, str] = dict(index["failures"])
        self.entries = tuple(Entry.from_dict(values) for values in index["volumes"])
        if not self.entries:
            raise DatasetError(f"{self.folder}: the store holds no scan; prepare some")
        for entry in self.entries:
            for name, (size, _) in entry.files.items():
                path = self.folder / entry.sample / name
                found = path.stat().st_size if path.is_file() else None
                if found != size:
                    raise DatasetError(
                        f"{path}: {'is missing' if found is None else f'has {found} bytes'}, "
                        f"expected {size}; delete {path.parent} and run 'drr prepare' again"
                    )
        self._open: OrderedDict[int, tuple[Prepared, Volume | None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self.entries)

    def __repr__(self) -> str:
        return f"<PreparedStore {self.folder.name}: {len(self)} scans, {self.bytes / 1e6:.0f} MB>"

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": OrderedDict()}

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(size for entry in self.entries for size, _ in entry.files.values())

    @kept_property
    def codes(self) -> NDArray[np.int8]:
        """`(scans, labels)` int8 codes of `drr.datasets.labels`."""
        rows = [entry.labels for entry in self.entries]
        return np.array(rows, np.int8).reshape(len(self), len(self.label_names))

    def load(self, index: int) -> tuple[Prepared, Volume | None]:
        """A scan and its segmentation, as `drr.project` takes them; voxels stay on disk until used.

        `Prepared.source` is the prepared volume, too: the scan as it was read is not kept.
        """
        if index in self._open:
            self._open.move_to_end(index)
            return self._open[index]
        entry = self.entries[index]
        folder = self.folder / entry.sample
        volume = Volume(
            hu=mapped_voxels(folder / "hu.npy"),
            affine=np.array(entry.affine),
            name=entry.sample,
            notes=tuple(entry.notes),
        )
        extension = None if entry.extension is None else Extension.from_dict(entry.extension)
        prepared = Prepared(
            volume, volume, read_anatomy(folder), entry.cleaned, extension, entry.sha256
        )
        mask = None
        if entry.mask_affine is not None:
            mask = Volume(
                hu=mapped_voxels(folder / "mask.npy"),
                affine=np.array(entry.mask_affine),
                name=f"{entry.sample}'s segmentation",
            )
        self._open[index] = prepared, mask
        while len(self._open) > _KEEP:
            self._open.popitem(last=False)
        return prepared, mask

    def verify(self, advance: Callable[[int], object] = lambda _: None) -> None:
        """Compare every file with its digest.

        Raises
        ------
        DatasetError
            For the first that differs.
        """
        for entry in self.entries:
            for name, (_, digest) in entry.files.items():
                path = self.folder / entry.sample / name
                if file_digest(path) != digest:
                    raise DatasetError(
                        f"{path}: its bytes have changed since it was written; delete "
                        f"{path.parent} and run 'drr prepare' again"
                    )
            advance(1)


def prepare_store(
    cohort: Cohort,
    folder: str | Path,
    *,
    spacing: float | None = None,
    clean: bool = True,
    beyond: bool = True,
    read: Read | None = None,
    threads: int | None = None,
    advance: Callable[[int], object] = lambda _: None,
) -> PreparedStore:
    """Prepare every scan of a cohort into a folder; a bad scan is recorded and left out.

    Parameters
    ----------
    cohort
        The studies. Their order is that of the store.
    folder
        New, or a store that is continued: scans that are there are kept where they were made from
        the same study with the same options.
    spacing
        mm: voxels are averaged in whole blocks up to about this size. As they are by default.
        Views of 224 pixels see little below 1.5 mm.
    clean, beyond
        As `drr.preparation.prepare` takes them.
    read
        Gives a study's scan and its segmentation (or None); by default they are read from files.
    threads
        CPU threads; all available ones by default.
    advance
        Called with 1 after every scan.

    Raises
    ------
    DatasetError
        When no scan can be prepared, or the folder holds something else.
    WriteError
        When files cannot be written.
    """
    if spacing is not None and not 0 < spacing < math.inf:
        raise DatasetError(f"spacing is mm above zero, got {spacing!r}")
    folder = Path(folder)
    options = {"spacing": spacing, "clean": bool(clean), "beyond": bool(beyond)}
    _make_folder(folder)
    entries: list[Entry] = []
    failures: dict[str, str] = {}
    for study in cohort.studies:
        key = _key(study, options)
        entry = _finished(folder / study.sample, key)
        if entry is None:
            try:
                volume, mask = read(study) if read else _read(study, cohort.root)
                ready = prepare(volume, clean=clean, beyond=beyond, threads=threads)
                if mask is not None:
                    check_mask(mask, volume)
            except WriteError:
                raise
            except (DRRError, MemoryError) as error:
                failures[study.sample] = str(error) or "not enough memory"
                advance(1)
                continue
            entry = _write_scan(folder, study, key, ready, mask, spacing, len(cohort.label_names))
        entries.append(entry)
        advance(1)
    if not entries:
        first = next(iter(failures.values()), "the cohort is empty")
        raise DatasetError(f"{folder}: none of {len(cohort)} scans could be prepared: {first}")
    index = {
        "format": STORE_FORMAT,
        "version": STORE_VERSION,
        "drr": drr.__version__,
        "options": options,
        "label_names": list(cohort.label_names),
        "licence": cohort.licence,
        "attribution": cohort.attribution,
        "volumes": [entry.to_dict() for entry in entries],
        "failures": failures,
    }
    write_files({folder / INDEX: (json.dumps(index, indent=1) + "\n").encode()}, force=True)
    return PreparedStore(folder)


def _read(study: Study, root: Path) -> tuple[Volume, Volume | None]:
    volume = read_volume(study, root)
    if study.segmentation is None:
        return volume, None
    from drr.io.read import read

    return volume, read(root / study.segmentation)


def _write_scan(
    folder: Path,
    study: Study,
    key: str,
    ready: Prepared,
    mask: Volume | None,
    spacing: float | None,
    label_count: int,
) -> Entry:
    """Write a scan's folder under a temporary name; it takes its own when it is whole."""
    volume = resampled(ready.volume, spacing)
    small = None if mask is None else thinned(mask, spacing)
    contents = {"hu.npy": array_bytes(volume.hu), "anatomy.npz": anatomy_bytes(ready.anatomy)}
    if small is not None:
        contents["mask.npy"] = array_bytes(small.hu)
    x, y, z = volume.spacing.tolist()
    note = "" if spacing is None else f"voxels averaged to {x:.3g} x {y:.3g} x {z:.3g} mm"
    entry = Entry(
        sample=study.sample,
        patient=study.patient,
        split=study.split,
        sex=study.sex,
        age=study.age,
        labels=study.labels or (UNKNOWN,) * label_count,
        key=key,
        sha256=ready.sha256,
        shape=volume.shape,
        spacing=(x, y, z),
        affine=tuple(tuple(row) for row in volume.affine.tolist()),
        cleaned=ready.cleaned,
        extension=None if ready.extension is None else ready.extension.to_dict(),
        mask_affine=None if small is None else tuple(tuple(row) for row in small.affine.tolist()),
        files={name: (len(c), hashlib.sha256(c).hexdigest()) for name, c in contents.items()},
        notes=(*ready.notes, note) if note else ready.notes,
    )
    contents["entry.json"] = (json.dumps(entry.to_dict(), indent=1) + "\n").encode()
    part, final = folder / f".{study.sample}.part", folder / study.sample
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        write_files({part / name: content for name, content in contents.items()})
        shutil.rmtree(final, ignore_errors=True)
        os.replace(part, final)
    except OSError as error:
        raise WriteError(
            f"{final}: cannot be written: {error.strerror or error}; choose another folder"
        ) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return entry


def _finished(folder: Path, key: str) -> Entry | None:
    """The entry of a scan that is there and was made from the same."""
    try:
        entry = Entry.from_dict(json.loads((folder / "entry.json").read_text("utf-8")))
        sizes = {name: (folder / name).stat().st_size for name in entry.files}
    except (OSError, ValueError, TypeError, DRRError):
        return None
    whole = all(sizes[name] == size for name, (size, _) in entry.files.items())
    return entry if whole and entry.key == key else None


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        index = folder / INDEX
        if index.is_file():
            read_index(folder)
            index.unlink()  # unfinished from here on
        elif any(not (p.is_dir() and _ours(p)) for p in folder.iterdir()):
            raise DatasetError(
                f"{folder}: is not empty and no store; choose a new folder for prepared scans"
            )
    except OSError as error:
        raise WriteError(
            f"{folder}: cannot be written: {error.strerror or error}; choose another folder"
        ) from None


def _ours(path: Path) -> bool:
    return path.name.endswith(".part") or (path / "entry.json").is_file()


def _key(study: Study, options: Mapping[str, Any]) -> str:
    made_from = {
        "version": STORE_VERSION,
        "drr": drr.__version__,
        "study": study.to_dict(),
        "options": dict(options),
    }
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()
