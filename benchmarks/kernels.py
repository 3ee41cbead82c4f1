"""How long one view takes, for every method, beside one pass over the same memory.

    python benchmarks/kernels.py [--rounds N] [--json FILE]

A 512 x 512 x 300 int16 phantom on a 512 x 512 detector (0.9 mm pixels, source to isocentre
1500 mm, to detector 1800 mm). Everything is timed in turn, round after round, so that a busy
machine slows all alike; the minimum counts. One pass is a Numba sum over all voxels by one
thread, the least that any projector must read. Errors are root mean squares of the difference from
Siddon's sums, relative to them, with as many pixels and with four times as many. Memory is what the
process keeps resident beyond what it held before the volume was made, in bytes a voxel, in a
process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
from numpy.typing import NDArray

from drr.geometry.views import View
from drr.kernels.cpu.projection.project import METHODS, QUALITIES, project
from drr.kernels.cpu.projection.transpose import transposed_copy
from drr.kernels.rays import Rays, rays_in_voxels
from drr.physics.attenuation import water

RESULTS = Path(__file__).resolve().parent / "results"

SHAPE = (300, 512, 512)
SPACING = (0.7, 0.7, 1.0)
VIEWS = {"frontal": (0, 0), "lateral": (90, 0), "oblique 30": (30, 0), "oblique 30+15": (30, 15)}
# What the project aims at, in passes over the volume by one thread.
AIMS = {
    ("shear-warp", "frontal"): 6,
    ("shear-warp", "lateral"): 12,
    ("shear-warp, transposed copy", "lateral"): 6,
    ("shear-warp", "oblique 30"): 10,
    ("shear-warp", "oblique 30+15"): 10,
    ("siddon", "frontal"): 25,
    ("siddon", "lateral"): 35,
    ("siddon", "oblique 30"): 35,
    ("siddon", "oblique 30+15"): 35,
}


def volume() -> NDArray[np.int16]:
    """A thorax-like body of 0.92 x 0.75 of the field with noise, 157 MB."""
    z, y, x = np.meshgrid(
        *[np.linspace(-1, 1, n, dtype=np.float32) for n in SHAPE], indexing="ij", sparse=True
    )
    hu = np.full(SHAPE, -1000, np.float32)
    body = np.broadcast_to((x / 0.92) ** 2 + (y / 0.75) ** 2 < 1, SHAPE)
    hu[body] = 30
    for side in (-0.42, 0.42):
        hu[((x - side) / 0.34) ** 2 + (y / 0.52) ** 2 + (z / 0.8) ** 2 < 1] = -820
    hu[np.broadcast_to((x / 0.1) ** 2 + ((y - 0.55) / 0.12) ** 2 < 1, SHAPE)] = 600
    noise = np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32)
    return np.rint(hu + 20 * noise * body).astype(np.int16)


def rays(primary: float, secondary: float, *, pixels: int = 512) -> Rays:
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = -np.array(SPACING) * (np.array(SHAPE[::-1]) - 1) / 2
    view = View(primary_angle=primary, secondary_angle=secondary)
    beam, across, down = (np.array(d) for d in view.directions)
    return rays_in_voxels(
        source=-1500.0 * beam,
        direction=None,
        detector_center=300.0 * beam,
        u=460.8 / pixels * across,
        v=460.8 / pixels * down,
        shape=(pixels, pixels),
        affine=affine,
    )


@numba.njit(nogil=True)
def one_pass(flat: NDArray[np.int16]) -> int:
    total = np.int32(0)
    for i in range(flat.size):
        total += np.int32(flat[i])
    return total


def errors(hu: NDArray[np.int16]) -> list[dict[str, object]]:
    """How far from Siddon's sums the images of every method and quality are."""
    ways = {"joseph": {"method": "joseph"}}
    ways |= {f"shear-warp, {name}": {"quality": name} for name in QUALITIES}
    mapping, rows = water().mapping, []
    for pixels in (512, 1024):
        for view, angles in VIEWS.items():
            bundle = rays(*angles, pixels=pixels)
            truth = project(hu, mapping, bundle, method="siddon")
            size = np.sqrt(np.mean(np.square(truth)))
            row: dict[str, object] = {"view": view, "pixels": pixels}
            for way, options in ways.items():
                image = project(hu, mapping, bundle, **options)  # type: ignore[arg-type]
                row[way] = float(np.sqrt(np.mean(np.square(image - truth))) / size)
            rows.append(row)
    print(f"\n{'error, and how many of joseph':30}", *(f"{way:>20}" for way in ways))
    for row in rows:
        each = [(row[way], row[way] / row["joseph"]) for way in ways]  # type: ignore[operator]
        print(f"{row['view']:20}{row['pixels']:>10}", *(f"{e:13.2e} {r:6.2f}" for e, r in each))
    return rows


def resident_bytes() -> int:
    """Resident memory of this process (Linux)."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure_memory(copy: bool) -> float:
    """Bytes a voxel that stay resident while frontal and lateral views are projected."""
    mapping = water().mapping
    tiny = np.full((8, 16, 16), -1000, np.int16)
    for angles in VIEWS.values():
        project(tiny, mapping, rays(*angles), threads=2)
    before = resident_bytes()
    hu = np.empty(SHAPE, np.int16)
    for z in range(SHAPE[0]):
        hu[z] = z
    transposed = transposed_copy(hu) if copy else None
    peak = 0
    for angles in VIEWS.values():
        project(hu, mapping, rays(*angles), threads=2, transposed=transposed)
        peak = max(peak, resident_bytes())
    return (peak - before) / hu.size


def in_fresh_process(copy: bool) -> float:
    command = [sys.executable, __file__, "--memory", "copy" if copy else "plain"]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, default=RESULTS / "kernels.json")
    parser.add_argument("--memory", choices=["copy", "plain"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        print(measure_memory(options.memory == "copy"))
        return

    hu = volume()
    mapping = water().mapping
    transposed = transposed_copy(hu)
    flat = hu.ravel()
    jobs: dict[tuple[str, str, int], Callable[[], object]] = {
        ("one pass", "", 1): lambda: one_pass(flat)
    }
    for view, angles in VIEWS.items():
        bundle = rays(*angles)
        for method in METHODS:
            for threads in (1, 2):
                jobs[method, view, threads] = lambda b=bundle, m=method, t=threads: project(
                    hu, mapping, b, method=m, threads=t
                )
        for quality in QUALITIES:
            if quality != "standard":
                for threads in (1, 2):
                    jobs[f"shear-warp, {quality}", view, threads] = (
                        lambda b=bundle, q=quality, t=threads: project(
                            hu, mapping, b, quality=q, threads=t
                        )
                    )
        if view == "lateral":
            for threads in (1, 2):
                jobs["shear-warp, transposed copy", view, threads] = lambda b=bundle, t=threads: (
                    project(hu, mapping, b, threads=t, transposed=transposed)
                )
    best = dict.fromkeys(jobs, float("inf"))
    for turn in range(options.rounds + 1):
        for key, job in jobs.items():
            # The slow methods need fewer rounds, and the first round compiles.
            if turn > 3 and key[0] in ("joseph", "siddon"):
                continue
            start = time.perf_counter()
            job()
            if turn:
                best[key] = min(best[key], time.perf_counter() - start)

    unit = best["one pass", "", 1]
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, ", end="")
    print(f"Python {platform.python_version()}, Numba {numba.__version__}")
    print(f"one pass over {hu.nbytes / 1e6:.0f} MB by one thread: {unit * 1e3:.1f} ms\n")
    print(f"{'method':28}{'view':15}{'1 thread':>10}{'passes':>8}{'aim':>5}{'2 threads':>11}")
    rows = []
    for method, view, threads in jobs:
        if threads != 1 or not view:
            continue
        one, two = best[method, view, 1], best[method, view, 2]
        aim = AIMS.get((method, view))
        rows.append(
            {
                "method": method,
                "view": view,
                "ms_1_thread": one * 1e3,
                "ms_2_threads": two * 1e3,
                "passes": one / unit,
                "aim": aim,
            }
        )
        print(
            f"{method:28}{view:15}{one * 1e3:7.1f} ms{one / unit:8.1f}{aim or '':>5}"
            f"{two * 1e3:8.1f} ms"
        )
    distances = errors(hu)
    memory = {"plain": in_fresh_process(False), "with transposed copy": in_fresh_process(True)}
    print("\nresident memory, bytes a voxel:", {k: round(v, 2) for k, v in memory.items()})
    options.json.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "one_pass_ms": unit * 1e3,
        "rows": rows,
        "errors": distances,
        "bytes_per_voxel": memory,
    }
    options.json.write_text(json.dumps(result, indent=2))
    print(f"saved {options.json}")


if __name__ == "__main__":
    main()
