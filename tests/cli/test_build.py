"""`drr build` and `drr verify`."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import pytest
from click.testing import CliRunner, Result
from tiny_cohort import write_cohort

from drr.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("work")
    write_cohort(work / "source", 4, bad=(1,))
    return work


@pytest.fixture(autouse=True)
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def run(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def test_building_and_verifying(folder: Path) -> None:
    options = ("--pixels", "40", "--view", "pa", "--view", "ll", "--workers", "1", "--json")
    result = run("build", "source", "-o", "a.h5", *options, "--split", "train=0.5,test=0.5")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["samples"], summary["failures"]) == (3, 1)
    assert "truncated" in result.stderr
    with h5py.File("a.h5") as file:
        assert file["views/ll/picture"].shape == (3, 40, 40)
        assert set(file["splits"]) <= {"train", "test"}
        assert json.loads(file.attrs["configuration"])["look"] == "film"
    result = run("verify", "a.h5", "--source", "source", "--remake", "1")
    assert result.exit_code == 0, result.output
    assert "a.h5: sound (structure" in result.stdout
    with h5py.File("a.h5", "a") as file:
        file["views/ll/picture"][0] = 0
    result = run("verify", "a.h5", "--json")
    assert result.exit_code == 2
    assert "images that are not as built" in json.loads(result.stdout)["problems"][0]


@pytest.mark.parametrize("name", ["build.yaml", "build.json"])
def test_a_file_gives_the_same_options(folder: Path, name: str) -> None:
    values = {
        "source": "source",
        "out": f"{name}.h5",
        "view": ["ap"],
        "pixels": 40,
        "look": "physical",
        "kev": 60.5,
        "no_pictures": True,
        "line-integrals": "float32",
        "workers": 1,
        "limit": 1,
    }
    text = json.dumps(values)
    if name.endswith("yaml"):
        text = "\n".join(f"{key}: {json.dumps(value)}" for key, value in values.items())
    Path(name).write_text(text)
    # The command line goes before the file.
    result = run("build", "--config", name, "--pixels", "32")
    assert result.exit_code == 0, result.output
    with h5py.File(f"{name}.h5") as file:
        assert file["views/ap/line_integrals"].shape == (1, 32, 32)
        assert file["views/ap/line_integrals"].dtype == "float32"
        assert "picture" not in file["views/ap"]
        assert json.loads(file.attrs["configuration"])["look"] == "physical"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("vews: [pa]", "there is no option 'vews'; did you mean 'view'?"),
        ("look: [film, raw]", "takes one value"),
        ("look: {a: b}", "write it as on the command line"),
        ("look: film\nlook: raw", "occurs twice"),
        ("- a", "holds no options"),
        ("a: [", "is neither YAML nor JSON"),
        ("look: radar", "radar"),
        ("out: x.h5", "SOURCE is missing"),
        ("pixels: true", "'pixels' is True; write it as on the command line"),
        ("seed: false", "'seed' is False; write it"),
        ("force: 3", "force"),
        ("look: null", "'look' is None; write it"),
        ("view: [[pa]]", "write it as on the command line"),
        ("view: [pa, true]", "'view' is True; write it"),
        ("pixels: " + "9" * 400, "too many digits"),
        ("pixels: .inf", "not a finite number"),
        ('look: "a\\0b"', "write it as on the command line"),
        ("look: 2020-02-30", "is neither YAML nor JSON"),
        ("look: 2020-02-03", "write it as on the command line"),
        ("a: &a [x, x]\nb: &b [*a, *a]\n" + "c: &c [" + "*b, " * 999 + "*b]\nd: ["
         + "*c, " * 99 + "*c]", "100000 values"),
        ("\n".join(f"k{i}:" for i in range(10_001)), "10001 keys"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_are_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "build.yaml"
    path.write_text(text)
    arguments = ["--config", str(path)]
    if "SOURCE" not in words:
        arguments += ["source", "-o", str(tmp_path / "x.h5")]
    result = run("build", *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "x.h5").exists()


def test_a_dry_run_builds_nothing(folder: Path) -> None:
    before = set(folder.iterdir())
    result = run("build", "source", "-o", "dry.h5", "--pixels", "40", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "4 of 3 patients" in result.stdout
    assert "s a CT" in result.stdout
    result = run("build", "source", "--pixels", "40", "--dry-run", "--json")
    summary = json.loads(result.stdout)
    assert summary["studies"] == 4
    assert summary["bytes"] > 0
    assert set(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--split", "train"), "is not like train=0.8"),
        (("--split", "train=0.5"), "are not shares of a whole"),
        (("--view", "skyline"), "skyline"),
        (("--mask", "0"), "0"),
        (("--line-integrals", "none", "--no-pictures"), "neither"),
        (("--look", "drr-rate", "--mask", "1"), "has no masks"),
        (("--scheduler", "scheduler.json"), "no Dask scheduler answers"),
    ],
)
def test_options_that_cannot_be_are_refused(options: tuple[str, ...], words: str) -> None:
    Path("scheduler.json").write_text("{}")
    result = run("build", "source", "-o", "bad.h5", *options)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "Traceback" not in result.output
    assert not Path("bad.h5").exists()


def test_bad_sources_and_outputs(tmp_path: Path) -> None:
    for arguments, words in (
        (["none", "-o", "x.h5"], "none"),
        (["source"], "--out is missing"),
        (["source", "-o", str(tmp_path / "no" / "x.h5")], "does not exist"),
        (["source", "-o", "source"], "not a file"),
    ):
        result = run("build", *arguments)
        assert result.exit_code == 2, result.output
        assert words in result.stderr
        assert "Traceback" not in result.output
    result = run("verify", "none.h5")
    assert result.exit_code == 2
    assert "is no HDF5 file" in result.stderr


def test_failures_beyond_the_limit_stop(folder: Path) -> None:
    options = ("--pixels", "32", "--workers", "1", "--max-failures", "0")
    result = run("build", "source", "-o", "few.h5", *options)
    assert result.exit_code == 2
    assert "more than the 0 allowed" in result.stderr
    assert not Path("few.h5").exists()


def test_a_finished_file_says_each_time_what_is_not_in_it(folder: Path) -> None:
    options = ("--pixels", "32", "--workers", "1")
    for _ in range(2):
        result = run("build", "source", "-o", "said.h5", *options)
        assert result.exit_code == 0, result.output
        assert "said.h5: 3 samples, 1 failures" in result.stdout
        assert "1 of 4 CTs are not in the file, such as train_1_b_1: " in result.stderr
        assert "truncated" in result.stderr
    result = run("build", "source", "-o", "said.h5", *options, "--json")
    assert "truncated" in json.loads(result.stdout)["reasons"]["train_1_b_1"]


def test_the_published_look(folder: Path) -> None:
    options = ("--look", "drr-rate", "--view", "ap", "--workers", "1", "--limit", "1")
    result = run("build", "source", "-o", "published.h5", *options)
    assert result.exit_code == 0, result.output
    with h5py.File("published.h5") as file:
        assert set(file["views"]) == {"ap"}
        assert file["views/ap/picture"][0].max() == 255
