"""The folder of parts: ours or nobody's; and builds where the file system knows no locks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_cohort import OPTIONS, write_cohort

from drr.datasets.build.build import build, parts_folder
from drr.datasets.build.parts_folder import MARKER, clear_parts, locked_parts
from drr.datasets.build.plan import Configuration, Plan
from drr.datasets.build.verify import verify
from drr.datasets.schema import DatasetError
from drr.datasets.sources.ctrate import find_ct_rate
from drr.errors import WriteError
from drr.geometry.views import parse_view

COMMAND = [sys.executable, "-c", "from drr.cli import main; main()"]
CONFIGURATION = Configuration(views=(parse_view("pa", shape=(32, 32)),))

SHIM = """
#include <errno.h>
int flock(int handle, int operation) { (void)handle; (void)operation; errno = ENOLCK; return -1; }
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("cohort"), 3)


def plan(source: Path) -> Plan:
    return Plan(cohort=find_ct_rate(source), configuration=CONFIGURATION)


def test_somebody_elses_folder_is_refused_and_stays(source: Path, tmp_path: Path) -> None:
    parts = parts_folder(tmp_path / "out.h5")
    parts.mkdir()
    (parts / "thesis.txt").write_text("mine")
    with pytest.raises(DatasetError, match="no build made"):
        build(plan(source), tmp_path / "out.h5", workers=1)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["out.h5.parts", "thesis.txt"]
    shutil.rmtree(parts)
    parts.write_text("a file")
    with pytest.raises(DatasetError, match="is in the way"):
        build(plan(source), tmp_path / "out.h5", workers=1)
    parts.unlink()
    (tmp_path / "elsewhere").mkdir()
    parts.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match="is in the way"):
        build(plan(source), tmp_path / "out.h5", workers=1)
    assert not any((tmp_path / "elsewhere").iterdir())


def test_only_what_builds_put_there_is_removed(tmp_path: Path) -> None:
    parts = tmp_path / "out.h5.parts"
    with locked_parts(parts):
        (parts / "ab").mkdir()
        (parts / "ab" / f"{'ab' * 16}.h5").touch()
        (parts / "ab" / "notes.txt").write_text("mine")
        assert not clear_parts(parts)
    assert sorted(path.name for path in parts.rglob("*")) == ["ab", MARKER, "lock", "notes.txt"]
    (parts / "ab" / "notes.txt").unlink()
    with locked_parts(parts):
        assert clear_parts(parts)
    assert not parts.exists()


def test_a_folder_with_nothing_but_locks_is_taken(tmp_path: Path) -> None:
    """A build was killed while it made or removed it."""
    parts = tmp_path / "out.h5.parts"
    parts.mkdir()
    (parts / "lock").touch()
    with locked_parts(parts):
        assert (parts / MARKER).is_file()


def test_links_in_place_of_our_files_are_not_followed(source: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious\n")
    (tmp_path / ".out.h5.assembling").symlink_to(precious)
    assert build(plan(source), tmp_path / "out.h5", workers=1).samples == 3
    assert precious.read_text() == "precious\n"
    (tmp_path / "other.h5.log").symlink_to(precious)
    with pytest.raises(DatasetError, match=r"other\.h5\.log: cannot be written"):
        build(plan(source), tmp_path / "other.h5", workers=1)
    (tmp_path / "other.h5.log").unlink()
    shutil.copy(precious, tmp_path / "other.h5.log")
    with pytest.raises(DatasetError, match="is not the log of a build"):
        build(plan(source), tmp_path / "other.h5", workers=1)
    assert precious.read_text() == "precious\n"
    assert (tmp_path / "other.h5.log").read_text() == "precious\n"
    assert not parts_folder(tmp_path / "other.h5").exists()
    (tmp_path / "third.h5").symlink_to(precious)
    with pytest.raises(WriteError, match="exists already"):
        build(plan(source), tmp_path / "third.h5", workers=1)


@pytest.fixture(scope="module")
def without_locks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment in which `flock` answers as on a mount without locks, to libhdf5 as well."""
    if sys.platform != "linux" or shutil.which("cc") is None:
        pytest.skip("there is no compiler for a library that answers in place of flock")
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    library = folder / "shim.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", str(library), str(folder / "shim.c")], check=True
    )
    return os.environ | {"LD_PRELOAD": str(library)}


def test_a_build_where_the_file_system_knows_no_locks(
    source: Path, tmp_path: Path, without_locks: dict[str, str]
) -> None:
    out = tmp_path / "out.h5"
    command = [*COMMAND, "build", str(source), *OPTIONS, "--workers", "1", "-o", str(out)]
    racers = [
        subprocess.Popen(command, env=without_locks, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    errors = [racer.communicate(timeout=300)[1] for racer in racers]
    codes = [racer.returncode for racer in racers]
    assert 0 in codes, errors
    for code, text in zip(codes, errors, strict=True):
        # Whoever came when the other had finished found a finished file.
        assert code == 0 or (code == 2 and "another build works on this output" in text), text
        assert "Traceback" not in text
    assert verify(out).problems == ()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.h5", "out.h5.log"]


def test_a_killed_build_is_no_obstacle_where_there_are_no_locks(
    source: Path, tmp_path: Path, without_locks: dict[str, str]
) -> None:
    out = tmp_path / "out.h5"
    command = [*COMMAND, "build", str(source), *OPTIONS, "--workers", "1", "-o", str(out)]
    process = subprocess.Popen(command, env=without_locks, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(parts_folder(out).rglob("*.h5")):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    held = list(parts_folder(out).glob("lock-*"))
    assert len(held) == 1
    assert f"-{process.pid}-" in held[0].name
    second = subprocess.run(command, env=without_locks, capture_output=True, text=True, check=False)
    if process.poll() is None:
        assert second.returncode == 2
        assert f"process {process.pid} on" in second.stderr
    process.kill()
    process.wait()
    subprocess.run(command, env=without_locks, check=True, capture_output=True)
    assert verify(out).problems == ()
    assert not parts_folder(out).exists()
