"""From a CT's file to a picture: ours beside its peers, in a warm process and in a fresh one.

    python benchmarks/peers_file_to_png.py [--only NAME ...] [--rounds N] [--json FILE]

The synthetic thorax of `benchmarks/file_to_png.py`, 512 x 512 x 300 int16, as .nii.gz and as .nii,
cached by the system; two threads. Every peer goes the way that its user would: reads the file with
its own or its usual reader, converts HU as it needs, projects the frontal view of
`benchmarks/peers.py` on 512 x 512 pixels, and writes its range as 8 bits into a PNG. `film` is our
default picture, with what no peer does: couch removed, scan continued, lungs framed, film look,
JSON record; `raw` is the peers' view, with the couch removed. `warm` is asked of a process that
has done it before, again and again for about a second, of which the mean counts; `fresh` is a
process from its start to its end, imports included: `drr project` for ours, a Python script (which
calls its program, for plastimatch) for peers. Inflating alone is timed in the same run. Everything
is timed in turn, round after round, each beginning with another, so that a busy machine slows all
alike; a peer is measured no further in a cell whose times add up to `ENOUGH` seconds. Pictures stay
in `benchmarks/out/peers/pictures`, to be looked at.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from file_to_png import synthetic
from peer_process import (
    ENVIRONMENTS,
    OTHERS,
    Peer,
    PeerError,
    Worker,
    machine,
    versions,
    view_of,
)
from reader import inflaters

THREADS = 2
ENOUGH = 20.0
VIEW = view_of(0.0)
# Script, and what `drr project` is given to do the same.
OURS: dict[str, tuple[Peer, tuple[str, ...]]] = {
    "drr film 1024": (Peer(("drr_picture.py", "film", "1024")), ()),
    "drr film 512": (Peer(("drr_picture.py", "film", "512")), ("--pixels", "512")),
    "drr raw 512": (
        Peer(("drr_picture.py", "raw")),
        ("--look", "raw", "--geometry", str(ENVIRONMENTS / "view.json")),
    ),
}
PEERS = {name: peer for name, (peer, _) in OURS.items()} | OTHERS
REFERENCE = "drr raw 512", "drr film 512", "drr film 1024"

Times = dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=ENVIRONMENTS.parent / "peers_file_to_png.json")
    options = parser.parse_args()
    pictures = ENVIRONMENTS / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    (ENVIRONMENTS / "view.json").write_text(json.dumps(VIEW))
    result: dict[str, Any] = {"machine": machine(), "threads": THREADS, "failures": {}}
    failures: dict[str, str] = result["failures"]
    print(f"{machine()}; {THREADS} threads")
    with tempfile.TemporaryDirectory(prefix="drr-peers-") as folder:
        for path in synthetic(Path(folder)):
            times = measure(path, pictures, options, failures)
            report(path, times)
            result[path.name] = times
    result["versions"] = {
        name: versions(OTHERS[name]) for name in options.only if name in OTHERS.keys() - failures
    }
    for name, reason in failures.items():
        print(f"{name} failed: {reason}")
    options.json.write_text(json.dumps(result, indent=2))
    print(f"saved {options.json}")


def measure(
    path: Path, pictures: Path, options: argparse.Namespace, failures: dict[str, str]
) -> dict[str, Times]:
    """Seconds by peer, warm and fresh, and of inflating alone; peers that fail are left out."""
    stem = path.name.partition(".")[0]
    requests = {
        name: {
            "do": "picture",
            "path": str(path),
            "png": str(pictures / f"{stem}, {name}.png"),
            "view": VIEW,
            "threads": THREADS,
        }
        for name in options.only
        if name not in failures
    }
    bare: dict[str, Callable[[], object]] = {"bytes only": path.read_bytes}
    if path.suffix == ".gz":
        voxels = int(np.prod(nibabel.load(path).shape))
        bare = inflaters(path, 2 * voxels + 352)
    found: dict[str, Times] = {"warm": {}, "fresh": {}, "inflate": {}}
    workers: dict[str, Worker] = {}
    for turn in range(options.rounds + 1):
        print(f"{path.name}: round {turn} of {options.rounds}", file=sys.stderr)
        # What is left behind in caches and memory is not always at the same one's cost.
        first = turn % max(1, len(requests))
        for name in [*requests][first:] + [*requests][:first]:
            request = requests[name]
            if name in failures:
                continue
            try:
                warm, fresh = (found[kind].setdefault(name, []) for kind in ("warm", "fresh"))
                if turn == 0:  # imports, compiles, and fills the caches of both
                    workers[name] = Worker(PEERS[name])
                    workers[name].ask(**request)
                    continue
                if sum(warm) < ENOUGH:
                    warm.append(workers[name].ask(**request)["seconds"])
                if sum(fresh) < ENOUGH:
                    fresh.append(in_fresh_process(name, request))
            except PeerError as error:
                failures[name] = f"{path.name}: {error}"
        for name, task in bare.items():
            start = time.perf_counter()
            task()
            if turn:
                found["inflate"].setdefault(name, []).append(time.perf_counter() - start)
    for worker in workers.values():
        worker.close()
    for times in found.values():
        for name in failures.keys() & times.keys():
            del times[name]
    return found


def in_fresh_process(name: str, request: dict[str, Any]) -> float:
    """Seconds from the start of a process that makes the picture to its end."""
    start = time.perf_counter()
    if name in OURS:
        command = [sys.executable, "-c", "import drr.cli; drr.cli.main()", "project"]
        command += [request["path"], "-o", request["png"], "--force", "--quiet"]
        command += ["--threads", str(THREADS), *OURS[name][1]]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise PeerError(done.stderr)
    else:
        worker = Worker(PEERS[name])
        worker.ask(**request, once=True)
        worker.close()
    return time.perf_counter() - start


def report(path: Path, found: dict[str, Times]) -> None:
    reference = next((name for name in REFERENCE if name in found["warm"]), None)
    title = f"{path.name}, s"
    print(f"\n{title:20}", end="")
    print("".join(f"{f'{kind}: median, min':>24}{'ratios':>14}" for kind in ("warm", "fresh")))
    for name in found["warm"]:
        print(f"{name:20}", end="")
        for kind in ("warm", "fresh"):
            each = found[kind][name]
            print(f"{f'{statistics.median(each):.2f} {min(each):.2f}':>24}", end="")
            ratios = ""
            if reference:
                # Over the rounds that both were measured in: others may have been calmer.
                ours = found[kind][reference][: len(each)]
                of_medians = statistics.median(each) / statistics.median(ours)
                ratios = f"{of_medians:.1f} {min(each) / min(ours):.1f}"
            print(f"{ratios:>14}", end="")
        print()
    if reference:
        print(f"ratios (of medians, of minima) are to {reference}")
    for name, each in sorted(found["inflate"].items(), key=lambda item: min(item[1])):
        print(f"  {name:18}{f'{statistics.median(each):.3f} {min(each):.3f}':>24}")


if __name__ == "__main__":
    main()
