"""`drr phantom`: write a synthetic chest CT."""

from __future__ import annotations

from pathlib import Path

import click

from drr.cli.console import quiet_option

__all__ = ["command"]


@click.command()
@click.argument("output", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option(
    "-o",
    "--output",
    "option_output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The same as OUTPUT.",
)
@click.option("--size", type=int, default=256, show_default=True, help="Voxels along each axis.")
@click.option("--spacing", type=float, help="Voxel size in mm, instead of --size.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another patient each.")
@click.option("--sex", type=click.Choice(["F", "M"], case_sensitive=False), default="M",
              show_default=True)  # fmt: skip
@click.option("--age", type=float, default=50, show_default=True, help="Years, 18 to 100.")
@click.option("--height", type=float, help="cm, 140 to 210.  [default: the mean of the sex]")
@click.option("--bmi", type=float, default=24, show_default=True, help="kg/m^2, 16 to 45.")
@click.option("--arms", type=click.Choice(["up", "down", "none"]), default="up", show_default=True)
@click.option("--couch", is_flag=True, help="Lay the patient on a couch.")
@click.option("--noise", type=float, default=10, show_default=True, help="HU.")
@click.option("--labels", type=click.Path(path_type=Path, dir_okay=False),
              help="Write the organ label map here, too.")  # fmt: skip
@click.option("-f", "--force", is_flag=True, help="Replace files that exist.")
@quiet_option
def command(
    output: Path | None,
    option_output: Path | None,
    size: int,
    spacing: float | None,
    seed: int,
    sex: str,
    age: float,
    height: float | None,
    bmi: float,
    arms: str,
    couch: bool,
    noise: float,
    labels: Path | None,
    force: bool,
) -> None:
    """Make a synthetic chest CT in HU and write it to OUTPUT (.nii.gz or .nii).

    The same options give the same anatomy. Not a patient, and not for diagnosis.
    """
    if (output is None) == (option_output is None):
        raise click.UsageError("give one output, such as 'drr phantom ct.nii.gz'")
    path = output or option_output
    assert path is not None
    from drr.cli.console import is_quiet
    from drr.datasets.phantom.nifti import check_name, nifti_bytes
    from drr.datasets.phantom.thorax import thorax_with_labels
    from drr.files.atomic import refuse_existing, write_files

    targets = [path] if labels is None else [path, labels]
    if labels is not None and labels.absolute() == path.absolute():
        raise click.UsageError("the CT and its labels need different files")
    for target in targets:
        check_name(target)
    refuse_existing(targets, force=force)
    volumes = thorax_with_labels(
        size,
        seed=seed,
        spacing=spacing,
        noise=noise,
        sex=sex,
        age=age,
        height=height,
        bmi=bmi,
        arms=arms,
        couch=couch,
    )
    contents = {
        target: nifti_bytes(volume, target)
        for target, volume in zip(targets, volumes, strict=False)
    }
    write_files(contents, force=force)
    if not is_quiet():
        for target in targets:
            click.echo(target)
