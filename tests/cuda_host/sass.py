"""Machine code of a cubin, listed by nvdisasm: double arithmetic and the inner loop's length."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

__all__ = ["doubles", "inner_loop", "instructions", "needs_nvdisasm"]

DOUBLE = re.compile(r"D(ADD|MUL|FMA|SETP|MNMX)\b|(F2F|F2I|I2F|MUFU)\S*(F64|64H)")
VOXEL_LOAD = re.compile(r"LDG\S*\.[SU]16")


@cache
def nvdisasm() -> str | None:
    for wheel in ("nvidia-cuda-nvdisasm", "nvidia-cuda-nvdisasm-cu12"):
        try:
            files = importlib.metadata.files(wheel) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for file in files:
            if file.name in ("nvdisasm", "nvdisasm.exe"):
                return str(Path(str(file.locate())))
    return shutil.which("nvdisasm")


def needs_nvdisasm() -> None:
    """Skip the calling test where there is no disassembler."""
    if nvdisasm() is None:
        pytest.skip("no nvdisasm: pip install nvidia-cuda-nvdisasm")


def instructions(cubin: bytes) -> dict[str, list[str]]:
    """Instructions and labels (`.L_x_1:`) of every kernel, in order."""
    tool = nvdisasm()
    assert tool is not None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernels.cubin"
        path.write_bytes(cubin)
        done = subprocess.run([tool, "-c", str(path)], capture_output=True, text=True, check=True)
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in done.stdout.splitlines():
        if m := re.match(r"\s*\.text\.(\S+):", line):
            current = found.setdefault(m[1], [])
        elif m := re.match(r"\s*(\.L_x_\d+):", line):
            current.append(m[1] + ":")
        elif m := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(.*?);", line):
            current.append(" ".join(m[1].split()))
    return found


def opcode(instruction: str) -> str:
    """The operation, without its guard: `@!P0 LDG.E.S16 R2, [R4]` is an `LDG.E.S16`."""
    words = instruction.split()
    return words[1] if words[0].startswith("@") else words[0]


def doubles(listing: list[str]) -> int:
    """Instructions that compute in double precision."""
    return sum(1 for i in listing if not i.endswith(":") and DOUBLE.match(opcode(i)))


def inner_loop(listing: list[str], loads_per_step: int) -> float | None:
    """Instructions per ray step: of the innermost loop that loads voxels, all its arms counted.

    A loop that the compiler unrolled counts as the several steps it makes. Where it made several
    loops (a fast one and a remainder), the one with the most steps decides. None without a loop.
    """
    places, code = {}, []
    for line in listing:
        if line.endswith(":"):
            places[line[:-1]] = len(code)
        else:
            code.append(line)
    loops = []
    for end, line in enumerate(code):
        target = re.search(r"\.L_x_\d+", line) if opcode(line).startswith("BRA") else None
        if target and places.get(target[0], end) < end:
            loops.append((places[target[0]], end))
    best: tuple[float, float] | None = None
    for start, end in loops:
        if any((a, b) != (start, end) and start <= a and b <= end for a, b in loops):
            continue
        body = code[start : end + 1]
        steps = sum(1 for line in body if VOXEL_LOAD.match(opcode(line))) / loads_per_step
        if steps and (best is None or steps > best[0]):
            best = steps, len(body) / steps
    return None if best is None else best[1]
