"""Two public chest CTs: the right way round, without their couches, whatever file they are in."""

from __future__ import annotations

import csv
import json
import math
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import drr
from drr.cli import main
from drr.geometry.geometry import project_point
from drr.geometry.views import parse_view
from drr.patient.cleaning import clean
from drr.patient.prepare import Prepared, prepare
from drr.radiograph import Projection
from drr.volume import Volume

PIXELS = 256
Picture = dict[str, np.ndarray]
"""The line integrals as `image`, and the thickness in mm of every organ."""

ORGANS = ("heart", "liver", "sternum", "stomach", "trachea", "left lung", "right lung", "spine")


# --- LIDC-IDRI-0001, with its organ mask -----------------------------------------------------


@pytest.fixture(scope="module")
def lidc(test_data: Path) -> Volume:
    return drr.read(test_data / "ct/lidc_idri_0001/cxr.nii.gz")


@pytest.fixture(scope="module")
def lidc_prepared(lidc: Volume) -> Prepared:
    return prepare(lidc)


@pytest.fixture(scope="module")
def lidc_mask(test_data: Path) -> Volume:
    """Labels 1, 2, ... are those of `ORGANS`, and 99 is every other structure."""
    folder = test_data / "ct/lidc_idri_0001"
    mask = drr.read(folder / "mask.nii.gz")
    table = np.full(1 + int(mask.hu.max()), 99, np.int16)
    table[0] = 0
    with open(folder / "structures.csv", newline="") as file:
        for row in csv.DictReader(file):
            organ, label = organ_of(row["structure"]), int(row["id"])
            if organ and label < table.size:
                table[label] = 1 + ORGANS.index(organ)
    return replace(mask, hu=table[mask.hu])


def organ_of(structure: str) -> str | None:
    if structure.startswith("lung_"):
        return "left lung" if structure.endswith("_left") else "right lung"
    if structure.startswith("vertebrae_T"):
        return "spine"
    return structure if structure in ORGANS else None


@pytest.fixture(scope="module")
def lidc_shots(lidc_prepared: Prepared, lidc_mask: Volume) -> dict[str, Projection]:
    organs = replace(lidc_mask, hu=np.where(lidc_mask.hu == 99, 0, lidc_mask.hu).astype(np.int16))
    names = ("pa", "ap", "ll", "lao30")
    views = [parse_view(name, shape=(PIXELS, PIXELS)) for name in names]
    return dict(zip(names, drr.project(lidc_prepared, views, mask=organs), strict=True))


def picture_of(shot: Projection) -> Picture:
    assert shot.labels == tuple(range(1, 1 + len(ORGANS)))
    return {"image": shot.line_integrals, **dict(zip(ORGANS, shot.thickness, strict=True))}


def flipped(picture: Picture, axis: int) -> Picture:
    return {name: np.flip(plane, axis) for name, plane in picture.items()}


def row(picture: Picture, organ: str) -> float:
    mass = picture[organ].sum(axis=1, dtype=float)
    return float(mass @ np.arange(mass.size) / mass.sum())


def column(picture: Picture, organ: str) -> float:
    mass = picture[organ].sum(axis=0, dtype=float)
    return float(mass @ np.arange(mass.size) / mass.sum())


def superior_is_up(picture: Picture) -> bool:
    rows = [row(picture, organ) for organ in ("trachea", "heart", "liver")]
    return rows[0] + 20 < rows[1] and rows[1] + 20 < rows[2]


def frontal_is_right(picture: Picture) -> bool:
    """As if facing the patient: heart and stomach at the image's right, the liver at its left."""
    spine = column(picture, "spine")
    return (
        superior_is_up(picture)
        and column(picture, "heart") > spine + 10
        and column(picture, "stomach") > spine + 10
        and column(picture, "liver") < spine - 10
        and column(picture, "right lung") < spine - 20 < spine + 20 < column(picture, "left lung")
        and denser_at_the_right(
            picture["image"], midline=spine, middle=row(picture, "heart"), height=30, by=0.3
        )
    )


def lateral_is_right(picture: Picture) -> bool:
    """Anterior at the image's left: sternum, heart, spine from left to right."""
    columns = [column(picture, organ) for organ in ("sternum", "heart", "spine")]
    return superior_is_up(picture) and columns[0] + 20 < columns[1] < columns[2] - 40


def oblique_is_right(picture: Picture) -> bool:
    """LAO: the spine is thrown to the patient's left, clear of the trachea and past the heart."""
    spine = column(picture, "spine")
    return (
        superior_is_up(picture)
        and column(picture, "right lung") + 40 < column(picture, "left lung")
        and column(picture, "sternum") < column(picture, "trachea") - 10
        and max(column(picture, "trachea") + 10, column(picture, "heart") + 5) < spine
    )


def denser_at_the_right(
    image: np.ndarray, *, midline: float, middle: float, height: float, by: float
) -> bool:
    """Whether 25 to 75 mm from the midline the image's right is denser than its left.

    `height` in pixels around the row `middle`; `by` in line integral. Pixels are 1.68 mm.
    """
    rows = slice(round(middle - height / 2), round(middle + height / 2))
    near, far = round(25 / 1.68), round(75 / 1.68)
    center = round(midline)
    right = image[rows, center + near : center + far].mean()
    left = image[rows, center - far + 1 : center - near + 1].mean()
    return bool(right > left + by)


RIGHT: dict[str, Callable[[Picture], bool]] = {
    "pa": frontal_is_right,
    "ap": frontal_is_right,
    "ll": lateral_is_right,
    "lao30": oblique_is_right,
}


@pytest.mark.parametrize("view", RIGHT)
def test_lidc_is_the_right_way_round(lidc_shots, view):
    picture = picture_of(lidc_shots[view])
    assert RIGHT[view](picture)
    assert not RIGHT[view](flipped(picture, axis=1)), "mirrored"
    assert not RIGHT[view](flipped(picture, axis=0)), "upside down"
    assert not RIGHT[view](flipped(flipped(picture, axis=0), axis=1)), "half a turn"


@pytest.mark.parametrize("view", RIGHT)
def test_lidc_image_and_mask_lie_on_each_other(lidc_shots, view):
    """Lungs are dark, and only where the mask has them."""
    picture = picture_of(lidc_shots[view])
    image, lungs = picture["image"], picture["left lung"] + picture["right lung"]

    def agreement(image: np.ndarray) -> float:
        inside = (image > 0.3) & (lungs.sum(axis=1) > 0)[:, None]
        return float(np.corrcoef(image[inside], lungs[inside])[0, 1])

    assert agreement(image) < -0.1
    for axis, size in ((1, 8), (0, 8)):
        for shift in (-size, size):
            assert agreement(image) < agreement(np.roll(image, shift, axis))


def test_lidc_views_cannot_be_taken_for_one_another(lidc_shots):
    for view in ("ll", "lao30"):
        assert not frontal_is_right(picture_of(lidc_shots[view]))
    for view in ("pa", "ap", "lao30"):
        assert not lateral_is_right(picture_of(lidc_shots[view]))
    for view in ("pa", "ap", "ll"):
        assert not oblique_is_right(picture_of(lidc_shots[view]))


def test_lidc_organs_far_from_the_detector_are_larger(lidc_shots, lidc_mask):
    """What tells PA from AP and a left lateral from a right one hung the same way round."""

    def area(view: str, organ: str) -> float:
        """Magnification squared."""
        shot = lidc_shots[view]
        pixel = shot.geometry.column_pitch * shot.geometry.row_pitch
        voxel = abs(float(np.linalg.det(lidc_mask.affine[:3, :3])))
        true = (lidc_mask.hu == 1 + ORGANS.index(organ)).sum() * voxel
        return float(shot.thickness[ORGANS.index(organ)].sum(dtype=float)) * pixel / true

    assert 1.05 < area("pa", "heart") < 0.97 * area("ap", "heart"), "the heart of an AP is larger"
    assert area("pa", "sternum") < area("pa", "spine")
    assert area("ap", "sternum") > area("ap", "spine")
    assert area("ll", "left lung") < 0.9 * area("ll", "right lung")


def test_lidc_clean_up_touches_no_organ(lidc, lidc_mask):
    cleaned = clean(lidc)
    inside = lidc_mask.hu > 0
    assert inside.sum() > 5_000_000
    np.testing.assert_array_equal(cleaned.hu[inside], lidc.hu[inside])
    changed = (cleaned.hu != lidc.hu) & (lidc.hu > -500)
    assert changed.sum() > 100_000, "the couch is gone"


def test_lidc_saved_right_handed_is_the_same_scan(lidc, lidc_prepared, tmp_path):
    """The file is left-handed (LAS); its LPS twin gives the same image to the bit."""
    assert lidc.orientation == "LAS"
    import nibabel

    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ lidc.affine
    path = tmp_path / "lps.nii"
    nibabel.save(nibabel.Nifti1Image(lidc.hu.transpose(2, 1, 0), ras), path)
    twin = drr.read(path)
    assert twin.orientation == "LPS"
    np.testing.assert_array_equal(twin.affine, lidc.affine)
    np.testing.assert_array_equal(twin.hu, lidc.hu)
    views = [parse_view(name, shape=(PIXELS, PIXELS)) for name in ("pa", "lao30")]
    first, second = drr.project(lidc_prepared, views), drr.project(twin, views)
    for one, two in zip(first, second, strict=True):
        assert one.geometry == two.geometry
        np.testing.assert_array_equal(one.line_integrals, two.line_integrals)


def test_lidc_read_with_the_wrong_hand_would_be_seen(lidc, lidc_mask):
    """The control: voxels mirrored in the patient's frame fail the predicates."""

    def frontal(flip: int) -> bool:
        thin = np.s_[:, ::4, ::4]
        affine = lidc.affine @ np.diag([4.0, 4.0, 1.0, 1.0])
        mask = np.where(lidc_mask.hu == 99, 0, lidc_mask.hu).astype(np.int16)
        scans = [
            Volume.from_stored(np.ascontiguousarray(hu[thin][:, :, ::flip]), affine)
            for hu in (lidc.hu, mask)
        ]
        view = parse_view("pa", shape=(PIXELS, PIXELS))
        return frontal_is_right(picture_of(drr.project(scans[0], view, mask=scans[1])))

    assert frontal(1)
    assert not frontal(-1)


# --- Lung_Dx A0001: DICOM, on a couch, with a tumour of the left upper lobe ------------------


@pytest.fixture(scope="module")
def a0001_path(test_data: Path) -> Path:
    return test_data / "ct/lung_dx_a0001/a0001_5mm_kernelB_dicom.zip"


@pytest.fixture(scope="module")
def a0001(a0001_path: Path) -> Volume:
    return drr.read(a0001_path)


@pytest.fixture(scope="module")
def a0001_prepared(a0001: Volume) -> Prepared:
    return prepare(a0001)


@pytest.fixture(scope="module")
def a0001_shots(a0001_prepared: Prepared) -> dict[str, Projection]:
    names = ("pa", "ap", "ll", "lao30")
    views = [parse_view(name, shape=(PIXELS, PIXELS)) for name in names]
    return dict(zip(names, drr.project(a0001_prepared, views), strict=True))


def lung_rows(shot: Projection, prepared: Prepared) -> tuple[float, float]:
    """Rows of the lungs' apex and base, in the plane of their middle."""
    (_, _, base), (_, _, apex) = prepared.anatomy.lungs_box
    x, y, _ = prepared.anatomy.thorax_center
    top, bottom = (project_point(shot.geometry, (x, y, z))[0] for z in (apex, base))
    return top, bottom


def trachea_column(image: np.ndarray, apex: float) -> float:
    """The darkest column of the middle, just above the lungs."""
    middle = slice(PIXELS // 2 - 20, PIXELS // 2 + 20)
    return middle.start + float(np.argmin(image[round(apex) - 12 : round(apex), middle].mean(0)))


def tumour_is_in_the_left_upper_zone(image: np.ndarray, top: float, bottom: float) -> bool:
    """Rows of the lungs' upper zone are denser at the image's right, and the abdomen is below."""
    height, middle = bottom - top, slice(PIXELS // 4, -PIXELS // 4)
    upper, lower = (
        image[round(top + start * height) : round(top + stop * height), middle].mean()
        for start, stop in ((0.1, 0.3), (0.9, 1.0))
    )
    midline = trachea_column(image, top)
    return bool(lower > upper + 1) and denser_at_the_right(
        image, midline=midline, middle=top + 0.2 * height, height=0.2 * height, by=0.5
    )


@pytest.mark.parametrize("view", ["pa", "ap"])
def test_a0001_shows_its_tumour_in_the_left_upper_zone(a0001_shots, a0001_prepared, view):
    shot = a0001_shots[view]
    image = shot.line_integrals
    top, bottom = lung_rows(shot, a0001_prepared)
    assert 20 < top < 60
    assert 190 < bottom < 240
    assert tumour_is_in_the_left_upper_zone(image, top, bottom)
    assert not tumour_is_in_the_left_upper_zone(image[:, ::-1], top, bottom), "mirrored"
    # Turned upside down the zone would be at the lungs' other end.
    upside_down = image[::-1, ::-1]
    bases = PIXELS - 1 - bottom, PIXELS - 1 - top
    assert not tumour_is_in_the_left_upper_zone(upside_down, *bases), "half a turn"


def test_a0001_heart_is_at_the_right_and_in_front(a0001_shots, a0001_prepared):
    for view in ("pa", "ap"):
        image = a0001_shots[view].line_integrals
        top, bottom = lung_rows(a0001_shots[view], a0001_prepared)
        where = {"middle": top + 0.6 * (bottom - top), "height": 0.2 * (bottom - top), "by": 0.5}
        midline = trachea_column(image, top)
        assert denser_at_the_right(image, midline=midline, **where)
        mirrored = image[:, ::-1]
        assert not denser_at_the_right(mirrored, midline=trachea_column(mirrored, top), **where)
    # Behind the heart and above the diaphragm there is only lung.
    image = a0001_shots["ll"].line_integrals
    top, bottom = lung_rows(a0001_shots["ll"], a0001_prepared)
    (_, front, _), (_, back, _) = a0001_prepared.anatomy.lungs_box
    x, _, z = a0001_prepared.anatomy.thorax_center
    first, last = (project_point(a0001_shots["ll"].geometry, (x, y, z))[1] for y in (front, back))
    assert first < last, "anterior at the image's left"
    rows = slice(round(top + 0.6 * (bottom - top)), round(top + 0.7 * (bottom - top)))
    quarters = np.linspace(first, last, 5).round().astype(int)
    heart = image[rows, quarters[1] : quarters[2]].mean()
    assert heart > image[rows, quarters[2] : quarters[3]].mean() + 0.3


def test_a0001_lateral_has_no_couch(a0001, a0001_prepared):
    # The whole detector: collimated to the lungs, hardly any couch would be in the field.
    view = parse_view("ll", shape=(PIXELS, PIXELS))
    shot = drr.project(a0001_prepared, view, field="detector")
    lying = drr.project(a0001, view, field="detector", clean=False)
    assert lying.geometry == shot.geometry
    (x0, _, z0), (x1, y1, z1) = a0001_prepared.anatomy.body_box.tolist()
    # The back's shadow reaches furthest where it is nearest to the source.
    corners = [(x, y1, z) for x in (x0, x1) for z in (z0, z1)]
    back = max(project_point(shot.geometry, corner)[1] for corner in corners)
    behind = np.s_[:, math.ceil(back) + 1 :]
    assert not shot.line_integrals[behind].any()
    couch = lying.line_integrals[behind]
    assert np.median(couch.max(axis=0)) > 1
    assert (couch.max(axis=1) > 0.5).mean() > 0.5, "along the whole scan"
    # No scrap of it, nor of the blanket in front, lies apart from the body.
    inside = np.pad(shot.line_integrals > 0.02, ((0, 0), (1, 1))).astype(np.int8)
    assert ((np.diff(inside, axis=1) == 1).sum(axis=1) <= 1).all()


def test_a0001_clean_up_eats_nothing_of_the_thorax(a0001, a0001_prepared):
    """Every voxel of an elliptic cylinder of 0.8 of the lungs' width and depth."""
    (x0, y0, z0), (x1, y1, z1) = a0001_prepared.anatomy.lungs_box
    dx, dy, dz = a0001.spacing
    index = [np.arange(n) for n in a0001.shape]
    z, y, x = (
        (i * step + start)
        for i, step, start in zip(index, (dz, dy, dx), a0001.affine[2::-1, 3], strict=True)
    )
    slices = (z > z0) & (z < z0 + 0.75 * (z1 - z0))
    disc = (2 * (x - (x0 + x1) / 2) / (x1 - x0)) ** 2
    disc = disc + ((2 * (y - (y0 + y1) / 2) / (y1 - y0)) ** 2)[:, None] < 0.8**2
    cleaned = clean(a0001)
    before, after = a0001.hu[slices][:, disc], cleaned.hu[slices][:, disc]
    assert before.size > 1_500_000
    assert (before < -700).mean() > 0.3, "lungs"
    np.testing.assert_array_equal(before, after)


def test_a0001_keeps_its_name_to_itself(a0001_path, tmp_path):
    """The whole command on a real DICOM scan: nothing of the header reaches any output."""
    out = tmp_path / "out"
    command = ["project", str(a0001_path), "-o", str(out / "{view}"), "-v", "pa", "--pixels", "64"]
    formats = ["--format", "png", "--format", "dx", "--format", "nifti"]
    result = CliRunner().invoke(main, [*command, *formats])
    assert result.exit_code == 0, result.output
    files = sorted(out.iterdir())
    assert len(files) == 6
    written = b"".join(file.read_bytes() for file in files)
    secrets = [v for v in drr.read(a0001_path).identifiers.values() if len(v) > 5]
    assert len(secrets) > 5
    for secret in [*secrets, str(a0001_path.parent)]:
        assert secret.encode() not in written
    record = json.loads((out / "pa.png.json").read_text())
    assert record


# --- One scan, several files ------------------------------------------------------------------


@pytest.fixture(scope="module")
def thinned(lidc: Volume) -> Volume:
    """Every fourth column and row and every third slice of LIDC-IDRI-0001.

    Moved by less than 0.1 mm, so that 16 characters of DICOM and NIfTI's float32 hold the affine
    exactly.
    """
    affine = lidc.affine @ np.diag([4.0, 4.0, 3.0, 1.0])
    affine[:3, 3] = np.round(affine[:3, 3] * 8) / 8
    hu = np.ascontiguousarray(lidc.hu[::3, ::4, ::4])
    return Volume.from_stored(hu, affine, name="thinned")


def save_itk(volume: Volume, path: Path) -> Path:
    import SimpleITK

    image = SimpleITK.GetImageFromArray(volume.hu)
    image.SetSpacing(volume.spacing.tolist())
    image.SetOrigin(volume.affine[:3, 3].tolist())
    image.SetDirection((volume.affine[:3, :3] / volume.spacing).ravel().tolist())
    SimpleITK.WriteImage(image, str(path))
    return path


def save_dicom(volume: Volume, folder: Path) -> Path:
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir()
    dx, dy, _ = volume.spacing
    series, frame = generate_uid(), generate_uid()
    for k in np.random.default_rng(0).permutation(len(volume.hu)):
        dataset = Dataset()
        dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, generate_uid()
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), series
        dataset.FrameOfReferenceUID, dataset.Modality = frame, "CT"
        dataset.ImagePositionPatient = (volume.affine @ [0, 0, k, 1])[:3].tolist()
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing = [dy, dx]
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.Rows, dataset.Columns = volume.hu.shape[1:]
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
        dataset.PixelRepresentation = 1
        dataset.PixelData = (volume.hu[k] + 1024).astype("<i2").tobytes()
        dataset["PixelData"].VR = "OW"
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.save_as(folder / f"{generate_uid()}.dcm", enforce_file_format=True)
    return folder


def save_zip(volume: Volume, path: Path) -> Path:
    folder = save_dicom(volume, path.with_suffix(""))
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"scan/{file.name}")
    return path


def save_left_handed(volume: Volume, path: Path) -> Path:
    """LAS, as LIDC-IDRI-0001 was found: rows stored from the back to the front."""
    import nibabel

    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, 1] * (volume.shape[1] - 1)
    affine[:3, 1] *= -1
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    nibabel.save(nibabel.Nifti1Image(volume.hu[:, ::-1].transpose(2, 1, 0), ras), path)
    return path


SAVERS: dict[str, Callable[[Volume, Path], Path]] = {
    "scan.nii": save_itk,
    "scan.nii.gz": save_itk,
    "left_handed.nii.gz": save_left_handed,
    "scan.mha": save_itk,
    "scan.nrrd": save_itk,
    "dicom": save_dicom,
    "scan.zip": save_zip,
}


@pytest.fixture(scope="module")
def thinned_shots(thinned: Volume) -> list[Projection]:
    return drr.project(thinned, [parse_view(n, shape=(128, 128)) for n in ("pa", "ll", "lao30")])


@pytest.mark.parametrize("name", SAVERS)
def test_the_same_scan_in_any_file_gives_the_same_image(thinned, thinned_shots, tmp_path, name):
    scan = drr.read(SAVERS[name](thinned, tmp_path / name))
    assert scan.sha256 == thinned.sha256
    views = [parse_view(n, shape=(128, 128)) for n in ("pa", "ll", "lao30")]
    for shot, expected in zip(drr.project(scan, views), thinned_shots, strict=True):
        assert expected.line_integrals.max() > 3
        assert shot.geometry == expected.geometry
        np.testing.assert_array_equal(shot.line_integrals, expected.line_integrals)


@pytest.mark.parametrize("name", ["scan.mha", "scan.nrrd", "scan.nii"])
def test_a0001_from_dicom_to_another_file(a0001, a0001_shots, tmp_path, name):
    """A position of many decimals: NIfTI keeps it as float32, the others as float64."""
    scan = drr.read(save_itk(a0001, tmp_path / name))
    np.testing.assert_array_equal(scan.hu, a0001.hu)
    np.testing.assert_allclose(scan.affine, a0001.affine, atol=2e-5)
    shot = drr.project(scan, parse_view("pa", shape=(PIXELS, PIXELS)))
    expected = a0001_shots["pa"].line_integrals
    if name != "scan.nii":
        np.testing.assert_array_equal(scan.affine, a0001.affine)
        np.testing.assert_array_equal(shot.line_integrals, expected)
    np.testing.assert_allclose(shot.line_integrals, expected, atol=1e-4)
