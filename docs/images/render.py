"""The README's pictures: three views of a real chest and of the phantom, each in one strip.

    python docs/images/render.py [--out FOLDER]

Rendered by `drr project` with its defaults, 512 pixels a side. The real chest is LIDC-IDRI-0001
(the scan that `drr sample` fetches) from the folder `DRR_TEST_DATA`; without it only the phantom's
picture is made.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = Path(os.environ.get("DRR_TEST_DATA", ROOT.parent / "shared" / "data"))
VIEWS = ("pa", "ll", "lao45")
GAP = 6  # white pixels between views
MARGIN = 10  # pixels of unexposed film kept around the patient
BLACK = 20  # grey level below which film counts as unexposed
MOST_BYTES = 400_000


def drr(*arguments: str | Path) -> None:
    command = [sys.executable, "-c", "from drr.cli import main; main()"]
    subprocess.run([*command, *map(str, arguments), "--quiet"], check=True)


def views_of(scan: Path, folder: Path) -> list[np.ndarray]:
    """`(512, 512)` uint8 of every view."""
    options = [option for view in VIEWS for option in ("-v", view)]
    drr("project", scan, "-o", folder / "{view}.png", *options, "--pixels", "512")
    return [np.asarray(Image.open(folder / f"{view}.png").convert("L")) for view in VIEWS]


def strip(pictures: list[np.ndarray]) -> Image.Image:
    """The views side by side, unexposed margins trimmed: rows of all alike, columns of each."""
    rows = extent(np.max([picture.max(axis=1) for picture in pictures], axis=0))
    trimmed = [picture[rows, extent(picture.max(axis=0))] for picture in pictures]
    gap = np.full((trimmed[0].shape[0], GAP), 255, np.uint8)
    joined = [part for picture in trimmed for part in (gap, picture)][1:]
    return Image.fromarray(np.hstack(joined))


def extent(brightest: np.ndarray) -> slice:
    exposed = np.flatnonzero(brightest > BLACK)
    return slice(max(0, exposed[0] - MARGIN), exposed[-1] + 1 + MARGIN)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs/images")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        drr("phantom", folder / "phantom.nii.gz")
        scans = {"phantom": folder / "phantom.nii.gz"}
        lidc = DATA / "ct/lidc_idri_0001/cxr.nii.gz"
        if lidc.is_file():
            scans["lidc"] = lidc
        else:
            print(f"no {lidc}: set DRR_TEST_DATA to make lidc_views.png")
        for label, scan in scans.items():
            (folder / label).mkdir()
            path = out / f"{label}_views.png"
            strip(views_of(scan, folder / label)).save(path, optimize=True)
            size = path.stat().st_size
            print(f"saved {path} ({size / 1000:.0f} kB)")
            if size > MOST_BYTES:
                raise SystemExit(f"{path} is larger than {MOST_BYTES / 1000:.0f} kB")


if __name__ == "__main__":
    main()
