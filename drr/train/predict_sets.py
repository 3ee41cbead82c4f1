"""A trained model's predictions on images whose truth is known, for `drr evaluate`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from drr.evaluate.films.films import Films, only_table
from drr.evaluate.metrics import EvaluationError
from drr.evaluate.predictions import Predictions
from drr.evaluate.truth import Truth, read_truth

if TYPE_CHECKING:
    from drr.datasets.loaders.samples import Samples

__all__ = ["predict_films", "predict_views", "truth_of"]


def predict_views(
    model: str | Path,
    data: str | Path,
    *,
    split: str | None = None,
    view: str | None = None,
    workers: int = 0,
) -> tuple[Predictions, Truth]:
    """Predictions on a data set of `drr build`, or a store of `drr prepare`, and its labels.

    Parameters
    ----------
    model, data, split, view, workers
        As `drr.train.predict.predict` takes them.

    Raises
    ------
    DRRError
        For what is no model, no data set, or does not fit.
    """
    from drr.train.data import open_data
    from drr.train.model import load_model
    from drr.train.predict import predict

    loaded = load_model(model)
    side = loaded.recipe.image_size
    samples = open_data(data, shape=(side, side), split=split, view=view, policy=None)
    predictions = predict(loaded, samples, workers=workers)
    return (
        replace(predictions, source=str(model)),
        truth_of(samples, names=predictions.names, source=str(data)),
    )


def predict_films(
    model: str | Path,
    films: str | Path,
    table: str | Path | None = None,
    *,
    split: str | None = None,
    views: str = "frontal",
    original_shape: bool = False,
    workers: int = 0,
) -> tuple[Predictions, Truth]:
    """Predictions on real films, and what their table says.

    Parameters
    ----------
    model, workers
        As `drr.train.predict.predict` takes them.
    films, table, split, views, original_shape
        As `drr.evaluate.films.films.Films` takes them; the table may have the model's own findings.

    Raises
    ------
    DRRError
        For what is no model, no films, or does not fit.
    """
    from drr.train.model import load_model
    from drr.train.predict import predict

    loaded = load_model(model)
    known = read_truth(only_table(films) if table is None else table, labels=loaded.labels)
    samples = Films(films, known, split=split, views=views, original_shape=original_shape)
    predictions = predict(loaded, samples, workers=workers)
    truth = replace(samples.truth, notes=(*samples.truth.notes, *samples.notes))
    return replace(predictions, source=str(model)), truth


def truth_of(
    samples: Samples, *, names: tuple[str, ...] | None = None, source: str = "data"
) -> Truth:
    """What a data set knows of its samples, in its order.

    Parameters
    ----------
    names
        Other names, where its own are not unique.

    Raises
    ------
    EvaluationError
        For a data set without labels.
    """
    if not samples.pathologies:
        raise EvaluationError(f"{source}: has no labels; there is nothing to compare with")
    ages = np.asarray(samples.ages, np.float64)
    return Truth(
        codes=samples.codes,
        labels=tuple(samples.pathologies),
        names=tuple(samples.names) if names is None else names,
        patients=tuple(samples.patients),
        sex=tuple(samples.sexes) if any(samples.sexes) else None,
        age=ages if np.isfinite(ages).any() else None,
        split=tuple(samples.splits) if any(samples.splits) else None,
        source=source,
    )
