"""Data sets that keep torchxrayvision's contract, seen through ours.

The package itself is not needed: stored views in its style keep the same contract.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dataset_file import write_dataset
from PIL import Image

from drr.datasets import StoredDRRs
from drr.datasets.labels import UNKNOWN
from drr.evaluate.films.torchxrayvision import TorchXRayVisionFilms
from drr.evaluate.metrics import EvaluationError
from drr.train.vision import import_vision

pytest.importorskip("pandas")

NAMES = ("Effusion", "Nodule")


@pytest.fixture
def dataset(tmp_path: Path) -> StoredDRRs:
    """Six pictures of three patients as torchxrayvision gives them."""
    pictures = np.random.default_rng(0).integers(0, 256, (6, 10, 8), np.uint8)
    file = write_dataset(
        tmp_path / "data.h5",
        pictures,
        labels=[[1, 0], [0, 1], [0, UNKNOWN], [1, 1], [0, 0], [0, 0]],
        label_names=NAMES,
        patients=["a", "a", "b", "b", "c", "c"],
    )
    return StoredDRRs(file, style="torchxrayvision")


def test_the_same_samples_as_they_were(dataset: StoredDRRs) -> None:
    films = TorchXRayVisionFilms(dataset)
    plain = StoredDRRs(dataset.path)
    assert len(films) == 6
    assert films.names == plain.names
    assert films.patients == plain.patients
    assert films.sexes == plain.sexes
    for ours, theirs in zip(films, plain, strict=True):
        np.testing.assert_allclose(ours["image"], theirs["image"], atol=1e-6)
        np.testing.assert_array_equal(ours["labels"], theirs["labels"])


def test_views_labels_and_subsets(dataset: StoredDRRs) -> None:
    dataset.csv["view"] = ["PA", "L", "AP", "L", "PA", ""]
    films = TorchXRayVisionFilms(dataset, labels=("Lung nodule", "Atelectasis"))
    assert films.views == ["PA", "AP", "PA"]
    assert films.codes.tolist() == [[0, UNKNOWN], [UNKNOWN, UNKNOWN], [0, UNKNOWN]]
    assert any("Atelectasis" in note for note in films.notes)
    part = films.subset([2])
    assert (part.names, part.views) == (["s4"], ["PA"])
    np.testing.assert_array_equal(part[0]["image"], films[2]["image"])
    assert list(part.csv["view"]) == ["PA"]
    with pytest.raises(EvaluationError, match="no sample has a LL view"):
        TorchXRayVisionFilms(dataset, views="LL")
    with pytest.raises(EvaluationError, match="did you mean 'Nodule'"):
        TorchXRayVisionFilms(dataset, labels=("Nodul",))


def test_what_is_none_of_its_kind(dataset: StoredDRRs) -> None:
    with pytest.raises(EvaluationError, match="list has no pathologies and no labels"):
        TorchXRayVisionFilms([1, 2])
    dataset.style = "plain"
    with pytest.raises(EvaluationError, match="s0: the sample has no 'img'"):
        TorchXRayVisionFilms(dataset)[0]
    dataset.style = "torchxrayvision"
    dataset.transform = lambda image: image[0]
    with pytest.raises(EvaluationError, match=r"s0: its image is of shape \(10, 8\)"):
        TorchXRayVisionFilms(dataset)[0]
    for wrong in (
        lambda image: image / 1024,
        lambda image: image * 30,
        lambda image: image * np.nan,
    ):
        dataset.transform = wrong
        with pytest.raises(EvaluationError, match="not from -1024 to 1024"):
            TorchXRayVisionFilms(dataset)[0]


def test_a_data_set_of_the_package_itself(tmp_path: Path) -> None:
    """NIH ChestX-ray14 as torchxrayvision reads it, in files laid out as it is distributed."""
    pytest.importorskip("torch", reason="torch is not installed")
    xrv = import_vision("torchxrayvision")
    pictures = np.random.default_rng(0).integers(0, 256, (3, 24, 20), np.uint8)
    rows = ["Image Index,Finding Labels,Patient ID,Patient Age,Patient Gender,View Position"]
    for number, (picture, findings, view) in enumerate(
        zip(pictures, ("Effusion|Mass", "No Finding", "Nodule"), ("PA", "AP", "PA"), strict=True)
    ):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{findings},{number},6{number},F,{view}")
    (tmp_path / "entries.csv").write_text("\n".join(rows) + "\n")
    theirs = xrv.datasets.NIH_Dataset(
        str(tmp_path), csvpath=str(tmp_path / "entries.csv"), views=["PA", "AP"]
    )
    films = TorchXRayVisionFilms(theirs, labels=("Pleural effusion", "Lung nodule"))
    assert films.views == ["PA", "AP", "PA"]
    assert films.patients == ["0", "1", "2"]
    assert films.codes.tolist() == [[1, 0], [0, 0], [0, 1]]
    np.testing.assert_allclose(films[2]["image"][0], pictures[2] / 255, atol=1e-6)
