"""The numbers of one sample, and what they do to attenuation, views and pictures."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from drr.errors import GeometryError, PolicyError
from drr.geometry.views import View, parse_view
from drr.physics.attenuation import Attenuation, water
from drr.randomise import picture_effects
from drr.randomise.policy import policy
from drr.randomise.presets import PRESETS
from drr.randomise.quantities import LIMITS
from drr.randomise.variation import Draw

BONE = Attenuation(hu=(-1000, 0, 300, 2000), mu=(0, 0.02, 0.03, 0.07), name="bone")


def picture_of(shape: tuple[int, int] = (96, 80)) -> NDArray[np.float32]:
    noise = np.random.default_rng(3).random(shape, np.float32)
    smooth = picture_effects.blur(noise, 3)
    return np.asarray(np.clip((smooth - 0.5) * 6 + 0.5, 0.02, 0.9), np.float32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma": 0.0}, "gamma of 0 is impossible; it must be within 0.05 and 20"),
        ({"gamma": math.nan}, "gamma must be a finite number, got nan"),
        ({"gamma": "1"}, "gamma must be a finite number, got '1'"),
        ({"bone": -1}, "bone of -1 is impossible"),
        ({"kvp": 40}, "kvp of 40 is impossible; it must be within 60 and 150"),
        ({"invert": 1}, "invert is true or false, got 1"),
        ({"marker_corner": "top"}, "no corner 'top'; there are top left"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"noise_seed": 0.5}, "noise_seed must be a whole number"),
    ],
)
def test_impossible_numbers_name_their_key(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        Draw(**options)
    with pytest.raises(PolicyError, match=message):
        Draw.from_dict(options)


def test_unknown_keys_are_refused_by_name() -> None:
    with pytest.raises(PolicyError, match="no drawn quantity 'gama', did you mean 'gamma'"):
        Draw.from_dict({"gama": 1})
    with pytest.raises(PolicyError, match="a Draw is read from a dictionary, got 3"):
        Draw.from_dict(3)  # type: ignore[arg-type]


def test_record_and_repr_are_short_and_complete() -> None:
    draw = Draw(seed=2, index=5, policy="mine", noise_seed=9, gamma=0.9, invert=True)
    assert draw.to_dict() == {
        "seed": 2,
        "index": 5,
        "policy": "mine",
        "noise_seed": 9,
        "gamma": 0.9,
        "invert": True,
    }
    assert repr(draw) == (
        "Draw(seed=2, index=5, policy='mine', noise_seed=9, gamma=0.9, invert=True)"
    )
    assert Draw().to_dict() == {"seed": 0, "index": 0, "policy": "", "noise_seed": 0}
    assert Draw(invert=np.bool_(True)).invert is True
    assert type(Draw(gamma=np.float32(0.5)).gamma) is float


def test_tissue_factors_multiply_the_attenuation_of_their_tissue() -> None:
    draw = Draw(lung=1.5, fat=0.8, soft_tissue=1.1, bone=2.0)
    for attenuation in (water(), BONE):
        varied = draw.attenuation(attenuation)
        for hu, factor in [
            (-900, 1.5),
            (-500, 1.5),
            (-100, 0.8),
            (20, 1.1),
            (120, 1.1),
            (300, 2.0),
            (1000, 2.0),
            (3000, 2.0),
        ]:
            assert varied(hu) == pytest.approx(factor * attenuation(hu), rel=1e-6)
        assert varied(-1000) == varied(-1024) == 0
        between = varied(np.arange(-1024, 4000)) / np.maximum(
            attenuation(np.arange(-1024, 4000)), 1e-9
        )
        assert between[30:].min() > 0.75
        assert between.max() < 2.01
        # The kernels' fast form: few hinges, no look-up.
        assert 0 < len(varied.mapping.thresholds) < 9
        assert varied.name == f"{attenuation.name}-varied"
        assert draw.attenuation(varied).name == varied.name


def test_one_tissue_alone_leaves_the_far_ones() -> None:
    varied = Draw(bone=0.5).attenuation(water())
    hu = np.array([-950, -700, -100, 0, 60, 120])
    np.testing.assert_allclose(varied(hu), water()(hu), rtol=1e-6)
    assert varied(800) == pytest.approx(0.5 * water()(800), rel=1e-6)


def test_no_tissue_factor_returns_the_attenuation_itself() -> None:
    attenuation = water()
    assert Draw().attenuation(attenuation) is attenuation
    assert Draw(bone=1.0, gamma=2.0).attenuation(attenuation) is attenuation


def test_extreme_factors_still_make_an_attenuation() -> None:
    step = Attenuation(hu=(-100, -99, 0, 400), mu=(0, 0.01, 0.02, 0.02))
    for attenuation in (water(), BONE, step):
        for factor in (0.0, 0.1, 4.0, 20.0):
            for key in ("lung", "fat", "soft_tissue", "bone"):
                varied = Draw(**{key: factor}).attenuation(attenuation)
                assert varied(np.arange(-2000, 32000)).min() >= 0
                assert varied.mapping.table.shape == (65536,)


def test_view_is_turned_and_renamed() -> None:
    draw = Draw(primary_angle=3.5, secondary_angle=-2, detector_rotation=1.5)
    view = draw.view(parse_view("pa"))
    assert (view.primary_angle, view.secondary_angle, view.detector_rotation) == (3.5, -2, 1.5)
    assert view.name == "pa-varied"
    assert draw.view(view).name == "pa-varied"
    lateral = draw.view(parse_view("ll"))
    assert (lateral.primary_angle, lateral.name) == (93.5, "ll-varied")
    ap = draw.view(parse_view("ap"))
    assert (ap.primary_angle, ap.viewed_from) == (183.5, "tube")
    assert draw.view(View(primary_angle=359)).primary_angle == pytest.approx(2.5)
    assert draw.view(View()).name == ""
    # A detector turned in its plane is still a PA.
    assert Draw(detector_rotation=2).view(parse_view("pa")).view_position == "PA"
    assert eval(repr(view), {"View": View}) == view


def test_view_is_moved_and_resized() -> None:
    base = parse_view("pa", offset=(5, 6), detector_size=(350, 430))
    view = Draw(offset_across=10, offset_down=-2, field_size=1.1).view(base)
    assert view.offset == (15, 4)
    assert view.detector_size == pytest.approx((385, 473))
    assert view.shape == base.shape
    assert view.name == "pa"
    assert Draw(offset_down=3).view(base).offset == (5, 9)
    assert Draw().view(base) == base


def test_distances_replace_or_scale_the_views() -> None:
    pa = parse_view("pa")
    assert Draw(source_to_detector_distance=1200).view(pa).source_to_detector_distance == 1200
    assert Draw(source_to_detector_factor=0.9).view(pa).source_to_detector_distance == 1620
    both = Draw(source_to_detector_distance=1000, source_to_detector_factor=1.1)
    assert both.view(pa).source_to_detector_distance == pytest.approx(1100)
    # The tube moves: the isocentre keeps its distance from the detector.
    isocentric = replace(pa, source_to_isocenter_distance=1500.0)
    moved = Draw(source_to_detector_factor=0.9).view(isocentric)
    assert moved.source_to_isocenter_distance == 1320
    assert Draw().view(isocentric) == isocentric
    given = Draw(source_to_detector_distance=1200, source_to_isocenter_distance=700).view(pa)
    assert given.source_to_isocenter_distance == 700
    parallel = View(source_to_detector_distance=math.inf)
    far = Draw(source_to_detector_factor=0.9, source_to_isocenter_distance=700)
    assert far.view(parallel) == parallel


def test_distances_that_cannot_be_are_the_views_error() -> None:
    draw = Draw(source_to_detector_distance=900, source_to_isocenter_distance=1000)
    with pytest.raises(GeometryError, match="the detector is not beyond the isocentre"):
        draw.view(parse_view("pa"))


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("base", ["pa", "ap-portable", "ll", "lao30"])
def test_every_preset_makes_views(name: str, base: str) -> None:
    preset = policy(name)
    for index in range(30):
        preset.draw(1, index).view(parse_view(base))


def test_overrides_hold_what_is_drawn() -> None:
    assert Draw().beam_overrides == {}
    assert Draw().detector_overrides == {}
    draw = Draw(energy_kev=60, kvp=110, receptor_air_kerma=2.5)
    assert draw.beam_overrides == {"energy_kev": 60, "kvp": 110}
    assert draw.detector_overrides == {"air_kerma": None, "receptor_air_kerma": 2.5}


def test_a_detector_takes_what_is_drawn() -> None:
    from drr.physics.detector import Detector

    for exposed in (Detector(), Detector(air_kerma=8.0), Detector(receptor_air_kerma=8.0)):
        drawn = replace(exposed, **Draw(receptor_air_kerma=2.5).detector_overrides)
        assert drawn == Detector(receptor_air_kerma=2.5)
        assert replace(exposed, **Draw().detector_overrides) == exposed


def test_nothing_drawn_leaves_the_picture() -> None:
    grey = picture_of()
    result = Draw().picture(grey)
    np.testing.assert_array_equal(result, grey)
    assert not np.shares_memory(result, grey)


@pytest.mark.parametrize(
    ("options", "effect"),
    [
        ({"clip": 1.0}, lambda p: picture_effects.clip_percentiles(p, 1.0)),
        ({"flip": True}, picture_effects.flip),
        ({"rotation": 5.0}, lambda p: picture_effects.affine(p, rotation=5.0)),
        ({"scale": 1.2}, lambda p: picture_effects.affine(p, scale=1.2)),
        ({"shear_across": 4.0}, lambda p: picture_effects.affine(p, shear=(4.0, 0.0))),
        ({"shear_down": 4.0}, lambda p: picture_effects.affine(p, shear=(0.0, 4.0))),
        ({"shift_across": 0.1}, lambda p: picture_effects.affine(p, shift=(8.0, 0.0))),
        ({"shift_down": 0.125}, lambda p: picture_effects.affine(p, shift=(0.0, 12.0))),
        # Pictures here are 96 pixels long: 1 of 512 is 0.1875 pixels.
        ({"blur": 8.0}, lambda p: picture_effects.blur(p, 1.5)),
        (
            {"sharpness": 3.0},
            lambda p: picture_effects.sharpen(p, 3.0, sigma=math.sqrt(6 / 13) * 96 / 256),
        ),
        ({"clahe": 2.0}, lambda p: picture_effects.clahe(p, 2.0)),
        ({"gamma": 0.7}, lambda p: picture_effects.gamma(p, 0.7)),
        ({"gain": 1.3}, lambda p: picture_effects.gain(p, 1.3)),
        ({"contrast": 0.5}, lambda p: picture_effects.contrast(p, 0.5)),
        ({"brightness": 0.1}, lambda p: picture_effects.brightness(p, 0.1)),
        ({"noise": 0.1, "noise_seed": 4}, lambda p: picture_effects.noise(p, 0.1, seed=4)),
        ({"border_top": 0.1}, lambda p: picture_effects.border(p, top=10)),
        ({"border_bottom": 0.1}, lambda p: picture_effects.border(p, bottom=10)),
        ({"border_left": 0.1}, lambda p: picture_effects.border(p, left=8)),
        (
            {"border_right": 0.1, "border_white": True},
            lambda p: picture_effects.border(p, right=8, grey=1.0),
        ),
        (
            {"marker_height": 0.125, "marker_across": 0.1, "marker_down": 0.25},
            lambda p: picture_effects.marker(p, "R", row=24, column=8, height=12),
        ),
        ({"invert": True}, picture_effects.invert),
    ],
)
def test_each_number_does_its_effect(options: dict[str, Any], effect: Any) -> None:
    grey = picture_of()
    result = Draw(**options).picture(grey)
    np.testing.assert_allclose(result, effect(grey), atol=1e-6)
    assert not np.array_equal(result, grey)


def test_every_quantity_has_its_effect_tested() -> None:
    tested = set()
    for mark in test_each_number_does_its_effect.pytestmark:  # type: ignore[attr-defined]
        for options, _ in mark.args[1]:
            tested |= set(options)
    before = {
        "lung",
        "fat",
        "soft_tissue",
        "bone",
        "energy_kev",
        "kvp",
        "receptor_air_kerma",
        "field_size",
    }
    before |= {"primary_angle", "secondary_angle", "detector_rotation"}
    before |= {"offset_across", "offset_down", "source_to_detector_distance"}
    before |= {"source_to_detector_factor", "source_to_isocenter_distance"}
    assert set(LIMITS) - before - tested == {"marker_grey"}


@pytest.mark.parametrize(
    ("corner", "row", "column", "letter"),
    [
        ("top left", 12, 20, "R"),
        ("top right", 12, 167, "L"),
        ("bottom left", 168, 20, "R"),
        ("bottom right", 168, 167, "L"),
    ],
)
@pytest.mark.parametrize(("sides", "flip"), [("RL", False), ("LR", True)])
def test_markers_name_the_patients_side(
    corner: str, row: float, column: float, letter: str, sides: str, flip: bool
) -> None:
    blank = np.zeros((200, 200), np.float32)
    draw = Draw(
        marker_height=0.1,
        marker_corner=corner,
        marker_across=0.1,
        marker_down=0.06,
        marker_grey=0.8,
        flip=flip,
    )
    # 0.62 x 20 pixels wide, 20 and 12 from the edges.
    column = column if "left" in corner else 200 - 20 - 0.62 * 20
    expected = picture_effects.marker(blank, letter, row=row, column=column, height=20, grey=0.8)
    np.testing.assert_allclose(draw.picture(blank, sides=sides), expected, atol=1e-6)


def test_a_marker_beyond_the_middle_shows_the_other_side() -> None:
    blank = np.zeros((200, 200), np.float32)
    draw = Draw(marker_height=0.1, marker_corner="top left", marker_across=0.8, marker_down=0.1)
    expected = picture_effects.marker(blank, "L", row=20, column=160, height=20)
    np.testing.assert_allclose(draw.picture(blank), expected, atol=1e-6)
    lateral = picture_effects.marker(blank, "R", row=20, column=160, height=20)
    np.testing.assert_allclose(draw.picture(blank, sides="RR"), lateral, atol=1e-6)


def test_a_marker_on_a_tiny_picture_stays_legal() -> None:
    assert Draw(marker_height=0.02).picture(picture_of((10, 12))).shape == (10, 12)


def test_a_lead_marker_is_inverted_with_the_picture() -> None:
    grey = np.full((100, 100), 0.5, np.float32)
    draw = Draw(marker_height=0.2, marker_grey=1.0, invert=True)
    assert draw.picture(grey).min() == 0


@pytest.mark.parametrize("sides", ["", "R", "RX", "rl", "RLR"])
def test_sides_are_two_letters(sides: str) -> None:
    with pytest.raises(PolicyError, match="sides is two letters of R and L such as 'RL'"):
        Draw().picture(picture_of(), sides=sides)


@pytest.mark.parametrize("value", [-0.1, 1.5, np.nan, np.inf])
def test_grey_levels_are_within_0_and_1(value: float) -> None:
    grey = picture_of()
    grey[3, 4] = value
    with pytest.raises(PolicyError, match="grey levels are within 0 and 1, got"):
        Draw().picture(grey)
    with pytest.raises(PolicyError, match="a picture is a"):
        Draw().picture(grey.astype(np.float64))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", PRESETS)
def test_a_sample_is_made_again_from_its_record_bit_for_bit(name: str, tmp_path: Path) -> None:
    grey = picture_of()
    np.save(tmp_path / "grey.npy", grey)
    draws = [policy(name).draw(12, index) for index in range(12)]
    first = [hashlib.sha256(draw.picture(grey).tobytes()).hexdigest() for draw in draws]
    (tmp_path / "records.json").write_text(json.dumps([draw.to_dict() for draw in draws]))
    script = (
        "import hashlib, json, sys; import numpy as np; from drr.randomise.variation import Draw;"
        "grey = np.load('grey.npy');"
        "records = json.load(open('records.json'));"
        "pictures = [Draw.from_dict(record).picture(grey) for record in reversed(records)];"
        "print(json.dumps([hashlib.sha256(p.tobytes()).hexdigest() for p in pictures[::-1]]))"
    )
    output = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path
    ).stdout
    assert json.loads(output) == first
    if name != "none":
        assert len(set(first)) > len(first) / 2  # SyntheX leaves many as they are


def test_a_sample_looks_alike_at_any_size() -> None:
    fine = picture_of((256, 256))
    coarse = fine.reshape(128, 2, 128, 2).mean(axis=(1, 3))
    draw = Draw(
        rotation=4, scale=1.1, shift_across=0.05, blur=3, gamma=1.2, contrast=1.1, border_top=0.125
    )
    halved = draw.picture(fine).reshape(128, 2, 128, 2).mean(axis=(1, 3))
    direct = draw.picture(coarse)
    assert np.abs(halved - direct).mean() < 0.01


def test_a_real_film_stays_a_film_under_our_preset(test_data: Path) -> None:
    from PIL import Image

    folder = test_data / "cxr" / "nih" / "full1024"
    path = next(iter(sorted(folder.glob("*NoFinding.png"))))
    with Image.open(path) as image:
        film = np.asarray(image.convert("L").resize((256, 256)), np.float32) / 255
    chest = policy("chest")
    middle = np.s_[32:-32, 32:-32]
    still = {"rotation": None, "scale": None, "shift_across": None, "shift_down": None}
    for index in range(40):
        # Grey levels only: neither moved nor inverted it can be compared pixel by pixel.
        draw = replace(chest.draw(1, index), invert=False, **still)
        ours, theirs = draw.picture(film)[middle], film[middle]
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.8
        assert ours.std() > 0.3 * theirs.std()
