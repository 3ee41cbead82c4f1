"""`drr build`: a cohort of CTs to a data set's file."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drr.checks import did_you_mean
from drr.cli.console import is_quiet, note, quiet_option
from drr.cli.project import command as project_command
from drr.cli.request import request_from_options
from drr.errors import DocumentError, ReadError, printable

if TYPE_CHECKING:
    from drr.datasets.build.build import Progress, Result
    from drr.datasets.build.plan import Plan
    from drr.datasets.study import Cohort

__all__ = ["command"]

# What `drr project` says of these holds here, too.
_SHARED = (
    *("views", "look", "geometry", "source_to_detector", "source_to_isocenter", "parallel"),
    *("detector", "field", "pixels", "viewed_from", "method", "backend", "no_clean"),
    *("no_anti_aliasing", "kev", "kvp", "detector_model", "exposure", "randomise", "seed"),
    *("window", "curve", "invert", "keep_identifiers", "unlinkable", "accept"),
)


def _from_file(context: click.Context, _parameter: click.Parameter, path: str | None) -> None:
    """Values of a file become the options' defaults, so that the command line goes before it."""
    if path is None:
        return
    known = {_spelled(p): p.name for p in context.command.params if p.name != "config"}
    values = {}
    for key, value in _load(Path(path)).items():
        if key not in known:
            hint = did_you_mean(key, known, question=True)
            raise ReadError(f"{path}: there is no option {key!r}{hint}")
        several = isinstance(value, list)
        parameter = next(p for p in context.command.params if p.name == known[key])
        texts = [_plain(path, key, item, parameter) for item in (value if several else [value])]
        many = bool(getattr(parameter, "multiple", False))
        if several and not many:
            raise ReadError(f"{path}: {key!r} takes one value, not a list")
        values[known[key] or ""] = texts if many else texts[0]
    context.default_map = values


def _spelled(parameter: click.Parameter) -> str:
    """An option's name in a file: as on the command line, without the dashes."""
    if isinstance(parameter, click.Argument):
        return str(parameter.name)
    longest = max(parameter.opts, key=len)
    return longest.lstrip("-").replace("-", "_")


def _plain(path: str, key: str, value: Any, parameter: click.Parameter) -> Any:
    if isinstance(value, bool) and getattr(parameter, "is_flag", False):
        return value
    if isinstance(value, str) and "\0" not in value:
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    shown = printable(repr(value), most=60)
    raise ReadError(f"{path}: {key!r} is {shown}; write it as on the command line")


def _load(path: Path) -> dict[str, Any]:
    from drr.files.documents import read_json, read_yaml

    try:
        values = read_json(path) if path.suffix.lower() == ".json" else read_yaml(path)
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error.strerror}; check the path") from None
    except DocumentError as error:
        raise ReadError(f"{path}: is neither YAML nor JSON: {error}") from None
    if not isinstance(values, dict):
        raise ReadError(f"{path}: holds no options; write one a line, such as 'look: film'")
    return {str(key).replace("-", "_"): value for key, value in values.items()}


@click.command("build", epilog="Not for diagnosis: radiographs made here are synthetic.")
@click.argument("source", required=False)
@click.option("-o", "--out", metavar="OUT.h5", help="The HDF5 file to build.")
@click.option(
    "--config",
    metavar="FILE",
    is_eager=True,
    expose_value=False,
    callback=_from_file,
    help="YAML or JSON with these options, such as 'look: film'; the command line goes before it.",
)
@click.option(
    "--split",
    metavar="SHARES",
    help="Draw splits by patient: train=0.8,valid=0.1,test=0.1. Default: those of the source.",
)
@click.option(
    "--reconstructions",
    type=click.Choice(["one", "all"]),
    default="one",
    show_default=True,
    help="Of each scan of CT-RATE.",
)
@click.option(
    "--keep-names",
    is_flag=True,
    help="Call samples and patients after files and folders. Default: pseudonyms, and a key apart.",
)
@click.option(
    "--key",
    metavar="FILE",
    help="Key of the pseudonyms, made if it is not there. Default: OUT.h5.key.csv. "
    "Keep it; do not pass it on.",
)
@click.option("--limit", metavar="N", type=click.IntRange(min=1), help="Only the first N CTs.")
@click.option(
    "--mask",
    "masks",
    metavar="LABEL",
    type=click.IntRange(min=1),
    multiple=True,
    help="Store the thickness of this label of the segmentations. Repeatable.",
)
@click.option(
    "--line-integrals",
    type=click.Choice(["uint16", "float32", "none"]),
    default="uint16",
    show_default=True,
    help="How they are stored.",
)
@click.option("--no-pictures", is_flag=True, help="Store line integrals only.")
@click.option(
    "--compression",
    metavar="LEVEL",
    type=click.IntRange(0, 9),
    default=4,
    show_default=True,
    help="DEFLATE of every image.",
)
@click.option(
    "--workers",
    metavar="N",
    type=click.IntRange(min=1),
    help="Processes. Default: as many as processors and memory allow.",
)
@click.option("--scheduler", metavar="ADDRESS", help="Have a Dask cluster do the work.")
@click.option(
    "--max-failures", metavar="N", type=click.IntRange(min=0), help="Stop when more CTs fail."
)
@click.option("--retry", is_flag=True, help="Try CTs again that failed in an earlier run.")
@click.option("--keep-parts", is_flag=True, help="Keep the parts, for a larger cohort later.")
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be built, how long, how big.")
@click.option(
    "-f", "--force", is_flag=True, help="Replace a file built otherwise, or with more CTs."
)
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON.")
@quiet_option
@click.pass_context
def command(
    context: click.Context,
    /,
    *,
    source: str | None,
    out: str | None,
    split: str | None,
    reconstructions: str,
    limit: int | None,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Build a data set's file from a cohort of CTs.

    SOURCE is a folder of CTs, of DICOM series or of CT-RATE, or a CSV that lists CTs. Whatever
    stops a build, the same command goes on where it ended; given again when CTs have changed, it
    makes those again and only those. A CT that cannot be used is recorded with its reason; the
    others go on.

    \b
    drr build ct-rate/ -o ct-rate.h5 --view pa --view ll --pixels 512
    drr build cohort.csv -o cohort.h5 --dry-run
    drr build --config cohort.yaml
    """
    if source is None or (out is None and not dry_run):
        missing = "SOURCE" if source is None else "--out"
        raise click.UsageError(f"{missing} is missing, here and in a --config", context)
    cohort = _cohort(Path(source), split, reconstructions, limit, options)
    plan = _plan(cohort, options)
    for problem in cohort.problems[:10]:
        note(f"not used: {problem}")
    if len(cohort.problems) > 10:
        note(f"not used: {len(cohort.problems) - 10} more; the file will list them")
    if dry_run:
        _rehearse(plan, out, options["workers"], as_json)
        return
    from drr.datasets.build.build import build
    from drr.datasets.privacy.pseudonyms import hides_names

    display = _Display()
    names = ("workers", "scheduler", "max_failures", "retry", "keep_parts", "force", "key")
    try:
        result = build(plan, Path(out or ""), report=display, **{n: options[n] for n in names})
    except KeyboardInterrupt:
        note("stopped; the same command goes on")
        raise
    finally:
        display.close()
    if hides_names(cohort):
        key = options["key"] or f"{out}.key.csv"
        note(f"{key} has the paths of the CTs; keep it, and apart from the data set")
    _conclude(result, as_json)


# Shared options stand after SOURCE, -o, --config and --split.
command.params[4:4] = [p for p in project_command.params if p.name in _SHARED]


def _cohort(
    source: Path,
    split: str | None,
    reconstructions: str,
    limit: int | None,
    options: Mapping[str, Any],
) -> Cohort:
    from drr.datasets.sources.open import open_source
    from drr.datasets.splits import split_cohort

    cohort = open_source(
        source,
        reconstructions=reconstructions,
        keep_identifiers=options["keep_identifiers"],
        keep_names=options["keep_names"],
    )
    if limit is not None:
        cohort = dataclasses.replace(cohort, studies=cohort.studies[:limit])
    if split is not None:
        cohort = split_cohort(cohort, fractions=_shares(split), seed=options["seed"] or 0)
    return cohort


def _shares(text: str) -> dict[str, float]:
    shares = {}
    for part in text.split(","):
        name, _, share = part.partition("=")
        try:
            shares[name.strip()] = float(share)
        except ValueError:
            raise click.UsageError(
                f"--split {text!r}: {part.strip()!r} is not like train=0.8"
            ) from None
    return shares


def _plan(cohort: Cohort, options: Mapping[str, Any]) -> Plan:
    from drr.datasets.build.plan import Configuration, Plan

    unused = {"bits": None, "mark": False, "threads": None, "quality": "standard"}
    request = request_from_options({**options, **unused})
    look = options["look"] or "film"
    taken = ("attenuation", "detector", "field", "method", "anti_aliasing")
    configuration = Configuration(
        views=request.views,
        view_names=() if request.preparing is None else request.labels,
        look=look,
        **{name: request.projecting[name] for name in taken if name in request.projecting},
        backend=options["backend"],
        clean=not options["no_clean"],
        accept=options["accept"],
        display=request.display,
        policy=request.policy,
        seed=options["seed"] or 0,
        pictures=not options["no_pictures"],
        line_integrals=options["line_integrals"],
        masks=options["masks"],
        compression=options["compression"],
        keep_identifiers=options["keep_identifiers"],
        unlinkable=options["unlinkable"],
    )
    return Plan(cohort=cohort, configuration=configuration)


def _rehearse(plan: Plan, out: str | None, workers: int | None, as_json: bool) -> None:
    from collections import Counter

    from drr.datasets.build.build import rehearse
    from drr.datasets.build.pools import available_workers

    count = workers or available_workers()
    cohort = plan.cohort
    measured = rehearse(plan)
    seconds = sum(measured["seconds"].values())
    splits = Counter(study.split or "none" for study in cohort.studies)
    folder = Path(out or ".").resolve().parent
    free = shutil.disk_usage(folder).free if folder.is_dir() else 0
    summary = {
        "source": cohort.found or cohort.kind,
        "studies": len(cohort),
        "patients": len(cohort.patients),
        "splits": dict(splits),
        "problems": len(cohort.problems),
        "views": list(plan.configuration.view_names),
        "look": plan.configuration.look,
        "workers": count,
        "seconds_a_ct": measured["seconds"],
        "hours": seconds * len(cohort) / count / 3600,
        "bytes": measured["total_bytes"],
        "disk_bytes": 2 * measured["total_bytes"],
        "free_bytes": free,
        "memory_a_worker": measured["memory"],
        "failures": measured["failures"],
    }
    if as_json:
        click.echo(json.dumps(summary, indent=2))
        return
    for text in measured["failures"]:
        note(text)
    parts = ", ".join(f"{name} {number}" for name, number in splits.items())
    click.echo(f"source    {summary['source']}")
    click.echo(f"CTs       {len(cohort)} of {len(cohort.patients)} patients ({parts})")
    click.echo(f"not used  {len(cohort.problems)}")
    click.echo(f"views     {', '.join(plan.configuration.view_names)}; {summary['look']} look")
    if not seconds:
        click.echo("measured  nothing: none of the first CTs can be used")
        return
    click.echo(
        f"time      {_duration(seconds * len(cohort) / count)} on {count} "
        f"worker{'' if count == 1 else 's'}, {seconds:.2f} s a CT"
    )
    click.echo(
        f"size      {_bytes(measured['total_bytes'])}, twice that while building; "
        f"{_bytes(free)} are free"
    )
    click.echo(f"memory    {_bytes(measured['memory'])} a worker; all measured on the first CT")


def _conclude(result: Result, as_json: bool) -> None:
    if as_json:
        values = dataclasses.asdict(result) | {"path": str(result.path)}
        click.echo(json.dumps(values, indent=2))
    elif not is_quiet():
        click.echo(f"{result.path}: {result.samples} samples, {result.failures} failures")
    if result.failures:
        # Each time: a finished file says nothing else of what is not in it.
        name, reason = next(iter(result.reasons.items()))
        total = result.samples + result.failures
        note(
            f"{result.failures} of {total} CTs are not in the file, such as {name}: {reason}. The "
            "same command tries those again that have changed, --retry all of them"
        )


class _Display:
    """One line on a terminal; elsewhere one now and then."""

    EVERY = 30.0

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._last = time.monotonic()
        self._open = False

    def __call__(self, progress: Progress) -> None:
        if progress.message:
            self.close()
            note(progress.message)
        now = time.monotonic()
        if is_quiet() or now - self._last < (0.1 if self._terminal else self.EVERY):
            return
        self._last = now
        text = f"{progress.finished} of {progress.total} CTs"
        if progress.rate:
            each = progress.rate if progress.rate >= 1 else progress.rate * 60
            unit = "a second" if progress.rate >= 1 else "a minute"
            text += f", {each:.1f} {unit}, {_duration(progress.seconds_left)} left"
        if progress.failed:
            text += f", {progress.failed} failed"
        click.echo(
            f"\r\x1b[K{text}" if self._terminal else f"drr: {text}", err=True, nl=not self._terminal
        )
        self._open = self._terminal

    def close(self) -> None:
        if self._open:
            click.echo("\r\x1b[K", err=True, nl=False)
            self._open = False


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _bytes(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"
