"""Recipes: every choice of a training, as data. `drr-rate`, `chexnet` and `modern` come along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from drr.checks import Recorded, did_you_mean, items, text, whole, within
from drr.errors import DocumentError, DRRError
from drr.files.documents import parse_json, read_json
from drr.randomise.policy import policy as find_policy

__all__ = ["RECIPES", "Recipe", "RecipeError", "find_recipe"]

RECIPES = ("drr-rate", "chexnet", "modern")
"""Recipes that come with the package, in `drr/train/recipes`."""

_CHOICES: dict[str, tuple[Any, ...]] = {
    "channels": (1, 3),
    "normalisation": ("none", "imagenet", "centred", "torchxrayvision"),
    "square": ("crop", "pad"),
    "class_weighting": ("none", "balanced"),
    "uncertain": ("absent", "present", "ignore"),
    "unknown": ("absent", "ignore"),
    "optimiser": ("adam", "adamw"),
    "schedule": ("constant", "plateau", "cosine"),
    "folds_of": ("patients", "images"),
    "monitor": ("loss", "auroc"),
    "precision": ("32-true", "16-mixed", "bf16-mixed"),
}
_WHOLE = {
    "image_size": (32, 4096),
    "batch_size": (1, 65536),
    "epochs": (1, 1_000_000),
    "patience": (0, 1_000_000),
    "folds": (2, 1_000_000),
    # What NumPy's older generators take, and published recipes use.
    "seed": (0, 2**32 - 1),
}
_NUMBERS = {
    "flip": (0.0, 1.0),
    "learning_rate": (1e-9, 10.0),
    "epsilon": (1e-16, 1.0),
    "weight_decay": (0.0, 1.0),
    "warm_up_epochs": (0.0, 1e6),
    "gradient_clip": (0.0, 1e9),
    "projected_fraction": (0.0, 1.0),
}


class RecipeError(DRRError, ValueError):
    """A recipe with an unknown key or a value that cannot be."""


@dataclass(frozen=True, kw_only=True)
class Recipe(Recorded):
    """How a network is trained; `eval(repr(r)) == r`.

    Parameters
    ----------
    name, source
        What it is called, and where its choices come from.
    labels
        Findings to learn; all that the data have if empty.
    image_size
        Rows and columns of the network's input.
    square
        How pictures that are not square become so: `crop` their middle, or `pad` with black.
    channels
        1, or 3 with the same grey levels thrice, as networks for photographs need.
    normalisation
        Normalisation of grey levels from 0 to 1. `none`; `imagenet`: minus the mean and over the
        standard deviation of its three channels; `centred`: (x - 0.5) / 0.25; `torchxrayvision`:
        from -1024 to 1024, as its networks expect.
    crop_area
        Least and greatest part of the picture's area that a random square crop keeps; (1, 1) crops
        nothing.
    flip
        Probability of a mirror image. It moves the heart to the right.
    policy
        Random variations (`drr.randomise.policy`), by the name of a preset; None for none.
        Of stored pictures only what is done to a picture is varied.
    projected_fraction
        Part of the samples that is projected where there are stored and projected ones.
    class_weighting
        Weighting in the loss. `balanced`: a finding's positives and negatives count alike, at most
        tenfold.
    uncertain, unknown
        What such labels count as: `absent`, `present`, or `ignore` to leave them out of the loss.
    optimiser, learning_rate, betas, epsilon, weight_decay
        `adam` adds the decay to the gradient, `adamw` takes it off the weights.
    schedule
        Schedule of the learning rate. `constant`; `plateau`: a tenth of it after every epoch whose
        validation loss is not the least so far; `cosine`: down to nothing at the last epoch.
    warm_up_epochs
        In which the learning rate grows to its value.
    gradient_clip
        Greatest norm of the gradient; 0 for any.
    batch_size, epochs
        Images in a step; at most so many passes.
    patience
        Epochs without a better `monitor` after which training ends; 0 for never.
    monitor
        Which epoch is best: least validation `loss`, or greatest macro `auroc`.
    folds, folds_of
        One of so many folds of the training split is for validation. Folds of `images` put scans of
        one patient on both sides; they are there to repeat what was published.
    seed
        Seed of folds, first weights, order, crops and variations.
    precision
        `32-true`, or mixed with 16 bits: `16-mixed`, `bf16-mixed`.

    Raises
    ------
    RecipeError
        By key, for a value that cannot be.
    """

    error = RecipeError
    unknown_key = "a recipe has no key {key!r}{question}"

    name: str = "custom"
    source: str = ""
    labels: tuple[str, ...] = ()
    image_size: int = 224
    square: str = "crop"
    channels: int = 3
    normalisation: str = "none"
    crop_area: tuple[float, float] = (1.0, 1.0)
    flip: float = 0.0
    policy: str | None = None
    projected_fraction: float = 0.5
    class_weighting: str = "none"
    uncertain: str = "ignore"
    unknown: str = "ignore"
    optimiser: str = "adam"
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    schedule: str = "constant"
    warm_up_epochs: float = 0.0
    gradient_clip: float = 0.0
    batch_size: int = 32
    epochs: int = 20
    patience: int = 0
    monitor: str = "loss"
    folds: int = 5
    folds_of: str = "patients"
    seed: int = 0
    precision: str = "32-true"

    def __post_init__(self) -> None:
        for key in ("name", "source"):
            text(key, getattr(self, key), error=RecipeError)
        for key, choices in _CHOICES.items():
            value = getattr(self, key)
            if value not in choices or isinstance(value, bool):
                allowed = ", ".join(map(str, choices))
                hint = did_you_mean(value, choices, question=True)
                raise RecipeError(f"{key} must be one of {allowed}, got {value!r}{hint}")
        for key, (least, most) in _WHOLE.items():
            whole(key, getattr(self, key), error=RecipeError, least=least, most=most)
        for key, (low, high) in _NUMBERS.items():
            self._set(**{key: within(key, getattr(self, key), low, high, error=RecipeError)})
        for key in ("crop_area", "betas"):
            pair = items(key, getattr(self, key), 2, error=RecipeError, wanted="two numbers")
            self._set(**{key: tuple(within(key, v, 0.0, 1.0, error=RecipeError) for v in pair)})
        if not 0 < self.crop_area[0] <= self.crop_area[1]:
            raise RecipeError(f"crop_area must rise from above 0 to 1, got {self.crop_area}")
        if max(self.betas) >= 1:
            raise RecipeError(f"betas must be below 1, got {self.betas}")
        labels: Any = self.labels
        texts = isinstance(labels, list | tuple) and all(isinstance(n, str) for n in labels)
        if not texts or len(set(labels)) < len(labels):
            raise RecipeError(f"labels must be a list of different names, got {labels!r}")
        self._set(labels=tuple(labels))
        if self.policy is not None:
            try:
                find_policy(self.policy)
            except DRRError as error:
                raise RecipeError(f"policy: {error}") from None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Inverse of `to_dict`; unknown keys are refused, with the nearest there is."""
        if not isinstance(values, Mapping):
            raise RecipeError(f"a recipe is an object of keys and values, got {values!r}")
        return super().from_dict(values)


def find_recipe(source: str | Path | Recipe | Mapping[str, Any]) -> Recipe:
    """A recipe by name, from a JSON file, or from a dictionary.

    Raises
    ------
    RecipeError
        For names, files and keys that do not exist, and values that cannot be.
    """
    if isinstance(source, Recipe):
        return source
    if isinstance(source, Mapping):
        return Recipe.from_dict(source)
    if str(source) in RECIPES:
        content = (files("drr.train") / "recipes" / f"{source}.json").read_text("utf-8")
        return Recipe.from_dict(parse_json(content))
    path = Path(source)
    try:
        return Recipe.from_dict(read_json(path))
    except FileNotFoundError:
        hint = did_you_mean(source, RECIPES)
        raise RecipeError(
            f"there is no recipe {str(source)!r}{hint}; give {', '.join(RECIPES)} or a JSON file"
        ) from None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from None
    except (DocumentError, RecipeError) as error:
        raise RecipeError(f"{path}: {error}") from None
