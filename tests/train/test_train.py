"""Training end to end on films of phantoms, with and without large hearts and effusions."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from dataset_file import write_dataset

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("drr.train.training", exc_type=ImportError)

import drr  # noqa: E402
from drr.datasets import StoredDRRs  # noqa: E402
from drr.datasets.loaders.store import prepare_store  # noqa: E402
from drr.datasets.phantom.finding import Finding  # noqa: E402
from drr.datasets.phantom.thorax import thorax, thorax_with_labels  # noqa: E402
from drr.datasets.schema import DatasetError  # noqa: E402
from drr.datasets.study import Cohort, Study  # noqa: E402
from drr.errors import WriteError  # noqa: E402
from drr.evaluate.metrics import auroc  # noqa: E402
from drr.train.data import (  # noqa: E402
    Inputs,
    class_weights,
    fold_images,
    open_data,
    targets,
    training_parts,
)
from drr.train.model import ModelError, load_model  # noqa: E402
from drr.train.predict import predict  # noqa: E402
from drr.train.recipe import Recipe  # noqa: E402
from drr.train.train import TrainingError, train  # noqa: E402

pytestmark = pytest.mark.slow

LABELS = ("Cardiomegaly", "Pleural effusion")
TINY = Recipe(
    name="tiny",
    image_size=64,
    channels=1,
    normalisation="centred",
    learning_rate=1e-3,
    batch_size=16,
    epochs=3,
    folds=4,
)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """120 films of 60 phantoms, each from two sides that differ a little."""
    rng = np.random.default_rng(0)
    pictures, labels, patients = [], [], []
    for patient in range(60):
        codes = [int(rng.random() < 0.5) for _ in LABELS]
        findings = [
            Finding(name=name, severity=0.8, seed=patient, side="both")
            for name, code in zip(LABELS, codes, strict=True)
            if code
        ]
        scan = thorax(
            48,
            seed=patient,
            findings=findings,
            sex="FM"[patient % 2],
            bmi=float(rng.uniform(20, 30)),
        )
        ready = drr.patient.prepare.prepare(scan)
        for angle in (-2.0, 2.0):
            view = drr.View(primary_angle=angle, shape=(64, 64))
            pictures.append(np.rint(255 * drr.project(ready, view).picture()))
            labels.append(codes)
            patients.append(f"p{patient:02}")
    splits = ["train" if p < "p44" else "valid" for p in patients]
    return write_dataset(
        tmp_path_factory.mktemp("films") / "films.h5",
        pictures,
        labels=labels,
        label_names=LABELS,
        patients=patients,
        splits=splits,
    )


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small networks gain nothing from more, and lose where processors are shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Pictures of nothing, for what does not depend on them."""
    rng = np.random.default_rng(0)
    return write_dataset(
        tmp_path_factory.mktemp("small") / "small.h5",
        rng.integers(0, 256, (24, 32, 32)),
        labels=rng.permutation([0, 1] * 24).reshape(24, 2),
        label_names=LABELS,
        patients=[f"p{i // 2:02}" for i in range(24)],
        splits=["train"] * 24,
    )


@pytest.fixture(scope="module")
def trained(file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    reported = []
    history = train(
        file,
        folder,
        recipe=Recipe(**{**TINY.to_dict(), "epochs": 6, "schedule": "cosine"}),
        accelerator="cpu",
        report=lambda row, best: reported.append((row["epoch"], best)),
    )
    assert [epoch for epoch, _ in reported] == list(range(6))
    return folder, history


def test_beats_chance_clearly_on_held_out_patients(trained, file):
    folder, history = trained
    assert history.rows[-1]["train_loss"] < 0.6 * history.rows[0]["train_loss"]
    held_out = StoredDRRs(file, split="valid")
    predictions = predict(folder, file, split="valid")
    assert predictions.names == tuple(held_out.names)
    assert predictions.labels == LABELS
    areas = [
        auroc(truth, scores)
        for truth, scores in zip(held_out.labels.T, predictions.scores.T, strict=True)
    ]
    # 32 films of 16 patients; with labels at random 0.8 has a chance of about 1 in 50 for one.
    assert min(areas) > 0.8, areas


def test_what_a_training_leaves(trained):
    folder, history = trained
    assert sorted(path.name for path in folder.iterdir()) == [
        "curves.svg",
        "history.csv",
        "last.ckpt",
        "model.pt",
        "run.json",
    ]
    with (folder / "history.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert [int(row["epoch"]) for row in rows] == list(range(6))
    assert float(rows[3]["auroc: Cardiomegaly"]) == pytest.approx(
        history.rows[3]["auroc: Cardiomegaly"]
    )
    assert (folder / "curves.svg").read_text().count("<polyline") == 3
    run = json.loads((folder / "run.json").read_text())
    assert run["labels"] == list(LABELS)
    assert len(run["valid_patients"]) == 11
    model = load_model(folder, labels=LABELS)
    assert model.about["epoch"] == history.best
    assert model.recipe.name == "tiny"


SCRIPT = """
import torch
from drr.train.recipe import Recipe
from drr.train.train import train

torch.set_num_threads(1)
recipe = Recipe.from_dict({recipe})
train({file!r}, {folder!r}, recipe=recipe, workers=1, accelerator="cpu", resume=True,
      report=lambda row, _: print(int(row["epoch"]), flush=True))
"""


def test_a_killed_training_goes_on_to_the_same_curve(small, tmp_path):
    """Random crops, effects, order and plateaus all depend on the epoch alone."""
    recipe = {
        **TINY.to_dict(),
        "image_size": 32,
        "schedule": "plateau",
        "policy": "chest",
        "crop_area": [0.8, 1.0],
        "flip": 0.5,
        "epochs": 3,
    }

    def run(folder, kill_after=None):
        script = SCRIPT.format(recipe=recipe, file=str(small), folder=str(folder))
        process = subprocess.Popen(
            [sys.executable, "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        if kill_after is not None:
            for line in process.stdout:
                if int(line) == kill_after:
                    time.sleep(0.1)  # in the middle of the next epoch
                    os.killpg(process.pid, signal.SIGKILL)
                    break
        _, errors = process.communicate()
        return process.returncode, errors

    code, errors = run(tmp_path / "whole")
    assert code == 0, errors
    code, _ = run(tmp_path / "killed", kill_after=0)
    assert code == -signal.SIGKILL
    done = (tmp_path / "killed" / "history.csv").read_text().splitlines()
    assert len(done) == 2
    code, errors = run(tmp_path / "killed")
    assert code == 0, errors
    whole = (tmp_path / "whole" / "history.csv").read_text()
    assert len(whole.splitlines()) == 4
    assert (tmp_path / "killed" / "history.csv").read_text() == whole
    # A finished training is left as it is.
    notes = []
    again = Recipe.from_dict(recipe)
    train(small, tmp_path / "killed", recipe=again, resume=True, note=notes.append)
    assert "finished after 3 epochs" in notes[0]


def test_early_stopping(small, tmp_path):
    # With such a learning rate the first epoch stays the best.
    recipe = Recipe(**{**TINY.to_dict(), "image_size": 32, "learning_rate": 1e-9,
                       "monitor": "auroc", "patience": 1, "epochs": 9,
                       "schedule": "constant"})  # fmt: skip
    history = train(small, tmp_path / "run", recipe=recipe, accelerator="cpu")
    assert len(history.rows) < 9
    assert history.epochs_without_gain == 1
    notes = []
    train(small, tmp_path / "run", recipe=recipe, resume=True, note=notes.append)
    assert "finished" in notes[0]


def test_folders_and_checkpoints_of_other_trainings(trained, file, tmp_path):
    folder, _ = trained
    with pytest.raises(TrainingError, match="holds a training already"):
        train(file, folder, recipe=TINY)
    with pytest.raises(TrainingError, match="with recipe schedule 'cosine', not 'constant'"):
        train(file, folder, recipe=TINY, resume=True)
    same = json.loads((folder / "run.json").read_text())["recipe"]
    with pytest.raises(TrainingError, match="with fold 0, not 1"):
        train(file, folder, recipe=same, fold=1, resume=True)
    with pytest.raises(TrainingError, match="labels"):
        train(file, folder, recipe=same | {"labels": list(LABELS[::-1])}, resume=True)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.txt").write_text("mine")
    with pytest.raises(TrainingError, match="is not empty"):
        train(file, tmp_path / "used", recipe=TINY)
    (tmp_path / "file").write_text("x")
    with pytest.raises(WriteError, match="cannot be written"):
        train(file, tmp_path / "file", recipe=TINY)

    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "run.json").write_text((folder / "run.json").read_text())
    (copy / "last.ckpt").write_text("broken")
    with pytest.raises(ModelError, match=r"last\.ckpt: cannot be read"):
        train(file, copy, recipe=same, resume=True)
    content = torch.load(folder / "last.ckpt", weights_only=True)
    content["drr"]["labels"] = ["Mass", "Hernia"]
    torch.save(content, copy / "last.ckpt")
    with pytest.raises(ModelError, match="was trained for Mass, Hernia"):
        train(file, copy, recipe=same, resume=True)


def test_folds_are_of_patients(file):
    seen = set()
    for fold in range(TINY.folds):
        parts = training_parts(file, TINY, fold=fold)
        assert not set(parts.train.patients) & set(parts.valid.patients)
        assert not parts.notes
        assert len(parts.train) + len(parts.valid) == 88
        assert set(parts.train.splits) == {"train"}
        seen |= set(parts.valid.names)
    assert len(seen) == 88
    with pytest.raises(DatasetError, match="fold 4 does not exist"):
        training_parts(file, TINY, fold=4)


def test_the_published_folds_leak_and_say_so(file):
    parts = training_parts(file, Recipe(**{**TINY.to_dict(), "folds_of": "images"}))
    shared = set(parts.train.patients) & set(parts.valid.patients)
    assert shared
    assert f"{len(shared)} patients are both in training and validation" in parts.notes[0]


def test_published_folds_are_scikit_learns():
    model_selection = pytest.importorskip("sklearn.model_selection")
    folds = model_selection.KFold(5, shuffle=True, random_state=42)
    for mine, (_, theirs) in zip(
        fold_images(103, folds=5, seed=42), folds.split(np.zeros(103)), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)
    with pytest.raises(DatasetError, match="cannot make 5 folds"):
        fold_images(4, folds=5, seed=0)


def test_targets_and_weights():
    codes = np.array([[1, 0], [-1, -128], [0, 0], [0, 0], [0, 1]], np.int8)
    strict = targets(codes, Recipe(uncertain="ignore", unknown="ignore"))
    np.testing.assert_array_equal(strict[1], [np.nan, np.nan])
    np.testing.assert_array_equal(
        targets(codes, Recipe(uncertain="present", unknown="absent"))[1], [1, 0]
    )
    np.testing.assert_array_equal(class_weights(strict, Recipe()), np.ones((2, 2)))
    weights = class_weights(strict, Recipe(class_weighting="balanced"))
    # Positives and negatives of a finding weigh the same in all.
    np.testing.assert_allclose(weights, [[4 / 6, 4 / 6], [2, 2]])


def test_a_class_without_positives(tmp_path):
    path = write_dataset(
        tmp_path / "set.h5", np.zeros((8, 64, 64)), labels=[[i % 2, 0] for i in range(8)],
        label_names=["a", "b"],
    )  # fmt: skip
    with pytest.raises(DatasetError, match="no positives of b among 6 training samples"):
        train(path, tmp_path / "run", recipe=TINY)
    assert not (tmp_path / "run").exists()


def test_data_without_labels(tmp_path):
    path = write_dataset(tmp_path / "set.h5", np.zeros((8, 64, 64)), labels=[], label_names=[])
    with pytest.raises(DatasetError, match="has no labels"):
        train(path, tmp_path / "run", recipe=TINY)


def test_inputs(file):
    data = open_data(file)
    recipe = Recipe(**{**TINY.to_dict(), "channels": 3, "normalisation": "imagenet"})
    plain = Inputs(data, recipe, training=False)[3]["input"]
    grey = torch.from_numpy(data[3]["image"])[0]
    assert plain.shape == (3, 64, 64)
    assert torch.allclose(plain[2], (grey - 0.406) / 0.225)
    wide = torch.rand(2, 40, 80)
    crop, padded = (
        Inputs(data, Recipe(image_size=40, channels=1, square=square), training=False)
        for square in ("crop", "pad")
    )
    assert torch.equal(crop.prepare(wide), wide[:, :, 20:60])
    assert padded.prepare(wide).shape == (2, 40, 40)
    assert padded.prepare(wide)[:, :9].abs().max() == 0
    random = Inputs(data, Recipe(image_size=32, crop_area=(0.5, 0.9), flip=0.5), training=True)
    assert torch.equal(random[2, 5]["input"], random[2, 5]["input"])
    assert not torch.equal(random[2, 5]["input"], random[3, 5]["input"])


def test_images_that_are_not_finite(file):
    data = StoredDRRs(file, transform=lambda image: image * np.nan)
    with pytest.raises(DatasetError, match="image of s3 is not finite"):
        Inputs(data, TINY, training=False)[3]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_named_in_one_line(small, tmp_path, workers):
    path = tmp_path / "damaged.h5"
    path.write_bytes(small.read_bytes())
    with h5py.File(path, "r") as opened:
        chunk = opened["views/pa/picture"].id.get_chunk_info(3)
    with path.open("r+b") as opened:
        opened.seek(chunk.byte_offset)
        opened.write(b"\xff" * chunk.size)
    recipe = Recipe(**{**TINY.to_dict(), "image_size": 32, "epochs": 1})
    with pytest.raises(
        DatasetError, match=r"damaged\.h5: the picture of s3 cannot be read"
    ) as info:
        train(path, tmp_path / "run", recipe=recipe, accelerator="cpu", workers=workers)
    assert "\n" not in str(info.value)


def test_training_while_projecting(small, tmp_path):
    """Stored and projected views mixed, then projected ones alone with the heart as a channel."""
    studies = tuple(
        Study(sample=f"c{i}", patient=f"p{i:02}", path=f"{i}.nii", labels=(i % 2, 1 - i % 2))
        for i in range(8)
    )

    def read(study):
        return thorax_with_labels(40, seed=int(study.sample[1:]))

    cohort = Cohort(kind="x", root=tmp_path, studies=studies, label_names=LABELS)
    store = prepare_store(cohort, tmp_path / "store", read=read)
    recipe = Recipe(**{**TINY.to_dict(), "image_size": 32, "policy": "chest", "epochs": 1})
    parts = training_parts(small, recipe, projected=store.folder)
    held = set(parts.valid.patients)
    assert not held & set(parts.train.projected.patients)
    assert len(parts.train.projected) == 8 - len(held & {s.patient for s in studies})
    history = train(small, tmp_path / "mixed", recipe=recipe, projected=store.folder, workers=1,
                    accelerator="cpu")  # fmt: skip
    assert math.isfinite(history.rows[0]["train_loss"])
    notes = []
    train(store.folder, tmp_path / "projected", recipe=recipe, note=notes.append,
          accelerator="cpu")  # fmt: skip
    assert "no sample has a split" in notes[0]
    scores = predict(tmp_path / "projected", store.folder).scores
    assert scores.shape == (8, 2)
    with pytest.raises(DatasetError, match="is a store already"):
        training_parts(store.folder, recipe, projected=store.folder)
    with pytest.raises(ModelError, match="channels of organs"):
        predict(tmp_path / "projected", open_data(store.folder, masks=(1,), shape=(32, 32)))


def test_first_weights(trained, small, tmp_path):
    folder, _ = trained
    notes = []
    recipe = Recipe(**{**TINY.to_dict(), "image_size": 32, "epochs": 1})
    history = train(small, tmp_path / "on", recipe=recipe, weights=folder / "model.pt",
                    accelerator="cpu", note=notes.append)  # fmt: skip
    assert not notes
    assert len(history.rows) == 1
    with pytest.raises(ModelError, match="no such file"):
        train(small, tmp_path / "off", recipe=recipe, weights=Path("none.pth"))
