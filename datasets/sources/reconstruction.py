"""One reconstruction of a scan where there are several.

Reconstructions of one scan show the same patient in the same breath with other kernels, matrices
and slices: as separate samples they are near copies. The rule, `RULE`, is fixed, so that the
same folder always gives the same choice.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal

__all__ = ["RULE", "choose_reconstruction", "kernel_kind"]

RULE = (
    "of the reconstructions no more than twice as thick as the thinnest, a soft kernel before an "
    "unknown one before a sharp one; then the thinnest; then the first"
)
"""Sharp kernels multiply noise, which a projection sums; thick slices blur ribs and diaphragm."""

FACTOR = 2.0

_ORDER = {"soft": 0, "unknown": 1, "sharp": 2}


def kernel_kind(kernel: str) -> Literal["soft", "sharp", "unknown"]:
    """Whether a Convolution Kernel (0018,1210) is meant for soft tissue or for lung and bone.

    Notes
    -----
    By the manufacturers' naming: Siemens counts sharpness after the letters (`B30f`, `I50f`,
    `Br40d`, `Bl57`), soft below 50; Philips has letters (`A`, `B`, `C`, `UA` to `UC` soft; `D`,
    `E`, `L`, `Y*` sharp); GE words (`SOFT`, `STANDARD`; `LUNG`, `BONE`, ...); Canon numbers
    (`FC01` to `FC19` body, `FC30` and `FC50` series sharp).
    """
    # Of several values, as in "['I50f', '3']", the first is the kernel.
    words = re.findall(r"[A-Za-z]+[0-9]*[a-z]*", kernel)
    if not words:
        return "unknown"
    word = words[0].upper()
    if re.fullmatch(r"STANDARD|STND|SOFT|SMOOTH|ROUTINE", word):
        return "soft"
    if re.fullmatch(r"LUNG|BONE|BONEPLUS|EDGE|DETAIL|ULTRA|SHARP|HRCT", word):
        return "sharp"
    if match := re.fullmatch(r"FC(\d\d)", word):
        number = int(match[1])
        return "soft" if number < 20 else "sharp" if 30 <= number < 60 else "unknown"
    if match := re.fullmatch(r"(?:B|I|U|D|T|BF|BL|BR|BV|BR|QR)(\d\d)[A-Z]?", word):
        return "soft" if int(match[1]) < 50 else "sharp"
    if re.fullmatch(r"U?[ABC]", word):
        return "soft"
    if re.fullmatch(r"[DEL]|Y[A-D]?", word):
        return "sharp"
    return "unknown"


def choose_reconstruction(metadata: Sequence[Mapping[str, str]]) -> int:
    """Place of the reconstruction to use, by `RULE`.

    Parameters
    ----------
    metadata
        Metadata of each reconstruction of one scan, in their order: `ZSpacing` in mm and
        `ConvolutionKernel`. Unknown thickness counts as the thickest.
    """
    thickness = [_millimetres(values.get("ZSpacing", "")) for values in metadata]
    thinnest = min(thickness)

    def rank(place: int) -> tuple[int, float, int]:
        kind = kernel_kind(metadata[place].get("ConvolutionKernel", ""))
        return _ORDER[kind], thickness[place], place

    # An infinite thinnest keeps all of them.
    thin = [k for k in range(len(metadata)) if thickness[k] <= FACTOR * thinnest]
    return min(thin, key=rank)


def _millimetres(text: str) -> float:
    try:
        value = abs(float(text))
    except ValueError:
        return math.inf
    return value if math.isfinite(value) and value > 0 else math.inf
