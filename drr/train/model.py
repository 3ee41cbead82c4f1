"""DenseNet-121, the network of CheXNet, and models that are kept in files.

G. Huang, Z. Liu, L. van der Maaten, K. Weinberger, "Densely Connected Convolutional Networks",
CVPR 2017, arXiv:1608.06993, table 1; P. Rajpurkar et al., "CheXNet", arXiv:1711.05225. The network
is torchvision's, so that its weights and those of torchxrayvision fit, and ours fit there.
"""

from __future__ import annotations

import importlib
import io
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from drr.errors import DRRError, MissingDependencyError, printable
from drr.files.atomic import write_files
from drr.train.recipe import Recipe
from drr.train.vision import import_vision

try:
    import torch
    from torch import Tensor, nn
except ImportError:
    raise MissingDependencyError(
        "networks need PyTorch; install it with: pip install 'drr-rate[train]'"
    ) from None

__all__ = ["Model", "ModelError", "densenet121", "initialise", "load_model", "save_model"]

MODEL_FORMAT = "drr-chexnet"
MODEL_VERSION = 1

# What values of other types and sizes lead to.
_UNFIT = (DRRError, ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError,
          ValueError)  # fmt: skip
# torchvision's first weights name the parts of a layer `norm.1`, the class `norm1`.
_OLD_NAME = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)$")


class ModelError(DRRError):
    """Weights or a model file that cannot be used."""


def densenet121(outputs: int, *, channels: int = 3) -> nn.Module:
    """Make torchvision's DenseNet-121 with random weights.

    It maps `(n, channels, rows, columns)` float32 images to `(n, outputs)` logits.

    Parameters
    ----------
    outputs
        Number of findings.
    channels
        Number of channels of the images.
    """
    network: Any = import_vision("torchvision.models").densenet121(num_classes=outputs)
    if channels != 3:
        # Of the size in table 1 of Huang et al.
        first = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(first.weight)
        network.features.conv0 = first
    return cast(nn.Module, network)


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A trained network and what belongs to it.

    Parameters
    ----------
    network
        In evaluation mode.
    labels
        Findings, in the order of its outputs.
    recipe
        How images are made ready for it.
    extra_channels
        Channels of organs that it expects after the grey levels.
    about
        Where it comes from: version, epoch, figures.
    """

    network: nn.Module
    labels: tuple[str, ...]
    recipe: Recipe
    extra_channels: int
    about: Mapping[str, Any]


def initialise(network: nn.Module, path: str | Path) -> list[str]:
    """Take over weights of a DenseNet-121 from a file: torchvision's, torchxrayvision's or ours.

    A classifier of another size stays random. A first layer for three channels serves one (its
    weights are summed) and more than three (the others start from zero).

    Parameters
    ----------
    network
        Changed in place.
    path
        State dictionary, by itself or as `state_dict` of a checkpoint or model, or a whole network
        as torchxrayvision publishes it.

    Returns
    -------
    What was not taken over or was changed, one sentence each.

    Raises
    ------
    ModelError
        For a file that holds no such weights.
    """
    content, notes = _load(Path(path)), []
    if isinstance(content, nn.Module):
        if type(content).__module__.startswith("torchxrayvision."):
            notes.append(
                "weights of torchxrayvision expect one channel from -1024 to 1024: use a recipe "
                "with channels 1 and normalisation 'torchxrayvision'"
            )
        content = content.state_dict()
    found: Any = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise ModelError(f"{path}: holds no state dictionary of a network")
    weights: dict[str, Tensor] = {}
    for name, value in found.items():
        plain = re.sub(r"^(?:model|module|network|densenet121)\.", "", str(name))
        old = _OLD_NAME.match(plain)
        weights[f"{old[1]}{old[2]}" if old else plain] = value
    own = network.state_dict()
    first = "features.conv0.weight"
    if first in weights and weights[first].shape != own[first].shape:
        weights[first] = _first_layer(weights[first], own[first])
        notes.append(f"the first layer was fitted to {own[first].shape[1]} channels")
    for name in ("classifier.weight", "classifier.bias"):
        if name not in weights or weights[name].shape != own[name].shape:
            weights[name] = own[name]
            notes.append(f"{name} starts from random numbers")
    for name, value in own.items():
        if name not in weights and name.endswith("num_batches_tracked"):
            weights[name] = value
        if name not in weights or weights[name].shape != value.shape:
            what = "lacks" if name not in weights else f"has {tuple(weights[name].shape)} as"
            raise ModelError(f"{path}: is not of a DenseNet-121: it {what} {name}")
    network.load_state_dict({name: weights[name] for name in own})
    return notes


def save_model(path: str | Path, model: Model) -> None:
    """Write a model to one file, whole or not at all; an older one is replaced."""
    buffer = io.BytesIO()
    state = {name: value.detach().cpu() for name, value in model.network.state_dict().items()}
    content = {
        "format": MODEL_FORMAT,
        "version": MODEL_VERSION,
        "labels": list(model.labels),
        "recipe": model.recipe.to_dict(),
        "extra_channels": model.extra_channels,
        "about": dict(model.about),
        "state_dict": state,
    }
    torch.save(content, buffer)
    write_files({Path(path): buffer.getvalue()}, force=True)


def load_model(path: str | Path, *, labels: Sequence[str] | None = None) -> Model:
    """Read a model that `drr train` wrote.

    Parameters
    ----------
    path
        `model.pt`, or the folder it lies in.
    labels
        The labels it must have, in this order.

    Raises
    ------
    ModelError
        For a file that is no model, is of another version, or is of another label set.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "model.pt"
    content = _load(path)
    if not isinstance(content, dict) or content.get("format") != MODEL_FORMAT:
        raise ModelError(f"{path}: is no model of 'drr train'; give its model.pt")
    if content.get("version") != MODEL_VERSION:
        raise ModelError(
            f"{path}: is of version {content.get('version')}, this release reads {MODEL_VERSION}; "
            "train again, or use the release that wrote it"
        )
    try:
        model = _model(content)
    except _UNFIT as error:
        text = printable(error, most=200)
        raise ModelError(f"{path}: its parts do not fit ({text}); copy it again") from None
    if labels is not None and model.labels != tuple(labels):
        raise ModelError(
            f"{path}: was trained for {', '.join(model.labels)}, not for {', '.join(labels)}; "
            "choose the same labels in the same order"
        )
    return model


def _model(content: dict[str, Any]) -> Model:
    """The model that a file describes, whose sizes are those of its weights."""
    own, state = tuple(content["labels"]), content["state_dict"]
    extra = content["extra_channels"]
    if not own or not all(isinstance(name, str) for name in own) or len(set(own)) < len(own):
        raise ModelError("labels are no different names")
    if type(extra) is not int or extra < 0 or not isinstance(content["about"], dict):
        raise ModelError("channels or origin are none")
    recipe = Recipe.from_dict(content["recipe"])
    shapes = [tuple(state[name].shape) for name in ("classifier.weight", "features.conv0.weight")]
    if shapes[0][:1] != (len(own),) or shapes[1][1:2] != (recipe.channels + extra,):
        raise ModelError("its weights are not of these findings and channels")
    network = densenet121(len(own), channels=recipe.channels + extra)
    network.load_state_dict(state)
    return Model(
        network=network.eval(),
        labels=own,
        recipe=recipe,
        extra_channels=extra,
        about=content["about"],
    )


def _load(path: Path) -> Any:
    """Return what a file holds: tensors, plain values, layers of networks; nothing in it is run."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's, of what a damaged pickle seems to be
            with torch.serialization.safe_globals(_layers(path)):
                return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError(f"{path}: there is no such file") from None
    except pickle.UnpicklingError:
        raise ModelError(
            f"{path}: is not a file of weights, or holds code besides them, which is not run; save "
            "the state_dict alone"
        ) from None
    except (MemoryError, DRRError):
        raise
    except Exception as error:  # whatever an unpickler meets
        text = getattr(error, "strerror", None) or printable(error, most=200)
        raise ModelError(f"{path}: cannot be read as weights ({text})") from None


def _layers(path: Path) -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """Return the layers of DenseNets that a file names, which torch alone does not trust."""
    if not zipfile.is_zipfile(path):
        return []
    found: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = []
    for name in torch.serialization.get_unsafe_globals_in_checkpoint(path):
        module, _, layer = name.rpartition(".")
        if module.startswith("torch.nn.modules."):
            known = getattr(importlib.import_module(module), layer, None)
        elif module in ("torchxrayvision.models", "torchvision.models.densenet"):
            known = getattr(import_vision(module), layer, None)
        else:
            continue
        if isinstance(known, type) and issubclass(known, nn.Module):
            found.append(known)
    return found


def _first_layer(given: Tensor, wanted: Tensor) -> Tensor:
    channels = wanted.shape[1]
    if channels == 1:
        return given.sum(dim=1, keepdim=True)
    fitted = torch.zeros_like(wanted)
    both = min(channels, given.shape[1])
    fitted[:, :both] = given[:, :both]
    return fitted
