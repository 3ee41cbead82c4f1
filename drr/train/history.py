"""What every epoch came to, and the learning rate that follows from it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from drr.files.spreadsheet import csv_text
from drr.train.recipe import Recipe

__all__ = ["History", "Row", "learning_rate"]

Row = dict[str, float]
"""Figures of one epoch by name."""


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
        return csv_text(keys, ([f"{row[key]:.9g}" for key in keys] for row in self.rows))

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
        History of the epochs done.
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
