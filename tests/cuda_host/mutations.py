"""Planted mistakes in the CUDA sources, each of which the tests must catch.

    python -m cuda_host.mutations          (in tests/) runs all and writes docs/cuda_mutations.md

A mutation is applied to the text of a source as it is read, in a process of its own that runs the
tests until one fails; nothing on disk is changed.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MUTATIONS", "Mutation", "caught_by"]

TESTS = Path(__file__).resolve().parent.parent
FOLDER = TESTS / "kernels" / "cuda"
SOURCES = TESTS.parent / "kernels" / "cuda"
PAGE = TESTS.parent / "docs" / "cuda_mutations.md"


@dataclass(frozen=True)
class Mutation:
    """A mistake: what it is in words, in which file, and the text before and after."""

    what: str
    file: str
    old: str
    new: str


MUTATIONS = (
    Mutation("half a voxel too far", "siddon.cu", "cell + 1.0f - half", "cell + 0.5f - half"),
    Mutation("planes counted from the wrong side", "siddon.cu", "cell + 1.0f - half",
             "cell - half"),
    Mutation("rays that fall walk upwards", "siddon.cu", "falls ? -volume.strides[a]",
             "falls ? volume.strides[a]"),
    Mutation("parallel rays beside the volume not dropped", "siddon.cu",
             "if (fabsf(from) > half) stop = -NEVER;", ""),
    Mutation("two axes crossed at once", "siddon.cu", "const bool in_z = !in_x && !in_y;",
             "const bool in_z = z.next == next;"),
    Mutation("x and y strides swapped", "siddon.cu", "{1, nx, nx * ny}", "{nx, 1, nx * ny}"),
    Mutation("32-bit index", "siddon.cu", "voxel += (long long)(int)(falls",
             "voxel += (int)(falls"),
    Mutation("whole ray summed, not from source to pixel", "siddon.cu",
             "float at = view.start, stop = view.stop;", "float at = -NEVER, stop = NEVER;"),
    Mutation("reads one voxel beyond the last", "joseph.cu", "- 1.5f) - 1)", "- 1.5f) + 1)"),
    Mutation("no fall to zero at the border", "joseph.cu",
             "weight *= 1.0f - fabsf(place - inside);", ""),
    Mutation("planes before the ray enters are summed", "joseph.cu",
             "if (at < first) continue;", ""),
    Mutation("a plane near the detector counts whole", "joseph.cu",
             "fminf(high - low - 1.0f, 1.0f)", "1.0f"),
    Mutation("volume clipped by a voxel", "joseph.cu", "(-1.5f - axis.base)",
             "(-0.5f - axis.base)"),
    Mutation("32-bit offset across rows", "joseph.cu", "(unsigned long long)j * q.stride",
             "j * q.stride"),
    Mutation("another axis of two equally fast ones", "joseph.cu", "speed_y >= speed_x",
             "speed_y > speed_x"),
    Mutation("rows not bounded", "pixels.cuh", "if (column >= columns || row >= rows) return;",
             "if (column >= columns) return;"),
    Mutation("columns not bounded", "pixels.cuh",
             "if (column >= columns || row >= rows) return;", "if (row >= rows) return;"),
    Mutation("every channel written to the first", "pixels.cuh", "* channels + first) * plane",
             "* channels) * plane"),
    Mutation("sub-pixels off by half of one", "pixels.cuh", "(float)i + 0.5f", "(float)i"),
    Mutation("all views from the first", "pixels.cuh", "[blockIdx.z]", "[0]"),
    Mutation("rows written over each other: a race", "pixels.cuh", "(long long)row * row_step",
             "0 * row_step"),
    Mutation("metric mixed up", "rays.cuh", "fmaf(m[3], y, m[4] * z)", "fmaf(m[3], y, m[5] * z)"),
    Mutation("exchanged copy not bounded", "transpose.cu", "if (x >= nx || y >= ny) return;",
             "if (y >= ny) return;"),
    Mutation("table of the next channel", "attenuation.cuh", "channel * 65536",
             "channel * 65535"),
)  # fmt: skip


def caught_by(mutation: Mutation, *selection: str) -> str | None:
    """Name of the first test that fails; None where all pass.

    Parameters
    ----------
    mutation
        The mistake; its old text must occur in the file.
    selection
        Further arguments for pytest.
    """
    text = (SOURCES / mutation.file).read_text(encoding="utf-8")
    assert mutation.old in text, f"{mutation.file} no longer has {mutation.old!r}; mend the list"
    code = f"""
import pathlib, sys
sys.path.insert(0, {str(TESTS)!r})
read = pathlib.Path.read_text
def mutated(self, *arguments, **options):
    text = read(self, *arguments, **options)
    if self.name == {mutation.file!r}:
        text = text.replace({mutation.old!r}, {mutation.new!r})
    return text
pathlib.Path.read_text = mutated
import pytest
files = [{str(FOLDER / "test_kernels.py")!r}, {str(FOLDER / "test_launch.py")!r}]
common = ["-q", "-x", "--no-header", "-p", "no:cacheprovider", "-m", "not soak", "--tb=no", "-rfE"]
sys.exit(pytest.main([*common, *files, *{list(selection)!r}]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=TESTS.parent, capture_output=True, text=True
    )
    if done.returncode == 0:
        return None
    found = re.search(r"^(?:FAILED|ERROR) \S*::(\w+)", done.stdout, re.MULTILINE)
    # A mistake may also kill the process that it is in.
    return found[1] if found else f"the process ended with status {done.returncode}"


def main() -> None:
    rows = []
    for mutation in MUTATIONS:
        # Values first: they say more than a sanitizer's report.
        caught = caught_by(mutation)
        print(f"{mutation.file}: {mutation.what}: {caught or 'SURVIVED'}", flush=True)
        rows.append(f"| {mutation.what} | `{mutation.file}` | {caught or '**none**'} |")
    PAGE.write_text(
        "# Planted mistakes\n\n"
        "Each line is a mistake planted in the CUDA sources and the first test that caught it; "
        "made by `python -m cuda_host.mutations` in `tests/`.\n\n"
        "| mistake | source | caught by |\n|---|---|---|\n" + "\n".join(rows) + "\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
