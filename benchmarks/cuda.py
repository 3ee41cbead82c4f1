"""How long one view takes on a GPU: predicted from its machine code, measured where one answers.

    python benchmarks/cuda.py [--rounds N] [--warps N] [--json FILE]

The scan and the detector of benchmarks/kernels.py. The prediction is for an H100 SXM (132
multiprocessors, 1.7 GHz sustained, 3.0 TB/s of memory): instructions of the inner loop from ptxas,
ray steps and the 128-byte lines that the loads of a warp touch from a trace of NVRTC's PTX on the
CPU. Instructions are issued four a clock and multiprocessor, lines are taken to be served one a
clock; the larger of both, or reading the volume once, is the bound, and twice the bound is as far
as it is trusted. It needs the development tools (`pip install drr-rate[dev]`) and a C++ compiler.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.attenuation import water
from drr.kernels.cuda import modules
from drr.kernels.cuda.detect import detect
from drr.kernels.cuda.launch import project_views
from drr.kernels.cuda.residency import DeviceVolume
from kernels import SHAPE, VIEWS, rays, volume

METHODS = ("joseph", "siddon")
VOXEL_LOADS = {"joseph": 4, "siddon": 1}
MULTIPROCESSORS, CLOCK, BANDWIDTH = 132, 1.7e9, 3.0e12
ARCHITECTURE = 90
WIDTH = 32


def predicted(hu: NDArray[np.int16], warps: int) -> dict[str, dict[str, float]]:
    """Bound in ms for every method and view, and what it follows from."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
    from cuda_host import nvrtc, sass, trace
    from cuda_host.install import installed

    from drr.kernels.cuda.sources import OPTIONS, module_source

    binary = nvrtc.compile_for(f"sm_{ARCHITECTURE}", module_source(channels=1), OPTIONS).binary
    listings = sass.instructions(binary)
    found = {}
    mapping = water().mapping
    with installed(memory=1 << 32):
        for view, angles in VIEWS.items():
            bundle = rays(*angles)
            all_warps = bundle.shape[0] * bundle.shape[1] / WIDTH
            for method in METHODS:
                with trace.recorded(warps=warps, capability=ARCHITECTURE, kernels=METHODS) as r:
                    project_views(hu, [mapping], [bundle], method=method, anti_aliasing=False)
                loads = VOXEL_LOADS[method]
                instructions = sass.inner_loop(listings[method], loads) or float("nan")
                requests = r.requests_per_warp(2)
                # Every voxel is looked up in the table, which is a load of its own.
                lines = requests * (r.lines(2) + r.lines(4))
                clocks = max(requests / loads * instructions / 4, lines)
                bound = all_warps * clocks / (MULTIPROCESSORS * CLOCK)
                found[f"{method}, {view}"] = {
                    "steps": requests / loads,
                    "instructions": instructions,
                    "voxel_lines": r.lines(2),
                    "table_lines": r.lines(4),
                    "bound_ms": 1e3 * max(bound, hu.nbytes / BANDWIDTH),
                }
    return found


def measured(hu: NDArray[np.int16], rounds: int) -> dict[str, float]:
    """Least time in ms of one view of a volume that is on the device."""
    import cupy

    voxels = DeviceVolume(cupy.asarray(hu), kind="cupy")
    mapping = water().mapping
    found = {}
    for view, angles in VIEWS.items():
        bundle = [rays(*angles)]
        for method in METHODS:
            times = []
            for _ in range(rounds + 2):
                begin, end = cupy.cuda.Event(), cupy.cuda.Event()
                begin.record()
                project_views(voxels, [mapping], bundle * 8, method=method, anti_aliasing=False)
                end.record()
                end.synchronize()
                times.append(cupy.cuda.get_elapsed_time(begin, end) / 8)
            found[f"{method}, {view}"] = min(times[2:])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--warps", type=int, default=40, help="sample of the trace")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    hu = volume()
    figures: dict[str, Any] = {"shape": SHAPE, "predicted_for": "H100 SXM"}
    begin = time.perf_counter()
    gpu = detect()
    if gpu.available:
        figures["device"] = gpu.device
        figures["measured"] = measured(hu, options.rounds)
        modules._module.cache_clear()  # the prediction compiles for the CPU
    else:
        print(f"nothing measured: {gpu.reason}")
    try:
        figures["predicted"] = predicted(hu, options.warps)
    except ImportError as error:
        print(f"no prediction: {error}; it needs the development tools, drr-rate[dev]")
    names = figures.get("predicted") or figures.get("measured") or {}
    if names:
        print("| kernel, view | steps a warp | instructions a step | lines a load: voxels, table |"
              " predicted ms | measured ms |\n|---|---|---|---|---|---|")  # fmt: skip
    for name in names:
        row = figures.get("predicted", {}).get(name)
        time_ms = figures.get("measured", {}).get(name)
        cells = ["", "", "", ""]
        if row:
            cells = [
                f"{row['steps']:.0f}",
                f"{row['instructions']:.0f}",
                f"{row['voxel_lines']:.1f}, {row['table_lines']:.1f}",
                f"{row['bound_ms']:.2f} to {2 * row['bound_ms']:.2f}",
            ]
        print("|", name, "|", " | ".join(cells), "|", f"{time_ms:.2f}" if time_ms else "", "|")
    print(f"{time.perf_counter() - begin:.0f} s")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
