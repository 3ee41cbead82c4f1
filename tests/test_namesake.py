"""The other package called `drr`: it is noticed beside ours, and over ours."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from places import ROOT

from drr.cli import doctor, main
from drr.namesake import REMEDY


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of installed packages with ours in it."""
    folder = tmp_path / "site"
    shutil.copytree(ROOT / "drr", folder / "drr", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "drr_rate-0.1.0.dist-info").mkdir()
    return folder


def run(site: Path, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=site.parent,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_ours_alone_is_silent(site: Path) -> None:
    done = run(site, "import drr; print(drr.__file__)")
    assert Path(done.stdout.strip()).is_relative_to(site)
    assert done.stderr == ""


@pytest.mark.parametrize("name", ["drr-0.0.1.dist-info", "drr-2.egg-info"])
def test_the_first_import_notices_theirs_beside_ours(site: Path, name: str) -> None:
    (site / name).mkdir()
    done = run(site, "import drr")
    assert done.returncode == 0
    assert REMEDY in done.stderr


def test_our_command_notices_theirs_over_ours(site: Path) -> None:
    (site / "drr" / "__init__.py").write_text("def reduce(): ...\n")
    done = run(site, "import drr.cli")
    assert done.returncode == 1
    assert done.stderr == f"drr: error: {REMEDY}\n"


def test_doctor_notices_theirs_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    known = importlib.metadata.version
    monkeypatch.setattr(
        doctor.importlib.metadata, "version", lambda name: "1.0" if name == "drr" else known(name)
    )
    done = CliRunner().invoke(main, ["doctor"])
    assert done.exit_code == 1
    assert f"FAIL: {REMEDY}" in done.stdout
