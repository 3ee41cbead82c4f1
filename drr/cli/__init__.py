"""The `drr` command: one module per sub-command, imported only when it is used."""

from __future__ import annotations

import contextlib
import functools
import importlib
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

import drr
from drr.cli.console import NO_MEMORY, failure, note
from drr.errors import DRRError
from drr.namesake import REMEDY

__all__ = ["main"]

if "_HOME" not in vars(drr):  # their `__init__.py` lies in place of ours
    sys.exit(f"drr: error: {REMEDY}")

# Module, attribute and the line that `drr --help` shows: listing the commands imports none.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "project": ("drr.cli.project", "command", "Project CT scans to radiographs."),
    "build": ("drr.cli.build", "command", "Build a data set from a cohort of CTs."),
    "verify": ("drr.cli.verify", "command", "Check a data set's file."),
    "report": ("drr.cli.report", "command", "Show a data set as an HTML page."),
    "export": ("drr.cli.export", "command", "Write a data set as PNGs and CSVs."),
    "inspect": ("drr.cli.inspect", "command", "Say what a CT holds and how it lies."),
    "phantom": ("drr.cli.phantom", "command", "Make a synthetic chest CT."),
    "phantom-cohort": ("drr.cli.phantom_cohort", "command", "Make a synthetic cohort of CTs."),
    "sample": ("drr.cli.sample", "command", "Fetch a real public chest CT."),
    "prepare": ("drr.cli.prepare", "command", "Make CTs ready for projection while training."),
    "train": ("drr.cli.train", "command", "Train a CheXNet."),
    "evaluate": ("drr.cli.evaluate", "command", "Say how good predictions are."),
    "doctor": ("drr.cli.doctor", "command", "Check this installation; for bug reports."),
    "completion": ("drr.cli.completion", "command", "Print the completion script of a shell."),
}

BAD_INPUT, BUG, INTERRUPTED = 2, 1, 130


class CommandLine(click.Group):
    """The group of all commands, and the one place where errors become exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, _, summary) in COMMANDS.items()])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        run = functools.partial(
            super().main, args, prog_name, complete_var, standalone_mode=False, **extra
        )
        if not standalone_mode:
            return run()
        with warnings.catch_warnings(), _clean_end():
            warnings.showwarning = _show_warning
            sys.exit(_exit_code(run))


def _exit_code(run: Callable[[], Any]) -> int:
    """Run, and say in one line what went wrong if something did."""
    try:
        code = run()
        if sys.stdout is not None:  # it is None when closed
            sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "drr"
        failure(f"{error.format_message().rstrip('.')} (see '{path} --help')")
        return BAD_INPUT
    except click.ClickException as error:
        failure(error.format_message())
        return BAD_INPUT
    except DRRError as error:
        failure(str(error))
        return BAD_INPUT
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except MemoryError:
        failure(NO_MEMORY)
        return BAD_INPUT
    except BrokenPipeError:
        _forget_stdout()
        return BUG
    except OSError as error:
        _forget_stdout()
        place = error.filename or "the command's output cannot be written"
        failure(f"{place}: {error.strerror or error}")
        return BAD_INPUT
    except Exception:
        traceback.print_exc()
        failure("this is a bug in drr; please report it with the output of 'drr doctor'")
        return BUG


@contextlib.contextmanager
def _clean_end() -> Iterator[None]:
    """Let a request to terminate, as of batch systems, remove what is half-made first."""
    main_thread = threading.current_thread() is threading.main_thread()
    if not main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _show_warning(message: Warning | str, *_args: Any, **_options: Any) -> None:
    note(str(message))


def _forget_stdout() -> None:
    """Keep Python's exit from complaining that nobody reads the rest of the output."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.close()


@click.group(
    cls=CommandLine,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Not for diagnosis: radiographs made here are synthetic.",
)
@click.version_option(drr.__version__, message="drr-rate %(version)s")
@click.pass_context
def main(context: click.Context) -> None:
    """Make digitally reconstructed radiographs (DRRs) from CT volumes.

    \b
    drr project ct.nii.gz                     a PA chest radiograph, ct_pa.png
    drr project CT -o OUT --view pa --view ll several views of a DICOM folder
    drr phantom thorax.nii.gz                 a synthetic CT to try it on
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
