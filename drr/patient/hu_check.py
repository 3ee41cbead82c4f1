"""What a volume's values look like: Hounsfield units, or one of the things mistaken for them.

A CT of a body shows two populations, wherever its scale is put: gas (air and lung) and, about
1000 above, soft tissue with hardly anything between. Where those two are found says how far the
scale is shifted. The verdict advises; nothing is changed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from drr.errors import VolumeError
from drr.volume import Volume

__all__ = ["Kind", "Verdict", "assess"]

Kind = Literal[
    "hu",
    "double-rescaled",
    "not-rescaled",
    "picture",
    "labels",
    "mr-like",
    "constant",
    "declared",
    "unclear",
]

SAMPLE = 2_000_000
"""Voxels looked at, about."""

_COUNTED = 1 << 18  # voxels at a time

NORMALISED = 20
"""Values that nowhere exceed this are normalised, by the standard deviation or a window."""

NO_AIR = -900
"""HU; a volume whose least value is above shows no air."""

CUT_OFF = 0.1
"""Fraction of voxels that hold the least value where a window cut all below it off."""

ZERO = 32768  # place of value 0 in a histogram of int16

# HU windows of the populations, and of what lies between them in a body.
GAS = (-1050, -650)
BETWEEN = (-500, -200)
SOFT = (-150, 150)  # with fat
MUSCLE = (-20, 150)  # without
TYPICAL_MUSCLE = 50

# What is added to HU by common mistakes. An intercept of -1024 or -1000 forgotten leaves the
# values that much too high, applied twice that much too low; -8192 is some scanners' intercept
# and CT-RATE's trap.
SHIFTS = {
    "not-rescaled": (1024, 1000, 8192),
    "double-rescaled": (-1024, -1000, -8192),
}


@dataclass(frozen=True)
class Verdict:
    """What the values look like.

    Parameters
    ----------
    kind
        `hu`; `double-rescaled` or `not-rescaled` (HU shifted by `offset`); `picture` (8-bit
        grey values, or HU cut off by a window); `labels` (a segmentation, or normalised values);
        `mr-like` (not negative, no CT scale); `constant`; `declared` (the file says that they are
        something else); `unclear`.
    is_hu
        Whether projecting the values as they are makes sense.
    padding
        Values that fill what was not scanned, with the fraction of the voxels that have them.
    offset
        What to add to the values to make them HU; 0 unless the kind is a shift.
    summary, advice
        A sentence on what was seen, and one on what to do (empty when there is nothing to do).
    size
        What is implausible about the size of a volume that was read, and what to do; empty where
        nothing is.
    """

    kind: Kind
    is_hu: bool
    padding: tuple[tuple[int, float], ...]
    offset: int
    summary: str
    advice: str
    size: str = ""

    @property
    def doubt(self) -> str:
        """Why the values are certainly no HU, and what to do; empty where they may be."""
        return "" if self.is_hu or self.kind == "unclear" else str(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "padding": [[v, round(f, 6)] for v, f in self.padding]}

    def __str__(self) -> str:
        return f"{self.summary} {self.advice}".strip()


def assess(volume: Volume | NDArray[Any], *, not_hu: str = "") -> Verdict:
    """Judge a volume's values from a sample of about two million voxels.

    Parameters
    ----------
    volume
        A `Volume`, or its `(nz, ny, nx)` int16 array.
    not_hu
        What the file itself says the values are, as a clause, where that is not HU.

    Raises
    ------
    VolumeError
        For an array that is not int16 or has no voxels.
    """
    hu = volume.hu if isinstance(volume, Volume) else np.asarray(volume)
    if hu.dtype != np.int16 or hu.ndim != 3 or hu.size == 0:
        raise VolumeError(
            f"a verdict needs a three-dimensional int16 volume, not {hu.dtype} of shape {hu.shape}"
        )
    verdict = _of_values(hu)
    if not not_hu:
        return verdict
    return replace(
        verdict,
        kind="declared",
        is_hu=False,
        offset=0,
        summary=f"The file says that its values are no HU: {not_hu}.",
        advice="Read the CT that it was computed from instead.",
    )


def _of_values(hu: NDArray[np.int16]) -> Verdict:
    sample = _sample(hu)
    histogram = np.zeros(2 * ZERO, np.intp)
    # A few slices at a time: counting takes eight bytes a voxel.
    together = max(1, _COUNTED // sample[0].size)
    for z in range(0, len(sample), together):
        # As unsigned values, the negative ones come last.
        part = np.ascontiguousarray(sample[z : z + together]).view(np.uint16)
        histogram += np.bincount(part.reshape(-1), minlength=2 * ZERO)
    histogram = np.roll(histogram, ZERO)
    values = np.flatnonzero(histogram) - ZERO
    low, high = int(values[0]), int(values[-1])
    span = f"values from {low} to {high}"
    if low == high:
        return Verdict(
            "constant",
            False,
            (),
            0,
            f"Every voxel is {low}, rounded to whole HU.",
            "There is nothing to project; attenuation in 1/mm must become HU first.",
        )
    padding = _padding(histogram)
    body = histogram.astype(np.float64)
    for value, _ in padding:
        body[value + ZERO] = 0
    body /= max(body.sum(), 1.0)
    shift = _shift(body)
    if shift is not None:
        return _ct(shift, body, padding, span)
    if (low >= -NORMALISED and high <= NORMALISED) or (low >= -1 and _is_labels(sample)):
        return Verdict(
            "labels",
            False,
            (),
            0,
            f"A segmentation or a mask, or normalised values: {len(values)} different {span}.",
            "Read the CT that it belongs to instead.",
        )
    if low >= 0 and high <= 255:
        return Verdict(
            "picture",
            False,
            (),
            0,
            f"8-bit grey values as in a picture: {span}.",
            "HU cannot be recovered from a windowed picture; read the original CT.",
        )
    if low >= 0:
        return Verdict(
            "mr-like",
            False,
            (),
            0,
            f"No negative values and no air and soft tissue on a CT scale: {span}.",
            "This looks like MR or like stored values without their intercept; check the source.",
        )
    if low > NO_AIR and histogram[low + ZERO] > CUT_OFF * histogram.sum():
        share = 100 * histogram[low + ZERO] / histogram.sum()
        return Verdict(
            "picture",
            False,
            (),
            0,
            f"Cut off below {low}, as by a window of soft tissue: {share:.3g} % of voxels are "
            f"exactly that, {span}.",
            "Air and lung cannot be recovered; read the original CT.",
        )
    if _mass(body, SOFT) > 0.3 and low < -20:
        return Verdict(
            "hu",
            True,
            padding,
            0,
            f"Hounsfield units of soft tissue with little or no air: {span}"
            f"{_padding_text(padding)}.",
            "",
        )
    return Verdict(
        "unclear",
        False,
        padding,
        0,
        f"Not recognised as a CT of a body: {span}{_padding_text(padding)}.",
        "If this is not a test object, check that the values are HU (air -1000, water 0).",
    )


def _ct(
    shift: int, body: NDArray[np.float64], padding: tuple[tuple[int, float], ...], span: str
) -> Verdict:
    gas = _peak(body, (GAS[0] + shift, GAS[1] + shift))
    soft = _peak(body, (MUSCLE[0] + shift, MUSCLE[1] + shift))
    found = f"gas near {gas}, soft tissue near {soft}, {span}{_padding_text(padding)}."
    if shift == 0:
        return Verdict("hu", True, padding, 0, f"Hounsfield units: {found}", "")
    if shift < 0:
        return Verdict(
            "double-rescaled",
            False,
            padding,
            -shift,
            f"HU with the intercept applied twice: {found}",
            f"Add {-shift} to make them HU, or read a file that was not rescaled before.",
        )
    return Verdict(
        "not-rescaled",
        False,
        padding,
        -shift,
        f"Stored CT values without their intercept: {found}",
        f"Subtract {shift} to make them HU, or read a file whose header kept the intercept.",
    )


def _sample(hu: NDArray[np.int16]) -> NDArray[np.int16]:
    """Whole rows of some slices: little memory traffic, and neighbours stay neighbours."""
    nz, ny, nx = hu.shape
    z = max(1, round(nz / 64))
    y = max(1, round(nz / z * ny * nx / SAMPLE))
    return hu[(z - 1) // 2 :: z, (y - 1) // 2 :: y]


def _padding(histogram: NDArray[np.intp]) -> tuple[tuple[int, float], ...]:
    """Spikes that no tissue makes: at or below -1024, far above their neighbours, not rare."""
    total = int(histogram.sum())
    found = []
    candidates = np.flatnonzero(histogram[: ZERO - 1023] > 0.002 * total)
    for place in candidates:
        count = int(histogram[place])
        around = histogram[max(place - 8, 0) : place + 9].sum() - count
        if count > 2 * around:
            found.append((int(place) - ZERO, count / total))
    return tuple(found)


def _shift(body: NDArray[np.float64]) -> int | None:
    """How far the two populations lie from where HU has them; None where they are not found."""

    def score(shift: int) -> float:
        gas = _mass(body, GAS, shift)
        between = _mass(body, BETWEEN, shift)
        soft = _mass(body, SOFT, shift)
        return min(gas, soft) if between < 0.6 * soft and min(gas, soft) > 0.02 else 0.0

    shifts = [0, *(s for group in SHIFTS.values() for s in group)]
    scores = {shift: score(shift) for shift in shifts}
    best = max(shifts, key=scores.__getitem__)
    if scores[best] <= 0:
        return None
    # Windows tell 1000 from 1024 less well than muscle does.
    near = [s for s in shifts if abs(s - best) < 100 and scores[s] > 0.9 * scores[best]]
    off = {s: abs(_peak(body, (MUSCLE[0] + s, MUSCLE[1] + s)) - s - TYPICAL_MUSCLE) for s in near}
    return min(near, key=off.__getitem__)


def _is_labels(sample: NDArray[np.int16]) -> bool:
    """Whether neighbours that are not background nearly always share a value of few."""
    first, second = sample[..., :-1], sample[..., 1:]
    inside = (first != 0) & (second != 0)
    if sample.min() < 0 or sample.max() > 1024 or not inside.any():
        return False
    return bool((first == second)[inside].mean() > 0.85)


def _mass(body: NDArray[np.float64], window: tuple[int, int], shift: int = 0) -> float:
    low, high = window[0] + shift + ZERO, window[1] + shift + ZERO
    return float(body[max(low, 0) : max(high + 1, 0)].sum())


def _peak(body: NDArray[np.float64], window: tuple[int, int]) -> int:
    """Where a population is densest, over 11 neighbouring values."""
    low, high = max(window[0] + ZERO, 0), max(window[1] + ZERO + 1, 0)
    smooth = np.convolve(body[low:high], np.ones(11), "same")
    return int(smooth.argmax()) + low - ZERO


def _padding_text(padding: tuple[tuple[int, float], ...]) -> str:
    if not padding:
        return ""
    return "; padded with " + ", ".join(f"{v} ({100 * f:.3g} % of voxels)" for v, f in padding)
