"""A small convolutional network that has learned what matters in chest films.

It is trained on films of patients that are then left out of every comparison, to tell findings,
view, sex and age; its last but one layer are the features of the kernel distance (KID). Needs
torch: pip install 'drr-rate[train]'.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from films import Film
from numpy.typing import NDArray

FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Hernia",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pleural_Thickening",
    "Pneumonia",
    "Pneumothorax",
)
CHANNELS = (16, 32, 64, 128)
EPOCHS, BATCH, RATE, SHIFT = 24, 32, 2e-3, 8


def network() -> Any:
    """`(n, 1, 160, 160)` films to `(n, 128)` features, then to targets."""
    from torch import nn

    layers: list[Any] = []
    before = 1
    for channels in CHANNELS:
        for stride in (2, 1):
            layers += [
                nn.Conv2d(before, channels, 3, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
            ]
            before = channels
    body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(body, nn.Linear(before, len(FINDINGS) + 3))


def targets(films: Sequence[Film]) -> NDArray[np.float32]:
    """`(n, 17)`: findings, view PA, sex M, and age from 0 (18 years) to 1 (90 years)."""
    rows = [
        [
            *(finding in film.findings for finding in FINDINGS),
            film.view == "PA",
            film.sex == "M",
            np.clip((film.age - 18) / 72, 0, 1),
        ]
        for film in films
    ]
    return np.array(rows, np.float32)


def train(films: Sequence[Film], *, seed: int, cache: Path | None, epochs: int = EPOCHS) -> Any:
    """The network after training, from the cache where these films trained it before."""
    import torch
    from torch import nn

    pictures = np.stack([film.picture for film in films])
    truth = targets(films)
    key = hashlib.sha256(json.dumps([seed, epochs, BATCH, RATE, SHIFT, CHANNELS]).encode())
    key.update(pictures.tobytes())
    key.update(truth.tobytes())
    file = None if cache is None else cache / f"encoder-{key.hexdigest()[:16]}.pt"
    torch.manual_seed(seed)
    model = network()
    if file is not None and file.exists():
        model.load_state_dict(torch.load(file, weights_only=True))
        return model.eval()
    x = (torch.from_numpy(pictures)[:, None] - 0.5) / 0.25
    y = torch.from_numpy(truth)
    steps = epochs * (len(films) // BATCH)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=max(steps, 2))
    loss_of = nn.BCEWithLogitsLoss()
    chance = np.random.default_rng(seed)
    model.train()
    for _ in range(epochs):
        order = chance.permutation(len(films))
        for start in range(0, len(films) - BATCH + 1, BATCH):
            chosen = torch.from_numpy(order[start : start + BATCH])
            down, right = chance.integers(-SHIFT, SHIFT + 1, 2).tolist()
            batch = torch.roll(x[chosen], (down, right), (2, 3))
            optimiser.zero_grad()
            loss_of(model(batch), y[chosen]).backward()
            optimiser.step()
            schedule.step()
    model.eval()
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), file)
    return model


def features(model: Any, pictures: NDArray[np.floating]) -> NDArray[np.float64]:
    """`(n, 128)` float64 of `(n, 160, 160)` pictures."""
    return _run(model[0], pictures)


def areas_under_curve(models: Sequence[Any], films: Sequence[Film]) -> dict[str, float]:
    """How well networks together tell films apart: area under the receiver's curve."""
    pictures = np.stack([film.picture for film in films])
    scores = np.mean([_run(model, pictures) for model in models], axis=0)
    truth = targets(films) > 0.5
    found = {}
    for column, name in enumerate((*FINDINGS, "PA", "male")):
        positive, negative = scores[truth[:, column], column], scores[~truth[:, column], column]
        if min(positive.size, negative.size) >= 10:
            found[name] = float((positive[:, None] > negative[None]).mean())
    return found


def _run(model: Any, pictures: NDArray[np.floating]) -> NDArray[np.float64]:
    import torch

    x = (torch.from_numpy(np.asarray(pictures, np.float32))[:, None] - 0.5) / 0.25
    with torch.no_grad():
        parts = [model(part) for part in x.split(64)]
    return torch.cat(parts).numpy().astype(np.float64)
