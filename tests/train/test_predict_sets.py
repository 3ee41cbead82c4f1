"""`drr evaluate` of a model on a data set's file and on films."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from dataset_file import write_dataset
from PIL import Image

torch = pytest.importorskip("torch", reason="torch is not installed")

from drr.cli import main  # noqa: E402
from drr.datasets import StoredDRRs  # noqa: E402
from drr.evaluate.metrics import EvaluationError  # noqa: E402
from drr.evaluate.predictions import read_predictions  # noqa: E402
from drr.train.model import Model, densenet121, save_model  # noqa: E402
from drr.train.predict_sets import predict_films, predict_views, truth_of  # noqa: E402
from drr.train.recipe import Recipe  # noqa: E402

LABELS = ("Pleural effusion", "Gallstone")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model.pt, an untrained network; 24 films with a table, one of them lateral."""
    folder = tmp_path_factory.mktemp("model")
    torch.set_num_threads(1)  # the images are tiny
    torch.manual_seed(0)
    model = Model(
        network=densenet121(2, channels=1).eval(),
        labels=LABELS,
        recipe=Recipe(image_size=32, channels=1, normalisation="centred"),
        extra_channels=0,
        about={},
    )
    save_model(folder / "model.pt", model)
    films = folder / "films"
    films.mkdir()
    rng = np.random.default_rng(0)
    rows = ["image,patient,view,Effusion,Gallstone"]
    for i in range(24):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (40, 32), np.uint8)).save(buffer, "PNG")
        (films / f"f{i}.png").write_bytes(buffer.getvalue())
        rows.append(f"f{i}.png,p{i // 2},{'L' if i == 5 else 'PA'},{i % 2},{i % 3 == 0:d}")
    (folder / "films.csv").write_text("\n".join(rows))
    return folder


def run(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["evaluate", *map(str, arguments), "--draws", "100"])
    assert result.exit_code == code, result.output
    return result.output


def test_on_films(folder: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved.csv"
    output = run(folder / "model.pt", "--films", folder / "films", "--truth", folder / "films.csv",
                 "--save", saved)  # fmt: skip
    assert "23 samples of 12 patients" in output
    assert "Pleural effusion as Effusion" in output
    assert "1 rows are of other splits or views" in output
    assert "Gallstone" in output
    # What was saved, evaluated as a table, says the same.
    again = run(saved, "--truth", folder / "films.csv", "--subgroup", "none")
    row = next(line for line in output.splitlines() if line.startswith("Effusion"))
    assert row in again
    assert read_predictions(saved).labels == LABELS


def test_on_a_data_set(folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 2, (12, 2)).astype(np.int8)
    file = tmp_path / "drrs.h5"
    write_dataset(
        file,
        rng.integers(0, 256, (12, 32, 32), np.uint8),
        labels=codes,
        label_names=LABELS,
        splits=["train"] * 4 + ["test"] * 8,
        patients=[f"p{i // 2}" for i in range(12)],
    )
    predictions, truth = predict_views(folder, file, split="test")
    assert len(predictions) == 8
    assert truth.codes.tolist() == codes[4:].tolist()
    output = run(folder, "--data", file, "--split", "test", "--compare", folder / "model.pt")
    assert "8 samples of 4 patients" in output
    assert "less" in output
    assert "1.000" in output  # the same model twice: p
    bare = StoredDRRs(file)
    assert truth_of(bare).names == tuple(bare.names)
    bare.pathologies = []
    with pytest.raises(EvaluationError, match="no labels"):
        truth_of(bare)


def test_the_table_beside_the_films_is_found(folder: Path, tmp_path: Path) -> None:
    films = folder / "films"
    (films / "films.csv").write_text((folder / "films.csv").read_text())
    try:
        predictions, truth = predict_films(folder / "model.pt", films, views="all")
    finally:
        (films / "films.csv").unlink()
    assert predictions.names == truth.names
    assert len(predictions) == 24


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("model.pt", "--truth", "films.csv"), "say what it shall see"),
        (("films.csv", "--films", "films"), "are for models"),
        (("model.pt", "--data", "x.h5", "--truth", "films.csv"), "leave --films and --truth out"),
        (("none.pt", "--films", "films", "--truth", "films.csv"), "there is no such file"),
        (("films.csv", "--save", "x.csv"), "--save writes a model's predictions"),
        (("model.pt", "--films", "films"), "say which table"),
    ],
)
def test_mistakes(
    folder: Path, arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    output = run(*arguments, code=2)
    assert message in output
    assert output.count("drr: error:") == 1
