"""Random scans of odd shapes and spacings through all that is done to them before and after.

The seeds are fixed, so a failure names the scan that repeats it: `random_scan(seed)`.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from places import TESTS

import drr
from drr.datasets.phantom.thorax import thorax
from drr.errors import DRRError
from drr.geometry.geometry import Geometry
from drr.patient.anatomy import find_anatomy
from drr.patient.cleaning import clean
from drr.patient.extension import extend
from drr.patient.prepare import Prepared, prepare
from drr.volume import Volume

# Slices as scanners reconstruct them, and some as nobody does.
SPACINGS = (0.75, 0.9, 1.1, 1.25, 1.7, 1.8, 2.5, 2.9, 3.2, 5.0, 9.0)
# No block, vector or tile divides most of them.
COUNTS = (1, 2, 3, 5, 7, 13, 31, 33, 64, 67, 97, 101)


def random_scan(seed: int) -> Volume:
    """A chest whose sides the field of view cuts, or next to nothing."""
    generator = np.random.default_rng(seed)
    return random_chest(generator) if generator.random() < 0.5 else random_scrap(generator)


def random_chest(generator: np.random.Generator) -> Volume:
    across, down, along = *generator.uniform(6, 10, 2), generator.choice(SPACINGS[:-2])
    whole = thorax(spacing=(across, down, along), couch=bool(generator.random() < 0.5))
    # Any number of slices, of which several make a block: the last has fewer.
    first, missing = generator.integers(0, 7, 2)
    hu = np.ascontiguousarray(whole.hu[first : len(whole.hu) - missing])
    return replace(whole, hu=hu)


def random_scrap(generator: np.random.Generator) -> Volume:
    """Tissue, noise, air or padding, of one voxel and more."""
    shape = [int(count) for count in generator.choice(COUNTS, 3)]
    spacing = np.array([*generator.uniform(0.5, 6, 2), generator.choice(SPACINGS)])
    z, y, x = np.ogrid[tuple(slice(-1, 1, n * 1j) if n > 1 else slice(0, 1) for n in shape)]
    hu = np.full(shape, -1000.0)
    kind = generator.choice(["body", "body", "body", "noise", "air", "water"])
    if kind == "body":
        wide, flat = generator.uniform(0.4, 1.2, 2)
        hu[(x / wide) ** 2 + (y / flat) ** 2 + 0 * z < 1] = 40
        hu[np.broadcast_to((y > 0.85) & (y < 0.95), shape)] = 200
        hu += generator.normal(0, 30, shape)
        if generator.random() < 0.5:
            hu[np.broadcast_to(x**2 + y**2 > 1, shape)] = -2048
    elif kind == "noise":
        hu = generator.integers(-1100, 2000, shape)
    elif kind == "water":
        hu[:] = 0
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -spacing * (np.array(shape[::-1]) - 1) / 2
    return Volume(hu=np.rint(hu).clip(-2048, 3071).astype(np.int16), affine=affine)


def views_of(volume: Volume) -> list[Geometry]:
    """Parallel beams from before, from the side and between, onto few pixels."""
    size = float(np.ptp(volume.corners, axis=0).max())
    step = size / 23
    return [
        Geometry(
            source=None,
            direction=(a, b, 0.0),
            detector_center=tuple(volume.center + size * np.array([a, b, 0.0])),
            u=(-b * step, a * step, 0.0),
            v=(0.0, 0.0, -step),
            shape=(19, 23),
        )
        for a, b in ((0.0, 1.0), (1.0, 0.0), (0.6, 0.8))
    ]


def digest_of(seed: int) -> str:
    """Of all that comes out, after a look at what must hold whatever comes."""
    volume = random_scan(seed)
    found = hashlib.sha256()
    anatomy = find_anatomy(volume, threads=2)
    found.update(anatomy.body.tobytes())
    prepared = prepare(volume, threads=2)
    if anatomy.found:
        whole = clean(volume, anatomy, extension=prepared.extension, crop=True)
        np.testing.assert_array_equal(prepared.volume.hu, whole.hu, str(seed))
    found.update(extend(volume, anatomy, superior_mm=11, inferior_mm=23).hu.tobytes())
    for method in ("shear-warp", "joseph", "siddon"):
        found.update(projected(prepared, method, seed))
    found.update(prepared.volume.hu.tobytes())
    return found.hexdigest()


def projected(prepared: Prepared, method: str, seed: int) -> bytes:
    pixels = b""
    for geometry in views_of(prepared.volume):
        try:
            made = drr.project(prepared, geometry, method=method, backend="cpu", threads=2)
        except DRRError as error:  # a blank image, a body that is cut
            pixels += str(error).encode()
            continue
        image = made.line_integrals
        assert np.isfinite(image).all(), seed
        assert image.min() >= 0, seed
        pixels += image.tobytes()
    return pixels


def run_with_memory_of(byte: int, start: int, stop: int, **settings: str) -> list[str]:
    """Digests from a process in which glibc hands out memory full of a byte's complement."""
    script = f"""
import sys
sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(TESTS)!r}]
from test_prepare_fuzz import digest_of
for seed in range({start}, {stop}):
    print(digest_of(seed), flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        # Large arrays too, which would come from the system, full of zeros.
        env={
            **os.environ,
            "MALLOC_PERTURB_": str(byte),
            "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
            **settings,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (len(done.stdout.split()) + start, done.stderr[-3000:])
    return done.stdout.split()


@pytest.mark.parametrize("start", range(0, 60, 20))
def test_random_scans(start: int) -> None:
    for seed in range(start, start + 20):
        digest_of(seed)


def test_nothing_depends_on_what_was_in_memory() -> None:
    """Whether it is read as bounds of loops, for which one of these is too large, or as values."""
    once, again = (run_with_memory_of(byte, 100, 130) for byte in (200, 37))
    assert len(once) == 30
    assert once == again


@pytest.mark.soak
def test_no_index_is_out_of_bounds() -> None:
    checked = run_with_memory_of(200, 200, 300, NUMBA_BOUNDSCHECK="1")
    assert len(checked) == 100


@pytest.mark.soak
@pytest.mark.parametrize("start", range(1000, 5000, 500))
def test_many_random_scans(start: int) -> None:
    for seed in range(start, start + 500):
        digest_of(seed)
