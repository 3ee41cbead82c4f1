"""Which lesions a look shows: contrast-to-noise against the anatomy around them.

    python benchmarks/lesions.py [--quick] [--looks film,raw,drr-rate]

Lesions of stated CT number and size (`drr.datasets.phantom.lesions`) are put into real CTs at six
places in the lungs, one at a time, and every look makes its picture with and without, of 8 bits, in
the same geometry. What the lesion adds is the difference of the two.

Visibility is the signal-to-noise ratio of a model observer who knows the lesion's shape and looks
for it among the patient's own structures: a non-prewhitening matched filter with an eye filter
(NPWE), which agrees with human observers in such backgrounds (Burgess, Li and Abbey, J. Opt. Soc.
Am. A 14:2420, 1997; Burgess, Jacobson and Judy, Med. Phys. 28:419, 2001). The template is the
lesion's shadow in line integrals; template and pictures pass the eye's contrast sensitivity, life
size at half a metre, so that neither brightness nor gradients count. The response to what the
lesion adds is divided by the standard deviation of the responses to the picture without it, at
all places of the lungs' shadow within 20 mm or half the shadow's size. It knows the area: a large
faint lesion counts by all its pixels. The threshold is Rose's criterion, 5 (Rose, J. Opt. Soc. Am.
38:196, 1948). `contrast` is in grey levels of 255: inside the half-maximum of the shadow against
what lies up to 6 mm around it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from films import DATA
from looks import LOOKS, Pose, Shot, read_scans
from numpy.typing import NDArray

import drr
from drr.datasets.phantom.lesions import (
    consolidation,
    ground_glass,
    lung_sites,
    nodule,
    pleural_effusion,
)
from drr.geometry.geometry import Geometry
from drr.patient.anatomy import Anatomy
from drr.patient.prepare import Prepared
from drr.volume import Volume

ROSE = 5.0
VIEWING_DISTANCE_MM = 500.0
RING_MM, REACH_MM = 6.0, 20.0
OUT = Path(__file__).parent / "out"

Floats = NDArray[np.float64]
Insert = Callable[[Volume, Anatomy, tuple[float, float, float]], Volume]


@dataclass(frozen=True, eq=False)
class Lesion:
    """A kind of lesion; one that is `sided` is put into each lung once, not at each place."""

    name: str
    insert: Insert
    sided: bool = False


def lesions(*, quick: bool) -> list[Lesion]:
    found = []
    for kind, hu in (("solid", 30.0), ("part-solid", -300.0)):
        for diameter in (10.0, 30.0) if quick else (5.0, 10.0, 20.0, 30.0):
            found.append(
                Lesion(
                    f"nodule, {kind} ({hu:+.0f} HU), {diameter:.0f} mm",
                    lambda v, a, p, d=diameter, h=hu: nodule(v, p, diameter=d, hu=h),
                )
            )
    for hu in (-600.0, -300.0) if quick else (-700.0, -600.0, -500.0, -300.0, -150.0):
        found.append(
            Lesion(
                f"ground glass ({hu:.0f} HU), 40 mm",
                lambda v, a, p, h=hu: ground_glass(v, a, p, diameter=40, hu=h),
            )
        )
    for diameter in (60.0,) if quick else (40.0, 60.0):
        found.append(
            Lesion(
                f"consolidation (+40 HU), {diameter:.0f} mm",
                lambda v, a, p, d=diameter: consolidation(v, a, p, diameter=d),
            )
        )
    for amount in (200.0,) if quick else (50.0, 200.0):
        found.append(
            Lesion(
                f"pleural effusion (+10 HU), {amount:.0f} ml",
                lambda v, a, p, m=amount: pleural_effusion(
                    v, a, side="left" if p[0] > a.thorax_center[0] else "right", millilitres=m
                ),
                sided=True,
            )
        )
    return found


@dataclass(frozen=True)
class Visibility:
    """How a lesion shows: signal-to-noise, contrast in grey levels, and whether at all.

    Erased is a lesion inside whose half-maximum 99 % of the pixels keep their grey level.
    """

    snr: float
    contrast: float
    erased: bool


def visibility(
    without: NDArray[np.floating],
    difference: NDArray[np.floating],
    shadow: NDArray[np.floating],
    lungs: NDArray[np.bool_],
    *,
    spacing: float,
) -> Visibility:
    """What an observer who knows the lesion's shape makes of a picture.

    Parameters
    ----------
    without
        `(rows, columns)` grey levels of the picture without the lesion.
    difference
        What the lesion adds to it.
    shadow
        The lesion in line integrals, 0 outside.
    lungs
        Where the observer looks for such lesions.
    spacing
        mm per pixel.
    """
    touched = shadow > 0.05 * shadow.max()
    rows, columns = np.nonzero(touched)
    around = round(RING_MM / spacing)
    low = [max(0, int(n.min()) - around) for n in (rows, columns)]
    high = [
        min(size, int(n.max()) + 1 + around)
        for n, size in zip((rows, columns), shadow.shape, strict=True)
    ]
    box = np.s_[low[0] : high[0], low[1] : high[1]]
    inside = shadow[box] > 0.5 * shadow.max()
    contrast = difference[box][inside].mean() - difference[box][~touched[box]].mean()

    eye = eye_filter(shadow.shape, spacing)
    template = filtered(shadow, eye)[box]
    signal = float((template * filtered(difference, eye)[box]).sum())
    responses = correlate(filtered(without, eye), template)
    dy, dx = (np.arange(n) - start for n, start in zip(responses.shape, low, strict=True))
    near = np.hypot(dy[:, None], dx[None]) <= max(REACH_MM / spacing, 0.5 * max(template.shape))
    middle = np.s_[template.shape[0] // 2 :, template.shape[1] // 2 :]
    there = lungs[middle][: near.shape[0], : near.shape[1]]
    noise = float(responses[near & there].std())
    return Visibility(
        snr=signal / noise if noise > 0 else 0.0,
        contrast=float(contrast),
        erased=bool((difference[box][inside] == 0).mean() >= 0.99),
    )


def eye_filter(shape: tuple[int, ...], spacing: float) -> Floats:
    """Contrast sensitivity f^1.3 exp(-b f^2), greatest at 4 cycles per degree, for `rfft2`."""
    cycles_per_mm = np.hypot(
        np.fft.fftfreq(shape[0], spacing)[:, None], np.fft.rfftfreq(shape[1], spacing)[None]
    )
    f = cycles_per_mm * VIEWING_DISTANCE_MM * np.pi / 180
    return np.asarray(f**1.3 * np.exp(-1.3 / 2 * (f / 4) ** 2))


def filtered(picture: NDArray[np.floating], transfer: Floats) -> Floats:
    return np.asarray(np.fft.irfft2(np.fft.rfft2(picture) * transfer, picture.shape))


def correlate(picture: NDArray[np.floating], template: Floats) -> Floats:
    """Sum of picture times template at every place where the template lies wholly inside."""
    rows, columns = (n - m + 1 for n, m in zip(picture.shape, template.shape, strict=True))
    spectrum = np.fft.rfft2(picture) * np.conj(np.fft.rfft2(template, picture.shape))
    return np.fft.irfft2(spectrum, picture.shape)[:rows, :columns]


def eight_bits(shot: Shot) -> Floats:
    return np.rint(255.0 * shot.picture)


def integrals(prepared: Prepared, geometry: Geometry) -> Floats:
    return drr.project(prepared, geometry, look="raw").line_integrals.astype(np.float64)


def lungs_shadow(prepared: Prepared, geometry: Geometry) -> NDArray[np.bool_]:
    """Pixels that see at least 30 mm of lung."""
    anatomy = prepared.anatomy
    assert anatomy.lungs is not None
    # As water in nothing: 30 mm of it at 60 keV are 0.6.
    hu = np.where(anatomy.lungs, 0, -1000).astype(np.int16)
    only = replace(prepared, volume=Volume(hu=hu, affine=anatomy.affine))
    return integrals(only, geometry) > 0.6


def measure(
    scans: dict[str, Prepared], names: list[str], *, quick: bool, pose: Pose
) -> list[dict[str, Any]]:
    rows = []
    for scan, prepared in scans.items():
        sites = lung_sites(prepared.anatomy)
        plain = {name: LOOKS[name](prepared, pose) for name in names}
        clear = {name: eight_bits(shot) for name, shot in plain.items()}
        bare = {name: integrals(prepared, shot.geometry) for name, shot in plain.items()}
        lungs = {name: lungs_shadow(prepared, shot.geometry) for name, shot in plain.items()}
        for lesion in lesions(quick=quick):
            for site, point in sites.items():
                if (lesion.sided and not site.endswith("lower")) or (quick and "middle" in site):
                    continue
                ill = replace(
                    prepared,
                    source=lesion.insert(prepared.source, prepared.anatomy, point),
                    volume=lesion.insert(prepared.volume, prepared.anatomy, point),
                )
                for name, shot in plain.items():
                    shadow = integrals(ill, shot.geometry) - bare[name]
                    seen = visibility(
                        clear[name],
                        eight_bits(LOOKS[name](ill, pose)) - clear[name],
                        shadow,
                        lungs[name],
                        spacing=shot.spacing,
                    )
                    rows.append(
                        {
                            "scan": scan,
                            "lesion": lesion.name,
                            "site": site.split()[0] if lesion.sided else site,
                            "look": name,
                            "snr": round(seen.snr, 3),
                            "contrast": round(seen.contrast, 3),
                            "erased": seen.erased,
                        }
                    )
    return rows


def summary(rows: list[dict[str, Any]], names: list[str]) -> list[dict[str, Any]]:
    """Per lesion and look over all places: median, range and share above the threshold."""
    found = []
    for lesion in dict.fromkeys(row["lesion"] for row in rows):
        for name in names:
            of = [row for row in rows if row["lesion"] == lesion and row["look"] == name]
            snr = [row["snr"] for row in of]
            found.append(
                {
                    "lesion": lesion,
                    "look": name,
                    "places": len(of),
                    "median": float(np.median(snr)),
                    "lowest": min(snr),
                    "highest": max(snr),
                    "contrast": float(np.median([row["contrast"] for row in of])),
                    "above": sum(value >= ROSE for value in snr),
                    "erased": sum(row["erased"] for row in of),
                }
            )
    return found


def rescued(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lesions below the threshold in drr-rate and above it in the film look, place by place."""
    found = []
    for row in rows:
        if row["look"] != "drr-rate" or row["snr"] >= ROSE:
            continue
        key = {k: row[k] for k in ("scan", "lesion", "site")}
        (film,) = (r for r in rows if r["look"] == "film" and key.items() <= r.items())
        if film["snr"] >= ROSE:
            found.append(
                {
                    **key,
                    "erased": row["erased"],
                    "drr-rate": row["snr"],
                    "film": film["snr"],
                    "margin": round(film["snr"] / ROSE, 2),
                }
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer lesions and places")
    parser.add_argument("--looks", default=",".join(LOOKS), help="comma-separated")
    parser.add_argument("--json", type=Path, default=OUT / "lesions.json")
    options = parser.parse_args()
    if not (DATA / "ct").is_dir():
        print(f"no real CTs in {DATA}; set DRR_TEST_DATA to their folder")
        return
    names = options.looks.split(",")
    scans = read_scans()
    rows = measure(scans, names, quick=options.quick, pose=Pose())
    table = summary(rows, names)
    print(f"signal-to-noise of lesions in {len(scans)} CTs: median (lowest to highest), places of")
    print(f"all above {ROSE:g}; [places where 99 % of its pixels do not change]; median contrast")
    print(f"{'':36}" + "".join(f"{name:>36}" for name in names))
    for lesion in dict.fromkeys(row["lesion"] for row in table):
        cells = []
        for name in names:
            (r,) = (r for r in table if r["lesion"] == lesion and r["look"] == name)
            cells.append(
                f"{r['median']:6.1f} ({r['lowest']:5.1f} to {r['highest']:5.1f})"
                f"{r['above']:3d}/{r['places']} [{r['erased']}]{r['contrast']:6.1f}"
            )
        print(f"{lesion:36}" + "".join(f"{cell:>36}" for cell in cells))
    gained = rescued(rows) if {"film", "drr-rate"} <= set(names) else []
    print(
        f"\nbelow {ROSE:g} in drr-rate, above it in film: {len(gained)} of "
        f"{len(rows) // len(names)} lesions, {sum(r['erased'] for r in gained)} of them erased "
        "wholly in drr-rate"
    )
    options.json.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "drr": drr.__version__,
        "threshold": ROSE,
        "summary": table,
        "rescued": gained,
        "rows": rows,
    }
    options.json.write_text(json.dumps(result, indent=2))
    print(f"saved {options.json}")


if __name__ == "__main__":
    main()
