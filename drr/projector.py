"""`project`: a volume and its views to line integrals, and how those become a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

import drr
from drr.backend import BACKENDS, cast, choose_backend, find_backend
from drr.errors import ProjectionError
from drr.geometry.geometry import Geometry
from drr.geometry.views import View, check_geometry, parse_view
from drr.kernels.cpu.projection.project import METHODS, QUALITIES
from drr.looks import check_look, find_look
from drr.memory import check_memory
from drr.patient.cleaning import CLEANUP_PARAMETERS
from drr.patient.collimation import fit_to_lungs
from drr.patient.extension import CONTINUATION_PARAMETERS
from drr.patient.plausible import Accept, refuse_doubtful
from drr.patient.prepare import Prepared, prepare
from drr.physics.attenuation import Attenuation
from drr.thickness import check_mask, thickness
from drr.volume import Volume

if TYPE_CHECKING:
    from drr.looks import Display
    from drr.physics.beam import Beam
    from drr.physics.detector import Detector
    from drr.randomise.policy import Draw

__all__ = ["BACKENDS", "Projection", "ViewLike", "choose_backend", "project"]

ViewLike = str | View | Geometry
Field = Literal["lungs", "detector"]


@dataclass(frozen=True, eq=False)
class Projection:
    """Line integrals of one view, how they were made, and how they are shown.

    Parameters
    ----------
    line_integrals
        `(rows, columns)` float32, dimensionless: minus the logarithm of the signal relative to
        the open field. Without a polychromatic beam or a detector, attenuation along each ray.
    geometry
        Source, detector and pixels, LPS mm.
    record
        Everything needed to repeat the line integrals, ready for JSON.
    display
        Mapping to grey levels that the look chose.
    draw
        Random effects on the picture, where any were drawn.
    thickness, labels
        With a mask: `(labels, rows, columns)` float32, mm of each label along each ray, and the
        labels' values.
    identifiers
        The input's patient and study attributes; written nowhere unless asked for.
    backend_reason
        Why the back-end in the record is the one that ran.
    """

    line_integrals: NDArray[np.float32]
    geometry: Geometry
    record: dict[str, Any]
    display: Display
    draw: Draw | None = None
    thickness: NDArray[np.float32] | None = None
    labels: tuple[int, ...] = ()
    identifiers: Mapping[str, str] = field(default_factory=dict)
    backend_reason: str = ""

    def picture(self) -> NDArray[np.float32]:
        """`(rows, columns)` float32 grey levels, from 0 (black) to 1 (white)."""
        grey = self.display.apply(self.line_integrals)
        if self.draw is None:
            return grey
        # A side marker on a lateral names the side at the detector.
        sides = {"LL": "LL", "RL": "RR"}.get(self.geometry.view_position, "RL")
        return self.draw.picture(grey, sides=sides)


@overload
def project(  # type: ignore[overload-overlap] # a str is also a sequence of str
    volume: Volume | Prepared,
    views: ViewLike = ...,
    *,
    look: str = ...,
    attenuation: Attenuation | Beam | None = ...,
    detector: Detector | None = ...,
    field: Field | None = ...,
    draw: Draw | None = ...,
    seed: int = ...,
    method: str = ...,
    quality: str = ...,
    backend: str = ...,
    threads: int | None = ...,
    anti_aliasing: bool = ...,
    clean: bool = ...,
    accept: Accept = ...,
    mask: Volume | None = ...,
) -> Projection: ...
@overload
def project(
    volume: Volume | Prepared,
    views: Sequence[ViewLike],
    *,
    look: str = ...,
    attenuation: Attenuation | Beam | None = ...,
    detector: Detector | None = ...,
    field: Field | None = ...,
    draw: Draw | None = ...,
    seed: int = ...,
    method: str = ...,
    quality: str = ...,
    backend: str = ...,
    threads: int | None = ...,
    anti_aliasing: bool = ...,
    clean: bool = ...,
    accept: Accept = ...,
    mask: Volume | None = ...,
) -> list[Projection]: ...
def project(
    volume: Volume | Prepared,
    views: ViewLike | Sequence[ViewLike] = "pa",
    *,
    look: str = "film",
    attenuation: Attenuation | Beam | None = None,
    detector: Detector | None = None,
    field: Field | None = None,
    draw: Draw | None = None,
    seed: int = 0,
    method: str = "shear-warp",
    quality: str = "full",
    backend: str = "auto",
    threads: int | None = None,
    anti_aliasing: bool = True,
    clean: bool = True,
    accept: Accept = (),
    mask: Volume | None = None,
) -> Projection | list[Projection]:
    """Project a CT volume.

    Parameters
    ----------
    volume
        From `drr.read`, or `prepare` to share its work between calls.
    views
        A view's name (`pa`, `ap-portable`, `ll`, `lao30`), angles (`30,15`), a `View` or a
        `Geometry`; a sequence of them gives a list. The look `drr-rate` has the views `ap` and
        `lateral`.
    look
        `film`, `physical`, `drr-rate` or `raw`: what the picture shows; see `drr.looks`. The
        options below replace parts of it.
    attenuation
        HU to attenuation, or a polychromatic `Beam`.
    detector
        What the detector does to the signal; `Detector()` for a perfect one.
    field
        `lungs` collimates views to the lungs, `detector` leaves them as they are. A `Geometry` is
        never changed.
    draw
        Random variations of all of this and of the picture, from `Policy.draw`.
    seed
        Of the detector's noise.
    method
        `shear-warp` (nearly Joseph's sums, fastest), `joseph` (ray by ray) or `siddon` (exact
        paths through piecewise-constant voxels). A GPU runs `joseph` for `shear-warp`; the record
        names the one that ran.
    quality
        Of a `shear-warp`: `full`; `finest`, which resamples every plane of voxels by itself, where
        `full` may add up two; or `preview`, faster, which adds up four. How far off they are, is
        in docs/conventions.md. A GPU always makes `finest`; the record names the one that ran. The
        thickness of masks is always full.
    backend
        `cpu`; `cuda` for an NVIDIA GPU; `auto` takes the GPU when one answers and can, else the
        CPU. Masks and the look `drr-rate` are always projected by the CPU.
    threads
        CPU threads; all available ones by default.
    anti_aliasing
        Whether a pixel larger than the voxels it sees is the mean of sub-pixel rays.
    clean
        Whether couch, blanket and padding become air first. Ignored for a prepared volume.
    accept
        What to take although it is implausible, of a volume that `drr.read` judged: `values` that
        are not HU, a `size` that no patient has. Ignored for a prepared volume.
    mask
        Labels in the patient's frame, on any grid: each label's thickness is projected too.

    Returns
    -------
    A `Projection`, or a list of them for a sequence of views.

    Raises
    ------
    DisplayError
        For a look that does not exist.
    GeometryError
        For views that cannot be placed or see nothing.
    ProjectionError
        For an unknown method, quality or back-end, a preview by another method, no GPU or too
        little memory on it when it was asked for, images that the memory cannot hold, a mask that
        is not of this patient, or a blank image.
    VolumeError
        For a volume whose values or size are implausible and were not accepted.
    """
    check_look(look)
    if method not in METHODS:
        raise ProjectionError(f"there is no method {method!r}; methods are {', '.join(METHODS)}")
    if quality not in QUALITIES:
        raise ProjectionError(
            f"there is no quality {quality!r}; qualities are {', '.join(QUALITIES)}"
        )
    by_rays = quality == "preview" and method != "shear-warp"
    if by_rays or (quality != "full" and look == "drr-rate"):
        by = "the look 'drr-rate'" if look == "drr-rate" else f"method {method!r}"
        raise ProjectionError(
            f"quality {quality!r} is a way of the method 'shear-warp' and there is none for {by}; "
            "leave one of the two out"
        )
    if field not in (None, "lungs", "detector"):
        raise ProjectionError(f"field must be 'lungs' or 'detector', got {field!r}")
    chosen = find_backend(backend)
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise ProjectionError(f"threads must be a whole number above zero, got {threads!r}")
    if not isinstance(seed, int) or seed < 0:
        raise ProjectionError(f"seed must be a whole number, zero or more, got {seed!r}")
    single = isinstance(views, str | View | Geometry)
    wanted: Sequence[ViewLike] = [views] if single else list(views)  # type: ignore[list-item,arg-type]
    if not wanted:
        raise ProjectionError("no views were asked for; name at least one, such as 'pa'")
    if not isinstance(volume, Volume | Prepared):
        raise ProjectionError(
            f"project needs a Volume (from drr.read), got {type(volume).__name__}; "
            "for a plain array use Volume.from_stored(array, affine)"
        )
    if look == "drr-rate":
        if isinstance(volume, Prepared) or {attenuation, detector, field, draw, mask} != {None}:
            raise ProjectionError(
                "the look 'drr-rate' is the published recipe, which takes a Volume as it was read "
                "and settles everything else; leave the other options out"
            )
        refuse_doubtful(volume, accept)
        published = [_published(volume, view, threads) for view in wanted]
        return published[0] if single else published
    parts = find_look(look)
    attenuation = parts.attenuation if attenuation is None else attenuation
    detector = parts.detector if detector is None else detector
    field = parts.field if field is None else field
    # Refuse bad names before the work starts.
    parsed = [view if isinstance(view, Geometry) else parse_view(view) for view in wanted]
    _check_room(parsed, attenuation, detector)
    if isinstance(volume, Volume):
        volume = prepare(volume, clean=clean, beyond=parts.beyond, accept=accept, threads=threads)
    if mask is not None:
        check_mask(mask, volume.source)
    if draw is not None:
        parsed = [view if isinstance(view, Geometry) else draw.view(view) for view in parsed]
    if field == "lungs":
        size = 1.0 if draw is None else draw.field_size or 1.0
        parsed = [
            view if isinstance(view, Geometry) else _collimated(view, volume, size)
            for view in parsed
        ]
    beam, channels = _beam(attenuation, draw)
    exposed = detector
    if detector is not None and draw is not None:
        drawn: dict[str, Any] = draw.detector_overrides
        exposed = replace(detector, **drawn)
    placed = [_place(view, volume) for view in parsed]
    rays = [geometry.rays(volume.volume.affine) for geometry in placed]
    projections = []
    made = cast(
        volume,
        [channel.mapping for channel in channels],
        rays,
        backend=chosen,
        method=method,
        quality=quality,
        anti_aliasing=anti_aliasing,
        threads=threads,
    )
    for view, geometry, images in zip(parsed, placed, made, strict=True):
        if not images.channels.any():
            raise ProjectionError(
                f"the image of {volume.volume.name} is blank: no ray meets anything denser than "
                f"{channels[0].hu[0]:g} HU before the detector; 'drr inspect' shows what the scan "
                "holds"
            )
        image = images.channels[0] if beam is None else beam.line_integrals(images.channels)
        if exposed is not None:
            image = exposed.detect(image, geometry, seed=seed, threads=threads)
        values: NDArray[np.float32] | None = None
        labels: tuple[int, ...] = ()
        if mask is not None:
            values, labels = thickness(
                mask, geometry, method=method, anti_aliasing=anti_aliasing, threads=threads
            )
        projections.append(
            Projection(
                line_integrals=image,
                geometry=geometry,
                record={
                    "drr": drr.__version__,
                    "input": {
                        "sha256": volume.sha256,
                        "shape": list(volume.source.shape),
                        "spacing": volume.source.spacing.round(6).tolist(),
                    },
                    "look": look,
                    "view": view.to_dict() if isinstance(view, View) else None,
                    "recipe": None,
                    "attenuation": attenuation.to_dict(),
                    "detector": None if detector is None else detector.to_dict(),
                    "seed": seed,
                    "cleanup": dict(CLEANUP_PARAMETERS) if volume.cleaned else None,
                    "extension": None
                    if volume.extension is None
                    else {**volume.extension.to_dict(), **CONTINUATION_PARAMETERS},
                    "method": images.method,
                    "quality": images.quality,
                    "backend": images.backend.name,
                    "anti_aliasing": anti_aliasing,
                    "cpu": _cpu(),
                },
                display=parts.develop(image, geometry, volume.anatomy),
                draw=draw,
                thickness=values,
                labels=labels,
                identifiers=volume.source.identifiers,
                backend_reason=images.backend.reason,
            )
        )
    return projections[0] if single else projections


def _check_room(
    views: Sequence[View | Geometry], attenuation: Attenuation | Beam, detector: Detector | None
) -> None:
    """Refuse images that do not fit into memory, by what is held of them at the least."""
    pixels = [math.prod(view.shape) for view in views]
    channels = 1 if isinstance(attenuation, Attenuation) else len(attenuation.materials)
    # What is returned, and for the largest the sums before and after the warp; a detector's noise.
    copies = 2 * channels + (0 if detector is None else 2)
    rows, columns = max((view.shape for view in views), key=math.prod)
    what = f"images of up to {rows} x {columns} pixels ({len(views)} at once)"
    check_memory(4 * (sum(pixels) + copies * max(pixels)), what)


def _collimated(view: View, prepared: Prepared, size: float) -> View:
    """The view with its field fitted to the lungs, times a factor on the field's size."""
    fitted = fit_to_lungs(view, prepared.anatomy)
    height, width = fitted.detector_size
    return replace(fitted, detector_size=(height * size, width * size))


def _beam(
    attenuation: Attenuation | Beam, draw: Draw | None
) -> tuple[Beam | None, tuple[Attenuation, ...]]:
    """The beam, if it is polychromatic, and what is projected, with what was drawn of both."""
    beam: Beam | None = None
    channels: tuple[Attenuation, ...]
    if isinstance(attenuation, Attenuation):
        channels = (attenuation,)
    else:
        kvp = None if draw is None else draw.kvp
        beam = attenuation if kvp is None else replace(attenuation, kvp=kvp)
        channels = beam.channels
    if draw is not None:
        channels = tuple(draw.attenuation(channel) for channel in channels)
    return beam, channels


def _published(volume: Volume, view: ViewLike, threads: int | None) -> Projection:
    """What the published recipe makes of a volume; its path sums stand for line integrals."""
    from drr.published.recipe import MinMax, drr_rate

    if not isinstance(view, str):
        raise ProjectionError(
            f"the look 'drr-rate' has the views 'ap' and 'lateral' of the published recipe, "
            f"not {view!r}"
        )
    image = drr_rate(volume, view, threads=threads)
    made = image.record
    return Projection(
        line_integrals=image.path_sums.astype(np.float32),
        geometry=image.geometry,
        record={
            "drr": made["drr"],
            "input": {key: made["input"][key] for key in ("sha256", "shape", "spacing")},
            "look": "drr-rate",
            "view": None,
            "recipe": {key: made[key] for key in made if key not in ("drr", "input")},
            "attenuation": None,
            "detector": None,
            "seed": 0,
            "cleanup": None,
            "extension": None,
            "method": "siddon",
            "quality": "full",
            "backend": "cpu",
            "anti_aliasing": False,
            "cpu": _cpu(),
        },
        display=MinMax(),
        identifiers=volume.identifiers,
        backend_reason="the published recipe is computed by the CPU",
    )


def _place(view: View | Geometry, prepared: Prepared) -> Geometry:
    if isinstance(view, View):
        return view.place(prepared.anatomy)
    check_geometry(view, prepared.anatomy)
    return view


def _cpu() -> str:
    from drr.kernels.cpu.compiler.native import cpu_name

    return cpu_name()
