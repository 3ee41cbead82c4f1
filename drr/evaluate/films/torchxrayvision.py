"""Films of torchxrayvision's data sets (CheXpert, NIH, PadChest, VinDr, ...) to predict on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.datasets.loaders.samples import Samples, Transform
from drr.evaluate.films.films import aligned
from drr.evaluate.metrics import EvaluationError
from drr.evaluate.truth import from_torchxrayvision, select
from drr.sharing import kept_property

__all__ = ["TorchXRayVisionFilms"]


class TorchXRayVisionFilms(Samples):
    """A data set of torchxrayvision as `drr.train.predict.predict` takes it.

    Parameters
    ----------
    dataset
        With `pathologies`, `labels` (1, 0, NaN), `csv`, and samples whose `img` is `(1, rows,
        columns)` from -1024 to 1024.
    labels
        Findings wanted, in this order and by these names, as `drr.evaluate.films.films.Films` takes
        them.
    views
        `frontal`, `all`, or the name of one view. A data set that states no views passes.
    style, transform
        See `drr.datasets.loaders.samples.Samples`.

    Attributes
    ----------
    truth
        `Truth` of the films, in their order, with the data set's own findings.
    views
        View of each film.
    notes
        How findings were matched.

    Raises
    ------
    EvaluationError
        For findings and views that do not exist, and what is no such data set.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        labels: Sequence[str] | None = None,
        views: str = "frontal",
        style: str = "plain",
        transform: Transform | None = None,
    ) -> None:
        if missing := [n for n in ("pathologies", "labels", "csv") if not hasattr(dataset, n)]:
            raise EvaluationError(
                f"{type(dataset).__name__} has no {' and no '.join(missing)}; give a data set of "
                "torchxrayvision, or of its kind"
            )
        self.dataset = dataset
        truth = from_torchxrayvision(dataset)
        self._rows = select(truth, views=views)
        self.truth = truth.take(self._rows)
        pathologies, codes, notes = aligned(self.truth, labels)
        self.notes = tuple(notes)
        count = len(self._rows)
        self.views = list(self.truth.view or [""] * count)
        names = self.truth.names or tuple(f"row {row}" for row in self._rows)
        super().__init__(
            names=names,
            patients=self.truth.patients or names,
            sexes=self.truth.sex or [""] * count,
            ages=np.asarray(
                np.full(count, np.nan) if self.truth.age is None else self.truth.age, np.float32
            ),
            splits=[""] * count,
            pathologies=pathologies,
            codes=codes,
            view=views,
            style=style,
            transform=transform,
        )

    def image(self, epoch: int, index: int) -> NDArray[np.float32]:
        """`(1, rows, columns)` float32 from 0 to 1; films may differ in size.

        Raises
        ------
        EvaluationError
            For a film that is not `(1, rows, columns)`, or far from -1024 to 1024.
        """
        sample = self.dataset[int(self._rows[index])]
        if "img" not in sample:
            raise EvaluationError(
                f"{self.names[index]}: the sample has no 'img', as those of torchxrayvision have; "
                f"it has {', '.join(map(repr, sample))}"
            )
        image = np.asarray(sample["img"], np.float32)
        if image.ndim != 3 or len(image) != 1:
            raise EvaluationError(
                f"{self.names[index]}: its image is of shape {image.shape}, not (1, rows, columns)"
            )
        # Resizing overshoots a little.
        if not (image.min() >= -1200 and image.max() <= 1200 and np.ptp(image) > 2):
            raise EvaluationError(
                f"{self.names[index]}: its grey levels run from {image.min():g} to "
                f"{image.max():g}, not from -1024 to 1024; see torchxrayvision.utils.normalize"
            )
        return np.clip((image + np.float32(1024)) / np.float32(2048), 0, 1)

    @kept_property
    def csv(self) -> Any:
        """As `Samples.csv`, with the view of each film."""
        table = super().csv
        table["view"] = self.views
        return table

    def _keep(self, indices: NDArray[np.int64]) -> None:
        self.truth = self.truth.take(indices)
        self._rows = self._rows[indices]
        self.views = [self.views[i] for i in indices]
