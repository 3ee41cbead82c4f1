"""How long one view takes on a GPU: predicted from its machine code, measured where one answers.

    python benchmarks/gpu.py [--rounds N] [--warps N] [--measure-only] [--json FILE]

The scan and the detector of benchmarks/kernels.py. The prediction is for an H100 SXM (132
multiprocessors, 1.7 GHz sustained, 3.0 TB/s of memory): instructions of the inner loop from ptxas,
ray steps and the 128-byte lines that the loads of a warp touch from a trace of NVRTC's PTX on the
CPU. Instructions are issued four a clock and multiprocessor, lines are taken to be served one a
clock; the larger of both, or reading the volume once, is the bound, and twice the bound is as far
as it is trusted. It needs the development tools (`pip install drr-rate[dev]`) and a C++ compiler.

Measured times are of batches of eight views of a volume that is on the device, by the device's own
clock; the minimum counts. Where nanodrr is installed in the same environment, it renders the same
views with its fused kernel, from float32 attenuation, and the images are compared.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import drr
from drr.geometry.views import View, parse_view
from drr.kernels.cuda import modules
from drr.kernels.cuda.detect import detect
from drr.kernels.cuda.launch import project_views
from drr.kernels.cuda.residency import DeviceVolume
from drr.kernels.rays import Rays
from drr.patient.prepare import prepare
from drr.physics.attenuation import water
from kernels import SHAPE, SPACING, VIEWS, rays, volume

BATCH = 8
METHODS = ("joseph", "siddon")
VOXEL_LOADS = {"joseph": 4, "siddon": 1}
MULTIPROCESSORS, CLOCK, BANDWIDTH = 132, 1.7e9, 3.0e12
ARCHITECTURE = 90
WIDTH = 32


def predicted(hu: NDArray[np.int16], warps: int) -> dict[str, dict[str, float]]:
    """Bound in ms for every method and view, and what it follows from."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
    from cuda_host import nvrtc, sass, trace
    from cuda_host.install import installed

    from drr.kernels.cuda.sources import OPTIONS, module_source

    binary = nvrtc.compile_for(f"sm_{ARCHITECTURE}", module_source(channels=1), OPTIONS).binary
    listings = sass.instructions(binary)
    found = {}
    mapping = water().mapping
    with installed(memory=1 << 32):
        for view, angles in VIEWS.items():
            bundle = rays(*angles)
            all_warps = bundle.shape[0] * bundle.shape[1] / WIDTH
            for method in METHODS:
                with trace.recorded(warps=warps, capability=ARCHITECTURE, kernels=METHODS) as r:
                    project_views(hu, [mapping], [bundle], method=method, anti_aliasing=False)
                loads = VOXEL_LOADS[method]
                instructions = sass.inner_loop(listings[method], loads) or float("nan")
                requests = r.requests_per_warp(2)
                # Every voxel is looked up in the table, which is a load of its own.
                lines = requests * (r.lines(2) + r.lines(4))
                clocks = max(requests / loads * instructions / 4, lines)
                bound = all_warps * clocks / (MULTIPROCESSORS * CLOCK)
                found[f"{method}, {view}"] = {
                    "steps": requests / loads,
                    "instructions": instructions,
                    "voxel_lines": r.lines(2),
                    "table_lines": r.lines(4),
                    "bound_ms": 1e3 * max(bound, hu.nbytes / BANDWIDTH),
                }
    return found


def measured(hu: NDArray[np.int16], rounds: int) -> dict[str, float]:
    """Least time in ms of one view of a volume that is on the device."""
    import cupy

    voxels = DeviceVolume(cupy.asarray(hu), kind="cupy")
    mapping = water().mapping
    found = {}
    for view, angles in VIEWS.items():
        bundle = [rays(*angles)] * BATCH
        for method in METHODS:

            def images(bundle: list[Rays] = bundle, method: str = method) -> None:
                project_views(voxels, [mapping], bundle, method=method, anti_aliasing=False)

            found[f"{method}, {view}"] = least(images, rounds)
    return found


def centred() -> NDArray[np.float64]:
    """Voxel index (x, y, z) to LPS mm: the middle of the volume at the isocentre."""
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = -np.array(SPACING) * (np.array(SHAPE[::-1]) - 1) / 2
    return affine


def least(work: Callable[[], object], rounds: int) -> float:
    """Least time in ms of one of the `BATCH` views that `work` makes, by the device's clock."""
    import cupy

    times = []
    for _ in range(rounds + 3):
        begin, end = cupy.cuda.Event(), cupy.cuda.Event()
        begin.record()
        work()
        end.record()
        end.synchronize()
        times.append(cupy.cuda.get_elapsed_time(begin, end) / BATCH)
    return min(times[3:])


def upload_ms(hu: NDArray[np.int16], rounds: int) -> float:
    """Least time in ms from the host's memory, pageable, to the device."""
    import cupy

    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        DeviceVolume.from_host(hu)
        cupy.cuda.runtime.deviceSynchronize()
        times.append(1e3 * (time.perf_counter() - start))
    return min(times)


def pictures_ms(hu: NDArray[np.int16], rounds: int) -> dict[str, float]:
    """Least wall time in ms of one of 16 finished pictures, 512 x 512, of a prepared volume."""
    affine = centred()
    prepared = prepare(drr.Volume(hu=hu, affine=affine, name="thorax"))
    views = [parse_view(f"{angle - 180},0", shape=(512, 512)) for angle in np.arange(16) * 22.5]
    found = {}
    for look in ("raw", "film"):
        for backend in ("cuda", "cpu"):
            times = []
            for _ in range(rounds):
                start = time.perf_counter()
                for made in drr.project(prepared, views, look=look, backend=backend):
                    made.picture()
                times.append(1e3 * (time.perf_counter() - start) / len(views))
            found[f"{look}, {backend}"] = min(times)
    return found


def nanodrr_measured(hu: NDArray[np.int16], rounds: int) -> dict[str, dict[str, float]]:
    """Least time in ms of one view by nanodrr, and how far its image is from ours."""
    import torch
    from nanodrr.camera import make_k_inv
    from nanodrr.data import Subject
    from nanodrr.drr import render

    affine = centred()
    to_world = torch.from_numpy(affine)
    image = torch.from_numpy(water()(hu).astype(np.float32))[None, None].cuda()
    subject = Subject(
        image,
        torch.zeros(1, 1, 1, 1, 1, device="cuda"),
        to_world.float().cuda(),
        to_world.inverse().float().cuda(),
        Subject._make_voxel_to_grid(image.shape).cuda(),
        torch.zeros(3, device="cuda"),
        max_label=0,
        convert_to_mu=False,
    )
    k_inv = make_k_inv(1800.0, 0.9, 0.9, 0.0, 0.0, 512, 512, dtype=torch.float32)
    k_inv = k_inv.expand(BATCH, -1, -1).cuda()
    distance = torch.full((BATCH,), 1800.0, device="cuda")
    ours = DeviceVolume.from_host(hu)
    found = {}
    for name, angles in VIEWS.items():
        view = View(primary_angle=angles[0], secondary_angle=angles[1])
        beam, across, down = (np.array(d) for d in view.directions)
        pose = np.eye(4)
        pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = across, down, beam, -1500.0 * beam
        poses = torch.from_numpy(pose)[None].expand(BATCH, -1, -1).float().cuda()

        def images(poses: Any = poses) -> Any:
            with torch.no_grad():
                return render(subject, k_inv, poses, distance, 512, 512, 500)

        # nanodrr runs on torch's stream, which is the device's default one, as CuPy's is.
        milliseconds = least(images, rounds)
        theirs = images()[0, 0].cpu().numpy()
        mine = project_views(ours, [water().mapping], [rays(*angles)], anti_aliasing=False)[0, 0]
        difference = float(np.sqrt(np.mean((theirs - mine) ** 2) / np.mean(mine**2)))
        found[name] = {"ms": milliseconds, "difference": difference}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--warps", type=int, default=40, help="sample of the trace")
    parser.add_argument("--measure-only", action="store_true", help="predict nothing")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    hu = volume()
    figures: dict[str, Any] = {"shape": SHAPE, "predicted_for": "H100 SXM"}
    begin = time.perf_counter()
    gpu = detect()
    if gpu.available:
        figures["device"] = gpu.device
        figures["measured"] = measured(hu, options.rounds)
        figures["upload_ms"] = upload_ms(hu, 5)
        figures["pictures_ms"] = pictures_ms(hu, 3)
        if importlib.util.find_spec("nanodrr"):
            figures["nanodrr"] = nanodrr_measured(hu, options.rounds)
        modules._module.cache_clear()  # the prediction compiles for the CPU
    else:
        print(f"nothing measured: {gpu.reason}")
    try:
        if not options.measure_only:
            figures["predicted"] = predicted(hu, options.warps)
    except ImportError as error:
        print(f"no prediction: {error}; it needs the development tools, drr-rate[dev]")
    names = figures.get("predicted") or figures.get("measured") or {}
    if names:
        print("| kernel, view | steps a warp | instructions a step | lines a load: voxels, table |"
              " predicted ms | measured ms |\n|---|---|---|---|---|---|")  # fmt: skip
    for name in names:
        row = figures.get("predicted", {}).get(name)
        time_ms = figures.get("measured", {}).get(name)
        cells = ["", "", "", ""]
        if row:
            cells = [
                f"{row['steps']:.0f}",
                f"{row['instructions']:.0f}",
                f"{row['voxel_lines']:.1f}, {row['table_lines']:.1f}",
                f"{row['bound_ms']:.2f} to {2 * row['bound_ms']:.2f}",
            ]
        print("|", name, "|", " | ".join(cells), "|", f"{time_ms:.2f}" if time_ms else "", "|")
    if gpu.available:
        print(f"{gpu.device}: upload {figures['upload_ms']:.1f} ms")
        for name, time_ms in figures["pictures_ms"].items():
            print(f"picture of a prepared scan, {name}: {time_ms:.2f} ms")
        for name, row in figures.get("nanodrr", {}).items():
            ratio = row["ms"] / figures["measured"][f"joseph, {name}"]
            print(f"nanodrr, {name}: {row['ms']:.2f} ms, {ratio:.1f} times joseph's; "
                  f"images differ by {100 * row['difference']:.2f} %")  # fmt: skip
    print(f"{time.perf_counter() - begin:.0f} s")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
