"""From a patient and views to what the detector measures: `resolve`, then `expose`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from drr.backend import Backend, cast
from drr.errors import ProjectionError
from drr.geometry.geometry import Geometry
from drr.geometry.views import View, check_geometry, parse_view
from drr.looks import Look
from drr.memory import check_memory
from drr.patient.collimation import fit_to_lungs
from drr.patient.plausible import Accept, refuse_doubtful
from drr.patient.prepare import Prepared, prepare
from drr.physics.attenuation import Attenuation
from drr.physics.beam import Beam
from drr.physics.detector import Detector
from drr.published.render import drr_rate, drr_rate_geometry
from drr.randomise.variation import Draw
from drr.thickness import check_mask, thickness
from drr.volume import Volume

__all__ = ["Field", "Options", "Scene", "Shot", "ViewLike", "expose", "resolve"]

ViewLike = str | View | Geometry
Field = Literal["lungs", "detector"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Options:
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
class Scene:
    """What stands before the tube: every choice made, no ray cast.

    Parameters
    ----------
    source
        The scan as it was read.
    prepared
        What is projected of it; None for a recipe, which takes the scan itself.
    views
        The views as they are taken of this patient, or the names of a recipe's projections.
    geometries
        Where source and detector are in every view.
    attenuation, detector
        The look's own, or what the caller gave instead; None for a recipe.
    """

    source: Volume
    prepared: Prepared | None
    views: Sequence[ViewLike]
    geometries: Sequence[Geometry]
    attenuation: Attenuation | Beam | None = None
    detector: Detector | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Shot:
    """What the detector measured of one view, and what computed it."""

    line_integrals: NDArray[np.float32]
    method: str
    quality: str
    backend: Backend
    recipe: dict[str, Any] | None = None
    thickness: NDArray[np.float32] | None = None
    labels: tuple[int, ...] = ()


def resolve(volume: Volume | Prepared, views: Sequence[ViewLike], options: Options) -> Scene:
    """Prepare the patient as the look wants it, and place the views there."""
    look, draw = options.look, options.draw
    if look.recipe is not None:
        assert isinstance(volume, Volume)
        refuse_doubtful(volume, options.accept)
        geometries = [drr_rate_geometry(volume, str(v), recipe=look.recipe) for v in views]
        return Scene(source=volume, prepared=None, views=views, geometries=geometries)
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
    return Scene(
        source=volume.source,
        prepared=volume,
        views=parsed,
        geometries=[_place(view, volume) for view in parsed],
        attenuation=attenuation,
        detector=detector,
    )


def _check_room(
    views: Sequence[View | Geometry], attenuation: Attenuation | Beam, detector: Detector | None
) -> None:
    """Refuse images that do not fit into memory, by what is held of them at the least."""
    pixels = [math.prod(view.shape) for view in views]
    # What is returned, and for the largest the sums before and after the warp; a detector's noise.
    copies = 2 * len(attenuation.channels) + (0 if detector is None else 2)
    rows, columns = max((view.shape for view in views), key=math.prod)
    what = f"images of up to {rows} x {columns} pixels ({len(views)} at once)"
    check_memory(4 * (sum(pixels) + copies * max(pixels)), what)


def _collimated(view: View, prepared: Prepared, size: float) -> View:
    """The view with its field fitted to the lungs, times a factor on the field's size."""
    fitted = fit_to_lungs(view, prepared.anatomy)
    height, width = fitted.detector_size
    return replace(fitted, detector_size=(height * size, width * size))


def _place(view: View | Geometry, prepared: Prepared) -> Geometry:
    if isinstance(view, View):
        return view.place(prepared.anatomy)
    check_geometry(view, prepared.anatomy)
    return view


def expose(scene: Scene, options: Options) -> Iterator[Shot]:
    """Cast the rays of every view, in order, and yield what the detector measures."""
    if scene.prepared is None or scene.attenuation is None:
        yield from _path_sums(scene, options)
        return
    volume = scene.prepared.volume
    attenuation, detector, channels = _drawn(scene.attenuation, scene.detector, options.draw)
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
        image = attenuation.line_integrals(images.channels)
        if detector is not None:
            image = detector.detect(image, geometry, seed=options.seed, threads=options.threads)
        values: NDArray[np.float32] | None = None
        labels: tuple[int, ...] = ()
        if options.mask is not None:
            values, labels = thickness(options.mask, geometry, **chosen)
        yield Shot(
            line_integrals=image,
            method=images.method,
            quality=images.quality,
            backend=images.backend,
            thickness=values,
            labels=labels,
        )


def _drawn(
    attenuation: Attenuation | Beam, detector: Detector | None, draw: Draw | None
) -> tuple[Attenuation | Beam, Detector | None, tuple[Attenuation, ...]]:
    """Apply what was drawn to beam and detector; the third value is what the kernels project."""
    if draw is None:
        return attenuation, detector, attenuation.channels
    if isinstance(attenuation, Beam) and draw.kvp is not None:
        attenuation = replace(attenuation, kvp=draw.kvp)
    if detector is not None:
        overrides: dict[str, Any] = draw.detector_overrides
        detector = replace(detector, **overrides)
    return attenuation, detector, tuple(map(draw.attenuation, attenuation.channels))


def _path_sums(scene: Scene, options: Options) -> Iterator[Shot]:
    """Compute a recipe's path sums, which stand for line integrals."""
    by = Backend(name="cpu", reason="the published recipe is computed by the CPU")
    for view in scene.views:
        image = drr_rate(
            scene.source, str(view), recipe=options.look.recipe, threads=options.threads
        )
        yield Shot(
            line_integrals=image.path_sums.astype(np.float32),
            method="siddon",
            quality="standard",
            backend=by,
            recipe={key: image.record[key] for key in image.record if key not in ("drr", "input")},
        )
