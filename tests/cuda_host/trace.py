"""How many 128-byte lines of memory the loads of a warp touch, from the PTX of a real launch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cuda_host import ptx
from cuda_host.machine import machine

__all__ = ["Record", "recorded"]

LINE, SECTOR = 128, 32


class Record:
    """Loads of a sample of warps, of all launches while it was open."""

    def __init__(self) -> None:
        self.parts: list[NDArray] = []
        self.warps = 0

    def requests(self, width: int) -> NDArray:
        """Loads of `width` bytes, as records of `cuda_host.ptx.LOAD`."""
        loads = np.concatenate(self.parts)
        return loads[loads["bytes"] == width]

    def lines(self, width: int, size: int = LINE) -> float:
        """Mean number of lines (or sectors) of `size` bytes a warp's load of `width` touches.

        Lanes are aligned by instruction and turn of the loop, as they run on the hardware.
        """
        loads = self.requests(width)
        one = np.stack(
            [loads["warp"], loads["instruction"], loads["turn"], loads["address"] // size], 1
        )
        touched = np.unique(one, axis=0)
        return len(touched) / len(np.unique(touched[:, :3], axis=0))

    def requests_per_warp(self, width: int) -> float:
        """Mean number of loads of `width` bytes that a warp makes."""
        loads = self.requests(width)
        one = np.stack([loads["warp"], loads["instruction"], loads["turn"]], 1)
        return len(np.unique(one, axis=0)) / self.warps


@contextmanager
def recorded(
    *, warps: int, capability: int = 90, kernels: Sequence[str] | None = None
) -> Iterator[Record]:
    """Trace a sample of the warps of every launch; the images stay unwritten elsewhere.

    Parameters
    ----------
    warps
        How many of each launch.
    capability
        Architecture whose PTX is executed.
    kernels
        Names of those that are traced, the others run; None for all.
    """
    record = Record()

    def intercept(name: str, grid: Any, block: Any, arguments: Any, module: Any) -> None:
        if kernels is not None and name not in kernels:
            ptx.execute(module._program(capability), name, grid, block, arguments, machine.workers)
            return
        per_block = -(-block[0] * block[1] * block[2] // 32)
        total = grid[0] * grid[1] * grid[2] * per_block
        chosen = np.unique(np.linspace(0, total - 1, min(warps, total)).astype(np.uint64))
        program = module._program(capability)
        loads = ptx.trace(program, name, grid, block, arguments, chosen)
        loads["warp"] += record.warps
        record.parts.append(loads)
        record.warps += len(chosen)

    machine.intercept = intercept
    try:
        yield record
        machine.synchronize()
    finally:
        machine.intercept = None
