"""Damaged inputs: a short run of `make fuzz`, and that the fuzzer finds what is planted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fuzz import __main__ as fuzz
from fuzz import seeds
from fuzz.attempt import damaged, judge
from fuzz.planted import FAULTS, judged
from fuzz.targets import TARGETS, unlike_nibabel

import drr

pytestmark = pytest.mark.slow

# Fewer than a second of work for most targets; `make fuzz` runs thousands.
INPUTS = 600


@pytest.mark.parametrize("name", TARGETS)
def test_sound_seeds_are_right(name):
    target = TARGETS[name]
    assert set(target.damage) <= set(target.seed())
    wrong, said = judge(target, target.seed())
    assert wrong == ""
    assert "error" not in said


@pytest.mark.parametrize("name", TARGETS)
def test_a_number_names_an_input(name):
    inputs = [damaged(name, number) for number in (1, 1, 2)]
    assert inputs[0] == inputs[1]
    assert inputs[0] != inputs[2]
    assert inputs[0] != TARGETS[name].seed()


def test_a_short_run_ends_rightly():
    result = fuzz.run(list(TARGETS), INPUTS, 0, 2)
    assert result["findings"] == []
    assert result["inputs"] >= INPUTS * 0.9
    # Otherwise the damage does not reach what it should.
    assert result["inputs"] * 0.3 < result["refused"] < result["inputs"]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_planted_faults_are_found(fault):
    wrong, _ = judged(fault.__name__)
    assert FAULTS[fault] in wrong


def test_a_volume_unlike_its_oracle_is_found(tmp_path):
    (tmp_path / "a.nii").write_bytes(seeds.nifti()["a.nii"])
    volume = drr.read(tmp_path / "a.nii")
    assert unlike_nibabel(tmp_path / "a.nii", volume) == ""
    mirrored = replace(volume, hu=volume.hu[:, :, ::-1].copy())
    assert "nibabel reads" in unlike_nibabel(tmp_path / "a.nii", mirrored)


def test_a_process_that_dies_or_hangs_is_found(monkeypatch):
    monkeypatch.setattr(fuzz, "SECONDS", 3)
    result = fuzz.run(["nifti"], 3, 0, 1, function="fuzz.planted:attempt")
    ends = {finding["number"]: finding["wrong"] for finding in result["findings"]}
    assert ends.keys() == {0, 1}
    assert "crashed" in ends[0]
    assert "longer than 3 s" in ends[1]
