"""Pools of workers: processes of this machine, and a Dask cluster that the test starts."""

from __future__ import annotations

import contextlib
import importlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from tiny_cohort import OPTIONS, write_cohort

from drr.cli import main
from drr.datasets.build.build import Progress, build, parts_folder
from drr.datasets.build.plan import Configuration, Plan
from drr.datasets.build.pools import DaskPool, LocalPool, WorkerKilledError, available_workers
from drr.datasets.schema import DatasetError
from drr.datasets.sources.ctrate import find_ct_rate
from drr.errors import MissingDependencyError
from drr.geometry.views import parse_view

pytestmark = pytest.mark.slow


def test_workers_are_at_least_one_and_at_most_the_processors() -> None:
    assert 1 <= available_workers() <= (os.cpu_count() or 1)


def test_workers_share_processors_and_leave_ctrl_c_to_the_builder() -> None:
    pool = LocalPool(1)
    try:
        assert pool.submit(os.getenv, "NUMBA_NUM_THREADS").result() == str(pool.threads)
        assert pool.submit(signal.getsignal, signal.SIGINT).result() == signal.SIG_IGN
    finally:
        pool.close()


def test_gpus_are_dealt_out() -> None:
    pool = LocalPool(2, gpus=("3", "5"))
    try:
        seen: set[str] = set()
        deadline = time.monotonic() + 60
        while len(seen) < 2 and time.monotonic() < deadline:
            futures = [pool.submit(os.getenv, "CUDA_VISIBLE_DEVICES") for _ in range(8)]
            seen |= {str(future.result()) for future in futures}
        assert seen == {"3", "5"}
    finally:
        pool.close()


def test_a_crash_is_told_by_its_signal() -> None:
    pool = LocalPool(1)
    try:
        with pytest.raises(WorkerKilledError) as error:
            pool.submit(signal.raise_signal, signal.SIGSEGV).result()
        assert error.value.how == "SIGSEGV"
    finally:
        pool.close()


def test_a_killed_worker_takes_only_its_own_work_with_it() -> None:
    pool = LocalPool(2)
    try:
        first = pool.submit(os.getpid).result()
        slow = pool.submit(time.sleep, 3.0)
        with pytest.raises(pool.killed):
            pool.submit(os._exit, 9).result()
        assert slow.result() is None
        # The last that was busy is the next.
        assert pool.submit(os.getpid).result() == first
    finally:
        pool.close(now=True)


def test_a_pool_survives_kills_at_any_moment() -> None:
    chance, done = random.Random(1), 0
    pool = LocalPool(2)
    try:
        for _ in range(12):
            futures = [pool.submit(time.sleep, 0.01) for _ in range(3)]
            time.sleep(chance.uniform(0, 0.3))
            for worker in multiprocessing.active_children():
                if chance.random() < 0.5:
                    worker.kill()
            for future in futures:
                with contextlib.suppress(pool.killed):
                    future.result(timeout=60)
                    done += 1
        assert done > 0
        assert pool.submit(os.getpid).result(timeout=60) != os.getpid()
    finally:
        pool.close()
    assert multiprocessing.active_children() == []


def test_an_error_of_a_worker_says_where() -> None:
    pool = LocalPool(1)
    try:
        with pytest.raises(ZeroDivisionError) as caught:
            pool.submit(divmod, 1, 0).result()
        assert "pools.py" in str(caught.value.__cause__)
        with pytest.raises(ModuleNotFoundError):
            pool.submit(_Unknown()).result()
        # The worker goes on.
        assert pool.submit(divmod, 7, 2).result() == (3, 1)
    finally:
        pool.close()


def test_a_pool_that_stops_at_once_waits_for_nothing() -> None:
    pool = LocalPool(2)
    futures = [pool.submit(time.sleep, 1000.0) for _ in range(4)]
    time.sleep(0.5)
    pool.close(now=True)
    for future in futures:
        assert future.cancelled() or isinstance(future.exception(), pool.killed)


class _Unknown:
    """Work that a worker cannot load."""

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return importlib.import_module, ("there_is_no_such_module",)


def test_without_dask_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingDependencyError, match=r"drr-rate\[cluster\]"):
        DaskPool("tcp://127.0.0.1:1")


class Cluster:
    """`dask scheduler` and `dask worker` processes of this machine."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "scheduler.json")
        self._folder = folder
        self.processes = [self._start("scheduler", "--port", "0", "--no-dashboard")]

    def add_worker(self) -> subprocess.Popen[bytes]:
        options = ("--nthreads", "1", "--no-dashboard", "--nanny-port", "0", "--worker-port", "0")
        process = self._start("worker", *options, "--local-directory", str(self._folder))
        self.processes.append(process)
        return process

    def _start(self, role: str, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dask", role, "--scheduler-file", self.address, *options]
        command += ["--host", "127.0.0.1"]
        with (self._folder / f"{role}.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def close(self) -> None:
        for process in reversed(self.processes):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    pytest.importorskip("distributed", reason="needs the extra 'cluster'")
    if not Path("/proc/self/task").is_dir():
        pytest.skip("finds processes in /proc")
    (tmp_path / "dask").mkdir()
    running = Cluster(tmp_path / "dask")
    deadline = time.monotonic() + 60
    while not Path(running.address).is_file():
        assert time.monotonic() < deadline, (tmp_path / "dask/scheduler.log").read_text()
        time.sleep(0.05)
    try:
        yield running
    finally:
        running.close()


def test_no_scheduler_is_said(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="needs the extra 'cluster'")
    (tmp_path / "empty.json").write_text("{}")
    with pytest.raises(DatasetError, match="no Dask scheduler answers"):
        DaskPool(str(tmp_path / "empty.json"))
    with pytest.raises(DatasetError, match="no Dask scheduler answers"):
        DaskPool("tcp://127.0.0.1:1", timeout=1)


def test_a_cluster_whose_workers_are_killed_builds_the_same(
    cluster: Cluster, tmp_path: Path
) -> None:
    root = write_cohort(tmp_path / "source", 10, bad=(3,))
    configuration = Configuration(views=(parse_view("pa", shape=(48, 48)),))
    plan = Plan(cohort=find_ct_rate(root), configuration=configuration)
    for _ in range(2):
        cluster.add_worker()
    killed: list[int] = []

    def kill(progress: Progress) -> None:
        # A worker with its nanny, which does not come back; then one that its nanny starts again.
        if progress.finished == 2 and not killed:
            killed.append(cluster.processes[1].pid)
            os.killpg(cluster.processes[1].pid, signal.SIGKILL)
        if progress.finished == 5 and len(killed) == 1:
            worker = dask_workers(cluster.processes[2].pid)[0]
            killed.append(worker)
            os.kill(worker, signal.SIGKILL)

    out = tmp_path / "out.h5"
    result = build(plan, out, scheduler=cluster.address, report=kill)
    assert len(killed) == 2
    assert (result.samples, result.failures) == (9, 1)
    assert result.digest == build(plan, tmp_path / "local.h5", workers=1).digest
    assert not parts_folder(out).exists()
    log = [json.loads(line) for line in Path(f"{out}.log").read_text().splitlines()]
    assert len({event["process"] for event in log if event["event"] == "made"}) >= 2


def test_a_scheduler_that_is_killed_stops_the_build_and_another_goes_on(
    cluster: Cluster, tmp_path: Path
) -> None:
    root = write_cohort(tmp_path / "source", 4)
    plan = Plan(
        cohort=find_ct_rate(root),
        configuration=Configuration(views=(parse_view("pa", shape=(48, 48)),)),
    )
    cluster.add_worker()

    def kill(progress: Progress) -> None:
        if progress.finished == 1:
            os.killpg(cluster.processes[0].pid, signal.SIGKILL)

    with pytest.raises(DatasetError, match="the cluster's scheduler is gone"):
        build(plan, tmp_path / "out.h5", scheduler=cluster.address, report=kill)
    # What the cluster had finished is not made again.
    result = build(plan, tmp_path / "out.h5", workers=1)
    assert result.made < 4
    assert result.samples == 4


def test_the_command_takes_a_scheduler(cluster: Cluster, tmp_path: Path) -> None:
    root = write_cohort(tmp_path / "source", 2)
    # Work waits until there is a worker.
    threading.Timer(1, cluster.add_worker).start()
    out = str(tmp_path / "out.h5")
    options = [str(root), "-o", out, *OPTIONS, "--scheduler", cluster.address]
    result = CliRunner().invoke(main, ["build", *options])
    assert result.exit_code == 0, result.output
    assert "2 samples, 0 failures" in result.output


def dask_workers(nanny: int) -> list[int]:
    """Processes of workers that a nanny has started."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for task in Path(f"/proc/{nanny}/task").iterdir():
            children = (task / "children").read_text().split()
            found = [
                int(child)
                for child in children
                if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
            ]
            if found:
                return found
        time.sleep(0.05)
    raise AssertionError("the nanny has no worker")
