"""What `drr project --from` was asked to make, from the record of an image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from drr.cli.request import RECORDED_OPTIONS, Request, reading, writing
from drr.errors import ReadError
from drr.patient.plausible import ACCEPTABLE

__all__ = ["request_from_record"]


def request_from_record(path: Path, options: Mapping[str, Any], context: click.Context) -> Request:
    """Everything as the record of an image says, so that the image can be made again.

    Whatever the CT is was accepted when the image was made; that it is the same one is checked.

    Raises
    ------
    DRRError
        For a file that is not such a record.
    click.UsageError
        For options that the record already settles.
    """
    from drr.geometry.views import View
    from drr.io.write import FORMATS
    from drr.looks import attenuation_from_dict
    from drr.physics.detector import Detector
    from drr.record import load_record

    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        if given and parameter.name in RECORDED_OPTIONS:
            raise click.UsageError(
                f"--from repeats an image as it was: leave out {parameter.opts[-1]}"
            )
    record = load_record(path)
    projection = record.projection
    output = record.output
    if output["format"] not in FORMATS:
        raise ReadError(
            f"{path}: cannot be repeated: unknown format {output['format']!r}; the formats are "
            f"{', '.join(FORMATS)}"
        )
    bits = output["bits"] if output["format"] == "png" else 8
    as_written = writing(options, bits=bits, mark=output["mark"])
    if projection["look"] == "drr-rate":
        name = str(projection["recipe"]["projection"]).lower()
        return Request(
            views=(name,),
            labels=(f"drr-rate_{name}",),
            preparing=None,
            projecting={"look": "drr-rate", "accept": ACCEPTABLE, "threads": options["threads"]},
            display={},
            writing=as_written,
            reading=reading(options),
            record=record,
        )
    try:
        attenuation = attenuation_from_dict(projection["attenuation"])
        detector = projection["detector"] and Detector.from_dict(projection["detector"])
        view = projection["view"]
        label = View.from_dict(view).label if view else record.geometry.view_position.lower()
    except (ValueError, TypeError) as error:
        raise ReadError(f"{path}: cannot be repeated: {error}") from None
    return Request(
        views=(record.geometry,),
        labels=(label or "view",),
        preparing={
            "clean": projection["cleanup"] is not None,
            "beyond": projection["extension"] is not None,
            "accept": ACCEPTABLE,
        },
        projecting={
            "look": projection["look"],
            "attenuation": attenuation,
            "detector": detector,
            "seed": projection["seed"],
            "method": projection["method"],
            "quality": projection.get("quality", "finest"),
            "backend": projection["backend"],
            "threads": options["threads"],
            "anti_aliasing": projection["anti_aliasing"],
        },
        display={},
        writing=as_written,
        reading=reading(options),
        record=record,
    )
