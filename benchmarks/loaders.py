"""Views a second from every loader, beside a folder of PNG files and a renderer for PyTorch.

    python benchmarks/loaders.py [--seconds S] [--workers 0 2] [--nanodrr PYTHON] [--json FILE]

A phantom's film (512 x 512, 8 bits) stored 64 times with noise: as `drr build` stores it, and as
PNG read with Pillow. The same phantom (256^3 voxels) prepared with its own voxels and at 1.5 mm,
projected at 224 x 224 in the film look with the chest policy, and bare (raw look, nothing varied).
nanodrr, in an environment of its own, projects the same CT at 224 x 224 from random angles in a
data set of the same loader: attenuation only, its default of 500 samples a ray, one thread. Batches
of 16; everything is timed in turn, after a first batch that is not.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stored_views import write_views
from torch.utils.data import DataLoader

import drr
from drr.datasets import EpochSampler, PreparedStore, ProjectedDRRs, StoredDRRs
from drr.datasets.loaders.store import prepare_store
from drr.datasets.phantom.nifti import nifti_bytes
from drr.datasets.phantom.thorax import thorax
from drr.datasets.study import Cohort, Study

RESULTS = Path(__file__).resolve().parent / "results"
COUNT, BATCH, SIZE = 64, 16, 224

PEER = """
import json, sys, time, torch
from nanodrr.camera import make_k_inv, make_rt_inv
from nanodrr.data import Subject
from nanodrr.drr import DRR

path, seconds, workers, batch, size = sys.argv[1], *map(float, sys.argv[2:])
batch, size = int(batch), int(size)
torch.set_num_threads(1)


class Views(torch.utils.data.Dataset):
    def __init__(self):
        self.subject = Subject.from_filepath(path)
        pitch = 430.0 / size
        k_inv = make_k_inv(1800.0, pitch, pitch, 0.0, 0.0, size, size)
        self.renderer = DRR(k_inv, torch.tensor([1800.0]), size, size)

    def __len__(self):
        return 100_000

    def __getitem__(self, index):
        turn = torch.empty(1, 3).uniform_(-5, 5, generator=torch.Generator().manual_seed(index))
        move = torch.tensor([[0.0, 1600.0, 0.0]])
        pose = make_rt_inv(turn, move, orientation="AP", isocenter=self.subject.isocenter)
        with torch.inference_mode():
            return self.renderer(self.subject, pose)[0].clone()


views = Views()
assert float(views[0].max()) > 0.5
loader = iter(torch.utils.data.DataLoader(views, batch_size=batch, num_workers=int(workers)))
next(loader)
start, seen = time.perf_counter(), 0
while time.perf_counter() - start < seconds:
    seen += len(next(loader))
print(json.dumps(seen / (time.perf_counter() - start)))
sys.stdout.flush()
import os
os._exit(0)
"""


class Pictures:
    """A plain folder of PNG files."""

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(folder.glob("*.png"))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        from PIL import Image

        return np.asarray(Image.open(self.paths[index]), np.float32)[None] / np.float32(255)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--nanodrr", help="Python of an environment with nanodrr")
    parser.add_argument("--json", type=Path, default=RESULTS / "loaders.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), options)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=2) + "\n")


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    ct = thorax(256)
    (folder / "ct.nii").write_bytes(nifti_bytes(ct, Path("ct.nii")))
    stored, pictures = write_films(folder, ct)
    fine, coarse = (write_store(folder / str(s), ct, s) for s in (None, 1.5))
    torch.set_num_threads(1)
    sets: dict[str, Any] = {
        "stored, 512": StoredDRRs(stored),
        "PNG folder, 512": Pictures(pictures),
        "stored, 512, chest policy": StoredDRRs(stored, policy="chest"),
    }
    for name, store in (("own voxels", fine), ("1.5 mm", coarse)):
        shared: dict[str, Any] = {"shape": (SIZE, SIZE), "samples_per_volume": 4096, "threads": 1}
        sets[f"projected, film, chest policy, {name}"] = ProjectedDRRs(store, **shared)
        sets[f"projected, bare, {name}"] = ProjectedDRRs(store, look="raw", policy=None, **shared)
    rates: dict[str, dict[str, float]] = {}
    for name, data in sets.items():
        rates[name] = {str(n): rate(data, n, options.seconds) for n in options.workers}
        show(name, rates[name])
    if options.nanodrr:
        name = "nanodrr, bare, own voxels"
        rates[name] = {
            str(n): peer(options.nanodrr, folder / "ct.nii", options.seconds, n)
            for n in options.workers
        }
        show(name, rates[name])
    return {
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "drr": drr.__version__,
        "store_megabytes": {"own voxels": fine.bytes / 1e6, "1.5 mm": coarse.bytes / 1e6},
        "views_per_second": rates,
    }


def show(name: str, rates: dict[str, float]) -> None:
    columns = "  ".join(f"{workers} workers {value:8.1f}/s" for workers, value in rates.items())
    print(f"{name:48} {columns}", flush=True)


def rate(data: Any, workers: int, seconds: float) -> float:
    """Samples a second after the first batch."""
    sampler = EpochSampler(data) if hasattr(data, "pathologies") else None
    loader = DataLoader(
        data, BATCH, sampler=sampler, num_workers=workers, persistent_workers=workers > 0
    )
    seen, start = 0, 0.0
    while True:
        for batch in loader:
            if start == 0:
                start = time.perf_counter()
                continue
            seen += len(batch["image"] if isinstance(batch, dict) else batch)
            if time.perf_counter() - start > seconds:
                return seen / (time.perf_counter() - start)


def peer(python: str, ct: Path, seconds: float, workers: int) -> float:
    arguments = [str(value) for value in (ct, seconds, workers, BATCH, SIZE)]
    done = subprocess.run(
        [python, "-c", PEER, *arguments], capture_output=True, text=True, check=False, cwd=ct.parent
    )
    if done.returncode:
        sys.exit(f"nanodrr failed:\n{done.stderr}")
    return float(json.loads(done.stdout.splitlines()[-1]))


def write_films(folder: Path, ct: drr.Volume) -> tuple[Path, Path]:
    from PIL import Image

    grey = drr.project(ct, drr.View(shape=(512, 512))).picture()
    rng = np.random.default_rng(0)
    noisy = grey + 0.01 * rng.standard_normal((COUNT, 512, 512), np.float32)
    pixels = np.rint(255 * np.clip(noisy, 0, 1)).astype(np.uint8)
    pictures = folder / "png"
    pictures.mkdir()
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(pictures / f"{number:03}.png")
    write_views(
        folder / "films.h5",
        pixels,
        names=[f"s{number:03}" for number in range(COUNT)],
        labels=np.zeros((COUNT, 1)),
        label_names=["finding"],
    )
    return folder / "films.h5", pictures


def write_store(folder: Path, ct: drr.Volume, spacing: float | None) -> PreparedStore:
    study = Study(sample="ct", patient="p", path="ct.nii", labels=(0,))
    cohort = Cohort(kind="phantom", root=folder, studies=(study,), label_names=("finding",))
    return prepare_store(cohort, folder, spacing=spacing, read=lambda _: (ct, None))


if __name__ == "__main__":
    main()
