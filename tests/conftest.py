"""Fixtures shared by the tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path

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


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of real scans and films, or a skip that says how to provide it."""
    folder = Path(os.environ.get("DRR_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "ct").is_dir():
        pytest.skip(f"no real data in {folder}; set DRR_TEST_DATA to its folder")
    return folder.resolve()
