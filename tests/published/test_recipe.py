"""The published recipe, held against ITK's own filters over phantom, CTs and poses."""

from __future__ import annotations

import functools
import importlib
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from itk_reference import itk
from kernel_cases import random_hu, relative_rmse
from numpy.typing import NDArray

import drr
from drr.datasets.phantom.thorax import thorax
from drr.display.minmax import MinMax, rescale_to_8_bits
from drr.errors import DisplayError, DRRError, GeometryError, ProjectionError, VolumeError
from drr.geometry.geometry import Geometry, project_point
from drr.physics.attenuation import Attenuation
from drr.published.recipe import PROJECTIONS, DrrRate
from drr.published.render import drr_rate, drr_rate_geometry, path_sums
from drr.volume import Volume

# SWIG, which wraps ITK, makes types that Python 3.12 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:builtin type [Ss]wig:DeprecationWarning")

SMALL = DrrRate(shape=(96, 104), pitch=(3.1, 2.9))
POSES = {
    "published": DrrRate(),
    "turned": DrrRate(rotation=(3.0, -4.0, 2.0)),
    "moved": DrrRate(translation=(10.0, 250.0, -20.0)),
    "both": DrrRate(rotation=(-5.0, 2.0, 12.0), translation=(5.0, 320.0, 7.5)),
    "locked": DrrRate(rotation=(1.5, 0.0, 0.0)),
    "upside": DrrRate(rotation=(0.0, 180.0, 0.0)),
    "backwards": DrrRate(rotation=(0.0, 171.0, 0.0)),
    "unmoved": DrrRate(translation=(0.0, 0.0, 0.0), threshold=-1000.5),
}


# --- the published program, in ITK's own classes ---------------------------------------------


@functools.cache
def caster_class() -> Any:
    """The ray caster over shorts; asked for through `itk` it would load all of ITK first."""
    name = "itkSiddonJacobsRayCastInterpolateImageFunction"
    itk()
    module = importlib.import_module(f"itk.{name}Python")
    return getattr(module, f"{name}ISS3D")


def published(
    stored: NDArray[np.int16], spacing: Any, projection: str, recipe: DrrRate, **extra: Any
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """What the program computes: shorts before, grey levels after rescaling and flip."""
    module, single = itk(), lambda value: float(np.float32(value))
    image = module.image_from_array(np.ascontiguousarray(stored))
    image.SetSpacing([float(step) for step in spacing])
    if "direction" in extra:
        image.SetDirection(module.matrix_from_array(extra["direction"]))
    radians = math.atan(1.0) * 4.0 / 180.0
    x, y, z = recipe.rotation
    degrees = (x, y, z - 90.0 if projection == "LATERAL" else z)
    turn = module.Euler3DTransform[module.D].New()
    turn.SetComputeZYX(True)
    turn.SetTranslation([single(value) for value in recipe.translation])
    turn.SetRotation(*(radians * single(value) for value in degrees))
    counts = stored.shape[::-1]
    turn.SetCenter([float(s) * n / 2.0 for s, n in zip(spacing, counts, strict=True)])
    shorts, bytes_ = module.Image[module.SS, 3], module.Image[module.UC, 3]
    caster = caster_class().New()
    caster.SetProjectionAngle(0.0)
    caster.SetFocalPointToIsocenterDistance(single(recipe.source_to_isocenter_distance))
    caster.SetThreshold(single(recipe.threshold))
    caster.SetTransform(turn)
    caster.Initialize()
    resample = module.ResampleImageFilter[shorts, shorts].New()
    resample.SetInput(image)
    resample.SetDefaultPixelValue(0)
    resample.SetInterpolator(caster)
    rows, columns = recipe.shape
    across, down = (np.float32(step) for step in recipe.pitch)
    resample.SetSize([columns, rows, 1])
    resample.SetOutputSpacing([float(across), float(down), 1.0])
    corner = [float(-across * np.float32((columns - 1) / 2))]
    corner += [float(-down * np.float32((rows - 1) / 2))]
    resample.SetOutputOrigin([*corner, -single(recipe.source_to_isocenter_distance)])
    resample.Update()
    sums = resample.GetOutput()
    flip = module.FlipImageFilter[bytes_].New()
    flip.SetFlipAxes([0, 1, 0])
    flip.SetInput(itk_rescaled(sums))
    flip.Update()
    # Arrays of ITK images are views that die with them.
    return (
        module.array_from_image(sums)[0].copy(),
        module.array_from_image(flip.GetOutput())[0].copy(),
    )


def itk_rescaled(image: Any) -> Any:
    module = itk()
    shorts, bytes_ = module.Image[module.SS, 3], module.Image[module.UC, 3]
    rescale = module.RescaleIntensityImageFilter[shorts, bytes_].New()
    rescale.SetOutputMinimum(0)
    rescale.SetOutputMaximum(255)
    rescale.SetInput(image)
    rescale.Update()
    return rescale.GetOutput()


def stored_spacing(volume: Volume) -> NDArray[np.float64]:
    by_axis = volume.spacing[::-1]
    return by_axis[np.argsort(volume.stored_axes)][::-1]


def check_equal(volume: Volume, projection: str, recipe: DrrRate) -> None:
    """The bar is 99.9 % of pixels and never off by more than one."""
    wanted, picture = published(volume.stored_order(), stored_spacing(volume), projection, recipe)
    wanted = wanted[::-1]  # row 0 is the picture's bottom until the flip
    got = path_sums(volume, projection, recipe=recipe)
    assert got.dtype == np.int16
    assert wanted.max() > 20
    off = np.abs(got.astype(int) - wanted)
    assert (off == 0).mean() >= 0.999, f"{(off == 0).mean():.5f} equal"
    assert off.max() <= 1
    np.testing.assert_array_equal(rescale_to_8_bits(wanted), picture)


def small(recipe: DrrRate) -> DrrRate:
    return DrrRate.from_dict({**recipe.to_dict(), "shape": SMALL.shape, "pitch": SMALL.pitch})


@pytest.fixture(scope="module")
def phantom() -> Volume:
    return thorax((60, 96, 110), seed=3)


@pytest.fixture(scope="module")
def lidc(test_data: Path) -> Volume:
    return drr.read(test_data / "ct/lidc_idri_0001/cxr.nii.gz")


@pytest.fixture(scope="module")
def a0001(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Volume:
    folder = tmp_path_factory.mktemp("a0001")
    archive = test_data / "ct/lung_dx_a0001/a0001_5mm_kernelB_dicom.zip"
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)
    return drr.read(folder)


# --- golden ----------------------------------------------------------------------------------


@pytest.mark.parametrize("projection", PROJECTIONS)
@pytest.mark.parametrize("pose", POSES)
def test_sums_are_those_of_itk_on_the_phantom(phantom: Volume, projection: str, pose: str) -> None:
    check_equal(phantom, projection, small(POSES[pose]))


@pytest.mark.parametrize("projection", PROJECTIONS)
@pytest.mark.parametrize("pose", ["turned", "both"])
def test_sums_are_those_of_itk_on_real_scans(
    lidc: Volume, a0001: Volume, projection: str, pose: str
) -> None:
    for volume in (lidc, a0001):
        check_equal(volume, projection, small(POSES[pose]))


def test_full_pictures_of_a_real_scan_are_those_of_itk(lidc: Volume, a0001: Volume) -> None:
    for volume, projection in ((lidc, "AP"), (a0001, "LATERAL")):
        check_equal(volume, projection, DrrRate())


def test_picture_is_the_program_s_from_file_to_grey_levels(lidc: Volume, test_data: Path) -> None:
    module = itk()
    image = module.imread(str(test_data / "ct/lidc_idri_0001/cxr.nii.gz"), module.SS)
    recipe = small(DrrRate())
    _, wanted = published(
        module.array_from_image(image), list(image.GetSpacing()), "LATERAL", recipe
    )
    np.testing.assert_array_equal(drr_rate(lidc, "lateral", recipe=recipe).picture, wanted)


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 0, 2), (2, 1, 0)])
@pytest.mark.parametrize("signs", [(1, 1, 1), (1, -1, 1), (-1, -1, -1)])
def test_stored_order_is_followed_and_directions_are_not(
    axes: tuple[int, int, int], signs: tuple[int, int, int]
) -> None:
    stored = random_hu((18, 20, 24), seed=5)
    spacing = np.array([3.0, 3.5, 4.5])
    direction = np.zeros((3, 3))
    for column, (row, sign) in enumerate(zip(axes, signs, strict=True)):
        direction[row, column] = sign
    affine = np.eye(4)
    affine[:3, :3] = direction * spacing
    affine[:3, 3] = [-70, 30, 11]
    volume = Volume.from_stored(stored, affine)
    for projection in PROJECTIONS:
        wanted, _ = published(stored, spacing, projection, SMALL, direction=direction)
        np.testing.assert_array_equal(path_sums(volume, projection, recipe=SMALL), wanted[::-1])


def test_patient_order_is_what_a_file_stored_so_would_give(phantom: Volume) -> None:
    # The same patient, stored left, anterior, superior.
    affine = phantom.affine.copy()
    affine[:3, 3] += affine[:3, 1] * (phantom.shape[1] - 1)
    affine[:3, 1] *= -1
    flipped = Volume.from_stored(phantom.hu[:, ::-1], affine)
    assert flipped.orientation == "LAS"
    by_patient = small(DrrRate(order="patient"))
    wanted = path_sums(phantom, recipe=small(DrrRate()))
    np.testing.assert_array_equal(path_sums(flipped, recipe=by_patient), wanted)
    assert (path_sums(flipped, recipe=small(DrrRate())) != wanted).any()


@pytest.mark.parametrize(
    "values",
    [
        [[0, 0], [0, 0]],
        [[7, 7], [7, 7]],
        [[-7, -7], [-7, -7]],
        [[-32768, 32767], [0, 1]],
        [[0, 1], [1, 0]],
        [[255, 0], [254, 1]],
    ],
)
def test_grey_levels_of_odd_pictures_are_those_of_itk(values: list[list[int]]) -> None:
    shorts = np.array(values, np.int16)
    image = itk().image_from_array(shorts[None])
    wanted = itk().array_from_image(itk_rescaled(image))[0]
    np.testing.assert_array_equal(rescale_to_8_bits(shorts), wanted)


def test_grey_levels_of_every_range_are_those_of_itk() -> None:
    for low in (-300, -1, 0, 3):
        for high in range(low + 1, low + 270):
            shorts = np.arange(low, high + 1, dtype=np.int16)
            image = itk().image_from_array(shorts[None, None])
            wanted = itk().array_from_image(itk_rescaled(image))[0, 0]
            np.testing.assert_array_equal(rescale_to_8_bits(shorts), wanted)


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_sums_are_those_of_itk_where_every_ray_enters_at_a_tie(projection: str) -> None:
    """Box and source at numbers that single precision holds: the last bits pick the voxel."""
    volume = Volume.from_stored(random_hu((32, 40, 48)), np.diag([4.5, 4.5, 6.0, 1.0]))
    for rotation in [(0.0, 0.0, 0.0), (0.0, 171.0, 0.0), (0.0, 0.0, 180.0), (0.0, -7.0, 0.0)]:
        for translation in [(0.0, 300.0, 0.0), (0.0, 0.0, 0.0), (8.0, 312.5, 4.25)]:
            pose = {"rotation": rotation, "translation": translation, "threshold": -1000.5}
            recipe = DrrRate.from_dict({**SMALL.to_dict(), **pose})
            wanted, _ = published(volume.hu, volume.spacing, projection, recipe)
            got = path_sums(volume, projection, recipe=recipe)
            np.testing.assert_array_equal(got, wanted[::-1], err_msg=str(pose))


def test_a_shift_of_half_a_millimetre_would_be_noticed(phantom: Volume) -> None:
    """The bar is no formality: a wrong isocentre, or the exact sum, is far below it."""
    wanted = path_sums(phantom, recipe=SMALL)
    options = SMALL.to_dict()
    for wrong in ({"translation": (0.5, 300.0, 0.0)}, {"strict": False}):
        got = path_sums(phantom, recipe=DrrRate.from_dict({**options, **wrong}))
        assert (got == wanted).mean() < 0.9


# --- geometry --------------------------------------------------------------------------------


def box(orientation_flips: tuple[int, int, int] = (1, 1, 1)) -> Volume:
    affine = np.diag([*(np.array([2.0, 2.5, 3.0]) * orientation_flips), 1.0])
    affine[:3, 3] = [12, -40, 500]
    return Volume.from_stored(np.zeros((40, 50, 60), np.int16), affine)


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_geometry_is_the_one_verified_against_the_published_pictures(projection: str) -> None:
    # Box centre at zero: source Rz^T (0, -1300, 0), plane centre Rz^T (0, -300, 0), columns
    # Rz^T (1, 0, 0), rows Rz^T (0, 0, -1), 0.51 mm.
    volume = box()
    geometry = drr_rate_geometry(volume, projection)
    turn = np.eye(3) if projection == "AP" else np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    center = volume.center
    np.testing.assert_allclose(geometry.source, center + turn @ [0, -1300, 0], atol=1e-9)
    # The published plane, and the same rays twice as far.
    np.testing.assert_allclose(geometry.detector_center, center + turn @ [0, 700, 0], atol=1e-9)
    np.testing.assert_allclose(geometry.u, turn @ [1.02, 0, 0], atol=1e-12)
    np.testing.assert_allclose(geometry.v, turn @ [0, 0, -1.02], atol=1e-12)
    assert geometry.shape == (512, 512)
    assert geometry.viewed_from == "tube"
    assert geometry.view_position == {"AP": "AP", "LATERAL": "RL"}[projection]
    np.testing.assert_allclose(0.51 * 1.3, 0.663)  # pixel at the patient's middle
    column = project_point(geometry, tuple(center + turn @ [6.63, 0, 0]))[1]
    np.testing.assert_allclose(column, 255.5 + 10)


@pytest.mark.parametrize(
    ("flips", "terms"),
    [
        ((1, 1, 1), ("AP", "RL")),
        ((1, -1, 1), ("PA", "RL")),
        # Stored towards the patient's right, LATERAL is a left lateral beam; it is not called so.
        ((-1, 1, 1), ("AP", "")),
        ((-1, -1, 1), ("PA", "")),
    ],
)
def test_view_position_is_the_beam_s_true_side_and_never_ll(
    flips: tuple[int, int, int], terms: tuple[str, str]
) -> None:
    volume = box(flips)
    found = tuple(drr_rate_geometry(volume, p).view_position for p in PROJECTIONS)
    assert found == terms


def test_view_position_is_empty_between_the_named_sides() -> None:
    for rotation in [(0.0, 0.0, 40.0), (30.0, 0.0, 0.0)]:
        assert drr_rate_geometry(box(), recipe=DrrRate(rotation=rotation)).view_position == ""


def test_lateral_is_a_right_lateral_hung_like_a_left_one(phantom: Volume) -> None:
    image = drr_rate(phantom, "LATERAL", recipe=SMALL)
    record = image.record
    assert record["patient_orientation"] == ["P", "F"]  # anterior on the image's left
    assert record["source_side"] == "L"
    assert record["viewed_from"] == "tube"
    assert image.geometry.view_position == "RL"


def test_geometry_ends_beyond_the_scan_whatever_its_depth() -> None:
    deep = Volume.from_stored(np.zeros((4, 400, 4), np.int16), np.diag([4.0, 5.0, 4.0, 1.0]))
    recipe = DrrRate(translation=(0.0, 1200.0, 0.0))
    geometry = drr_rate_geometry(deep, recipe=recipe)
    depth = (deep.corners - np.array(geometry.source)) @ geometry.central_ray
    assert depth.max() <= geometry.source_to_detector_distance < depth.max() + 1000
    assert geometry.column_pitch == pytest.approx(
        0.51 * geometry.source_to_detector_distance / 1000
    )


# --- clean mode ------------------------------------------------------------------------------


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_clean_sums_are_exact_chords_in_fractions_of_the_ray(projection: str) -> None:
    hu = np.full((40, 44, 48), -1000, np.int16)
    hu[10:30, 12:32, 14:34] = 400
    volume = Volume.from_stored(hu, np.diag([2.0, 2.0, 2.0, 1.0]))
    clean = DrrRate(shape=(33, 31), pitch=(1.5, 1.5), strict=False, truncate=False)
    sums = path_sums(volume, projection, recipe=clean)
    assert sums.dtype == np.float32
    # Through the middle of a 40 mm cube, 500 above the threshold, ray 1000 mm long.
    assert sums[16, 15] == pytest.approx(500 * 40 / 1000, rel=1e-4)
    whole = DrrRate(shape=(33, 31), pitch=(1.5, 1.5), strict=False)
    np.testing.assert_array_equal(
        path_sums(volume, projection, recipe=whole), np.trunc(sums).astype(np.int16)
    )


def test_clean_and_strict_see_the_same_patient_the_same_way(phantom: Volume) -> None:
    for projection in PROJECTIONS:
        for recipe in (POSES["both"], DrrRate(order="patient")):
            options = {**small(recipe).to_dict(), "truncate": False}
            strict = path_sums(phantom, projection, recipe=DrrRate.from_dict(options))
            clean = path_sums(
                phantom, projection, recipe=DrrRate.from_dict({**options, "strict": False})
            )
            # The quirk moves voxels of 3.4 mm by one or two along the ray.
            assert relative_rmse(strict, clean) < 0.06
            assert relative_rmse(strict[:, ::-1], clean) > 0.1
            assert relative_rmse(strict[::-1], clean) > 0.1


def test_clean_mode_follows_the_stored_order_of_mirrored_and_tilted_files() -> None:
    stored = random_hu((18, 20, 24), seed=5)
    wanted = None
    clean = DrrRate.from_dict({**SMALL.to_dict(), "strict": False, "truncate": False})
    plain = np.diag([3.0, 3.5, 4.5, 1.0])
    mirrored = plain @ np.diag([1.0, -1.0, 1.0, 1.0])
    turned = np.eye(4)
    turned[:3, :3] = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]]) @ plain[:3, :3]
    tilted = plain.copy()
    tilted[:3, 2] = 4.5 * np.array([0.0, math.sin(0.3), math.cos(0.3)])
    for affine in (plain, mirrored, turned, tilted):
        sums = path_sums(Volume.from_stored(stored, affine), "LATERAL", recipe=clean)
        wanted = sums if wanted is None else wanted
        np.testing.assert_allclose(sums, wanted, rtol=2e-4, atol=2e-3)


def test_threshold_as_an_attenuation() -> None:
    attenuation = DrrRate(threshold=-100.0).attenuation
    np.testing.assert_allclose(attenuation([-2000, -100, 0, 400]), [0, 0, 1e-3, 5e-3])
    assert isinstance(attenuation, Attenuation)


# --- what the recipe does to a picture -------------------------------------------------------


def test_lesions_below_the_threshold_vanish_altogether(phantom: Volume) -> None:
    plain = path_sums(phantom, recipe=SMALL)
    z, y, x = np.indices(phantom.shape)
    lung = np.argwhere(phantom.hu[30, :, :] < -700)
    middle = lung[len(lung) // 3]
    ball = (z - 30) ** 2 + (y - middle[0]) ** 2 + (x - middle[1]) ** 2 <= 36
    for hu in (-700, -500, -300, -150):
        sick = phantom.hu.copy()
        air = ball & (sick < -200)
        assert air.sum() > 300
        sick[air] = hu
        volume = Volume(hu=sick, affine=phantom.affine)
        np.testing.assert_array_equal(path_sums(volume, recipe=SMALL), plain)


def test_a_picture_has_few_grey_levels(phantom: Volume) -> None:
    image = drr_rate(phantom, recipe=SMALL)
    assert image.path_sums.dtype == np.int16
    levels = len(np.unique(image.picture))
    assert 20 < levels <= image.path_sums.max() + 1 < 130
    assert (image.picture.min(), image.picture.max()) == (0, 255)


# --- the whole, its record and its display ---------------------------------------------------


def test_image_can_be_made_again_from_its_record(phantom: Volume) -> None:
    first = drr_rate(phantom, "lateral", recipe=small(POSES["both"]))
    record = json.loads(json.dumps(first.record))
    again = drr_rate(
        phantom, record["projection"], recipe=DrrRate.from_dict(record["recipe"]), threads=1
    )
    np.testing.assert_array_equal(again.picture, first.picture)
    assert again.record == record
    assert Geometry.from_dict(again.geometry.to_dict()) == first.geometry
    assert record["input"]["sha256"] == phantom.sha256


def test_display_shows_the_published_picture(phantom: Volume) -> None:
    for recipe in (SMALL, DrrRate.from_dict({**SMALL.to_dict(), "strict": False})):
        image = drr_rate(phantom, recipe=recipe)
        # Pixels pass through float32 on their way to a file.
        for values in (image.path_sums, image.path_sums.astype(np.float32)):
            grey = MinMax().apply(values)
            assert grey.dtype == np.float32
            np.testing.assert_array_equal(np.rint(grey.astype(float) * 255), image.picture)
        inverted = MinMax(invert=True).apply(image.path_sums)
        np.testing.assert_allclose(inverted, 1 - MinMax().apply(image.path_sums), atol=1e-7)


def test_display_of_other_depths() -> None:
    values = np.array([[1.0, 2.0], [3.0, 5.0]], np.float32)
    np.testing.assert_allclose(MinMax(bits=None).apply(values), [[0, 0.25], [0.5, 1]])
    np.testing.assert_allclose(MinMax(bits=1).apply(values), [[0, 0], [0, 1]])
    fine = MinMax(bits=16).apply(values) * 65535
    np.testing.assert_allclose(fine, [[0, 16383], [32767, 65535]])
    assert not MinMax(bits=None).apply(np.full((2, 2), 4.0)).any()


def test_recipe_and_display_round_trip() -> None:
    for recipe in POSES.values():
        assert eval(repr(recipe)) == recipe
        assert DrrRate.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    for display in (MinMax(), MinMax(bits=None, invert=True)):
        assert eval(repr(display)) == display
        assert MinMax.from_dict(json.loads(json.dumps(display.to_dict()))) == display


def test_volume_is_neither_cleaned_nor_changed(phantom: Volume) -> None:
    before = phantom.sha256
    drr_rate(phantom, recipe=SMALL)
    assert Volume(hu=phantom.hu, affine=phantom.affine).sha256 == before
    # Padding and metal count as they are: nothing is clamped.
    bright = phantom.hu.copy()
    bright[30, 40:60, 50:60] = 32767
    metal = path_sums(Volume(hu=bright, affine=phantom.affine), recipe=SMALL)
    assert metal.max() > 500


# --- bad input -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["PA", "LL", "lat", "LATRAL", "", None, 3])
def test_other_projections_are_refused(phantom: Volume, name: Any) -> None:
    with pytest.raises(ProjectionError, match="it has AP and LATERAL"):
        drr_rate(phantom, name)


def test_a_slip_of_the_pen_is_told_the_nearest(phantom: Volume) -> None:
    with pytest.raises(ProjectionError, match="did you mean 'LATERAL'"):
        path_sums(phantom, "LATRAL")
    with pytest.raises(ProjectionError, match="'treshold', did you mean 'threshold'"):
        DrrRate.from_dict({"treshold": 3})
    with pytest.raises(DisplayError, match="'inverted', did you mean 'invert'"):
        MinMax.from_dict({"inverted": True})


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("threshold", "low", "threshold must be a finite number, got 'low'"),
        ("threshold", math.nan, "threshold must be a finite number"),
        ("threshold", 40000, "below 32767 HU"),
        ("rotation", (1, 2), "rotation must be 3 finite numbers"),
        ("rotation", (0, 0, 400), r"within \+-360 degrees"),
        ("rotation", 5, "rotation must be 3 finite numbers"),
        ("translation", (0, math.inf, 0), "translation must be 3 finite numbers"),
        ("translation", "abc", "translation must be 3 finite numbers"),
        ("source_to_isocenter_distance", 0, "1 mm or more"),
        ("source_to_isocenter_distance", True, "finite number, got True"),
        ("pitch", (0.51, 0), "pitch above zero"),
        ("shape", (512, 0), "whole numbers above zero"),
        ("shape", (51.2, 512), "whole numbers above zero"),
        ("shape", "512", "whole numbers above zero"),
        ("shape", (511, 512), "must be even in strict mode"),
        ("order", "lps", "order must be 'stored' or 'patient'"),
        ("strict", 1, "strict must be True or False"),
        ("truncate", None, "truncate must be True or False"),
    ],
)
def test_bad_options_say_which(option: str, value: Any, says: str) -> None:
    with pytest.raises(DRRError, match=says):
        DrrRate(**{option: value})


@pytest.mark.parametrize("bits", [0, 17, 8.0, True, "8"])
def test_bad_depths_are_refused(bits: Any) -> None:
    with pytest.raises(DisplayError, match="from 1 to 16 or None"):
        MinMax(bits=bits)
    with pytest.raises(DisplayError, match="invert must be"):
        MinMax(invert=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("values", [np.empty((0, 4)), np.array([[1, np.nan]]), np.array(["a"])])
def test_values_that_make_no_picture_are_refused(values: NDArray) -> None:
    with pytest.raises(DisplayError, match="finite numbers"):
        rescale_to_8_bits(values)
    with pytest.raises(DisplayError, match="finite numbers"):
        MinMax().apply(values)


def test_blank_images_are_refused() -> None:
    air = Volume.from_stored(np.full((8, 8, 8), -1000, np.int16), np.diag([4.0, 4.0, 4.0, 1.0]))
    with pytest.raises(ProjectionError, match="is blank"):
        drr_rate(air, recipe=SMALL)
    assert not path_sums(air, recipe=SMALL).any()


@pytest.mark.parametrize("strict", [True, False])
def test_a_scan_around_the_source_is_refused(strict: bool) -> None:
    huge = Volume.from_stored(np.zeros((8, 8, 8), np.int16), np.diag([4.0, 500.0, 4.0, 1.0]))
    recipe = DrrRate(shape=(8, 8), strict=strict)
    for make in (drr_rate, path_sums, drr_rate_geometry):
        with pytest.raises(GeometryError, match="the source lies inside the scan"):
            make(huge, recipe=recipe)


def test_voxels_too_small_for_single_precision() -> None:
    tiny = Volume.from_stored(random_hu((8, 8, 8)), np.diag([1e-3, 1e-3, 1e-3, 1.0]))
    with pytest.raises(VolumeError, match="strict=False"):
        path_sums(tiny, recipe=DrrRate(shape=(8, 8)))
    sums = path_sums(tiny, recipe=DrrRate(shape=(8, 8), pitch=(1e-3, 1e-3), strict=False))
    assert sums.shape == (8, 8)


def test_what_is_no_volume_recipe_or_thread_count(phantom: Volume) -> None:
    with pytest.raises(ProjectionError, match="needs a Volume"):
        drr_rate(phantom.hu)  # type: ignore[arg-type]
    with pytest.raises(ProjectionError, match="recipe must be a DrrRate"):
        drr_rate(phantom, recipe={"strict": True})  # type: ignore[arg-type]
    with pytest.raises(ProjectionError, match="threads must be"):
        drr_rate(phantom, recipe=SMALL, threads=0)
    with pytest.raises(GeometryError, match="within"):
        path_sums(phantom, recipe=DrrRate(shape=(8, 8), translation=(1e12, 300.0, 0.0)))


def test_one_voxel_is_a_volume() -> None:
    voxel = Volume.from_stored(np.full((1, 1, 1), 900, np.int16), np.diag([40.0, 40.0, 40.0, 1.0]))
    clean = DrrRate(shape=(8, 8), pitch=(8.0, 8.0), strict=False, truncate=False)
    sums = drr_rate(voxel, recipe=clean).path_sums
    assert sums.max() == pytest.approx(1000 * 40 / 1000, rel=1e-3)
