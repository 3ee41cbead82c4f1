"""`project`: a volume and its views to radiographs, in four steps.

`_check` refuses what cannot be asked for; `resolve` prepares the patient and places the views;
`expose` computes line integrals, ray by ray, and what the detector makes of them; `_develop`
chooses the display and writes down how it was done.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import drr
from drr.backend import BACKENDS, choose_backend, find_backend
from drr.checks import choice, whole
from drr.errors import ProjectionError
from drr.exposure import Field, Options, Scene, Shot, ViewLike, expose, resolve
from drr.geometry.geometry import Geometry
from drr.geometry.views import View
from drr.kernels.cpu.projection.project import METHODS, QUALITIES
from drr.looks import find_look
from drr.patient.cleaning import CLEANUP_PARAMETERS
from drr.patient.extension import CONTINUATION_PARAMETERS
from drr.patient.plausible import Accept
from drr.patient.prepare import Prepared
from drr.physics.attenuation import Attenuation
from drr.physics.beam import Beam
from drr.physics.detector import Detector
from drr.radiograph import Projection
from drr.randomise.variation import Draw
from drr.volume import Volume

__all__ = ["BACKENDS", "ViewLike", "choose_backend", "project"]


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
    quality: str = "standard",
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
        Seed of the detector's noise.
    method
        `shear-warp` (nearly Joseph's sums, fastest), `joseph` (ray by ray) or `siddon` (exact
        paths through piecewise-constant voxels). A GPU runs `joseph` for `shear-warp`; the record
        names the one that ran.
    quality
        Accuracy of a `shear-warp`: `standard`; `finest`, which resamples every plane by itself,
        where `standard` may add up two; or `preview`, faster, which adds up four. How far off they
        are, is in docs/conventions.md. A GPU always makes `finest`; the record names the one that
        ran. The thickness of masks is always standard.
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
    options = Options(
        look=find_look(look),
        attenuation=attenuation,
        detector=detector,
        field=field,
        draw=draw,
        seed=seed,
        method=method,
        quality=quality,
        backend=find_backend(backend),
        threads=threads,
        anti_aliasing=anti_aliasing,
        clean=clean,
        accept=accept,
        mask=mask,
    )
    single = isinstance(views, str | View | Geometry)
    wanted: Sequence[ViewLike] = [views] if single else list(views)  # type: ignore[list-item,arg-type]
    _check(volume, wanted, options)
    scene = resolve(volume, wanted, options)
    made = [
        _develop(view, geometry, shot, scene, options)
        for view, geometry, shot in zip(
            scene.views, scene.geometries, expose(scene, options), strict=True
        )
    ]
    return made[0] if single else made


def _check(volume: Any, views: Sequence[ViewLike], options: Options) -> None:
    """Refuse what cannot be projected, before any work starts."""
    method, quality, look = options.method, options.quality, options.look
    if method not in METHODS:
        raise ProjectionError(f"there is no method {method!r}; methods are {', '.join(METHODS)}")
    if quality not in QUALITIES:
        raise ProjectionError(
            f"there is no quality {quality!r}; qualities are {', '.join(QUALITIES)}"
        )
    by_rays = quality == "preview" and method != "shear-warp"
    if by_rays or (quality != "standard" and look.recipe):
        by = f"the look {look.name!r}" if look.recipe else f"method {method!r}"
        raise ProjectionError(
            f"quality {quality!r} is a way of the method 'shear-warp' and there is none for {by}; "
            "leave one of the two out"
        )
    if options.field is not None:
        choice("field", options.field, ("lungs", "detector"), error=ProjectionError)
    if options.threads is not None:
        whole("threads", options.threads, error=ProjectionError, least=1)
    whole("seed", options.seed, error=ProjectionError)
    if not views:
        raise ProjectionError("no views were asked for; name at least one, such as 'pa'")
    if not isinstance(volume, Volume | Prepared):
        raise ProjectionError(
            f"project needs a Volume (from drr.read), got {type(volume).__name__}; "
            "for a plain array use Volume.from_stored(array, affine)"
        )
    if look.recipe:
        parts = (options.attenuation, options.detector, options.field, options.draw, options.mask)
        if isinstance(volume, Prepared) or any(part is not None for part in parts):
            raise ProjectionError(
                f"the look {look.name!r} is the published recipe, which takes a Volume as it was "
                "read and settles everything else; leave the other options out"
            )
        for view in views:
            if not isinstance(view, str):
                raise ProjectionError(
                    f"the look {look.name!r} has the views 'ap' and 'lateral' of the published "
                    f"recipe, not {view!r}"
                )


def _develop(
    view: ViewLike, geometry: Geometry, shot: Shot, scene: Scene, options: Options
) -> Projection:
    """Choose the display as the look does, and write down how the radiograph was made."""
    patient, recipe = scene.prepared, shot.recipe
    extension = None if patient is None else patient.extension
    return Projection(
        line_integrals=shot.line_integrals,
        geometry=geometry,
        record={
            "drr": drr.__version__,
            "input": {
                "sha256": (patient or scene.source).sha256,
                "shape": list(scene.source.shape),
                "spacing": scene.source.spacing.round(6).tolist(),
            },
            "look": options.look.name,
            "view": view.to_dict() if isinstance(view, View) else None,
            "recipe": recipe,
            "attenuation": None if scene.attenuation is None else scene.attenuation.to_dict(),
            "detector": None if scene.detector is None else scene.detector.to_dict(),
            "seed": 0 if recipe else options.seed,
            "cleanup": dict(CLEANUP_PARAMETERS) if patient and patient.cleaned else None,
            "extension": None
            if extension is None
            else {**extension.to_dict(), **CONTINUATION_PARAMETERS},
            "method": shot.method,
            "quality": shot.quality,
            "backend": shot.backend.name,
            "anti_aliasing": options.anti_aliasing and not recipe,
            "cpu": _cpu(),
        },
        display=options.look.develop(
            shot.line_integrals, geometry, None if patient is None else patient.anatomy
        ),
        draw=options.draw,
        thickness=shot.thickness,
        labels=shot.labels,
        identifiers=scene.source.identifiers,
        backend_reason=shot.backend.reason,
    )


def _cpu() -> str:
    from drr.kernels.cpu.compiler.native import cpu_name

    return cpu_name()
