"""Files whole or not at all, and what a killed process leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from drr.files.atomic import place_folder, remove_remains, temporary_path, write_files

KILLED = (
    "import os, signal\nfrom pathlib import Path\nfrom drr.files.atomic import temporary_path\n"
    "folder = Path({folder!r})\n"
    "temporary_path(folder).write_bytes(b'half')\n"
    "made = temporary_path(folder); made.mkdir(); (made / 'a').write_bytes(b'half')\n"
    "os.kill(os.getpid(), signal.SIGKILL)\n"
)


def leave_remains(folder: Path) -> None:
    script = KILLED.format(folder=str(folder))
    process = subprocess.run([sys.executable, "-c", script], check=False)
    assert process.returncode == -signal.SIGKILL
    assert len(list(folder.glob(".drr-*.part"))) == 2


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_what_a_killed_process_was_writing_goes_with_the_next_write(tmp_path: Path) -> None:
    leave_remains(tmp_path)
    others = [
        ".drr-0123456789ab.part",
        ".drr-notes.part",
        "drr.part",
        f".drr-{'0' * 12}-4242-17-{'a' * 12}.part",  # another machine's
    ]
    for name in others:
        (tmp_path / name).write_text("mine")
    running = temporary_path(tmp_path / "..")
    running = tmp_path / running.name
    running.write_text("this process's own")
    write_files({tmp_path / "a": b"x"})
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*others, running.name, "a"])


def test_links_are_remains_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "a").write_text("a")
    place = tmp_path / "place"
    place.mkdir()
    leave_remains(place)
    gone = next(place.glob(".drr-*.part")).name
    (place / (gone[:-17] + "0" * 12 + ".part")).symlink_to(tmp_path / "precious")
    remove_remains(place)
    assert list(place.iterdir()) == []
    assert (tmp_path / "precious" / "a").exists()


def test_nobody_guesses_a_name(tmp_path: Path) -> None:
    names = {temporary_path(tmp_path).name for _ in range(50)}
    assert len(names) == 50
    assert max(map(len, names)) < 100


def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    for content in ("old", "new"):
        made = temporary_path(tmp_path)
        made.mkdir()
        (made / content).touch()
        place_folder(made, tmp_path / "final")
        assert [p.name for p in (tmp_path / "final").iterdir()] == [content]
    assert [p.name for p in tmp_path.iterdir()] == ["final"]
