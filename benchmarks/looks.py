"""What turns a scan and a pose into a picture: one function per look, to be compared.

A look takes a prepared scan and a `Pose` and gives a `Shot`. Everything that a look wants to know
of the patient it takes from `prepared.anatomy`, so that a scan with a lesion inserted, under the
anatomy of the scan without, is framed as that one was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from films import DATA, Picture

import drr
from drr.display.minmax import MinMax
from drr.geometry.geometry import Geometry
from drr.geometry.views import View
from drr.patient.collimation import fit_to_lungs
from drr.patient.prepare import Prepared, prepare
from drr.published.recipe import DrrRate
from drr.published.render import drr_rate

PIXELS = 512

SCANS = {
    "LIDC-0001": "ct/lidc_idri_0001/cxr.nii.gz",
    "A0001": "ct/lung_dx_a0001/a0001_5mm_kernelB_dicom.zip",
}
CT_CREDIT = (
    "CT: LIDC-IDRI-0001 (Armato et al. 2011, CC BY 3.0) and Lung-PET-CT-Dx A0001 (Li et al. 2020, "
    "CC BY 4.0), The Cancer Imaging Archive"
)


@dataclass(frozen=True, kw_only=True)
class Pose:
    """How one picture is taken, apart from the usual: a patient never stands quite straight.

    Angles in degrees and lengths in mm, as in `drr.geometry.views.View`; `margin` is what the field
    leaves around the lungs.
    """

    primary_angle: float = 0.0
    secondary_angle: float = 0.0
    detector_rotation: float = 0.0
    source_to_detector_distance: float = 1800.0
    offset: tuple[float, float] = (0.0, 0.0)
    margin: float = 35.0


@dataclass(frozen=True, eq=False)
class Shot:
    """A picture, `(rows, columns)` float32 from 0 black to 1 white, and its scale.

    `spacing` is in mm per pixel at the detector of a chest film; a look with another geometry
    gives the spacing at which the middle of the chest is as large as on the film of that pose.
    """

    picture: Picture
    spacing: float
    geometry: Geometry


Look = Callable[[Prepared, Pose], Shot]


def poses(count: int, *, seed: int) -> list[Pose]:
    """Poses as of patients told to stand straight: the same list for every look."""
    chance = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        primary, secondary = chance.uniform(-4, 4), chance.uniform(-4, 4)
        found.append(
            Pose(
                primary_angle=round(float(primary), 2),
                secondary_angle=round(float(secondary), 2),
                detector_rotation=round(float(chance.uniform(-2, 2)), 2),
                source_to_detector_distance=round(float(chance.uniform(1700, 1900)), 1),
                offset=(
                    round(float(chance.uniform(-10, 10)), 1),
                    round(float(chance.uniform(-10, 10)), 1),
                ),
                margin=round(float(chance.uniform(25, 50)), 1),
            )
        )
    return found


def read_scans() -> dict[str, Prepared]:
    return {name: prepare(drr.read(DATA / path)) for name, path in SCANS.items()}


def frontal(prepared: Prepared, pose: Pose) -> View:
    """The collimated PA view of a pose."""
    view = View(
        primary_angle=pose.primary_angle,
        secondary_angle=pose.secondary_angle,
        detector_rotation=pose.detector_rotation,
        source_to_detector_distance=pose.source_to_detector_distance,
        offset=pose.offset,
        shape=(PIXELS, PIXELS),
    )
    margins = dict.fromkeys(("above", "below", "beside"), pose.margin)
    return fit_to_lungs(view, prepared.anatomy, **margins)


def film_look(prepared: Prepared, pose: Pose) -> Shot:
    """What `drr project` shows by default."""
    return _shot(prepared, pose, "film")


def physical_look(prepared: Prepared, pose: Pose) -> Shot:
    """What a detector measures, in a linear window."""
    return _shot(prepared, pose, "physical")


def raw_look(prepared: Prepared, pose: Pose) -> Shot:
    """Water line integrals in a linear window, of the field that the film look collimates."""
    return _shot(prepared, pose, "raw")


def drr_rate_look(prepared: Prepared, pose: Pose) -> Shot:
    """The published recipe to the bit, of the scan as read; the pose turns and moves the scan."""
    recipe = DrrRate(
        rotation=(pose.secondary_angle, pose.detector_rotation, pose.primary_angle),
        translation=(pose.offset[0], 300.0, pose.offset[1]),
    )
    image = drr_rate(prepared.source, "AP", recipe=recipe)
    geometry = image.geometry
    # The published plane lies before the patient: its millimetres are not those of a film.
    spacing = geometry.row_pitch / _magnification(geometry, prepared)
    film = frontal(prepared, pose).place(prepared.anatomy)
    return Shot(MinMax().apply(image.path_sums), spacing * _magnification(film, prepared), geometry)


def _shot(prepared: Prepared, pose: Pose, look: str) -> Shot:
    view = frontal(prepared, pose)
    shot = drr.project(prepared, view, look=look, field="detector")  # collimated already
    return Shot(shot.picture(), view.detector_size[0] / PIXELS, shot.geometry)


def _magnification(geometry: Geometry, prepared: Prepared) -> float:
    """Of the middle of the chest."""
    assert geometry.source is not None
    along = np.subtract(prepared.anatomy.thorax_center, geometry.source) @ geometry.central_ray
    return geometry.source_to_detector_distance / float(along)


LOOKS: dict[str, Look] = {
    "film": film_look,
    "physical": physical_look,
    "raw": raw_look,
    "drr-rate": drr_rate_look,
}
