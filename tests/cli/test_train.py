"""`drr prepare` and `drr train` as users run them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from dataset_file import write_dataset

from drr.cli import main
from drr.datasets.loaders.store import PreparedStore
from drr.datasets.phantom.nifti import nifti_bytes
from drr.datasets.phantom.thorax import thorax

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    for seed in range(3):
        (folder / f"ct{seed}.nii").write_bytes(nifti_bytes(thorax(40, seed=seed), Path("ct.nii")))
    return folder


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, list(map(str, arguments)))
    return done.exit_code, done.output


def test_prepare(scans, tmp_path):
    (scans / "bad.nii").write_bytes(b"none")
    options = ("--spacing", "12", "--keep-names")
    code, output = run("prepare", scans, "-o", tmp_path / "store", *options)
    assert code == 0, output
    assert "3 of 4 scans" in output
    assert "bad was left out: " in output
    store = PreparedStore(tmp_path / "store")
    assert [entry.sample for entry in store.entries] == ["ct0", "ct1", "ct2"]
    assert [entry.patient for entry in store.entries] == ["ct0", "ct1", "ct2"]
    code, output = run("prepare", "--check", tmp_path / "store")
    assert (code, "3 scans are as they were written" in output) == (0, True)
    hu = tmp_path / "store" / "ct1" / "hu.npy"
    content = bytearray(hu.read_bytes())
    content[-1] ^= 1
    hu.write_bytes(content)
    code, output = run("prepare", "--check", tmp_path / "store")
    assert code == 2
    assert "bytes have changed" in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prepare", "{scans}"], "-o FOLDER"),
        (["prepare", "{scans}", "--check", "-o", "x"], "--check reads a store"),
        (["prepare", "{scans}", "-o", "{scans}"], "not empty and no store"),
        (["prepare", "{scans}", "-o", "{tmp}/s", "--spacing", "-2"], "spacing is mm above zero"),
        (["prepare", "{scans}", "--check"], "has no store.json"),
        (["train", "{scans}"], "Missing option '-o'"),
        (["train", "{scans}", "-o", "{tmp}/run", "-r", "modem"], "did you mean 'modern'"),
    ],
)
def test_mistakes_are_one_line(scans, tmp_path, arguments, words):
    code, output = run(*(word.format(scans=scans, tmp=tmp_path) for word in arguments))
    assert code == 2
    assert words in output
    assert "Traceback" not in output
    assert not (tmp_path / "run").exists()


def test_train(tmp_path):
    pytest.importorskip("drr.train.training", exc_type=ImportError)
    rng = np.random.default_rng(0)
    labels = [[i % 2, 0] for i in range(20)]
    pictures = rng.integers(0, 100, (20, 32, 32)) + 100 * np.array(labels)[:, :1, None]
    file = write_dataset(tmp_path / "set.h5", pictures, labels=labels, label_names=["a", "b"])
    options = ["--label", "a", "--epochs", 2, "--batch-size", 8, "--accelerator", "cpu"]
    code, output = run("train", file, "-o", tmp_path / "run", "-r", "chexnet", *options)
    assert code == 0, output
    assert "no sample has a split" in output
    assert output.count("epoch ") >= 2
    assert (tmp_path / "run" / "model.pt").is_file()
    code, output = run("train", file, "-o", tmp_path / "run", "-r", "chexnet", *options)
    assert code == 2
    assert "holds a training already" in output
    code, output = run("train", file, "-o", tmp_path / "run", "-r", "chexnet", *options, "--resume")
    assert code == 0
    assert "finished after 2 epochs" in output
    code, output = run("train", file, "-o", tmp_path / "b", "-r", "modern", "--label", "b")
    assert code == 2
    assert "no positives of b" in output
    code, output = run("train", tmp_path / "run", "-o", tmp_path / "c")
    assert code == 2
    assert "has no store.json" in output


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    rng = np.random.default_rng(0)
    labels = [[i % 2] for i in range(18)]
    return write_dataset(
        tmp_path_factory.mktemp("films") / "set.h5", rng.integers(0, 256, (18, 32, 32)),
        labels=labels, label_names=["a"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("recipe", "options", "words"),
    [
        ('{"image_size": 32, "batch_size": 13}', [], "leave one for the last"),
        ("{}", ["--accelerator", "gpu"], "no GPU answers"),
        ("{}", ["--devices", "0"], "--devices"),
        ("{}", ["--devices", "99999"], "99999 devices were asked for"),
        ("{}", ["--seed", "9" * 23], "seed must be a whole number from 0 to"),
        ("{}", ["--seed", "-1"], "--seed"),
        ("{}", ["--batch-size", "9" * 30], "batch_size must be a whole number from 1 to 65536"),
        ("{}", ["--epochs", "9" * 30], "epochs must be a whole number"),
        ("{}", ["--workers", "100000"], "workers is a number from 0 to 256"),
        ("{}", ["--workers", "-1"], "--workers"),
        ("{}", ["--fold", "9"], "fold 9 does not exist"),
        ("{}", ["--label", "b"], "there is no label 'b'"),
        ("{}", ["--view", "ll"], "there is no view 'll'"),
        ("{}", ["--weights", "none.pt"], "none.pt"),
        ('{"seed": %s}' % ("9" * 23), [], "seed must be a whole number"),
        ('{"seed": %s}' % ("9" * 400), [], "too many digits"),
        ('{"learning_rate": NaN}', [], "NaN is not a JSON number"),
        ('{"learning_rate": 1e999}', [], "too large"),
        ('{"learning_rate": "fast"}', [], "learning_rate must be a number"),
        ('{"learning_rate": true}', [], "learning_rate must be a number"),
        ('{"gradient_clip": %s}' % ("1" * 39), [], "gradient_clip must be a number"),
        ('{"image_size": 8}', [], "image_size must be a whole number from 32 to 4096"),
        ('{"image_size": 1000000000}', [], "image_size must be a whole number from 32 to 4096"),
        ('{"image_size": [32, 32]}', [], "image_size must be a whole number"),
        ('{"labels": {"a": 1}}', [], "labels must be a list"),
        ('{"labels": [["a"]]}', [], "labels must be a list"),
        ('{"policy": ["chest"]}', [], "policy: "),
        ('{"policy": "cest"}', [], "policy: there is no"),
        ('{"betas": [0.9, [1]]}', [], "betas must be a number"),
        ('{"optimiser": ["adam"]}', [], "optimiser must be one of"),
        ('{"precision": {}}', [], "precision must be one of"),
        ('{"seed": 1, "seed": 2}', [], "occurs twice"),
        ("[" * 3000, [], "nested too deeply"),
        ("", [], "is not JSON"),
    ],
)
def test_a_refused_training_is_one_line_and_leaves_nothing(films, tmp_path, recipe, options, words):
    pytest.importorskip("drr.train.training", exc_type=ImportError)
    (tmp_path / "r.json").write_text(recipe)
    folder = tmp_path / "runs" / "run"
    options = ["--accelerator", "cpu", *options]
    done = CliRunner().invoke(
        main, ["train", str(films), "-o", str(folder), "-r", str(tmp_path / "r.json"), *options]
    )
    assert done.exit_code == 2, done.output
    errors = [line for line in done.stderr.splitlines() if not line.startswith("drr: note: ")]
    assert len(errors) == 1
    assert words in errors[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.json"]


def test_a_refused_preparation_leaves_nothing(scans, tmp_path):
    for options, words in (
        (["--spacing", "1e9"], "from 0.05 to 50"),
        (["--spacing", "1e-9"], "from 0.05 to 50"),
        (["--spacing", "nan"], "from 0.05 to 50"),
    ):
        code, output = run("prepare", scans, "-o", tmp_path / "store", *options)
        assert (code, output.count("\n")) == (2, 1)
        assert words in output
        assert not (tmp_path / "store").exists()


def test_help_needs_no_torch():
    script = (
        "import sys; from drr.cli import main; main(['train', '--help'], standalone_mode=False); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "Train a CheXNet on DATA" in done.stdout
    assert done.stdout.rstrip().endswith("False")
