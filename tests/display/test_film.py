"""The film look: exposed for the anatomy, steady while the view turns, repeated by its record."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import drr
from drr.datasets.phantom.thorax import thorax
from drr.display.film import FILM_PARAMETERS, Film, film_for
from drr.errors import DisplayError
from drr.geometry.geometry import Geometry
from drr.geometry.views import View, parse_view
from drr.kernels.cpu.projection.project import project
from drr.patient.anatomy import Anatomy, find_anatomy
from drr.patient.cleaning import clean
from drr.patient.collimation import fit_to_lungs
from drr.physics.attenuation import water
from drr.thickness import thickness
from drr.volume import Volume

FILM = Film(black=-2.5, white=7.0, gains=(3.0, 2.5, 1.5, 1.2), pixel_pitch=0.75)
WIDE = np.linspace(0, 9, 50)


@dataclass(frozen=True)
class Chest:
    volume: Volume
    anatomy: Anatomy


@dataclass(frozen=True)
class Image:
    line_integrals: np.ndarray
    geometry: Geometry


@pytest.fixture(scope="module")
def chest() -> Chest:
    volume = thorax(96, noise=0.0)
    anatomy = find_anatomy(volume)
    return Chest(clean(volume, anatomy), anatomy)


def image(chest: Chest, view: str | View, size: int = 128) -> Image:
    fitted = fit_to_lungs(parse_view(view, shape=(size, size)), chest.anatomy)
    geometry = fitted.place(chest.anatomy)
    volume = chest.volume
    return Image(project(volume.hu, water().mapping, geometry.rays(volume.affine)), geometry)


def film_of(chest: Chest, view: str, size: int = 128, **options: Any) -> Film:
    projection = image(chest, view, size)
    return film_for(projection.line_integrals, projection.geometry, chest.anatomy, **options)


def lungs_shadow(chest: Chest, geometry: Geometry) -> np.ndarray:
    """mm of lung along each ray."""
    a = chest.anatomy
    assert a.lungs is not None
    mask = Volume(hu=a.lungs.astype(np.int16), affine=a.affine)
    return thickness(mask, geometry)[0][0]


# The mapping


def test_greys_rise_with_line_integrals_from_toe_to_shoulder() -> None:
    greys = np.array([FILM.grey(level) for level in WIDE])
    assert (np.diff(greys) >= 0).all()
    assert FILM.grey(FILM.black) == pytest.approx(0, abs=1e-6)
    assert FILM.grey(FILM.white) == pytest.approx(FILM.brightest, abs=1e-6)
    assert FILM.grey(1e6) == pytest.approx(FILM.brightest)
    assert FILM.grey(-1e6) == 0
    steps = np.diff([FILM.grey(x) for x in np.linspace(FILM.black, FILM.white, 30)])
    assert steps[14] > 5 * max(steps[0], steps[-1])


def test_the_curve_is_the_sigmoid_it_is_said_to_be() -> None:
    x = (WIDE - FILM.black) / (FILM.white - FILM.black)

    def s(value: Any) -> Any:
        return 1 / (1 + np.exp(-FILM.slope * (value - FILM.middle)))

    expected = np.clip(FILM.brightest * (s(x) - s(0.0)) / (s(1.0) - s(0.0)), 0, FILM.brightest)
    np.testing.assert_allclose([FILM.grey(v) for v in WIDE], expected, atol=1e-5)
    for grey in (0.05, 0.42, 0.87):
        level = FILM.black + FILM._position(grey) * (FILM.white - FILM.black)
        assert FILM.grey(level) == pytest.approx(grey, abs=1e-5)


def test_wide_even_areas_get_the_curve_and_faint_detail_more_contrast() -> None:
    across = np.indices((256, 256))[1]
    even = np.full((256, 256), 3.0)
    np.testing.assert_allclose(FILM.apply(even), FILM.grey(3.0), atol=1e-5)
    ribs = even + 0.02 * np.sin(across / 2)
    plain = Film(black=-2.5, white=7.0)
    assert FILM.apply(ribs).std() > 2 * plain.apply(ribs).std()


def test_the_picture_is_float32_from_0_to_1_and_the_input_stays() -> None:
    values = np.random.default_rng(0).uniform(0, 12, (60, 70)).astype(np.float32)
    before = values.copy()
    grey = FILM.apply(values)
    assert grey.dtype == np.float32
    assert grey.shape == values.shape
    assert grey.min() >= 0
    assert grey.max() <= np.float32(FILM.brightest)
    np.testing.assert_array_equal(values, before)


def test_invert_exchanges_black_and_white() -> None:
    values = np.random.default_rng(0).uniform(0, 12, (60, 70))
    negative = Film.from_dict({**FILM.to_dict(), "invert": True})
    np.testing.assert_allclose(negative.apply(values), 1 - FILM.apply(values), atol=1e-6)


def test_threads_and_memory_order_do_not_change_a_bit() -> None:
    values = np.random.default_rng(0).uniform(0, 8, (300, 310)).astype(np.float32)
    once = FILM.apply(values, threads=1)
    np.testing.assert_array_equal(once, FILM.apply(values, threads=5))
    np.testing.assert_array_equal(once, FILM.apply(np.asfortranarray(values)))
    np.testing.assert_array_equal(once, FILM.apply(values.astype(np.float64)))


def test_record_and_repr_repeat_the_film() -> None:
    again = Film.from_dict(json.loads(json.dumps(FILM.to_dict())))
    assert again == FILM
    assert eval(repr(FILM)) == FILM


def test_unknown_and_missing_keys_are_refused_by_name() -> None:
    with pytest.raises(DisplayError, match="'gain', did you mean 'gains'"):
        Film.from_dict({"black": 0, "white": 1, "gain": [2]})
    with pytest.raises(DisplayError, match="lacks 'white'"):
        Film.from_dict({"black": 0})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"white": 0.0}, "white must be above black"),
        ({"white": -1.0}, "white must be above black"),
        ({"black": float("nan")}, "black of a film must be finite"),
        ({"white": float("inf")}, "white of a film must be finite"),
        ({"white": "bright"}, "must be a number"),
        ({"black": None}, "must be a number"),
        ({"slope": 0.0}, "slope must be above zero"),
        ({"slope": 1e4}, "at most 50"),
        ({"middle": 1.5}, "middle must be"),
        ({"brightest": 0.0}, "brightest must be"),
        ({"brightest": 1.1}, "brightest must be"),
        ({"knee": 0.0}, "knee must be above zero"),
        ({"pixel_pitch": -1.0}, "pixel_pitch must be above zero"),
        ({"gains": (9.0,)}, "reverse shades"),
        ({"gains": (-0.1,)}, "from 0"),
        ({"gains": (1.0,) * 17}, "up to 16"),
        ({"gains": "22"}, "list of numbers"),
        ({"gains": 2.0}, "list of numbers"),
        ({"gains": (1.0, None)}, "must be a number"),
        ({"invert": 1}, "invert must be"),
    ],
)
def test_films_that_make_no_picture_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(DisplayError, match=message):
        Film(**{"black": 0.0, "white": 5.0, **changed})


@pytest.mark.parametrize(
    "values",
    [np.zeros(5), np.zeros((2, 3, 4)), np.zeros((0, 4)), np.zeros((4, 4), complex)],
)
def test_what_is_no_image_is_refused(values: np.ndarray) -> None:
    with pytest.raises(DisplayError, match="one image of line integrals"):
        FILM.apply(values)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_image_with_holes_is_refused(bad: float) -> None:
    values = np.ones((32, 32))
    values[3, 4] = bad
    with pytest.raises(DisplayError, match="1 of 1024 line integrals"):
        FILM.apply(values)


# The exposure


@pytest.mark.parametrize("view", ["pa", "ap-portable", "ll", "lao45"])
def test_lungs_are_grey_the_abdomen_light_and_air_dark(chest: Chest, view: str) -> None:
    projection = image(chest, view)
    film = film_for(projection.line_integrals, projection.geometry, chest.anatomy)
    grey = film.apply(projection.line_integrals)
    air = projection.line_integrals == 0
    assert grey[air].max() < 0.15
    assert FILM_PARAMETERS["dense_grey"] - 0.06 < np.median(grey[-12:-4, 52:76]) < 0.94
    lung = lungs_shadow(chest, projection.geometry) > 120
    assert 0.3 < np.median(grey[lung]) < 0.55
    assert grey.max() <= np.float32(film.brightest)


def test_levels_are_of_the_anatomy_whatever_the_pixels(chest: Chest) -> None:
    coarse, fine = film_of(chest, "pa", 96), film_of(chest, "pa", 250)
    assert coarse.black == pytest.approx(fine.black, abs=0.15)
    assert coarse.white == pytest.approx(fine.white, abs=0.15)
    # Each pitch has the gains of the same sizes in mm.
    assert coarse.pixel_pitch == pytest.approx(fine.pixel_pitch * 250 / 96, rel=1e-3)
    assert len(coarse.gains) < len(fine.gains)


def test_metal_and_empty_borders_hardly_move_the_levels(chest: Chest) -> None:
    projection = image(chest, "pa")
    values = projection.line_integrals
    film = film_for(values, projection.geometry, chest.anatomy)
    marked = values.copy()
    marked[20:26, 80:90] = 40.0
    with_metal = film_for(marked, projection.geometry, chest.anatomy)
    assert with_metal.white == pytest.approx(film.white, abs=0.1)
    assert with_metal.black == pytest.approx(film.black, abs=0.1)


def test_options_are_fields_of_the_film(chest: Chest) -> None:
    film = film_of(chest, "pa", gains=(), invert=True, brightest=1.0)
    assert film.gains == ()
    assert film.invert
    assert film.brightest == 1.0
    fixed = film_of(chest, "pa", black=-1.0, white=6.0)
    assert (fixed.black, fixed.white) == (-1.0, 6.0)
    with pytest.raises(DisplayError, match="'sloppe', did you mean 'slope'"):
        film_of(chest, "pa", sloppe=3)


def test_an_image_of_another_geometry_is_refused(chest: Chest) -> None:
    projection = image(chest, "pa")
    with pytest.raises(DisplayError, match="not of this geometry"):
        film_for(projection.line_integrals[1:], projection.geometry, chest.anatomy)
    bad = projection.line_integrals.copy()
    bad[5, 5] = np.nan
    with pytest.raises(DisplayError, match="NaN or infinite"):
        film_for(bad, projection.geometry, chest.anatomy)


def test_without_lungs_there_is_a_film_too(chest: Chest) -> None:
    projection = image(chest, "pa")
    a = chest.anatomy
    blind = Anatomy(a.body, a.affine, a.factors)
    film = film_for(projection.line_integrals, projection.geometry, blind)
    assert film.apply(projection.line_integrals).std() > 0.15


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (40, 33)])
@pytest.mark.parametrize("value", [0.0, 0.1, 5.0])
def test_even_images_of_any_shape_have_a_film(
    chest: Chest, shape: tuple[int, int], value: float
) -> None:
    geometry = parse_view("pa", shape=shape).place(chest.anatomy)
    values = np.full(shape, value, np.float32)
    assert np.isfinite(film_for(values, geometry, chest.anatomy).apply(values)).all()


def test_blocks_that_do_not_divide_the_image_stay_in_place(chest: Chest) -> None:
    # 191 is three times 63 and two rows and columns over.
    assert film_of(chest, "pa", 191).black == pytest.approx(
        film_of(chest, "pa", 192).black, abs=0.1
    )


def levels(chest: Chest, step: int) -> np.ndarray:
    films = [film_of(chest, f"{angle},0", 96) for angle in range(-90, 91, step)]
    return np.array([[film.black, film.white] for film in films])


def changes(turning: np.ndarray) -> tuple[float, float]:
    """How much the grey of any line integral changes from view to view, and how unevenly."""
    films = [Film(black=black, white=white) for black, white in turning]
    greys = np.array([[film.grey(level) for level in np.linspace(0, 8, 17)] for film in films])
    return float(np.abs(np.diff(greys, axis=0)).max()), float(
        np.abs(np.diff(greys, 2, axis=0)).max()
    )


def test_a_turning_series_does_not_flicker(chest: Chest) -> None:
    turning = levels(chest, 5)
    step, unevenness = changes(turning)
    # From frontal to lateral the patient is twice as thick, so the exposure must follow, evenly.
    assert step < 0.1
    assert unevenness < 0.05
    assert np.ptp(turning[:, 1]) > 0.5


@pytest.mark.parametrize(
    "scan", ["ct/lidc_idri_0001/cxr.nii.gz", "ct/lung_dx_a0001/a0001_5mm_kernelB_dicom.zip"]
)
def test_real_chests_turn_without_flicker(test_data, scan: str) -> None:  # type: ignore[no-untyped-def]
    volume = drr.read(test_data / scan)
    # Every fourth voxel: levels are of what is large.
    thin = Volume(
        hu=np.ascontiguousarray(volume.hu[:, 1::4, 1::4]),
        affine=volume.affine @ np.diag([4.0, 4.0, 1.0, 1.0]),
    )
    step, unevenness = changes(levels(Chest(thin, find_anatomy(volume)), 5))
    assert step < 0.1
    assert unevenness < 0.05


def test_parallel_beams_have_films(chest: Chest) -> None:
    parallel = image(chest, parse_view("pa", source_to_detector_distance=float("inf")), 96)
    film = film_for(parallel.line_integrals, parallel.geometry, chest.anatomy)
    assert 0.3 < np.median(film.apply(parallel.line_integrals)[30:50, 20:35]) < 0.6
