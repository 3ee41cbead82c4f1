"""What commands say on stderr, one line each: notes, which `--quiet` hides, and failures."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from drr.errors import printable

__all__ = ["LONGEST_LINE", "NO_MEMORY", "failure", "is_quiet", "note", "progress", "quiet_option"]

NO_MEMORY = "not enough memory; use a smaller CT or fewer pixels, or close other programs"

LONGEST_LINE = 2000
"""Characters of a note at most; error messages are shorter by themselves."""

_QUIET, _BAR = "drr.quiet", "drr.bar"


def is_quiet() -> bool:
    """Whether the running command was given `--quiet`."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(_QUIET))


def note(message: str) -> None:
    """Say something the user may want to know; never a reason to stop."""
    if not is_quiet():
        _say(f"drr: note: {message}")


def failure(message: str) -> None:
    """Say what went wrong."""
    _say(f"drr: error: {printable(message)}")


@contextmanager
def progress(steps: int, label: str) -> Iterator[Callable[[int], None]]:
    """Yield a function that advances a bar on stderr, if there is a terminal and work to await."""
    if steps < 2 or is_quiet() or not sys.stderr.isatty():
        yield lambda _steps: None
        return
    meta = click.get_current_context().meta
    with click.progressbar(length=steps, label=label, file=sys.stderr) as bar:
        meta[_BAR] = True
        try:
            yield bar.update
        finally:
            meta[_BAR] = False


def _remember_quiet(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    context.meta[_QUIET] = value
    if value:
        import logging

        logging.getLogger("drr").setLevel(logging.ERROR)


quiet_option = click.option(
    "-q",
    "--quiet",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_remember_quiet,
    help="Print errors only: no notes, progress or names of written files.",
)


def _say(message: str) -> None:
    context = click.get_current_context(silent=True)
    bar = context is not None and context.meta.get(_BAR)
    # Wipes the bar's line; the bar draws itself again at its next step.
    line = printable(" ".join(message.split()), most=LONGEST_LINE)
    click.echo(("\r\x1b[K" if bar else "") + line, err=True)
