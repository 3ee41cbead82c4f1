"""What `drr project` was asked to make: from options, or from the record of an image."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from drr.errors import GeometryError, ReadError

if TYPE_CHECKING:
    from drr.geometry import Geometry
    from drr.record import Record
    from drr.views import View

__all__ = ["Request", "request_from_options", "request_from_record"]

# Options that change named views, by the field of `View` they set.
_VIEW_OPTIONS = {
    "source_to_detector": "source_to_detector_distance",
    "source_to_isocenter": "source_to_isocenter_distance",
    "viewed_from": "viewed_from",
}
_WINDOW_OPTIONS = ("window", "curve", "invert")
# A record holds these, so that giving them as well would contradict it.
_RECORDED_OPTIONS = (
    *("views", "geometry", *_VIEW_OPTIONS, "parallel", "detector", "pixels"),
    *("method", "backend", "no_clean", "no_anti_aliasing", "kev", *_WINDOW_OPTIONS),
)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to make of every CT.

    Parameters
    ----------
    views, labels
        What to project, and what it is called in file names.
    projecting
        Options of `drr.projector.project`.
    window
        Fields of `drr.display.Window` that are settled; the rest is the default window's.
    writing
        Options of `drr.io.write`.
    clean
        Whether couch, blanket and padding become air.
    series
        DICOM series to read; None where there is one.
    record
        Of the image to repeat.
    """

    views: tuple[View | Geometry, ...]
    labels: tuple[str, ...]
    projecting: Mapping[str, Any]
    window: Mapping[str, Any]
    writing: Mapping[str, Any]
    clean: bool
    series: str | None
    record: Record | None = None


def request_from_options(options: Mapping[str, Any]) -> Request:
    """Views, attenuation and window from the command's options.

    Raises
    ------
    DRRError
        For views, geometries or energies that cannot be.
    click.UsageError
        For options that contradict each other.
    """
    from drr.attenuation import water

    overrides = {
        field: options[name] for name, field in _VIEW_OPTIONS.items() if options[name] is not None
    }
    if options["parallel"]:
        if "source_to_detector_distance" in overrides:
            raise click.UsageError("--parallel has no --source-to-detector; leave one out")
        overrides["source_to_detector_distance"] = math.inf
    names = options["views"] or (() if options["geometry"] else ("pa",))
    if not names and (overrides or options["detector"] or options["pixels"]):
        raise click.UsageError(
            "a --geometry is complete, so options of the beam and the detector do not change it; "
            "edit its file, or give a --view"
        )
    named = [_view(name, overrides, options["detector"], options["pixels"]) for name in names]
    explicit = [load_geometry(Path(path)) for path in options["geometry"]]
    labels = [view.label for view in named]
    labels += [Path(path).name.split(".")[0] for path in options["geometry"]]
    if twice := [label for label, count in Counter(labels).items() if count > 1]:
        raise click.UsageError(f"the view {twice[0]!r} was given twice")
    window: dict[str, Any] = {}
    if options["window"]:
        window["center"], window["width"] = options["window"]
    if options["curve"]:
        window["curve"] = options["curve"]
    if options["invert"]:
        window["invert"] = True
    return Request(
        views=(*named, *explicit),
        labels=tuple(labels),
        projecting={
            "attenuation": water() if options["kev"] is None else water(options["kev"]),
            "method": options["method"],
            "backend": options["backend"],
            "threads": options["threads"],
            "anti_aliasing": not options["no_anti_aliasing"],
        },
        window=window,
        writing=_writing(options, bits=8, mark=False),
        clean=not options["no_clean"],
        series=options["series"],
    )


def request_from_record(path: Path, options: Mapping[str, Any], context: click.Context) -> Request:
    """Everything as the record of an image says, so that the image can be made again.

    Raises
    ------
    DRRError
        For a file that is not such a record.
    click.UsageError
        For options that the record already settles.
    """
    from drr.attenuation import Attenuation
    from drr.io.write import FORMATS
    from drr.record import load_record
    from drr.views import View

    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        if given and parameter.name in _RECORDED_OPTIONS:
            raise click.UsageError(
                f"--from repeats an image as it was: leave out {parameter.opts[-1]}"
            )
    record = load_record(path)
    projection = record.projection
    try:
        attenuation = Attenuation.from_dict(projection["attenuation"])
        view = projection["view"]
        label = View.from_dict(view).label if view else record.geometry.view_position.lower()
    except (ValueError, TypeError) as error:
        raise ReadError(f"{path}: cannot be repeated: {error}") from None
    output = record.output
    if output["format"] not in FORMATS:
        raise ReadError(
            f"{path}: cannot be repeated: unknown format {output['format']!r}; the formats are "
            f"{', '.join(FORMATS)}"
        )
    return Request(
        views=(record.geometry,),
        labels=(label or "view",),
        projecting={
            "attenuation": attenuation,
            "method": projection["method"],
            "backend": projection["backend"],
            "threads": options["threads"],
            "anti_aliasing": projection["anti_aliasing"],
        },
        window={} if record.window is None else record.window.to_dict(),
        writing=_writing(
            options, bits=output["bits"] if output["format"] == "png" else 8, mark=output["mark"]
        ),
        clean=projection["cleanup"] is not None,
        series=options["series"],
        record=record,
    )


def load_geometry(path: Path) -> Geometry:
    """Geometry of a JSON file: `Geometry.to_dict()` itself, or a record that holds it.

    Raises
    ------
    GeometryError
        When the file is not there or does not hold one.
    """
    from drr.geometry import Geometry
    from drr.record import read_limited

    try:
        values = json.loads(read_limited(path))
    except OSError as error:
        raise GeometryError(f"{path}: cannot be read: {error.strerror}; check the path") from None
    except (ValueError, RecursionError) as error:
        raise GeometryError(f"{path}: is not JSON: {error}") from None
    if isinstance(values, dict) and isinstance(values.get("geometry"), dict):
        values = values["geometry"]
    if not isinstance(values, dict):
        raise GeometryError(f"{path}: holds no JSON object with a geometry's vectors")
    try:
        return Geometry.from_dict(values)
    except GeometryError as error:
        raise GeometryError(f"{path}: {error}") from None


def _view(
    name: str,
    overrides: Mapping[str, Any],
    detector: tuple[float, ...] | None,
    pixels: tuple[int, ...] | None,
) -> View:
    from drr.views import parse_view

    view = parse_view(name, **overrides)
    if detector is not None:
        view = replace(view, detector_size=(detector[0], detector[-1]))
    if pixels is not None and len(pixels) == 2:
        return replace(view, shape=pixels)
    if pixels is not None or detector is not None:
        longer = pixels[0] if pixels else max(view.shape)
        scale = longer / max(view.detector_size)
        height, width = view.detector_size
        # Not a number that a view would take is left for the view to refuse.
        square = (max(1, round(height * scale)), max(1, round(width * scale)))
        view = replace(view, shape=square if longer > 0 else (longer, longer))
    return view


def _writing(options: Mapping[str, Any], *, bits: int, mark: bool) -> dict[str, Any]:
    return {
        "bits": int(options["bits"] or bits),
        "mark": options["mark"] or mark,
        "keep_identifiers": options["keep_identifiers"],
    }
