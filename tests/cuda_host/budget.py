"""What the CUDA kernels cost on every architecture: registers, spills, instructions a ray step.

    python tests/cuda_host/budget.py          writes budget.json anew, after a change meant to cost

`budget.json` holds the figures of the pinned NVRTC; a test compares.
"""

from __future__ import annotations

import json
from pathlib import Path

from cuda_host import nvrtc, sass
from drr.kernels.cuda.modules import MOST_CHANNELS
from drr.kernels.cuda.sources import OPTIONS, module_source

__all__ = ["RECORD", "VOXELS_A_STEP", "load", "measure"]

RECORD = Path(__file__).with_name("budget.json")
VOXELS_A_STEP = {"siddon": 1, "joseph": 4}
"""Voxels that one step along a ray loads."""

Figures = dict[str, dict[str, float | None]]


def measure(capability: int) -> dict[str, Figures]:
    """Figures of every kernel by number of channels, compiled for one compute capability."""
    found: dict[str, Figures] = {}
    for channels in range(1, MOST_CHANNELS + 1):
        source = module_source(channels=channels)
        compiled = nvrtc.compile_for(f"sm_{capability}", source, OPTIONS)
        listings = sass.instructions(compiled.binary)
        found[str(channels)] = {
            name: {
                **resources,
                "doubles": sass.doubles(listings[name]),
                "instructions_a_step": sass.inner_loop(listings[name], VOXELS_A_STEP[name])
                if name in VOXELS_A_STEP
                else None,
            }
            for name, resources in compiled.resources().items()
        }
    return found


def load() -> dict[str, dict[str, Figures]]:
    """The record: compute capability, channels, kernel, figure."""
    kept: dict[str, dict[str, Figures]] = json.loads(RECORD.read_text())["budget"]
    return kept


def main() -> None:
    measured = {str(capability): measure(capability) for capability in nvrtc.supported()}
    text = json.dumps({"nvrtc": nvrtc.version(), "budget": measured}, indent=1)
    RECORD.write_text(text + "\n")
    for capability, by_channels in measured.items():
        for channels, kernels in by_channels.items():
            for name, figures in kernels.items():
                print(capability, channels, name, figures)


if __name__ == "__main__":
    main()
