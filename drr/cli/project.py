"""`drr project`: CT scans to radiographs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drr.cli.console import LONGEST_LINE, NO_MEMORY, failure, is_quiet, note, progress, quiet_option
from drr.cli.options import DETECTOR_SIZE, PIXELS, WINDOW, accept_option, reading_options
from drr.cli.outputs import (
    SUFFIXES,
    Output,
    check_outputs,
    known_suffix,
    output_folders,
    plan_outputs,
)
from drr.cli.repeat import request_from_record
from drr.cli.request import Request, request_from_options
from drr.errors import DRRError, ProjectionError, printable

if TYPE_CHECKING:
    from drr.cli.inputs import CT
    from drr.patient.prepare import Prepared
    from drr.radiograph import Projection
    from drr.randomise.policy import Draw
    from drr.record import Record
    from drr.volume import Volume

__all__ = ["command"]

# Views are projected a few at a time: enough to share work, few enough to keep memory small.
BATCH = 8


@click.command("project", epilog="Not for diagnosis: radiographs made here are synthetic.")
@click.argument("cts", metavar="CT...", nargs=-1, required=True)
@click.option(
    "-o",
    "--out",
    metavar="OUT",
    help="File (its suffix chooses the format), folder, or template with {name} and {view}. "
    "Default: {name}_{view}.png in the current folder.",
)
@click.option(
    "-v",
    "--view",
    "views",
    metavar="VIEW",
    multiple=True,
    help="pa (default), ap, ap-portable, ll, rl, obliques such as lao30 or rpo45, or positioner "
    "angles in degrees 'primary,secondary'. Repeatable.",
)
@click.option(
    "--look",
    metavar="LOOK",
    help="film (default), physical, drr-rate (views ap and lateral), raw: line integrals.",
)
@click.option(
    "--geometry",
    metavar="FILE",
    multiple=True,
    help="View by explicit vectors: a JSON of Geometry.to_dict(), or an image's record. "
    "Repeatable.",
)
@click.option(
    "--from", "record_path", metavar="RECORD", help="Repeat an image from the JSON beside it."
)
@click.option(
    "--source-to-detector", metavar="MM", type=float, help="Distance; 1800, portable AP 1100."
)
@click.option(
    "--source-to-isocenter",
    metavar="MM",
    type=float,
    help="Put the thorax this far from the source, instead of the detector against the skin.",
)
@click.option("--parallel", is_flag=True, help="Parallel beam.")
@click.option(
    "--detector", metavar="HxW", type=DETECTOR_SIZE, help="Height and width in mm; 430x430."
)
@click.option(
    "--field",
    type=click.Choice(["lungs", "detector"]),
    help="Collimate to the lungs (looks film and physical) or show the whole detector.",
)
@click.option(
    "--pixels",
    metavar="N|RxC",
    type=PIXELS,
    help="Rows and columns, or square pixels, N along the longer side; 1024.",
)
@click.option(
    "--viewed-from",
    type=click.Choice(["detector", "tube"]),
    help="Side from which the image is seen. Default: as radiologists hang the view.",
)
@click.option(
    "--method",
    type=click.Choice(["shear-warp", "joseph", "siddon"]),
    default="shear-warp",
    show_default=True,
    help="siddon: exact paths through voxels; joseph: interpolated; shear-warp: like it, faster.",
)
@click.option(
    "--quality",
    type=click.Choice(["finest", "standard", "preview"]),
    default="standard",
    show_default=True,
    help="preview: faster by shear-warp on the CPU, and less exact; finest: slower.",
)
@click.option(
    "--backend",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="'drr doctor' says which there are, and why not.",
)
@click.option("--threads", metavar="N", type=click.IntRange(min=1), help="CPU threads; all.")
@click.option("--no-clean", is_flag=True, help="Leave couch, blanket and padding in.")
@click.option("--no-anti-aliasing", is_flag=True, help="One ray for each pixel, however large.")
@click.option("--kev", metavar="E", type=float, help="Photon energy of a monoenergetic beam.")
@click.option("--kvp", metavar="U", type=float, help="Tube voltage of a polychromatic beam.")
@click.option(
    "--detector-model", metavar="NAME", help="Scatter, noise and blur: flat-panel, portable, ..."
)
@click.option("--exposure", metavar="UGY", type=float, help="Air kerma at the detector, for noise.")
@click.option("--randomise", metavar="POLICY", help="Random variations: a preset or a JSON file.")
@click.option("--seed", metavar="N", type=click.IntRange(min=0), help="Of noise and variations; 0.")
@click.option(
    "--mask",
    metavar="FILE",
    help="Segmentation of the CT: the thickness of every label in mm is written too.",
)
@click.option(
    "--window",
    metavar="CENTER,WIDTH",
    type=WINDOW,
    help="Line integrals in the middle of and between black and white, or 'auto', instead of the "
    "look's display.",
)
@click.option("--curve", type=click.Choice(["sigmoid", "linear"]), help="Curve of the window.")
@click.option("--invert", is_flag=True, help="Bone dark instead of bright.")
@click.option(
    "--format",
    "formats",
    type=click.Choice(list(SUFFIXES)),
    multiple=True,
    help="png, dx, rt-image: pictures; the others: line integrals as float32. Repeatable.",
)
@click.option("--bits", type=click.Choice(["8", "16"]), help="Depth of a PNG; 8.")
@click.option("--mark", is_flag=True, help="Write SYNTHETIC into a corner of the picture.")
@click.option(
    "--keep-identifiers", is_flag=True, help="Copy the patient's and study's DICOM attributes."
)
@click.option(
    "--unlinkable",
    is_flag=True,
    help="Write no digest of the CT by which whoever has it could know it.",
)
@click.option("--series", metavar="S", help="Which series of a DICOM folder ('drr inspect').")
@reading_options
@accept_option
@click.option("-f", "--force", is_flag=True, help="Replace files that exist.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON.")
@quiet_option
@click.pass_context
def command(
    context: click.Context,
    /,
    *,
    cts: tuple[str, ...],
    out: str | None,
    record_path: str | None,
    formats: tuple[str, ...],
    force: bool,
    mask: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Project CT scans to radiographs.

    A CT is a NIfTI, MetaImage, NRRD or NumPy file, or a folder, zip, tar or file of a DICOM
    series; all may be compressed. A folder that holds NIfTI, MetaImage or NRRD files stands for
    each of them; patterns such as 'scans/*.nii.gz' do too. A CT that fails is reported and the
    others go on; the exit status is then 2.

    \b
    drr project ct.nii.gz                       ct_pa.png and ct_pa.png.json
    drr project ct.nii.gz -o lateral.png -v ll
    drr project scans/ -o out/ -v pa -v ll      two views of every scan
    drr project dicom/ -o 'out/{view}.dcm' -v pa -v lao30,15
    drr project ct.nii.gz --from ct_pa.png.json -o again.png
    """
    from drr.cli.inputs import find_cts
    from drr.io import read_ahead
    from drr.io.write import check_sides

    scans = find_cts(cts)
    if mask is not None and len(scans) > 1:
        raise click.UsageError("--mask belongs to one CT, so give one CT", context)
    if record_path is None:
        request = request_from_options(options)
    else:
        request = request_from_record(Path(record_path), options, context)
        if request.record and not formats and not known_suffix(out or ""):
            formats = (request.record.output["format"],)
        if request.record and request.record.labels and mask is None:
            note("the record has labels too; give their segmentation with --mask to repeat them")
    for view in request.views:
        if not isinstance(view, str):
            check_sides(view.shape)
    plan = plan_outputs(out, [ct.name for ct in scans], request.labels, formats)
    outputs = [output for of_ct in plan for of_view in of_ct for output in of_view]
    files = [file for output in outputs for file in output.files(thickness=mask is not None)]
    inputs = [ct.path for ct in scans] + ([] if mask is None else [Path(mask)])
    check_outputs(files, force=force, inputs=inputs)

    images: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    steps = len(request.views)
    with (
        contextlib.closing(read_ahead([ct.path for ct in scans], **request.reading)) as volumes,
        output_folders(files),
        progress(len(scans) * steps, "Projecting") as advance,
    ):
        for number, (ct, of_ct, volume) in enumerate(zip(scans, plan, volumes, strict=True)):
            ahead = steps
            draws = request.draws(number)
            try:
                for made in _project(
                    ct, volume, request, draws, of_ct, mask_path=mask, force=force
                ):
                    images += made
                    ahead -= 1
                    advance(1)
            except (DRRError, MemoryError) as error:
                message = str(error) if isinstance(error, DRRError) else NO_MEMORY
                if len(scans) > 1 and str(ct.path) not in message:
                    message = f"{ct.path}: {message}"
                failure(message)
                failed.append({"ct": str(ct.path), "error": message})
                advance(ahead)
    if as_json:
        click.echo(json.dumps({"images": images, "failed": failed}, indent=2))
    elif not is_quiet():
        for image in images:
            click.echo(printable(image["image"], most=LONGEST_LINE))
    if failed:
        context.exit(2)


def _project(
    ct: CT,
    take: Callable[[], Volume],
    request: Request,
    draws: tuple[Draw | None, ...],
    outputs: list[list[Output]],
    *,
    mask_path: str | None,
    force: bool,
) -> Iterator[list[dict[str, Any]]]:
    """Yield, view after view, what was written of it."""
    from drr.geometry.views import View
    from drr.io import read, write
    from drr.patient.fill import find_fill, with_notes
    from drr.patient.plausible import refuse_doubtful
    from drr.patient.prepare import prepare
    from drr.projector import project

    # The mask first: a wrong one is then told before the long part.
    as_the_scan = {**request.reading, "series": None}
    mask = None if mask_path is None else read(mask_path, **as_the_scan)
    volume = take()
    notes = [] if volume.verdict is None or volume.verdict.is_hu else [str(volume.verdict)]
    prepared: Volume | Prepared = volume
    if request.preparing is None:
        refuse_doubtful(volume, request.projecting["accept"])
        fill = find_fill(volume.hu)
        notes += with_notes(volume, fill, "the published recipe projects it").notes
    else:
        prepared = prepare(volume, **request.preparing)
        notes += prepared.notes
        # A view that cannot be placed is refused before any image is made.
        for view in request.views:
            if isinstance(view, View):
                view.place(prepared.anatomy)
    for text in notes:
        note(f"{ct.name}: {text}")
    if request.record is not None:
        _check_input(prepared, request.record, ct)
    batch = BATCH if mask is None and not any(draws) else 1
    for start in range(0, len(request.views), batch):
        views = request.views[start : start + batch]
        projections = project(prepared, views, mask=mask, draw=draws[start], **request.projecting)
        for index, projection in enumerate(projections, start):
            projection = request.displayed(projection)
            if request.record is not None:
                projection = _as_recorded(projection, request.record)
            made = []
            for number, output in enumerate(outputs[index]):
                write(
                    output.path,
                    projection,
                    format=output.format,
                    # Formats share the file of thicknesses, written with the first.
                    force=force or (mask is not None and number > 0),
                    **request.writing,
                )
                files = output.files(thickness=mask is not None)
                made.append(
                    {
                        "ct": str(ct.path),
                        "view": request.labels[index],
                        "format": output.format,
                        "image": str(output.path),
                        "files": [str(file) for file in files],
                    }
                )
            yield made


def _check_input(prepared: Volume | Prepared, record: Record, ct: CT) -> None:
    if record.projection["input"].get("salted"):
        note(f"{ct.name}: the record does not tell which CT it was made from, so any is taken")
    elif prepared.sha256 != record.projection["input"]["sha256"]:
        raise ProjectionError(
            f"{ct.path}: is not the CT that the record was made from, so its image cannot be "
            "repeated; for the same geometry on another CT give the record to --geometry"
        )


def _as_recorded(projection: Projection, record: Record) -> Projection:
    """The projection under the view's name, with a note on whatever else is not as it was."""
    # The view was placed when the image was first made; the geometry is what came of it.
    now = {**projection.record, "view": record.projection["view"]}
    changed = [key for key, then in record.projection.items() if now.get(key) != then]
    if changed:
        note(f"the image may not repeat to the bit, for other than then is: {', '.join(changed)}")
    return replace(projection, record=now)
