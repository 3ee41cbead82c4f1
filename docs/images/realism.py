"""docs/realism.md: its numbers measured again and its pictures made again.

    python docs/images/realism.py [--measured]

Runs benchmarks/realism.py and benchmarks/lesions.py (some five minutes on two cores), puts their
tables between the markers of docs/realism.md and writes docs/images/realism_*.png. With
`--measured` the figures of the last run, in benchmarks/out, are taken instead. Needs the real CTs
and films of the folder `DRR_TEST_DATA`.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
import lesions  # noqa: E402
from films import DATA, to_window  # noqa: E402
from looks import LOOKS, Pose, Shot, read_scans  # noqa: E402
from realism import GREY_QUANTILES, MEASURES, montage  # noqa: E402

from drr.datasets.phantom.lesions import consolidation, ground_glass, lung_sites, nodule  # noqa: E402

PAGE = ROOT / "docs/realism.md"
IMAGES = ROOT / "docs/images"
OUT = ROOT / "benchmarks/out"
MOST_BYTES = 400_000
FILMS = ("00000550_000", "00000342_000")
"""Real PA films of men of the patients' age without a finding, beside either scan."""
SHOWN = ("film", "drr-rate")


def realism_tables(result: dict[str, Any]) -> str:
    parts = []
    for title, block in result["against"].items():
        which = (
            "PA films without a finding" if title == "No Finding" else "PA films, all there are,"
        )
        parts.append(
            f"Against {block['films']} {which} of {block['patients']} adults "
            f"({len(result['scans'])} CTs, {len(result['poses'])} poses each):\n"
        )
        rows = {
            "real, halves": block["floors"]["halves"],
            "real, two patients": block["floors"]["two patients"],
            **{f"`{look}`": row for look, row in block["looks"].items()},
        }
        parts.append(
            table(
                ["", *(name for name in MEASURES.values())],
                [
                    [name, *(cell(row["values"][m], row["interval"][m]) for m in MEASURES)]
                    for name, row in rows.items()
                ],
            )
        )
    block = result["against"]["all"]
    parts.append(
        "Of pairs of real patients, so many per cent are closer to the other films than the look "
        "is (all PA films):\n"
    )
    parts.append(
        table(
            ["", *(name for name in MEASURES.values())],
            [
                [f"`{look}`", *(f"{100 * row['pairs_closer'][m]:.0f} %" for m in MEASURES)]
                for look, row in block["looks"].items()
            ],
        )
    )
    parts.append("Grey level, of 255, below which a share of the pixels lies:\n")
    parts.append(
        table(
            ["", *(f"{q:.0%}" for q in GREY_QUANTILES)],
            [
                [label(name), *map(str, values["grey_quantiles"])]
                for name, values in result["profiles"].items()
            ],
        )
    )
    frequencies = result["frequencies_per_mm"]
    chosen = range(0, len(frequencies), 3)
    real = result["profiles"]["real"]["spectrum_db"]
    parts.append("Power in decibel above the real films', by cycles per cm:\n")
    parts.append(
        table(
            ["", *(f"{10 * frequencies[i]:.2f}" for i in chosen)],
            [
                [label(name), *(f"{values['spectrum_db'][i] - real[i]:+.1f}" for i in chosen)]
                for name, values in result["profiles"].items()
                if name != "real"
            ],
        )
    )
    return "\n".join(parts)


def lesion_tables(result: dict[str, Any]) -> str:
    looks = list(dict.fromkeys(row["look"] for row in result["summary"]))
    rows = []
    for name in dict.fromkeys(row["lesion"] for row in result["summary"]):
        of = {row["look"]: row for row in result["summary"] if row["lesion"] == name}
        cells = [
            f"{of[k]['median']:.1f} ({of[k]['lowest']:.1f} to {of[k]['highest']:.1f}), "
            f"**{of[k]['above']}**/{of[k]['places']}"
            for k in looks
        ]
        erased = f"{of['drr-rate']['erased']}/{of['drr-rate']['places']}"
        rows.append([name, *cells, erased])
    gained = result["rescued"]
    count = len(result["rows"]) // len(looks)
    margins = sorted(row["margin"] for row in gained)
    missed = [
        row for row in result["rows"] if row["look"] == "film" and row["snr"] < result["threshold"]
    ]
    wholly = sum(row["erased"] for row in gained)
    parts = [
        table(["", *(f"`{look}`" for look in looks), "erased in `drr-rate`"], rows),
        f"Of {count} lesions, {len(gained)} are below the threshold in `drr-rate` and above it in "
        f"`film`, by a factor of {margins[0]:.2f} to {margins[-1]:.2f} (median "
        f"{float(np.median(margins)):.2f}); {wholly} of these are erased in `drr-rate`. "
        f"{len(missed)} are below the threshold in `film` too.\n",
    ]
    erased = [row for row in gained if row["erased"]]
    kinds = []
    for name in dict.fromkeys(row["lesion"] for row in erased):
        of_kind = [row["margin"] for row in erased if row["lesion"] == name]
        kinds.append([name, str(len(of_kind)), f"{min(of_kind):.2f} to {max(of_kind):.2f}"])
    parts.append("Erased in `drr-rate` and above the threshold in `film`:\n")
    parts.append(table(["", "places", "times the threshold"], kinds))
    return "\n".join(parts)


def label(name: str) -> str:
    return name if name == "real" else f"`{name}`"


def cell(value: float, interval: list[float]) -> str:
    return f"{value:.2f} ({interval[0]:.2f} to {interval[1]:.2f})"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def put(page: str, name: str, content: str) -> str:
    """The page with something new between the markers of that name."""
    pattern = rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)"
    found, count = re.subn(pattern, lambda m: f"{m[1]}\n{content}\n{m[2]}", page, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"{PAGE.name} has no markers <!-- {name} --> and <!-- end of {name} -->")
    return found


def film_at(name: str, *, pixels: int, step: float) -> NDArray[np.float32]:
    """A real film in the window, from its 1024 pixels if they are there, else from its 320."""
    folder = DATA / "cxr/nih"
    with open(folder / "labels.csv", newline="") as file:
        (row,) = (r for r in csv.DictReader(file) if r["image"] == name)
    sharp = sorted((folder / "full1024").glob(f"{name}_*.png"))
    with zipfile.ZipFile(folder / "films_320px.zip") as archive:
        content = sharp[0].read_bytes() if sharp else archive.read(f"{name}.jpg")
    grey = np.asarray(Image.open(io.BytesIO(content)).convert("L")) / 255.0
    height = int(row["orig_h"]) * float(row["px_mm_y"]) / grey.shape[0]
    width = int(row["orig_w"]) * float(row["px_mm_x"]) / grey.shape[1]
    return to_window(grey, (height, width), pixels=pixels, step=step, coarsest=step)


def side_by_side(path: Path, *, pixels: int = 320, step: float = 1.0) -> None:
    """A real film, the film look and the drr-rate look; one row per scan."""
    rows = []
    for name, prepared in zip(FILMS, read_scans().values(), strict=True):
        shots = [LOOKS[look](prepared, Pose()) for look in SHOWN]
        rows.append(
            np.stack(
                [
                    film_at(name, pixels=pixels, step=step),
                    *(
                        to_window(
                            shot.picture,
                            (shot.spacing,) * 2,
                            pixels=pixels,
                            step=step,
                            coarsest=step,
                        )
                        for shot in shots
                    ),
                ]
            )
        )
    montage(rows, path)


def lesions_in_pictures(path: Path, *, pixels: int = 120, step: float = 1.0) -> None:
    """Four lesions: without and with in the film look, without and with in the drr-rate look."""
    prepared = next(iter(read_scans().values()))
    sites = lung_sites(prepared.anatomy)
    kinds = [
        ("left upper", lambda v, p: nodule(v, p, diameter=10)),
        ("right middle", lambda v, p: nodule(v, p, diameter=30, hu=-300)),
        ("left upper", lambda v, p: ground_glass(v, prepared.anatomy, p, diameter=40, hu=-300)),
        ("left middle", lambda v, p: consolidation(v, prepared.anatomy, p, diameter=60)),
    ]
    rows: list[list[NDArray]] = [[] for _ in range(2 * len(SHOWN))]
    for site, insert in kinds:
        point = sites[site]
        ill = replace(
            prepared, source=insert(prepared.source, point), volume=insert(prepared.volume, point)
        )
        for n, look in enumerate(SHOWN):
            plain, changed = (LOOKS[look](p, Pose()) for p in (prepared, ill))
            added = lesions.integrals(ill, plain.geometry) - lesions.integrals(
                prepared, plain.geometry
            )
            middle = np.unravel_index(int(added.argmax()), added.shape)
            for k, shot in enumerate((plain, changed)):
                rows[2 * n + k].append(cut_out(shot, middle, pixels=pixels, step=step))
    montage([np.stack(row) for row in rows], path)


def cut_out(shot: Shot, middle: Any, *, pixels: int, step: float) -> NDArray[np.float32]:
    """A square around a pixel, at a stated scale."""
    half = int(np.ceil(pixels * step / shot.spacing / 2)) + 1
    padded = np.pad(shot.picture, half)
    row, column = (int(m) for m in middle)
    part = padded[row : row + 2 * half + 1, column : column + 2 * half + 1]
    return to_window(part, (shot.spacing,) * 2, pixels=pixels, step=step, coarsest=0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--measured", action="store_true", help="take the last run's figures")
    options = parser.parse_args()
    if not options.measured:
        for script in ("realism", "lesions"):
            subprocess.run([sys.executable, str(ROOT / f"benchmarks/{script}.py")], check=True)
    page = PAGE.read_text(encoding="utf-8")
    page = put(page, "realism", realism_tables(json.loads((OUT / "realism.json").read_text())))
    page = put(page, "lesions", lesion_tables(json.loads((OUT / "lesions.json").read_text())))
    PAGE.write_text(page, encoding="utf-8")
    (IMAGES / "realism_montage.png").write_bytes((OUT / "realism_montage.png").read_bytes())
    side_by_side(IMAGES / "realism_side_by_side.png")
    lesions_in_pictures(IMAGES / "realism_lesions.png")
    for path in sorted(IMAGES.glob("realism_*.png")):
        size = path.stat().st_size
        print(f"{path.relative_to(ROOT)}: {size // 1000} kB")
        if size > MOST_BYTES:
            raise SystemExit(f"{path.name} is larger than {MOST_BYTES // 1000} kB")


if __name__ == "__main__":
    main()
