"""Prepared scans on disk, mapped into memory by whoever projects them.

A folder:

=======================  =========================================================================
`store.json`             format, version, options, label names, volumes in order, failures;
                         written last: a store without it is unfinished
`<sample>/entry.json`    what is known of one scan, digests of its files
`<sample>/hu.npy`        `(nz, ny, nx)` int16 HU, couch and padding removed, cropped to the body
`<sample>/anatomy.npz`   coarse masks of body and lungs, for placing views
`<sample>/mask.npy`      labels on a grid of their own, where the scan has a segmentation
`<sample>/source.json`   fingerprint and digests of the files that the scan was made from
=======================  =========================================================================

Workers on one machine share the pages of `hu.npy`: a scan is in memory once. Making a store can be
interrupted; scans that are there are kept as long as their files and the options are the same. A
store that is complete stays so until a scan in it is replaced.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import drr
from drr.datasets.labels import UNKNOWN
from drr.datasets.loaders.resample import resampled, thinned
from drr.datasets.loaders.store_files import (
    INDEX,
    STORE_FORMAT,
    STORE_VERSION,
    Entry,
    anatomy_bytes,
    array_bytes,
    mapped_voxels,
    read_anatomy,
    read_index,
)
from drr.datasets.privacy.pseudonyms import Key, hides_names, key_beside, open_key, pseudonymised
from drr.datasets.privacy.public_text import message_of, public_text
from drr.datasets.schema import DatasetError
from drr.datasets.sources.source_files import file_digest, fingerprint, stamp, study_digests
from drr.datasets.study import Cohort, Study, read_volume
from drr.errors import DRRError, VolumeError, WriteError, printable
from drr.files.atomic import place_folder, remove_remains, temporary_path, write_files
from drr.files.documents import read_json
from drr.files.lock import locked
from drr.patient.extension import Extension
from drr.patient.plausible import Accept, check_accept
from drr.patient.prepare import Prepared, prepare
from drr.sharing import kept_property
from drr.thickness import check_mask
from drr.volume import Volume

__all__ = ["PreparedStore", "prepare_store"]

Read = Callable[[Study], tuple[Volume, Volume | None]]

FINEST_MM, COARSEST_MM = 0.05, 50.0
"""Of voxels after averaging: finer ones no CT has, and coarser ones show no chest."""

# Open maps; each costs a few kilobytes and the pages that are in use.
_KEEP = 16

SOURCE = "source.json"
_LOCK = "lock"


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
        self.entries = tuple(self._entry(i, values) for i, values in enumerate(index["volumes"]))
        if len({entry.sample for entry in self.entries}) < len(self.entries):
            raise DatasetError(f"{self.folder}: the store names a scan twice; prepare them again")
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

    def _entry(self, place: int, values: Any) -> Entry:
        try:
            entry = Entry.from_dict(values)
            if len(entry.labels) != len(self.label_names):
                raise DatasetError(f"{len(entry.labels)} labels for {len(self.label_names)} names")
        except DatasetError as error:
            raise DatasetError(
                f"{self.folder / INDEX}: scan {place + 1}: {error}; run 'drr prepare' again"
            ) from None
        return entry

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
        try:
            loaded = self._load(entry, folder)
        except VolumeError as error:
            raise DatasetError(f"{folder}: {error}; run 'drr prepare' again") from None
        self._open[index] = loaded
        while len(self._open) > _KEEP:
            self._open.popitem(last=False)
        return loaded

    def _load(self, entry: Entry, folder: Path) -> tuple[Prepared, Volume | None]:
        voxels = mapped_voxels(folder / "hu.npy")
        if voxels.shape != entry.shape:
            raise VolumeError(f"hu.npy has the shape {voxels.shape}, its entry {entry.shape}")
        volume = Volume(
            hu=voxels,
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
    accept: Accept = (),
    read: Read | None = None,
    threads: int | None = None,
    key: str | Path | None = None,
    advance: Callable[[int], object] = lambda _: None,
) -> PreparedStore:
    """Prepare every scan of a cohort into a folder; a bad scan is recorded and left out.

    Parameters
    ----------
    cohort
        The studies. Their order is that of the store.
    folder
        New, or a store that is continued: scans that are there are kept where they were made from
        the same study and files with the same options. Those that failed are tried again.
    spacing
        mm: voxels are averaged in whole blocks up to about this size. As they are by default.
        Views of 224 pixels see little below 1.5 mm.
    clean, beyond, accept
        As `drr.patient.prepare.prepare` takes them.
    read
        Gives a study's scan and its segmentation (or None); by default they are read from files.
    threads
        CPU threads; all available ones by default.
    key
        File with the key of pseudonyms, for a cohort that hides names; `FOLDER.key.csv` by default
        (`drr.datasets.privacy.pseudonyms`).
    advance
        Called with 1 after every scan.

    Raises
    ------
    DatasetError
        When no scan can be prepared, or the folder holds something else.
    WriteError
        When files cannot be written, or another process prepares into the folder.
    """
    if spacing is not None and not FINEST_MM <= spacing <= COARSEST_MM:
        raise DatasetError(
            f"spacing is mm above zero, from {FINEST_MM:g} to {COARSEST_MM:g}, got {spacing!r}"
        )
    folder = Path(folder)
    accepted = check_accept(accept)
    options = {
        "spacing": spacing,
        "clean": bool(clean),
        "beyond": bool(beyond),
        "accept": list(accepted),
    }
    secret = _secret(cohort, folder, key)
    if secret is not None:
        cohort = pseudonymised(cohort, secret)
    with _locked(folder):
        if secret is not None:
            secret.save()
        index = _prepare_all(cohort, folder, options, read, threads, advance)
        write_files({folder / INDEX: (json.dumps(index, indent=1) + "\n").encode()}, force=True)
    return PreparedStore(folder)


def _prepare_all(
    cohort: Cohort,
    folder: Path,
    options: Mapping[str, Any],
    read: Read | None,
    threads: int | None,
    advance: Callable[[int], object],
) -> dict[str, Any]:
    """Prepare what is not there; the store's index."""
    entries: list[Entry] = []
    failures: dict[str, str] = {}
    for study in cohort.studies:
        key = _key(study, options)
        origin = None if read else Origin(study, cohort.root, key)
        entry = _finished(folder / study.sample, key, origin)
        if entry is None:
            try:
                known = None if origin is None else origin.note()
                volume, mask = read(study) if read else _read(study, cohort.root)
                ready = prepare(
                    volume,
                    clean=options["clean"],
                    beyond=options["beyond"],
                    accept=options["accept"],
                    threads=threads,
                )
                if mask is not None:
                    check_mask(mask, volume)
                if origin is not None:
                    origin.check_unchanged()
            except WriteError:
                raise
            except (DRRError, MemoryError) as error:
                reason = message_of(error) or "not enough memory"
                failures[study.sample] = printable(public_text(reason, study, cohort.root))
                advance(1)
                continue
            # Unfinished from here on: what the index says of this scan may no longer be so.
            (folder / INDEX).unlink(missing_ok=True)
            notes = tuple(public_text(note, study, cohort.root) for note in ready.notes)
            labels = len(cohort.label_names)
            entry = _write_scan(folder, study, key, ready, notes, mask, options["spacing"], labels)
            if known is not None:
                write_files({folder / study.sample / SOURCE: known}, force=True)
        entries.append(entry)
        advance(1)
    if not entries:
        first = next(iter(failures.values()), "the cohort is empty")
        raise DatasetError(f"{folder}: none of {len(cohort)} scans could be prepared: {first}")
    return {
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


def _secret(cohort: Cohort, folder: Path, key: str | Path | None) -> Key | None:
    """The key of a cohort's pseudonyms, or None where it hides no names."""
    if not hides_names(cohort):
        return None
    secret = open_key(key_beside(folder) if key is None else key)
    if secret.is_new and any(folder.glob("*/entry.json")):
        raise DatasetError(
            f"{secret.path}: is missing, so that pseudonyms would be others than those of the "
            f"scans in {folder}; put it back, give it with --key, or choose a new folder"
        )
    return secret


def _read(study: Study, root: Path) -> tuple[Volume, Volume | None]:
    volume = read_volume(study, root)
    segmentation = study.segmentation_file(root)
    if segmentation is None:
        return volume, None
    from drr.io.read import read

    return volume, read(segmentation)


def _write_scan(
    folder: Path,
    study: Study,
    key: str,
    ready: Prepared,
    notes: tuple[str, ...],
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
        notes=(*notes, note) if note else notes,
    )
    contents["entry.json"] = (json.dumps(entry.to_dict(), indent=1) + "\n").encode()
    part, final = temporary_path(folder), folder / study.sample
    try:
        part.mkdir()
        write_files({part / name: content for name, content in contents.items()})
        place_folder(part, final)
    except OSError as error:
        raise WriteError(
            f"{final}: cannot be written: {error.strerror or error}; choose another folder"
        ) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return entry


def _finished(folder: Path, key: str, origin: Origin | None) -> Entry | None:
    """The entry of a scan that is there and was made from the same."""
    try:
        entry = Entry.from_dict(read_json(folder / "entry.json"))
        sizes = {name: (folder / name).stat().st_size for name in entry.files}
    except (OSError, ValueError, TypeError, DRRError):
        return None
    whole = all(sizes[name] == size for name, (size, _) in entry.files.items())
    if not whole or entry.key != key:
        return None
    return entry if origin is None or origin.is_as_noted(folder / SOURCE) else None


class Origin:
    """The files that a study's scan is made from, and whether they are those it was made from."""

    def __init__(self, study: Study, root: Path, key: str) -> None:
        self._study, self._root = study, root
        self._stamp = stamp(key, study, root)
        self._state = ""

    def note(self) -> bytes:
        """What to know of them next time; `DatasetError` where they cannot be read."""
        self._state = fingerprint(self._study, self._root)
        found = {"stamp": self._stamp, **study_digests(self._study, self._root)._asdict()}
        return (json.dumps(found, indent=1) + "\n").encode()

    def check_unchanged(self) -> None:
        """Raise `DatasetError` where they have changed since `note`."""
        if fingerprint(self._study, self._root) != self._state:
            raise DatasetError(
                f"{self._study.path}: changed while it was read; prepare again when nothing writes "
                "to it"
            )

    def is_as_noted(self, path: Path) -> bool:
        """Whether they are what a file says; by their content where they were but touched."""
        try:
            before = read_json(path)
            if before["stamp"] == self._stamp:
                return True
            now = self.note()
            if any(
                before[name] != value for name, value in json.loads(now).items() if name != "stamp"
            ):
                return False
            self.check_unchanged()
        except (OSError, ValueError, TypeError, KeyError, DRRError):
            return False
        write_files({path: now}, force=True)
        return True


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The folder, for this process alone; one that was made for nothing goes again."""
    made = not folder.exists()
    _make_folder(folder)
    busy = "another process prepares scans into this folder; wait for it, or choose another"
    try:
        with locked(folder / _LOCK, busy=busy):
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    (folder / _LOCK).unlink()
    finally:
        if made:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_remains(folder)
        if (folder / INDEX).is_file():
            read_index(folder)
        elif not all(map(_ours, folder.iterdir())):
            raise DatasetError(
                f"{folder}: is not empty and no store; choose a new folder for prepared scans"
            )
    except OSError as error:
        raise WriteError(
            f"{folder}: cannot be written: {error.strerror or error}; choose another folder"
        ) from None


def _ours(path: Path) -> bool:
    if re.fullmatch(rf"\.drr-.*\.(part|old)|{_LOCK}(-.*)?", path.name):
        return True
    return path.is_dir() and (path / "entry.json").is_file()


def _key(study: Study, options: Mapping[str, Any]) -> str:
    made_from = {
        "version": STORE_VERSION,
        "drr": drr.__version__,
        "study": study.to_dict(),
        "options": dict(options),
    }
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()
