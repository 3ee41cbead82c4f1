"""Locks, on file systems that have them and on those that have none."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from drr.errors import WriteError
from drr.files.lock import BusyError, locked
from drr.files.owner import Owner

fcntl = pytest.importorskip("fcntl")

# Stands for a folder on NFS, Lustre or FUSE: what the system answers there.
NO_LOCKS = (
    "import fcntl, errno\n"
    "def flock(*_): raise OSError(errno.{name}, 'no locks')\n"
    "fcntl.flock = flock\n"
)
HOLD = "from pathlib import Path\nfrom drr.files.lock import locked\nimport sys, time\n"


@pytest.fixture(params=["flock", "ENOLCK", "EOPNOTSUPP", "ENOSYS"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param != "flock":

        def flock(*_: object) -> None:
            raise OSError(getattr(errno, request.param), "no locks")

        monkeypatch.setattr(fcntl, "flock", flock)
    return str(request.param)


def child(system: str, path: Path, work: str) -> subprocess.Popen[str]:
    shim = "" if system == "flock" else NO_LOCKS.format(name=system)
    script = f"{shim}{HOLD}path = Path({str(path)!r})\n{work}"
    return subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )


KEEP = "with locked(path, busy='wait'):\n    print('mine', flush=True)\n    sys.stdin.read()\n"


def test_one_at_a_time_and_free_after(system: str, tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = locked(path, busy="wait for it")
    with first, pytest.raises(BusyError, match="wait for it"), locked(path, busy="wait for it"):
        pass
    with locked(path, busy="wait for it"):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["lock"]


def test_another_process_is_named_and_a_killed_one_forgotten(system: str, tmp_path: Path) -> None:
    path = tmp_path / "lock"
    process = child(system, path, KEEP)
    assert process.stdout is not None
    assert process.stdout.readline() == "mine\n"
    with pytest.raises(BusyError) as error, locked(path, busy="wait"):
        pass
    if system != "flock":
        assert f"process {process.pid} on" in str(error.value)
        assert "if that has ended, remove lock-" in str(error.value)
    process.kill()
    # Not yet waited for: it has ended all the same.
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(BusyError), locked(path, busy="wait"):
            break
        assert time.monotonic() < deadline
    process.communicate()


def test_a_lock_of_another_machine_counts_until_it_is_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", flock)
    other = tmp_path / f"lock-node7-{'0' * 12}-{4242}-{17}"
    other.touch()
    with pytest.raises(BusyError) as error, locked(tmp_path / "lock", busy="wait"):
        pass
    assert "process 4242 on node7" in str(error.value)
    assert other.name in str(error.value)
    other.unlink()
    with locked(tmp_path / "lock", busy="wait"):
        assert len(list(tmp_path.glob("lock-*"))) == 1


def test_of_many_that_start_together_never_two_have_it(system: str, tmp_path: Path) -> None:
    """Each that has it makes a folder, which only one can, and takes it away again."""
    race = (
        "import contextlib\n"
        "got = 0\n"
        "deadline = time.monotonic() + 3\n"
        "while time.monotonic() < deadline:\n"
        "    try:\n"
        "        with locked(path, busy='wait'):\n"
        "            inside = path.with_name('inside'); inside.mkdir()\n"
        "            time.sleep(0.002); inside.rmdir(); got += 1\n"
        "    except Exception as error:\n"
        "        if type(error).__name__ != 'BusyError': print(repr(error))\n"
        "print(got)\n"
    )
    processes = [child(system, tmp_path / "lock", race) for _ in range(3)]
    answers = [process.communicate(timeout=60)[0].split() for process in processes]
    assert all(len(words) == 1 and words[0].isdigit() for words in answers), answers
    assert sum(int(words[0]) for words in answers) > 0


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(WriteError, match="cannot be written"), locked(tmp_path / "lock", busy=""):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_owners() -> None:
    me = Owner.this()
    assert not me.has_ended()
    assert Owner(me.system, me.pid, me.start + 1).has_ended() == Path("/proc").is_dir()
    assert not Owner("0" * 12, 4242, 1).has_ended()
    process = subprocess.Popen([sys.executable, "-c", ""])
    gone = Owner(me.system, process.pid, 5)
    process.wait()
    assert gone.has_ended()
    assert Owner(me.system, 10**18, 1).has_ended()
    assert os.getpid() == me.pid
