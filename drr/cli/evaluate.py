"""`drr evaluate`: how good predictions are, with intervals by patient."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drr.cli.console import is_quiet, quiet_option

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["command"]


@click.command("evaluate")
@click.argument("predictions", type=click.Path(path_type=Path))
@click.option(
    "--truth",
    type=click.Path(path_type=Path),
    metavar="TABLE",
    help="CSV, NPZ or HDF5 with labels.  [default: PREDICTIONS itself]",
)
@click.option("--compare", "other", type=click.Path(path_type=Path), metavar="OTHER",
              help="Predictions of another model on the same samples.")  # fmt: skip
@click.option("--label", "labels", multiple=True, metavar="NAME",
              help="A finding to look at; may be repeated.  [default: all in common]")  # fmt: skip
@click.option("--map", "pairs", multiple=True, metavar="A=B",
              help="The predicted finding A is the known finding B; may be repeated.")  # fmt: skip
@click.option("--split", help="Only this split of the table.")
@click.option("--views", default="frontal", show_default=True,
              help="frontal, all, or the name of one view.")  # fmt: skip
@click.option("--uncertain", type=click.Choice(["unknown", "absent", "present"]),
              default="unknown", show_default=True,
              help="What uncertain labels (-1) count as.")  # fmt: skip
@click.option(
    "--threshold",
    default="youden",
    show_default=True,
    metavar="RULE",
    help="youden, f1, sensitivity=0.95, specificity=0.95, a number, or a JSON report of another "
    "split, whose thresholds are taken.",
)
@click.option("--subgroup", "subgroups", multiple=True, metavar="NAME",
              help="sex, age or view; none for no subgroups.  [default: all known]")  # fmt: skip
@click.option("--draws", type=int, default=2000, show_default=True,
              help="Of the bootstrap; 0 for no intervals.")  # fmt: skip
@click.option("--level", type=float, default=0.95, show_default=True, help="Of the intervals.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the draws.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False),
              metavar="FILE", help="Write all figures here.")  # fmt: skip
@click.option("--html", "html_file", type=click.Path(path_type=Path, dir_okay=False),
              metavar="FILE", help="Write a page with curves here.")  # fmt: skip
@click.option("-f", "--force", is_flag=True, help="Replace files that exist.")
@quiet_option
def command(
    predictions: Path,
    truth: Path | None,
    other: Path | None,
    labels: tuple[str, ...],
    pairs: tuple[str, ...],
    split: str | None,
    views: str,
    uncertain: str,
    threshold: str,
    subgroups: tuple[str, ...],
    draws: int,
    level: float,
    seed: int,
    json_file: Path | None,
    html_file: Path | None,
    force: bool,
) -> None:
    """Say how good PREDICTIONS (CSV or NPZ) are: AUROC, average precision, calibration.

    Findings of CT-RATE, CheXpert, NIH ChestX-ray14 and torchxrayvision are matched by name;
    unknown labels are left out. Intervals draw patients, not images.

    \b
    drr evaluate predictions.csv --truth labels.csv --html report.html
    drr evaluate new.csv --truth labels.csv --compare old.csv
    """
    from drr.chexnet.bootstrap import Bootstrap
    from drr.chexnet.cases import align
    from drr.chexnet.evaluate import evaluate
    from drr.chexnet.predictions import read_predictions
    from drr.chexnet.report_html import to_html
    from drr.chexnet.report_text import to_text
    from drr.chexnet.truth import read_truth
    from drr.io.atomic import refuse_existing, write_files

    targets = [path for path in (json_file, html_file) if path is not None]
    if len(targets) == 2 and targets[0].absolute() == targets[1].absolute():
        raise click.UsageError("--json and --html need different files")
    refuse_existing(targets, force=force)
    bootstrap = Bootstrap(draws=draws, level=level, seed=seed)
    mapping = dict(map(_pair, pairs))
    predicted = [read_predictions(path) for path in (predictions, other) if path is not None]
    table = truth or predictions
    known = read_truth(
        table, labels=[name for p in predicted for name in p.labels] + list(mapping.values())
    )
    cases = [
        align(
            p,
            known,
            labels=labels,
            mapping=mapping,
            split=split,
            views=views,
            uncertain=uncertain,
        )
        for p in predicted
    ]
    result = evaluate(
        cases[0],
        truth=str(table),
        bootstrap=bootstrap,
        subgroups=None if not subgroups else [name for name in subgroups if name != "none"],
        threshold=_threshold(threshold),
        other=cases[1] if other is not None else None,
    )
    contents: dict[Path, bytes] = {}
    if json_file is not None:
        text = json.dumps(result.to_dict(), indent=1, allow_nan=False)
        contents[json_file] = (text + "\n").encode()
    if html_file is not None:
        contents[html_file] = to_html(result).encode()
    if contents:
        write_files(contents, force=force)
    if not is_quiet():
        click.echo(to_text(result))
        for path in targets:
            click.echo(path)


def _pair(text: str) -> tuple[str, str]:
    predicted, sign, known = (part.strip() for part in text.partition("="))
    if not (predicted and sign and known):
        raise click.UsageError(f"--map {text!r} is not of the form 'predicted=known'")
    return predicted, known


def _threshold(text: str) -> str | Mapping[str, float]:
    """A rule, or the thresholds of the findings in a JSON report."""
    if not text.lower().endswith(".json"):
        return text
    from drr.chexnet.metrics import EvaluationError

    try:
        report: Any = json.loads(Path(text).read_text(encoding="utf-8"))
        found = {
            finding["label"]: float(finding["point"]["threshold"])
            for finding in report["classes"]
            if finding["point"] and finding["point"]["threshold"] is not None
        }
    except OSError as error:
        raise EvaluationError(f"{text}: cannot be read ({error.strerror or error})") from None
    except (ValueError, KeyError, TypeError):
        raise EvaluationError(
            f"{text}: is not a report that 'drr evaluate --json' wrote; give one, or a rule"
        ) from None
    if not found:
        raise EvaluationError(f"{text}: holds no threshold of any finding; give another or a rule")
    return found
