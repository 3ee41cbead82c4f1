"""How files that hold CTs are usually called; what is in them decides when they are read."""

from __future__ import annotations

__all__ = ["ARCHIVES", "VOLUMES", "suffix_of"]

VOLUMES = (".nii", ".mha", ".mhd", ".nrrd", ".nhdr")
ARCHIVES = (".zip", ".tar", ".tgz")
COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")


def suffix_of(name: str, suffixes: tuple[str, ...]) -> str | None:
    """The one of these suffixes in which a name ends, with that of a compression after it.

    Parameters
    ----------
    name
        Name of a file, in any case.
    suffixes
        In lower case, each with its dot.

    Returns
    -------
    str or None
        In lower case; None where the name ends in none of them.

    Examples
    --------
    >>> suffix_of("CT.NII.GZ", VOLUMES)
    '.nii.gz'
    """
    lowered = name.lower()
    for compression in ("", *COMPRESSIONS):
        for suffix in suffixes:
            if lowered.endswith(suffix + compression):
                return suffix + compression
    return None
