"""A procedural chest CT: the embedded default, and an input whose anatomy is known.

Nothing is copied from a patient; proportions are those of anatomy books. The same arguments give
the same voxels whatever the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.checks import items, whole
from drr.datasets.phantom import bones, organs, torso
from drr.datasets.phantom.anatomy import FIELD, Anatomy, anatomy
from drr.datasets.phantom.finding import Finding
from drr.datasets.phantom.findings import Changes, changes
from drr.datasets.phantom.paint import Grid, Rows, paint
from drr.datasets.phantom.patient import Patient, check_range
from drr.errors import VolumeError
from drr.threads import available_cpus, run, split
from drr.volume import Volume

__all__ = ["LABELS", "Patient", "thorax", "thorax_labels", "thorax_with_labels"]

LABELS: dict[int, str] = {
    torso.LUNG_RIGHT: "lung_right",
    torso.LUNG_LEFT: "lung_left",
    torso.LIVER: "liver",
    bones.SPINE: "spine",
    bones.RIBS: "ribs",
    bones.STERNUM: "sternum",
    bones.CLAVICLE: "clavicles",
    bones.SCAPULA: "scapulae",
    organs.HEART: "heart",
    organs.AORTA: "aorta",
    organs.TRACHEA: "trachea",
    organs.STOMACH: "stomach",
    organs.SPLEEN: "spleen",
    organs.VESSELS: "great_vessels",
}
"""What each value of the label map means; 0 is everything else."""


def thorax(
    size: int | Sequence[int] = 256,
    *,
    seed: int = 0,
    spacing: float | Sequence[float] | None = None,
    noise: float = 10.0,
    findings: Sequence[Finding] = (),
    **patient: Any,
) -> Volume:
    """A chest CT in Hounsfield units, in seconds.

    Parameters
    ----------
    size
        Voxels along each axis, or `(nz, ny, nx)`; 16 to 1024 each. The field (about 41 x 32 x 43
        cm for x, y, z) is divided into that many, so voxels are not quite cubes.
    seed
        Varies the anatomy and the noise; 0 or a positive whole number.
    spacing
        Voxel size in mm, one or (x, y, z), instead of `size`.
    noise
        Standard deviation in HU.
    findings
        What the patient has (`drr.datasets.phantom.finding.Finding`). The rest of the anatomy
        stays as it is without.
    **patient
        See `Patient`: `sex`, `age`, `height`, `bmi`, `arms`, `couch`.

    Returns
    -------
    Volume centred on the middle of the chest, axes along LPS.

    Raises
    ------
    VolumeError
        When an argument is out of its range; the message gives the range.
    """
    return thorax_with_labels(
        size, seed=seed, spacing=spacing, noise=noise, findings=findings, **patient
    )[0]


def thorax_labels(
    size: int | Sequence[int] = 256,
    *,
    seed: int = 0,
    spacing: float | Sequence[float] | None = None,
    findings: Sequence[Finding] = (),
    **patient: Any,
) -> Volume:
    """The label map of `thorax` with the same arguments; values are the keys of `LABELS`."""
    return thorax_with_labels(
        size, seed=seed, spacing=spacing, noise=0, findings=findings, **patient
    )[1]


def thorax_with_labels(
    size: int | Sequence[int] = 256,
    *,
    seed: int = 0,
    spacing: float | Sequence[float] | None = None,
    noise: float = 10.0,
    findings: Sequence[Finding] = (),
    **patient: Any,
) -> tuple[Volume, Volume]:
    """`thorax` and `thorax_labels` on one grid, painted once."""
    Patient.check_keys(patient)
    who = Patient(**patient)
    whole("phantom: seed", seed, error=VolumeError)
    check_range("noise", noise, 0, 500, "HU")

    field = np.array(FIELD) + 2 * max(who.girth, 0.0) * np.array([1, 1, 0])
    shape = _shape(size, spacing, field * who.scale)
    if spacing is not None:
        field = np.broadcast_to(np.array(spacing, float), 3) * shape[::-1] / who.scale
    grid = Grid.over(shape, tuple(-field / 2), tuple(field / 2))
    body = anatomy(who, int(seed))
    altered = changes(body, findings)
    hu, labels = _scan(grid, body, altered, noise=noise, seed=int(seed))
    if who.couch:
        np.maximum(hu, _couch(grid, who.girth), out=hu)

    affine = np.diag([*(step * who.scale for step in grid.spacing), 1.0])
    affine[:3, 3] = np.array(grid.origin) * who.scale
    told = f"procedural phantom, seed {seed}, " + ", ".join(
        f"{key} {value}" for key, value in asdict(who).items() if value is not None
    )
    if findings:
        told += ", with " + ", ".join(sorted(finding.name for finding in findings))
    return (
        Volume(hu=hu, affine=affine, name=f"phantom (seed {seed})", notes=(told,)),
        Volume(
            hu=labels.astype(np.int16), affine=affine, name=f"phantom labels (seed {seed})",
            notes=(told,),
        ),
    )  # fmt: skip


def _scan(
    grid: Grid, body: Anatomy, altered: Changes, *, noise: float, seed: int
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Paint by slabs, one thread each; every voxel is independent of how they are cut."""
    hu, labels = np.empty(grid.shape, np.int16), np.zeros(grid.shape, np.uint8)
    rows = np.concatenate([body.soft, body.trees, altered.rows, body.bones, altered.material])

    def solid(start: int, stop: int) -> None:
        part = grid.slab(start, stop)
        torso.fill(hu[start:stop], labels[start:stop], part, altered.torso)
        paint(hu[start:stop], labels[start:stop], part, rows)

    def grainy(start: int, stop: int) -> None:
        for z in range(start, stop):
            rng = np.random.default_rng((seed, z))
            grain = rng.standard_normal(hu.shape[1:], dtype=np.float32) * np.float32(noise)
            # Scanners store nothing below -1024.
            np.clip(np.rint(hu[z] + grain), -1024, 3071, out=hu[z], casting="unsafe")

    threads = available_cpus()
    slabs = split(grid.shape[0], 4 * threads)
    run(solid, slabs, threads)
    altered.apply(hu, labels, grid)
    if noise > 0:
        run(grainy, slabs, threads)
    return hu, labels


def _couch(grid: Grid, girth: float) -> NDArray[np.int16]:
    """`(ny, nx)` HU of a curved couch: two sheets of carbon fibre around foam."""
    x, y, _ = grid.axes()
    depth = y[:, None] - (131.0 + girth) + x[None, :] ** 2 / 1100.0
    depth = np.where(np.abs(x)[None, :] < 200, depth, -100.0)

    def layer(top: float, bottom: float, hu: float) -> NDArray[np.float64]:
        edge = grid.spacing[1]
        cover = np.minimum((depth - top) / edge + 0.5, (bottom - depth) / edge + 0.5)
        return np.asarray(-1000 + np.clip(cover, 0, 1) * (hu + 1000))

    sheets = np.maximum(layer(0, 2, -150), layer(22, 24, -150))
    return np.rint(np.maximum(sheets, layer(1, 23, -925))).astype(np.int16)


def _shape(
    size: int | Sequence[int], spacing: float | Sequence[float] | None, field: Rows
) -> tuple[int, int, int]:
    if spacing is not None:
        try:
            steps = np.broadcast_to(np.array(spacing, dtype=np.float64), 3)
        except (TypeError, ValueError):
            raise VolumeError(f"phantom: spacing must be mm, not {spacing!r}") from None
        for step in steps:
            check_range("spacing", float(step), 0.3, 25, "mm")
        counts: Any = [math.ceil(extent / step) for extent, step in zip(field, steps, strict=True)]
        counts = counts[::-1]
    else:
        counts = list(size) if isinstance(size, (list, tuple)) else [size] * 3
    wanted = "one or three whole numbers"
    nz, ny, nx = items("phantom: size", counts, 3, error=VolumeError, wanted=wanted)
    nz, ny, nx = (whole("phantom: size", n, error=VolumeError) for n in (nz, ny, nx))
    for n in (nz, ny, nx):
        check_range("size", n, 16, 1024, "voxels")
    return nz, ny, nx
