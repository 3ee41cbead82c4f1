"""Our projector beside its peers: same volume, same views, same run.

    python benchmarks/peers.py [--only NAME ...] [--rounds N] [--json FILE]

Every peer is installed from PyPI into an environment of its own, under `benchmarks/out/peers`,
when it is first asked for, and runs in a process of its own that holds the volume of
`benchmarks/kernels.py` (512 x 512 x 300). Each in turn projects each view on 512 x 512 pixels,
round after round, so that a busy machine slows all alike; minima and medians are printed, of means
over about a second each.
`8 views` are 22.5 degrees apart in one request, by two threads: each peer loops or batches as is
best for it. Reading the volume and converting it to attenuation are not timed. A peer is measured
no further in a cell that has taken `ENOUGH` seconds. The error is the relative root mean square
against Siddon's integrals in double precision on every fourth pixel across and down.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from peer_process import ENVIRONMENTS, OTHERS, PeerError, Worker, machine, ours, versions, view_of

from drr.kernels.rays import Rays
from drr.kernels.reference.projection import siddon
from drr.physics.attenuation import water
from kernels import SHAPE, SPACING, VIEWS, rays, volume

PEERS = ours() | OTHERS
EIGHT = [view_of(22.5 * i) for i in range(8)]
# What is asked of every peer, by its name and number of threads.
CELLS: dict[tuple[str, int], dict[str, Any]] = {
    (name, 1): {"do": "project", "view": view_of(*angles), "threads": 1}
    for name, angles in VIEWS.items()
}
CELLS["frontal", 2] = CELLS["frontal", 1] | {"threads": 2}
CELLS["8 views", 2] = {"do": "project views", "views": EIGHT, "threads": 2}
ENOUGH = 10.0
STEP = 4

Times = dict[tuple[str, tuple[str, int]], list[float]]


def every_fourth(bundle: Rays) -> Rays:
    return Rays(
        source=bundle.source,
        origin=bundle.origin,
        u=bundle.u * STEP,
        v=bundle.v * STEP,
        metric=bundle.metric,
        shape=(bundle.shape[0] // STEP, bundle.shape[1] // STEP),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=ENVIRONMENTS.parent / "peers.json")
    options = parser.parse_args()
    ENVIRONMENTS.mkdir(parents=True, exist_ok=True)

    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = -np.array(SPACING) * (np.array(SHAPE[::-1]) - 1) / 2
    hu = volume()
    attenuation = water().mapping.table[hu.astype(np.int32) + 32768]
    path = ENVIRONMENTS / "volume.npz"
    np.savez(path, hu=hu, attenuation=attenuation, affine=affine)
    truth = {name: siddon(attenuation, every_fourth(rays(*a))) for name, a in VIEWS.items()}
    del hu, attenuation

    failures: dict[str, str] = {}
    workers: dict[str, Worker] = {}
    for name in options.only:
        try:
            workers[name] = Worker(PEERS[name])
            workers[name].ask(do="load", path=str(path))
        except PeerError as error:
            failures[name] = str(error)
            workers.pop(name, None)
    times, errors, peak = measure(workers, truth, options.rounds, failures)
    for worker in workers.values():
        worker.close()
    installed = {name: versions(PEERS[name]) for name in workers if name in OTHERS}
    print(machine())
    report(list(workers), times, errors, peak)
    for name, reason in failures.items():
        print(f"{name} failed: {reason}")
    rows = [
        {"peer": name, "view": cell[0], "threads": cell[1], "seconds": each}
        for (name, cell), each in times.items()
    ]
    result = {
        "machine": machine(),
        "rows": rows,
        "errors": {name: {v: e for (n, v), e in errors.items() if n == name} for name in workers},
        "peak_bytes": peak,
        "versions": installed,
        "failures": failures,
    }
    options.json.write_text(json.dumps(result, indent=2))
    print(f"saved {options.json}")


def measure(
    workers: dict[str, Worker],
    truth: dict[str, np.ndarray],
    rounds: int,
    failures: dict[str, str],
) -> tuple[Times, dict[tuple[str, str], float], dict[str, float]]:
    """Seconds of every cell, errors of every view, peak memory; peers that fail are taken out."""
    times: Times = {(name, cell): [] for name in workers for cell in CELLS}
    errors: dict[tuple[str, str], float] = {}
    peak: dict[str, float] = {}
    image = ENVIRONMENTS / "image.npy"
    slow: set[str] = set()
    for turn in range(rounds + 1):
        print(f"round {turn} of {rounds}", file=sys.stderr)
        for cell, request in CELLS.items():
            for name, worker in list(workers.items()):
                # The first round compiles; slow peers have nothing to compile after a view.
                if sum(times[name, cell]) > ENOUGH or (turn == 0 and name in slow):
                    continue
                view = cell[0]
                wanted = truth.get(view) if (name, view) not in errors else None
                try:
                    answer = worker.ask(**request, save=None if wanted is None else str(image))
                except PeerError as error:
                    failures[name] = f"{view}: {error}"
                    workers.pop(name).close()
                    continue
                peak[name] = answer["peak_bytes"]
                if turn:
                    times[name, cell].append(answer["seconds"])
                elif answer["seconds"] > 1:
                    slow.add(name)
                if wanted is not None:
                    missed = np.load(image)[::STEP, ::STEP] - wanted
                    errors[name, view] = float(np.sqrt((missed**2).mean() / (wanted**2).mean()))
    return times, errors, peak


def report(
    names: list[str],
    times: Times,
    errors: dict[tuple[str, str], float],
    peak: dict[str, float],
) -> None:
    heads = "".join(f"{f'{view}, {threads}':>18}" for view, threads in CELLS)
    title = "ms: minimum, median"
    print(f"{title:20}{heads}")
    for name in names:
        cells = [times[name, cell] for cell in CELLS]
        pairs = [f"{1e3 * min(c):8.0f} {1e3 * statistics.median(c):8.0f}" for c in cells]
        print(f"{name:20}" + "".join(f"{pair:>18}" for pair in pairs))
    print(f"\n{'error':20}" + "".join(f"{view:>18}" for view in VIEWS) + f"{'peak, GB':>18}")
    for name in names:
        found = "".join(f"{errors[name, view]:18.3%}" for view in VIEWS)
        print(f"{name:20}{found}{peak[name] / 1e9:18.1f}")
    if "drr" not in names:
        return
    statistic: dict[str, Callable[[list[float]], float]] = {
        "minima": min,
        "medians": statistics.median,
    }
    for what, of in statistic.items():
        title = f"times drr, {what}"
        print(f"\n{title:20}{heads}")
        for name in names:
            # Over the rounds that both were measured in: others may have been calmer.
            pairs = [(times[name, cell], times["drr", cell]) for cell in CELLS]
            ratios = [of(each) / of(drr[: len(each)]) for each, drr in pairs]
            print(f"{name:20}" + "".join(f"{ratio:18.2f}" for ratio in ratios))


if __name__ == "__main__":
    main()
