"""From a file to a finished radiograph, in one warm process, beside bare inflating of that file.

    python benchmarks/file_to_png.py [CT] [--rounds N] [--threads N] [--view PA] [--json FILE]

Without a CT: a synthetic thorax, 512 x 512 x 300 int16 with noise, as .nii.gz and as .nii. `file
to PNG` is `drr.read`, `drr.project` and `drr.write` of the default picture with its record:
couch and blanket removed, the scan continued beyond its ends, film look, 1024 pixels. `fresh
process` is the same by the command line, with the interpreter's start, imports and compiled
kernels from their cache. Everything is timed in turn, round after round, so that a busy machine
slows all alike; medians count, and minima are what an idle machine would show.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
from reader import LPS_TO_RAS, inflaters

import drr
from drr.datasets.phantom.thorax import thorax
from drr.patient.prepare import prepare

RESULTS = Path(__file__).resolve().parent / "results"


def synthetic(folder: Path) -> list[Path]:
    volume = thorax((300, 512, 512), couch=True)
    image = nibabel.Nifti1Image(volume.hu.transpose(2, 1, 0), LPS_TO_RAS @ volume.affine)
    image.header.set_xyzt_units("mm")
    files = [folder / "thorax.nii.gz", folder / "plain.nii"]
    for file in files:
        image.to_filename(file)
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ct", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--view", default="pa")
    parser.add_argument("--json", type=Path, default=RESULTS / "file_to_png.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="drr-png-") as folder:
        files = [options.ct] if options.ct else synthetic(Path(folder))
        result = [measure(file, Path(folder), options) for file in files]
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=2))
    print(f"saved {options.json}")


def measure(path: Path, folder: Path, options: argparse.Namespace) -> dict[str, object]:
    png, threads = folder / "picture.png", options.threads
    volume = drr.read(path)
    prepared = prepare(volume, threads=threads)
    projection = drr.project(prepared, options.view, threads=threads)

    def whole() -> None:
        made = drr.project(drr.read(path, threads=threads), options.view, threads=threads)
        drr.write(png, made, force=True)

    command = [
        sys.executable,
        "-c",
        "import drr.cli; drr.cli.main()",
        "project",
        str(path),
        "-o",
        str(png),
        "--force",
    ]
    command += ["-v", options.view, "--quiet"] + (["--threads", str(threads)] if threads else [])
    tasks: dict[str, Callable[[], object]] = {
        "file to PNG": whole,
        "  read": lambda: drr.read(path, threads=threads),
        "  prepare": lambda: prepare(volume, threads=threads),
        "  project": lambda: drr.project(prepared, options.view, threads=threads),
        "  write": lambda: drr.write(png, projection, force=True),
        "fresh process": lambda: subprocess.run(command, check=True, capture_output=True),
    }
    if path.suffix == ".gz":
        tasks |= inflaters(path, 2 * int(np.prod(volume.shape)) + 352)
    else:
        tasks["bytes only"] = lambda: path.read_bytes()
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(options.rounds + 1):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            if turn:  # the first round compiles
                times[name].append(time.perf_counter() - start)

    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, "
    machine += f"Python {platform.python_version()}"
    print(f"{machine}; threads {threads or 'all'}\n{path.name}{'':>22}   median  minimum, s")
    for name, each in times.items():
        print(f"{name:32} {statistics.median(each):8.3f} {min(each):8.3f}")
    ours = ("file to PNG", "fresh process")
    bare = [n for n in times if not n.startswith(" ") and n not in ours]
    fastest = min(bare, key=lambda name: statistics.median(times[name]))
    ratios = [
        statistic(times["file to PNG"]) / statistic(times[fastest])
        for statistic in (statistics.median, min)
    ]
    print(f"file to PNG: {ratios[0]:.2f} times {fastest} (minima: {ratios[1]:.2f})\n")
    return {
        "file": path.name,
        "machine": machine,
        "seconds": times,
        "fastest": fastest,
        "ratio_of_medians": ratios[0],
        "ratio_of_minima": ratios[1],
    }


if __name__ == "__main__":
    main()
