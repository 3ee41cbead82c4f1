"""Fixtures shared by the tests."""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure(config: pytest.Config) -> None:
    """Hide GPUs from all tests but those of `pytest -m gpu`: results are the same everywhere."""
    chosen = config.getoption("-m") or ""
    if "gpu" not in chosen.replace("not gpu", ""):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    # Programs that a shell starts in the background ignore Ctrl-C, and so do those they start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    np.empty, np.empty_like = _soiled(np.empty), _soiled(np.empty_like)


def _soiled(allocate: Callable[..., Any]) -> Callable[..., Any]:
    """New memory full of NaN and huge numbers, where by chance it would be zeros.

    What is read before it was written then shows, in every test and on every system. Of child
    processes glibc does the same (`MALLOC_PERTURB_`, see Makefile).
    """

    def allocate_soiled(*arguments: Any, **options: Any) -> Any:
        array = allocate(*arguments, **options)
        if array.dtype.kind in "iu":
            array.fill(np.iinfo(array.dtype).max)
        elif array.dtype.kind in "fc":
            array.fill(np.nan)
        elif array.dtype.kind == "b":
            array.fill(True)
        return array

    return functools.wraps(allocate)(allocate_soiled)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of real scans and films, or a skip that says how to provide it."""
    folder = Path(os.environ.get("DRR_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "ct").is_dir():
        pytest.skip(f"no real data in {folder}; set DRR_TEST_DATA to its folder")
    return folder.resolve()
