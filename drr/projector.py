"""`project`: a volume and its views to radiographs, in four steps.

`_check` refuses what cannot be asked for; `_resolve` prepares the patient and places the views;
`_cast` computes line integrals, ray by ray, and what the detector makes of them; `_develop` chooses
the display and writes down how it was done.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

import drr
from drr.backend import BACKENDS, Backend, cast, choose_backend, find_backend
from drr.checks import choice, whole
from drr.errors import ProjectionError
from drr.geometry.geometry import Geometry
from drr.geometry.views import View, check_geometry, parse_view
from drr.kernels.cpu.projection.project import METHODS, QUALITIES
from drr.looks import Look, find_look
from drr.memory import check_memory
from drr.patient.cleaning import CLEANUP_PARAMETERS
from drr.patient.collimation import fit_to_lungs
from drr.patient.extension import CONTINUATION_PARAMETERS
from drr.patient.plausible import Accept, refuse_doubtful
from drr.patient.prepare import Prepared, prepare
from drr.physics.attenuation import Attenuation
from drr.physics.beam import Beam
from drr.physics.detector import Detector
from drr.published.render import drr_rate, drr_rate_geometry
from drr.radiograph import Projection
from drr.randomise.variation import Draw
from drr.thickness import check_mask, thickness
from drr.volume import Volume

__all__ = ["BACKENDS", "ViewLike", "choose_backend", "project"]

ViewLike = str | View | Geometry
Field = Literal["lungs", "detector"]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Options:
    """The options of `project`, which explains them, with look and back-end found."""

    look: Look
    attenuation: Attenuation | Beam | None
    detector: Detector | None
    field: Field | None
    draw: Draw | None
    seed: int
    method: str
    quality: str
    backend: Backend
    threads: int | None
    anti_aliasing: bool
    clean: bool
    accept: Accept
    mask: Volume | None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Scene:
    """What stands before the tube: every choice made, no ray cast.

    Parameters
    ----------
    source
        The scan as it was read.
    prepared
        What is projected of it; None for a recipe, which takes the scan itself.
    views
        As they are taken of this patient; names of a recipe's projections.
    geometries
        Of the views, placed.
    attenuation, detector
        Of the look, or those in their place; None for a recipe.
    """

    source: Volume
    prepared: Prepared | None
    views: Sequence[ViewLike]
    geometries: Sequence[Geometry]
    attenuation: Attenuation | Beam | None = None
    detector: Detector | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Shot:
    """What the detector measured of one view, and what computed it."""

    line_integrals: NDArray[np.float32]
    method: str
    quality: str
    backend: Backend
    recipe: dict[str, Any] | None = None
    thickness: NDArray[np.float32] | None = None
    labels: tuple[int, ...] = ()


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
        Seed of the detector's noise.
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
    options = _Options(
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
    scene = _resolve(volume, wanted, options)
    made = [
        _develop(view, geometry, shot, scene, options)
        for view, geometry, shot in zip(
            scene.views, scene.geometries, _cast(scene, options), strict=True
        )
    ]
    return made[0] if single else made


def _check(volume: Any, views: Sequence[ViewLike], options: _Options) -> None:
    """Refuse what cannot be projected, before any work starts."""
    method, quality, look = options.method, options.quality, options.look
    if method not in METHODS:
        raise ProjectionError(f"there is no method {method!r}; methods are {', '.join(METHODS)}")
    if quality not in QUALITIES:
        raise ProjectionError(
            f"there is no quality {quality!r}; qualities are {', '.join(QUALITIES)}"
        )
    by_rays = quality == "preview" and method != "shear-warp"
    if by_rays or (quality != "full" and look.recipe):
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


def _resolve(volume: Volume | Prepared, views: Sequence[ViewLike], options: _Options) -> _Scene:
    """The patient as the look wants it, and the views placed there."""
    look, draw = options.look, options.draw
    if look.recipe is not None:
        assert isinstance(volume, Volume)
        refuse_doubtful(volume, options.accept)
        geometries = [drr_rate_geometry(volume, str(v), recipe=look.recipe) for v in views]
        return _Scene(source=volume, prepared=None, views=views, geometries=geometries)
    attenuation = look.attenuation if options.attenuation is None else options.attenuation
    detector = look.detector if options.detector is None else options.detector
    # Refuse bad names before the work starts.
    parsed = [view if isinstance(view, Geometry) else parse_view(view) for view in views]
    _check_room(parsed, attenuation, detector)
    if isinstance(volume, Volume):
        volume = prepare(
            volume,
            clean=options.clean,
            beyond=look.beyond,
            accept=options.accept,
            threads=options.threads,
        )
    if options.mask is not None:
        check_mask(options.mask, volume.source)
    if draw is not None:
        parsed = [view if isinstance(view, Geometry) else draw.view(view) for view in parsed]
    if (options.field or look.field) == "lungs":
        size = 1.0 if draw is None else draw.field_size or 1.0
        parsed = [
            view if isinstance(view, Geometry) else _collimated(view, volume, size)
            for view in parsed
        ]
    return _Scene(
        source=volume.source,
        prepared=volume,
        views=parsed,
        geometries=[_place(view, volume) for view in parsed],
        attenuation=attenuation,
        detector=detector,
    )


def _cast(scene: _Scene, options: _Options) -> Iterator[_Shot]:
    """What the detector measures of every view, in order."""
    if scene.prepared is None or scene.attenuation is None:
        yield from _published(scene, options)
        return
    volume = scene.prepared.volume
    beam, channels = _beam(scene.attenuation, options.draw)
    detector = scene.detector
    if detector is not None and options.draw is not None:
        drawn: dict[str, Any] = options.draw.detector_overrides
        detector = replace(detector, **drawn)
    chosen: dict[str, Any] = {
        "method": options.method,
        "anti_aliasing": options.anti_aliasing,
        "threads": options.threads,
    }
    made = cast(
        scene.prepared,
        [channel.mapping for channel in channels],
        [geometry.rays(volume.affine) for geometry in scene.geometries],
        backend=options.backend,
        quality=options.quality,
        **chosen,
    )
    for geometry, images in zip(scene.geometries, made, strict=True):
        if not images.channels.any():
            raise ProjectionError(
                f"the image of {volume.name} is blank: no ray meets anything denser than "
                f"{channels[0].hu[0]:g} HU before the detector; 'drr inspect' shows what the scan "
                "holds"
            )
        image = images.channels[0] if beam is None else beam.line_integrals(images.channels)
        if detector is not None:
            image = detector.detect(image, geometry, seed=options.seed, threads=options.threads)
        values, labels = None, ()
        if options.mask is not None:
            values, labels = thickness(options.mask, geometry, **chosen)
        yield _Shot(
            line_integrals=image,
            method=images.method,
            quality=images.quality,
            backend=images.backend,
            thickness=values,
            labels=labels,
        )


def _develop(
    view: ViewLike, geometry: Geometry, shot: _Shot, scene: _Scene, options: _Options
) -> Projection:
    """The radiograph with the look's display, and the record of how it was made."""
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


def _published(scene: _Scene, options: _Options) -> Iterator[_Shot]:
    """A recipe's path sums, which stand for line integrals."""
    by = Backend(name="cpu", reason="the published recipe is computed by the CPU")
    for view in scene.views:
        image = drr_rate(
            scene.source, str(view), recipe=options.look.recipe, threads=options.threads
        )
        yield _Shot(
            line_integrals=image.path_sums.astype(np.float32),
            method="siddon",
            quality="full",
            backend=by,
            recipe={key: image.record[key] for key in image.record if key not in ("drr", "input")},
        )


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


def _place(view: View | Geometry, prepared: Prepared) -> Geometry:
    if isinstance(view, View):
        return view.place(prepared.anatomy)
    check_geometry(view, prepared.anatomy)
    return view


def _cpu() -> str:
    from drr.kernels.cpu.compiler.native import cpu_name

    return cpu_name()
