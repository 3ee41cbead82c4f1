from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from drr.datasets.phantom.thorax import thorax
from drr.errors import VolumeError
from drr.patient.anatomy import find_anatomy
from drr.patient.cleaning import CLEANUP_PARAMETERS, clean
from drr.patient.extension import Extension
from drr.volume import Volume

SHAPE = (12, 200, 260)


def patient_on_couch(noise: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """HU at 1.5 mm, the patient alone, and the mask of the patient.

    The couch top touches the back, a blanket lies on the chest, a tube runs beside the patient,
    and outside the round field of view there is padding.
    """
    nz, ny, nx = SHAPE
    _, y, x = np.ogrid[:nz, :ny, :nx]
    x, y = (x - (nx - 1) / 2) * 1.5, (y - 90) * 1.5
    inside = np.hypot(x / 150, y / 95)
    # Partial volume at the skin, over a voxel.
    skin = np.clip((1 - inside) * 95 / 1.5 + 0.5, 0, 1)
    alone = np.broadcast_to(-1000 + 1020 * skin, SHAPE).copy()
    for side in (-1, 1):
        alone[np.broadcast_to(np.hypot((x - side * 70) / 55, y / 70) < 1, SHAPE)] = -850
    hu = alone.copy()
    outside = np.broadcast_to(inside > 1.02, SHAPE)
    couch = (y > 97) & (y < 100) | (y > 120) & (y < 123)
    blanket = np.abs(y + 99 * np.sqrt(np.clip(1 - (x / 200) ** 2, 0, 1))) < 1.5
    for thing, value in ((couch, 200), (blanket, -300), (np.hypot(x - 165, y) < 4, 900)):
        hu[np.broadcast_to(thing, SHAPE) & outside] = value
    if noise:
        spread = np.random.default_rng(5).normal(0, noise, SHAPE)
        # Noise in air is rectified, so it would add up along rays outside the patient.
        hu, alone = hu + spread, alone + spread * (inside < 1.02)
    hu[np.broadcast_to(np.hypot(x, y - 15) > 190, SHAPE)] = -2048
    body = np.broadcast_to(inside < 1, SHAPE)
    return np.rint(hu).astype(np.int16), np.rint(alone).astype(np.int16), body


def volume_of(hu: np.ndarray) -> Volume:
    return Volume(hu=hu, affine=np.diag([1.5, 1.5, 3.0, 1.0]), name="scan", notes=("read",))


def water_mm(hu: np.ndarray, axis: int) -> np.ndarray:
    """Water-equivalent length of parallel rays at 1.5 mm."""
    return np.asarray(np.maximum(0, 1 + hu / 1000).sum(axis=axis) * 1.5)


@pytest.mark.parametrize("noise", [0.0, 60.0])
def test_the_patient_stays_and_the_rest_goes(noise: float) -> None:
    hu, alone, body = patient_on_couch(noise)
    cleaned = clean(volume_of(hu))
    np.testing.assert_array_equal(cleaned.hu[body], hu[body])
    assert cleaned.hu[~body].min() >= -1024 - 5 * noise
    for axis in (1, 2):
        before = np.abs(water_mm(hu, axis) - water_mm(alone, axis)).max()
        error = np.abs(water_mm(cleaned.hu, axis) - water_mm(alone, axis))
        assert error.max() < 3.0
        assert before > 5 * error.max()


def test_the_notes_tell_what_was_removed() -> None:
    hu, _, _ = patient_on_couch()
    cleaned = clean(volume_of(hu))
    assert cleaned.notes[0] == "read"
    assert "ml of it denser than -900 HU" in cleaned.notes[1]
    removed = (hu > -900) & (cleaned.hu == -1000)
    assert f"{removed.sum() * 1.5 * 1.5 * 3 / 1000:.0f} ml" in cleaned.notes[1]
    assert f"{(hu == -2048).sum()} voxels of padding" in cleaned.notes[1]


def test_in_place_and_into_an_array_give_the_same() -> None:
    hu, _, _ = patient_on_couch(30.0)
    original = hu.copy()
    volume = volume_of(hu)
    new = clean(volume)
    np.testing.assert_array_equal(volume.hu, original)
    out = np.zeros_like(hu)
    assert clean(volume, out=out).hu is out
    np.testing.assert_array_equal(out, new.hu)
    same = clean(volume, out=volume.hu)
    assert same.hu is volume.hu
    np.testing.assert_array_equal(hu, new.hu)
    assert new.sha256 != volume_of(original).sha256


def test_threads_do_not_matter() -> None:
    volume = volume_of(patient_on_couch(30.0)[0])
    np.testing.assert_array_equal(clean(volume, threads=1).hu, clean(volume, threads=7).hu)


def test_cleaning_twice_changes_little() -> None:
    once = clean(volume_of(patient_on_couch()[0]))
    twice = clean(once)
    assert (once.hu != twice.hu).mean() < 1e-3


def test_values_inside_are_not_clamped() -> None:
    hu, _, body = patient_on_couch()
    hu[:, 90, 130] = 9000
    hu[:, 91, 130] = -1500
    cleaned = clean(volume_of(hu))
    np.testing.assert_array_equal(cleaned.hu[body], hu[body])


@pytest.mark.parametrize("value", [-1000, -2048])
@pytest.mark.parametrize("in_place", [True, False])
def test_without_a_body_nothing_is_removed(value: int, in_place: bool) -> None:
    hu = np.full((4, 30, 30), value, np.int16)
    volume = volume_of(hu)
    cleaned = clean(volume, out=volume.hu if in_place else None)
    assert (cleaned.hu == value).all()
    assert "nothing removed" in cleaned.notes[-1]


@pytest.mark.parametrize("shape", [(1, 1, 1), (8, 8, 8), (5, 90, 100)])
def test_a_volume_full_of_tissue_is_untouched(shape: tuple[int, int, int]) -> None:
    hu = np.full(shape, 40, np.int16)
    np.testing.assert_array_equal(clean(volume_of(hu)).hu, hu)


def test_everything_else_of_the_volume_is_kept() -> None:
    stored = patient_on_couch()[0].transpose(2, 0, 1)[::-1]
    affine = np.zeros((4, 4))
    affine[2, 1], affine[1, 0], affine[0, 2], affine[3, 3] = 3.0, 1.5, -1.5, 1.0
    volume = Volume.from_stored(stored, affine, identifiers={"PatientID": "7"})
    cleaned = clean(volume)
    np.testing.assert_array_equal(cleaned.affine, volume.affine)
    assert cleaned.stored_axes == volume.stored_axes
    assert cleaned.stored_flips == volume.stored_flips
    assert cleaned.identifiers == volume.identifiers


def test_anatomy_of_another_volume_is_refused() -> None:
    volume = volume_of(patient_on_couch()[0])
    other = find_anatomy(volume_of(np.zeros((4, 30, 30), np.int16)))
    with pytest.raises(VolumeError, match=r"scan: the anatomy's grid .* find_anatomy"):
        clean(volume, other)


@pytest.mark.parametrize(
    "out",
    [
        np.zeros((4, 30, 31), np.int16),
        np.zeros((4, 30, 30), np.float32),
        np.zeros((4, 30, 60), np.int16)[:, :, ::2],
    ],
    ids=["shape", "type", "strides"],
)
def test_out_that_cannot_take_the_voxels_is_refused(out: np.ndarray) -> None:
    volume = volume_of(np.zeros((4, 30, 30), np.int16))
    with pytest.raises(VolumeError, match="out must be a C-contiguous int16 array"):
        clean(volume, out=out)


def test_parameters_are_json() -> None:
    record = json.loads(json.dumps(CLEANUP_PARAMETERS))
    assert record["background_hu"] == -1000
    assert record["anatomy_tissue_hu"] == -400


def lung_dx(test_data: Path) -> Volume:
    pydicom = pytest.importorskip("pydicom")
    archive = test_data / "ct" / "lung_dx_a0001" / "a0001_5mm_kernelB_dicom.zip"
    with zipfile.ZipFile(archive) as files:
        slices = [
            pydicom.dcmread(io.BytesIO(files.read(name)))
            for name in files.namelist()
            if name.lower().endswith(".dcm")
        ]
    slices.sort(key=lambda s: float(s.ImagePositionPatient[2]))
    first, second = slices[:2]
    affine = np.diag([*map(float, first.PixelSpacing[::-1]), 1.0, 1.0])
    affine[:3, 3] = first.ImagePositionPatient
    affine[2, 2] = float(second.ImagePositionPatient[2]) - affine[2, 3]
    stored = [s.pixel_array * float(s.RescaleSlope) + float(s.RescaleIntercept) for s in slices]
    return Volume.from_stored(np.stack(stored), affine, name="A0001")


def test_a0001_loses_its_couch_and_keeps_its_back(test_data: Path) -> None:
    volume = lung_dx(test_data)
    anatomy = find_anatomy(volume)
    cleaned = clean(volume, anatomy)
    assert anatomy.lungs is not None
    spacing = volume.spacing[0]

    def lateral(hu: np.ndarray) -> np.ndarray:
        return np.asarray(np.maximum(0, 1 + hu / 1000.0).sum(axis=2) * spacing)

    # Behind the back, in the lateral: more than 60 mm of water before, nothing after.
    behind = int((anatomy.body_box[1, 1] + 5 - volume.affine[1, 3]) / volume.spacing[1])
    assert lateral(volume.hu)[:, behind:].max() > 60
    assert lateral(cleaned.hu)[:, behind:].max() == 0
    # No hole: whatever is tissue or lung 8 mm inside the mask is as it was.
    fz, fy, fx = anatomy.factors
    nz, ny, nx = volume.shape
    body = anatomy.body.repeat(fz, 0).repeat(fy, 1).repeat(fx, 2)[:nz, :ny, :nx]
    changed = (cleaned.hu != volume.hu) & body
    k, j, i = np.nonzero(changed)
    distances_y = np.minimum(*(_run(body, k, j, i, step) for step in (-1, 1)))
    assert distances_y.max() * spacing < 15
    # What goes within the mask is couch and air under the back, hardly any tissue elsewhere.
    front = (volume.hu[changed] > -300) & (j < ny / 2)
    assert front.sum() * abs(np.linalg.det(volume.affine[:3, :3])) / 1000 < 5


def _run(mask: np.ndarray, k: np.ndarray, j: np.ndarray, i: np.ndarray, step: int) -> np.ndarray:
    """Voxels from each place to the end of the mask along the second axis."""
    length = np.zeros(j.size, int)
    alive = np.ones(j.size, bool)
    for n in range(1, 40):
        place = np.clip(j + n * step, 0, mask.shape[1] - 1)
        alive &= mask[k, place, i]
        length[alive] = n
    return length


@pytest.mark.parametrize("sides", [False, True])
def test_a_cropped_volume_shows_the_same_body_in_the_same_place(sides: bool) -> None:
    volume = thorax(size=64)
    anatomy = find_anatomy(volume)
    extension = Extension(superior_mm=12.0, sides=sides)
    whole = clean(volume, anatomy, extension=extension)
    cropped = clean(volume, anatomy, extension=extension, crop=True)
    assert cropped.hu.size < whole.hu.size
    offset = whole.world_to_voxel[:3, :3] @ (cropped.affine - whole.affine)[:3, 3]
    x, y, z = np.rint(offset).astype(int).tolist()
    np.testing.assert_allclose(offset, [x, y, z], atol=1e-6)
    assert z == 0
    _, ny, nx = cropped.shape
    box = (slice(None), slice(y, y + ny), slice(x, x + nx))
    np.testing.assert_array_equal(cropped.hu, whole.hu[box])
    outside = whole.hu.copy()
    outside[box] = -1000
    assert (outside == -1000).all()
    assert cropped.notes == whole.notes


def test_nothing_is_cropped_where_no_body_was_found() -> None:
    volume = volume_of(np.full((8, 16, 16), -1000, np.int16))
    assert clean(volume, crop=True).shape == volume.shape
