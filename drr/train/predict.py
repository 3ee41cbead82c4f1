"""What a model says about images."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from drr.datasets.loaders.samples import EpochSampler, Samples
from drr.evaluate.predictions import Predictions
from drr.train.data import Inputs, open_data, plain_errors
from drr.train.model import Model, ModelError, load_model

__all__ = ["predict"]


def predict(
    model: Model | str | Path,
    data: Samples | str | Path,
    *,
    split: str | None = None,
    view: str | None = None,
    batch_size: int = 32,
    workers: int = 0,
    device: str = "auto",
) -> Predictions:
    """Probabilities of the model's findings for every sample.

    Parameters
    ----------
    model
        Or its file, or the folder of its training.
    data
        A data set in plain style (anything with `names` whose samples have an `image` from 0 to 1
        will do), a file of stored views, or a store of prepared scans.
    split, view
        For files and stores.
    batch_size, workers
        Images at once, and processes that load them.
    device
        `cpu`, `cuda`, ...; `auto` takes a GPU where there is one.

    Returns
    -------
    Predictions with the samples' names; where one has several views they are numbered.

    Raises
    ------
    ModelError
        For a file that is no model; for images with other channels than it was trained on.
    DatasetError, CohortError
        For data that cannot be used.
    EvaluationError
        For probabilities that are not finite.
    """
    import torch
    from torch.utils.data import DataLoader

    loaded = model if isinstance(model, Model) else load_model(model)
    recipe = loaded.recipe
    if isinstance(data, str | Path):
        options: dict[str, Any] = {"split": split, "view": view, "policy": None}
        data = open_data(data, shape=(recipe.image_size, recipe.image_size), **options)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    network = loaded.network.to(device)
    loader: DataLoader[dict[str, Any]] = DataLoader(
        Inputs(data, recipe, training=False),  # type: ignore[arg-type]
        batch_size=batch_size,
        sampler=EpochSampler(data, shuffle=False),
        num_workers=workers,
    )
    expected = recipe.channels + loaded.extra_channels
    scores = []
    with torch.inference_mode(), plain_errors():
        for batch in loader:
            images = batch["input"]
            if images.shape[1] != expected:
                raise ModelError(
                    f"the images have {images.shape[1] - recipe.channels} channels of organs, the "
                    f"model was trained with {loaded.extra_channels}; choose masks= accordingly"
                )
            scores.append(torch.sigmoid(network(images.to(device)).double()).cpu().numpy())
    return Predictions(
        scores=np.concatenate(scores),
        labels=loaded.labels,
        names=_unique(list(data.names)),
        source="the model's predictions",
    )


def _unique(names: list[str]) -> tuple[str, ...]:
    counts, seen = Counter(names), Counter[str]()
    result = []
    for name in names:
        seen[name] += 1
        result.append(name if counts[name] == 1 else f"{name}#{seen[name]}")
    return tuple(result)
