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

import contextlib
import json
import logging
import os
import platform
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import drr
from drr.datasets.loaders.samples import EpochSampler
from drr.errors import DRRError, MissingDependencyError, printable
from drr.train.data import Inputs, Parts, class_weights, plain_errors, targets, training_parts
from drr.train.devices import LOGGERS, find_devices, listening, quiet, strategy, telling
from drr.train.history import History, Row
from drr.train.model import ModelError, densenet121, initialise
from drr.train.recipe import Recipe, find_recipe
from drr.train.run_folder import checkpoint_in, history_in, made
from drr.train.training import RUN, Keep, Training, TrainingError

try:
    import lightning.pytorch as pl
    import torch
    from torch.utils.data import DataLoader
except ImportError:
    raise MissingDependencyError(
        "training needs PyTorch and Lightning; install them with: pip install 'drr-rate[train]'"
    ) from None

__all__ = ["TrainingError", "train"]

MOST_WORKERS = 256


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
    devices: int = 1,
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
        `cpu`, `gpu` or `auto`: a GPU where there is one. How many of them: each has a process, and
        takes `batch_size` images in a step.
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
    if type(workers) is not int or not 0 <= workers <= MOST_WORKERS:
        raise TrainingError(f"workers is a number from 0 to {MOST_WORKERS}, got {workers!r}")
    kind = find_devices(accelerator, devices)
    parts = training_parts(data, recipe, projected=projected, view=view, fold=fold)
    _check_steps(len(parts.train), recipe, devices)
    for line in parts.notes:
        note(line)
    if recipe.precision == "16-mixed" and kind == "cpu":
        note("precision 16-mixed needs a GPU; bf16-mixed takes its place")
    labels = tuple(parts.valid.pathologies)
    run = _run(data, recipe, parts, fold=fold, labels=labels, projected=projected, devices=devices)
    checkpoint = checkpoint_in(folder, run, resume=resume)
    torch.manual_seed(recipe.seed)
    extra = parts.valid[0]["image"].shape[0] - 1
    network = densenet121(len(labels), channels=recipe.channels + extra)
    if weights is not None:
        for line in initialise(network, weights):
            note(f"{weights}: {line}")
    wanted = targets(parts.codes, recipe)
    module = Training(network, recipe, labels, class_weights(wanted, recipe))
    if checkpoint is not None:
        module.history.rows = history_in(checkpoint, module)
        stopped = recipe.patience and module.history.epochs_without_gain >= recipe.patience
        if len(module.history.rows) >= recipe.epochs or stopped:
            note(f"{folder}: this training is finished after {len(module.history.rows)} epochs")
            return module.history
    loaders = _loaders(parts, recipe, workers, epoch=len(module.history.rows))
    text = None if checkpoint else (json.dumps(run, indent=2) + "\n").encode()
    with made(folder):
        if checkpoint is None:
            (folder / RUN).unlink(missing_ok=True)
        keep = Keep(folder, extra, report, text)
        _fit(module, loaders, keep, checkpoint, kind=kind, devices=devices)
    return module.history


def _fit(
    module: Training,
    loaders: tuple[DataLoader[Any], DataLoader[Any]],
    keep: Keep,
    checkpoint: Path | None,
    *,
    kind: str,
    devices: int,
) -> None:
    """Train, in this process or in one for each of several devices."""
    recipe = module.recipe
    with contextlib.ExitStack() as stack:
        if devices > 1:
            report = keep.report

            def hear(row: Row, best: bool) -> None:
                module.history.rows.append(row)
                report(row, best)

            sender = stack.enter_context(listening(hear))
            keep = Keep(keep.folder, keep.extra, sender.row, keep.run)
        # Left first: what listens hears the end when the others have ended.
        stack.enter_context(_as_before())
        quiet()
        trainer = pl.Trainer(
            accelerator=kind,
            devices=devices,
            strategy=strategy(kind, devices),
            precision=recipe.precision,  # type: ignore[arg-type]
            max_epochs=recipe.epochs,
            gradient_clip_val=recipe.gradient_clip or None,
            callbacks=[keep],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            default_root_dir=str(keep.folder),
        )
        try:
            with telling():
                trainer.fit(module, *loaders, ckpt_path=checkpoint)
        except (LookupError, RuntimeError, TypeError, ValueError) as error:
            if isinstance(error, DRRError) or checkpoint is None or keep.started or devices > 1:
                raise
            text = printable(error, most=200)
            raise ModelError(f"{checkpoint}: cannot be taken up again ({text})") from None
        except SystemExit as end:
            if end.code != 1:
                raise
            # Lightning makes this of Ctrl-C, and ignores it from then on.
            raise KeyboardInterrupt from None


@contextlib.contextmanager
def _as_before() -> Iterator[None]:
    """Undo what Lightning does to this process beyond the training."""
    at_interrupt, port = signal.getsignal(signal.SIGINT), os.environ.get("MASTER_PORT")
    levels = [(name, logging.getLogger(name).level) for name in LOGGERS]
    others = set(active_children())
    try:
        with warnings.catch_warnings():
            yield
    finally:
        # Of an interrupted training; Python would wait for them to end.
        for process in set(active_children()) - others:
            process.kill()
            process.join()
        with contextlib.suppress(ValueError, TypeError):  # only the main thread may
            signal.signal(signal.SIGINT, at_interrupt)
        if port is None:
            os.environ.pop("MASTER_PORT", None)
        for name, level in levels:
            logging.getLogger(name).setLevel(level)


def _loaders(
    parts: Parts, recipe: Recipe, workers: int, *, epoch: int
) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Of the samples to learn from, from this epoch on, and of those for validation."""
    sampler = EpochSampler(parts.train, seed=recipe.seed)
    sampler.set_epoch(epoch)
    steady = EpochSampler(parts.valid, shuffle=False)
    return (
        _loader(Inputs(parts.train, recipe, training=True), sampler, recipe.batch_size, workers),
        _loader(Inputs(parts.valid, recipe, training=False), steady, recipe.batch_size, workers),
    )


class _Loader(DataLoader[dict[str, Any]]):
    """A loader whose errors are those of the data."""

    def __iter__(self) -> Any:
        with plain_errors():
            yield from super().__iter__()


def _loader(
    inputs: Inputs, sampler: EpochSampler, batch_size: int, workers: int
) -> DataLoader[dict[str, Any]]:
    return _Loader(
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
    devices: int,
) -> dict[str, Any]:
    """What a training is; one of another kind does not go on with it."""
    return {
        "recipe": recipe.to_dict(),
        "data": Path(data).name,
        "projected": None if projected is None else Path(projected).name,
        "fold": fold,
        "devices": devices,
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


def _check_steps(samples: int, recipe: Recipe, devices: int) -> None:
    """Refuse a step that batch normalisation cannot take: one image, shrunk to one pixel."""
    side = recipe.image_size
    for halve in (1, 1, 0, 0, 0):  # first layer, pooling, three transitions
        side = (side + halve) // 2
    own = -(-samples // devices)
    if side == 1 and own % recipe.batch_size == 1 % recipe.batch_size:
        raise TrainingError(
            f"{own} images{' on each device' if devices > 1 else ''} in steps of "
            f"{recipe.batch_size} leave one for the last, and one of {recipe.image_size} pixels "
            "is too small to learn from alone; choose another batch_size, or image_size 64"
        )
