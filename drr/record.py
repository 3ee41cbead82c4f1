"""The record beside every image: how it was made, complete enough to make it again.

A JSON object, written as `<image's name>.json` and embedded where the format has room:

================  ================================================================================
`record_version`  version of this layout
`notice`          not for diagnosis
`projection`      input digest, look, view, beam, detector, clean-up, method, versions
`geometry`        source, detector and pixel vectors in LPS mm (`Geometry.to_dict`)
`geometry_repr`   the same as Python source
`display`         mapping from line integrals to the picture and its kind, or null
`draw`            random effects that were drawn (`Draw.to_dict`), or null
`output`          file format, quantity, pixel type and size
`thickness`       labels projected along, with their unit, or null
`identifiers`     patient and study attributes, only when the user asked to keep them
================  ================================================================================

Nothing else is in it: no path, name, date or UID of the source. The input's digest tells whoever
has the CT that it was this one; `salted` digests do not.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from drr.display.protocol import Display
from drr.errors import DocumentError, DRRError, ReadError, printable
from drr.files.documents import check_keys, kind_of, read_json
from drr.geometry.geometry import Geometry
from drr.looks import display_from_dict, display_to_dict
from drr.radiograph import Projection
from drr.randomise.variation import Draw

__all__ = [
    "NOTICE",
    "RECORD_VERSION",
    "Record",
    "build_record",
    "dump_record",
    "load_record",
    "salted",
    "unlinked",
]

T = TypeVar("T")

RECORD_VERSION = 2
NOTICE = "Synthetic radiograph computed from a CT scan. Not for diagnosis."
# A record is a few kilobytes; anything near this is another file.
MAX_BYTES = 4 << 20

_KEYS = {
    "record_version": int,
    "notice": str,
    "projection": dict,
    "geometry": dict,
    "geometry_repr": str,
    "display": (dict, type(None)),
    "draw": (dict, type(None)),
    "output": dict,
    "thickness": (dict, type(None)),
}
_OPTIONAL_KEYS = {"identifiers": dict}
_PROJECTION_KEYS = {
    "drr": str,
    "input": dict,
    "look": str,
    "view": (dict, type(None)),
    "recipe": (dict, type(None)),
    "attenuation": (dict, type(None)),
    "detector": (dict, type(None)),
    "seed": int,
    "cleanup": (dict, type(None)),
    "extension": (dict, type(None)),
    "method": str,
    "backend": str,
    "anti_aliasing": bool,
    "cpu": str,
}
# Of later additions, with what their absence means: planes were taken one by one.
_OPTIONAL_PROJECTION_KEYS = {"quality": str}
_INPUT_KEYS = {"sha256": str, "shape": list, "spacing": list}
# Whether the digest is mixed with a salt, so that the CT cannot be known by it.
_OPTIONAL_INPUT_KEYS = {"salted": bool}
_OUTPUT_KEYS = {
    "format": str,
    "quantity": str,
    "dtype": str,
    "bits": int,
    "rows": int,
    "columns": int,
    "mark": bool,
    "columns_reversed": bool,
}
_THICKNESS_KEYS = {"labels": list, "unit": str}


@dataclass(frozen=True, kw_only=True)
class Record:
    """A record read back, checked key by key.

    Parameters
    ----------
    projection
        `Projection.record`: what the projection was made from and with.
    geometry
        The geometry, exactly.
    display
        Mapping to grey levels, or None for an output of line integrals.
    draw
        Random effects that were drawn, or None.
    output
        Format, quantity, pixel type and size of the image.
    labels
        Labels whose thickness was projected too; empty for none.
    identifiers
        Attributes that identify the patient; empty unless they were kept.
    """

    projection: Mapping[str, Any]
    geometry: Geometry
    display: Display | None
    draw: Draw | None
    output: Mapping[str, Any]
    labels: tuple[int, ...] = ()
    identifiers: Mapping[str, str]


def build_record(
    projection: Projection,
    *,
    output: Mapping[str, Any],
    keep_identifiers: bool = False,
) -> dict[str, Any]:
    """Assemble the record of one image that is about to be written."""
    shown = output["quantity"] == "picture"
    record: dict[str, Any] = {
        "record_version": RECORD_VERSION,
        "notice": NOTICE,
        "projection": dict(projection.record),
        "geometry": projection.geometry.to_dict(),
        "geometry_repr": repr(projection.geometry),
        "display": display_to_dict(projection.display) if shown else None,
        "draw": None if projection.draw is None else projection.draw.to_dict(),
        "output": dict(output),
        "thickness": None
        if projection.thickness is None
        else {"labels": [int(label) for label in projection.labels], "unit": "mm"},
    }
    if keep_identifiers:
        record["identifiers"] = {k: str(v) for k, v in projection.identifiers.items()}
    return record


def salted(digest: str, salt: bytes) -> str:
    """A digest of the CT that only who has the salt can compare: its HMAC-SHA-256."""
    return hmac.new(salt, digest.encode(), hashlib.sha256).hexdigest()


def unlinked(projection: Mapping[str, Any], salt: bytes) -> dict[str, Any]:
    """The `projection` of a record with the digest of its CT `salted`; said as `input.salted`."""
    made_from = projection["input"]
    if made_from.get("salted"):
        return dict(projection)
    mixed = {"sha256": salted(str(made_from["sha256"]), salt), "salted": True}
    return {**projection, "input": {**made_from, **mixed}}


def dump_record(record: Mapping[str, Any]) -> str:
    """JSON text, pure ASCII, so that every format can embed it; numbers round-trip exactly."""
    return json.dumps(record, indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def load_record(path: str | Path) -> Record:
    """Read the JSON that `drr.write` put beside an image.

    Raises
    ------
    ReadError
        When the file is missing or not such a record: not JSON, another version, a key unknown,
        missing or of the wrong kind, a geometry or display mapping that cannot be.
    """
    path = Path(path)
    record = _parse(path)
    version = record.get("record_version")
    if version != RECORD_VERSION or isinstance(version, bool):
        found = "no record_version" if version is None else f"record_version {version!r}"
        raise ReadError(
            f"{path}: {found}, but this release reads version {RECORD_VERSION}; "
            "give the .json that was written beside an image by this release"
        )
    with _naming(path):
        check_keys(record, _KEYS, optional=_OPTIONAL_KEYS)
        projection = record["projection"]
        more = _OPTIONAL_PROJECTION_KEYS
        check_keys(projection, _PROJECTION_KEYS, optional=more, prefix="projection.")
        check_keys(
            projection["input"],
            _INPUT_KEYS,
            optional=_OPTIONAL_INPUT_KEYS,
            prefix="projection.input.",
        )
        check_keys(record["output"], _OUTPUT_KEYS, prefix="output.")
        if record["thickness"] is not None:
            check_keys(record["thickness"], _THICKNESS_KEYS, prefix="thickness.")
    with _naming(path, "its geometry cannot be used"):
        geometry = Geometry.from_dict(record["geometry"])
    if repr(geometry) != record["geometry_repr"]:
        raise ReadError(
            f"{path}: geometry and geometry_repr differ, so one of them was edited; "
            "make them agree or write the image again"
        )
    return Record(
        projection=record["projection"],
        geometry=geometry,
        display=_made(display_from_dict, record["display"], path, "display mapping"),
        draw=_made(Draw.from_dict, record["draw"], path, "random effects"),
        output=record["output"],
        labels=_labels(record["thickness"], path),
        identifiers=record.get("identifiers", {}),
    )


def _parse(path: Path) -> dict[str, Any]:
    try:
        record = read_json(path, most=MAX_BYTES)
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error.strerror}; check the path") from None
    except DocumentError as error:
        raise ReadError(
            f"{path}: is not a JSON record ({error}); "
            "give the .json that was written beside an image"
        ) from None
    if not isinstance(record, dict):
        raise ReadError(
            f"{path}: holds {kind_of(record)}, not a record; "
            "give the .json that was written beside an image"
        )
    return record


def _made(make: Callable[[Any], T], values: Any, path: Path, what: str) -> T | None:
    """Make what values of a record stand for; None for null."""
    if values is None:
        return None
    with _naming(path, f"its {what} cannot be used"):
        return make(values)


@contextlib.contextmanager
def _naming(path: Path, what: str = "") -> Iterator[None]:
    """Turn what values of a record lead to, of whatever kind they are, into a `ReadError`."""
    try:
        yield
    except ReadError:
        raise
    except (DRRError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        text = str(error) if isinstance(error, DRRError) else printable(error, most=200)
        raise ReadError(f"{path}: {what}{': ' * bool(what)}{text}") from None


def _labels(thickness: Mapping[str, Any] | None, path: Path) -> tuple[int, ...]:
    labels = [] if thickness is None else thickness["labels"]
    if any(type(label) is not int for label in labels):
        raise ReadError(f"{path}: 'thickness.labels' must be whole numbers, not {labels!r}")
    return tuple(labels)
