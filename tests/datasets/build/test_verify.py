"""Verification: a sound file passes, and every kind of damage is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from tiny_cohort import write_cohort

from drr.datasets.build.build import build
from drr.datasets.build.plan import Configuration, Plan
from drr.datasets.build.verify import verify
from drr.datasets.schema import DatasetError, content_digest
from drr.datasets.sources.ctrate import find_ct_rate
from drr.geometry.views import parse_view


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("cohort"), 4)


@pytest.fixture(scope="module")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    configuration = Configuration(views=(parse_view("pa", shape=(40, 40)),), masks=(1,))
    plan = Plan(cohort=find_ct_rate(source), configuration=configuration)
    return build(plan, tmp_path_factory.mktemp("built") / "out.h5", workers=1).path


def test_a_sound_file_passes(built: Path, source: Path) -> None:
    verdict = verify(built, source=source, remake=9)
    assert verdict
    assert verdict.problems == ()
    assert verdict.checked[-1] == "4 samples made again"


def set_value(name: str, row: object, value: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file[name][row] = value

    return change


def remove(name: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]

    return change


def put(name: str, value: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file[name] = value

    return change


def remove_attribute(file: h5py.File) -> None:
    del file.attrs["licence"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (remove_attribute, "the attribute 'licence' is missing"),
        (remove("samples/age"), "samples/age: is missing"),
        (put("samples/extra", np.zeros(4)), "samples/extra: is not in the schema"),
        (put("samples/age", np.zeros(4, np.float64)), "holds float64, not float32"),
        (put("samples/age", np.zeros(3, np.float32)), "has 3 rows where others have 4"),
        (put("samples/age", np.zeros((4, 1), np.float32)), "has 2 axes, not 1"),
        (put("views/pa/picture", np.zeros((4, 40, 40), np.uint8)), "not one image each"),
        (set_value("samples/name", 1, "train_1_a_1"), "twice: train_1_a_1"),
        (set_value("samples/name", 1, ""), "samples/name: empty"),
        (set_value("samples/labels", (0, 3), 7), "no codes"),
        (set_value("samples/age", 0, 131), "not in years"),
        (set_value("samples/sex", 0, "male"), "none of M, F, O: male"),
        (set_value("samples/voxels_sha256", 0, "0"), "samples/voxels_sha256: no digests"),
        (set_value("views/pa/scale", 0, 0), "scale or offset"),
        (set_value("samples/split", 0, "test"), "is in more than one split: train_1 in"),
        (set_value("samples/patient", 0, "else"), "their counts are not those"),
        (set_value("splits/train", 0, 3), "splits/train: does not list"),
        (set_value("views/pa/source", (0, 0), 1.5), "vectors differ from their record: train_1_a"),
        (set_value("views/pa/record", 0, "{"), "records and geometry: the file is damaged"),
        (set_value("views/pa/picture", (1, 3, 3), 1), "views/pa/picture: images that are not as"),
        (set_value("views/pa/line_integrals", (2, 0, 0), 9), "views/pa/line_integrals: images"),
        (set_value("views/pa/masks", (2, 0, 0, 0), 9), "views/pa/masks: images that are not"),
        (set_value("reports/findings", 0, "Normal."), "differs from content_sha256"),
    ],
)
def test_damage_is_named(
    built: Path, tmp_path: Path, change: Callable[[h5py.File], None], words: str
) -> None:
    path = tmp_path / "out.h5"
    shutil.copy(built, path)
    with h5py.File(path, "a") as file:
        change(file)
    verdict = verify(path)
    assert not verdict
    assert any(words in problem for problem in verdict.problems), verdict.problems


def test_a_forged_digest_of_content_does_not_hide_pixels(built: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    shutil.copy(built, path)
    with h5py.File(path, "a") as file:
        file["views/pa/picture"][0, 0, 0] = 77
        file.attrs["content_sha256"] = content_digest(file)
    assert "images that are not as built: train_1_a_1" in verify(path).problems[0]
    assert verify(path, pixels=False)


def test_a_source_that_is_another_is_found(built: Path, source: Path, tmp_path: Path) -> None:
    other = tmp_path / "source"
    shutil.copytree(source, other)
    files = sorted(other.rglob("*.nii.gz"))
    files[0].write_bytes(files[1].read_bytes())
    files[2].unlink()
    problems = verify(built, source=other, remake=4).problems
    assert len(problems) == 2
    assert "is no longer the file" in problems[0]
    assert "cannot be made again" in problems[1]


def test_images_made_otherwise_are_found(built: Path, source: Path, tmp_path: Path) -> None:
    """A file whose pixels were swapped and whose digests were forged to match."""
    path = tmp_path / "out.h5"
    shutil.copy(built, path)
    with h5py.File(path, "a") as file:
        group = file["views/pa"]
        for name in ("picture", "picture_sha256"):
            group[name][0], group[name][1] = group[name][1], group[name][0]
        file.attrs["content_sha256"] = content_digest(file)
    assert verify(path)
    problems = verify(path, source=source, remake=4).problems
    assert [p for p in problems if "the picture of pa made again is not the same" in p]
    # On another processor small differences pass, and those of another patient do not.
    with h5py.File(path, "a") as file:
        for row in range(4):
            text = file["views/pa/record"].asstr()[row]
            record = json.loads(text)
            record["projection"]["cpu"] = "another"
            file["views/pa/record"][row] = json.dumps(record, sort_keys=True)
        file.attrs["content_sha256"] = content_digest(file)
    problems = verify(path, source=source, remake=4).problems
    assert [p for p in problems if "more than the 2 allowed for another cpu" in p]
    assert len(problems) == 2


def test_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("x")
    with pytest.raises(DatasetError, match="is no HDF5 file"):
        verify(tmp_path / "text")
    with pytest.raises(DatasetError, match="is no HDF5 file"):
        verify(tmp_path / "none")
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["a"] = 1
    with pytest.raises(DatasetError, match="is not a data set"):
        verify(tmp_path / "plain.h5")
    with h5py.File(tmp_path / "plain.h5", "a") as file:
        file.attrs["format"], file.attrs["schema_version"] = "drr-dataset", 99
    with pytest.raises(DatasetError, match="schema version 99"):
        verify(tmp_path / "plain.h5")
