"""`drr doctor`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import drr
import drr.projector
from drr.cli import doctor, main
from drr.kernels.cpu.compiler import jit
from drr.kernels.cuda.detect import STAGES


def test_this_installation_is_well() -> None:
    result = CliRunner().invoke(main, ["doctor", "--json"])
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report["ok"] is True
    assert report["drr"] == drr.__version__
    assert set(report["projection"]["methods"]) == {"shear-warp", "joseph", "siddon"}
    assert report["packages"]["required"]["numba"]
    assert "lightning" in json.dumps(report["packages"]["extras"]["train"])
    assert report["backends"]["cpu"]["available"] is True
    cuda = report["backends"]["cuda"]
    if cuda["available"]:
        assert cuda["device"]
    else:
        assert cuda["stage"] in STAGES
        assert "CUDA fails at the stage" in cuda["reason"]
    assert report["cpu"]["available"] >= 1


def test_text_shows_no_personal_path() -> None:
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].split() == ["result", "ok"]
    assert str(Path.home()) not in result.stdout


@pytest.mark.parametrize("there", [True, False])
def test_where_the_kernels_come_from(
    there: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = tmp_path / "lowered.zip"
    if there:
        text.touch()
    monkeypatch.setattr(jit, "LOWERED", text)
    lines = CliRunner().invoke(main, ["doctor"]).stdout.splitlines()
    (line,) = (line for line in lines if line.startswith("kernels "))
    assert ("from LLVM text" in line) == there


def test_recorded_mean_is_that_of_the_exact_chords() -> None:
    _, _, (body, bone) = doctor._object()
    mu = drr.physics.attenuation.water()(0.0)  # type: ignore[attr-defined]
    assert float((mu * (body + bone)).mean()) == pytest.approx(doctor.EXACT_MEAN, rel=1e-5)


@pytest.mark.parametrize("wrong", ["scaled", "shifted"])
def test_wrong_projection_fails(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = drr.projector.project

    def project(*arguments: Any, **options: Any) -> Any:
        projection = right(*arguments, **options)
        image = projection.line_integrals
        image = image * 1.001 if wrong == "scaled" else image[:, [1, *range(image.shape[1] - 1)]]
        return dataclasses.replace(projection, line_integrals=image)

    monkeypatch.setattr(drr.projector, "project", project)
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 1
    assert "FAIL: error" in result.stdout


def test_broken_installation_is_described_not_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> dict[str, Any]:
        raise ImportError(f"{Path.home()}/lib/thing.so: cannot open")

    monkeypatch.setattr(doctor, "_projection", broken)
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 1
    assert "FAIL: ImportError: ~" in result.stdout
    assert str(Path.home()) not in result.stdout
