"""How long the first picture takes: imports, compilation, a small scan, in fresh processes.

    python benchmarks/startup.py [--only TASK ...] [--rounds N] [--json FILE]

`cold` has an empty cache of compiled kernels, as after the installation of a wheel, `warm` a full
one. `cold, source changed` has no LLVM text either, as after an edit of the kernels, so that Numba
is needed. The scan is a synthetic thorax of 64^3 voxels as
.nii.gz; its picture is PA in the film look. Everything is timed in turn, round after round; medians
count, and minima are what an idle machine would show.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from drr.datasets.phantom.nifti import nifti_bytes
from drr.datasets.phantom.thorax import thorax

COMMAND = "import drr.cli; drr.cli.main()"
NOTHING_SHIPPED = "from drr.kernels.cpu.compiler import jit; jit.LOWERED = jit.LOWERED / 'none'; "

PROJECT = "drr project"
# What is run, and the arguments of the command; those of `drr project` are filled in.
TASKS: dict[str, tuple[str, ...]] = {
    "bare interpreter": ("pass",),
    "import numpy": ("import numpy",),
    "import drr": ("import drr",),
    "drr --help": (COMMAND, "--help"),
    f"{PROJECT}, warm": (COMMAND,),
    f"{PROJECT}, cold": (COMMAND,),
    f"{PROJECT}, cold, source changed": (NOTHING_SHIPPED + COMMAND,),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "out/startup.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="drr-startup-") as name:
        times = measure(Path(name), options.only, options.rounds)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, "
          f"Python {platform.python_version()}\n{'':32}   median  minimum, s")  # fmt: skip
    for task, each in times.items():
        print(f"{task:32} {statistics.median(each):8.3f} {min(each):8.3f}")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(times, indent=2))


def measure(folder: Path, only: list[str], rounds: int) -> dict[str, list[float]]:
    scan, cache = folder / "scan.nii.gz", folder / "cache"
    scan.write_bytes(nifti_bytes(thorax(64), scan))
    project = ["project", str(scan), "-o", str(folder / "picture.png"), "--force", "--quiet"]

    def python(code: str, *arguments: str) -> None:
        environment = {**os.environ, "DRR_CACHE_DIR": str(cache)}
        # As installed packages have it: modules are bytecode after their first import.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [sys.executable, "-c", code, *arguments]
        subprocess.run(command, check=True, capture_output=True, env=environment)

    times: dict[str, list[float]] = {task: [] for task in only}
    python(COMMAND, *project)
    for _ in range(rounds):
        for task in only:
            if "cold" in task:
                shutil.rmtree(cache, ignore_errors=True)
            arguments = project if task.startswith(PROJECT) else []
            start = time.perf_counter()
            python(*TASKS[task], *arguments)
            times[task].append(time.perf_counter() - start)
    return times


if __name__ == "__main__":
    main()
