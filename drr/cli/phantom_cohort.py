"""`drr phantom-cohort`: a synthetic cohort in the shape of CT-RATE."""

from __future__ import annotations

from pathlib import Path

import click

from drr.cli.console import is_quiet, note, progress, quiet_option

__all__ = ["command"]


@click.command("phantom-cohort")
@click.argument("count", type=int)
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, metavar="FOLDER",
              help="Folder to make; it must not exist yet, or be empty.")  # fmt: skip
@click.option("--size", type=int, default=128, show_default=True, help="Voxels along each axis.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another cohort each.")
@click.option("--bad", type=int, help="Scans with a bad file.  [default: 3, or a quarter of few]")
@click.option("--ct-rate-version", "version", type=click.Choice(["1", "2"]), default="2",
              show_default=True, help="1: blank headers and stored values.")  # fmt: skip
@quiet_option
def command(count: int, out: Path, size: int, seed: int, bad: int | None, version: str) -> None:
    """Write COUNT synthetic chest CTs with findings, labels and reports, as CT-RATE has them.

    The same options give the same files. No patients, and not for diagnosis.

    \b
    drr phantom-cohort 20 -o cohort
    drr build cohort -o cohort.h5 --view pa --view ll
    """
    from drr.datasets.phantom.cohort import write_phantom_cohort

    with progress(count, "phantoms") as advance:
        scans = write_phantom_cohort(
            out,
            count,
            seed=seed,
            size=size,
            version=int(version),
            bad=bad,
            report=advance,
        )
    if spoilt := [scan for scan in scans if scan.bad]:
        note(
            f"{len(spoilt)} files are deliberately bad: "
            + ", ".join(f"{scan.name} ({scan.bad})" for scan in spoilt[:6])
        )
    if not is_quiet():
        click.echo(out)
