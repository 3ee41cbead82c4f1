"""`drr train`: a CheXNet trained on radiographs."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import click

from drr.cli.console import is_quiet, note, quiet_option

__all__ = ["command"]


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True,
              help="Folder for the model, its curves and checkpoints.")  # fmt: skip
@click.option("-r", "--recipe", default="modern", show_default=True,
              help="drr-rate, chexnet, modern, or a JSON file.")  # fmt: skip
@click.option("--projected", type=click.Path(path_type=Path, exists=True),
              help="Store of 'drr prepare' whose projections are mixed in.")  # fmt: skip
@click.option("--view", help="Which view.  [the only one; pa of a store]")
@click.option("--label", "labels", multiple=True, help="Finding to learn; repeat.  [the recipe's]")
@click.option("--fold", type=click.IntRange(0), default=0, show_default=True,
              help="Fold for validation.")  # fmt: skip
@click.option("--epochs", type=click.IntRange(1), help="At most so many.  [the recipe's]")
@click.option("--batch-size", type=click.IntRange(1), help="Images in a step.  [the recipe's]")
@click.option("--precision", type=click.Choice(["32-true", "16-mixed", "bf16-mixed"]),
              help="[the recipe's]")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), help="[the recipe's]")
@click.option("--weights", type=click.Path(path_type=Path), help="File of first weights.")
@click.option("--resume", is_flag=True, help="Go on after the last whole epoch.")
@click.option("-j", "--workers", type=click.IntRange(0), default=0, show_default=True,
              help="Processes that load images.")  # fmt: skip
@click.option("--accelerator", type=click.Choice(["auto", "cpu", "gpu"]), default="auto",
              show_default=True)  # fmt: skip
@click.option("--devices", type=click.IntRange(1), default=1, show_default=True,
              help="How many GPUs (or processors); each takes a batch in a step.")  # fmt: skip
@quiet_option
def command(
    data: Path,
    output: Path,
    recipe: str,
    projected: Path | None,
    view: str | None,
    labels: tuple[str, ...],
    fold: int,
    epochs: int | None,
    batch_size: int | None,
    precision: str | None,
    seed: int | None,
    weights: Path | None,
    resume: bool,
    workers: int,
    accelerator: str,
    devices: int,
) -> None:
    """Train a CheXNet on DATA: a file of 'drr build', or a store of 'drr prepare'.

    Every choice is in the recipe; what is given here replaces its values. The result is
    OUTPUT/model.pt, for 'drr evaluate' and drr.train.predict.
    """
    from drr.errors import MissingDependencyError
    from drr.train.recipe import Recipe, find_recipe

    changes = {
        "labels": labels or None,
        "epochs": epochs,
        "batch_size": batch_size,
        "precision": precision,
        "seed": seed,
    }
    given = {key: value for key, value in changes.items() if value is not None}
    chosen = Recipe.from_dict({**find_recipe(recipe).to_dict(), **given})
    for package in ("torch", "lightning"):
        if find_spec(package) is None:
            raise MissingDependencyError(
                f"training needs {package}, which is not installed; install it with: "
                "pip install 'drr-rate[train]'"
            )
    from drr.train.train import train

    def report(row: dict[str, float], best: bool) -> None:
        if not is_quiet():
            click.echo(
                f"epoch {row['epoch']:3.0f}  loss {row['train_loss']:.4f}  validation "
                f"{row['valid_loss']:.4f}  AUROC {row['valid_auroc']:.3f}{'  best' * best}"
            )

    history = train(
        data,
        output,
        recipe=chosen,
        projected=projected,
        view=view,
        fold=fold,
        weights=weights,
        resume=resume,
        workers=workers,
        accelerator=accelerator,
        devices=devices,
        report=report,
        note=note,
    )
    if not is_quiet():
        click.echo(f"{output / 'model.pt'}: epoch {history.rows[history.best]['epoch']:.0f}")
