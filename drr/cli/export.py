"""`drr export`: a data set's file as a folder of PNGs and CSVs."""

from __future__ import annotations

from pathlib import Path

import click

from drr.cli.console import is_quiet, quiet_option

__all__ = ["command"]

# As in drr.datasets.export.LAYOUTS, which cannot be imported without NumPy; a test compares them.
LAYOUTS = ("drr-rate", "chexpert", "torchxrayvision", "png")


@click.command("export")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--format", "layout", type=click.Choice(LAYOUTS), required=True, help="The layout.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="The folder to make.",
)
@click.option(
    "-v",
    "--view",
    "views",
    metavar="VIEW[=NAME]",
    multiple=True,
    help="Only this view, and the name of its folder, as pa=AP. Repeatable.",
)
@click.option("--split", help="Only this split.")
@click.option(
    "--unlinkable",
    is_flag=True,
    help="Write no digest of a CT by which whoever has it could know it.",
)
@click.option("-f", "--force", is_flag=True, help="Replace an earlier export.")
@quiet_option
def command(
    file: Path,
    layout: str,
    out: Path,
    views: tuple[str, ...],
    split: str | None,
    unlinkable: bool,
    force: bool,
) -> None:
    """Write the pictures of FILE, which 'drr build' made, as PNGs with CSVs.

    drr-rate is the published layout of DRR-RATE, chexpert a table as CheXpert's, torchxrayvision
    a table with that package's names, png pictures and one table. Unknown labels are left blank.
    """
    from drr.datasets.export import export

    count = export(
        file, out, layout=layout, views=views, split=split, unlinkable=unlinkable, force=force
    )
    if not is_quiet():
        click.echo(f"{out}: {count} images")
