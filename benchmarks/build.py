"""What building a data set costs, on this machine and for all of CT-RATE.

    python benchmarks/build.py [--cts N] [--slices N] [--pixels N] [--no-dask] [--json FILE]

Phantoms of 512 x 512 voxels and 300 slices as `.nii.gz`, in CT-RATE's folders; PA and left lateral
in the film look. Two files are made and linked under many names, so reading is from memory, not
from disk. There are as many processors as workers. Time a CT is that between the first parts and
the last, without the start of workers, which is given apart. Processor seconds, of all threads, are
what the projection counts with: other work on the machine changes them little. `inflating` is
decompression alone, by the reader's own inflater.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import drr
from drr.datasets.build.build import build
from drr.datasets.build.plan import Configuration, Plan
from drr.datasets.phantom.nifti import nifti_bytes
from drr.datasets.phantom.thorax import thorax
from drr.datasets.sources.ctrate import find_ct_rate
from drr.geometry.views import parse_view
from drr.io.packed.inflate import Inflater

RESULTS = Path(__file__).resolve().parent / "results"

CT_RATE = 50_188
BYTES_A_CT = 176e6
# Of a disk or a file server, for the projection: megabytes a second.
STORAGE = (100, 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cts", type=int, default=10)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--pixels", type=int, default=512)
    parser.add_argument("--no-dask", action="store_true")
    parser.add_argument("--json", type=Path, default=RESULTS / "build.json")
    options = parser.parse_args()
    results: dict[str, Any] = {
        "drr": drr.__version__,
        "processor": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "cts": options.cts,
        "voxels": [options.slices, 512, 512],
        "pixels": options.pixels,
    }
    with tempfile.TemporaryDirectory(prefix="drr-build-") as name:
        folder = Path(name)
        files = write_source(folder / "source", options.cts, options.slices)
        results["bytes_a_ct"] = files[0].stat().st_size
        results["seconds_inflating"] = min(inflate(file) for file in files * 2)
        views = tuple(parse_view(v, shape=(options.pixels,) * 2) for v in ("pa", "ll"))
        cohort = find_ct_rate(folder / "source")
        plan = Plan(cohort=cohort, configuration=Configuration(views=views))
        runs = results["runs"] = {}
        for workers in (1, 2):
            with processors(workers):
                runs[f"{workers} local"] = timed(plan, folder, workers=workers)
                if not options.no_dask:
                    with cluster(folder, workers) as address:
                        runs[f"{workers} Dask"] = timed(plan, folder, scheduler=address)
        digests = {run.pop("digest") for run in runs.values()}
        assert len(digests) == 1, "the same plan gave different content"
    results["projection"] = project(results)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(results, indent=2) + "\n")
    show(results)


def write_source(root: Path, count: int, slices: int) -> list[Path]:
    files = []
    for number in range(count):
        name = f"train_{number + 1}_a_1"
        path = root / "train_fixed" / f"train_{number + 1}" / f"train_{number + 1}_a"
        path.mkdir(parents=True)
        path /= f"{name}.nii.gz"
        if number < 2:
            path.write_bytes(nifti_bytes(thorax((slices, 512, 512), seed=number), path))
            files.append(path)
        else:
            os.link(files[number % 2], path)
    return files


def inflate(path: Path) -> float:
    buffer = memoryview(bytearray(8 << 20))
    start = time.process_time()
    with path.open("rb") as file:
        stream = Inflater(file, name=path.name, limit=1 << 40)
        while stream.readinto(buffer):
            pass
    return time.process_time() - start


def timed(plan: Plan, folder: Path, **where: Any) -> dict[str, Any]:
    out = folder / "out.h5"
    times: list[float] = []

    def note(_progress: object) -> None:
        times.append(time.perf_counter())

    start = time.perf_counter()
    result = build(plan, out, report=note, **where)
    end = time.perf_counter()
    assert result.failures == 0
    lines = (json.loads(line) for line in Path(f"{out}.log").read_text().splitlines())
    made = [event for event in lines if event["event"] == "made"]
    # The first of each worker compiles, or loads what was compiled.
    warm = made[2 * len({event["process"] for event in made}) :] or made
    steps = {
        step: float(np.median([e["seconds"][step] for e in warm])) for step in warm[0]["seconds"]
    }
    busy = float(np.median([e["processor_seconds"] for e in warm]))
    # From the part after which every worker is warm.
    first = min(len(times) - 2, 1 + len({event["process"] for event in made}))
    seconds = (times[-1] - times[first]) / (len(times) - 1 - first)
    measured = {
        "seconds_a_ct": seconds,
        "cts_a_second": 1 / seconds,
        "processor_seconds_a_ct": busy,
        "steps": steps,
        "first_part": times[1] - start,
        "end": end - times[-1],
        "memory_a_worker": max(event["memory"] for event in made),
        "bytes_a_sample": out.stat().st_size / result.samples,
        "digest": result.digest,
    }
    for path in folder.glob("out.h5*"):
        path.unlink()
    return measured


@contextlib.contextmanager
def processors(count: int) -> Iterator[None]:
    """As many processors as workers for this process and all it starts, where that can be set."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


@contextlib.contextmanager
def cluster(folder: Path, workers: int) -> Iterator[str]:
    """A scheduler and workers of one thread on this machine."""
    place = folder / "dask"
    place.mkdir()
    address = str(place / "scheduler.json")
    command = [sys.executable, "-m", "dask"]
    options = ["--scheduler-file", address, "--no-dashboard", "--host", "127.0.0.1"]
    environment = os.environ | {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    quiet: dict[str, Any] = {
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
        "start_new_session": True,
        "env": environment,
    }
    running = [subprocess.Popen([*command, "scheduler", "--port", "0", *options], **quiet)]
    try:
        while not Path(address).is_file():
            time.sleep(0.1)
        for _ in range(workers):
            one = [
                "worker",
                "--no-nanny",
                "--nthreads",
                "1",
                "--local-directory",
                str(place),
                *options,
            ]
            running.append(subprocess.Popen([*command, *one], **quiet))
        # Workers that are there from the start, as those of the local pool are not.
        time.sleep(5)
        yield address
    finally:
        for process in reversed(running):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(place)


def project(results: dict[str, Any]) -> dict[str, Any]:
    """CT-RATE on one core, from the steps that grow with a file's size and those that do not."""
    one = results["runs"]["1 local"]
    steps = one["steps"]
    larger = BYTES_A_CT / results["bytes_a_ct"]
    reading = (steps["hash"] + steps["read"]) / sum(steps.values())
    seconds = one["processor_seconds_a_ct"] * (1 + (larger - 1) * reading)
    return {
        "cts": CT_RATE,
        "bytes": CT_RATE * BYTES_A_CT,
        "seconds_a_ct": seconds,
        "core_hours": CT_RATE * seconds / 3600,
        "hours_on_2_cores": CT_RATE * seconds / 3600 / 2,
        "hours_on_64_cores": CT_RATE * seconds / 3600 / 64,
        "hours_of_storage": {str(s): CT_RATE * BYTES_A_CT / s / 1e6 / 3600 for s in STORAGE},
        "cores_that_storage_feeds": {str(s): s * 1e6 / BYTES_A_CT * seconds for s in STORAGE},
        "file_bytes": CT_RATE * one["bytes_a_sample"],
    }


def show(results: dict[str, Any]) -> None:
    print(f"{results['cts']} CTs of {results['voxels']}, {results['bytes_a_ct'] / 1e6:.0f} MB each")
    print(f"inflating alone {results['seconds_inflating']:.2f} s a CT")
    for name, run in results["runs"].items():
        steps = ", ".join(f"{step} {seconds:.2f}" for step, seconds in run["steps"].items())
        share = results["seconds_inflating"] / run["processor_seconds_a_ct"]
        print(
            f"{name:8} {run['cts_a_second']:.2f} CTs/s, {run['processor_seconds_a_ct']:.2f} "
            f"processor seconds a CT ({steps} s; inflating {share:.0%}), "
            f"{run['memory_a_worker'] / 1e9:.2f} GB a worker, "
            f"first part {run['first_part']:.1f} s, end {run['end']:.1f} s"
        )
    p = results["projection"]
    print(
        f"CT-RATE: {p['cts']} CTs, {p['bytes'] / 1e12:.1f} TB: {p['seconds_a_ct']:.2f} s a CT, "
        f"{p['core_hours']:.0f} core hours, {p['hours_on_64_cores']:.1f} h on 64 cores, file "
        f"{p['file_bytes'] / 1e9:.0f} GB"
    )
    for speed in p["hours_of_storage"]:
        print(
            f"  storage of {speed} MB/s: {p['hours_of_storage'][speed]:.0f} h, feeds "
            f"{p['cores_that_storage_feeds'][speed]:.1f} cores"
        )


if __name__ == "__main__":
    main()
