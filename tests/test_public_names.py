"""The names of `drr` itself: imported on first use, and no submodule takes their place."""

from __future__ import annotations

import subprocess
import sys

import pytest

import drr


@pytest.mark.parametrize("name", drr.__all__)
def test_public_names_are_there(name: str) -> None:
    assert name in dir(drr)
    assert getattr(drr, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'projekt'"):
        drr.projekt  # noqa: B018


def test_names_stay_functions_after_their_modules_are_imported() -> None:
    code = (
        "import drr, drr.projector, drr.randomise.policy, drr.patient.prepare, drr.io.read;"
        "names = 'policy prepare project parse_view read write'.split();"
        "print(all(callable(getattr(drr, name)) for name in names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_importing_drr_does_not_load_numpy() -> None:
    code = "import sys, drr; print([m for m in sys.modules if m.startswith('numpy')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
