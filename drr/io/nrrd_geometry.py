"""Where the voxels of a NRRD file lie: its space, directions, origin and units."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drr.errors import ReadError, printable
from drr.io.stored import millimetres
from drr.io.text_header import numbers

__all__ = ["Placed", "place"]

# Signs that turn each named space into LPS.
SPACES = {
    **dict.fromkeys(("left-posterior-superior", "lps"), (1, 1, 1)),
    **dict.fromkeys(("right-anterior-superior", "ras"), (-1, -1, 1)),
    **dict.fromkeys(("left-anterior-superior", "las"), (1, -1, 1)),
}
TIMED = {
    **{f"{space}-time": space for space in SPACES if "-" in space},
    **{f"{space}t": space for space in SPACES if "-" not in space},
    "scanner-xyz-time": "scanner-xyz",
    "sxyzt": "scanner-xyz",
}
"""Spaces with time as a fourth coordinate."""

SCANNER = ("scanner-xyz", "sxyz", "3d-right-handed", "3dr", "")
"""Right-handed spaces that are not the patient's; the last is one without a name."""

LENGTHS = {
    **dict.fromkeys(("millimeter", "millimeters", "millimetre", "millimetres"), "mm"),
    **dict.fromkeys(("centimeter", "centimeters", "centimetre", "centimetres"), "cm"),
    **dict.fromkeys(("meter", "meters", "metre", "metres"), "m"),
    **dict.fromkeys(("micrometer", "micrometers", "micrometre", "micrometres", "microns"), "um"),
}

AXIAL = "; read with assume_axial=True (--assume-axial) only if you know that they lie so"


@dataclass(frozen=True)
class Placed:
    """What the header says of the place of its voxels.

    Parameters
    ----------
    affine
        `(4, 4)`, index to LPS mm; None where `why_not` says what is missing.
    axes
        The axes that are the volume's, fastest first; others hold one element.
    """

    affine: NDArray[np.float64] | None
    why_not: str
    axes: tuple[int, ...]
    notes: tuple[str, ...]


def place(fields: dict[str, str], dimensions: int, name: str, *, assume_axial: bool) -> Placed:
    """The affine of `space` (LPS, RAS or LAS, or one of them with time) and `space directions`.

    With `assume_axial`, files without directions that give `spacings` have their axes towards
    the patient's left, back and head, and directions in the scanner's or an unnamed right-handed
    space are taken for LPS; both with a note. Without it neither has an affine, since it could
    mirror the patient.

    Parameters
    ----------
    fields
        Fields of the header, by lower-case name.
    dimensions
        Axes of the array.

    Raises
    ------
    ReadError
        For what contradicts itself.
    """
    space = fields.get("space", "").lower()
    size = 4 if space in TIMED else 3
    space = TIMED.get(space, space)
    if "space directions" not in fields:
        return _by_spacings(fields, dimensions, name, assume_axial)
    if space not in SPACES and space not in SCANNER:
        raise ReadError(
            f"{name}: the space {printable(fields['space'], most=40)!r} is not the patient's; "
            "left-posterior-superior, right-anterior-superior or left-anterior-superior are read"
        )
    vectors = _vectors(fields["space directions"], dimensions, size, name)
    # An axis of time has a vector too, but no direction.
    axes = tuple(
        axis for axis, v in enumerate(vectors) if v is not None and (size == 3 or v[:3].any())
    )
    if len(axes) != 3:
        raise ReadError(
            f"{name}: {len(axes)} of its axes have a direction in space; a volume needs three"
        )
    if space in SCANNER and not assume_axial:
        called = f"the space {fields['space']!r} is not" if space else "no 'space' says that it is"
        why = f"{called} the patient's, so left and right are unknown; pass affine= to drr.read"
        return Placed(None, f"{why}{AXIAL}", axes, ())
    affine, notes = _affine(fields, space, [vectors[axis] for axis in axes], size, name)
    affine, converted = millimetres(affine, _unit(fields, "space units", name), name)
    return Placed(affine, "", axes, notes + converted)


def _affine(
    fields: dict[str, str],
    space: str,
    vectors: list[NDArray[np.float64] | None],
    size: int,
    name: str,
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """In LPS and the header's unit, and notes."""
    notes: tuple[str, ...] = ()
    if space in SCANNER:
        notes += ("The scanner's axes were taken for the patient's, towards +LPS, as asked.",)
    signs = np.array(SPACES.get(space, (1, 1, 1)), np.float64)
    affine = np.eye(4)
    for column, vector in enumerate(vectors):
        assert vector is not None
        if vector[3:].any():
            raise ReadError(f"{name}: an axis runs through space and time; repair the header")
        affine[:3, column] = signs * vector[:3]
    if "space origin" in fields:
        origin = numbers(fields["space origin"], "space origin", name, size)
        affine[:3, 3] = signs * origin[:3]
    else:
        notes += ("The header gives no 'space origin'; the first voxel was put at 0, 0, 0.",)
    return affine, notes


def _by_spacings(fields: dict[str, str], dimensions: int, name: str, assume_axial: bool) -> Placed:
    axes = tuple(range(min(3, dimensions)))
    if "spacings" not in fields:
        return Placed(
            None,
            "has no 'space directions', so it does not say where its voxels lie; "
            "save it with its orientation, or pass affine= to drr.read",
            axes,
            (),
        )
    words = fields["spacings"].split()
    lengths = [word for word in words if word.lower() not in ("nan", "-nan")]
    axes = tuple(axis for axis, word in enumerate(words) if word in lengths)[:3]
    spacing = numbers(" ".join(lengths), "spacings", name)
    if len(words) != dimensions or len(axes) < 3 or (spacing[:3] <= 0).any():
        raise ReadError(
            f"{name}: spacings are {printable(fields['spacings'], most=60)!r}; a positive one for "
            "each axis is needed, so repair the header"
        )
    if not assume_axial:
        return Placed(
            None,
            "has spacings but no 'space directions', so it does not say where its voxels lie, "
            f"which way left, back and head are; pass affine= to drr.read{AXIAL}",
            axes,
            (),
        )
    space = fields.get("space", "").lower()
    if space not in ("left-posterior-superior", "lps", *SCANNER):
        raise ReadError(
            f"{name}: gives no directions in its space {printable(space, most=40)!r}, which is not "
            "that of axial slices; add 'space directions'"
        )
    affine = np.diag([*spacing[:3], 1.0])
    affine, converted = millimetres(affine, _unit(fields, "units", name), name)
    note = "Only spacings are given; axes towards the patient's left, back and head, as asked."
    return Placed(affine, "", axes, (note, *converted))


def _vectors(text: str, dimensions: int, size: int, name: str) -> list[NDArray[np.float64] | None]:
    """One of `size` numbers for each axis; None for `none`, and for NaNs written in its place."""
    found = re.findall(r"none|\([^()]*\)", text.lower())
    if re.sub(r"none|\([^()]*\)|\s", "", text.lower()):
        raise ReadError(
            f"{name}: space directions are {printable(text, most=80)!r}, not vectors in brackets; "
            "repair the header"
        )
    if len(found) != dimensions:
        raise ReadError(
            f"{name}: {len(found)} space directions for {dimensions} axes; repair the header"
        )
    return [
        None
        if vector == "none" or re.fullmatch(r"\(\s*-?nan\s*(,\s*-?nan\s*)*\)", vector)
        else numbers(vector, "space directions", name, size)
        for vector in found
    ]


def _unit(fields: dict[str, str], key: str, name: str) -> str:
    """The unit of length, mm where there is none."""
    text = fields.get(key, "").lower()
    words = re.findall(r'"([^"]*)"', text) if '"' in text else text.split()
    if '"' in text and re.sub(r'"[^"]*"|\s', "", text):
        raise ReadError(
            f"{name}: {key} are {printable(text, most=60)!r}, not names in quotes; repair the "
            "header"
        )
    units = {LENGTHS.get(word.strip(), word.strip()) for word in words[:3]} - {""}
    if len(units) > 1:
        raise ReadError(f"{name}: mixes the units of length {sorted(units)}; use mm")
    return next(iter(units), "mm")
