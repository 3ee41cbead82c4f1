"""Write a projection in any of the formats, with its record beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from drr.display.mark import MARK_TEXT, draw_mark
from drr.errors import WriteError
from drr.files.atomic import refuse_existing, write_files
from drr.io import grid, picture
from drr.record import build_record, dump_record, unlinked

if TYPE_CHECKING:
    from drr.display.protocol import Display
    from drr.radiograph import Projection

__all__ = ["FORMATS", "check_sides", "write"]

FORMATS: dict[str, tuple[str, ...]] = {
    "png": (".png",),
    "tiff": (".tif", ".tiff"),
    "npy": (".npy",),
    "npz": (".npz",),
    "nifti": (".nii.gz", ".nii"),
    "metaimage": (".mha",),
    "dx": (".dcm",),
    "rt-image": (".dcm",),
}
"""Name of every format and the suffixes of its files; of two with one suffix the first is meant."""

# The sizes in a NIfTI header, the narrowest of all, are signed 16-bit.
LARGEST_SIDE = 32767

# The others hold the line integrals themselves.
_PICTURES = ("png", "dx", "rt-image")


def write(
    path: str | os.PathLike[str],
    projection: Projection,
    *,
    display: Display | None = None,
    bits: Literal[8, 16] = 8,
    format: str | None = None,  # noqa: A002 - the word every image library uses
    force: bool = False,
    keep_identifiers: bool = False,
    salt: bytes | None = None,
    mark: bool = False,
    sidecar: bool = True,
) -> Path:
    """Write one image, its JSON record and its label thicknesses, all of them or none.

    PNG and DICOM hold the picture that `display` makes of the line integrals; TIFF, NumPy, NIfTI
    and MetaImage hold the line integrals, float32 and dimensionless. Projected labels go into the
    same file for `.npz` and otherwise into `<name>_thickness.nii.gz` beside it, in mm, one label
    per index of the fourth axis. The record is `<path>.json`; see `drr.record`.

    The same call on the same projection gives the same bytes, UIDs included.

    Parameters
    ----------
    path
        The image's file; its folder must exist.
    display
        Mapping of line integrals to grey levels, such as a `drr.display.window.Window`; the
        projection's own by default. Without effect on files of line integrals.
    bits
        Depth of a PNG. DICOM always has 16.
    format
        One of `FORMATS`; None is told by the suffix, where `.dcm` is a DX image.
    force
        Replace files that exist.
    keep_identifiers
        Copy the patient and study attributes of the source into DICOM and the record. Without it
        no output names the patient, the study or the source.
    salt
        Mixed into the CT's digest, in the record and in what is derived from it (DICOM's Study
        Instance UID): then nobody who has the CT can tell by them that it was this one, and views
        share a study where they share the salt. Random bytes, to be kept secret or forgotten.
    mark
        Burn SYNTHETIC into the lower left corner of a picture.
    sidecar
        Write the JSON record; PNG, TIFF, `.npz`, NIfTI and DICOM embed it in any case.

    Returns
    -------
    Path
        Of the image.

    Raises
    ------
    WriteError
        For a format, option or geometry that does not fit, a file that exists, and whatever the
        disk refuses. Nothing is left behind.
    """
    path = Path(path)
    name = _format(path, format)
    _check_types(path, projection, display)
    if bits not in (8, 16):
        raise WriteError(f"{path}: bits must be 8 or 16, got {bits!r}")
    if mark and name not in _PICTURES:
        raise WriteError(
            f"{path}: a {name} file holds line integrals, which a {MARK_TEXT} mark would destroy; "
            "mark a PNG or DICOM picture, or leave the mark out"
        )
    _check(path, projection)
    sidecars = [path.with_name(path.name + ".json")] if sidecar else []
    thickness_path = path.with_name(f"{_stem(path)}_thickness.nii.gz")
    separate_thickness = projection.thickness is not None and name != "npz"
    targets = [*sidecars, *([thickness_path] if separate_thickness else []), path]
    # Before any work is done; write_files looks again.
    refuse_existing(targets, force=force)

    if display is not None:
        projection = replace(projection, display=display)
    if salt is not None:
        projection = replace(projection, record=unlinked(projection.record, salt))
    output = _describe(projection, name, bits=bits, mark=mark)
    record = build_record(
        projection,
        output=output,
        keep_identifiers=keep_identifiers,
    )
    try:
        text = dump_record(record)
    except (TypeError, ValueError) as error:
        raise WriteError(f"{path}: the projection's record is not plain JSON: {error}") from None

    contents: dict[Path, bytes] = {}
    if sidecar:
        contents[sidecars[0]] = text.encode("ascii")
    if separate_thickness and projection.thickness is not None:
        contents[thickness_path] = grid.encode_nifti(
            projection.thickness, projection.geometry, record=text, compress=True
        )
    contents[path] = _encode(
        path, projection, name, output=output, text=text, keep=keep_identifiers
    )
    write_files(contents, force=force)
    return path


def check_sides(shape: tuple[int, int]) -> None:
    """Raise `WriteError` for more rows or columns than image files can have."""
    if max(shape) > LARGEST_SIDE:
        raise WriteError(
            f"{shape[0]} x {shape[1]} pixels are too many for an image file; use at most "
            f"{LARGEST_SIDE} a side"
        )


def _encode(
    path: Path,
    projection: Projection,
    name: str,
    *,
    output: Mapping[str, Any],
    text: str,
    keep: bool,
) -> bytes:
    values = np.ascontiguousarray(projection.line_integrals, np.float32)
    geometry = projection.geometry
    pitch = (geometry.column_pitch, geometry.row_pitch)
    if name == "tiff":
        return picture.encode_tiff(values, pixel_pitch=pitch, record=text)
    if name == "npy":
        return grid.encode_npy(values)
    if name == "npz":
        return grid.encode_npz(
            values, projection.thickness, projection.labels, geometry, record=text
        )
    if name == "nifti":
        compress = path.name.lower().endswith(".gz")
        return grid.encode_nifti(values, geometry, record=text, compress=compress)
    if name == "metaimage":
        return grid.encode_metaimage(values, geometry)

    shown = np.asarray(projection.picture(), np.float32)
    if output["columns_reversed"]:
        shown = shown[:, ::-1]
    if output["mark"]:
        try:
            shown = draw_mark(shown)
        except WriteError as error:
            raise WriteError(f"{path}: {error}") from None
    pixels = picture.quantise(shown, bits=output["bits"])
    if name == "png":
        return picture.encode_png(pixels, pixel_pitch=pitch, record=text)

    options: dict[str, Any] = {
        "inverted": projection.display.invert,
        "marked": output["mark"],
        "record": text,
        "keep_identifiers": keep,
    }
    try:
        if name == "dx":
            from drr.io.dicom.dx import encode_dx

            return encode_dx(projection, pixels, **options)
        from drr.io.dicom.rt_image import encode_rt_image

        return encode_rt_image(projection, pixels, **options)
    except WriteError as error:
        raise WriteError(f"{path}: {error}") from None


def _format(path: Path, name: str | None) -> str:
    suffixes = {suffix: key for key in reversed(FORMATS) for suffix in FORMATS[key]}
    lower = path.name.lower()
    if name is None:
        for suffix, key in suffixes.items():
            if lower.endswith(suffix) and lower != suffix:
                return key
        raise WriteError(
            f"{path}: no format has this suffix; use one of {', '.join(sorted(suffixes))}"
        )
    if name not in FORMATS:
        raise WriteError(f"{path}: unknown format {name!r}; use one of {', '.join(FORMATS)}")
    if not lower.endswith(FORMATS[name]):
        raise WriteError(
            f"{path}: a {name} file ends in {' or '.join(FORMATS[name])}; change the name"
        )
    return name


def _stem(path: Path) -> str:
    lower = path.name.lower()
    lengths = [len(s) for suffixes in FORMATS.values() for s in suffixes if lower.endswith(s)]
    return path.name[: -max(lengths)]


def _check_types(path: Path, projection: object, display: object) -> None:
    from drr.radiograph import Projection

    if not isinstance(projection, Projection):
        raise WriteError(
            f"{path}: write needs one Projection (from drr.project), "
            f"got {type(projection).__name__}"
        )
    if display is not None and not callable(getattr(display, "apply", None)):
        raise WriteError(
            f"{path}: display must map line integrals to grey levels, such as "
            f"Window(center=2.5, width=4) of drr.display.window, got {display!r}"
        )


def _check(path: Path, projection: Projection) -> None:
    shape = projection.geometry.shape
    if projection.line_integrals.shape != shape:
        raise WriteError(
            f"{path}: line integrals of shape {projection.line_integrals.shape} do not fill the "
            f"detector of {shape[0]} x {shape[1]} pixels; write one view at a time"
        )
    try:
        check_sides(shape)
    except WriteError as error:
        raise WriteError(f"{path}: {error}") from None
    if not np.isfinite(projection.line_integrals).all():
        raise WriteError(
            f"{path}: the line integrals are not all finite; check the volume and attenuation"
        )
    thickness = projection.thickness
    if thickness is not None and thickness.shape != (len(projection.labels), *shape):
        raise WriteError(
            f"{path}: thickness of shape {thickness.shape} does not fit {len(projection.labels)} "
            f"labels on {shape[0]} x {shape[1]} pixels"
        )


def _describe(projection: Projection, name: str, *, bits: int, mark: bool) -> dict[str, Any]:
    if name not in _PICTURES:
        bits = 32
    elif name != "png":
        bits = 16
    rows, columns = projection.geometry.shape
    return {
        "format": name,
        "quantity": "picture" if name in _PICTURES else "line integral",
        "dtype": {8: "uint8", 16: "uint16", 32: "float32"}[bits],
        "bits": bits,
        "rows": rows,
        "columns": columns,
        "mark": mark,
        # RT Image is a beam's eye view; a radiograph is hung as seen from the detector.
        "columns_reversed": name == "rt-image" and projection.geometry.viewed_from == "detector",
    }
