"""What `drr project` was asked to make, from its options."""

from __future__ import annotations

import math
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drr.errors import DocumentError, GeometryError, PolicyError

if TYPE_CHECKING:
    from drr.geometry.geometry import Geometry
    from drr.geometry.views import View
    from drr.looks import Look
    from drr.physics.attenuation import Attenuation
    from drr.physics.beam import Beam
    from drr.physics.detector import Detector
    from drr.radiograph import Projection
    from drr.randomise.policy import Draw, Policy
    from drr.record import Record

__all__ = ["RECORDED_OPTIONS", "Request", "reading", "request_from_options", "writing"]

# Options that change named views, by the field of `View` they set.
_VIEW_OPTIONS = {
    "source_to_detector": "source_to_detector_distance",
    "source_to_isocenter": "source_to_isocenter_distance",
    "viewed_from": "viewed_from",
}
_DISPLAY_OPTIONS = ("window", "curve", "invert")
_BEAM_OPTIONS = ("kev", "kvp", "detector_model", "exposure", "randomise")
# Of what and how to read; a record does not hold them.
READING_OPTIONS = ("series", "acquisition", "outside", "assume_axial")
# A record holds these, so that giving them as well would contradict it.
RECORDED_OPTIONS = (
    *("look", "views", "geometry", *_VIEW_OPTIONS, "parallel", "detector", "field", "pixels"),
    *("method", "quality", "backend", "no_clean", "no_anti_aliasing", *_BEAM_OPTIONS, "seed"),
    *_DISPLAY_OPTIONS,
)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to make of every CT.

    Parameters
    ----------
    views, labels
        What to project, and what it is called in file names.
    preparing
        Options of `drr.patient.prepare.prepare`; None for a look that takes the scan as it is.
    projecting
        Options of `drr.projector.project`.
    display
        Fields of a window in place of the look's display, and its polarity.
    writing
        Options of `drr.io.write`.
    reading
        Options of `drr.read`.
    policy, seed
        Random variations.
    record
        Record of the image to repeat.
    """

    views: tuple[View | Geometry | str, ...]
    labels: tuple[str, ...]
    preparing: Mapping[str, Any] | None
    projecting: Mapping[str, Any]
    display: Mapping[str, Any]
    writing: Mapping[str, Any]
    reading: Mapping[str, Any]
    policy: Policy | None = None
    seed: int = 0
    record: Record | None = None

    def draws(self, number: int) -> tuple[Draw | None, ...]:
        """Random variations of every view of the CT of that number."""
        if self.record is not None:
            return (self.record.draw,)
        if self.policy is None:
            return (None,) * len(self.views)
        first = number * len(self.views)
        return tuple(self.policy.draw(self.seed, first + i) for i in range(len(self.views)))

    def displayed(self, projection: Projection) -> Projection:
        """The projection with the display that was asked for."""
        if self.record is not None:
            return replace(projection, display=self.record.display or projection.display)
        return projection.displayed(self.display)


def request_from_options(options: Mapping[str, Any]) -> Request:
    """Views, look and display from the command's options.

    Raises
    ------
    DRRError
        For looks, views, geometries, energies or policies that cannot be.
    click.UsageError
        For options that contradict each other.
    """
    from drr.looks import find_look

    look = find_look(options["look"] or "film")
    if look.recipe:
        return _published_recipe(options)
    overrides = {
        field: options[name] for name, field in _VIEW_OPTIONS.items() if options[name] is not None
    }
    if options["parallel"]:
        if "source_to_detector_distance" in overrides:
            raise click.UsageError("--parallel has no --source-to-detector; leave one out")
        overrides["source_to_detector_distance"] = math.inf
    names = options["views"] or (() if options["geometry"] else ("pa",))
    if not names and (overrides or options["detector"] or options["pixels"] or options["field"]):
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
    return Request(
        views=(*named, *explicit),
        labels=tuple(labels),
        preparing={
            "clean": not options["no_clean"],
            "beyond": look.beyond,
            "accept": options["accept"],
        },
        projecting={
            "look": look.name,
            "attenuation": _attenuation(options),
            "detector": _detector(options, look),
            "field": options["field"],
            "seed": options["seed"] or 0,
            "method": options["method"],
            "quality": options["quality"],
            "backend": options["backend"],
            "threads": options["threads"],
            "anti_aliasing": not options["no_anti_aliasing"],
        },
        display=_display(options),
        writing=writing(options, bits=8, mark=False),
        reading=reading(options),
        policy=_policy(options["randomise"]),
        seed=options["seed"] or 0,
    )


def _published_recipe(options: Mapping[str, Any]) -> Request:
    """DRR-RATE's own views of the scan as it is; nothing about them can be chosen."""
    taken = ("views", "look", "invert")
    for name in RECORDED_OPTIONS:
        default = {"method": "shear-warp", "quality": "standard", "backend": "auto"}.get(name)
        if name not in taken and options[name] and options[name] != default:
            raise click.UsageError(
                f"--look drr-rate is the published recipe, which settles everything: leave out "
                f"--{name.replace('_', '-')}"
            )
    names = tuple(name.lower() for name in options["views"]) or ("ap",)
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise click.UsageError(f"the view {twice[0]!r} was given twice")
    return Request(
        views=names,
        labels=tuple(f"drr-rate_{name}" for name in names),
        preparing=None,
        projecting={
            "look": "drr-rate",
            "accept": options["accept"],
            "threads": options["threads"],
        },
        display={"invert": True} if options["invert"] else {},
        writing=writing(options, bits=8, mark=False),
        reading=reading(options),
    )


def _attenuation(options: Mapping[str, Any]) -> Attenuation | Beam | None:
    """The beam asked for; None for the look's own."""
    if options["kev"] is not None and options["kvp"] is not None:
        raise click.UsageError("--kev is one photon energy and --kvp a spectrum; leave one out")
    if options["kvp"] is not None:
        from drr.physics.beam import Beam

        return Beam(kvp=options["kvp"])
    if options["kev"] is not None:
        from drr.physics.attenuation import tissue, water

        return (water if options["look"] == "raw" else tissue)(options["kev"])
    return None


def _detector(options: Mapping[str, Any], look: Look) -> Detector | None:
    """The detector asked for; None for the look's own."""
    name, exposure = options["detector_model"], options["exposure"]
    if name is None and exposure is None:
        return None
    from drr.physics.detector import Detector, parse_detector

    detector = look.detector or Detector()
    if name is not None:
        detector = parse_detector(name)
    if exposure is None:
        return detector
    return replace(detector, air_kerma=None, receptor_air_kerma=exposure)


def _display(options: Mapping[str, Any]) -> dict[str, Any]:
    display: dict[str, Any] = {}
    if options["window"]:
        display["center"], display["width"] = options["window"]
    if options["curve"] or options["window"] is not None:
        display["curve"] = options["curve"] or "sigmoid"
    if options["invert"]:
        display["invert"] = True
    return display


def _policy(name: str | None) -> Policy | None:
    """A preset, or what a JSON file holds."""
    if name is None:
        return None
    from drr.files.documents import read_json
    from drr.randomise.policy import policy

    path = Path(name)
    if path.suffix.lower() != ".json":
        return policy(name)
    try:
        return policy(read_json(path))
    except OSError as error:
        raise PolicyError(f"{path}: cannot be read: {error.strerror}; check the path") from None
    except (DocumentError, PolicyError) as error:
        raise PolicyError(f"{path}: {error}") from None


def load_geometry(path: Path) -> Geometry:
    """Geometry of a JSON file: `Geometry.to_dict()` itself, or a record that holds it.

    Raises
    ------
    GeometryError
        When the file is not there or does not hold one.
    """
    from drr.files.documents import read_json
    from drr.geometry.geometry import Geometry

    try:
        values = read_json(path)
    except OSError as error:
        raise GeometryError(f"{path}: cannot be read: {error.strerror}; check the path") from None
    except DocumentError as error:
        raise GeometryError(f"{path}: {error}") from None
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
    from drr.geometry.views import parse_view

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


def reading(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `drr.read`."""
    return {name: options[name] for name in READING_OPTIONS if name in options}


def writing(options: Mapping[str, Any], *, bits: int, mark: bool) -> dict[str, Any]:
    """Options of `drr.io.write`, with what they are where none was given."""
    return {
        "bits": int(options["bits"] or bits),
        "mark": options["mark"] or mark,
        "keep_identifiers": options["keep_identifiers"],
        # Of this run alone: its images share a study, and no other's.
        "salt": secrets.token_bytes(32) if options.get("unlinkable") else None,
    }
