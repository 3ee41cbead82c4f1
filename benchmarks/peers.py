"""Our projector beside its peers: same volume, same views, same run.

    python benchmarks/peers.py [--only NAME ...] [--rounds N] [--json FILE]

Every peer is installed from PyPI into an environment of its own, under `benchmarks/out/peers`,
when it is first asked for, and runs in a process of its own that holds the volume of
`benchmarks/kernels.py` (512 x 512 x 300). Each in turn projects each view on 512 x 512 pixels,
round after round, so that a busy machine slows all alike; the minimum counts. Reading the volume
and converting it to attenuation are not timed. The error is the relative root mean square against
Siddon's integrals in double precision on every fourth pixel across and down.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from drr.attenuation import water
from drr.kernels.rays import Rays
from drr.kernels.reference import siddon
from kernels import SHAPE, SPACING, VIEWS, rays, volume

HERE = Path(__file__).resolve().parent
TORCH = "torch==2.13.0"
ITK = ("itk-rtk==2.7.0.post1", "itk-twoprojectionregistration==2.0.1")


class Peer(NamedTuple):
    """A script of `benchmarks/peers`, its arguments, and the environment that it runs in.

    Requirements are installed one by one: what comes first decides which build the next finds.
    None is the environment that runs the benchmark.
    """

    script: tuple[str, ...]
    environment: str | None = None
    requirements: tuple[str, ...] = ()


PEERS = {
    "drr": Peer(("drr_.py", "shear-warp")),
    "drr, Siddon": Peer(("drr_.py", "siddon")),
    "plastimatch": Peer(("plastimatch_.py",), "plastimatch", ("numpy", "plastimatch==1.10.0")),
    "ITK Siddon-Jacobs": Peer(("itk_.py",), "itk", ITK),
    "RTK Joseph": Peer(("rtk_.py",), "itk", ITK),
    "nanodrr": Peer(("nanodrr_.py",), "nanodrr", (TORCH, "nanodrr==0.1.7")),
    "DiffDRR trilinear": Peer(("diffdrr_.py",), "diffdrr", (TORCH, "diffdrr==0.6.1")),
}
THREADS = (1, 2)
STEP = 4


class Worker:
    """A peer's process."""

    def __init__(self, peer: Peer, folder: Path) -> None:
        script, *arguments = peer.script
        command = [interpreter(peer, folder), str(HERE / "peers" / script), *arguments]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.process.args} ended with status {self.process.wait()}")
        return json.loads(answer)  # type: ignore[no-any-return]


def interpreter(peer: Peer, folder: Path) -> str:
    """Python of the peer's environment, made and filled when there is none yet."""
    if peer.environment is None:
        return sys.executable
    place = folder / peer.environment
    python = place / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    stamp = place / "installed.txt"
    wanted = "\n".join(peer.requirements)
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"installing {', '.join(peer.requirements)} into {place}", file=sys.stderr)
        venv.create(place, with_pip=True, clear=True)
        for requirement in peer.requirements:
            command = [str(python), "-m", "pip", "install", "--quiet", requirement]
            subprocess.run(command, check=True)
        stamp.write_text(wanted)
    return str(python)


def view_of(primary: float, secondary: float) -> dict[str, Any]:
    """The rays of `benchmarks/kernels.py` in LPS mm about the middle of the volume."""
    from drr.views import View

    beam, across, down = View(primary_angle=primary, secondary_angle=secondary).directions
    return {
        "source": (-1500.0 * np.array(beam)).tolist(),
        "detector_center": (300.0 * np.array(beam)).tolist(),
        "u": (0.9 * np.array(across)).tolist(),
        "v": (0.9 * np.array(down)).tolist(),
        "shape": [512, 512],
    }


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
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--json", type=Path, default=HERE / "out/peers.json")
    options = parser.parse_args()
    folder = HERE / "out" / "peers"
    folder.mkdir(parents=True, exist_ok=True)

    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = -np.array(SPACING) * (np.array(SHAPE[::-1]) - 1) / 2
    hu = volume()
    attenuation = water().mapping.table[hu.astype(np.int32) + 32768]
    path = folder / "volume.npz"
    np.savez(path, hu=hu, attenuation=attenuation, affine=affine)
    truth = {name: siddon(attenuation, every_fourth(rays(*a))) for name, a in VIEWS.items()}
    del hu, attenuation

    workers = {name: Worker(PEERS[name], folder) for name in options.only}
    for worker in workers.values():
        worker.ask(do="load", path=str(path))
    seconds: dict[tuple[str, str, int], float] = {}
    errors: dict[tuple[str, str], float] = {}
    peak: dict[str, float] = {}
    for turn in range(options.rounds + 1):
        for view, angles in VIEWS.items():
            for threads in THREADS:
                for name, worker in workers.items():
                    # The first round compiles and saves; slow peers need no more than two.
                    if turn > 2 and seconds[name, view, threads] > 2:
                        continue
                    image = folder / "image.npy"
                    save = str(image) if turn == 0 else None
                    answer = worker.ask(
                        do="project", view=view_of(*angles), threads=threads, save=save
                    )
                    peak[name] = answer["peak_bytes"]
                    if save:
                        found = np.load(image)[::STEP, ::STEP].astype(np.float64)
                        wanted = truth[view]
                        error = np.sqrt(((found - wanted) ** 2).mean() / (wanted**2).mean())
                        errors[name, view] = float(error)
                    else:
                        key = name, view, threads
                        seconds[key] = min(seconds.get(key, np.inf), answer["seconds"])
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}")
    print(f"{'ms, 1 and 2 threads':20}" + "".join(f"{view:>20}" for view in VIEWS) + "   peak")
    rows = []
    for name in workers:
        cells = []
        for view in VIEWS:
            one, two = (1e3 * seconds[name, view, threads] for threads in THREADS)
            error = errors[name, view]
            cells.append(f"{one:8.0f} {two:6.0f} {error:5.2%}")
            rows.append({"peer": name, "view": view, "ms": [one, two], "error": error})
        print(f"{name:20}" + "".join(cells) + f"{peak[name] / 1e9:5.1f} GB")
    options.json.write_text(json.dumps({"rows": rows, "peak_bytes": peak}, indent=2))
    print(f"saved {options.json}")


if __name__ == "__main__":
    main()
