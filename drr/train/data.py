"""What a network sees: which samples, which targets, and how pictures become its input."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.datasets.labels import UNCERTAIN, UNKNOWN
from drr.datasets.loaders.mixing import MixedDRRs
from drr.datasets.loaders.projected import ProjectedDRRs
from drr.datasets.loaders.samples import Key, Samples, generator
from drr.datasets.loaders.stored import StoredDRRs
from drr.datasets.schema import DatasetError
from drr.datasets.splits import fold_patients
from drr.errors import DRRError, MissingDependencyError
from drr.train.recipe import Recipe

try:
    import torch
    from torch import Tensor
    from torch.nn.functional import interpolate, pad
except ImportError:
    raise MissingDependencyError(
        "networks need PyTorch; install it with: pip install 'drr-rate[train]'"
    ) from None

__all__ = [
    "Inputs",
    "Parts",
    "class_weights",
    "fold_images",
    "open_data",
    "plain_errors",
    "targets",
    "training_parts",
]

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's red, green and blue, as torchvision states them."""

_HEAVIEST = 10.0
_TRAINING_SPLIT = "train"


@dataclass(frozen=True, kw_only=True, eq=False)
class Parts:
    """The two sides of a training.

    Parameters
    ----------
    train
        With random variations.
    valid
        Without.
    notes
        What whoever trains should know.
    """

    train: Samples | MixedDRRs
    valid: Samples
    notes: tuple[str, ...]

    @property
    def codes(self) -> NDArray[np.int8]:
        """Labels of the training samples."""
        if isinstance(self.train, MixedDRRs):
            return np.concatenate([self.train.stored.codes, self.train.projected.codes])
        return self.train.codes


class Inputs:
    """Samples as a network's input: `input`, `(channels, size, size)`, `target` and `index`.

    Parameters
    ----------
    data
        Samples in plain style.
    recipe
        Crop, size, channels, normalisation; mirror images.
    training
        Whether crops and mirror images are random. They depend on the recipe's seed, the epoch and
        the sample only.
    """

    def __init__(self, data: Samples | MixedDRRs, recipe: Recipe, *, training: bool) -> None:
        self.data, self.recipe, self.training = data, recipe, training

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, key: Key) -> dict[str, Any]:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        sample = self.data[epoch, index]
        image = np.asarray(sample["image"], np.float32)
        if not np.isfinite(image).all():
            raise DatasetError(
                f"the image of {sample['name']} is not finite; build it again, or leave it out"
            )
        values = torch.from_numpy(image)
        if self.training:
            rng = generator(self.recipe.seed, epoch, index)
            values = _random_crop(values, self.recipe.crop_area, rng)
            if rng.random() < self.recipe.flip:
                values = values.flip(2)
        return {"input": self.prepare(values), "target": sample["labels"], "index": index}

    def prepare(self, image: Tensor) -> Tensor:
        """`(1 + extra, rows, columns)` from 0 to 1 to what the network takes."""
        recipe, size = self.recipe, self.recipe.image_size
        rows, columns = image.shape[1:]
        if rows != columns and recipe.square == "crop":
            side = min(rows, columns)
            top, left = (rows - side) // 2, (columns - side) // 2
            image = image[:, top : top + side, left : left + side]
        elif rows != columns:
            side = max(rows, columns)
            top, left = (side - rows) // 2, (side - columns) // 2
            image = pad(image, (left, side - columns - left, top, side - rows - top))
        if image.shape[1] != size:
            image = interpolate(
                image[None], (size, size), mode="bilinear", align_corners=False, antialias=True
            )[0]
        grey = image[:1].expand(recipe.channels, -1, -1)
        if recipe.normalisation == "imagenet":
            mean = torch.tensor(_MEAN if recipe.channels == 3 else (0.449,))[:, None, None]
            deviation = torch.tensor(_DEVIATION if recipe.channels == 3 else (0.226,))
            grey = (grey - mean) / deviation[:, None, None]
        elif recipe.normalisation == "centred":
            grey = (grey - 0.5) / 0.25
        elif recipe.normalisation == "torchxrayvision":
            grey = (grey - 0.5) * 2048
        return torch.cat([grey, image[1:]]).contiguous()


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Errors of loader workers as they were raised: torch puts a traceback into their text."""
    try:
        yield
    except DRRError as error:
        # Its own text: as one line for people it would be cut in the middle.
        text = str(error.args[0]).rstrip() if error.args else ""
        if not text.startswith("Caught "):
            raise
        last = text.splitlines()[-1]
        raise type(error)(last.partition(": ")[2] or last) from None


def open_data(data: str | Path, **options: Any) -> Samples:
    """The data set of a path: a file of stored views, or a store of prepared scans.

    Parameters
    ----------
    options
        Options of `StoredDRRs` or `ProjectedDRRs`; `view` is meant for either.
    """
    path = Path(data)
    if path.is_dir():
        view = options.pop("view", None)
        return ProjectedDRRs(path, views=view or "pa", **options)
    options.pop("shape", None)
    return StoredDRRs(path, **options)


def training_parts(
    data: str | Path,
    recipe: Recipe,
    *,
    projected: str | Path | None = None,
    view: str | None = None,
    fold: int = 0,
) -> Parts:
    """Open data, and take one fold of the training split for validation.

    Parameters
    ----------
    data
        File of stored views, or store of prepared scans.
    projected
        Store of prepared scans, mixed with a file of stored views. Patients of the validation fold
        are left out of it.
    view
        View of the file, where it has several; of the store, `pa` by default.
    fold
        Which, from 0 up.

    Raises
    ------
    DatasetError, CohortError
        For data that cannot be used; for a fold that does not exist; for a finding without
        positives or negatives.
    """
    if not 0 <= fold < recipe.folds:
        raise DatasetError(f"fold {fold} does not exist; the recipe has {recipe.folds}, from 0 up")
    shape = (recipe.image_size, recipe.image_size)
    common: dict[str, Any] = {"labels": recipe.labels or None, "seed": recipe.seed, "view": view}
    everything = open_data(data, shape=shape, policy=recipe.policy, **common)
    if not everything.pathologies:
        raise DatasetError(f"{data}: has no labels; there is nothing to learn from it")
    steady = open_data(data, shape=shape, policy=None, **common)
    notes: list[str] = []
    if any(everything.splits):
        chosen = open_data(data, shape=shape, split=_TRAINING_SPLIT, policy=None, **common)
        kept = set(chosen.names)
        indices = [i for i, name in enumerate(everything.names) if name in kept]
        everything, steady = everything.subset(indices), steady.subset(indices)
    else:
        notes.append("no sample has a split: all are used for training and validation")
    if recipe.folds_of == "images":
        held = fold_images(len(everything), folds=recipe.folds, seed=recipe.seed)[fold]
        inside = {everything.patients[i] for i in held}
        rest = {p for i, p in enumerate(everything.patients) if i not in set(held.tolist())}
        if shared := len(inside & rest):
            notes.append(
                f"{shared} patients are both in training and validation, as in the published "
                "recipe: folds are of images. Use folds_of 'patients' for figures to rely on"
            )
    else:
        folds = fold_patients(everything.patients, folds=recipe.folds, seed=recipe.seed)
        held = np.array([i for i, p in enumerate(everything.patients) if folds[p] == fold])
    outside = np.setdiff1d(np.arange(len(everything)), held)
    valid = steady.subset(held.tolist())
    own = everything.subset(outside.tolist())
    train: Samples | MixedDRRs = own
    if projected is not None:
        if isinstance(everything, ProjectedDRRs):
            raise DatasetError(
                f"{data}: is a store already; give a file of stored views to mix with {projected}"
            )
        fresh: Samples = ProjectedDRRs(
            projected,
            views=view or "pa",
            shape=shape,
            policy=recipe.policy,
            labels=everything.pathologies,
            seed=recipe.seed,
        )
        mine, theirs = set(everything.patients), set(valid.patients)
        of_training = [
            i
            for i, patient in enumerate(fresh.patients)
            if patient not in theirs
            and (patient in mine or fresh.splits[i] in ("", _TRAINING_SPLIT))
        ]
        train = MixedDRRs(
            own,
            fresh.subset(of_training),
            projected_fraction=recipe.projected_fraction,
            seed=recipe.seed,
        )
    parts = Parts(train=train, valid=valid, notes=tuple(notes))
    _check_classes(targets(parts.codes, recipe), everything.pathologies, str(data))
    sources = [train.stored, train.projected] if isinstance(train, MixedDRRs) else [train]
    for source in (*sources, valid):
        source.labels = targets(source.codes, recipe)
    return parts


def fold_images(count: int, *, folds: int, seed: int) -> list[NDArray[np.int64]]:
    """Indices of every fold as scikit-learn's `KFold(folds, shuffle=True, random_state=seed)`."""
    if count < folds:
        raise DatasetError(f"{count} images cannot make {folds} folds; use more data")
    order = np.arange(count)
    np.random.RandomState(seed).shuffle(order)
    return [np.sort(part) for part in np.array_split(order, folds)]


def targets(codes: NDArray[np.int8], recipe: Recipe) -> NDArray[np.float32]:
    """`(n, labels)` float32: 1, 0, and NaN for what the loss leaves out."""
    values = codes.astype(np.float32)
    meanings = {"absent": 0.0, "present": 1.0, "ignore": np.nan}
    values[codes == UNCERTAIN] = meanings[recipe.uncertain]
    values[codes == UNKNOWN] = meanings[recipe.unknown]
    return values


def class_weights(wanted: NDArray[np.float32], recipe: Recipe) -> NDArray[np.float32]:
    """`(2, labels)` float32: what a negative and a positive of each finding count in the loss."""
    if recipe.class_weighting == "none":
        return np.ones((2, wanted.shape[1]), np.float32)
    counts = np.stack([(wanted == 0).sum(axis=0), (wanted == 1).sum(axis=0)])
    balanced = counts.sum(axis=0) / (2 * np.maximum(counts, 1))
    return np.minimum(balanced, _HEAVIEST).astype(np.float32)


def _check_classes(wanted: NDArray[np.float32], names: list[str], place: str) -> None:
    for value, what in ((1, "positives"), (0, "negatives")):
        empty = [name for name, column in zip(names, wanted.T, strict=True) if value not in column]
        if empty:
            raise DatasetError(
                f"{place}: there are no {what} of {', '.join(empty)} among {len(wanted)} training "
                "samples; leave these labels out of the recipe"
            )


def _random_crop(image: Tensor, area: tuple[float, float], rng: np.random.Generator) -> Tensor:
    """A random square of a part of the area; the whole picture where that is all of it."""
    if area == (1.0, 1.0):
        return image
    rows, columns = image.shape[1:]
    side = round(float(np.sqrt(rng.uniform(*area) * rows * columns)))
    side = max(1, min(side, rows, columns))
    top = int(rng.integers(rows - side + 1))
    left = int(rng.integers(columns - side + 1))
    return image[:, top : top + side, left : left + side]
