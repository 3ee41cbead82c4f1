"""Where a network is trained: on which devices, and what their processes tell the first one.

One device is used by this process. For several there is a process each, started afresh (`spawn`),
so that this one only waits: it has checked everything before, and what they report or fail of
comes back to it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import torch
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from drr.checks import whole
from drr.errors import DRRError, printable
from drr.train.history import Row
from drr.train.training import TrainingError
from drr.train.vision import needs_declaring

__all__ = ["ACCELERATORS", "LOGGERS", "Sender", "find_devices", "listening", "quiet"]
__all__ += ["strategy", "telling"]

ACCELERATORS = ("auto", "cpu", "gpu")
LOGGERS = ("lightning.pytorch", "lightning.fabric", "torch.distributed", "torch.multiprocessing")


def find_devices(accelerator: str, devices: int) -> str:
    """`cpu` or `cuda`, of which there are so many.

    Raises
    ------
    TrainingError
        Where there are not.
    """
    if accelerator not in ACCELERATORS:
        raise TrainingError(
            f"there is no accelerator {accelerator!r}; use one of {', '.join(ACCELERATORS)}"
        )
    whole("devices", devices, error=TrainingError, least=1)
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if accelerator == "gpu" and not gpus:
        raise TrainingError(
            "no GPU answers to PyTorch here; use accelerator 'cpu' or 'auto', or install a PyTorch "
            "for your GPU ('drr doctor' says more)"
        )
    kind = "cpu" if accelerator == "cpu" or not gpus else "cuda"
    there = gpus if kind == "cuda" else os.cpu_count() or 1
    if devices > there:
        what = "GPUs" if kind == "cuda" else "processors"
        raise TrainingError(f"{devices} devices were asked for, and there are {there} {what}")
    return kind


def strategy(kind: str, devices: int) -> str:
    """Return the name of Lightning's strategy for so many devices of a kind.

    Processes are started afresh, but forked where they could not import a torchvision that had to
    be declared first: they import Lightning, and with it torchvision, before anything of ours.
    """
    if devices == 1:
        return "auto"
    return "ddp_fork" if kind == "cpu" and needs_declaring() else "ddp_spawn"


@dataclass(frozen=True)
class Sender:
    """The end that processes of a training have: rows of the history."""

    rows: Connection

    def __setstate__(self, state: dict[str, object]) -> None:
        # The first that a new process knows of this package: it shall be as quiet as this one.
        self.__dict__.update(state)
        quiet()

    def row(self, row: Row, best: bool) -> None:
        self.rows.send((row, best))


@contextlib.contextmanager
def listening(report: Callable[[Row, bool], object]) -> Iterator[Sender]:
    """Hand on what processes report while they work."""
    receiver, rows = Pipe(duplex=False)
    thread = threading.Thread(target=_hear, args=(receiver, report), daemon=True)
    thread.start()
    try:
        yield Sender(rows)
    finally:
        rows.close()
        thread.join(60)
        receiver.close()


def _hear(receiver: Connection, report: Callable[[Row, bool], object]) -> None:
    with contextlib.suppress(EOFError, OSError):
        while True:
            report(*receiver.recv())


@contextlib.contextmanager
def telling() -> Iterator[None]:
    """Errors of a training as `told`."""
    try:
        yield
    except Exception as error:
        better = told(error)
        if better is error:
            raise
        raise better from None


def told(error: Exception) -> Exception:
    """The error as whoever trains should read it: what memory was too small for, and so on."""
    if isinstance(error, DRRError):
        return error
    text = str(error)
    if isinstance(error, ProcessRaisedException):
        # A traceback; errors of this package are its last line, and one line only.
        text = text.rstrip().rpartition("\n")[2]
        if (own := _own(text)) is not None:
            return own
    if isinstance(error, ProcessExitedException):
        return TrainingError(
            f"a process of the training was ended from outside ({printable(text, most=150)}); "
            "there may be too little memory"
        )
    if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate" in text:
        return TrainingError(
            "the memory is too small for this training; take fewer images in a step (batch_size), "
            "or smaller ones (image_size)"
        )
    if "DataLoader worker" in text:
        return TrainingError(
            f"a process that loads images was ended from outside ({printable(text, most=150)}); "
            "use fewer workers, or give it more (shared) memory"
        )
    return error


def _own(line: str) -> DRRError | None:
    """The error of this package that the last line of a traceback names."""
    found = re.match(r"(drr\.[\w.]+)\.(\w+): (.*)", line)
    kind = found and getattr(sys.modules.get(found[1]), found[2], None)
    if found and isinstance(kind, type) and issubclass(kind, DRRError):
        return kind(found[3])
    return None


def quiet() -> None:
    """Leave out what PyTorch and Lightning say of themselves."""
    warnings.filterwarnings("ignore", module=r"(lightning|torch)\b.*")
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
