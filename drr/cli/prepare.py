"""`drr prepare`: scans made ready for projection while training."""

from __future__ import annotations

from pathlib import Path

import click

from drr.cli.console import is_quiet, note, progress, quiet_option
from drr.cli.options import accept_option

__all__ = ["command"]


@click.command()
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder of the store.")
@click.option("--spacing", type=float, help="Average voxels to about so many mm.  [as they are]")
@click.option("--keep-names", is_flag=True, help="Call scans and patients after files and folders.")
@click.option(
    "--key", type=click.Path(path_type=Path), help="Key of the pseudonyms.  [FOLDER.key.csv]"
)
@click.option("--no-clean", is_flag=True, help="Keep couch, blanket and padding.")
@click.option("--no-beyond", is_flag=True, help="Do not continue scans beyond their ends.")
@accept_option
@click.option("--check", is_flag=True, help="SOURCE is a store: compare every file's digest.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads.  [all]")
@quiet_option
def command(
    source: Path,
    output: Path | None,
    spacing: float | None,
    keep_names: bool,
    key: Path | None,
    no_clean: bool,
    no_beyond: bool,
    accept: tuple[str, ...],
    check: bool,
    threads: int | None,
) -> None:
    """Prepare the CTs of SOURCE for projection while training.

    SOURCE is what 'drr build' takes: a CSV table, a download of CT-RATE, or a folder of CTs. Couch
    and padding are removed, the scans cropped to the body and written to a folder from which
    ProjectedDRRs and 'drr train' map them into memory. A run that was interrupted goes on where it
    was. What files and folders are called gives way to pseudonyms, which the key file tells apart.
    """
    from drr.datasets.loaders.store import PreparedStore, prepare_store

    if check:
        if output is not None:
            raise click.UsageError("--check reads a store and writes nothing; leave out --output")
        store = PreparedStore(source)
        with progress(len(store), "Checking") as advance:
            store.verify(advance)
        if not is_quiet():
            click.echo(f"{source}: {len(store)} scans are as they were written")
        return
    if output is None:
        raise click.UsageError("give the folder of the store: -o FOLDER")
    from drr.datasets.privacy.pseudonyms import hides_names, key_beside, read_places
    from drr.datasets.sources.open import open_source

    cohort = open_source(source, keep_names=keep_names)
    with progress(len(cohort), "Preparing") as advance:
        store = prepare_store(
            cohort,
            output,
            spacing=spacing,
            clean=not no_clean,
            beyond=not no_beyond,
            accept=accept,
            threads=threads,
            key=key,
            advance=advance,
        )
    for problem in cohort.problems:
        note(str(problem))
    # Where they are is for the user alone.
    places = read_places(key or key_beside(output)) if hides_names(cohort) else {}
    for name, reason in store.failures.items():
        shown = f"{name} ({places[name].path})" if name in places else name
        reason = reason.removeprefix(f"{name}: ")
        note(f"{shown} was left out: {reason}")
    if hides_names(cohort):
        note(
            f"{key or f'{output}.key.csv'} has the paths of the scans; keep it, and apart from them"
        )
    if not is_quiet():
        click.echo(f"{output}: {len(store)} of {len(cohort)} scans, {store.bytes / 1e6:.0f} MB")
