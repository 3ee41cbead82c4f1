"""Devices of a training: refused where there are none, and several that work as one."""

from __future__ import annotations

import json
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

from drr.datasets.schema import DatasetError  # noqa: E402
from drr.train.data import training_parts  # noqa: E402
from drr.train.devices import find_devices, listening, told  # noqa: E402
from drr.train.model import densenet121  # noqa: E402
from drr.train.predict import predict  # noqa: E402
from drr.train.recipe import Recipe  # noqa: E402
from drr.train.train import TrainingError, _check_steps, train  # noqa: E402

pytestmark = pytest.mark.slow

RECIPE = Recipe(image_size=32, channels=1, batch_size=6, epochs=1, folds=4, learning_rate=1e-3)
two = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="there is one processor")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    rng = np.random.default_rng(0)
    return write_dataset(
        tmp_path_factory.mktemp("small") / "small.h5",
        rng.integers(0, 256, (27, 32, 32)),
        labels=rng.permutation([0, 1] * 27).reshape(27, 2),
        label_names=["a", "b"],
        patients=[f"p{i // 3:02}" for i in range(27)],
        splits=["train"] * 27,
    )


def drr(folder, *arguments):
    """The command as a user gives it, and one thread for each of its processes."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", "from drr.cli import main; main()", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip


@two
def test_two_devices_train_as_one(small, tmp_path):
    (tmp_path / "r.json").write_text(json.dumps(RECIPE.to_dict()))
    options = ("-r", "r.json", "--accelerator", "cpu", "--devices", "2")
    process = drr(tmp_path, "train", small, "-o", "run", *options)
    out, errors = process.communicate()
    assert process.returncode == 0, errors
    assert errors == ""
    assert out.splitlines()[0].startswith("epoch   0  loss ")
    assert out.splitlines()[1] == "run/model.pt: epoch 0"
    folder = tmp_path / "run"
    assert json.loads((folder / "run.json").read_text())["devices"] == 2
    header, row = (line.split(",") for line in (folder / "history.csv").read_text().splitlines())
    # What is kept is what was judged, by every sample of the fold once: an odd number here.
    valid = training_parts(small, RECIPE).valid
    assert len(valid) % 2
    scores, truth = predict(folder, valid).scores, valid.labels
    loss = -np.mean(np.log(np.where(truth > 0.5, scores, 1 - scores)))
    assert float(row[header.index("valid_loss")]) == pytest.approx(loss, rel=1e-4)
    with pytest.raises(TrainingError, match="with devices 2, not 1"):
        train(small, folder, recipe=RECIPE, accelerator="cpu", resume=True)


@two
@pytest.mark.parametrize("workers", [0, 1])
def test_what_a_process_fails_of_is_one_line(small, tmp_path, workers, capfd):
    path = tmp_path / "damaged.h5"
    path.write_bytes(small.read_bytes())
    name = training_parts(small, RECIPE).train.names[-1]
    with h5py.File(path, "r") as opened:
        row = opened["samples/name"].asstr()[...].tolist().index(name)
        chunk = opened["views/pa/picture"].id.get_chunk_info(row)
    with path.open("r+b") as opened:
        opened.seek(chunk.byte_offset)
        opened.write(b"\xff" * chunk.size)
    with pytest.raises(DatasetError, match=rf"damaged\.h5: the picture of {name} cannot") as info:
        train(path, tmp_path / "run", recipe=RECIPE, accelerator="cpu", devices=2, workers=workers)
    assert "Traceback" not in str(info.value)
    assert capfd.readouterr() == ("", "")
    assert not (tmp_path / "run").exists()
    assert not torch.distributed.is_initialized()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(("devices", "status"), [(1, 130), pytest.param(2, 130, marks=two)])
def test_ctrl_c_in_the_first_epoch_leaves_nothing(small, tmp_path, devices, status):
    recipe = {**RECIPE.to_dict(), "image_size": 512, "epochs": 50}
    (tmp_path / "r.json").write_text(json.dumps(recipe))
    options = ("-r", "r.json", "--accelerator", "cpu", "--devices", devices)
    process = drr(tmp_path, "train", small, "-o", "runs/run", *options)
    while process.poll() is None and not (tmp_path / "runs/run").exists():
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == status, errors
    assert "Traceback" not in errors
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("accelerator", "devices", "words"),
    [
        ("gpu", 1, "no GPU answers"),
        ("tpu", 1, "there is no accelerator 'tpu'; use one of auto, cpu, gpu"),
        ("cpu", 0, "devices must be a whole number from 1, got 0"),
        ("cpu", -1, "devices must be a whole number from 1, got -1"),
        ("cpu", True, "devices must be a whole number from 1, got True"),
        ("auto", "auto", "devices must be a whole number from 1, got 'auto'"),
        ("auto", 100_000, "100000 devices were asked for, and there are"),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_devices_that_are_not_there(small, tmp_path, accelerator, devices, words):
    with pytest.raises(TrainingError, match=words):
        train(small, tmp_path / "run", recipe=RECIPE, accelerator=accelerator, devices=devices)
    assert not (tmp_path / "run").exists()


def test_devices_that_are_there():
    assert find_devices("cpu", 1) == "cpu"
    assert find_devices("auto", 1) == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("size", [32, 60, 61, 64])
def test_a_last_step_of_one_image(size):
    """What is refused is what batch normalisation refuses."""
    network = densenet121(1, channels=1)
    recipe = Recipe(image_size=size, batch_size=4)
    _check_steps(8, recipe, 1)
    _check_steps(10, recipe, 1)
    try:
        network(torch.zeros(1, 1, size, size))
    except ValueError:
        for count, batch, devices in ((9, 4, 1), (17, 4, 2), (3, 1, 1), (1, 32, 1)):
            with pytest.raises(TrainingError, match=r"leave one for the last.*image_size 64"):
                _check_steps(count, Recipe(image_size=size, batch_size=batch), devices)
    else:
        assert size > 60
        _check_steps(9, recipe, 1)


def test_errors_are_told_as_users_need_them():
    ended = torch.multiprocessing.ProcessExitedException
    raised = torch.multiprocessing.ProcessRaisedException
    trace = "\n\n-- Process 1 terminated with the following error:\nTraceback ...:\n  File x\n"
    for error, words in (
        (ended("process 1 terminated with signal SIGKILL", 1, 1, -9), "too little memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to"), "memory is too small"),
        (raised(f"{trace}torch.OutOfMemoryError: CUDA out of memory.\n", 1, 1), "is too small"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "memory is too small"),
        (MemoryError(), "memory is too small"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "fewer workers"),
    ):
        assert isinstance(told(error), TrainingError)
        assert words in str(told(error))
    of_data = told(raised(f"{trace}drr.datasets.schema.DatasetError: c.h5: is bad\n", 0, 1))
    assert isinstance(of_data, DatasetError)
    assert str(of_data) == "c.h5: is bad"
    bug = raised(f"{trace}KeyError: 'a bug in DataLoader'\n", 0, 1)
    assert told(bug) is bug


def test_rows_come_from_other_processes_in_order():
    rows = []
    with listening(lambda *row: rows.append(row)) as sender:
        for epoch in range(3):
            sender.row({"epoch": epoch}, epoch == 1)
    assert rows == [({"epoch": epoch}, epoch == 1) for epoch in range(3)]


def test_a_folder_of_a_first_epoch_that_was_killed_is_free(small, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"recipe": {"epochs": 7}}))
    history = train(small, folder, recipe=RECIPE, accelerator="cpu")
    assert len(history.rows) == 1
    assert json.loads((folder / "run.json").read_text())["recipe"]["epochs"] == 1
    # A model without its checkpoint is a training nevertheless.
    (folder / "last.ckpt").unlink()
    with pytest.raises(TrainingError, match="holds a training already"):
        train(small, folder, recipe=RECIPE, accelerator="cpu")


@pytest.mark.parametrize("text", ["[]", "3", "{", '{"a": 1, "a": 2}', "\x00"])
def test_a_damaged_run_is_refused(small, tmp_path, text):
    folder = Path(tmp_path / "run")
    folder.mkdir()
    (folder / "run.json").write_text(text)
    (folder / "last.ckpt").write_bytes(b"")
    with pytest.raises(TrainingError, match=r"run\.json: "):
        train(small, folder, recipe=RECIPE, accelerator="cpu", resume=True)
    assert sorted(path.name for path in folder.iterdir()) == ["last.ckpt", "run.json"]
