"""`drr evaluate` from files to files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from drr.cli import main

QUICK = ("--draws", "100")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """labels.csv with splits and views; good.csv and bad.csv, two models on it."""
    rng = np.random.default_rng(0)
    labels = ["name,patient,sex,age,view,split,Edema,Lung Opacity"]
    good, bad = (["name,Edema,Lung Opacity"] for _ in range(2))
    for i in range(120):
        edema, opacity = rng.integers(0, 2, 2)
        split = "test" if i >= 40 else "valid"
        view = "LL" if i % 10 == 9 else "PA"
        labels.append(
            f"s{i},p{i // 2},{'MF'[i % 2]},{30 + i % 40},{view},{split},{edema},{opacity}"
        )
        for lines, gain in ((good, 0.6), (bad, 0.1)):
            scores = (rng.random(2) + gain * np.array([edema, opacity])) / 2
            lines.append(f"s{i},{scores[0]:.4f},{scores[1]:.4f}")
    for name, lines in (("labels", labels), ("good", good), ("bad", bad)):
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["evaluate", *arguments])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output


def test_table_json_and_page(folder: Path) -> None:
    output = run("good.csv", "--truth", "labels.csv", "--split", "test", *QUICK,
                 "--json", "out.json", "--html", "out.html")  # fmt: skip
    assert "72 samples of 40 patients" in output
    assert "Only split 'test' and frontal views: 72 of 120 samples." in output
    assert output.endswith("out.json\nout.html\n")
    report = json.loads(Path("out.json").read_text())
    assert [c["label"] for c in report["classes"]] == ["Edema", "Lung Opacity"]
    assert f"{report['macro_auroc']['value']:.3f}" in output
    assert "<svg" in Path("out.html").read_text()
    assert not list(folder.glob(".drr-*"))
    run("good.csv", "--truth", "labels.csv", "--json", "out.json", *QUICK, code=2)
    assert run("good.csv", "--truth", "labels.csv", "--json", "out.json", "-f", "-q", *QUICK) == ""


def test_two_models(folder: Path) -> None:
    output = run("good.csv", "--truth", "labels.csv", "--compare", "bad.csv", *QUICK)
    assert "good.csv less bad.csv, on 108 samples of 60 patients" in output


def test_thresholds_of_another_split(folder: Path) -> None:
    both = ("good.csv", "--truth", "labels.csv", *QUICK)
    run(*both, "--split", "valid", "--json", "valid.json")
    output = run(*both, "--split", "test", "--threshold", "valid.json", "--json", "test.json")
    assert "chosen on these samples" not in output
    chosen, used = (
        [c["point"]["threshold"] for c in json.loads(Path(f"{name}.json").read_text())["classes"]]
        for name in ("valid", "test")
    )
    assert chosen == used


def test_subgroups_labels_and_mapping(folder: Path) -> None:
    both = ("good.csv", "--truth", "labels.csv", *QUICK)
    assert "By age" in run(*both)
    assert "By age" not in run(*both, "--subgroup", "sex")
    assert "By " not in run(*both, "--subgroup", "none")
    assert "Lung Opacity" not in run(*both, "--label", "edema")
    Path("other.csv").write_text(Path("good.csv").read_text().replace("Edema", "Fluid"))
    output = run("other.csv", "--truth", "labels.csv", "--map", "Fluid = Edema", *QUICK)
    assert "Fluid as Edema" in output


def test_predictions_and_truth_in_one_table(folder: Path) -> None:
    rows = ["image,Edema,prob_Edema", *(f"i{i},{i % 2},{(i * 7 % 10) / 10}" for i in range(20))]
    Path("both.csv").write_text("\n".join(rows))
    assert "20 samples" in run("both.csv", *QUICK)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.csv",), "none.csv: cannot be read"),
        (("good.csv", "--truth", "none.csv"), "none.csv: cannot be read"),
        (("good.csv", "--truth", "labels.csv", "--split", "tset"), "did you mean 'test'"),
        (("good.csv", "--truth", "labels.csv", "--label", "Edma"), "did you mean 'Edema'"),
        (("good.csv", "--truth", "labels.csv", "--views", "RL"), "no sample has a RL view"),
        (("good.csv", "--truth", "labels.csv", "--map", "Edema"), "not of the form"),
        (("good.csv", "--truth", "labels.csv", "--map", "a=Edema"), "'a' does not exist"),
        (("good.csv", "--truth", "labels.csv", "--draws", "3"), "draws must be"),
        (("good.csv", "--truth", "labels.csv", "--subgroup", "height"), "no subgroups by"),
        (("good.csv", "--truth", "labels.csv", "--threshold", "best"), "no rule"),
        (("good.csv", "--truth", "labels.csv", "--threshold", "x.json"), "x.json: cannot be read"),
        (("good.csv", "--truth", "labels.csv", "--threshold", "odd.json"), "is not a report"),
        (("good.csv", "--truth", "labels.csv", "--json", "a", "--html", "a"), "different files"),
        (("good.csv", "--truth", "labels.csv", "--json", "no/a.json"), "does not exist"),
    ],
)
def test_mistakes_are_one_line(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    Path("odd.json").write_text("{}")
    output = run(*arguments, code=2)
    assert message in " ".join(output.split())
    assert output.count("drr: error:") == 1
