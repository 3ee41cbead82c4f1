"""How long finding and cleaning the patient takes, beside one pass and one bare projection.

    python benchmarks/cleanup.py [--rounds N] [--json FILE]

A 512 x 512 x 300 int16 phantom with arms, couch and noise; the projection is frontal, shear-warp,
on a 512 x 512 detector of 430 mm. Everything is timed in turn, round after round, so that a busy
machine slows all alike; the minimum counts. One pass is a Numba sum over all voxels by one
thread. `clean` is timed into a new array (whose pages the system must first provide), into one
that exists, and in place on a volume that is clean already.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
from numpy.typing import NDArray

from drr.datasets.phantom.thorax import thorax
from drr.geometry.views import parse_view
from drr.kernels.cpu.projection.project import project
from drr.patient.anatomy import find_anatomy
from drr.patient.cleaning import clean
from drr.patient.extension import Extension
from drr.physics.attenuation import water

RESULTS = Path(__file__).resolve().parent / "results"

SHAPE = (300, 512, 512)
THREADS = (1, 2)
EXTENSION = Extension(superior_mm=30, inferior_mm=40, sides=True)


@numba.njit(nogil=True)
def one_pass(flat: NDArray[np.int16]) -> int:
    total = np.int32(0)
    for i in range(flat.size):
        total += np.int32(flat[i])
    return total


def jobs() -> dict[tuple[str, int], Callable[[], object]]:
    volume = thorax(SHAPE, couch=True)
    anatomy = find_anatomy(volume)
    existing = np.empty_like(volume.hu)
    cleaned = clean(volume, anatomy)
    view = parse_view("pa", shape=(512, 512))
    rays = view.place(anatomy).rays(volume.affine)
    mapping, flat = water().mapping, volume.hu.ravel()
    found: dict[tuple[str, int], Callable[[], object]] = {("one pass", 1): lambda: one_pass(flat)}
    for n in THREADS:
        found |= {
            ("projection", n): lambda n=n: project(volume.hu, mapping, rays, threads=n),
            ("find_anatomy", n): lambda n=n: find_anatomy(volume, threads=n),
            ("clean, new array", n): lambda n=n: clean(volume, anatomy, threads=n),
            ("clean, existing array", n): lambda n=n: clean(
                volume, anatomy, out=existing, threads=n
            ),
            ("clean, in place", n): lambda n=n: clean(cleaned, anatomy, out=cleaned.hu, threads=n),
            ("clean, new array, extended", n): lambda n=n: clean(
                volume, anatomy, extension=EXTENSION, threads=n
            ),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, default=RESULTS / "cleanup.json")
    options = parser.parse_args()

    todo = jobs()
    best = dict.fromkeys(todo, float("inf"))
    for turn in range(options.rounds + 1):
        for key, job in todo.items():
            start = time.perf_counter()
            job()
            if turn:  # the first round compiles
                best[key] = min(best[key], 1e3 * (time.perf_counter() - start))

    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, ", end="")
    print(f"Python {platform.python_version()}, Numba {numba.__version__}")
    print(f"one pass over {2 * np.prod(SHAPE) / 1e6:.0f} MB: {best['one pass', 1]:.1f} ms\n")
    print(f"{'':30}" + "".join(f"{n} thread{'s' if n > 1 else '':8}" for n in THREADS))
    for name in dict.fromkeys(name for name, _ in todo if name != "one pass"):
        print(f"{name:30}" + "".join(f"{best[name, n]:6.1f} ms        " for n in THREADS))
    for n in THREADS:
        both = best["find_anatomy", n] + best["clean, new array", n]
        share = both / best["projection", n]
        print(f"find_anatomy + clean on {n}: {both:.1f} ms, {share:.2f} of the projection")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    result = {f"{name}, {n}": ms for (name, n), ms in best.items()}
    options.json.write_text(json.dumps({"milliseconds": result}, indent=2))
    print(f"saved {options.json}")


if __name__ == "__main__":
    main()
