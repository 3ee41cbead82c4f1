"""A finished data set that is built again: what changed is made, and only that."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from tiny_cohort import OPTIONS, write_cohort

from drr.datasets.build.build import Result, build, parts_folder
from drr.datasets.build.ledger import Ledger, Log
from drr.datasets.build.plan import Configuration, Plan
from drr.datasets.build.verify import verify
from drr.datasets.phantom.nifti import nifti_bytes
from drr.datasets.phantom.thorax import thorax_with_labels
from drr.datasets.schema import PIXELS, walk
from drr.datasets.sources.ctrate import find_ct_rate
from drr.datasets.study import Cohort, Study
from drr.errors import WriteError
from drr.geometry.views import parse_view

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-c", "from drr.cli import main; main()"]
CONFIGURATION = Configuration(views=(parse_view("pa", shape=(40, 40)),))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source of five CTs, the second of which is damaged, and its finished file."""
    folder = tmp_path_factory.mktemp("built")
    write_cohort(folder / "source", 5, bad=(1,))
    build(plan(folder), folder / "out.h5", workers=1)
    return folder


@pytest.fixture
def work(built: Path, tmp_path: Path) -> Path:
    """A copy of both whose fingerprints hold: they see when a file came to be where it is."""
    shutil.copytree(built, tmp_path / "work")
    renew(tmp_path / "work")
    return tmp_path / "work"


def plan(work: Path, **changes: object) -> Plan:
    cohort = replace(find_ct_rate(work / "source"), **changes)  # type: ignore[arg-type]
    return Plan(cohort=cohort, configuration=CONFIGURATION)


def renew(work: Path) -> Result:
    return build(plan(work), work / "out.h5", workers=1)


def ct(work: Path, number: int) -> Path:
    return work / "source" / plan(work).cohort.studies[number].path


def same_as_new(work: Path, wanted: Plan | None = None) -> bool:
    """Whether content and every pixel are those of a build from nothing."""
    new = work / "new.h5"
    build(wanted or plan(work), new, workers=1)
    with h5py.File(work / "out.h5") as one, h5py.File(new) as two:
        for name, values in walk(two):
            if name.rsplit("/", 1)[-1] in PIXELS:
                assert np.array_equal(one[name][...], values[...]), name
                assert one[name].chunks == values.chunks
        return one.attrs["content_sha256"] == two.attrs["content_sha256"]


def column(work: Path, name: str) -> list[str]:
    with h5py.File(work / "out.h5") as file:
        return [str(value) for value in file[name].asstr()[...]]


def test_a_repaired_ct_becomes_a_sample(work: Path) -> None:
    ct(work, 1).write_bytes(ct(work, 2).read_bytes())
    result = renew(work)
    assert (result.made, result.samples, result.failures) == (1, 5, 0)
    assert same_as_new(work)
    assert verify(work / "out.h5").problems == ()
    assert renew(work).made == 0


@pytest.mark.parametrize("keep_size_and_time", [False, True])
def test_a_replaced_ct_is_made_again(work: Path, keep_size_and_time: bool) -> None:
    path = ct(work, 2)
    before = path.stat()
    other = ct(work, 3).read_bytes()
    if keep_size_and_time:
        # The same bytes but for the last, of the compressed data's check sum: a failure.
        content = path.read_bytes()
        other = content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]
    path.write_bytes(other)
    if keep_size_and_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert (path.stat().st_size, path.stat().st_mtime_ns) == (
            before.st_size,
            before.st_mtime_ns,
        )
    result = renew(work)
    assert result.made == 1
    assert result.failures == 1 + keep_size_and_time
    assert same_as_new(work)


def test_a_ct_that_is_gone_is_a_failure_until_it_is_back(work: Path) -> None:
    cohort = plan(work).cohort
    path = work / "source" / cohort.studies[2].path
    path.rename(work / "away")
    fixed = Plan(cohort=cohort, configuration=CONFIGURATION)
    result = build(fixed, work / "out.h5", workers=1)
    assert (result.made, result.failures) == (1, 2)
    assert "put it back" in result.reasons[cohort.studies[2].sample]
    assert build(fixed, work / "out.h5", workers=1).made == 0
    (work / "away").rename(path)
    result = build(fixed, work / "out.h5", workers=1)
    assert (result.made, result.failures) == (1, 1)
    assert same_as_new(work, fixed)


def test_a_touched_or_copied_source_is_compared_and_not_made_again(built: Path, work: Path) -> None:
    for number in range(5):
        os.utime(ct(work, number), ns=(7, 7))
    messages: list[str] = []
    result = build(
        plan(work), work / "out.h5", workers=1, report=lambda p: messages.append(p.message)
    )
    # Only the damaged one is tried again.
    assert result.made == 1
    assert not [text for text in messages if "changed" in text]
    with h5py.File(built / "out.h5") as before, h5py.File(work / "out.h5") as after:
        assert before.attrs["content_sha256"] == after.attrs["content_sha256"]
        stamps = [file["samples/fingerprint"].asstr()[...].tolist() for file in (before, after)]
    assert not set(stamps[0]) & set(stamps[1])
    stamp = (work / "out.h5").stat().st_mtime_ns
    assert renew(work).made == 0
    assert (work / "out.h5").stat().st_mtime_ns == stamp


def test_new_cts_are_added_and_those_that_are_gone_left_out(work: Path) -> None:
    new = ct(work, 0).parent.parent / "train_1_b" / "train_1_b_2.nii.gz"
    new.write_bytes(ct(work, 2).read_bytes())
    shutil.rmtree(ct(work, 3).parent)
    result = renew(work)
    assert result.made <= 2
    assert column(work, "samples/name") == [
        s.sample for s in plan(work).cohort.studies if s.sample not in result.reasons
    ]
    assert same_as_new(work)


def test_labels_change_without_a_projection(work: Path) -> None:
    cohort = plan(work).cohort
    studies = [replace(s, labels=(1,) * 18, age=50.0) for s in cohort.studies]
    changed = plan(work, studies=studies)
    assert build(changed, work / "out.h5", workers=1).made == 0
    with h5py.File(work / "out.h5") as file:
        assert file["samples/labels"][...].all()
    assert same_as_new(work, changed)


def test_a_smaller_plan_does_not_replace_a_larger_file(work: Path, tmp_path: Path) -> None:
    content = (work / "out.h5").read_bytes()
    few = plan(work, studies=plan(work).cohort.studies[:2])
    with pytest.raises(WriteError, match="exists already and holds 3 samples"):
        build(few, work / "out.h5", workers=1)
    write_cohort(tmp_path / "elsewhere" / "source", 2)
    other = plan(tmp_path / "elsewhere")
    renamed = [replace(s, sample=f"x{s.sample}") for s in other.cohort.studies]
    with pytest.raises(WriteError, match="exists already"):
        build(
            Plan(cohort=replace(other.cohort, studies=renamed), configuration=CONFIGURATION),
            work / "out.h5",
            workers=1,
        )
    assert (work / "out.h5").read_bytes() == content
    result = build(few, work / "out.h5", workers=1, force=True)
    assert (result.made, result.samples) == (0, 1)


def test_retry_tries_only_what_failed(work: Path) -> None:
    result = build(plan(work), work / "out.h5", workers=1, retry=True)
    assert (result.made, result.failures) == (1, 1)
    assert same_as_new(work)


def test_failures_of_the_moment_are_tried_again(work: Path) -> None:
    """As one whose worker was killed, or whom memory failed: its fingerprint is empty."""
    with h5py.File(work / "out.h5", "a") as file:
        file["failures/fingerprint"][0] = ""
    assert renew(work).made == 1
    assert renew(work).made == 0


def test_a_crash_is_not_blamed_on_memory(work: Path, tmp_path: Path) -> None:
    paths = [tmp_path / "part"] * 5
    with Log(tmp_path / "log") as log:
        ledger = Ledger(
            plan(work),
            paths,
            None,
            log=log,
            report=lambda _: None,
            retry=False,
            max_failures=None,
            start=0.0,
        )
        assert all(ledger.death(0, 1, "SIGSEGV") for _ in range(3))
        assert not ledger.death(0, 1, "SIGSEGV")
        assert not ledger.death(1, 4, "SIGKILL")
    assert "killed 4 times (SIGSEGV)" in ledger.killed[0]
    assert "memory" not in ledger.killed[0]
    assert "memory" in ledger.killed[1]


def test_damaged_images_are_not_taken_over(work: Path) -> None:
    with h5py.File(work / "out.h5", "a") as file:
        file["views/pa/picture"][1] = 0
    ct(work, 1).write_bytes(ct(work, 2).read_bytes())
    assert renew(work).made == 2
    assert same_as_new(work)


def test_a_file_that_was_packed_anew_is_taken_over(work: Path) -> None:
    packed = work / "packed.h5"
    with h5py.File(work / "out.h5") as old, h5py.File(packed, "w") as new:
        for key, value in old.attrs.items():
            new.attrs[key] = value
        for name, data in walk(old):
            if name.rsplit("/", 1)[-1] in PIXELS:
                new.create_dataset(name, data=data[...], chunks=(2, 20, 20), compression="lzf")
            else:
                new.create_dataset(name, data=data[...], dtype=data.dtype)
    os.replace(packed, work / "out.h5")
    ct(work, 1).write_bytes(ct(work, 2).read_bytes())
    assert renew(work).made == 1
    assert same_as_new(work)


def test_a_file_of_an_earlier_release_is_made_again(work: Path) -> None:
    with h5py.File(work / "out.h5", "a") as file:
        for name in ("samples/fingerprint", "failures/fingerprint", "samples/segmentation_sha256"):
            del file[name]
    assert not [text for text in verify(work / "out.h5").problems if "missing" in text]
    assert renew(work).made == 5
    assert same_as_new(work)


def test_masks_and_voxels_beside_a_header_count(tmp_path: Path) -> None:
    root = tmp_path / "source"
    root.mkdir()
    for seed in (0, 1):
        volume, labels = thorax_with_labels(40, seed=seed)
        (root / f"mask{seed}.nii").write_bytes(nifti_bytes(labels, Path("mask.nii")))
        header = (
            "ObjectType = Image\nNDims = 3\nDimSize = {2} {1} {0}\nElementType = MET_SHORT\n"
            "ElementSpacing = {3} {4} {5}\nOffset = {6} {7} {8}\nElementByteOrderMSB = False\n"
            "ElementDataFile = ct{9}.raw\n"
        ).format(*volume.shape, *volume.spacing, *volume.affine[:3, 3], seed)
        (root / f"ct{seed}.mhd").write_text(header)
        (root / f"ct{seed}.raw").write_bytes(np.asarray(volume.hu, "<i2").tobytes())
    studies = [
        Study(sample=f"s{n}", patient=f"p{n}", path=f"ct{n}.mhd", segmentation=f"mask{n}.nii")
        for n in (0, 1)
    ]
    cohort = Cohort(kind="mine", root=root, studies=tuple(studies))
    both = Plan(cohort=cohort, configuration=replace(CONFIGURATION, masks=(1, 2)))
    out = tmp_path / "out.h5"
    assert build(both, out, workers=1).failures == 0
    assert build(both, out, workers=1).made == 0
    shutil.copy(root / "mask1.nii", root / "mask0.nii")
    assert build(both, out, workers=1).made == 1
    shutil.copy(root / "ct0.raw", root / "ct1.raw")
    assert build(both, out, workers=1).made == 1
    new = build(both, tmp_path / "new.h5", workers=1)
    assert build(both, out, workers=1).digest == new.digest


def test_kills_never_lose_the_finished_file(work: Path) -> None:
    """At any moment while it is brought up to date there is a whole file, old or new."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    command = [*COMMAND, "build", "source", "-o", "out.h5", *OPTIONS, "--workers", "2"]
    subprocess.run([*command, "--force"], cwd=work, check=True, capture_output=True)
    old = digest(work / "out.h5")
    ct(work, 1).write_bytes(ct(work, 2).read_bytes())
    ct(work, 4).write_bytes(ct(work, 0).read_bytes())
    start = time.monotonic()
    shutil.copy(work / "out.h5", work / "whole.h5")
    whole = ["whole.h5" if word == "out.h5" else word for word in command]
    subprocess.run(whole, cwd=work, check=True, capture_output=True)
    duration = time.monotonic() - start
    new = digest(work / "whole.h5")
    assert new != old
    for _ in range(4):
        process = subprocess.Popen(
            command, cwd=work, start_new_session=True, stderr=subprocess.DEVNULL
        )
        time.sleep(chance.uniform(0.3, 1.0) * duration)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert digest(work / "out.h5") in (old, new)
    subprocess.run(command, cwd=work, check=True, capture_output=True)
    assert digest(work / "out.h5") == new
    assert verify(work / "out.h5").problems == ()
    assert not parts_folder(work / "out.h5").exists()
    assert not list(work.glob(".*"))


def digest(path: Path) -> str:
    assert verify(path).problems == ()
    with h5py.File(path) as file:
        return str(file.attrs["content_sha256"])
