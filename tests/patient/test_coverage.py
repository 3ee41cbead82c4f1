from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import drr
from drr.datasets.phantom.thorax import thorax
from drr.errors import VolumeError
from drr.patient.anatomy import find_anatomy
from drr.patient.coverage import COVERAGE_PARAMETERS, Coverage, assess_coverage
from drr.volume import Volume


@pytest.fixture(scope="module")
def phantom() -> Volume:
    return thorax(96, arms="none")


def coverage_of(volume: Volume) -> Coverage:
    return assess_coverage(volume, find_anatomy(volume))


def slices(volume: Volume, start: int, stop: int) -> Volume:
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, 2] * start
    return replace(volume, hu=np.ascontiguousarray(volume.hu[start:stop]), affine=affine)


def test_a_whole_chest(phantom: Volume) -> None:
    coverage = coverage_of(phantom)
    assert coverage.region == "chest"
    assert coverage.is_chest
    assert coverage.complete
    assert 3000 < coverage.lungs_ml < 7000
    assert "ml" in coverage.reason
    assert coverage.truncation == (0.0, 0.0, 0.0, 0.0)
    assert coverage.arms == "raised"
    assert coverage.notes == ("arms raised, as in most CTs: shoulders differ from a radiograph",)


def test_what_is_beyond_the_lungs_is_measured(phantom: Volume) -> None:
    whole = coverage_of(phantom)
    step = phantom.spacing[2]
    part = coverage_of(slices(phantom, 5, phantom.shape[0] - 7))
    assert whole.superior_mm is not None
    assert whole.inferior_mm is not None
    assert part.superior_mm == pytest.approx(whole.superior_mm - 7 * step, abs=1.5 * step)
    assert part.inferior_mm == pytest.approx(whole.inferior_mm - 5 * step, abs=1.5 * step)


@pytest.mark.parametrize(("name", "other"), [("apex", "base"), ("base", "apex")])
def test_lungs_cut_in_the_middle(phantom: Volume, name: str, other: str) -> None:
    half = phantom.shape[0] // 2
    coverage = coverage_of(
        slices(phantom, 0, half) if name == "apex" else slices(phantom, half, phantom.shape[0])
    )
    assert coverage.region == "chest"
    assert not coverage.complete
    assert coverage.apex_complete == (name == "base")
    assert coverage.base_complete == (name == "apex")
    assert any(f"cuts the lungs at the {name}" in note for note in coverage.notes)
    assert not any(f"cuts the lungs at the {other}" in note for note in coverage.notes)


def test_a_scan_that_ends_close_to_the_lungs(phantom: Volume) -> None:
    whole = coverage_of(phantom)
    assert whole.inferior_mm is not None
    start = int(whole.inferior_mm // phantom.spacing[2]) - 1
    near = coverage_of(slices(phantom, start, phantom.shape[0]))
    assert any("mm beyond the lungs' base" in note for note in near.notes)


def test_arms_beside_the_thorax() -> None:
    coverage = coverage_of(thorax(96, arms="down"))
    assert coverage.arms == "beside"
    assert any("arms beside the thorax" in note for note in coverage.notes)


def test_arms_apart_from_the_thorax(phantom: Volume) -> None:
    hu = np.full((*phantom.shape[:2], phantom.shape[2] + 60), -1000, np.int16)
    hu[:, :, 30:-30] = phantom.hu
    dx, dy, _ = phantom.spacing
    _, y, x = np.ogrid[: hu.shape[0], : hu.shape[1], : hu.shape[2]]
    x, y = (np.abs(x - (hu.shape[2] - 1) / 2) * dx, (y - (hu.shape[1] - 1) / 2) * dy)
    hu[np.broadcast_to(np.hypot(x - 230, y) < 40, hu.shape)] = 30
    assert coverage_of(replace(phantom, hu=hu)).arms == "beside"


def test_sides_cut_by_the_field_of_view(phantom: Volume) -> None:
    hu = np.ascontiguousarray(phantom.hu[:, :, 16:])
    coverage = coverage_of(replace(phantom, hu=hu))
    right, left, anterior, posterior = coverage.truncation
    assert right > 0.3
    assert (left, anterior, posterior) == (0.0, 0.0, 0.0)
    assert any(f"{right:.0%} of its right side" in note for note in coverage.notes)


def test_a_head() -> None:
    z, y, x = np.mgrid[-100:101:3.0, -120:121:3.0, -120:121:3.0]
    radius = np.sqrt((x / 75) ** 2 + (y / 95) ** 2 + (z / 95) ** 2)
    hu = np.select([radius < 0.88, radius < 0.96, radius < 1], [35, 900, 0], -1000)
    coverage = coverage_of(Volume(hu=hu.astype(np.int16), affine=np.diag([3.0, 3.0, 3.0, 1.0])))
    assert coverage.region == "head"
    assert "looks like a head" in coverage.notes[0]
    assert coverage.superior_mm is None
    assert coverage.arms == "unclear"
    assert not coverage.complete


def trunk(lung_top: int = 0) -> Volume:
    """An abdomen 400 mm high with spine, and the bases of lungs in its last slices."""
    z, y, x = np.ogrid[:80, :80, :100]
    x, y = (x - 49.5) * 4, (y - 39.5) * 4
    hu = np.full((80, 80, 100), -1000, np.int16)
    hu[np.broadcast_to((x / 160) ** 2 + (y / 110) ** 2 < 1, hu.shape)] = 40
    hu[np.broadcast_to(np.hypot(x, y - 60) < 18, hu.shape)] = 400
    lungs = (np.hypot(np.abs(x) - 75, y) < 50) & (z >= 80 - lung_top)
    hu[np.broadcast_to(lungs, hu.shape)] = -850
    return Volume(hu=hu, affine=np.diag([4.0, 4.0, 5.0, 1.0]))


@pytest.mark.parametrize("lung_top", [0, 16])
def test_an_abdomen_with_and_without_bases_of_lungs(lung_top: int) -> None:
    coverage = coverage_of(trunk(lung_top))
    assert coverage.region == "abdomen"
    assert not coverage.is_chest
    assert "looks like an abdomen" in coverage.notes[0]
    assert (coverage.superior_mm == 0) == (lung_top > 0)


def test_lungs_of_too_few_slices_or_too_small(phantom: Volume) -> None:
    middle = phantom.shape[0] // 2
    coverage = coverage_of(slices(phantom, middle, middle + 8))
    assert coverage.region == "unclear"
    assert "too few slices" in coverage.reason
    tiny = replace(phantom, affine=phantom.affine @ np.diag([0.2, 0.2, 0.2, 1.0]))
    assert "no lungs are" in coverage_of(tiny).reason


@pytest.mark.parametrize("value", [-1000, 40])
def test_a_block_of_one_value(value: int) -> None:
    volume = Volume(hu=np.full((8, 40, 40), value, np.int16), affine=np.eye(4))
    assert coverage_of(volume).region == "unclear"


def test_anatomy_of_another_volume_is_refused(phantom: Volume) -> None:
    with pytest.raises(VolumeError, match="find_anatomy"):
        assess_coverage(slices(phantom, 0, 20), find_anatomy(phantom))


def test_records_are_json(phantom: Volume) -> None:
    record = json.loads(json.dumps(coverage_of(phantom).to_dict()))
    assert record["region"] == "chest"
    assert record["truncation"]["right"] == 0.0
    assert json.dumps(COVERAGE_PARAMETERS)


CASES = {
    "ct/lidc_idri_0001/cxr.nii.gz": (3604, 20, 52, "raised"),
    "ct/lung_dx_a0001/a0001_5mm_kernelB_dicom.zip": (5300, 40, 10, "raised"),
    # The right half of a chest: what is beside it nobody can tell.
    "ct/3DCT_lung.mha": (2400, 7, 25, "unclear"),
}


@pytest.mark.parametrize("name", CASES)
def test_real_scans(test_data: Path, name: str) -> None:
    millilitres, superior, inferior, arms = CASES[name]
    coverage = coverage_of(drr.read(test_data / name))
    assert coverage.region == "chest"
    assert coverage.complete
    assert coverage.lungs_ml == pytest.approx(millilitres, rel=0.05)
    assert coverage.superior_mm == pytest.approx(superior, abs=6)
    assert coverage.inferior_mm == pytest.approx(inferior, abs=6)
    assert coverage.arms == arms
    right, left, anterior, posterior = coverage.truncation
    if "3DCT" in name:
        # Fill of 0 HU along that side, up to a block wide, is no body.
        assert left > 0.7
    else:
        assert 0 < left <= right < 0.2
        assert anterior == posterior == 0
