"""`drr evaluate`: how good predictions are, with intervals by patient."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drr.cli.console import is_quiet, quiet_option

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from drr.evaluate.predictions import Predictions
    from drr.evaluate.truth import Truth

__all__ = ["command"]


@click.command("evaluate")
@click.argument("predictions", type=click.Path(path_type=Path))
@click.option(
    "--truth",
    type=click.Path(path_type=Path),
    metavar="TABLE",
    help="CSV, NPZ or HDF5 with labels.  [default: PREDICTIONS itself]",
)
@click.option("--data", type=click.Path(path_type=Path), metavar="DATA",
              help="For a model: a file of 'drr build', or a store of 'drr prepare'.")  # fmt: skip
@click.option("--view", help="For a model: the view of DATA.  [default: the only one]")
@click.option("--films", type=click.Path(path_type=Path), metavar="FOLDER",
              help="For a model: folder or ZIP of real films; --truth is their table.")  # fmt: skip
@click.option("--original-shape", is_flag=True,
              help="For squeezed films, as of NIH: give them their own shape back.")  # fmt: skip
@click.option("-j", "--workers", type=click.IntRange(0), default=0, show_default=True,
              help="For a model: processes that load images.")  # fmt: skip
@click.option("--save", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Write a model's predictions here, CSV or NPZ.")  # fmt: skip
@click.option("--compare", "other", type=click.Path(path_type=Path), metavar="OTHER",
              help="Predictions of another model on the same samples, or that model.")  # fmt: skip
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
    data: Path | None,
    view: str | None,
    films: Path | None,
    original_shape: bool,
    workers: int,
    save: Path | None,
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
    """Say how good PREDICTIONS (CSV or NPZ) are, or those of a model: AUROC and more.

    Findings of CT-RATE, CheXpert, NIH ChestX-ray14 and torchxrayvision are matched by name;
    unknown labels are left out. Intervals draw patients, not images.

    \b
    drr evaluate predictions.csv --truth labels.csv --html report.html
    drr evaluate new.csv --truth labels.csv --compare old.csv
    drr evaluate run/model.pt --data drrs.h5 --split test
    drr evaluate run/model.pt --films nih/ --truth Data_Entry_2017.csv
    """
    from drr.evaluate.bootstrap import Bootstrap
    from drr.evaluate.cases import align
    from drr.evaluate.evaluate import evaluate
    from drr.evaluate.predictions import write_predictions
    from drr.evaluate.text import to_text
    from drr.files.atomic import refuse_existing, write_files
    from drr.pages.evaluation import to_html

    targets = [path for path in (json_file, html_file, save) if path is not None]
    if len({path.absolute() for path in targets}) < len(targets):
        raise click.UsageError("--json, --html and --save need different files")
    refuse_existing(targets, force=force)
    bootstrap = Bootstrap(draws=draws, level=level, seed=seed)
    mapping = dict(map(_pair, pairs))
    sources = [path for path in (predictions, other) if path is not None]
    predicted, known = _from_models(
        sources,
        data=data,
        films=films,
        table=truth,
        split=split,
        views=views,
        view=view,
        original_shape=original_shape,
        workers=workers,
    ) or _from_tables(sources, truth or predictions, more=mapping.values())
    if save is not None and films is None and data is None:
        raise click.UsageError("--save writes a model's predictions; these are in a table already")
    cases = [
        align(
            p,
            known,
            labels=labels,
            mapping=mapping,
            split=split,
            views=views if data is None else "all",
            uncertain=uncertain,
        )
        for p in predicted
    ]
    result = evaluate(
        cases[0],
        truth=known.source,
        bootstrap=bootstrap,
        subgroups=None if not subgroups else [name for name in subgroups if name != "none"],
        threshold=_threshold(threshold),
        other=cases[1] if other is not None else None,
    )
    if save is not None:
        write_predictions(save, predicted[0], force=force)
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


def _from_tables(
    sources: Sequence[Path], table: Path, *, more: Iterable[str]
) -> tuple[list[Predictions], Truth]:
    """Predictions as files hold them, and the truth."""
    from drr.evaluate.predictions import read_predictions
    from drr.evaluate.truth import read_truth

    predicted = [read_predictions(path) for path in sources]
    labels = [*(name for part in predicted for name in part.labels), *more]
    return predicted, read_truth(table, labels=labels)


def _from_models(
    sources: Sequence[Path],
    *,
    data: Path | None,
    films: Path | None,
    table: Path | None,
    split: str | None,
    views: str,
    view: str | None,
    original_shape: bool,
    workers: int,
) -> tuple[list[Predictions], Truth] | None:
    """Predictions that models make now, and the truth; None where the sources are tables."""
    models = [path.suffix.lower() == ".pt" or path.is_dir() for path in sources]
    if data is None and films is None:
        if any(models):
            path = sources[models.index(True)]
            raise click.UsageError(f"{path} is a model; say what it shall see: --data or --films")
        return None
    if not all(models):
        path = sources[models.index(False)]
        raise click.UsageError(f"--data and --films are for models; {path} is none")
    if data is not None and (films is not None or table is not None):
        raise click.UsageError("--data has its own truth; leave --films and --truth out")
    from drr.train.predict_sets import predict_films, predict_views

    if data is not None:
        pairs = [
            predict_views(path, data, split=split, view=view, workers=workers) for path in sources
        ]
    else:
        assert films is not None
        pairs = [
            predict_films(
                path,
                films,
                table,
                split=split,
                views=views,
                original_shape=original_shape,
                workers=workers,
            )
            for path in sources
        ]
    return [predicted for predicted, _ in pairs], pairs[0][1]


def _pair(text: str) -> tuple[str, str]:
    predicted, sign, known = (part.strip() for part in text.partition("="))
    if not (predicted and sign and known):
        raise click.UsageError(f"--map {text!r} is not of the form 'predicted=known'")
    return predicted, known


def _threshold(text: str) -> str | Mapping[str, float]:
    """A rule, or the thresholds of the findings in a JSON report."""
    if not text.lower().endswith(".json"):
        return text
    from drr.evaluate.metrics import EvaluationError
    from drr.files.documents import read_json

    try:
        report: Any = read_json(Path(text))
        found = {
            str(finding["label"]): float(finding["point"]["threshold"])
            for finding in report["classes"]
            if finding["point"] and finding["point"]["threshold"] is not None
        }
    except OSError as error:
        raise EvaluationError(f"{text}: cannot be read ({error.strerror or error})") from None
    except (ValueError, LookupError, TypeError, AttributeError):
        raise EvaluationError(
            f"{text}: is not a report that 'drr evaluate --json' wrote; give one, or a rule"
        ) from None
    if not found:
        raise EvaluationError(f"{text}: holds no threshold of any finding; give another or a rule")
    return found
