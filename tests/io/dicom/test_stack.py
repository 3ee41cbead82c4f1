"""From slices at known positions to a regular grid: gaps, rounding, blocks and sideways shifts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from drr.errors import ReadError
from drr.io.dicom.stack import Plane, Stack, move_sideways, resample, stack_slices

X, Y, Z = np.eye(3)
PLANE = Plane(X, Y, (0.75, 0.5), (60, 80))


def stack(
    along: Any, *, x: Any = 0.0, y: Any = 0.0, numbers: Any = "consecutive", plane: Plane = PLANE
) -> Stack:
    """Axial slices at those places along z, their first pixels at x and y."""
    along = np.asarray(along, float)
    positions = np.column_stack([np.broadcast_to(v, along.shape) for v in (x, y, along)])
    if isinstance(numbers, str):
        numbers = np.arange(len(along))
    labels = [f"slice {k + 1}" for k in range(len(along))]
    return stack_slices(positions, plane, labels=labels, numbers=numbers, name="scan")


def refusal(along: Any, **options: Any) -> str:
    with pytest.raises(ReadError) as error:
        stack(along, **options)
    return str(error.value)


# ---- even, or rounded ----------------------------------------------------------------------------


def test_even_slices() -> None:
    found = stack(-100 + 1.5 * np.arange(20), x=-5, y=7)
    np.testing.assert_allclose(found.origin, [-5, 7, -100])
    np.testing.assert_allclose(found.step, [0, 0, 1.5])
    assert found.samples is None
    assert found.beside is None
    assert found.notes == ()


@pytest.mark.parametrize(
    ("spacing", "quantum", "numbered"),
    [(0.45, 0.1, False), (2.5, 1, True), (1.25, 1, True), (1.25, 0.5, True)],
)
def test_rounded_positions_are_even(spacing: float, quantum: float, numbered: bool) -> None:
    """None is lost or made up, and every slice stays within the rounding of where it was."""
    true = -217.31 + spacing * np.arange(101)
    options: Any = {} if numbered else {"numbers": None}
    found = stack(np.rint(true / quantum) * quantum, **options)
    assert found.samples is None
    assert f"rounded to {quantum:g} mm" in "".join(found.notes)
    places = found.origin[2] + found.step[2] * np.arange(len(true))
    assert np.abs(places - true).max() < quantum / 2


def test_coarse_rounding_needs_instance_numbers() -> None:
    """Positions 0, 1, 2, 4 may be rounded, or those of slices of which one is missing."""
    rounded = np.rint(1.25 * np.arange(40))
    assert "missing" in refusal(rounded, numbers=None)
    skipping = np.arange(40) + (np.arange(40) > 20)
    assert "missing" in refusal(rounded, numbers=skipping)


def test_a_missing_slice_of_rounded_ones() -> None:
    places = np.round(0.625 * np.arange(60), 1)
    assert "1 slice is missing" in refusal(np.delete(places, 30), numbers=None)


# ---- blocks --------------------------------------------------------------------------------------


def test_blocks_of_other_spacings_are_resampled_to_the_finest() -> None:
    along = np.r_[3.0 * np.arange(20), 60 + 9.0 * np.arange(10)]
    found = stack(along)
    assert found.samples is not None
    np.testing.assert_allclose(found.step, [0, 0, 3])
    places = 3.0 * np.arange(len(found.samples))
    np.testing.assert_allclose(np.interp(found.samples, np.arange(30), along), places)
    assert "from 3 to 9 mm; 30 slices were resampled linearly to 48" in "".join(found.notes)
    turned = stack(np.r_[9.0 * np.arange(10), 81 + 3.0 * np.arange(1, 20)])
    np.testing.assert_allclose(turned.step, [0, 0, 3])


@pytest.mark.parametrize("lost", [5, 25])
def test_a_slice_missing_within_a_block(lost: int) -> None:
    along = np.delete(np.r_[3.0 * np.arange(20), 60 + 9.0 * np.arange(10)], lost)
    assert "about 1 slice is missing" in refusal(along, numbers=None)


def test_every_second_slice_missing_is_no_block() -> None:
    """Instance numbers run ahead together with the gaps."""
    kept = np.r_[np.arange(20), np.arange(20, 40, 2)]
    assert "missing" in refusal(2.0 * kept, numbers=kept)
    assert "missing" in refusal(2.0 * kept, numbers=40 - kept)


def test_a_short_block_is_a_gap() -> None:
    assert "missing" in refusal(np.r_[2.0 * np.arange(20), 42, 46, 48, 50, 52, 54])


def test_blocks_do_not_make_slices_without_end() -> None:
    found = stack(np.r_[0.02 * np.arange(5), 1 + 10.0 * np.arange(100)])
    assert found.samples is not None
    assert len(found.samples) < 16 * 105 + 2


def test_interleaved_acquisitions() -> None:
    places = 2.0 * np.arange(10)
    assert "choose one acquisition" in refusal(np.sort(np.r_[places, 0.3 + places]))
    assert "choose one acquisition" in refusal(np.sort(np.r_[places, 20, 0.3 + places]))


# ---- sideways ------------------------------------------------------------------------------------


def test_an_even_drift_stays_in_the_affine() -> None:
    z = 2.0 * np.arange(30)
    found = stack(z, x=0.05 * z)
    np.testing.assert_allclose(found.step, [0.1, 0, 2])
    assert found.beside is None
    assert any("field of view that drifts" in note for note in found.notes)


def test_a_table_shift_is_no_tilt() -> None:
    """Two halves 4 mm apart: the larger stays, the other is moved by what it lies beside."""
    z = 2.0 * np.arange(30)
    found = stack(z, x=np.where(z < 40, -10.0, -6.0))
    np.testing.assert_allclose(found.step, [0, 0, 2])
    np.testing.assert_allclose(found.origin, [-10, 0, 0])
    assert found.beside is not None
    np.testing.assert_allclose(found.beside[:20], 0, atol=1e-9)
    np.testing.assert_allclose(found.beside[20:], [[0, 8]] * 10)
    assert "10 slices lie up to 4 mm beside the line" in found.notes[0]
    assert not any("tilt" in note for note in found.notes)


def test_a_table_shift_of_a_tilted_gantry() -> None:
    a = np.radians(15)
    plane = Plane(X, np.array([0, np.cos(a), np.sin(a)]), (0.75, 0.5), (60, 80))
    z = 2.0 * np.arange(30)
    found = stack(z, x=np.where(z < 40, 0.0, 3.0), plane=plane)
    np.testing.assert_allclose(found.step, [0, 0, 2], atol=1e-9)
    assert found.beside is not None
    np.testing.assert_allclose(found.beside[-1], [0, 6], atol=1e-9)
    assert any("15.0 degrees (gantry tilt)" in note for note in found.notes)


def test_slices_far_beside_the_others() -> None:
    z = 2.0 * np.arange(10)
    assert "slice 5 lies 30 mm beside the line" in refusal(z, x=np.where(z == 8, 30.0, 0.0))


def test_moved_slices_show_what_lies_there() -> None:
    """A ramp is linear, so that parts of a pixel are exact; what comes in is air."""
    rows, columns = np.mgrid[:12, :15]
    ramp = (10 * rows + 100 * columns).astype(np.int16)
    moved = np.stack([ramp, ramp, ramp])
    move_sideways(moved, np.array([[0, 0], [2.0, -3.0], [0.5, 1.2]]))
    np.testing.assert_array_equal(moved[0], ramp)
    np.testing.assert_array_equal(moved[1, 2:, :-3], ramp[:-2, 3:])
    assert (moved[1, :2] == -1024).all()
    assert (moved[1, :, -3:] == -1024).all()
    expected = 10 * (rows - 0.5) + 100 * (columns - 1.2)
    assert np.abs(moved[2, 1:, 2:] - expected[1:, 2:]).max() <= 0.5


def test_resampling_is_linear() -> None:
    slices = np.arange(4, dtype=np.int16)[:, None, None] * np.full((1, 2, 3), 100, np.int16)
    found = resample(slices, np.array([0, 0.25, 1.5, 3]))
    assert found[:, 0, 0].tolist() == [0, 25, 150, 300]
