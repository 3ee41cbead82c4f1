from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import drr
from drr.datasets.loaders import store as store_module
from drr.datasets.loaders.store import PreparedStore, prepare_store
from drr.datasets.phantom.nifti import nifti_bytes
from drr.datasets.phantom.thorax import thorax_with_labels
from drr.datasets.schema import DatasetError
from drr.datasets.study import Cohort, Study
from drr.errors import ReadError, WriteError
from drr.patient.prepare import prepare
from drr.volume import Volume


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Two scans, one with a segmentation, and a third that is none."""
    root = tmp_path_factory.mktemp("scans")
    for seed in (0, 1):
        volume, labels = thorax_with_labels(72, seed=seed, couch=True)
        (root / f"ct{seed}.nii").write_bytes(nifti_bytes(volume, Path("ct.nii")))
        (root / f"mask{seed}.nii").write_bytes(nifti_bytes(labels, Path("mask.nii")))
    (root / "bad.nii").write_bytes(b"no scan")
    return Cohort(
        kind="manifest",
        root=root,
        label_names=("Cardiomegaly", "Lung nodule"),
        studies=(
            Study(
                sample="a",
                patient="anna",
                path="ct0.nii",
                split="train",
                labels=(1, 0),
                sex="F",
                age=61,
                segmentation="mask0.nii",
            ),
            Study(sample="bad", patient="carl", path="bad.nii"),
            Study(sample="b", patient="ben", path="ct1.nii", split="valid"),
        ),
    )


@pytest.fixture(scope="module")
def store(scans, tmp_path_factory):
    return prepare_store(scans, tmp_path_factory.mktemp("store") / "new" / "store")


def test_what_is_in_it(store):
    assert len(store) == 2
    first, second = store.entries
    assert (first.sample, first.patient, first.split, first.sex, first.age) == (
        "a", "anna", "train", "F", 61)  # fmt: skip
    assert store.label_names == ("Cardiomegaly", "Lung nodule")
    np.testing.assert_array_equal(store.codes, [[1, 0], [-128, -128]])
    assert list(store.failures) == ["bad"]
    assert "bad.nii" in store.failures["bad"]
    assert second.mask_affine is None
    store.verify()


def test_a_stored_scan_projects_like_the_scan(store, scans):
    scan = drr.read(scans.root / "ct0.nii")
    prepared, mask = store.load(0)
    fresh = prepare(scan)
    np.testing.assert_array_equal(prepared.volume.hu, fresh.volume.hu)
    np.testing.assert_array_equal(prepared.anatomy.lungs, fresh.anatomy.lungs)
    assert prepared.sha256 == scan.sha256
    assert prepared.extension == fresh.extension
    assert mask is not None
    organs = drr.read(scans.root / "mask0.nii")
    views = [drr.View(shape=(48, 48)), "ll"]
    for stored, direct in zip(
        drr.project(prepared, views, mask=mask),
        drr.project(scan, views, mask=organs),
        strict=True,
    ):
        # The stored scan lies in one array, the other in parts: sums are rounded otherwise.
        np.testing.assert_allclose(stored.line_integrals, direct.line_integrals, atol=1e-5)
        np.testing.assert_allclose(stored.picture(), direct.picture(), atol=1e-3)
        assert stored.labels == direct.labels
        np.testing.assert_allclose(stored.thickness, direct.thickness, atol=0.05)


def test_voxels_are_mapped_and_safe(store):
    prepared, _ = store.load(0)
    before = prepared.volume.hu[0, 0, 0]
    prepared.volume.hu[0, 0, 0] = before + 1
    fresh, _ = PreparedStore(store.folder).load(0)
    assert fresh.volume.hu[0, 0, 0] == before


def test_coarser_voxels(scans, tmp_path):
    coarse = prepare_store(scans, tmp_path / "coarse", spacing=12)
    fine, _ = PreparedStore(prepare_store(scans, tmp_path / "fine").folder).load(0)
    prepared, mask = coarse.load(0)
    assert coarse.bytes < 0.5 * PreparedStore(tmp_path / "fine").bytes
    assert np.abs(prepared.volume.spacing - 12).max() < 4
    assert mask is not None
    images = [
        drr.project(p, drr.View(shape=(40, 40)), look="raw", field="lungs").line_integrals
        for p in (fine, prepared)
    ]
    assert np.corrcoef(images[0].ravel(), images[1].ravel())[0, 1] > 0.99
    assert images[1].mean() == pytest.approx(images[0].mean(), rel=0.02)
    assert "averaged" in " ".join(coarse.entries[0].notes)


def test_an_interrupted_run_goes_on(scans, tmp_path, monkeypatch):
    folder = tmp_path / "store"
    read = store_module._read

    def interrupted(study, root):
        if study.sample == "b":
            raise KeyboardInterrupt
        return read(study, root)

    monkeypatch.setattr(store_module, "_read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare_store(scans, folder)
    with pytest.raises(DatasetError, match="unfinished"):
        PreparedStore(folder)
    assert not list(folder.glob(".*"))

    seen = []
    monkeypatch.setattr(store_module, "_read", lambda s, r: seen.append(s.sample) or read(s, r))
    prepare_store(scans, folder)
    assert seen == ["bad", "b"]
    seen.clear()
    store = prepare_store(scans, folder)
    assert seen == ["bad"]
    assert len(store) == 2
    prepare_store(scans, folder, spacing=10)
    assert seen == ["bad", "a", "bad", "b"]


@pytest.fixture
def own(scans, tmp_path):
    """Files of one's own, which a test may change, and a store of them."""
    root = tmp_path / "source"
    shutil.copytree(scans.root, root)
    cohort = replace(scans, root=root)
    return cohort, prepare_store(cohort, tmp_path / "store")


def reads(monkeypatch):
    """The samples that are read from here on."""
    seen = []
    read = store_module._read
    monkeypatch.setattr(store_module, "_read", lambda s, r: seen.append(s.sample) or read(s, r))
    return seen


def test_scans_are_prepared_again_where_their_files_changed(own, monkeypatch):
    cohort, store = own
    seen = reads(monkeypatch)
    shutil.copy(cohort.root / "ct0.nii", cohort.root / "bad.nii")
    assert len(prepare_store(cohort, store.folder)) == 3
    assert seen == ["bad"]
    seen.clear()
    before = (cohort.root / "ct1.nii").stat()
    # Of the same size and time, as copies with -p have.
    shutil.copy(cohort.root / "ct0.nii", cohort.root / "ct1.nii")
    os.utime(cohort.root / "ct1.nii", ns=(before.st_atime_ns, before.st_mtime_ns))
    store = prepare_store(cohort, store.folder)
    assert seen == ["b"]
    assert store.entries[2].sha256 == store.entries[1].sha256 == store.entries[0].sha256
    seen.clear()
    shutil.copy(cohort.root / "mask1.nii", cohort.root / "mask0.nii")
    store = prepare_store(cohort, store.folder)
    assert seen == ["a"]
    assert store.failures == {}
    store.verify()


def test_a_scan_that_is_gone_is_left_out_until_it_is_back(own, monkeypatch):
    cohort, store = own
    seen = reads(monkeypatch)
    (cohort.root / "ct1.nii").rename(cohort.root / "away")
    store = prepare_store(cohort, store.folder)
    assert set(store.failures) == {"bad", "b"}
    (cohort.root / "away").rename(cohort.root / "ct1.nii")
    seen.clear()
    assert set(prepare_store(cohort, store.folder).failures) == {"bad"}
    assert seen == ["bad"]


def test_touched_files_are_compared_by_their_content(own, monkeypatch):
    cohort, store = own
    seen = reads(monkeypatch)
    for name in ("ct0.nii", "mask0.nii", "ct1.nii"):
        os.utime(cohort.root / name, ns=(5, 5))
    index = (store.folder / "store.json").read_bytes()
    prepare_store(cohort, store.folder)
    assert seen == ["bad"]
    assert (store.folder / "store.json").read_bytes() == index


def test_a_store_is_whole_until_a_scan_is_replaced(own, monkeypatch):
    cohort, store = own
    read = store_module._read

    def interrupted(study, root):
        if study.sample in stop:
            raise KeyboardInterrupt
        return read(study, root)

    monkeypatch.setattr(store_module, "_read", interrupted)
    stop = ["bad"]
    with pytest.raises(KeyboardInterrupt):
        prepare_store(cohort, store.folder)
    assert len(PreparedStore(store.folder)) == 2
    shutil.copy(cohort.root / "ct1.nii", cohort.root / "ct0.nii")
    shutil.copy(cohort.root / "mask1.nii", cohort.root / "mask0.nii")
    with pytest.raises(KeyboardInterrupt):
        prepare_store(cohort, store.folder)
    with pytest.raises(DatasetError, match="unfinished"):
        PreparedStore(store.folder)
    stop.clear()
    prepare_store(cohort, store.folder).verify()


def test_two_at_a_time_are_refused_and_remains_are_no_obstacle(own):
    cohort, store = own

    def second(_):
        with pytest.raises(WriteError, match="another process prepares"):
            prepare_store(cohort, store.folder)

    prepare_store(cohort, store.folder, advance=second)
    (store.folder / "store.json").unlink()
    (store.folder / ".drr-000000000000-4242-17-000000000000.part").touch()
    assert len(prepare_store(cohort, store.folder)) == 2
    assert not (store.folder / "lock").exists()


def test_nothing_prepared_leaves_no_folder(scans, tmp_path):
    bad = replace(scans, studies=scans.studies[1:2])
    with pytest.raises(DatasetError, match="none of 1"):
        prepare_store(bad, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_damage_is_found(scans, tmp_path):
    store = prepare_store(scans, tmp_path / "store")
    path = store.folder / "a" / "hu.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-2] + b"\x01\x02")
    with pytest.raises(DatasetError, match="bytes have changed"):
        PreparedStore(store.folder).verify()
    path.write_bytes(whole[:-2])
    with pytest.raises(DatasetError, match=r"hu\.npy: has \d+ bytes, expected"):
        PreparedStore(store.folder)
    path.unlink()
    with pytest.raises(DatasetError, match=r"hu\.npy: is missing"):
        PreparedStore(store.folder)


def test_other_versions_and_other_folders(scans, tmp_path):
    folder = tmp_path / "store"
    prepare_store(scans, folder)
    index = json.loads((folder / "store.json").read_text())
    (folder / "store.json").write_text(json.dumps(index | {"version": 7}))
    with pytest.raises(DatasetError, match="version 7, this release reads 1"):
        PreparedStore(folder)
    with pytest.raises(DatasetError, match="version 7"):
        prepare_store(scans, folder)
    (folder / "store.json").write_text("{}")
    with pytest.raises(DatasetError, match="not the index"):
        PreparedStore(folder)
    (folder / "store.json").write_text("{")
    with pytest.raises(DatasetError, match="is not JSON"):
        PreparedStore(folder)
    with pytest.raises(DatasetError, match=r"has no store\.json"):
        PreparedStore(tmp_path / "nothing")
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(DatasetError, match="not empty and no store"):
        prepare_store(scans, other)
    assert (other / "thesis.txt").read_text() == "mine"
    (tmp_path / "a file").write_text("x")
    with pytest.raises(WriteError, match="cannot be written"):
        prepare_store(scans, tmp_path / "a file")


def test_nothing_to_prepare(scans, tmp_path):
    bad = replace(scans, studies=scans.studies[1:2])
    with pytest.raises(DatasetError, match="none of 1 scans could be prepared"):
        prepare_store(bad, tmp_path / "store")
    with pytest.raises(DatasetError, match="spacing is mm"):
        prepare_store(scans, tmp_path / "store", spacing=-1)


def test_a_reader_of_ones_own(scans, tmp_path):
    def read(study):
        if study.sample != "a":
            raise ReadError("not that one")
        return drr.read(scans.root / study.path), None

    store = prepare_store(scans, tmp_path / "store", read=read)
    assert [entry.sample for entry in store.entries] == ["a"]
    assert store.failures == {"bad": "not that one", "b": "not that one"}


def test_a_mask_of_another_scan(scans, tmp_path):
    def read(study):
        volume = drr.read(scans.root / study.path)
        away = volume.affine.copy()
        away[:3, 3] += 5000
        return volume, Volume(hu=np.ones((3, 3, 3), np.int16), affine=away, name="far")

    with pytest.raises(DatasetError, match="mask is of another scan"):
        prepare_store(replace(scans, studies=scans.studies[:1]), tmp_path / "store", read=read)


def test_values_that_are_no_hu_are_left_out_unless_accepted(scans, tmp_path):
    scan = drr.read(scans.root / "ct0.nii")
    shifted = replace(scan, hu=scan.hu + np.int16(1024))
    (tmp_path / "shifted.nii").write_bytes(nifti_bytes(shifted, Path("ct.nii")))
    studies = tuple(
        Study(sample=name, patient=name, path=f"{name}.nii") for name in ("good", "shifted")
    )
    (tmp_path / "good.nii").write_bytes((scans.root / "ct1.nii").read_bytes())
    cohort = Cohort(kind="manifest", root=tmp_path, studies=studies)
    store = prepare_store(cohort, tmp_path / "store")
    assert list(store.failures) == ["shifted"]
    assert "--accept values" in store.failures["shifted"]
    store = prepare_store(cohort, tmp_path / "store", accept="values")
    assert not store.failures
    assert store.options["accept"] == ["values"]


def damaged_index(folder, change):
    path = folder / "store.json"
    index = json.loads(path.read_text())
    change(index)
    path.write_text(json.dumps(index))


def put(*keys, value):
    def change(index):
        for key in keys[:-1]:
            index = index[key]
        index[keys[-1]] = value

    return change


SCAN = ("volumes", 0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put("options", value=3), "'options' must be an object, not a whole number"),
        (put("label_names", value={}), "'label_names' must be a list"),
        (put("label_names", value=[1, 2]), "label_names and failures must be texts"),
        (put("failures", value={"a": []}), "label_names and failures must be texts"),
        (put("volumes", value=None), "'volumes' must be a list, not null"),
        (put("volumes", value=[7]), "scan 1: .* is a whole number, not an object"),
        (put(*SCAN, "sample", value=1), "scan 1: .*'sample' must be text, not a whole number"),
        (put(*SCAN, "sample", value="../../etc"), "scan 1: .*sample '.*' has a character"),
        (put(*SCAN, "sample", value="a/b"), "scan 1: .*sample '.*' has a character"),
        (put(*SCAN, "patient", value=None), "'patient' must be text, not null"),
        (put(*SCAN, "age", value="old"), "'age' must be a number or null"),
        (put(*SCAN, "age", value=1e30), "is not in years"),
        (put(*SCAN, "labels", value=[1.5]), "labels must be whole numbers"),
        (put(*SCAN, "labels", value=[1] * 99), "labels"),
        (put(*SCAN, "shape", value=[1, 2]), "shape must be three"),
        (put(*SCAN, "shape", value=[1, 2, True]), "shape must be whole numbers"),
        (put(*SCAN, "shape", value=[1, 2, 3]), r"hu\.npy has the shape"),
        (put(*SCAN, "spacing", value=[1, 2, -3]), "spacing must be three numbers above zero"),
        (put(*SCAN, "affine", value=[[1, 2], [3]]), "scan 1: "),
        (put(*SCAN, "affine", value=[[0.0] * 4] * 4), "affine"),
        (put(*SCAN, "affine", value=[["a"] * 4] * 4), "affine must be finite numbers"),
        (put(*SCAN, "affine", value=[[1e200] * 4] * 4), "affine must be finite numbers up to"),
        (put(*SCAN, "mask_affine", value=3), "'mask_affine' must be a list or null"),
        (put(*SCAN, "extension", value={"far": 1}), "unknown key 'far'"),
        (put(*SCAN, "cleaned", value=1), "'cleaned' must be true or false"),
        (put(*SCAN, "notes", value=[{}]), "notes must be texts"),
        (put(*SCAN, "files", value={"../x": [1, "0" * 64]}), "files must be hu.npy, anatomy.npz"),
        (put(*SCAN, "files", "hu.npy", value=[10**30, 1]), "a size and a digest each"),
        (put(*SCAN, "files", "hu.npy", value=7), "scan 1: "),
        (put(*SCAN, "colour", value=7), "unknown key 'colour'"),
        (lambda index: index["volumes"][0].pop("key"), "the key 'key' is missing"),
        (lambda index: index["volumes"].append(index["volumes"][0]), "names a scan twice"),
    ],
)
def test_an_index_of_wrong_values_is_refused(own, change, words):
    _, store = own
    damaged_index(store.folder, change)
    with pytest.raises(DatasetError, match=words) as info:
        PreparedStore(store.folder).load(0)
    assert str(info.value).startswith(str(store.folder))


@pytest.mark.parametrize("name", ["hu.npy", "mask.npy", "anatomy.npz"])
def test_damaged_files_of_a_scan_are_refused(own, name):
    """Those of the same size, which only `verify` tells from whole ones."""
    _, store = own
    (path,) = (p for p in [store.folder / store.entries[0].sample / name] if p.exists())
    sound = path.read_bytes()
    refused = 0
    for place in range(0, 400, 7):
        content = bytearray(sound)
        content[place] ^= 0xFF
        path.write_bytes(content)
        try:
            PreparedStore(store.folder).load(0)
        except DatasetError as error:
            refused += 1
            assert str(store.folder) in str(error)  # noqa: PT017
    assert refused > 5


@pytest.mark.parametrize("spacing", [1e9, 1e-9, 0, -1, float("nan"), float("inf")])
def test_spacings_that_no_scan_has_are_refused(scans, tmp_path, spacing):
    with pytest.raises(DatasetError, match=r"spacing is mm above zero, from 0\.05 to 50"):
        prepare_store(scans, tmp_path / "store", spacing=spacing)
    assert not (tmp_path / "store").exists()
