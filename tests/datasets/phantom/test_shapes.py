"""Analytic chords against brute force, voxelised shapes against analytic volumes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drr.datasets.phantom.shapes import (
    Box,
    Cylinder,
    Ellipsoid,
    Gaussian,
    impulse,
    sphere,
    voxelize,
)
from drr.errors import VolumeError


def rotation(seed: int):
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return tuple(map(tuple, q * np.sign(np.linalg.det(q))))


SHAPES = [
    Ellipsoid((3.0, -5.0, 7.0), (30.0, 18.0, 24.0), rotation(1)),
    sphere((3.0, -5.0, 7.0), 22.0),
    Box((3.0, -5.0, 7.0), (30.0, 18.0, 24.0), rotation(2)),
    Cylinder((3.0, -5.0, 7.0), (20.0, 18.0, 24.0), rotation(3)),
    Gaussian((3.0, -5.0, 7.0), (9.0, 7.0, 8.0), rotation(4)),
]
NAMES = [type(shape).__name__ for shape in SHAPES]


def sampled(shape, source, pixel, count=40001):
    """Midpoint rule along each segment."""
    t = (np.arange(count) + 0.5) / count
    points = source[..., None, :] + t[:, None] * (pixel - source)[..., None, :]
    return shape.density(points).mean(-1) * np.linalg.norm(pixel - source, axis=-1)


@pytest.mark.parametrize("shape", SHAPES, ids=NAMES)
def test_chord_is_what_sampling_finds(shape):
    rng = np.random.default_rng(0)
    source = rng.uniform(-90, 90, (40, 3))
    pixel = np.array(shape.center) * 2 - source + rng.uniform(-30, 30, (40, 3))
    found = shape.chord(source, pixel)
    assert found.dtype == np.float64
    assert (found > 1).sum() >= 20
    # Sampling is a step off at each end of a chord.
    step = np.linalg.norm(pixel - source, axis=-1) / 40001
    assert (np.abs(found - sampled(shape, source, pixel)) <= 2 * step + 1e-9).all()


@pytest.mark.parametrize("shape", SHAPES, ids=NAMES)
def test_a_segment_is_summed_only_between_its_ends(shape):
    center = np.array(shape.center)
    far = center + np.array([0, 200.0, 0])
    whole = shape.chord(far, center - np.array([0, 200.0, 0]))
    assert shape.chord(far, center) == pytest.approx(whole / 2, rel=1e-12)
    assert shape.chord(far, far + np.array([0, 50.0, 0])) == pytest.approx(0, abs=1e-12)
    assert shape.chord(center, center) == 0


def test_known_lengths():
    assert sphere((0, 0, 0), 10).chord((0, -100, 6), (0, 100, 6)) == pytest.approx(16)
    assert sphere((0, 0, 0), 10).chord((0, -100, 11), (0, 100, 11)) == 0
    box = Box((0, 0, 0), (3, 4, 5))
    assert box.chord((-100, 0, 0), (100, 0, 0)) == pytest.approx(6)
    assert box.chord((-3, -4, -5), (3, 4, 5)) == pytest.approx(2 * math.sqrt(50))
    assert box.chord((-100, 4.001, 0), (100, 4.001, 0)) == 0
    pipe = Cylinder((0, 0, 0), (3, 3, 20))
    assert pipe.chord((0, 0, -100), (0, 0, 100)) == pytest.approx(40)
    assert pipe.chord((4, 0, -100), (4, 0, 100)) == 0
    bump = Gaussian((0, 0, 0), (5, 5, 5))
    assert bump.chord((0, -1e3, 5), (0, 1e3, 5)) == pytest.approx(
        5 * math.sqrt(2 * math.pi) * math.exp(-0.5)
    )


def test_a_source_two_metres_away_costs_no_digits():
    bead = sphere((0, 0, 0), 0.01)
    assert bead.chord((0, -2e3, 0.006), (0, 50, 0.006)) == pytest.approx(0.016, rel=1e-9)


def test_rays_broadcast():
    detector = np.full((5, 7, 3), 100.0)
    assert sphere((0, 0, 0), 10).chord((0, -900, 0), detector).shape == (5, 7)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.floats(-20, 20), st.floats(-20, 20))
def test_chord_does_not_care_about_direction(seed, dx, dz):
    shape = Box((1, 2, 3), (15, 11, 7), rotation(seed))
    one, two = np.array([dx, -300, dz]), np.array([dz, 250, dx])
    assert shape.chord(one, two) == pytest.approx(shape.chord(two, one), abs=1e-9)


@pytest.mark.parametrize("shape", SHAPES, ids=NAMES)
def test_voxels_sum_to_the_volume(shape):
    turn = np.array(rotation(9))
    affine = np.eye(4)
    affine[:3, :3] = turn * (2.5, 2.0, 3.0)
    n = (54, 80, 64)
    affine[:3, 3] = np.array(shape.center) - affine[:3, :3] @ (np.array(n[::-1]) - 1) / 2 + 0.3
    volume = voxelize(shape, n, affine, hu=9000, background=-1000)
    assert volume.hu.max() <= 9000
    assert volume.hu.min() == -1000
    mass = (volume.hu.astype(np.float64) + 1000).sum() / 10000
    measured = mass * abs(np.linalg.det(volume.affine[:3, :3]))
    assert measured == pytest.approx(shape.volume, rel=1e-3)


def test_partial_volume_of_a_box_is_its_overlap():
    # Faces at 0.25 of the voxels on one side, on their faces on the other.
    box = Box((0, 0, 0), (2.25, 2.5, 2.5))
    affine = np.eye(4)
    affine[:3, 3] = -4
    hu = voxelize(box, (9, 9, 9), affine, hu=1000).hu
    assert hu[4, 4].tolist() == [-1000, -1000, 500, 1000, 1000, 1000, 500, -1000, -1000]
    assert hu[4, :, 4].tolist() == [-1000, -1000, 1000, 1000, 1000, 1000, 1000, -1000, -1000]


def test_a_shape_between_voxel_centres_is_not_lost():
    affine = np.eye(4)
    volume = voxelize(sphere((1.4, 1.4, 1.4), 0.3), (4, 4, 4), affine, hu=9000, samples=32)
    mass = (volume.hu.astype(float) + 1000).sum() / 10000
    assert mass == pytest.approx(4 / 3 * math.pi * 0.027, rel=0.02)


def test_several_shapes_add():
    affine = np.diag([2.0, 2, 2, 1])
    two = [sphere((10, 10, 10), 5), sphere((25, 25, 25), 5)]
    both = voxelize(two, (18, 18, 18), affine, hu=[100, 700]).hu
    assert both[5, 5, 5] == 100
    assert both[12, 12, 12] == 700
    assert both[0, 0, 0] == -1000


def test_impulse_is_one_voxel():
    volume = impulse((3, 4, 5), (1, 2, 3), hu=2000)
    assert volume.hu[1, 2, 3] == 2000
    assert (volume.hu == -1000).sum() == 59
    with pytest.raises(VolumeError, match="lies outside"):
        impulse((3, 4, 5), (1, 2, 5))


@pytest.mark.parametrize("semi", [(0, 1, 1), (1, -1, 1), (1, math.nan, 1), (1, 1)])
def test_refuses_sizes_that_are_none(semi):
    with pytest.raises(VolumeError, match="semi-axes"):
        Ellipsoid((0, 0, 0), semi)


def test_refuses_a_rotation_that_stretches():
    with pytest.raises(VolumeError, match="orthonormal"):
        Box((0, 0, 0), (1, 1, 1), ((2, 0, 0), (0, 1, 0), (0, 0, 1)))
