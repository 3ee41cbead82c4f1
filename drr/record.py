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

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drr.errors import DRRError, ReadError
from drr.geometry import Geometry
from drr.looks import display_from_dict, display_to_dict

if TYPE_CHECKING:
    from drr.looks import Display
    from drr.projector import Projection
    from drr.randomisation import Draw

__all__ = [
    "NOTICE",
    "RECORD_VERSION",
    "Record",
    "build_record",
    "dump_record",
    "load_record",
    "read_limited",
    "salted",
    "unlinked",
]

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
_JSON_NAMES = {
    dict: "an object",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a whole number",
    type(None): "null",
}


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
    _check_keys(record, _KEYS, path, "", _OPTIONAL_KEYS)
    _check_keys(
        record["projection"], _PROJECTION_KEYS, path, "projection.", _OPTIONAL_PROJECTION_KEYS
    )
    _check_keys(
        record["projection"]["input"],
        _INPUT_KEYS,
        path,
        "projection.input.",
        _OPTIONAL_INPUT_KEYS,
    )
    _check_keys(record["output"], _OUTPUT_KEYS, path, "output.")
    if record["thickness"] is not None:
        _check_keys(record["thickness"], _THICKNESS_KEYS, path, "thickness.")
    try:
        geometry = Geometry.from_dict(record["geometry"])
    except (DRRError, TypeError, ValueError) as error:
        raise ReadError(f"{path}: its geometry cannot be used: {error}") from None
    if repr(geometry) != record["geometry_repr"]:
        raise ReadError(
            f"{path}: geometry and geometry_repr differ, so one of them was edited; "
            "make them agree or write the image again"
        )
    return Record(
        projection=record["projection"],
        geometry=geometry,
        display=_display(record["display"], path),
        draw=_draw(record["draw"], path),
        output=record["output"],
        labels=_labels(record["thickness"], path),
        identifiers=record.get("identifiers", {}),
    )


def _parse(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(
            read_limited(path), object_pairs_hook=_unique_keys, parse_constant=_no_constant
        )
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error.strerror}; check the path") from None
    except (ValueError, RecursionError) as error:
        raise ReadError(
            f"{path}: is not a JSON record ({error}); "
            "give the .json that was written beside an image"
        ) from None
    if not isinstance(record, dict):
        raise ReadError(
            f"{path}: holds {_kind(record)}, not a record; "
            "give the .json that was written beside an image"
        )
    return record


def read_limited(path: Path) -> bytes:
    """The bytes of a file that holds a record or a geometry; `ValueError` for far too many.

    They are counted while reading, since devices and pipes have no size to ask for.
    """
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES >> 20} MiB are too many for a record")
    return content


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} occurs twice")
    return values


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _check_keys(
    values: Mapping[str, Any],
    expected: Mapping[str, Any],
    path: Path,
    prefix: str,
    optional: Mapping[str, Any] | None = None,
) -> None:
    """Refuse unknown and missing keys, and values of the wrong kind, by name."""
    allowed = {**expected, **(optional or {})}
    for key in values:
        if key not in allowed:
            raise ReadError(
                f"{path}: unknown key {prefix + key!r}; remove it, or use the release that wrote it"
            )
    for key in expected:
        if key not in values:
            raise ReadError(f"{path}: the key {prefix + key!r} is missing; write the image again")
    for key, value in values.items():
        kinds = allowed[key] if isinstance(allowed[key], tuple) else (allowed[key],)
        # JSON's true is a Python int.
        wrong_bool = isinstance(value, bool) and bool not in kinds
        if wrong_bool or not isinstance(value, kinds):
            wanted = " or ".join(_JSON_NAMES[kind] for kind in kinds)
            raise ReadError(f"{path}: {prefix + key!r} must be {wanted}, not {_kind(value)}")


def _kind(value: Any) -> str:
    return _JSON_NAMES.get(type(value), "a number")


def _display(values: Mapping[str, Any] | None, path: Path) -> Display | None:
    if values is None:
        return None
    try:
        return display_from_dict(values)
    except (DRRError, TypeError, ValueError) as error:
        raise ReadError(f"{path}: its display mapping cannot be used: {error}") from None


def _draw(values: Mapping[str, Any] | None, path: Path) -> Draw | None:
    if values is None:
        return None
    from drr.randomisation import Draw

    try:
        return Draw.from_dict(values)
    except (DRRError, TypeError, ValueError) as error:
        raise ReadError(f"{path}: its random effects cannot be used: {error}") from None


def _labels(thickness: Mapping[str, Any] | None, path: Path) -> tuple[int, ...]:
    labels = [] if thickness is None else thickness["labels"]
    if any(type(label) is not int for label in labels):
        raise ReadError(f"{path}: 'thickness.labels' must be whole numbers, not {labels!r}")
    return tuple(labels)
