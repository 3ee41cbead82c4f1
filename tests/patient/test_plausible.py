"""`drr.patient.plausible`: what is refused unless it is accepted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import drr
from drr.datasets.phantom.thorax import thorax
from drr.errors import VolumeError
from drr.patient.hu_check import assess
from drr.patient.plausible import check_accept, doubtful_size, has_no_geometry, refuse_doubtful
from drr.patient.prepare import prepare
from drr.volume import Volume


def blank(shape: tuple[int, int, int], affine: np.ndarray) -> Volume:
    return Volume.from_stored(np.zeros(shape, np.int16), affine)


IDENTITIES = [np.eye(4), np.diag([-1.0, -1, 1, 1])]


@pytest.mark.parametrize("affine", IDENTITIES)
def test_a_scanners_matrix_without_geometry(affine: np.ndarray) -> None:
    volume = blank((10, 512, 512), affine)
    assert has_no_geometry(volume)
    assert "identity" in doubtful_size(volume)
    assert "identity" in doubtful_size(blank((100, 64, 64), affine))
    # What was resampled to 1 mm may be what it says.
    assert doubtful_size(blank((30, 300, 330), affine)) == ""
    moved = affine.copy()
    moved[:3, 3] = (-256, -256, 3)
    assert not has_no_geometry(blank((10, 512, 512), moved))
    assert doubtful_size(blank((10, 512, 512), moved)) == ""


@pytest.mark.parametrize(
    ("spacing", "words"),
    [
        ((0.7e-3, 0.7e-3, 2.5e-3), "too small"),  # metres
        ((0.07, 0.07, 0.25), "too small"),  # centimetres
        ((7, 7, 25), "too large"),  # tenths
        ((0.7, 0.7, 70), "too large"),
        ((0.7, 0.7, 2.5), ""),
        ((0.5, 0.5, 0.5), ""),
    ],
)
def test_units_of_length(spacing: tuple[float, float, float], words: str) -> None:
    doubt = doubtful_size(blank((50, 512, 512), np.diag([*spacing, 1.0])))
    assert words in doubt
    assert bool(doubt) == bool(words)


@pytest.mark.parametrize("affine", IDENTITIES)
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_the_stored_affine_comes_back(affine: np.ndarray, order: tuple[int, ...]) -> None:
    turned = affine[:, [*order, 3]].copy()
    turned[:3, 3] = (1.5, -20, 300)
    volume = blank((3, 4, 5), turned)
    np.testing.assert_allclose(volume.stored_affine, turned, atol=1e-12)


def test_what_can_be_accepted() -> None:
    assert check_accept(()) == ()
    assert check_accept("size") == ("size",)
    assert check_accept(["size", "values"]) == ("values", "size")
    with pytest.raises(VolumeError, match="'colour'"):
        check_accept("colour")


@pytest.fixture(scope="module")
def scan() -> Volume:
    volume = thorax(40, seed=1)
    return replace(volume, verdict=assess(volume))


KINDS = {
    "not-rescaled": lambda hu: hu + 1024,
    "double-rescaled": lambda hu: hu - 1024,
    "picture": lambda hu: np.clip((hu + 1000) / 6, 0, 255),
    "cut off": lambda hu: np.clip(hu, -160, 240),
    "labels": lambda hu: (hu > 0) * 1 + (hu > 200),
    "constant": lambda hu: 0 * hu,
    "mr-like": lambda hu: 2 * np.abs(hu) + 300,
}


@pytest.mark.parametrize("kind", KINDS)
def test_values_that_are_no_hu(scan: Volume, kind: str) -> None:
    hu = KINDS[kind](scan.hu.astype(float)).astype(np.int16)
    volume = replace(scan, hu=hu)
    volume = replace(volume, verdict=assess(volume))
    assert volume.verdict.kind == ("picture" if kind == "cut off" else kind)
    for call in (prepare, drr.project, lambda v: drr.project(v, "ap", look="drr-rate")):
        with pytest.raises(VolumeError, match="--accept values") as error:
            call(volume)
        assert str(error.value).startswith(volume.name)
        assert len(str(error.value)) < 450
    refuse_doubtful(volume, "values")
    prepare(volume, accept="values", beyond=False)
    # Nobody asked what those of a volume made in memory are.
    prepare(replace(volume, verdict=None), beyond=False)


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_values_normalised_by_their_deviation(scan: Volume, scale: float) -> None:
    hu = scan.hu.astype(float)
    verdict = assess(np.rint((hu - hu.mean()) / hu.std() * scale).astype(np.int16))
    assert verdict.kind == "labels"
    assert verdict.doubt


def test_what_the_file_declares(scan: Volume) -> None:
    verdict = assess(scan, not_hu="their rescale type is MGML")
    assert verdict.kind == "declared"
    assert not verdict.is_hu
    assert "MGML" in verdict.doubt
    with pytest.raises(VolumeError, match="MGML"):
        refuse_doubtful(replace(scan, verdict=verdict))


def test_what_is_only_unusual_is_projected(scan: Volume) -> None:
    verdict = replace(scan.verdict, kind="unclear", is_hu=False)
    refuse_doubtful(replace(scan, verdict=verdict))
    refuse_doubtful(scan)
    tiny = replace(scan, verdict=replace(scan.verdict, size="All of it is 4 mm."))
    with pytest.raises(VolumeError, match="--accept size"):
        refuse_doubtful(tiny, "values")
    refuse_doubtful(tiny, "size")


def test_files_say_that_they_have_no_geometry(tmp_path: Path, scan: Volume) -> None:
    large = np.repeat(np.repeat(np.repeat(scan.hu, 6, 0), 6, 1), 6, 2)  # 240 mm
    np.savez(tmp_path / "scan.npz", hu=large, affine=np.eye(4))
    volume = drr.read(tmp_path / "scan.npz")
    assert volume.verdict.size == ""
    assert any("affine is the identity" in note for note in volume.notes)
    np.savez(tmp_path / "scan.npz", hu=scan.hu, affine=np.eye(4))
    assert "too small" in drr.read(tmp_path / "scan.npz").verdict.size
