from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dataset_file import write_dataset

import drr
from drr.datasets import EpochSampler, MixedDRRs, ProjectedDRRs, StoredDRRs
from drr.datasets.loaders.projected import THICKNESS_MM
from drr.datasets.loaders.store import prepare_store
from drr.datasets.phantom.thorax import thorax_with_labels
from drr.datasets.schema import DatasetError
from drr.datasets.study import Cohort, CohortError, Study
from drr.errors import DisplayError, GeometryError, PolicyError, ProjectionError
from drr.randomise.policy import Draw, Policy, Range

pytestmark = pytest.mark.slow

SIZE = (32, 32)


def make_store(folder, *, count=4, masks=True, leak=False):
    """Phantoms of which every other one has a big heart, as its label says."""
    studies = tuple(
        Study(
            sample=f"scan{i}",
            patient=f"p{i // 2 if leak else i}",
            path=f"{i}.nii",
            split=("train", "valid")[i % 2],
            labels=(i % 2,),
            age=50 + i,
        )
        for i in range(count)
    )
    volumes = {s.sample: thorax_with_labels(56, seed=i) for i, s in enumerate(studies)}

    def read(study):
        volume, mask = volumes[study.sample]
        return volume, mask if masks else None

    cohort = Cohort(kind="x", root=folder, studies=studies, label_names=("Cardiomegaly",))
    return prepare_store(cohort, folder, read=read)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("p") / "store")


def test_samples(store):
    data = ProjectedDRRs(store.folder, shape=SIZE, policy=None)
    assert len(data) == 4
    sample = data[1]
    assert sample["image"].shape == (1, *SIZE)
    assert sample["image"].dtype == np.float32
    assert 0 <= sample["image"].min() < 0.2 < 0.7 < sample["image"].max() <= 1
    assert sample["labels"].tolist() == [1]
    assert sample["name"] == "scan1"
    assert data.ages.tolist() == [50, 51, 52, 53]
    prepared, _ = store.load(1)
    view = drr.View(shape=SIZE)
    np.testing.assert_array_equal(sample["image"][0], drr.project(prepared, view).picture())


def test_every_epoch_is_fresh_and_repeatable(store):
    data = ProjectedDRRs(store, shape=SIZE, seed=5)
    first, again, later = data[0, 2]["image"], data[0, 2]["image"], data[1, 2]["image"]
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - later).mean() > 0.01
    assert np.abs(first - ProjectedDRRs(store, shape=SIZE, seed=6)[0, 2]["image"]).mean() > 0.01
    assert data.draw((0, 2)) != data.draw((1, 2))
    # The draw says how to make the sample again.
    prepared, _ = store.load(2)
    draw = data.draw((1, 2))
    made = drr.project(prepared, drr.View(shape=SIZE), draw=draw, seed=draw.noise_seed)
    np.testing.assert_array_equal(made.picture(), later[0])


def test_many_views_of_a_volume(store):
    data = ProjectedDRRs(store, shape=SIZE, views=["pa", "ll"], policy=None, samples_per_volume=8)
    assert len(data) == 32
    images = {data[index]["image"].tobytes() for index in range(0, 32, 4)}
    assert len(images) == 2
    assert data.view == "pa+ll"


@pytest.mark.parametrize(("view", "sides"), [("pa", "RL"), ("ll", "LL"), ("rl", "RR")])
def test_markers_name_the_right_side(store, view, sides):
    data = ProjectedDRRs(
        store, shape=SIZE, views=view, policy=Policy(marker_height=Range(0.3, 0.3))
    )
    plain = ProjectedDRRs(store, shape=SIZE, views=view, policy=None)
    np.testing.assert_array_equal(
        data[0]["image"][0], data.draw(0).picture(plain[0]["image"][0], sides=sides)
    )


def test_subset_draws_as_the_whole(store):
    data = ProjectedDRRs(store, shape=SIZE, split="valid", samples_per_volume=3)
    part = data.subset([4, 1])
    np.testing.assert_array_equal(part[2, 0]["image"], data[2, 4]["image"])
    assert part.names == [data.names[4], data.names[1]]


def test_masks_are_channels(store):
    data = ProjectedDRRs(store, shape=SIZE, policy=None, masks=(2, 1))
    image = data[0]["image"]
    assert image.shape == (3, *SIZE)
    prepared, mask = store.load(0)
    made = drr.project(prepared, drr.View(shape=SIZE), mask=mask)
    left = np.maximum(made.thickness[made.labels.index(2)], 0) / THICKNESS_MM
    np.testing.assert_allclose(image[1], left, atol=1e-6)
    assert image[1].max() > 0.5
    # The patient's left is on the picture's right.
    assert image[1][:, 16:].sum() > 5 * image[1][:, :16].sum()


def test_masks_follow_the_picture(store):
    policy = Policy(flip=1.0, shift_across=Range(0.25, 0.25))
    plain = ProjectedDRRs(store, shape=SIZE, policy=None, masks=(1,))[0]["image"]
    moved = ProjectedDRRs(store, shape=SIZE, policy=policy, masks=(1,))[0]["image"]
    expected = np.roll(plain[:, :, ::-1], 8, axis=2)
    expected[:, :, :8] = 0
    np.testing.assert_allclose(moved[:, :, 1:], expected[:, :, 1:], atol=2e-3)


@pytest.mark.parametrize(
    ("workers", "start"), [(0, None), (1, "fork"), (2, "fork"), (1, "spawn"), (2, "spawn")]
)
def test_deterministic_whatever_the_workers(store, workers, start):
    torch_data = pytest.importorskip("torch.utils.data", reason="torch is not installed")
    if start and start not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {start}")
    data = ProjectedDRRs(store, shape=SIZE, masks=(1,), look="physical", samples_per_volume=2)
    sampler = EpochSampler(data, seed=1)
    loader = torch_data.DataLoader(
        data, batch_size=3, sampler=sampler, num_workers=workers, multiprocessing_context=start
    )
    for epoch in (0, 1):
        batches = list(loader)
        order = np.concatenate([batch["index"].numpy() for batch in batches])
        assert sorted(order.tolist()) == list(range(8))
        images = np.concatenate([batch["image"].numpy() for batch in batches])
        expected = np.stack([data[epoch, int(index)]["image"] for index in order])
        np.testing.assert_array_equal(images, expected)


def test_no_cuda_in_a_worker(store, monkeypatch):
    monkeypatch.setattr("drr.datasets.loaders.projected._is_worker", lambda: True)
    data = ProjectedDRRs(store, shape=SIZE)
    assert data._backend(True) == "cpu"
    data.backend = "cuda"
    with pytest.raises(ProjectionError, match="num_workers=0"):
        data[0]


def test_views_that_no_room_allows_are_drawn_again(store):
    # Many detectors would lie beside the patient.
    policy = Policy(offset_across=Range(-900, 900))
    data = ProjectedDRRs(store, shape=SIZE, policy=policy)
    attempts = []
    for epoch in range(12):
        assert data[epoch, 0]["image"].max() > 0.1
        attempts.append(data.draw((epoch, 0)))
    prepared, _ = store.load(0)

    def fits(draw: Draw) -> bool:
        try:
            drr.project(prepared, drr.View(shape=SIZE), draw=draw)
        except GeometryError:
            return False
        return True

    assert not all(map(fits, attempts))
    never = Policy(offset_across=Range(1900, 2000))
    with pytest.raises(GeometryError, match="scan0"):
        ProjectedDRRs(store, shape=SIZE, policy=never)[0]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"views": []}, DatasetError, "no views"),
        ({"views": "front"}, GeometryError, "front"),
        ({"policy": "chests"}, PolicyError, "did you mean 'chest'"),
        ({"look": "flim"}, DisplayError, "did you mean 'film'"),
        ({"look": "drr-rate"}, ProjectionError, "StoredDRRs"),
        ({"labels": ["Cardiomegali"]}, DatasetError, "did you mean 'Cardiomegaly'"),
        ({"split": "test"}, DatasetError, "there are train, valid"),
        ({"samples_per_volume": 0}, DatasetError, "one or more"),
        ({"masks": (0,)}, DatasetError, "above zero"),
        ({"masks": (1, 1)}, DatasetError, "different labels"),
        ({"backend": "gpu"}, ProjectionError, "gpu"),
        ({"style": "x"}, DatasetError, "no style"),
    ],
)
def test_wrong_options_are_named(store, options, error, words):
    with pytest.raises(error, match=words):
        ProjectedDRRs(store, **options)


def test_bad_stores(tmp_path):
    store = make_store(tmp_path / "leak", count=2, masks=False, leak=True)
    with pytest.raises(CohortError, match="p0 in train and valid"):
        ProjectedDRRs(store, split="train")
    with pytest.raises(DatasetError, match="scan0 has no segmentation"):
        ProjectedDRRs(store, masks=(1,))


def test_mixing(store, tmp_path):
    file = write_dataset(
        tmp_path / "set.h5", np.zeros((10, *SIZE)), labels=[[0]] * 10, label_names=["Cardiomegaly"]
    )
    stored, projected = StoredDRRs(file), ProjectedDRRs(store, shape=SIZE)
    mixed = MixedDRRs(stored, projected, projected_fraction=0.3, seed=2)
    assert len(mixed) == 10
    for epoch in (0, 1):
        sources = [mixed.source((epoch, index)) for index in range(10)]
        assert sum(source is projected for source, _ in sources) == 3
        places = [place for source, place in sources if source is stored]
        assert len(set(places)) == 7
    assert [p for _, p in map(mixed.source, [(0, i) for i in range(10)])] != [
        p for _, p in map(mixed.source, [(1, i) for i in range(10)])
    ]
    index = next(i for i in range(10) if mixed.source((1, i))[0] is projected)
    sample = mixed[1, index]
    assert sample["index"] == index
    assert sample["name"].startswith("scan")
    np.testing.assert_array_equal(
        sample["image"], projected[1, mixed.source((1, index))[1]]["image"]
    )
    everything = MixedDRRs(stored, projected, projected_fraction=1, length=9)
    places = [everything.source((0, index))[1] for index in range(9)]
    assert sorted(np.bincount(places)) == [2, 2, 2, 3]
    with pytest.raises(IndexError):
        mixed[10]


def test_what_cannot_be_mixed(store, tmp_path):
    file = write_dataset(
        tmp_path / "set.h5", np.zeros((2, *SIZE)), labels=[[0]] * 2, label_names=["Other"]
    )
    projected = ProjectedDRRs(store, shape=SIZE)
    with pytest.raises(DatasetError, match="different labels"):
        MixedDRRs(StoredDRRs(file), projected)
    other = ProjectedDRRs(store, shape=SIZE, style="torchxrayvision")
    with pytest.raises(DatasetError, match="different styles"):
        MixedDRRs(other, projected)
    with pytest.raises(DatasetError, match="within 0 and 1"):
        MixedDRRs(projected, projected, projected_fraction=1.5)
    with pytest.raises(DatasetError, match="one or more"):
        MixedDRRs(projected, projected, length=0)


SOAK = """
import json, sys
from drr.datasets import ProjectedDRRs

def resident():
    # What no other process shares and no file backs.
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))

data = ProjectedDRRs(sys.argv[1], shape=(32, 32), views=["pa", "ll"], masks=(1,), threads=1)
count, used = int(sys.argv[2]), []
for number in range(count):
    data[number // len(data), number % len(data)]
    if number % (count // 10) == count // 10 - 1:
        used.append(resident())
print(json.dumps(used))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize(
    "count", [500, pytest.param(20_000, marks=[pytest.mark.soak, pytest.mark.timeout(7200)])]
)
def test_memory_stays_flat(store, count):
    done = subprocess.run(
        [sys.executable, "-c", SOAK, str(store.folder), str(count)],
        capture_output=True,
        text=True,
        check=True,
    )
    used = json.loads(done.stdout)
    # From the second tenth on nothing grows by more than 3 MB, in kB.
    assert max(used[1:]) - used[1] < 3000, used


def test_on_a_gpu_in_a_stream_of_its_own(store, monkeypatch):
    """On the stand-in: the picture is the CPU's, and nothing is queued behind other work."""
    from cuda_host.install import installed
    from cuda_host.machine import machine

    from drr.kernels.cuda import residency
    from drr.kernels.cuda.detect import Detection

    found = Detection(available=True, stage="", reason="", fix="", device="Some GPU")
    monkeypatch.setattr("drr.kernels.cuda.detect.detect", lambda: found)
    with installed(workers=1):
        residency.volumes.clear()
        data = ProjectedDRRs(store.folder, shape=SIZE, policy=None, backend="cuda")
        first, second = data[0]["image"], data[1]["image"]
        streams = {launch.stream for launch in machine.launches}
        assert len(streams) == 1
        assert streams != {0}
        assert data._stream is not None
        assert data.__getstate__()["_stream"] is None
        residency.volumes.clear()
    data = ProjectedDRRs(store.folder, shape=SIZE, policy=None, backend="cpu")
    # Shear-warp here, Joseph there: the same sums in another order, on voxels of 7 mm.
    assert np.abs(data[0]["image"] - first).mean() < 0.01
    assert np.abs(data[1]["image"] - second).mean() < 0.01
