"""Looking for a GPU: every stage at which there may be none, in real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cuda_host.build import COMPILER, needs_compiler
from cuda_host.install import installed

from drr.kernels.cuda import detect as module
from drr.kernels.cuda.detect import STAGES, detect

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the driver's library as Linux names it")
ASK = """
import dataclasses, json, sys
{before}
from drr.kernels.cuda.detect import detect
print(json.dumps(dataclasses.asdict(detect())))
assert detect() is detect()
"""


@pytest.fixture(autouse=True)
def visible(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what hides GPUs from the other tests."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def ask(before: str = "", **environment: str) -> dict[str, object]:
    """The answer of a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", ASK.format(before=before)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["available"] == (not found["stage"])
    if not found["available"]:
        assert found["stage"] in STAGES
        assert found["reason"]
        assert found["fix"]
        assert "\n" not in found["reason"]
    return dict(found)


def driver(folder: Path, *, version: int = 13000, status: int = 0) -> str:
    """Folder with a driver's library that answers so, in front of the search path."""
    needs_compiler()
    source = (
        f'extern "C" int cuInit(unsigned) {{ return {status}; }}\n'
        f'extern "C" int cuDriverGetVersion(int* v) {{ *v = {version}; return 0; }}\n'
    )
    command = [COMPILER, "-x", "c++", "-shared", "-fPIC", "-", "-o", str(folder / "libcuda.so.1")]
    subprocess.run(command, input=source, text=True, check=True)
    return f"{folder}:{os.environ.get('LD_LIBRARY_PATH', '')}"


def wheels(folder: Path, *names: str, code: str = "") -> str:
    """Folder that has these distributions of CuPy installed, in front of all others."""
    (folder / "cupy").mkdir(parents=True)
    (folder / "cupy" / "__init__.py").write_text(code)
    for name in names:
        place = folder / f"{name.replace('-', '_')}-99.0.dist-info"
        place.mkdir()
        (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 99.0\n")
    return f"{folder}:{os.environ.get('PYTHONPATH', '')}"


def test_importing_the_package_looks_for_nothing() -> None:
    code = "import sys, drr, drr.projector, drr.kernels.cuda.detect; print('cupy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_without_cupy() -> None:
    found = ask("sys.modules['cupy'] = None")
    assert found["stage"] == "package"
    assert "drr-rate[cuda13]" in str(found["fix"])


@LINUX
def test_two_wheels_of_cupy(tmp_path: Path) -> None:
    path = wheels(tmp_path / "site", "cupy-cuda12x", "cupy-cuda13x")
    found = ask("", PYTHONPATH=path, LD_LIBRARY_PATH=driver(tmp_path))
    assert found["stage"] == "package"
    assert "cupy-cuda12x and cupy-cuda13x are both installed" in str(found["reason"])
    assert str(found["fix"]).startswith("pip uninstall cupy-cuda12x cupy-cuda13x")


@LINUX
@pytest.mark.parametrize(
    ("options", "stage", "words"),
    [
        ({"version": 12020}, "driver", "the driver knows CUDA 12.2, CuPy needs 13.0"),
        ({"status": 803}, "driver", "kernel module differ"),
        ({"status": 999}, "driver", "does not start (cuInit returned 999)"),
        ({"status": 100}, "device", "finds no GPU"),
    ],
)
def test_drivers_that_do_not_work(
    tmp_path: Path, options: dict[str, int], stage: str, words: str
) -> None:
    path = wheels(tmp_path / "site", "cupy-cuda13x")
    library = driver(tmp_path, **options)
    found = ask("", PYTHONPATH=path, LD_LIBRARY_PATH=library)
    assert found["stage"] == stage
    assert words in str(found["reason"])


@LINUX
def test_hidden_devices(tmp_path: Path) -> None:
    path = wheels(tmp_path / "site", "cupy-cuda13x")
    library = driver(tmp_path, status=100)
    found = ask("", PYTHONPATH=path, LD_LIBRARY_PATH=library, CUDA_VISIBLE_DEVICES="-1")
    assert found["stage"] == "device"
    assert found["reason"] == "no GPU is visible: CUDA_VISIBLE_DEVICES is '-1'"


@LINUX
def test_a_cupy_that_cannot_be_imported(tmp_path: Path) -> None:
    code = "raise OSError('libcublas.so.13: cannot open shared object file')"
    path = wheels(tmp_path / "site", "cupy-cuda13x", code=code)
    found = ask("", PYTHONPATH=path, LD_LIBRARY_PATH=driver(tmp_path))
    assert found["stage"] == "import"
    assert "libcublas.so.13" in str(found["reason"])


@LINUX
def test_the_real_cupy_on_a_driver_that_knows_no_more(tmp_path: Path) -> None:
    pytest.importorskip("cupy", reason="no CuPy: pip install cupy-cuda13x")
    found = ask("", LD_LIBRARY_PATH=driver(tmp_path, version=13020))
    assert found["stage"] == "device"
    assert "runtime fails" in str(found["reason"])


# --- on a GPU's stand-in ---------------------------------------------------------------------


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The driver is well; nothing is remembered."""
    monkeypatch.setattr(module, "_library", lambda: None)
    monkeypatch.setattr(module, "_driver", lambda: None)
    monkeypatch.setattr(module, "_installed_wheels", lambda: ["cupy-cuda13x"])
    detect.cache_clear()
    yield
    detect.cache_clear()


@pytest.mark.usefixtures("fresh")
def test_a_gpu_that_works() -> None:
    with installed():
        found = detect()
    assert found.available, found
    assert found.device


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("nvrtc: error: invalid value for --gpu-architecture (-arch)", "newer than the compiler"),
        ("libnvrtc.so.13: cannot open shared object file", "not found or does not load"),
        ("probe.cu(1): error: expected a declaration", "does not compile"),
    ],
)
def test_compilers_that_do_not_work(
    error: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with installed() as cupy:

        def compile_(self: object) -> None:
            raise RuntimeError(error)

        monkeypatch.setattr(cupy.RawModule, "compile", compile_)
        found = detect()
    assert found.stage == "compiler"
    assert words in found.reason


@pytest.mark.usefixtures("fresh")
def test_a_gpu_that_computes_nonsense(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = module.PROBE.replace("3 *", "4 *")
    monkeypatch.setattr(module, "PROBE", wrong)
    with installed():
        found = detect()
    assert found.stage == "kernel"
    assert "wrong numbers" in found.reason


@pytest.mark.usefixtures("fresh")
def test_no_device_on_a_driver_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    with installed() as cupy:
        monkeypatch.setattr(cupy.cuda.runtime, "getDeviceCount", lambda: 0)
        found = detect()
    assert found.stage == "device"
