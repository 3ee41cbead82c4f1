"""The folder of a training: what it holds, when it is one, and how to go on in it.

A folder holds a training from its first whole epoch on; before, nothing was learnt, and nothing
stays of a command that was refused, failed or was interrupted.
"""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from drr.errors import DocumentError, WriteError, printable
from drr.files.atomic import remove_remains
from drr.files.documents import read_json
from drr.train.history import Row
from drr.train.model import ModelError
from drr.train.recipe import Recipe
from drr.train.training import CHECKPOINT_VERSION, RUN, Training, TrainingError

__all__ = ["checkpoint_in", "history_in", "made"]

MOST_RUN_BYTES = 1 << 28  # it names every patient of the validation fold


def checkpoint_in(folder: Path, run: dict[str, Any], *, resume: bool) -> Path | None:
    """The checkpoint to go on with in a folder of the same training; None in a new one.

    `run.json` alone is left of a first epoch that was killed, by earlier releases: the folder is
    as good as new.

    Raises
    ------
    TrainingError
        For a folder that holds something else, or another training than `run`.
    WriteError
        For what is no folder.
    """
    about, checkpoint = folder / RUN, folder / "last.ckpt"
    try:
        if folder.exists():
            remove_remains(folder)
        rest = {path.name for path in folder.iterdir()} - {RUN} if folder.exists() else set()
    except OSError as error:
        raise WriteError(
            f"{folder}: cannot be written: {error.strerror or error}; choose another folder"
        ) from None
    if not rest:
        return None
    if not about.exists():
        raise TrainingError(f"{folder}: is not empty; choose a new folder for a training")
    if not resume:
        raise TrainingError(
            f"{folder}: holds a training already; go on with it (--resume, resume=True) or choose "
            "another folder"
        )
    try:
        before = read_json(about, most=MOST_RUN_BYTES)
    except (OSError, DocumentError) as error:
        raise TrainingError(f"{about}: cannot be read ({error})") from None
    if not isinstance(before, dict):
        raise TrainingError(f"{about}: does not say what this training is; choose another folder")
    for key in run:
        # Releases before there were several devices did not say how many.
        found = before.get(key, 1 if key == "devices" else None)
        if key != "versions" and found != run[key]:
            what = _difference(found, run[key])
            raise TrainingError(
                f"{folder}: holds a training with {key} {what}; choose another folder"
            )
    return checkpoint if checkpoint.exists() else None


def _difference(before: Any, now: Any) -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in now:
            if before.get(key) != now[key]:
                return f"{key} {before.get(key)!r}, not {now[key]!r}"
    return f"{before!r}, not {now!r}"


@contextlib.contextmanager
def made(folder: Path) -> Iterator[None]:
    """The folder, which can be written to; where nothing was learnt it goes again."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        _remove(missing)
        raise WriteError(
            f"{folder}: cannot be written: {error.strerror or error}; choose another folder"
        ) from None
    try:
        yield
    except BaseException:
        _remove(missing)
        raise


def _remove(folders: list[Path]) -> None:
    """Those that are empty, the innermost first."""
    for folder in folders[:1]:
        remove_remains(folder)  # of a process that was killed while it wrote
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def history_in(checkpoint: Path, module: Training) -> list[Row]:
    """The history in a checkpoint of this training, all of which can be taken up again.

    Raises
    ------
    ModelError
        For a file that is damaged, or of another training.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's, of what a damaged pickle seems to be
            content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        own = content["drr"]
        kind, found = own["version"], tuple(own["labels"])
        rows: list[Row] = list(own["history"])
        same = Recipe.from_dict(own["recipe"]) == module.recipe
        for row in rows:
            if not all(isinstance(k, str) and isinstance(v, int | float) for k, v in row.items()):
                raise ValueError("its history is none")
        if found == module.findings:
            module.load_state_dict(content["state_dict"])
            (optimiser,) = content["optimizer_states"]
            module.configure_optimizers().load_state_dict(optimiser)
    except Exception as error:  # whatever an unpickler meets
        text = printable(error, most=200)
        raise ModelError(f"{checkpoint}: cannot be read as a checkpoint ({text})") from None
    if kind != CHECKPOINT_VERSION:
        raise ModelError(
            f"{checkpoint}: is of version {kind}, this release reads {CHECKPOINT_VERSION}"
        )
    if found != module.findings:
        raise ModelError(
            f"{checkpoint}: was trained for {', '.join(map(str, found))}, not for "
            f"{', '.join(module.findings)}; choose another folder"
        )
    if not same:
        raise ModelError(f"{checkpoint}: was made with another recipe; choose another folder")
    return rows
