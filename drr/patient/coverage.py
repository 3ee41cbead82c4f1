"""What a scan covers: a chest or not, whole lungs or not, and where the field of view cuts it.

Nothing is changed; the sentences say what a user of the projections should know.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from drr.patient.anatomy import SIDES, Anatomy, check_anatomy
from drr.patient.outline import at_field_edge, polar_reach
from drr.volume import Volume

__all__ = ["COVERAGE_PARAMETERS", "Arms", "Coverage", "Region", "assess_coverage"]

Region = Literal["chest", "head", "abdomen", "unclear"]
Arms = Literal["raised", "beside", "unclear"]

COVERAGE_PARAMETERS = {
    "smallest_lungs_ml": 100.0,
    "largest_lungs_ml": 12000.0,
    "smallest_lungs_height_mm": 60.0,
    "abdomen_lungs_share": 0.4,
    "abdomen_below_mm": 150.0,
    "bone_hu": 250,
    "head_bone_share": 0.08,
    "head_area_cm2": 450.0,
    "trunk_area_cm2": 300.0,
    "arm_dent_mm": 22.0,
    "planes": 12,
    "arms_share": 0.5,
    "unseen_sides_share": 0.5,
    "near_end_mm": 10.0,
}
"""Limits of `assess_coverage`, for records. Lungs of infants hold some 100 ml."""


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """What a scan covers, and what it lacks.

    Parameters
    ----------
    region
        `chest`, `head`, `abdomen` (or pelvis) or `unclear`.
    reason
        Why, in a sentence.
    lungs_ml
        Volume of the lungs in the scan; 0 where none were found.
    superior_mm, inferior_mm
        How far the scan goes on beyond the lungs' apex and base, to about 5 mm; 0 when it cuts
        them. None without lungs.
    truncation
        Fraction of the body's outline that lies on the edge of the field of view, at the
        patient's right, left, anterior and posterior side. The ends of the scan do not count.
    arms
        `beside` the thorax; `raised` when there are none beside it; `unclear` without lungs, or
        where the field of view cuts most of a side.
    notes
        All that a user should know, one sentence each.
    """

    region: Region
    reason: str
    lungs_ml: float
    superior_mm: float | None
    inferior_mm: float | None
    truncation: tuple[float, float, float, float]
    arms: Arms
    notes: tuple[str, ...] = ()

    @property
    def is_chest(self) -> bool:
        """Whether a chest radiograph can be made of the scan."""
        return self.region == "chest"

    @property
    def apex_complete(self) -> bool:
        """Whether the scan goes on above the lungs."""
        return bool(self.superior_mm)

    @property
    def base_complete(self) -> bool:
        """Whether the scan goes on below the lungs."""
        return bool(self.inferior_mm)

    @property
    def complete(self) -> bool:
        """Whether the lungs are in the scan from apex to base."""
        return self.apex_complete and self.base_complete

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values = asdict(self)
        values["truncation"] = dict(zip(SIDES, self.truncation, strict=True))
        values["notes"] = list(self.notes)
        return values


def assess_coverage(volume: Volume, anatomy: Anatomy) -> Coverage:
    """Assess what a scan covers.

    Parameters
    ----------
    volume
        HU in the patient's frame, as read or cleaned.
    anatomy
        Anatomy of this volume, from `find_anatomy`.

    Raises
    ------
    VolumeError
        When the anatomy is of another grid.
    """
    check_anatomy(volume, anatomy)
    superior, inferior = _beyond_lungs(volume, anatomy)
    lungs_ml = 0.0
    if anatomy.lungs is not None:
        lungs_ml = float(anatomy.lungs.sum() * abs(np.linalg.det(anatomy.affine[:3, :3])) / 1000)
    truncation = _truncation(volume, anatomy)
    arms = _arms(volume, anatomy, truncation)
    region, reason = _region(volume, anatomy, lungs_ml, superior, inferior)
    notes = []
    if region != "chest":
        notes.append(f"the scan shows no chest but looks like {_ARTICLES[region]}: {reason}")
    for name, beyond in (("apex", superior), ("base", inferior)):
        if beyond == 0:
            notes.append(f"the scan cuts the lungs at the {name}; that part of them is missing")
        elif beyond is not None and beyond <= COVERAGE_PARAMETERS["near_end_mm"]:
            notes.append(f"the scan ends {beyond:.0f} mm beyond the lungs' {name}")
    if cut := [(s, f) for s, f in zip(SIDES, truncation, strict=True) if f >= 0.005]:
        parts = ", ".join(f"{fraction:.0%} of its {side} side" for side, fraction in cut)
        notes.append(f"the field of view cuts the body's outline: {parts}")
    if region == "chest" and arms == "raised":
        notes.append("arms raised, as in most CTs: shoulders differ from a radiograph")
    elif region == "chest" and arms == "beside":
        notes.append("arms beside the thorax: they lie over it in lateral and oblique views")
    return Coverage(
        region=region,
        reason=reason,
        lungs_ml=round(lungs_ml, 1),
        superior_mm=superior,
        inferior_mm=inferior,
        truncation=truncation,
        arms=arms,
        notes=tuple(notes),
    )


_ARTICLES = {"head": "a head", "abdomen": "an abdomen", "unclear": "something else"}


def _beyond_lungs(volume: Volume, anatomy: Anatomy) -> tuple[float | None, float | None]:
    """mm of scan above and below the lungs, along the slices' axis."""
    if anatomy.lungs is None:
        return None, None
    planes = np.flatnonzero(anatomy.lungs.any(axis=(1, 2)))
    factor, step = anatomy.factors[0], float(volume.spacing[2])
    below = int(planes[0]) * factor
    above = max(volume.shape[0] - (int(planes[-1]) + 1) * factor, 0)
    return round(above * step, 1), round(below * step, 1)


def _truncation(volume: Volume, anatomy: Anatomy) -> tuple[float, float, float, float]:
    if not anatomy.truncated:
        return 0.0, 0.0, 0.0, 0.0
    field, reach, block = polar_reach(volume, anatomy)
    at_edge = at_field_edge(field, reach, block)
    angles = (np.arange(field.size) + 0.5) / field.size * 2 * np.pi
    # A side is the quarter of the outline around it, in the order of SIDES.
    quarter = np.rint(angles / (np.pi / 2)).astype(int) % 4  # left, posterior, right, anterior
    shares = []
    for wanted in (2, 0, 3, 1):
        side = quarter == wanted
        present = (reach[:, side] > 0).sum()
        shares.append(round(float(at_edge[:, side].sum() / max(1, present)), 4))
    right, left, anterior, posterior = shares
    return right, left, anterior, posterior


def _arms(volume: Volume, anatomy: Anatomy, truncation: tuple[float, float, float, float]) -> Arms:
    """Arms beside the thorax, apart or not, leave a dent in the body's thickness before them.

    Looked for in the middle half of the lungs' height, below the shoulders. Where the field of
    view cuts most of a side, nobody can tell.
    """
    p = COVERAGE_PARAMETERS
    if anatomy.lungs is None:
        return "unclear"
    planes = np.flatnonzero(anatomy.lungs.any(axis=(1, 2)))
    quarter = planes.size // 4
    middle = planes[quarter : planes.size - quarter]
    middle = middle[:: max(1, middle.size // int(p["planes"]))]
    step = float(volume.spacing[1]) * anatomy.factors[1]
    dents = [
        _dents(anatomy.body[k].sum(axis=0) * step, anatomy.lungs[k].any(axis=0)) for k in middle
    ]
    share = (np.array(dents) >= p["arm_dent_mm"]).mean(axis=0)
    if share.max() >= p["arms_share"]:
        return "beside"
    return "unclear" if max(truncation[:2]) >= p["unseen_sides_share"] else "raised"


def _dents(thickness: NDArray[np.float64], lungs: NDArray[np.bool_]) -> tuple[float, float]:
    """Depth of the dents in one plane's thickness, mm, outward of the lungs at right and left."""
    if not lungs.any():
        return 0.0, 0.0
    inner, outer = np.flatnonzero(lungs)[[0, -1]], np.flatnonzero(thickness)[[0, -1]]
    right = thickness[outer[0] : inner[0] + 1]
    left = thickness[inner[1] : outer[1] + 1]
    return _dent(right), _dent(left)


def _dent(profile: NDArray[np.float64]) -> float:
    """How far a profile lies below its concave hull, at most."""
    values = profile.tolist()
    hull: list[int] = []
    # The upper hull from left to right (Andrew's monotone chain).
    for place, value in enumerate(values):
        while len(hull) > 1:
            first, last = hull[-2:]
            rise = (value - values[first]) * (last - first)
            if (values[last] - values[first]) * (place - first) > rise:
                break
            hull.pop()
        hull.append(place)
    if not hull:
        return 0.0
    below = np.interp(np.arange(len(values)), hull, profile[hull]) - profile
    return float(below.max())


def _region(
    volume: Volume,
    anatomy: Anatomy,
    lungs_ml: float,
    superior: float | None,
    inferior: float | None,
) -> tuple[Region, str]:
    p = COVERAGE_PARAMETERS
    if not anatomy.found:
        return "unclear", "no body stands out"
    if anatomy.lungs is not None and superior is not None and inferior is not None:
        length = volume.shape[0] * float(volume.spacing[2])
        height = length - superior - inferior
        seen = f"lungs of {lungs_ml:.0f} ml, {height:.0f} mm high"
        bases = superior == 0 and height < p["abdomen_lungs_share"] * length
        if bases and inferior >= p["abdomen_below_mm"]:
            return "abdomen", f"{seen} and cut at the apex, {inferior:.0f} mm of body below them"
        if not p["smallest_lungs_ml"] <= lungs_ml <= p["largest_lungs_ml"]:
            return "unclear", f"{seen}, which no lungs are"
        if height < p["smallest_lungs_height_mm"]:
            return "unclear", f"{seen}, too few slices of them"
        return "chest", seen
    bone, area = _bone_share(volume, anatomy), _median_area(volume, anatomy)
    seen = f"no lungs, a cross-section of {area:.0f} cm2, {bone:.0%} of it bone"
    if bone >= p["head_bone_share"] and area <= p["head_area_cm2"]:
        return "head", seen
    if bone < p["head_bone_share"] and area >= p["trunk_area_cm2"]:
        return "abdomen", seen
    return "unclear", seen


def _bone_share(volume: Volume, anatomy: Anatomy) -> float:
    """Fraction of the body that is denser than soft tissue, from one voxel of each block."""
    z, y, x = (
        np.minimum(np.arange(n) * f + f // 2, size - 1)
        for n, f, size in zip(anatomy.body.shape, anatomy.factors, volume.shape, strict=True)
    )
    dense = volume.hu[np.ix_(z, y, x)] > COVERAGE_PARAMETERS["bone_hu"]
    return float((dense & anatomy.body).sum() / anatomy.body.sum())


def _median_area(volume: Volume, anatomy: Anatomy) -> float:
    """cm2 of the body in the median plane that has any."""
    sizes = anatomy.body.sum(axis=(1, 2))
    block = anatomy.factors[1] * anatomy.factors[2] * float(np.prod(volume.spacing[:2]))
    return float(np.median(sizes[sizes > 0])) * block / 100
