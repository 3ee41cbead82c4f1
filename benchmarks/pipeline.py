"""What the whole way costs, from a volume in memory to the grey levels, beside a bare projection.

    python benchmarks/pipeline.py [--rounds N] [--threads N] [--backend cpu|cuda] [--json FILE]

The volume of `benchmarks/kernels.py` (512 x 512 x 300 int16), PA on 512 x 512 pixels. Everything is
warm and timed in turn, round after round; the minimum counts. `bare` is the projection of the
volume as it was read, nothing removed; `film` starts there too: anatomy, clean-up, framing,
projection, film processing. `polychromatic` and `physical` are of a prepared volume.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import drr
from drr.display.film import film_for
from drr.geometry.views import parse_view
from drr.patient.collimation import fit_to_lungs
from drr.patient.prepare import prepare
from drr.physics.attenuation import tissue
from drr.physics.beam import Beam
from drr.radiograph import Projection
from kernels import SHAPE, SPACING, volume

RESULTS = Path(__file__).resolve().parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--backend", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json", type=Path, default=RESULTS / "pipeline.json")
    options = parser.parse_args()
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = -np.array(SPACING) * (np.array(SHAPE[::-1]) - 1) / 2
    ct = drr.Volume(hu=volume(), affine=affine, name="thorax")
    ct.sha256  # noqa: B018 - computed once for each volume that is read, and cached
    threads = options.threads
    prepared = prepare(ct, threads=threads)
    plain = prepare(ct, clean=False, beyond=False, threads=threads)
    view = parse_view("pa", shape=(512, 512))
    # All of one field, so that the same rays are compared.
    placed = fit_to_lungs(view, prepared.anatomy).place(prepared.anatomy)

    def project(source: object, **changes: object) -> object:
        return drr.project(source, placed, threads=threads, backend=options.backend, **changes)  # type: ignore[call-overload]

    def of(source: object, **changes: object) -> Callable[[], object]:
        def run() -> object:
            made = project(source, **changes)
            assert isinstance(made, Projection)
            return made.picture()

        return run

    of_tissue = tissue()
    made = project(prepared)
    assert isinstance(made, Projection)
    tasks: dict[str, Callable[[], object]] = {
        "bare projection (water)": lambda: project(plain, look="raw"),
        "bare projection (tissue)": lambda: project(plain, look="raw", attenuation=of_tissue),
        "prepare": lambda: prepare(ct, threads=threads),
        "prepare, no extension": lambda: prepare(ct, beyond=False, threads=threads),
        "film levels": lambda: film_for(made.line_integrals, placed, prepared.anatomy),
        "film picture": lambda: made.picture(),
        "film, of a prepared volume": of(prepared),
        "film, of a volume as read": of(ct),
        "polychromatic, of a prepared volume": of(prepared, attenuation=Beam()),
        "polychromatic film, of a volume as read": of(ct, attenuation=Beam()),
        "physical, of a prepared volume": of(prepared, look="physical"),
    }
    best = dict.fromkeys(tasks, float("inf"))
    for _ in range(options.rounds + 1):
        for name, task in tasks.items():
            task()  # what the task before left in the caches, and asleep, is not this one's cost
            start = time.perf_counter()
            task()
            best[name] = min(best[name], time.perf_counter() - start)
    bare = best["bare projection (water)"]
    print(f"{platform.processor() or platform.machine()}, {threads} thread(s), {options.backend}")
    for name, seconds in best.items():
        print(f"{name:42s} {1000 * seconds:7.1f} ms {seconds / bare:6.2f} x bare")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"threads": threads, "seconds": best}, indent=2))


if __name__ == "__main__":
    main()
