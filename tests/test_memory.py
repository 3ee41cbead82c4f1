from __future__ import annotations

import numpy as np
import pytest

import drr
from drr.datasets.phantom.thorax import thorax
from drr.errors import ProjectionError
from drr.geometry.views import parse_view
from drr.memory import available_memory, check_memory, total_memory
from drr.patient.prepare import prepare
from drr.physics.beam import Beam
from drr.published.recipe import DrrRate
from drr.published.render import drr_rate
from drr.thickness import thickness
from drr.volume import Volume

CT = thorax(32)
WIDE = 1_000_000  # pixels each way: four terabytes


def test_what_is_available_is_some_of_all() -> None:
    available, total = available_memory(), total_memory()
    if available is None or total is None:
        pytest.skip("this system does not say")
    assert 0 < available <= total
    check_memory(available // 2, "halves")
    with pytest.raises(ProjectionError, match=r"^doubles need \d.* GB of memory, and \d.* GB"):
        check_memory(2 * total + 10**9, "doubles")


@pytest.mark.skipif(total_memory() is None, reason="this system does not say")
@pytest.mark.parametrize("look", ["film", "physical"])
def test_images_larger_than_the_memory_are_refused_before_the_work(look: str) -> None:
    view = parse_view("pa", shape=(WIDE, WIDE))
    with pytest.raises(ProjectionError, match=r"need [\d,]+ GB .* ask for fewer pixels") as refused:
        drr.project(CT, ["ll", view], look=look, backend="cpu")
    assert f"images of up to {WIDE} x {WIDE} pixels (2 at once) need" in str(refused.value)


@pytest.mark.skipif(total_memory() is None, reason="this system does not say")
def test_so_are_too_many_views_channels_labels_and_path_sums() -> None:
    total = total_memory()
    assert total is not None
    with pytest.raises(ProjectionError, match="fewer views at once"):
        drr.project(CT, ["pa"] * (total // 2**22 + 1), backend="cpu")
    # One channel of it would fit.
    side = int((total / 4 / 4) ** 0.5)
    wide = parse_view("pa", shape=(side, side))
    with pytest.raises(ProjectionError, match="GB of memory"):
        drr.project(CT, wide, attenuation=Beam(metal="titanium"), backend="cpu")
    mask = Volume(hu=(CT.hu > 0).astype(np.int16), affine=CT.affine)
    geometry = parse_view("pa", shape=(WIDE, WIDE)).place(prepare(CT).anatomy)
    with pytest.raises(ProjectionError, match="thickness of 1 labels"):
        thickness(mask, geometry)
    with pytest.raises(ProjectionError, match="path sums"):
        drr_rate(CT, recipe=DrrRate(shape=(WIDE, WIDE)))
