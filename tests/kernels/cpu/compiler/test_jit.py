"""How kernels are compiled, kept and found again, with and without Numba."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from places import ROOT

from drr.kernels.cpu.compiler import jit, lowered, native

pytestmark = pytest.mark.slow

KERNELS = """
import math
import numpy as np
from drr.kernels.cpu.compiler.jit import float32 as f4, int64, jit

FACTOR = {factor}

@jit
def scaled(value):
    return value * {inner}

@jit(fast=True)
def scale(values, offset, out):
    for i in range(values.size):
        out[i] = f4(scaled(values[i])) * f4(FACTOR) + offset

@jit
def total(values):
    return values.sum()

@jit
def hungry(values, out):
    copy = np.zeros(values.size)
    for i in range(values.size):
        copy[i] = values[i]
    for i in range(values.size):
        out[i] = copy[values.size - 1 - i]

@jit
def kinds(a, b, c, d, e, out):
    out[0], out[1], out[2], out[3], out[4] = a, b, c, d, e
"""

USE = """
import sys
import numpy as np
sys.path.insert(0, {folder!r})
import sample
out = np.zeros(3, np.float32)
sample.scale(np.array([1, 2, 3], np.int16), np.float32(0.5), out)
print(out.tolist(), "numba" in sys.modules)
"""


@pytest.fixture
def sample(tmp_path, monkeypatch):
    """A module of kernels, imported from a file that tests may change."""
    write(tmp_path)
    monkeypatch.setenv("DRR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(tmp_path)
    jit.cache_folder.cache_clear()
    sys.modules.pop("sample", None)
    import sample

    yield sample
    sys.modules.pop("sample", None)
    jit.cache_folder.cache_clear()
    del jit.kernels[-5:]


def write(folder: Path, factor: int = 2, inner: int = 1) -> None:
    (folder / "sample.py").write_text(KERNELS.format(factor=factor, inner=inner))


def use(folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", USE.format(folder=str(folder))],
        env={**os.environ, "DRR_CACHE_DIR": str(folder / "cache"), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_what_is_cached_needs_no_numba(tmp_path):
    write(tmp_path)
    assert use(tmp_path) == "[2.5, 4.5, 6.5] True"
    assert use(tmp_path) == "[2.5, 4.5, 6.5] False"


def test_nothing_out_of_date_is_run(tmp_path):
    """Neither a constant's old value, nor a called kernel's old source."""
    for factor, inner, expected in ((2, 1, 2.5), (3, 1, 3.5), (3, 2, 6.5)):
        write(tmp_path, factor, inner)
        assert use(tmp_path).startswith(f"[{expected},")
        assert use(tmp_path).endswith("False")


def test_a_damaged_cache_is_made_again(tmp_path):
    write(tmp_path)
    use(tmp_path)
    (code,) = (tmp_path / "cache").rglob("sample.scale-*.o")
    whole = code.read_bytes()
    for damaged in (b"", whole[:-1], whole[:40], bytes([whole[0] ^ 1]) + whole[1:]):
        code.write_bytes(damaged)
        assert use(tmp_path) == "[2.5, 4.5, 6.5] True"
        assert code.read_bytes() == whole


def test_shipped_text_needs_no_numba_either(sample, tmp_path, monkeypatch):
    out = np.zeros(3, np.float32)
    values = np.array([1, 2, 3], np.int16)
    monkeypatch.setattr(jit, "LOWERED", tmp_path / "lowered.zip")
    sample.scale(values, np.float32(0.5), out)
    (signature,) = sample.scale.signatures
    name = sample.scale.file_name(signature)
    from drr.kernels.cpu.compiler import lowering

    text = lowering.lower(sample.scale, signature)
    lowered.write(jit.LOWERED, {f"{name}.ll": text})
    assert jit.shipped(f"{name}.ll") == text.encode()
    next((tmp_path / "cache").rglob("*.o")).unlink()

    def refuse(*_):
        raise AssertionError("lowered although there is text")

    monkeypatch.setattr(lowering, "lower", refuse)
    again = jit.Kernel(sample.scale.function, fast=True, inline=False)
    again(values, np.float32(0.5), out)
    jit.kernels.remove(again)
    assert out.tolist() == [2.5, 4.5, 6.5]


def test_text_of_another_llvm_is_replaced(sample, tmp_path, monkeypatch):
    monkeypatch.setattr(jit, "LOWERED", tmp_path / "lowered.zip")
    signature = ("int16:1C", "float32", "float32:1C")
    lowered.write(jit.LOWERED, {f"{sample.scale.file_name(signature)}.ll": "in no known grammar"})
    out = np.zeros(3, np.float32)
    sample.scale(np.array([1, 2, 3], np.int16), np.float32(0.5), out)
    assert out.tolist() == [2.5, 4.5, 6.5]


def test_text_is_the_same_each_time_and_of_no_cpu(sample):
    from drr.kernels.cpu.compiler.lowering import lower

    signature = ("int16:1C", "float32", "float32:1C")
    text = lower(sample.scale, signature)
    assert text == lower(sample.scale, signature)
    assert not any(line.startswith("target ") for line in text.splitlines())
    assert "python" not in text.lower()


@pytest.mark.parametrize("layout", ["C", "A"])
def test_arrays_of_any_layout_and_every_kind_of_number(sample, layout):
    out = np.zeros((5, 1 if layout == "C" else 2))[:, 0]
    sample.kinds(np.int16(-3), np.float32(0.1), 2**40, True, np.uint8(200), out)
    assert out.tolist() == [-3, np.float32(0.1), 2**40, 1, 200]


@pytest.mark.parametrize("bad", ["text", None, np.zeros(3, ">i2"), (1, 2)])
def test_other_arguments_are_refused(sample, bad):
    with pytest.raises(TypeError, match="kernels take"):
        sample.scale(bad, np.float32(0), np.zeros(3, np.float32))


def test_kernels_that_return_or_allocate_are_refused(sample):
    with pytest.raises(TypeError, match=r"sample\.total returns float64"):
        sample.total(np.zeros(3))
    with pytest.raises(TypeError, match=r"sample\.hungry needs .*pass scratch arrays in"):
        sample.hungry(np.zeros(3), np.zeros(3))


def test_many_threads_compile_once(sample, monkeypatch):
    made = []
    code = jit.machine_code
    monkeypatch.setattr(jit, "machine_code", lambda *a: made.append(a) or code(*a))
    values, outs = np.array([1, 2, 3], np.int16), np.zeros((8, 3), np.float32)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda out: sample.scale(values, np.float32(0.5), out), outs))
    assert (outs == [2.5, 4.5, 6.5]).all()
    assert len(made) == 1


@pytest.mark.parametrize("variable", ["NUMBA_DISABLE_JIT", "NUMBA_BOUNDSCHECK"])
def test_numbas_switches_for_debugging(tmp_path, variable):
    write(tmp_path)
    plain = variable == "NUMBA_DISABLE_JIT"
    assert use(tmp_path, **{variable: "1"}) == f"[2.5, 4.5, 6.5] {not plain}"
    assert not list(tmp_path.rglob("*.o"))


def test_bounds_are_checked_when_asked_for(tmp_path):
    write(tmp_path)
    script = USE.format(folder=str(tmp_path)).replace("np.zeros(3, ", "np.zeros(2, ")
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "NUMBA_BOUNDSCHECK": "1"},
        capture_output=True,
        text=True,
    )
    assert "IndexError" in done.stderr


def test_the_table_of_signatures_is_that_of_these_sources():
    """Of every kernel, as the package calls it; otherwise run `make signatures`."""
    script = f"""
    import json, sys
    sys.path.insert(0, {str(ROOT / "tools")!r})
    import kernel_signatures
    kernel_signatures.exercise()
    print(json.dumps(kernel_signatures.signatures()))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == json.loads(lowered.SIGNATURES.read_text())


def test_users_are_told_that_kernels_are_lowered_and_may_be_quiet(tmp_path):
    write(tmp_path)
    for level, told in (("NOTSET", 1), ("ERROR", 0)):
        script = f"import logging; logging.getLogger('drr').setLevel(logging.{level})"
        done = subprocess.run(
            [sys.executable, "-c", f"{script}\n{USE.format(folder=str(tmp_path))}"],
            env={**os.environ, "DRR_CACHE_DIR": str(tmp_path / level)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stderr.count("drr: note: compiling the CPU kernels") == told


def test_the_address_of_an_array_is_read_where_numpy_keeps_it(tmp_path: Path) -> None:
    whole = np.arange(24, dtype=np.int16).reshape(4, 6)
    mapped = np.memmap(tmp_path / "mapped", np.int16, "w+", shape=(3, 5))
    for array in (whole, whole[1:, 2:], whole[::-1], np.asfortranarray(whole), mapped, mapped[2]):
        assert native._address(id(array) + native._HEAD).value == array.ctypes.data
