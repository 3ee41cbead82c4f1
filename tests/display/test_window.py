from __future__ import annotations

import numpy as np
import pytest

from drr.display.window import Window, default_window
from drr.errors import DisplayError
from drr.geometry.geometry import Geometry
from drr.radiograph import Projection

GEOMETRY = Geometry(
    source=(0, 1, 0), detector_center=(0, 0, 0), u=(1, 0, 0), v=(0, 0, -1), shape=(64, 64)
)


def projection(values):
    return Projection(np.asarray(values, np.float32), GEOMETRY, {})


def test_linear_window_runs_from_black_to_white_over_its_width():
    grey = Window(center=4, width=2, curve="linear").apply(np.array([0, 3, 3.5, 4, 5, 9.0]))
    np.testing.assert_allclose(grey, [0, 0, 0.25, 0.5, 1, 1])
    assert grey.dtype == np.float32


def test_sigmoid_is_dicoms():
    x = np.linspace(-50, 50, 101)
    grey = Window(center=4, width=2, curve="sigmoid").apply(x)
    np.testing.assert_allclose(grey, 1 / (1 + np.exp(-4 * (x - 4) / 2)), atol=1e-6)


def test_invert_exchanges_black_and_white():
    x = np.linspace(0, 8, 9)
    window = Window(center=4, width=3)
    inverted = Window(center=4, width=3, invert=True)
    np.testing.assert_allclose(inverted.apply(x), 1 - window.apply(x), atol=1e-6)


def test_repr_and_record_round_trip():
    window = Window(center=3.5, width=4.25, curve="linear", invert=True)
    assert eval(repr(window)) == window
    assert Window.from_dict(window.to_dict()) == window
    with pytest.raises(DisplayError, match="gamma"):
        Window.from_dict({"center": 1, "width": 2, "gamma": 3})


@pytest.mark.parametrize("width", [0, -1, float("nan"), "wide", None])
def test_refuses_a_width_that_is_none(width):
    with pytest.raises(DisplayError, match="width"):
        Window(center=1, width=width)


def test_refuses_an_unknown_curve():
    with pytest.raises(DisplayError, match="'linear' or 'sigmoid'"):
        Window(center=1, width=1, curve="log")


def test_default_window_spans_the_body_whatever_the_background():
    body = np.linspace(1, 6, 32 * 64).reshape(32, 64)
    wide = np.concatenate([body, np.zeros((32, 64))])
    window = default_window(body)
    assert default_window(wide) == window
    low, high = window.apply(np.percentile(body, [5, 97]))
    assert low == pytest.approx(0.09, abs=0.01)
    assert high == pytest.approx(0.91, abs=0.01)


def test_default_window_of_an_empty_image_is_still_a_window():
    assert default_window(np.zeros((8, 8))).width > 0
