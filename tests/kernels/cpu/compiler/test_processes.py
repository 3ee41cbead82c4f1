"""Kernels under fork, spawn, forkserver and many threads, and the compiled-code cache."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from kernel_cases import one_image
from places import TESTS

from drr.kernels.cpu.compiler import jit
from drr.threads import run, split

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_children_of_a_process_that_has_projected(method):
    """A pool of threads does not survive a fork; the child makes its own."""
    here = one_image()
    with multiprocessing.get_context(method).Pool(2) as pool:
        for image in pool.map_async(one_image, [20.0] * 4).get(timeout=120):
            np.testing.assert_array_equal(image, here)


def test_many_python_threads_at_once():
    angles = [10.0 * k for k in range(24)]
    alone = [one_image(a) for a in angles]
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(one_image, angles))
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_error_in_one_range_reaches_the_caller_and_the_pool_survives():
    def fail(start: int, stop: int) -> None:
        if start > 2:
            raise ValueError(f"range {start}")

    with pytest.raises(ValueError, match="range"):
        run(fail, split(8, 8), 3)
    assert np.isfinite(one_image()).all()


def test_work_within_work_does_not_wait_for_threads_that_wait_for_it():
    done = []

    def outer(start: int, stop: int) -> None:
        run(lambda first, end: done.append((start, first)), split(8, 8), 4)

    worker = threading.Thread(target=run, args=(outer, split(16, 16), 4), daemon=True)
    worker.start()
    worker.join(60)
    assert not worker.is_alive(), "threads wait for each other"
    assert sorted(done) == [(m, n) for m in range(16) for n in range(8)]


@pytest.mark.parametrize(("count", "parts"), [(10, 3), (2, 5), (1, 1), (7, 7)])
def test_split_covers_everything_once(count, parts):
    ranges = split(count, parts)
    assert [i for a, b in ranges for i in range(a, b)] == list(range(count))
    assert len(ranges) <= parts


SCRIPT = """
import hashlib, sys
sys.path.insert(0, {tests!r})
from kernel_cases import one_image
from drr.kernels.cpu.compiler.jit import cache_folder
print(cache_folder(), hashlib.sha256(one_image().tobytes()).hexdigest())
"""


def digest_of(image: np.ndarray) -> str:
    return hashlib.sha256(image.tobytes()).hexdigest()


def run_child(**environment: str) -> str:
    script = SCRIPT.format(tests=str(TESTS))
    result = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_compiled_code_is_cached_in_the_chosen_folder(tmp_path):
    out = run_child(DRR_CACHE_DIR=str(tmp_path))
    assert out.startswith(str(tmp_path))
    files = {f: f.stat().st_mtime_ns for f in tmp_path.rglob("*.o")}
    assert files
    # Freshly compiled and cached code give the same image to the bit.
    assert run_child(DRR_CACHE_DIR=str(tmp_path)) == out
    assert out.split()[1] == digest_of(one_image())
    assert {f: f.stat().st_mtime_ns for f in tmp_path.rglob("*.o")} == files


def test_works_where_no_cache_folder_is_writable(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("not a folder")
    blocked = {k: str(blocker) for k in ("DRR_CACHE_DIR", "XDG_CACHE_HOME", "HOME", "TMPDIR")}
    blocked |= {"NUMBA_CACHE_DIR": str(blocker), "LOCALAPPDATA": str(blocker), "TEMP": str(blocker)}
    # Python falls back to /tmp for temporary files, so that is closed by name too.
    script = SCRIPT.format(tests=str(TESTS))
    script = f"import tempfile; tempfile.tempdir = {str(blocker)!r}\n" + script
    result = subprocess.run(
        [sys.executable, "-B", "-c", script],
        env={**os.environ, **blocked},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("None ")
    assert result.stdout.split()[1] == digest_of(one_image())


def test_a_cache_folder_that_others_may_write_to_is_not_used(tmp_path, monkeypatch):
    if not hasattr(os, "getuid"):
        pytest.skip("file ownership is not checked on this system")
    shared = tmp_path / "open"
    monkeypatch.setenv("DRR_CACHE_DIR", str(shared))
    jit.cache_folder.cache_clear()
    folder = jit.cache_folder()
    assert folder is not None
    assert folder.parent == shared
    folder.chmod(0o777)
    jit.cache_folder.cache_clear()
    try:
        assert jit.cache_folder() != folder
    finally:
        folder.chmod(0o700)
        monkeypatch.undo()
        jit.cache_folder.cache_clear()
