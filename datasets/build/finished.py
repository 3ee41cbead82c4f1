"""A finished file, as a build finds it that has the same command: what of it is still right."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drr.datasets.build.assemble import attributes, sample_columns
from drr.datasets.build.part import open_part
from drr.datasets.build.plan import Plan
from drr.datasets.schema import FORMAT, LATER, PIXELS, content_digest, pixels_digest
from drr.datasets.sources.source_files import Digests
from drr.datasets.study import Study
from drr.errors import WriteError
from drr.files.atomic import refuse_existing

if TYPE_CHECKING:
    import h5py

__all__ = ["Finished", "check_output", "find_finished", "is_data_set"]

_DAMAGED = (KeyError, OSError, ValueError, TypeError, RuntimeError, AttributeError)

# What the images of a study depend on, as far as the file says.
_SHOWN = ("path", "series", "reader", "segmentation", "metadata")


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What a file holds that was built with a plan's configuration.

    Parameters
    ----------
    path, digest
        The file and the digest of its content.
    plan
        Digest of the plan that it was built from.
    rows
        Row of each sample, by name.
    failures
        Reasons of the others, by name.
    stamps
        Stamps of the source files when the file was made; none in a file of an earlier release.
    digests
        Digest of each row's source files; None where the file does not say, or not to everybody.
    shown
        Columns of `samples` on which images depend.
    """

    path: Path
    digest: str
    plan: str
    rows: Mapping[str, int]
    failures: Mapping[str, str]
    stamps: Mapping[str, str]
    digests: Sequence[Digests | None]
    shown: Mapping[str, Sequence[str]]

    def known(self, study: Study, plan: Plan) -> Digests | None:
        """Digests of the files that a study's images in here were made from.

        None where they were made otherwise, or it cannot be told: by a series that is not named
        in the file since its name is a UID.
        """
        row = self.rows[study.sample]
        now = sample_columns(plan, [study])
        used = [n for n in _SHOWN if n != "metadata" or study.reader != "any"]
        if (study.series or "") != now["series"][0]:
            return None
        same = all(now[name][0] == self.shown[name][row] for name in used)
        return self.digests[row] if same else None

    def damaged(self, rows: Iterable[int]) -> set[int]:
        """Those of some rows whose columns or images are not what was built."""
        rows = set(rows)
        try:
            with open_part(self.path) as file:
                if content_digest(file) != self.digest:
                    return rows
                return {row for row in rows if not _is_sound(file, row)}
        except _DAMAGED:
            return rows


def find_finished(path: Path, plan: Plan) -> Finished | None:
    """What a file holds for a plan; None for anything that its configuration did not make."""
    if not path.is_file():
        return None
    try:
        with open_part(path) as file:
            wanted = attributes(plan)
            made_by = ("format", "schema_version", "drr_version", "configuration")
            if any(file.attrs[name] != wanted[name] for name in made_by):
                return None
            names, failed = _texts(file, "samples/name"), _texts(file, "failures/name")
            stamps: dict[str, str] = {}
            digests: list[Digests | None] = [None] * len(names)
            if all(name in file for name in LATER):
                found = _texts(file, "samples/fingerprint") + _texts(file, "failures/fingerprint")
                stamps = dict(zip(names + failed, found, strict=True))
                sources = _texts(file, "samples/source_sha256")
                masks = _texts(file, "samples/segmentation_sha256")
                if not plan.configuration.unlinkable:
                    digests = [Digests(*both) for both in zip(sources, masks, strict=True)]
            return Finished(
                path=path,
                digest=str(file.attrs["content_sha256"]),
                plan=str(file.attrs["plan"]),
                rows={name: row for row, name in enumerate(names)},
                failures=dict(zip(failed, _texts(file, "failures/reason"), strict=True)),
                stamps=stamps,
                digests=digests,
                shown={name: _texts(file, f"samples/{name}") for name in _SHOWN},
            )
    except _DAMAGED:
        return None


def is_data_set(path: Path) -> bool:
    """Whether a file is there that a build made, with whatever configuration."""
    try:
        with open_part(path) as file:
            return str(file.attrs["format"]) == FORMAT
    except _DAMAGED:
        return False


def check_output(out: Path, plan: Plan, finished: Finished | None, *, force: bool) -> None:
    """Refuse an output that another data set would be lost from.

    A finished file of the same configuration is brought up to date, without samples whose CTs are
    gone from the source. One that holds a sample whose CT is still there, or whose source is
    another, is replaced only if asked.

    Raises
    ------
    WriteError
        With what would be lost.
    """
    refuse_existing([out], force=force or finished is not None)
    if finished is None or force:
        return
    planned = {study.sample: study.path for study in plan.cohort.studies}
    lost = [name for name in finished.rows if name not in planned]
    paths = finished.shown["path"]
    shared = [name for name in planned if name in finished.rows]
    root = plan.cohort.root
    # One can look for them only where the file names them as they are.
    told = [
        name
        for name in shared
        if paths[finished.rows[name]] == planned[name] and os.path.lexists(root / planned[name])
    ]
    if told:
        lost = [name for name in lost if os.path.lexists(root / paths[finished.rows[name]])]
    if lost:
        raise WriteError(
            f"{out}: exists already and holds {len(lost)} samples that this build would not have "
            f"(such as {lost[0]!r}); choose another name, or pass force=True (--force) to replace "
            "it"
        )


def _is_sound(file: h5py.File, row: int) -> bool:
    """Whether a row's images are those whose digests stand beside them."""
    for group in file["views"].values():
        for name in PIXELS:
            if name not in group:
                continue
            digest = group[f"{name}_sha256"].asstr()[row]
            try:
                image: Any = group[name][row]
            except OSError:
                return False
            if pixels_digest(image) != digest if digest else image.any():
                return False
    return True


def _texts(file: h5py.File, name: str) -> list[str]:
    return [str(value) for value in file[name].asstr()[...]]
