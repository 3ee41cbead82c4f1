"""`drr verify`: whether a data set's file is sound."""

from __future__ import annotations

import json
from pathlib import Path

import click

from drr.cli.console import failure, is_quiet, quiet_option

__all__ = ["command"]


@click.command("verify")
@click.argument("file")
@click.option(
    "--source",
    metavar="FOLDER",
    help="Folder that the file's paths are relative to: some samples are made from it again.",
)
@click.option(
    "--remake",
    metavar="N",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    help="Samples to make again.",
)
@click.option(
    "--key",
    metavar="FILE",
    help="Key of the pseudonyms, for --source. Default: FILE.key.csv beside FILE.",
)
@click.option("--seed", metavar="N", type=click.IntRange(min=0), default=0, help="Which samples.")
@click.option("--no-pixels", is_flag=True, help="Leave out the digests of images: quick.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
@quiet_option
@click.pass_context
def command(
    context: click.Context,
    file: str,
    source: str | None,
    remake: int,
    key: str | None,
    seed: int,
    no_pixels: bool,
    as_json: bool,
) -> None:
    """Check a file that 'drr build' made.

    Its structure, the ranges of its values, digests of images and of everything, that no patient
    is in two splits; with --source also that images made again are the same. The exit status is 2
    if anything is wrong.
    """
    from drr.datasets.build.verify import verify

    verdict = verify(
        Path(file), source=source, remake=remake, seed=seed, pixels=not no_pixels, key=key
    )
    if as_json:
        values = {"problems": list(verdict.problems), "checked": list(verdict.checked)}
        click.echo(json.dumps(values, indent=2))
    else:
        for problem in verdict.problems:
            failure(f"{file}: {problem}")
        if verdict and not is_quiet():
            click.echo(f"{file}: sound ({', '.join(verdict.checked)})")
    if not verdict:
        context.exit(2)
