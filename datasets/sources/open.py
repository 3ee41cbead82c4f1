"""Any source of CTs, recognised by what it is."""

from __future__ import annotations

from pathlib import Path

from drr.datasets.sources.ctrate import find_ct_rate, is_ct_rate
from drr.datasets.sources.folder import find_folder
from drr.datasets.sources.manifest import find_manifest
from drr.datasets.study import Cohort, CohortError

__all__ = ["open_source"]


def open_source(
    path: str | Path,
    *,
    reconstructions: str = "one",
    keep_identifiers: bool = False,
    keep_names: bool = False,
) -> Cohort:
    """The cohort that a path holds.

    Parameters
    ----------
    path
        A CSV table (`drr.datasets.sources.manifest`), a download of CT-RATE
        (`drr.datasets.sources.ctrate`), or a folder of CTs (`drr.datasets.sources.folder`).
    reconstructions
        Which reconstructions of each scan of CT-RATE: `one` or `all`.
    keep_identifiers
        Carry identifying columns of tables along.
    keep_names
        Let what is made from the cohort have the names of files and folders. Without it `build`
        and `prepare_store` write pseudonyms (`drr.datasets.privacy.pseudonyms`). CT-RATE's names
        are public pseudonyms and stay.

    Raises
    ------
    CohortError
        For a path that is none of these, or holds nothing that can be used.
    """
    path = Path(path)
    if path.is_dir():
        if is_ct_rate(path):
            return find_ct_rate(
                path, reconstructions=reconstructions, keep_identifiers=keep_identifiers
            )
        return find_folder(path, keep_names=keep_names)
    if path.suffix.lower() == ".csv" and path.is_file():
        return find_manifest(path, keep_identifiers=keep_identifiers, keep_names=keep_names)
    if not path.exists():
        raise CohortError(f"{path}: there is no such file or folder; check the path")
    raise CohortError(
        f"{path}: is neither a folder nor a .csv table; for a single CT use 'drr project'"
    )
