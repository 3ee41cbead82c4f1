"""How far images of solids are from their exact line integrals, for every method.

    python benchmarks/accuracy.py [--quick] [--json FILE]

An ellipsoid the size of a large organ (156 x 132 x 144 mm, turned against the voxels) and a
Gaussian bump (standard deviations 14, 10 and 12 mm) are scanned into voxels of 2.8, 1.4 and 0.7 mm
in slices 1.25 times as thick, each voxel holding its mean, and projected in a cone and in a
parallel beam: frontal, lateral, three obliques and nearly along the body axis, one ray a pixel.
Errors are percent of the longest chord (of the peak for the bump), over the rays whose exact
value is above a quarter of it: the root mean square of the worst view, the mean with its sign of
the view where it is furthest from zero, and the largest of any ray. The last table has pixels of
10 mm, with and without anti-aliasing, against the mean of the exact values over each pixel.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import drr
from drr.datasets.phantom.shapes import Ellipsoid, Gaussian, Shape, voxelize
from drr.geometry.geometry import Geometry
from drr.geometry.views import View
from drr.kernels.cpu.projection.project import METHODS
from drr.patient.prepare import Prepared, prepare
from drr.physics.attenuation import Attenuation

RESULTS = Path(__file__).resolve().parent / "results"

Floats = NDArray[np.float64]

TURN = ((0.48, 0.64, 0.6), (-0.8, 0.6, 0.0), (-0.36, -0.48, 0.8))
SHAPES: dict[str, Shape] = {
    "ellipsoid": Ellipsoid((2.0, -3.0, 1.0), (78.0, 66.0, 72.0), TURN),
    "Gaussian": Gaussian((2.0, -3.0, 1.0), (14.0, 10.0, 12.0), TURN),
}
EXTENT = 160.0
VOXELS = (2.8, 1.4, 0.7)
BEAMS = ("cone", "parallel")
VIEWS = [(0, 0), (90, 0), (30, 0), (30, 15), (-120, -25), (45, 0), (10, 80)]
DENSE = 29000  # HU: rounding to whole HU costs less than 1e-4
UNIT = Attenuation(hu=(-1000.0, 0.0), mu=(0.0, 1 / 30), name="1/mm at 29000 HU")


def scan(shape: Shape, size: float) -> Prepared:
    """Voxels of a shape, `size` mm within slices."""
    spacing = np.array([size, size, 1.25 * size])
    counts = np.ceil(EXTENT / spacing).astype(int)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -spacing * (counts - 1) / 2
    nx, ny, nz = counts.tolist()
    return prepare(voxelize(shape, (nz, ny, nx), affine, hu=DENSE, samples=4), clean=False)


def geometry(primary: float, secondary: float, beam: str, *, pixels: int, pitch: float) -> Geometry:
    view = View(primary_angle=primary, secondary_angle=secondary)
    ray, across, down = (np.array(d) for d in view.directions)
    return Geometry(
        source=tuple(-850 * ray) if beam == "cone" else None,
        direction=tuple(ray) if beam == "parallel" else None,
        detector_center=tuple(150 * ray),
        u=tuple(pitch * across),
        v=tuple(pitch * down),
        shape=(pixels, pixels),
    )


def exact(shape: Shape, seen: Geometry) -> Floats:
    pixels = seen.pixel_centers()
    if seen.source is not None:
        return np.asarray(shape.chord(seen.source, pixels))
    ahead = 1000 * np.array(seen.direction)
    return np.asarray(shape.chord(pixels - ahead, pixels + ahead))


def image(prepared: Prepared, seen: Geometry, method: str, *, anti_aliasing: bool) -> Floats:
    shot = drr.project(prepared, seen, method=method, attenuation=UNIT, anti_aliasing=anti_aliasing)
    return shot.line_integrals.astype(np.float64)


def errors(found: Floats, truth: Floats, *, above: float = 0.25) -> tuple[float, float, float]:
    """Root mean square, mean and largest error in percent of the largest true value."""
    difference = 100 * (found - truth)[truth > above * truth.max()] / truth.max()
    return (
        float(np.sqrt(np.mean(difference**2))),
        float(difference.mean()),
        float(np.abs(difference).max()),
    )


def worst(of_views: list[tuple[float, float, float]]) -> dict[str, float]:
    root_mean_squares, means, largest = zip(*of_views, strict=True)
    return {"rms": max(root_mean_squares), "mean": max(means, key=abs), "largest": max(largest)}


def single_rays(voxels: tuple[float, ...]) -> list[dict[str, Any]]:
    rows = []
    for name, shape in SHAPES.items():
        pitch = 2.45 if name == "ellipsoid" else 1.7
        for size in voxels:
            prepared = scan(shape, size)
            for beam in BEAMS:
                views = [geometry(*view, beam, pixels=72, pitch=pitch) for view in VIEWS]
                truths = [exact(shape, seen) for seen in views]
                for method in METHODS:
                    images = [image(prepared, seen, method, anti_aliasing=False) for seen in views]
                    found = worst([errors(i, t) for i, t in zip(images, truths, strict=True)])
                    rows.append(
                        {"shape": name, "voxel_mm": size, "beam": beam, "method": method, **found}
                    )
    return rows


def coarse_pixels(size: float, *, pixels: int = 18, fine: int = 8) -> list[dict[str, Any]]:
    shape, rows = SHAPES["ellipsoid"], []
    prepared = scan(shape, size)
    for beam in BEAMS:
        for method in METHODS:
            for anti_aliasing in (True, False):
                of_views = []
                for view in VIEWS:
                    seen = geometry(*view, beam, pixels=pixels, pitch=10.0)
                    within = geometry(*view, beam, pixels=pixels * fine, pitch=10.0 / fine)
                    truth = exact(shape, within).reshape(pixels, fine, pixels, fine).mean((1, 3))
                    found = image(prepared, seen, method, anti_aliasing=anti_aliasing)
                    of_views.append(errors(found, truth, above=-1.0))
                rows.append(
                    {
                        "voxel_mm": size,
                        "beam": beam,
                        "method": method,
                        "anti_aliasing": anti_aliasing,
                        **worst(of_views),
                    }
                )
    return rows


def orders(rows: list[dict[str, Any]]) -> dict[tuple[str, str, str], float]:
    """Exponent of the voxel size in the root mean square error, coarsest to finest."""
    found = {}
    for row in rows:
        key = row["shape"], row["beam"], row["method"]
        of_key = [r for r in rows if (r["shape"], r["beam"], r["method"]) == key]
        first, last = of_key[0], of_key[-1]
        if first is not last:
            ratio = math.log(first["voxel_mm"] / last["voxel_mm"])
            found[key] = math.log(first["rms"] / last["rms"]) / ratio
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="leave out the finest voxels")
    parser.add_argument("--json", type=Path, default=RESULTS / "accuracy.json")
    options = parser.parse_args()
    voxels = VOXELS[:-1] if options.quick else VOXELS

    rays = single_rays(voxels)
    order = orders(rays)
    print("one ray a pixel; errors in % of the longest chord or peak\n")
    print(
        f"{'solid':12}{'voxel':>7}  {'beam':10}{'method':12}"
        f"{'rms':>8}{'mean':>9}{'largest':>9}{'order':>7}"
    )
    for row in rays:
        is_finest = row["voxel_mm"] == voxels[-1]
        exponent = order.get((row["shape"], row["beam"], row["method"])) if is_finest else None
        print(
            f"{row['shape']:12}{row['voxel_mm']:4} mm  {row['beam']:10}{row['method']:12}"
            f"{row['rms']:8.3f}{row['mean']:+9.3f}{row['largest']:9.3f}"
            f"{'' if exponent is None else f'{exponent:.2f}':>7}"
        )
    pixels = coarse_pixels(1.4)
    print("\npixels of 10 mm against the mean over each; ellipsoid, voxels of 1.4 mm\n")
    print(f"{'beam':10}{'method':12}{'anti-aliasing':15}{'rms':>8}{'largest':>9}")
    for row in pixels:
        print(
            f"{row['beam']:10}{row['method']:12}{'on' if row['anti_aliasing'] else 'off':15}"
            f"{row['rms']:8.3f}{row['largest']:9.3f}"
        )
    options.json.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "drr": drr.__version__,
        "single_rays": rays,
        "orders": [
            {"shape": s, "beam": b, "method": m, "order": value}
            for (s, b, m), value in order.items()
        ],
        "coarse_pixels": pixels,
    }
    options.json.write_text(json.dumps(result, indent=2))
    print(f"\nsaved {options.json}")


if __name__ == "__main__":
    main()
