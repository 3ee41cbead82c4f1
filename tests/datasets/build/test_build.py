"""Building a data set: the file, what stops a build, and that nothing is lost or done twice."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from tiny_cohort import OPTIONS, write_cohort

from drr.datasets.build.build import BuildError, Progress, build, parts_folder, rehearse
from drr.datasets.build.plan import Configuration, Plan
from drr.datasets.build.verify import verify
from drr.datasets.schema import DatasetError, walk
from drr.datasets.sources.ctrate import find_ct_rate
from drr.datasets.sources.open import open_source
from drr.datasets.study import Study
from drr.errors import WriteError
from drr.geometry.views import parse_view

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-c", "from drr.cli import main; main()"]
CONFIGURATION = Configuration(views=(parse_view("pa", shape=(48, 48)),))
linux = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds processes in /proc")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("cohort"), 12, bad=(3,))


def plan(source: Path, configuration: Configuration = CONFIGURATION, count: int = 12) -> Plan:
    cohort = find_ct_rate(source)
    cohort = replace(cohort, studies=cohort.studies[:count])
    return Plan(cohort=cohort, configuration=configuration)


def events(out: Path) -> list[dict]:
    return [json.loads(line) for line in out.with_name(f"{out.name}.log").read_text().splitlines()]


@pytest.fixture(scope="module")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An uninterrupted build by one worker, and the digest of its content."""
    out = tmp_path_factory.mktemp("built") / "out.h5"
    return out, build(plan(source), out, workers=1).digest


def test_the_file_is_in_plan_order_with_failures_and_labels(built: tuple[Path, str]) -> None:
    with h5py.File(built[0]) as file:
        names = file["samples/name"].asstr()[...].tolist()
        assert len(names) == 11
        assert names == sorted(names, key=lambda name: (name[0], int(name.split("_")[1]), name))
        assert file["failures/name"].asstr()[...].tolist() == ["train_2_b_1"]
        assert "truncated" in file["failures/reason"].asstr()[0]
        assert file["views/pa/picture"].shape == (11, 48, 48)
        assert file["views/pa/picture"].chunks == (1, 48, 48)
        assert file["samples/labels"].shape == (11, 18)
        assert file["samples/labels"][0, :2].tolist() == [0, 1]
        train = file["splits/train"][...]
        assert {names[row].split("_")[0] for row in train} == {"train"}
        counts = dict(
            zip(file["patients/name"].asstr()[...], file["patients/samples"], strict=True)
        )
        assert counts["train_1"] == 2
        assert counts["train_2"] == 1
        assert file.attrs["licence"] == "CC BY-NC-SA 4.0"


def test_the_file_is_sound_and_can_be_made_again(source: Path, built: tuple[Path, str]) -> None:
    verdict = verify(built[0], source=source, remake=2)
    assert verdict.problems == ()
    assert "2 samples made again" in verdict.checked


def test_nothing_but_the_file_and_its_log_is_left(built: tuple[Path, str]) -> None:
    assert sorted(path.name for path in built[0].parent.iterdir()) == ["out.h5", "out.h5.log"]


def test_the_log_says_what_happened(built: tuple[Path, str]) -> None:
    found = events(built[0])
    kinds = [event["event"] for event in found]
    assert kinds[0] == "start"
    assert kinds.count("made") == 11
    assert kinds.count("failed") == 1
    assert kinds[-1] == "finish"
    assert set(found[1]["seconds"]) >= {"read", "prepare", "project", "store"}
    assert found[1]["processor_seconds"] > 0


def test_more_workers_make_the_same(source: Path, built: tuple[Path, str], tmp_path: Path) -> None:
    seen: list[Progress] = []
    result = build(plan(source), tmp_path / "out.h5", workers=2, report=seen.append)
    assert result.digest == built[1]
    assert (seen[-1].finished, seen[-1].total, seen[-1].failed) == (12, 12, 1)
    assert seen[-1].rate > 0
    assert seen[-1].seconds_left == 0


def test_a_finished_build_is_not_done_again(built: tuple[Path, str], source: Path) -> None:
    before = built[0].stat().st_mtime_ns
    assert build(plan(source), built[0]).made == 0
    assert built[0].stat().st_mtime_ns == before


def test_another_plans_file_is_replaced_only_if_asked(
    source: Path, built: tuple[Path, str], tmp_path: Path
) -> None:
    out = tmp_path / "out.h5"
    shutil.copy(built[0], out)
    other = plan(source, replace(CONFIGURATION, line_integrals="none"), count=2)
    with pytest.raises(WriteError, match="exists already"):
        build(other, out, workers=1)
    assert build(other, out, workers=1, force=True).samples == 2


def test_too_many_failures_stop_and_what_is_done_stays(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    few = plan(source, count=5)
    with pytest.raises(BuildError, match="1 studies failed, more than the 0 allowed"):
        build(few, out, workers=1, max_failures=0)
    assert not out.exists()
    with pytest.raises(BuildError):
        build(few, out, workers=1, max_failures=0)
    done = sum(1 for _ in parts_folder(out).rglob("*.h5"))
    assert done >= 4
    result = build(few, out, workers=1, max_failures=1)
    assert result.made == 5 - done
    assert result.samples == 4


def test_a_repaired_ct_is_made_and_a_changed_one_again(source: Path, tmp_path: Path) -> None:
    root, out = tmp_path / "source", tmp_path / "out.h5"
    shutil.copytree(source, root)
    few = plan(root, count=4)
    with pytest.raises(BuildError):
        build(few, out, workers=1, max_failures=0)
    good, bad = (root / study.path for study in few.cohort.studies[2:])
    bad.write_bytes(good.read_bytes())
    os.utime(root / few.cohort.studies[0].path, ns=(7, 7))
    messages: list[str] = []
    result = build(few, out, workers=1, report=lambda p: messages.append(p.message))
    assert (result.samples, result.failures) == (4, 0)
    assert sum("changed since" in message for message in messages) == 2


def test_retry_tries_what_failed(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    few = plan(source, count=4)
    assert build(few, out, workers=1, keep_parts=True).failures == 1
    again = build(few, out, workers=1, keep_parts=True, retry=True)
    assert (again.made, again.failures) == (1, 1)


def test_parts_serve_a_larger_cohort(source: Path, built: tuple[Path, str], tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    build(plan(source, count=4), out, workers=1, keep_parts=True)
    result = build(plan(source), out, workers=1, force=True)
    assert result.made == 8
    assert result.digest == built[1]


def test_two_builds_of_one_output_are_refused(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    errors: list[Exception] = []

    def second(progress: Progress) -> None:
        if progress.finished == 1 and not errors:
            try:
                build(plan(source, count=2), out, workers=1)
            except DatasetError as error:
                errors.append(error)

    build(plan(source, count=2), out, workers=1, report=second)
    assert "another build" in str(errors[0])


def test_what_cannot_be_built_is_refused(source: Path, tmp_path: Path) -> None:
    empty = Plan(cohort=replace(find_ct_rate(source), studies=()), configuration=CONFIGURATION)
    with pytest.raises(DatasetError, match="no CT"):
        build(empty, tmp_path / "out.h5")
    with pytest.raises(DatasetError, match="workers must be"):
        build(plan(source), tmp_path / "out.h5", workers=0)
    with pytest.raises(WriteError, match="does not exist"):
        build(plan(source), tmp_path / "none" / "out.h5")
    one = plan(source, count=1)
    ct = source / one.cohort.studies[0].path
    with pytest.raises(DatasetError, match="is a CT of the source"):
        build(one, ct, force=True)


def test_images_of_another_size_are_failures(source: Path, tmp_path: Path) -> None:
    from drr.datasets.build.assemble import assemble
    from drr.datasets.build.part import make_part

    two = plan(source, count=2)
    paths = [tmp_path / "a", tmp_path / "b"]
    for study, path, rows in zip(two.cohort.studies, paths, (48, 32), strict=True):
        odd = Configuration(views=(parse_view("pa", shape=(rows, 48)),))
        make_part(study, str(two.cohort.root), odd, str(path), "key")
    _, samples = assemble(two, paths, tmp_path / "out.h5", killed={})
    assert samples == 1
    with h5py.File(tmp_path / "out.h5") as file:
        assert "(32, 48) pixels and the first (48, 48)" in file["failures/reason"].asstr()[0]


def test_a_cohort_of_bad_cts_is_a_file_of_failures(source: Path, tmp_path: Path) -> None:
    bad = plan(source, count=4)
    bad = replace(bad, cohort=replace(bad.cohort, studies=bad.cohort.studies[3:]))
    result = build(bad, tmp_path / "out.h5", workers=1)
    assert (result.samples, result.failures) == (0, 1)
    assert verify(result.path).problems == ()


def test_a_rehearsal_measures(source: Path) -> None:
    found = rehearse(plan(source))
    assert found["total_bytes"] == 12 * found["bytes"] > 0
    assert set(found["seconds"]) == {"hash", "read", "prepare", "project", "store"}


@linux
def test_a_ct_that_kills_its_worker_is_a_failure(source: Path, tmp_path: Path) -> None:
    """A pipe stands for it: whoever opens it is killed."""
    root = tmp_path / "source"
    shutil.copytree(source, root)
    os.mkfifo(root / "poison.nii.gz")
    few = plan(root, count=6)
    studies = list(few.cohort.studies)
    studies.insert(1, Study(sample="poison", patient="p", path="poison.nii.gz"))
    few = replace(few, cohort=replace(few.cohort, studies=tuple(studies)))
    over = threading.Event()

    def poison() -> None:
        while not over.wait(0.01):
            with contextlib.suppress(OSError):
                # Opens only while somebody waits at the other end.
                end = os.open(root / "poison.nii.gz", os.O_WRONLY | os.O_NONBLOCK)
                time.sleep(0.05)
                for child in children(os.getpid()):
                    if holds(child, root / "poison.nii.gz"):
                        os.kill(child, signal.SIGKILL)
                os.close(end)

    thread = threading.Thread(target=poison)
    thread.start()
    try:
        result = build(few, tmp_path / "out.h5", workers=2)
    finally:
        over.set()
        thread.join()
    with h5py.File(result.path) as file:
        failed = dict(
            zip(*(file[f"failures/{c}"].asstr()[...] for c in ("name", "reason")), strict=True)
        )
        assert "its worker was killed 4 times" in failed.pop("poison")
        assert set(failed) == {"train_2_b_1"}
        assert len(file["samples/name"]) == 5
        assert file["failures/fingerprint"].asstr()[0] == ""
    # The next run tries it again, and nothing else.
    good = (root / studies[2].path).read_bytes()
    (root / "poison.nii.gz").unlink()
    (root / "poison.nii.gz").write_bytes(good)
    again = build(few, tmp_path / "out.h5", workers=1)
    assert (again.made, again.samples, again.failures) == (1, 6, 1)


@linux
def test_five_kills_change_nothing(source: Path, tmp_path: Path, built: tuple[Path, str]) -> None:
    kills = ["worker", "writer", "worker", "everything", "writer"]
    survive(source, tmp_path / "out.h5", kills, seed=random.randrange(1 << 30))


@pytest.mark.soak
@linux
def test_twenty_kills_change_nothing(tmp_path: Path) -> None:
    root = write_cohort(tmp_path / "source", 200, bad=(3, 50, 51))
    kills = ["worker", "writer", "worker", "everything"] * 5
    survive(root, tmp_path / "out.h5", kills, seed=random.randrange(1 << 30))


def survive(root: Path, out: Path, kills: list[str], *, seed: int) -> None:
    """Build by the command, killed so often; the content is that of an undisturbed build."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    total = len(find_ct_rate(root))
    command = [*COMMAND, "build", str(root), *OPTIONS, "--workers", "2", "-o"]
    subprocess.run([*command, str(out.with_name("whole.h5"))], check=True, capture_output=True)
    # Some before the first part, the others at some part.
    moments = sorted(chance.randrange(total * 3 // 4) for _ in kills)
    process = None
    done = 0
    for kind, moment in zip(kills, moments, strict=True):
        deadline = time.monotonic() + 120
        while True:
            if process is None or process.poll() is not None:
                assert process is None or process.returncode != 0, "finished before all kills"
                process = subprocess.Popen([*command, str(out)], start_new_session=True)
            parts = sum(1 for _ in parts_folder(out).rglob("*.h5"))
            workers = children(process.pid)
            if parts >= moment and (kind != "worker" or workers):
                break
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.05))
        if kind == "worker":
            os.kill(chance.choice(workers), signal.SIGKILL)
        elif kind == "writer":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        done += 1
        if kind != "worker":
            process.wait()
            process = None
    if process is not None:
        process.wait()
    subprocess.run([*command, str(out)], check=True, capture_output=True)
    assert done == len(kills)
    assert digest(out) == digest(out.with_name("whole.h5"))
    assert verify(out).problems == ()
    assert not parts_folder(out).exists()
    assert {path.name for path in out.parent.glob(f".{out.name}*")} == set()


@linux
def test_workers_end_with_a_killed_builder(source: Path, tmp_path: Path) -> None:
    command = [*COMMAND, "build", str(source), *OPTIONS, "--workers", "2", "-o"]
    process = subprocess.Popen([*command, str(tmp_path / "out.h5")], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(workers := children(process.pid)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline, "orphans"
        time.sleep(0.05)


@linux
def test_ctrl_c_stops_and_the_same_command_goes_on(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    command = [*COMMAND, "build", str(source), *OPTIONS, "--workers", "2", "-o", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    while not any(parts_folder(out).rglob("*.h5")):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors
    assert process.returncode == 130
    assert "the same command goes on" in errors
    assert not out.exists()
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "11 samples, 1 failures" in again.stdout


@linux
def test_a_full_disk_stops_and_the_same_command_goes_on(source: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    build_it = ["build", str(source), *OPTIONS, "--workers", "1", "-o", str(disk / "out.h5")]
    script = (
        'mount -t tmpfs -o size=120k none "$1" || exit 77; shift; out="$1"; shift; '
        '"$@"; echo "first $?"; ls -a "$(dirname "$out")"; '
        'mount -o remount,size=20m "$(dirname "$out")"; "$@"; echo "second $?"; '
    )
    arguments = ["sh", str(disk), str(disk / "out.h5"), *COMMAND, *build_it]
    try:
        run = subprocess.run(
            ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, *arguments],
            capture_output=True,
            text=True,
            timeout=120,
        )
    except FileNotFoundError:
        pytest.skip("there is no unshare to mount a small disk with")
    if run.returncode == 77 or "unshare" in run.stderr:
        pytest.skip("a small disk cannot be mounted here")
    assert "first 2" in run.stdout, run.stderr
    assert "space" in run.stderr
    assert "Traceback" not in run.stderr
    assert ".part" not in run.stdout.replace(".parts", "")
    assert "11 samples, 1 failures" in run.stdout
    assert "second 0" in run.stdout


def children(process: int) -> list[int]:
    """Worker processes of a process."""
    found = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            for child in (task / "children").read_text().split():
                if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(int(child))
    return found


def holds(process: int, path: Path) -> bool:
    with contextlib.suppress(OSError):
        return any(
            os.path.samefile(entry, path)
            for entry in Path(f"/proc/{process}/fd").iterdir()
            if os.path.realpath(entry) == str(path.resolve())
        )
    return False


def digest(path: Path) -> str:
    with h5py.File(path) as file:
        pixels = file["views/pa/picture"][...]
        assert np.ptp(pixels) > 100
        return str(file.attrs["content_sha256"])


def test_real_scans_from_a_table(test_data: Path, tmp_path: Path) -> None:
    root = tmp_path / "source"
    root.mkdir()
    for name in ("lidc_idri_0001", "lung_dx_a0001"):
        shutil.copytree(test_data / "ct" / name, root / name)
    (root / "cohort.csv").write_text(
        "path,patient,split,sex,label:Lung nodule,Manufacturer\n"
        "lidc_idri_0001/cxr.nii.gz,lidc-1,train,,1,GE\n"
        "lung_dx_a0001/a0001_5mm_kernelB_dicom.zip,dx-1,valid,F,,\n"
    )
    cohort = open_source(root / "cohort.csv")
    views = (parse_view("pa", shape=(96, 96)), parse_view("ll", shape=(96, 96)))
    both = Plan(cohort=cohort, configuration=Configuration(views=views))
    result = build(both, tmp_path / "out.h5", workers=1)
    assert (result.samples, result.failures) == (2, 0)
    with h5py.File(result.path) as file:
        assert file["samples/labels"][...].tolist() == [[1], [-128]]
        assert json.loads(file["samples/metadata"].asstr()[0]) == {"Manufacturer": "GE"}
        for view in ("pa", "ll"):
            for picture in file[f"views/{view}/picture"]:
                assert 40 < picture.mean() < 215
                assert picture.std() > 30
        texts = [text for name, data in walk(file) if data.dtype.kind == "O" for text in data[...]]
        assert not [t for t in texts if str(tmp_path).encode() in t or b"1.3.6.1.4.1.14519" in t]
    assert verify(result.path, source=root, remake=2).problems == ()
