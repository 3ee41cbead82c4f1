"""`drr report`: what a data set holds, as one HTML page."""

from __future__ import annotations

from pathlib import Path

import click

from drr.cli.console import is_quiet, quiet_option

__all__ = ["command"]


@click.command("report")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The page.  [default: FILE with .html]",
)
@click.option(
    "--samples",
    metavar="N",
    type=click.IntRange(min=0),
    default=200,
    show_default=True,
    help="Shown as pictures, spread evenly; tables count all.",
)
@click.option(
    "--pixels",
    metavar="N",
    type=click.IntRange(16, 4096),
    default=384,
    show_default=True,
    help="Longer side of an image at most.",
)
@click.option("-f", "--force", is_flag=True, help="Replace a page that exists.")
@quiet_option
def command(file: Path, out: Path | None, samples: int, pixels: int, force: bool) -> None:
    """Show what is in FILE, which 'drr build' made: counts, labels, geometry, failures, pictures.

    One HTML file that needs no network. It holds reports and pictures of the data set: share it
    as you would share those.
    """
    from drr.pages.dataset import write_report

    path = write_report(
        file, out or file.with_suffix(".html"), samples=samples, pixels=pixels, force=force
    )
    if not is_quiet():
        click.echo(path)
