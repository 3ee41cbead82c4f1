"""`drr inspect`: what a CT is, before anything is made of it."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drr.cli.console import LONGEST_LINE
from drr.cli.options import reading_options
from drr.errors import printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from drr.volume import Volume

__all__ = ["command"]

LIST = "\0list"
WINDOW = (-1000.0, 500.0)
"""HU shown black and white in previews."""

PERCENTILES = (0, 1, 25, 50, 75, 99, 100)
RAMP = " .:-=+*#%@"
CELL_ROWS = 22
PIXEL_ROWS = 512


@click.command("inspect")
@click.argument("ct", type=click.Path(path_type=Path))
@click.option(
    "--series",
    metavar="[NAME]",
    is_flag=False,
    flag_value=LIST,
    help="Which series of a DICOM input: number, description, UID or #place. "
    "Given last and without a name, list the series.",
)
@reading_options
@click.option(
    "--png",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Save coronal, sagittal and axial slices through the middle as a picture.",
)
@click.option("-f", "--force", is_flag=True, help="Overwrite an existing picture.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@click.option("--no-preview", is_flag=True, help="Leave the preview out.")
def command(
    ct: Path,
    series: str | None,
    png: Path | None,
    force: bool,
    as_json: bool,
    no_preview: bool,
    **reading: Any,
) -> None:
    """Say what CT is: format, orientation, extent, values, and how it looks.

    CT is anything that can be projected: a NIfTI, MetaImage, NRRD or NumPy file, or a DICOM
    folder, zip, tar or file. Names, dates and identifiers of patients are not printed.
    """
    from drr.files.atomic import refuse_existing, write_files
    from drr.io.read import read_described

    if series == LIST:
        _list(ct, as_json)
        return
    if png is not None:
        refuse_existing([png], force=force)
    volume, kind = read_described(ct, series=series, **reading)
    description = describe(volume, kind)
    if png is not None:
        write_files({png: _png(volume)}, force=force)
    if as_json:
        click.echo(json.dumps(description, indent=2))
        return
    click.echo(_text(description))
    if not no_preview:
        click.echo("\n" + _preview(volume, colour=_has_colour()))


def describe(volume: Volume, kind: str) -> dict[str, Any]:
    """What `drr inspect --json` prints: plain numbers and text, no identifiers."""
    import numpy as np

    from drr.patient.anatomy import find_anatomy
    from drr.patient.coverage import assess_coverage
    from drr.patient.fill import find_fill, with_notes, without_fill

    fill = find_fill(volume.hu)
    covered = None
    if volume.verdict.is_hu:
        scanned = without_fill(volume, fill)
        covered = assess_coverage(scanned, find_anatomy(scanned)).to_dict()
    step = max(1, round((volume.hu.size / 4e6) ** (1 / 3)))
    sample = volume.hu[::step, ::step, ::step]
    quantiles = np.percentile(sample, PERCENTILES, method="nearest")
    quantiles[0], quantiles[-1] = volume.hu.min(), volume.hu.max()
    axes = volume.affine[:3, :3] / volume.spacing
    nz, ny, nx = volume.shape
    return {
        "name": volume.name,
        "format": kind,
        "shape": [nx, ny, nz],
        "spacing_mm": [round(float(s), 6) for s in volume.spacing],
        "extent_mm": [
            round(n * float(s), 3) for n, s in zip((nx, ny, nz), volume.spacing, strict=True)
        ],
        "center_mm": [round(float(c), 3) for c in volume.center],
        "orientation": volume.orientation,
        # Of the axes after reordering: rotation away from the patient's, and shear.
        "oblique_degrees": round(float(np.degrees(np.arccos(min(np.diag(axes).min(), 1)))), 3),
        "sheared_degrees": round(float(np.degrees(np.arcsin(_shear(axes)))), 3),
        "affine": [[round(float(v), 9) for v in row] for row in volume.affine],
        "hu_percentiles": {str(p): int(q) for p, q in zip(PERCENTILES, quantiles, strict=True)},
        "verdict": volume.verdict.to_dict(),
        "coverage": covered,
        "notes": list(with_notes(volume, fill, "clean-up makes it air").notes),
    }


def _shear(axes: NDArray[np.float64]) -> float:
    pairs = ((0, 1), (0, 2), (1, 2))
    return min(max(abs(float(axes[:, a] @ axes[:, b])) for a, b in pairs), 1.0)


def _text(description: dict[str, Any]) -> str:
    def by(values: list[float], form: str = "g") -> str:
        return " x ".join(f"{v:{form}}" for v in values)

    d = description
    placement = f"stored {d['orientation']}"
    if d["oblique_degrees"] >= 0.05:
        placement += f", {d['oblique_degrees']:.1f} degrees oblique"
    if d["sheared_degrees"] >= 0.05:
        placement += f", sheared by {d['sheared_degrees']:.1f} degrees"
    names = {"0": "min", "50": "median", "100": "max"}
    quantiles = ", ".join(
        f"{names.get(p, p + ' %')} {value}" for p, value in d["hu_percentiles"].items()
    )
    centre = ", ".join(f"{c:.1f}" for c in d["center_mm"])
    rows = [
        ("format", d["format"]),
        ("shape", f"{by(d['shape'])} voxels (x, y, z)"),
        ("spacing", f"{by(d['spacing_mm'], '.4g')} mm"),
        ("extent", f"{by(d['extent_mm'], '.1f')} mm, centre {centre} (LPS)"),
        ("orientation", placement),
        ("values", quantiles),
        ("verdict", f"{d['verdict']['summary']} {d['verdict']['advice']}".strip()),
    ]
    if d["verdict"]["size"]:
        rows.append(("size", d["verdict"]["size"]))
    notes = list(d["notes"])
    if d["coverage"] is not None:
        rows.append(("region", f"{d['coverage']['region']}: {d['coverage']['reason']}"))
        notes += d["coverage"]["notes"]
    rows += [("note", note) for note in notes]
    # Names of files may hold anything.
    told = (f"  {key:<12} {printable(value, most=LONGEST_LINE)}" for key, value in rows)
    return "\n".join([printable(d["name"]), *told])


def _list(ct: Path, as_json: bool) -> None:
    from drr.io.read import series_in

    found = series_in(ct)
    if as_json:
        rows = [
            {
                "place": s.index,
                "number": s.number,
                "description": s.description,
                "modality": s.modality,
                "slices": s.slices,
                "problem": s.problem,
            }
            for s in found
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    for series in found:
        text = series.line + (f": {series.problem}" if series.problem else "")
        click.echo(printable(text, most=LONGEST_LINE))


def _planes(volume: Volume) -> list[tuple[str, NDArray[np.float64], float, float]]:
    """Name, grey values 0 to 1 and mm per row and column of slices through the body's middle.

    Coronal and axial as radiologists hang them, the patient's right on the left; sagittal with
    anterior on the left.
    """
    import numpy as np

    hu = volume.hu
    sx, sy, sz = (float(s) for s in volume.spacing)
    step = max(1, round((hu.size / 2e6) ** (1 / 3)))
    places = np.argwhere(hu[::step, ::step, ::step] > -300)
    z, y, x = (n // 2 for n in hu.shape)
    if len(places):
        z, y, x = (int(m) * step for m in np.median(places, axis=0))
    low, high = WINDOW

    def grey(plane: NDArray[np.int16]) -> NDArray[np.float64]:
        return np.asarray(np.clip((plane - low) / (high - low), 0, 1))

    return [
        ("coronal", grey(hu[::-1, y, :]), sz, sx),
        ("sagittal", grey(hu[::-1, :, x]), sz, sy),
        ("axial", grey(hu[z]), sy, sx),
    ]


def _resize(plane: NDArray[np.float64], rows: int, columns: int) -> NDArray[np.float64]:
    """Area-weighted shrink or linear stretch to `(rows, columns)`."""
    import numpy as np
    from PIL import Image

    image = Image.fromarray(plane.astype(np.float32))
    filter_ = Image.Resampling.BOX if rows < plane.shape[0] else Image.Resampling.BILINEAR
    return np.asarray(image.resize((max(columns, 1), max(rows, 1)), filter_), np.float64)


def _png(volume: Volume) -> bytes:
    """The three planes side by side, in proportion."""
    import numpy as np
    from PIL import Image

    planes = _planes(volume)
    scale = PIXEL_ROWS / max(plane.shape[0] * row for _, plane, row, _ in planes)
    tiles = []
    for _, plane, row, column in planes:
        rows = max(1, round(plane.shape[0] * row * scale))
        columns = max(1, round(plane.shape[1] * column * scale))
        tile = np.zeros((PIXEL_ROWS, columns + 4))
        top = (PIXEL_ROWS - rows) // 2
        tile[top : top + rows, :columns] = _resize(plane, rows, columns)
        tiles.append(tile)
    picture = np.rint(np.hstack(tiles)[:, :-4] * 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def _preview(volume: Volume, *, colour: bool) -> str:
    """Coronal and axial slices in character cells: half blocks with colour, else letters."""
    planes = [plane for plane in _planes(volume) if plane[0] != "sagittal"]
    scale = CELL_ROWS / max(plane.shape[0] * row for _, plane, row, _ in planes)
    blocks = []
    for name, plane, row, column in planes:
        rows = max(1, round(plane.shape[0] * row * scale))
        # A character cell is about twice as high as wide.
        columns = max(8, min(60, round(plane.shape[1] * column * scale * 2)))
        draw = _half_blocks if colour else _letters
        lines = draw(_resize(plane, rows * (2 if colour else 1), columns))
        lines += [" " * columns] * (CELL_ROWS - rows)
        blocks.append([name.ljust(columns), *lines])
    return "\n".join("  " + "  ".join(parts).rstrip() for parts in zip(*blocks, strict=True))


def _letters(plane: NDArray[np.float64]) -> list[str]:
    last = len(RAMP) - 1
    return ["".join(RAMP[round(float(v) * last)] for v in row) for row in plane]


def _half_blocks(plane: NDArray[np.float64]) -> list[str]:
    """Two pixels a cell, in the 24 greys of the 256-colour palette."""
    greys = (232 + (plane * 23).round().astype(int)).tolist()
    return [
        "".join(f"\x1b[38;5;{a};48;5;{b}m▀" for a, b in zip(top, bottom, strict=True)) + "\x1b[0m"
        for top, bottom in zip(greys[::2], greys[1::2], strict=True)
    ]


def _has_colour() -> bool:
    # Standard output is None when closed.
    encoding = (getattr(sys.stdout, "encoding", "") or "").lower()
    return (
        encoding.replace("-", "") == "utf8"
        and sys.stdout.isatty()
        and "NO_COLOR" not in os.environ
        and os.environ.get("TERM", "") != "dumb"
    )
