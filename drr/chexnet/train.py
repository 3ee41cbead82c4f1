"""Training with PyTorch Lightning, in a folder that can be taken up again at any time.

=================  ===============================================================================
`run.json`         recipe, data, labels, patients of the validation fold, versions
`history.csv`      a row for every epoch, written anew after each
`curves.svg`       the same, to look at
`last.ckpt`        everything needed to go on after the last whole epoch
`model.pt`         the best epoch's network and recipe, for `predict` and `drr evaluate`
=================  ===============================================================================

What an epoch does depends on the recipe, the data and the history before it and on nothing that
lives outside: so a training that was killed goes on as if it had not been.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import drr
from drr.chexnet.data import Inputs, Parts, class_weights, plain_errors, targets, training_parts
from drr.chexnet.history import History, Row
from drr.chexnet.model import DenseNet121, ModelError, initialise
from drr.chexnet.recipe import Recipe, find_recipe
from drr.chexnet.training import CHECKPOINT_VERSION, Keep, Training, TrainingError
from drr.datasets.loading import EpochSampler
from drr.errors import MissingDependencyError, WriteError
from drr.io.atomic import write_files

try:
    import lightning.pytorch as pl
    import torch
    from torch.utils.data import DataLoader
except ImportError:
    raise MissingDependencyError(
        "training needs PyTorch and Lightning; install them with: pip install 'drr-rate[train]'"
    ) from None

__all__ = ["TrainingError", "train"]


def train(
    data: str | Path,
    folder: str | Path,
    *,
    recipe: str | Path | Recipe | Mapping[str, Any] = "modern",
    projected: str | Path | None = None,
    view: str | None = None,
    fold: int = 0,
    weights: str | Path | None = None,
    resume: bool = False,
    workers: int = 0,
    accelerator: str = "auto",
    devices: int | str = "auto",
    report: Callable[[Row, bool], object] = lambda *_: None,
    note: Callable[[str], object] = lambda _: None,
) -> History:
    """Train a CheXNet.

    Parameters
    ----------
    data
        File of stored views (`drr build`), or store of prepared scans (`drr prepare`), which are
        projected while training.
    folder
        For the results; new, or with `resume` that of the training to go on with.
    recipe
        Name, JSON file, `Recipe`, or dictionary.
    projected
        Store of prepared scans, mixed with a file of stored views as the recipe says.
    view
        Which of several stored views; which view of scans, `pa` by default.
    fold
        Which fold is for validation.
    weights
        File of first weights, such as torchvision's DenseNet-121 for ImageNet.
    resume
        Go on after the last whole epoch in `folder`; start where there is none.
    workers
        Processes that load images.
    accelerator, devices
        As Lightning takes them: `cpu`, `gpu`, `auto`; how many.
    report
        Called with the history's new row and whether it is the best.
    note
        Called with what the user should know.

    Returns
    -------
    The history.

    Raises
    ------
    TrainingError
        For a folder that is in use, a checkpoint of another training, a loss that is no number.
    RecipeError, DatasetError, CohortError, ModelError, WriteError
        For a recipe, data, weights or a folder that cannot be used.
    """
    recipe = find_recipe(recipe)
    folder = Path(folder)
    parts = training_parts(data, recipe, projected=projected, view=view, fold=fold)
    for line in parts.notes:
        note(line)
    labels = tuple(parts.valid.pathologies)
    run = _run(data, recipe, parts, fold=fold, labels=labels, projected=projected)
    checkpoint = _start(folder, run, resume=resume)
    torch.manual_seed(recipe.seed)
    extra = parts.valid[0]["image"].shape[0] - 1
    network = DenseNet121(len(labels), channels=recipe.channels + extra)
    if weights is not None:
        for line in initialise(network, weights):
            note(f"{weights}: {line}")
    wanted = targets(parts.codes, recipe)
    module = Training(network, recipe, labels, class_weights(wanted, recipe))
    done: list[Row] = []
    if checkpoint is not None:
        done = _history(checkpoint, recipe, labels)
        module.history.rows = list(done)
        stopped = recipe.patience and module.history.epochs_without_gain >= recipe.patience
        if len(done) >= recipe.epochs or stopped:
            note(f"{folder}: this training is finished after {len(done)} epochs")
            return module.history
    sampler = EpochSampler(parts.train, seed=recipe.seed)
    sampler.set_epoch(len(done))
    random = _loader(
        Inputs(parts.train, recipe, training=True), sampler, recipe.batch_size, workers
    )
    steady = _loader(
        Inputs(parts.valid, recipe, training=False),
        EpochSampler(parts.valid, shuffle=False),
        recipe.batch_size,
        workers,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(lightning|torch)\b.*")
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        trainer = pl.Trainer(
            accelerator=accelerator,
            devices=devices,
            precision=recipe.precision,  # type: ignore[arg-type]
            max_epochs=recipe.epochs,
            gradient_clip_val=recipe.gradient_clip or None,
            callbacks=[Keep(folder, extra, report)],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            default_root_dir=str(folder),
        )
        with plain_errors():
            trainer.fit(module, random, steady, ckpt_path=checkpoint)
    return module.history


def _loader(
    inputs: Inputs, sampler: EpochSampler, batch_size: int, workers: int
) -> DataLoader[dict[str, Any]]:
    return DataLoader(
        inputs,  # type: ignore[arg-type] # anything with a length and items will do
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def _run(
    data: str | Path,
    recipe: Recipe,
    parts: Parts,
    *,
    fold: int,
    labels: tuple[str, ...],
    projected: str | Path | None,
) -> dict[str, Any]:
    """What a training is; one of another kind does not go on with it."""
    return {
        "recipe": recipe.to_dict(),
        "data": Path(data).name,
        "projected": None if projected is None else Path(projected).name,
        "fold": fold,
        "labels": list(labels),
        "train_samples": len(parts.train),
        "valid_samples": len(parts.valid),
        "valid_patients": sorted(set(parts.valid.patients)),
        "versions": {
            "drr": drr.__version__,
            "torch": str(torch.__version__),
            "lightning": version("lightning"),
            "python": platform.python_version(),
        },
    }


def _start(folder: Path, run: dict[str, Any], *, resume: bool) -> Path | None:
    """Make the folder, or see that it is of the same training; the checkpoint to go on with."""
    about, checkpoint = folder / "run.json", folder / "last.ckpt"
    if about.exists() and not resume:
        raise TrainingError(
            f"{folder}: holds a training already; go on with it (--resume, resume=True) or choose "
            "another folder"
        )
    if about.exists():
        try:
            before = json.loads(about.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise TrainingError(f"{about}: cannot be read ({error})") from None
        for key in run:
            if key != "versions" and before.get(key) != run[key]:
                what = _difference(before.get(key), run[key])
                raise TrainingError(
                    f"{folder}: holds a training with {key} {what}; choose another folder"
                )
        return checkpoint if checkpoint.exists() else None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(os.scandir(folder)):
            raise TrainingError(f"{folder}: is not empty; choose a new folder for a training")
    except OSError as error:
        raise WriteError(
            f"{folder}: cannot be written: {error.strerror or error}; choose another folder"
        ) from None
    write_files({about: (json.dumps(run, indent=2) + "\n").encode()})
    return None


def _difference(before: Any, now: Any) -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in now:
            if before.get(key) != now[key]:
                return f"{key} {before.get(key)!r}, not {now[key]!r}"
    return f"{before!r}, not {now!r}"


def _history(path: Path, recipe: Recipe, labels: tuple[str, ...]) -> list[Row]:
    """The history in a checkpoint of this training."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        own = content["drr"]
        kind, found = own["version"], tuple(own["labels"])
        rows: list[Row] = list(own["history"])
        same = Recipe.from_dict(own["recipe"]) == recipe
    except Exception as error:  # whatever an unpickler meets
        raise ModelError(f"{path}: cannot be read as a checkpoint ({error})") from None
    if kind != CHECKPOINT_VERSION:
        raise ModelError(f"{path}: is of version {kind}, this release reads {CHECKPOINT_VERSION}")
    if found != labels:
        raise ModelError(
            f"{path}: was trained for {', '.join(found)}, not for {', '.join(labels)}; choose "
            "another folder"
        )
    if not same:
        raise ModelError(f"{path}: was made with another recipe; choose another folder")
    return rows
