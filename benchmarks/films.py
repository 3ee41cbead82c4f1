"""Real chest films, and the one window in which films and DRRs are compared.

The films are 1,251 of NIH ChestX-ray14 (Wang et al., CVPR 2017; NIH Clinical Center) at 320 x 320
pixels. ChestX-ray14 squeezed every film into a square, whatever its shape: the original size and
spacing, which its table keeps, undo that here.
"""

from __future__ import annotations

import csv
import io
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("DRR_TEST_DATA", ROOT.parent / "shared" / "data"))
CREDIT = "films: NIH Clinical Center, ChestX-ray14, Wang et al., CVPR 2017"

SPACING = 2.0
"""mm per pixel, at the detector, at which everything is compared."""
PIXELS = 160
"""Rows and columns of the window: 320 mm, less than nearly every film's shorter side."""
COARSEST = 1.34
"""mm per pixel of the films of 430 mm at 320 pixels; sharper pictures are brought to it first."""
ADULT = 18

Picture = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Film:
    """A film in the window, `(160, 160)` float32 grey, 0 black to 1 white, and whose it is."""

    name: str
    patient: str
    findings: tuple[str, ...]
    age: int
    sex: str
    view: str
    picture: Picture


def to_window(
    grey: NDArray[np.floating],
    spacing: tuple[float, float],
    *,
    pixels: int = PIXELS,
    step: float = SPACING,
    coarsest: float = COARSEST,
) -> Picture:
    """What a picture shows in the window around its middle, at the common scale.

    Parameters
    ----------
    grey
        `(rows, columns)`, 0 black to 1 white. Rounded to 8 bits first, as films are.
    spacing
        mm per pixel down a column and along a row.
    pixels, step
        Rows and columns of the window, and its mm per pixel.
    coarsest
        Finer pixels are averaged to this many mm first, so that films and DRRs were sampled alike.

    Returns
    -------
    `(pixels, pixels)` float32. What lies outside a smaller picture is black, as outside a
    collimator.
    """
    values = np.rint(255 * np.clip(grey, 0, 1)).astype(np.float32)
    rows, columns = values.shape
    height, width = rows * spacing[0], columns * spacing[1]
    if min(spacing) < coarsest:
        rows, columns = (
            max(1, round(side / max(coarsest, own)))
            for side, own in zip((height, width), spacing, strict=True)
        )
        averaged = Image.fromarray(values).resize((columns, rows), Image.Resampling.BOX)
        values = np.asarray(averaged, np.float32)
    side = step * pixels
    # In pixels, from the edge of the picture to the edge of the window.
    top, left = rows * (1 - side / height) / 2, columns * (1 - side / width) / 2
    pad = [max(0, int(np.ceil(-edge))) for edge in (top, left)]
    values = np.pad(values, [(pad[0], pad[0]), (pad[1], pad[1])])
    top, left = top + pad[0], left + pad[1]
    edges = (left, top, values.shape[1] - left, values.shape[0] - top)
    window = Image.fromarray(values).resize((pixels, pixels), Image.Resampling.BICUBIC, box=edges)
    return np.clip(np.asarray(window, np.float32) / 255, 0, 1)


def read_films(folder: Path = DATA / "cxr/nih") -> list[Film]:
    """Adults' films that fill the window."""
    films = []
    with (
        open(folder / "labels.csv", newline="") as table,
        zipfile.ZipFile(folder / "films_320px.zip") as archive,
    ):
        for row in csv.DictReader(table):
            height = int(row["orig_h"]) * float(row["px_mm_y"])
            width = int(row["orig_w"]) * float(row["px_mm_x"])
            if int(row["age"]) < ADULT or min(height, width) < SPACING * PIXELS:
                continue
            image = Image.open(io.BytesIO(archive.read(f"{row['image']}.jpg"))).convert("L")
            grey = np.asarray(image, np.float32) / 255
            films.append(
                Film(
                    name=row["image"],
                    patient=row["patient"],
                    findings=tuple(f for f in row["findings"].split("|") if f != "No Finding"),
                    age=int(row["age"]),
                    sex=row["sex"],
                    view=row["view"],
                    picture=to_window(grey, (height / grey.shape[0], width / grey.shape[1])),
                )
            )
    return films
