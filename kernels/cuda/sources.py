"""The CUDA sources as one text, which is what NVRTC takes: it gets no include path."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

__all__ = ["FILES", "OPTIONS", "module_source"]

# As they are compiled: headers come in through their #include.
FILES = ("siddon.cu", "joseph.cu", "transpose.cu")
# Without contraction every operation is rounded as written, so that a result is the same on every
# GPU and on a CPU that follows the same text; sums of products ask for fmaf themselves.
OPTIONS = ("-std=c++17", "-fmad=false")

_INCLUDE = re.compile(r'#include "(\w+\.cuh)"')


@cache
def module_source(*, channels: int = 1) -> str:
    """Source of all kernels, for `cupy.RawModule` with `OPTIONS`.

    Parameters
    ----------
    channels
        Mappings from voxel value to attenuation that one launch projects.
    """
    seen: set[str] = set()
    parts = [f"#define CHANNELS {channels}\n"]
    parts += [_assembled(name, seen) for name in FILES]
    return "\n".join(parts)


def _assembled(name: str, seen: set[str]) -> str:
    """A file with each header in the place of its first #include, and none of the later ones."""
    if name in seen:
        return ""
    seen.add(name)
    lines = [f'#line 1 "{name}"']
    text = Path(__file__).with_name(name).read_text(encoding="utf-8")
    for number, line in enumerate(text.splitlines(), 1):
        included = _INCLUDE.fullmatch(line)
        if included:
            lines += [_assembled(included[1], seen), f'#line {number + 1} "{name}"']
        elif line != "#pragma once":
            lines.append(line)
        else:
            lines.append("")
    return "\n".join(lines)
