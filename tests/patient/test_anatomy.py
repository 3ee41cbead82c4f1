from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from drr.patient.anatomy import ANATOMY_PARAMETERS, Anatomy, find_anatomy
from drr.volume import Volume

SPACING = (1.5, 1.5, 5.0)
SHAPE = (30, 180, 260)
# As numbered in the scan's structures.csv.
LUNG_LOBES = (10, 11, 12, 13, 14)


def coordinates(shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, y, z in mm from the middle of the volume."""
    nz, ny, nx = shape
    z, y, x = np.ogrid[:nz, :ny, :nx]
    dx, dy, dz = SPACING
    return (x - (nx - 1) / 2) * dx, (y - (ny - 1) / 2) * dy, (z - (nz - 1) / 2) * dz


def torso(
    *,
    wall: float = 20.0,
    couch: bool = True,
    arms: bool = False,
    trachea: bool = True,
    noise: float = 0.0,
    background: int = -1000,
    shape: tuple[int, int, int] = SHAPE,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """HU of a torso with lungs, and where body and lungs are."""
    x, y, z = coordinates(shape)
    body = np.broadcast_to((x / 150) ** 2 + (y / 95) ** 2 < 1, shape).copy()
    if arms:
        body |= np.hypot(np.abs(x) - 170, y) + 0 * z < 22
    hu = np.full(shape, background, np.int16)
    if couch:
        # A curved plate against the back with a flat one below: a closed, hollow couch.
        top = 96 - (x / 60) ** 2
        inside = (y > top) & (y < 118) & (np.abs(x) < 150)
        shell = inside & ((y < top + 3) | (y > 115) | (np.abs(x) > 147))
        hu[np.broadcast_to(inside, shape)] = -930
        hu[np.broadcast_to(shell, shape)] = 150
        hu[np.broadcast_to(np.abs(y + 108) < 1.5, shape)] = -300  # a blanket
    hu[body] = 20
    lungs = np.zeros(shape, bool)
    for side in (-1, 1):
        lungs |= ((x - side * (75 - wall / 2)) / (73 - wall / 2)) ** 2 + (
            y / (95 - wall)
        ) ** 2 < np.clip(1 - (z / 65) ** 2, 0, 1)
    lungs &= ((np.abs(x) > 12) & body) & ((x / (150 - wall)) ** 2 + (y / (95 - wall)) ** 2 < 1)
    hu[lungs] = -850
    if trachea:
        hu[(np.hypot(x, y + 20) < 8) & (z > 0)] = -1000
    if noise:
        spread = np.random.default_rng(3).normal(0, noise, shape)
        hu = np.clip(hu + spread, -1024, 3071).astype(np.int16)
    return hu, body, lungs


def volume_of(hu: np.ndarray, origin: tuple[float, float, float] = (0, 0, 0)) -> Volume:
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = origin
    return Volume(hu=hu, affine=affine)


def expanded(mask: np.ndarray, anatomy: Anatomy, shape: tuple[int, ...]) -> np.ndarray:
    for axis, factor in enumerate(anatomy.factors):
        mask = np.repeat(mask, factor, axis)
    return mask[: shape[0], : shape[1], : shape[2]]


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.mark.parametrize(
    "case",
    [
        {},
        {"noise": 120.0},
        {"wall": 7.0},
        {"couch": False, "background": -1024},
        {"arms": True},
    ],
    ids=str,
)
def test_body_and_lungs_of_a_torso(case: dict[str, float]) -> None:
    hu, body, lungs = torso(**case)  # type: ignore[arg-type]
    anatomy = find_anatomy(volume_of(hu))
    assert anatomy.found
    assert anatomy.lungs is not None
    assert dice(expanded(anatomy.body, anatomy, hu.shape), body) > 0.975
    assert dice(expanded(anatomy.lungs, anatomy, hu.shape), lungs) > 0.95
    assert not anatomy.truncated
    assert anatomy.notes == ()


def test_a_child_half_as_large() -> None:
    hu, body, lungs = torso(wall=10.0)
    anatomy = find_anatomy(Volume(hu=hu, affine=np.diag([*np.divide(SPACING, 2), 1.0])))
    assert anatomy.lungs is not None
    assert dice(expanded(anatomy.body, anatomy, hu.shape), body) > 0.975
    assert dice(expanded(anatomy.lungs, anatomy, hu.shape), lungs) > 0.95


def test_prone_on_the_couch() -> None:
    hu, body, lungs = (np.ascontiguousarray(a[:, ::-1]) for a in torso())
    anatomy = find_anatomy(volume_of(hu))
    assert anatomy.lungs is not None
    assert dice(expanded(anatomy.body, anatomy, hu.shape), body) > 0.975
    assert dice(expanded(anatomy.lungs, anatomy, hu.shape), lungs) > 0.95


def test_boxes_center_and_support_agree_with_the_shape() -> None:
    hu, body, lungs = torso()
    origin = (-40.0, 500.0, -1234.0)
    anatomy = find_anatomy(volume_of(hu, origin))
    for box, mask in ((anatomy.body_box, body), (anatomy.lungs_box, lungs)):
        assert box is not None
        z, y, x = np.nonzero(mask)
        index = np.stack([x, y, z], axis=-1)
        low = (index.min(axis=0) - 0.5) * SPACING + origin
        high = (index.max(axis=0) + 0.5) * SPACING + origin
        np.testing.assert_allclose(box, [low, high], atol=5.0)
    middle = np.array(origin) + (np.array(SHAPE[::-1]) - 1) / 2 * SPACING
    np.testing.assert_allclose(anatomy.thorax_center, middle, atol=5.0)
    assert anatomy.contains(anatomy.thorax_center)
    assert not anatomy.contains(anatomy.body_box[1] + 1)
    assert not anatomy.contains(np.add(middle, (170, 0, 0)))
    for angle in np.radians(range(0, 360, 15)):
        direction = np.array([np.cos(angle), np.sin(angle), 0.0])
        expected = np.hypot(150 * direction[0], 95 * direction[1]) + middle @ direction
        assert anatomy.support(direction) == pytest.approx(expected, abs=4.0)
        points = anatomy.surface_points()
        assert (points @ direction).max() == pytest.approx(anatomy.support(direction))


def test_support_is_that_of_every_block() -> None:
    anatomy = find_anatomy(volume_of(torso()[0]))
    z, y, x = np.nonzero(anatomy.body)
    blocks = np.stack([x, y, z], axis=-1)
    for direction in np.random.default_rng(1).normal(size=(20, 3)):
        linear = direction @ anatomy.affine[:3, :3]
        furthest = (blocks @ linear).max() + np.abs(linear).sum() / 2
        expected = furthest + direction @ anatomy.affine[:3, 3]
        assert anatomy.support(direction) == pytest.approx(expected)


def test_the_grid_lies_where_the_voxels_lie() -> None:
    hu = torso()[0]
    turn = np.radians(20)
    affine = np.diag([*SPACING, 1.0])
    affine[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    affine[:2, :2] *= SPACING[0]
    affine[0, 2] = 0.7  # gantry tilt
    affine[:3, 3] = (10, -20, 30)
    volume = Volume(hu=hu, affine=affine)
    anatomy = find_anatomy(volume)
    fz, fy, fx = anatomy.factors
    first_block = affine @ [(fx - 1) / 2, (fy - 1) / 2, (fz - 1) / 2, 1]
    np.testing.assert_allclose(anatomy.affine[:, 3], first_block)
    np.testing.assert_allclose(anatomy.thorax_center, volume.center, atol=6.0)
    straight = find_anatomy(volume_of(hu))
    np.testing.assert_array_equal(anatomy.body, straight.body)


def test_field_of_view_that_cuts_the_sides() -> None:
    hu, _, _ = torso(couch=False)
    narrow = np.ascontiguousarray(hu[:, :, 50:])
    anatomy = find_anatomy(volume_of(narrow))
    assert anatomy.truncated_sides == ("right",)
    assert "cuts the body (right)" in anatomy.notes[0]


@pytest.mark.parametrize("padding", [-1024, -2048, -3024, -8192])
def test_round_field_of_view_that_cuts_the_sides(padding: int) -> None:
    hu, _, _ = torso(noise=20.0, shape=(30, 180, 180))
    x, y, z = coordinates((30, 180, 180))
    hu[np.hypot(x, y) + 0 * z > 134] = padding
    anatomy = find_anatomy(volume_of(hu))
    assert anatomy.truncated_sides == ("right", "left")
    assert anatomy.lungs is not None


def test_lung_cut_by_the_field_of_view_is_still_a_lung() -> None:
    hu, body, lungs = torso(couch=False, trachea=False)
    half = slice(None), slice(None), slice(90, None)
    anatomy = find_anatomy(volume_of(np.ascontiguousarray(hu[half])))
    assert anatomy.lungs is not None
    assert dice(expanded(anatomy.body, anatomy, hu[half].shape), body[half]) > 0.97
    assert dice(expanded(anatomy.lungs, anatomy, hu[half].shape), lungs[half]) > 0.95


def test_gas_in_the_stomach_is_no_lung() -> None:
    hu, body, _ = torso()
    x, y, z = coordinates(SHAPE)
    hu[body] = 20
    hu[np.hypot(x - 40, y) + 0 * z < 30] = -1000
    anatomy = find_anatomy(volume_of(hu))
    assert anatomy.lungs is None
    assert anatomy.lungs_box is None
    assert "no lungs" in anatomy.notes[0]
    np.testing.assert_allclose(anatomy.thorax_center, anatomy.body_box.mean(axis=0))


@pytest.mark.parametrize("value", [-1000, -1024, -2048, -500])
def test_a_volume_without_a_body_counts_as_one(value: int) -> None:
    anatomy = find_anatomy(volume_of(np.full((12, 20, 24), value, np.int16)))
    assert not anatomy.found
    assert anatomy.body.all()
    assert "no body stands out" in anatomy.notes[0]
    np.testing.assert_allclose(
        anatomy.body_box, [[-0.75, -0.75, -2.5], [23.5 * 1.5, 19.5 * 1.5, 57.5]]
    )


def test_a_volume_full_of_tissue() -> None:
    anatomy = find_anatomy(volume_of(np.full((12, 100, 110), 40, np.int16)))
    assert anatomy.found
    assert anatomy.body.all()
    assert set(anatomy.truncated_sides) == {"right", "left", "anterior", "posterior"}


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 40, 40), (40, 1, 40), (8, 8, 8), (3, 70, 2)])
@pytest.mark.parametrize("value", [-1000, 0])
def test_tiny_and_flat_volumes(shape: tuple[int, int, int], value: int) -> None:
    anatomy = find_anatomy(volume_of(np.full(shape, value, np.int16)))
    assert anatomy.body.all()
    assert anatomy.contains(anatomy.thorax_center)


def test_a_small_cube_is_found_exactly() -> None:
    hu = np.full((8, 8, 8), -1000, np.int16)
    hu[2:6, 3:6, 2:5] = 0
    anatomy = find_anatomy(Volume(hu=hu, affine=np.eye(4)))
    np.testing.assert_array_equal(anatomy.body, hu == 0)
    np.testing.assert_allclose(anatomy.body_box, [[1.5, 2.5, 1.5], [4.5, 5.5, 5.5]])


def test_voxels_far_smaller_than_the_opening_end() -> None:
    hu = np.full((32, 32, 32), -1000, np.int16)
    hu[8:24, 8:24, 8:24] = 40
    assert find_anatomy(Volume.from_stored(hu, np.diag([1e-6, 1e-6, 1e-6, 1]))).found


def test_noise_alone_is_survived() -> None:
    hu = np.random.default_rng(0).integers(-3000, 3000, (16, 64, 64)).astype(np.int16)
    find_anatomy(volume_of(hu))


def test_threads_do_not_matter() -> None:
    volume = volume_of(torso(noise=50)[0])
    one, many = find_anatomy(volume, threads=1), find_anatomy(volume, threads=5)
    np.testing.assert_array_equal(one.body, many.body)
    np.testing.assert_array_equal(one.lungs, many.lungs)


def test_parameters_are_plain_numbers() -> None:
    assert all(type(value) in (int, float) for value in ANATOMY_PARAMETERS.values())


def test_lidc(test_data: Path) -> None:
    """The lungs' box against the segmentation that comes with the scan."""
    nibabel = pytest.importorskip("nibabel")
    folder = test_data / "ct" / "lidc_idri_0001"
    to_lps = np.diag([-1, -1, 1, 1])
    image = nibabel.load(folder / "cxr.nii.gz")
    volume = Volume.from_stored(np.asarray(image.dataobj).astype(np.int16).T, to_lps @ image.affine)
    anatomy = find_anatomy(volume)
    assert anatomy.truncated_sides == ("right", "left")
    labels = nibabel.load(folder / "mask.nii.gz")
    lobes = np.isin(np.asarray(labels.dataobj), LUNG_LOBES)
    lungs = Volume.from_stored(lobes.astype(np.int16).T, to_lps @ labels.affine).hu > 0
    assert anatomy.lungs is not None
    found = expanded(anatomy.lungs, anatomy, volume.shape)
    assert dice(found, lungs) > 0.93
    z, y, x = np.nonzero(lungs)
    index = np.stack([x, y, z, np.ones_like(x)], axis=-1)
    points = (index @ volume.affine.T)[:, :3]
    np.testing.assert_allclose(
        anatomy.lungs_box, [points.min(axis=0), points.max(axis=0)], atol=8.0
    )
