"""Another package on PyPI is called `drr` too; each installs a package and a command of that name.

Whichever is installed last replaces files of the other, and uninstalling either breaks both.
"""

from __future__ import annotations

import os

__all__ = ["REMEDY", "is_beside"]

REMEDY = (
    "another package named 'drr' is installed too and shares its folder and its command with "
    "drr-rate: run 'pip uninstall drr', then 'pip install --force-reinstall --no-deps drr-rate'"
)
"""What is wrong and what to do about it, in one line."""


def is_beside(package: str) -> bool:
    """Return whether the other distribution is installed in the folder that holds `package`.

    Parameters
    ----------
    package
        Path of the folder of our package `drr`.
    """
    try:
        names = os.listdir(os.path.dirname(package))
    except OSError:
        return False
    return any(name.startswith("drr-") and name.endswith("-info") for name in names)
