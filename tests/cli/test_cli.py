"""The `drr` command itself: help, errors and exit codes, completion."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import drr
import drr.cli.completion
from drr.cli import COMMANDS, main
from drr.cli.console import note, progress, quiet_option
from drr.errors import ReadError

DRR = [sys.executable, "-c", "from drr.cli import main; main(prog_name='drr')"]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture
def command_that(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Put a callback in place of `drr completion`."""

    def replace(callback: Callable[[], object]) -> None:
        command = quiet_option(click.Command("completion", callback=callback))
        monkeypatch.setattr(drr.cli.completion, "command", command)

    return replace


def test_help_and_no_command_list_all_commands() -> None:
    for result in (run("--help"), run()):
        assert result.exit_code == 0
        assert all(name in result.output for name in COMMANDS)
        assert "Not for diagnosis" in result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    result = run(name, "-h")
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"Usage: main {name}")


def test_version() -> None:
    assert run("--version").output == f"drr-rate {drr.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["pictures"], "No such command 'pictures'"),
        (["--bogus"], "No such option"),
        (["project"], "Missing argument 'CT...'"),
        (["project", "x", "--method", "magic"], "magic"),
        (["project", "x", "--threads", "0"], "--threads"),
        (["project", "x", "--pixels", "12by9"], "1024 or 833x1024"),
        (["project", "x", "--detector", "430x"], "350x430"),
        (["project", "x", "--window", "3"], "'2.5,4' or 'auto'"),
        (["completion", "tcsh"], "tcsh"),
    ],
)
def test_wrong_usage_is_one_line(arguments: list[str], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("drr: error: ")
    assert words in result.stderr
    assert "--help')" in result.stderr
    assert result.stderr.count("\n") == 1


def test_error_of_the_package_is_one_line(command_that: Callable[..., None]) -> None:
    def fail() -> None:
        raise ReadError("scan.nii: is\nempty; copy it again")

    command_that(fail)
    result = run("completion")
    assert result.exit_code == 2
    assert result.stderr == "drr: error: scan.nii: is\\nempty; copy it again\n"


def test_bug_keeps_its_traceback_and_asks_for_a_report(command_that: Callable[..., None]) -> None:
    command_that(lambda: 1 / 0)
    result = run("completion")
    assert result.exit_code == 1
    assert "ZeroDivisionError" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("drr: error: this is a bug")
    assert "drr doctor" in result.stderr


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt, 130), (MemoryError, 2)])
def test_interrupt_and_lack_of_memory(
    error: type[BaseException], code: int, command_that: Callable[..., None]
) -> None:
    def fail() -> None:
        raise error

    command_that(fail)
    result = run("completion")
    assert result.exit_code == code
    assert "Traceback" not in result.stderr


def test_warnings_and_notes_are_lines_that_quiet_hides(command_that: Callable[..., None]) -> None:
    def speak() -> None:
        warnings.warn("odd header", UserWarning, stacklevel=1)
        note("two\nlines")
        with progress(9, "Working") as advance:
            advance(9)

    command_that(speak)
    assert run("completion").stderr == "drr: note: odd header\ndrr: note: two lines\n"
    assert run("completion", "--quiet").stderr == ""


@pytest.mark.skipif(os.name == "nt", reason="sends signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_without_a_traceback_and_leave_nothing(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    # Compiled beforehand: a signal within the compiler's own callbacks is lost to Python.
    warm = [*DRR, "phantom", "--size", "16", str(tmp_path / "warm.nii.gz")]
    subprocess.run(warm, check=True, capture_output=True)
    (tmp_path / "warm.nii.gz").unlink()
    process = subprocess.Popen(
        [*DRR, "phantom", "--size", "512", "ct.nii.gz"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    time.sleep(2)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stderr
    assert "Traceback" not in stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="closes a pipe as Unix does")
def test_reader_that_goes_away_is_not_an_error_message() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*DRR, "--help"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(writing)
    assert done.stderr == ""
    assert done.returncode == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize("arguments", [["--help"], ["completion", "bash"]])
def test_output_on_a_full_disk_is_one_line(arguments: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*DRR, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr.startswith("drr: error: the command's output cannot be written: No space")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="closes descriptors as Unix does")
@pytest.mark.parametrize("arguments", [["--help"], ["project", "nothing.nii"]])
def test_closed_output_is_no_bug(arguments: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", '"$@" >&-', "sh", *DRR, *arguments],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == (0 if arguments == ["--help"] else 2)
    assert "Traceback" not in done.stderr
    assert "bug" not in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(shell: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert f"_DRR_COMPLETE={shell}_complete" in result.output


def test_completion_completes_commands_and_options() -> None:
    def complete(words: str, index: int) -> list[str]:
        environment = {
            "_DRR_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(index),
        }
        done = subprocess.run(
            DRR, env={**os.environ, **environment}, capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    assert complete("drr pro", 1) == ["plain,project"]
    assert "plain,--viewed-from" in complete("drr project --v", 2)
    assert complete("drr project x --method s", 4) == ["plain,shear-warp", "plain,siddon"]
