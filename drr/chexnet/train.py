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

import io
import json
import logging
import math
import os
import platform
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import drr
from drr.chexnet.curves import curves_svg
from drr.chexnet.data import Inputs, Parts, class_weights, plain_errors, targets, training_parts
from drr.chexnet.metrics import auroc
from drr.chexnet.model import DenseNet121, Model, ModelError, initialise, save_model
from drr.chexnet.recipe import Recipe, find_recipe
from drr.datasets.loading import EpochSampler
from drr.errors import DRRError, MissingDependencyError, WriteError
from drr.io.atomic import write_files

try:
    import lightning.pytorch as pl
    import torch
    from lightning.pytorch.callbacks import Checkpoint
    from torch import Tensor
    from torch.utils.data import DataLoader
except ImportError:
    raise MissingDependencyError(
        "training needs PyTorch and Lightning; install them with: pip install 'drr-rate[train]'"
    ) from None

__all__ = ["History", "Training", "TrainingError", "learning_rate", "train"]

CHECKPOINT_VERSION = 1

Row = dict[str, float]


class TrainingError(DRRError):
    """A training that cannot be started, taken up again, or went wrong."""


@dataclass
class History:
    """The epochs so far, oldest first: `epoch`, `learning_rate`, losses, AUROC.

    Parameters
    ----------
    rows
        A dictionary of numbers for every epoch, `auroc: <label>` among them.
    monitor
        `loss` or `auroc`.
    """

    monitor: str
    rows: list[Row] = field(default_factory=list)

    @property
    def best(self) -> int:
        """Index of the best epoch; -1 before the first."""
        if not self.rows:
            return -1
        return int(np.argmax([self._goodness(row) for row in self.rows]))

    @property
    def epochs_without_gain(self) -> int:
        """Since the best one."""
        return len(self.rows) - 1 - self.best

    def plateaus(self) -> int:
        """Epochs whose validation loss was not the least so far."""
        losses = [row["valid_loss"] for row in self.rows]
        return sum(loss >= min(losses[:i]) for i, loss in enumerate(losses) if i)

    def csv(self) -> str:
        """A header, and a row for every epoch."""
        if not self.rows:
            return ""
        keys = list(self.rows[0])
        lines = [",".join(f'"{key}"' if "," in key else key for key in keys)]
        lines += [",".join(f"{row[key]:.9g}" for key in keys) for row in self.rows]
        return "\n".join(lines) + "\n"

    def _goodness(self, row: Row) -> float:
        value = row["valid_auroc"] if self.monitor == "auroc" else -row["valid_loss"]
        # A macro AUROC of a fold without positives is none.
        return -math.inf if math.isnan(value) else value


def learning_rate(recipe: Recipe, position: float, history: History) -> float:
    """The learning rate at a place in training.

    Parameters
    ----------
    recipe
        Its schedule.
    position
        Epochs done, with the part of the one that is under way.
    history
        Of the epochs done.
    """
    rate = recipe.learning_rate
    if position < recipe.warm_up_epochs:
        return rate * max(position, 0.01) / recipe.warm_up_epochs
    if recipe.schedule == "plateau":
        return rate * 0.1 ** history.plateaus()
    if recipe.schedule == "cosine":
        rest = max(recipe.epochs - recipe.warm_up_epochs, 1e-9)
        done = min((position - recipe.warm_up_epochs) / rest, 1.0)
        return rate * (1 + math.cos(math.pi * done)) / 2
    return rate


class Training(pl.LightningModule):
    """The network, its loss and its history.

    Parameters
    ----------
    network
        Trained in place.
    recipe
        Optimiser, schedule and loss.
    labels
        Findings, for the history.
    weights
        `(2, labels)` weights of negatives and positives.
    """

    def __init__(
        self,
        network: DenseNet121,
        recipe: Recipe,
        labels: tuple[str, ...],
        weights: NDArray[np.float32],
    ) -> None:
        super().__init__()
        self.network, self.recipe, self.findings = network, recipe, labels
        self.history = History(recipe.monitor)
        self.register_buffer("weights", torch.from_numpy(weights), persistent=False)
        self._sums = [0.0, 0.0]
        self._seen: list[tuple[Tensor, Tensor]] = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        recipe = self.recipe
        kind = torch.optim.AdamW if recipe.optimiser == "adamw" else torch.optim.Adam
        return kind(
            self.network.parameters(),
            lr=recipe.learning_rate,
            betas=recipe.betas,
            eps=recipe.epsilon,
            weight_decay=recipe.weight_decay,
        )

    def on_train_epoch_start(self) -> None:
        self._sums = [0.0, 0.0]

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        position = self.current_epoch + batch_idx / self.trainer.num_training_batches
        rate = learning_rate(self.recipe, position, self.history)
        for optimiser in self.trainer.optimizers:
            for group in optimiser.param_groups:
                group["lr"] = rate

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        total, count = self.loss(self.network(batch["input"]), batch["target"])
        if not torch.isfinite(total):
            raise TrainingError(
                f"the loss of epoch {self.current_epoch}, step {batch_idx} is not a number; lower "
                "the learning rate, or use precision 32-true"
            )
        self._sums[0] += float(total.detach())
        self._sums[1] += float(count)
        return total / count.clamp(min=1)

    def on_validation_epoch_start(self) -> None:
        self._seen = []

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        self._seen.append((self.network(batch["input"]).float(), batch["target"]))

    def loss(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of the weighted binary cross-entropies of known labels, and how many there are."""
        known = ~torch.isnan(target)
        wanted = torch.where(known, target, torch.zeros_like(target))
        losses = torch.nn.functional.binary_cross_entropy_with_logits(
            logits.float(), wanted, reduction="none"
        )
        weights = self.weights
        assert isinstance(weights, Tensor)
        weighted = losses * torch.where(wanted > 0.5, weights[1], weights[0])
        return (weighted * known).sum(), known.sum()

    def on_train_epoch_end(self) -> None:
        sums = self._everywhere(torch.tensor(self._sums, dtype=torch.float64)).reshape(-1, 2).sum(0)
        logits, target = (torch.cat([seen[i] for seen in self._seen]) for i in (0, 1))
        logits, target = (
            self._everywhere(values).reshape(-1, len(self.findings)) for values in (logits, target)
        )
        total, count = self.loss(logits, target)
        row: Row = {
            "epoch": self.current_epoch,
            "learning_rate": float(self.trainer.optimizers[0].param_groups[0]["lr"]),
            "train_loss": float(sums[0] / sums[1].clamp(min=1)),
            "valid_loss": float(total / count.clamp(min=1)),
        }
        areas = _areas(target.cpu().numpy(), logits.cpu().numpy())
        defined = [area for area in areas if not math.isnan(area)]
        row["valid_auroc"] = float(np.mean(defined)) if defined else math.nan
        row |= {f"auroc: {n}": a for n, a in zip(self.findings, areas, strict=True)}
        self.history.rows.append(row)
        self._seen = []

    def _everywhere(self, values: Tensor) -> Tensor:
        """The same of all processes."""
        gathered = self.all_gather(values)
        assert isinstance(gathered, Tensor)
        return gathered

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["drr"] = {
            "version": CHECKPOINT_VERSION,
            "recipe": self.recipe.to_dict(),
            "labels": list(self.findings),
            "history": self.history.rows,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history.rows = list(checkpoint["drr"]["history"])


class _Keep(Checkpoint):
    """After every epoch: history, checkpoint, and the model where it is the best so far."""

    def __init__(self, folder: Path, extra: int, report: Callable[[Row, bool], object]) -> None:
        self.folder, self.extra, self.report = folder, extra, report

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Training)
        history, recipe = pl_module.history, pl_module.recipe
        best = history.epochs_without_gain == 0
        content = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        if trainer.is_global_zero:
            buffer = io.BytesIO()
            torch.save(content, buffer)
            if best:
                row = history.rows[-1]
                model = Model(
                    network=pl_module.network,
                    labels=pl_module.findings,
                    recipe=recipe,
                    extra_channels=self.extra,
                    about={"drr": drr.__version__, "torch": str(torch.__version__), **row},
                )
                save_model(self.folder / "model.pt", model)
            # The checkpoint last: what it says was done is there.
            write_files(
                {
                    self.folder / "history.csv": history.csv().encode(),
                    self.folder / "curves.svg": curves_svg(history.rows).encode(),
                    self.folder / "last.ckpt": buffer.getvalue(),
                },
                force=True,
            )
            self.report(history.rows[-1], best)
        if recipe.patience and history.epochs_without_gain >= recipe.patience:
            trainer.should_stop = True


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
            callbacks=[_Keep(folder, extra, report)],
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


def _areas(truth: NDArray[np.float32], scores: NDArray[np.float32]) -> list[float]:
    """AUROC of every finding; NaN where its known labels are all alike."""
    areas = []
    for wanted, found in zip(truth.T, scores.T, strict=True):
        known = ~np.isnan(wanted)
        areas.append(auroc(wanted[known], found[known]) if known.any() else math.nan)
    return areas


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
