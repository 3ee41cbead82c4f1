"""What commands say on stderr, one line each: notes, which `--quiet` hides, and failures."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import click

__all__ = ["failure", "note", "progress", "quiet_option"]

Item = TypeVar("Item")

_QUIET = "drr.quiet"


def note(message: str) -> None:
    """Something the user may want to know; never a reason to stop."""
    if not _quiet():
        click.echo(f"drr: note: {_one_line(message)}", err=True)


def failure(message: str) -> None:
    """What went wrong."""
    click.echo(f"drr: error: {_one_line(message)}", err=True)


@contextmanager
def progress(items: Sequence[Item], label: str) -> Iterator[Any]:
    """Iterate with a progress bar on stderr, if there is work to wait for and someone to see it."""
    if len(items) < 2 or _quiet() or not sys.stderr.isatty():
        yield items
        return
    with click.progressbar(items, label=label, file=sys.stderr) as bar:
        yield bar


def _remember_quiet(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    context.meta[_QUIET] = value


quiet_option = click.option(
    "-q",
    "--quiet",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_remember_quiet,
    help="Print errors only: no notes, progress or names of written files.",
)


def _quiet() -> bool:
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(_QUIET))


def _one_line(message: str) -> str:
    return " ".join(message.split())
