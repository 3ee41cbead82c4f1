"""Run many damaged inputs and say which ended wrongly.

    python -m fuzz                            3,000 inputs
    python -m fuzz --count 100000 --jobs 4
    python -m fuzz --target nifti --number 17  one input again, with what was said

Numbers name inputs: the same number gives the same files as long as seeds and mutations stay.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from drr.isolated import Isolated, IsolatedError
from fuzz.attempt import attempt, damaged
from fuzz.targets import TARGETS

ATTEMPT = "fuzz.attempt:attempt"
MEMORY = 8 << 30
SECONDS = 120.0
"""Until a process that neither ends nor answers is killed."""


def inputs(names: list[str], count: int, first: int) -> Iterator[tuple[str, int]]:
    """Targets in turn by their shares, each with a number of its own."""
    shares = {name: TARGETS[name].share for name in names}
    total = sum(shares.values())
    for name, share in shares.items():
        for number in range(max(1, round(count * share / total))):
            yield name, first + number


def run(
    names: list[str],
    count: int,
    first: int,
    jobs: int,
    *,
    seconds: float = math.inf,
    function: str = ATTEMPT,
) -> dict[str, Any]:
    """Attempt inputs in `jobs` processes; what came of them, with every wrong end."""
    start = time.monotonic()
    counts: Counter[str] = Counter()
    findings: list[dict[str, Any]] = []
    work = list(inputs(names, count, first))
    random.Random(first).shuffle(work)  # so that time ends for all targets alike

    def some(mine: list[tuple[str, int]]) -> None:
        with Isolated(max_bytes=MEMORY) as isolated:
            for name, number in mine:
                if time.monotonic() - start > seconds:
                    return
                try:
                    wrong, said = isolated.call(function, name, number, seconds=SECONDS)
                except IsolatedError as error:
                    wrong, said = f"killed: {error}", ""
                except Exception as error:
                    wrong, said = f"the check failed: {error!r}", ""
                counts[name] += 1
                counts["refused"] += said.count("drr: error:") > 0
                if wrong:
                    findings.append({"target": name, "number": number, "wrong": wrong})
                    print(f"{name} {number}: {wrong}", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(some, [work[k::jobs] for k in range(jobs)]))
    refused = counts.pop("refused")
    return {
        "inputs": sum(counts.values()),
        "refused": refused,
        "first": first,
        "seconds": round(time.monotonic() - start),
        "targets": dict(sorted(counts.items())),
        "findings": sorted(findings, key=lambda f: (f["target"], f["number"])),
    }


def show(name: str, number: int, keep: Path | None) -> None:
    """One input in this process: what was said, and what is wrong with it."""
    files = damaged(name, number)
    for path, content in files.items() if keep else ():
        (keep / path).parent.mkdir(parents=True, exist_ok=True)
        (keep / path).write_bytes(content)
    command = TARGETS[name].command
    print(f"drr {' '.join(command)}" if isinstance(command, tuple) else command.__name__)
    wrong, said = attempt(name, number)
    print(said + (wrong or "right"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--target", action="append", choices=sorted(TARGETS), help="only this")
    parser.add_argument("--count", type=int, default=3000, help="inputs in all; 3000")
    parser.add_argument("--seconds", type=float, default=math.inf, help="stop after so many")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--jobs", type=int, default=2, help="processes; 2")
    parser.add_argument("--number", type=int, help="one input of a target, with what was said")
    parser.add_argument("--keep", type=Path, help="with --number: folder for its files")
    parser.add_argument("--json", type=Path, help="write what came of it here")
    options = parser.parse_args()
    names = options.target or list(TARGETS)
    if options.number is not None:
        for name in names:
            show(name, options.number, options.keep)
        return 0
    result = run(names, options.count, options.first, options.jobs, seconds=options.seconds)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    print(
        f"{result['inputs']} inputs in {result['seconds']} s: {len(result['findings'])} wrong ends"
    )
    return 1 if result["findings"] else 0


if __name__ == "__main__":
    sys.exit(main())
