"""Peers for benchmarks: which ones, their environments, and processes that run their scripts.

Nothing runs from here: `peers.py` and `peers_file_to_png.py` do. A peer is a script of
`benchmarks/peers` in an environment of its own under `benchmarks/out/peers`, made from PyPI when
it is first asked for. A peer that cannot be installed or that fails raises `PeerError`.
"""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from drr.geometry.views import View
from drr.kernels.cpu.projection.project import project as kernel

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = HERE / "out" / "peers"
TORCH = "torch==2.13.0"
ITK = ("itk-rtk==2.7.0.post1", "itk-twoprojectionregistration==2.0.1")
SOURCE_TO_ISOCENTER, SOURCE_TO_DETECTOR, PITCH = 1500.0, 1800.0, 0.9


class PeerError(Exception):
    """A peer cannot be installed, or failed; says how."""


class Peer(NamedTuple):
    """A script of `benchmarks/peers`, its arguments, and the environment that it runs in.

    None is the environment that runs the benchmark.
    """

    script: tuple[str, ...]
    environment: str | None = None
    requirements: tuple[str, ...] = ()


PLASTIMATCH = Peer(("plastimatch_.py",), "plastimatch", ("numpy", "plastimatch==1.10.0", "pillow"))
FLASHDRR = Peer(("flashdrr_.py",), "flashdrr", (TORCH, "flashdrr==0.6.0", "nibabel", "pillow"))
OTHERS = {
    "plastimatch": PLASTIMATCH,
    "ITK Siddon-Jacobs": Peer(("itk_.py",), "itk", ITK),
    "RTK Joseph": Peer(("rtk_.py",), "itk", ITK),
    "nanodrr": Peer(("nanodrr_.py",), "nanodrr", (TORCH, "nanodrr==0.1.7", "pillow")),
    "flashdrr": FLASHDRR,
    "DiffDRR trilinear": Peer(("diffdrr_.py",), "diffdrr", (TORCH, "diffdrr==0.6.1")),
}


def ours() -> dict[str, Peer]:
    """Our projectors; the preview only where the kernels have one."""
    found = {"drr": Peer(("drr_.py", "shear-warp"))}
    if "quality" in inspect.signature(kernel).parameters:
        found["drr, preview"] = Peer(("drr_.py", "shear-warp", "preview"))
    found["drr, Siddon"] = Peer(("drr_.py", "siddon"))
    return found


class Worker:
    """A peer's process, from its start to `close`."""

    def __init__(self, peer: Peer) -> None:
        script, *arguments = peer.script
        command = [interpreter(peer), str(HERE / "peers" / script), *arguments]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """What the peer's script answers; see `benchmarks/peers/worker.py`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended, and the empty answer says so
        line = self.process.stdout.readline()
        if not line:
            raise PeerError(f"ended with status {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer

    def close(self) -> None:
        """End of requests; returns when the process has ended."""
        self.process.communicate()


def interpreter(peer: Peer) -> str:
    """Python of the peer's environment, made and filled when there is none yet."""
    if peer.environment is None:
        return sys.executable
    place = ENVIRONMENTS / peer.environment
    python = place / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    stamp = place / "installed.txt"
    wanted = "\n".join(peer.requirements)
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"installing {', '.join(peer.requirements)} into {place.name}", file=sys.stderr)
        venv.create(place, with_pip=True, clear=True)
        # In one request, so that torch stays the one that is named.
        command = [str(python), "-m", "pip", "install", "--quiet", *peer.requirements]
        try:
            subprocess.run(command, check=True)
        except subprocess.CalledProcessError as error:
            raise PeerError(f"pip ended with status {error.returncode}") from error
        stamp.write_text(wanted)
    return str(python)


def versions(peer: Peer) -> dict[str, str]:
    """Of what was asked for, as installed in the peer's environment."""
    names = [requirement.partition("==")[0] for requirement in peer.requirements]
    code = "import importlib.metadata as m, json, sys\n"
    code += "print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    done = subprocess.run(
        [interpreter(peer), "-c", code, *names], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def view_of(primary: float, secondary: float = 0.0) -> dict[str, Any]:
    """The rays of `benchmarks/kernels.py` in LPS mm about the origin, ready for JSON."""
    beam, across, down = View(primary_angle=primary, secondary_angle=secondary).directions
    return {
        "source": (-SOURCE_TO_ISOCENTER * np.array(beam)).tolist(),
        "detector_center": ((SOURCE_TO_DETECTOR - SOURCE_TO_ISOCENTER) * np.array(beam)).tolist(),
        "u": (PITCH * np.array(across)).tolist(),
        "v": (PITCH * np.array(down)).tolist(),
        "shape": [512, 512],
    }


def machine() -> str:
    """The processor's name and the CPUs that this process may use."""
    import os
    import platform

    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [s for s in cpuinfo.read_text().splitlines() if s.startswith("model name")]
        name = lines[0].partition(":")[2].strip() if lines else name
    return f"{name}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
