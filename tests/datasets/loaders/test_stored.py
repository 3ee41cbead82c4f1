from __future__ import annotations

import pickle
import subprocess
import sys

import h5py
import numpy as np
import pytest
from dataset_file import write_dataset

from drr.datasets import EpochSampler, StoredDRRs
from drr.datasets.labels import UNCERTAIN, UNKNOWN
from drr.datasets.schema import DatasetError
from drr.datasets.study import CohortError
from drr.errors import DRRError, PolicyError
from drr.train.vision import import_vision

NAMES = ["Cardiomegaly", "Pleural effusion", "Lung nodule"]
CODES = [[i % 2, 1 - i % 2, (0, 1, UNCERTAIN, UNKNOWN)[i % 4]] for i in range(8)]
SPLITS = ["train"] * 5 + ["valid"] * 3


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(0).integers(0, 256, (8, 24, 20), np.uint8)


@pytest.fixture(scope="module")
def file(tmp_path_factory, pictures):
    path = tmp_path_factory.mktemp("stored") / "set.h5"
    return write_dataset(
        path,
        pictures,
        labels=CODES,
        label_names=NAMES,
        splits=SPLITS,
        line_integrals=pictures / 25.5,
    )


def test_plain_samples(file, pictures):
    data = StoredDRRs(file)
    assert len(data) == 8
    assert data.pathologies == NAMES
    sample = data[2]
    assert sample["image"].shape == (1, 24, 20)
    assert sample["image"].dtype == np.float32
    np.testing.assert_array_equal(sample["image"][0], pictures[2] / np.float32(255))
    np.testing.assert_array_equal(sample["labels"], [0, 1, np.nan])
    assert (sample["index"], sample["name"], sample["patient"]) == (2, "s2", "p2")
    assert data[-1]["name"] == "s7"
    assert "8 samples of 8 patients" in repr(data)
    with pytest.raises(IndexError):
        data[8]


def test_labels_and_split_are_chosen(file):
    data = StoredDRRs(file, labels=["Lung nodule", "Cardiomegaly"], split="valid", view="pa")
    assert data.names == ["s5", "s6", "s7"]
    assert data.pathologies == ["Lung nodule", "Cardiomegaly"]
    np.testing.assert_array_equal(data.labels, [[1, 1], [np.nan, 0], [np.nan, 1]])
    np.testing.assert_array_equal(data.ages, [45, 46, 47])


def test_line_integrals(file, pictures):
    data = StoredDRRs(file, quantity="line_integrals", white=10)
    np.testing.assert_allclose(data[3]["image"][0], pictures[3] / 255, atol=1e-4)


def test_subset_keeps_the_samples(file):
    data = StoredDRRs(file, policy="chest", seed=4)
    part = data.subset([6, 1])
    assert part.names == ["s6", "s1"]
    np.testing.assert_array_equal(part[0]["image"], data[6]["image"])
    assert list(part.csv["name"]) == ["s6", "s1"]
    with pytest.raises(DatasetError, match="no sample is left"):
        data.subset([])


def test_effects_change_with_the_epoch_only(file):
    data = StoredDRRs(file, policy="chest", seed=1)
    first, again, later = data[0, 3], data[0, 3], data[1, 3]
    np.testing.assert_array_equal(first["image"], again["image"])
    assert np.abs(first["image"] - later["image"]).max() > 0.01
    data.set_epoch(1)
    np.testing.assert_array_equal(data[3]["image"], later["image"])
    with pytest.raises(DatasetError, match="counted from 0"):
        data.set_epoch(-1)


def test_transform_and_style(file, pictures):
    data = StoredDRRs(file, style="torchxrayvision", transform=lambda image: image[:, ::2, ::2])
    sample = data[1]
    assert set(sample) == {"idx", "lab", "img"}
    assert sample["img"].shape == (1, 12, 10)
    grey = pictures[1, ::2, ::2] / 255
    np.testing.assert_allclose(sample["img"][0], grey * 2048 - 1024, atol=1e-3)


def test_torchxrayvision_takes_it(file):
    pytest.importorskip("torch", reason="torch is not installed")
    xrv = import_vision("torchxrayvision")
    first, second = (StoredDRRs(file, style="torchxrayvision", split=s) for s in ("train", "valid"))
    wanted = ["Pleural effusion", "Cardiomegaly"]
    for data in (first, second):
        xrv.datasets.relabel_dataset(wanted, data, silent=True)
        assert list(data.pathologies) == wanted
    merged = xrv.datasets.MergeDataset([first, second])
    assert len(merged) == 8
    assert merged.labels.shape == (8, 2)
    np.testing.assert_array_equal(merged[6]["lab"], [1, 0])
    assert merged[6]["img"].min() >= -1024


def test_csv(file):
    table = StoredDRRs(file).csv
    assert list(table.columns)[:2] == ["name", "patientid"]
    assert table["sex_male"].tolist() == [False, True] * 4
    assert table["age_years"].tolist() == list(range(40, 48))


def test_sampler_order():
    data = list(range(10))
    sampler = EpochSampler(data, seed=3)
    first, second = list(sampler), list(sampler)
    assert {epoch for epoch, _ in first} == {0}
    assert {epoch for epoch, _ in second} == {1}
    assert sorted(index for _, index in first) == data
    assert [i for _, i in first] != [i for _, i in second]
    sampler.set_epoch(0)
    assert list(sampler) == first
    assert [i for _, i in EpochSampler(data, shuffle=False)] == data


@pytest.mark.parametrize("start", ["fork", "spawn", "forkserver"])
def test_workers_give_the_same(file, start):
    data = pytest.importorskip("torch.utils.data", reason="torch is not installed")
    if start not in __import__("multiprocessing").get_all_start_methods():
        pytest.skip(f"this system cannot {start}")
    drrs = StoredDRRs(file, policy="chest", seed=9)
    expected = [drrs[1, index]["image"] for index in range(8)]  # the file is open before the fork
    sampler = EpochSampler(drrs, shuffle=False)
    loader = data.DataLoader(
        drrs, batch_size=3, sampler=sampler, num_workers=2, multiprocessing_context=start
    )
    sampler.set_epoch(1)
    images = np.concatenate([batch["image"].numpy() for batch in loader])
    np.testing.assert_array_equal(images, expected)


def test_persistent_workers_follow_the_epoch(file):
    data = pytest.importorskip("torch.utils.data", reason="torch is not installed")
    drrs = StoredDRRs(file, policy="chest")
    loader = data.DataLoader(
        drrs,
        batch_size=8,
        sampler=EpochSampler(drrs, shuffle=False),
        num_workers=1,
        persistent_workers=True,
        multiprocessing_context="fork",
    )
    for epoch in range(3):
        (batch,) = loader
        np.testing.assert_array_equal(
            batch["image"].numpy(), [drrs[epoch, index]["image"] for index in range(8)]
        )


def test_pickles_while_open(file):
    drrs = StoredDRRs(file)
    expected = drrs[0]["image"]
    copied = pickle.loads(pickle.dumps(drrs))
    np.testing.assert_array_equal(copied[0]["image"], expected)


def test_importing_needs_no_torch():
    script = (
        "import sys, drr.datasets as d; d.StoredDRRs; d.ProjectedDRRs; "
        "print([m for m in ('torch', 'h5py', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"labels": ["Cardiomegally"]}, "did you mean 'Cardiomegaly'"),
        ({"labels": []}, "one at least"),
        ({"labels": ["Lung nodule", "Lung nodule"]}, "different names"),
        ({"view": "ap"}, "there is no view 'ap'"),
        ({"split": "test"}, "there are train, valid"),
        ({"quantity": "thickness"}, "no quantity 'thickness'"),
        ({"style": "xrv"}, "no style 'xrv'"),
        ({"white": 0}, "above zero"),
        ({"transform": 3}, "a transform is called"),
    ],
)
def test_wrong_options_are_named(file, options, words):
    with pytest.raises(DatasetError, match=words):
        StoredDRRs(file, **options)


def test_effects_need_pictures(file):
    with pytest.raises(PolicyError, match="leave the policy"):
        StoredDRRs(file, quantity="line_integrals", policy="chest")


def test_patients_in_two_splits(tmp_path):
    path = write_dataset(
        tmp_path / "leak.h5",
        np.zeros((3, 8, 8)),
        labels=[[0]] * 3,
        label_names=["x"],
        patients=["anna", "ben", "anna"],
        splits=["train", "train", "valid"],
    )
    with pytest.raises(CohortError, match="anna in train and valid"):
        StoredDRRs(path, split="train")


def test_a_file_without_splits(tmp_path):
    path = write_dataset(tmp_path / "a.h5", np.zeros((1, 8, 8)), labels=[[0]], label_names=["x"])
    with pytest.raises(DatasetError, match="no sample has a split at all"):
        StoredDRRs(path, split="train")


def test_several_views_need_a_choice(tmp_path, file):
    path = tmp_path / "two.h5"
    path.write_bytes(file.read_bytes())
    with h5py.File(path, "a") as opened:
        opened.copy("views/pa", "views/ll")
        del opened["views/ll/line_integrals"]
    with pytest.raises(DatasetError, match="choose one with view="):
        StoredDRRs(path)
    with pytest.raises(DatasetError, match="has no line_integrals; it has picture"):
        StoredDRRs(path, view="ll", quantity="line_integrals")


def test_nan_images(tmp_path):
    images = np.ones((2, 8, 8), np.float32)
    images[1, 3, 3] = np.nan
    path = write_dataset(
        tmp_path / "nan.h5",
        np.zeros((2, 8, 8)),
        labels=[[0], [1]],
        label_names=["x"],
        line_integrals=images,
        quantised=False,
    )
    data = StoredDRRs(path, quantity="line_integrals")
    assert data[0]["image"].max() == np.float32(0.1)
    with pytest.raises(DatasetError, match="of s1 are not all finite"):
        data[1]


def test_damaged_image(tmp_path, file):
    path = tmp_path / "damaged.h5"
    path.write_bytes(file.read_bytes())
    with h5py.File(path, "r") as opened:
        chunk = opened["views/pa/picture"].id.get_chunk_info(2)
    with path.open("r+b") as opened:
        opened.seek(chunk.byte_offset)
        opened.write(b"\xff" * chunk.size)
    data = StoredDRRs(path)
    data[1]
    with pytest.raises(DatasetError, match="picture of s2 cannot be read"):
        data[2]


def test_files_that_are_none(tmp_path, file):
    with pytest.raises(DatasetError, match="no such file"):
        StoredDRRs(tmp_path / "none.h5")
    with pytest.raises(DRRError, match="folder"):
        StoredDRRs(tmp_path)
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(DatasetError, match="cannot be opened as HDF5"):
        StoredDRRs(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w"):
        pass
    with pytest.raises(DatasetError, match="is not a data set"):
        StoredDRRs(tmp_path / "other.h5")
    path = tmp_path / "newer.h5"
    path.write_bytes(file.read_bytes())
    with h5py.File(path, "a") as opened:
        opened.attrs["schema_version"] = 99
    with pytest.raises(DatasetError, match="schema version 99"):
        StoredDRRs(path)
