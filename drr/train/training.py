"""The network in training: loss, optimiser, and what is kept after every epoch."""

from __future__ import annotations

import io
import math
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import drr
from drr.errors import DRRError, MissingDependencyError
from drr.evaluate.metrics import auroc
from drr.files.atomic import write_files
from drr.train.curves import curves_svg
from drr.train.history import History, Row, learning_rate
from drr.train.model import Model, save_model
from drr.train.recipe import Recipe
from drr.train.vision import import_vision

try:
    import torch

    import_vision()  # before Lightning, which imports torchvision where it is installed
    import lightning.pytorch as pl
    from lightning.pytorch.callbacks import Checkpoint
    from torch import Tensor, nn
except ImportError:
    raise MissingDependencyError(
        "training needs PyTorch and Lightning; install them with: pip install 'drr-rate[train]'"
    ) from None

__all__ = ["CHECKPOINT_VERSION", "RUN", "Keep", "Training", "TrainingError"]

CHECKPOINT_VERSION = 1
RUN = "run.json"


class TrainingError(DRRError):
    """A training that cannot be started, taken up again, or went wrong."""


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
        network: nn.Module,
        recipe: Recipe,
        labels: tuple[str, ...],
        weights: NDArray[np.float32],
    ) -> None:
        super().__init__()
        self.network, self.recipe, self.findings = network, recipe, labels
        self.history = History(recipe.monitor)
        self.register_buffer("weights", torch.from_numpy(weights), persistent=False)
        self._sums = [0.0, 0.0]
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []

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
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            # Means and deviations of the last step are each process's own; the first one's are
            # kept, so that those are what is judged.
            for buffer in self.network.buffers():
                torch.distributed.broadcast(buffer, 0)

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        logits = self.network(batch["input"]).float()
        self._seen.append((logits, batch["target"], batch["index"]))

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
        logits, target, index = (torch.cat([seen[i] for seen in self._seen]) for i in range(3))
        logits, target = (
            self._everywhere(values).reshape(-1, len(self.findings)) for values in (logits, target)
        )
        # Processes have equally many: some samples are there twice, and count once.
        own = np.unique(self._everywhere(index).reshape(-1).cpu().numpy(), return_index=True)[1]
        logits, target = logits[own], target[own]
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


class Keep(Checkpoint):
    """After every epoch: history, checkpoint, and the model where it is the best so far.

    Parameters
    ----------
    folder
        For them.
    extra
        Channels of organs.
    report
        Called with every row of the history and whether it is the best.
    run
        What the training is, written before the first epoch's results; None where it is there.
    """

    def __init__(
        self,
        folder: Path,
        extra: int,
        report: Callable[[Row, bool], object],
        run: bytes | None,
    ) -> None:
        self.folder, self.extra, self.report = folder, extra, report
        self.run = run
        self.started = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started = True
        if trainer.world_size > 1:
            # Where one process fails the others are ended, which Lightning makes tracebacks of.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Training)
        history, recipe = pl_module.history, pl_module.recipe
        best = history.epochs_without_gain == 0
        content = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        if trainer.is_global_zero:
            buffer = io.BytesIO()
            torch.save(content, buffer)
            if self.run is not None:
                write_files({self.folder / RUN: self.run})
                self.run = None
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


def _areas(truth: NDArray[np.float32], scores: NDArray[np.float32]) -> list[float]:
    """AUROC of every finding; NaN where its known labels are all alike."""
    areas = []
    for wanted, found in zip(truth.T, scores.T, strict=True):
        known = ~np.isnan(wanted)
        areas.append(auroc(wanted[known], found[known]) if known.any() else math.nan)
    return areas
