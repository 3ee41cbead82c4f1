"""An evaluation as one HTML page: no network, no script, light or dark as its reader's system."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import drr
from drr.evaluate.bootstrap import Estimate
from drr.evaluate.results import ClassResult, Comparison, Evaluation
from drr.evaluate.text import comparison_rows, finding_rows, group_rows, shared, summary
from drr.pages.page import STYLE, table
from drr.pages.plots import STYLE as PLOT_STYLE
from drr.pages.plots import curve_plot, forest_plot, reliability_plot

__all__ = ["to_html"]

_STYLE = """
th, td { white-space: nowrap; } tr.mean > * { font-weight: 700; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(36rem, 1fr)); gap: .8rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: .8rem; break-inside: avoid; --paper: var(--card); }
.plots { display: flex; gap: .3rem; } .plots svg { flex: 1 1 0; min-width: 0; max-width: 15rem; }
svg.forest { min-width: 40rem; } li { margin: .25rem 0; max-width: 60rem; }
@media (max-width: 42rem) { .cards { grid-template-columns: 1fr; } body { padding: .8rem; }
  .plots { flex-wrap: wrap; } .plots svg { flex: none; } }
"""


def to_html(result: Evaluation) -> str:
    """The page: figures, a plot of the areas, curves of every finding, subgroups, comparison."""
    body = [
        f"<h1>Evaluation of {escape(result.source)}</h1>",
        *(f'<p class="quiet">{escape(line)}</p>' for line in summary(result).split("\n")),
        _tiles(result),
        "<h2>Area under the ROC curve</h2>",
        _forest([*result.classes], result.macro_auroc),
        "<h2>Findings</h2>",
        _rows(finding_rows(result)),
        "<h2>Curves</h2>",
        '<p class="quiet">ROC and precision-recall with the point at the threshold; dashed: '
        "chance. Calibration: observed share against predicted probability, bins of equal "
        "counts.</p>",
        f'<div class="cards">{"".join(map(_card, result.classes))}</div>',
    ]
    if result.groups:
        body.append("<h2>Subgroups, area under the ROC curve</h2>")
        for attribute in dict.fromkeys(group.attribute for group in result.groups):
            some = [group for group in result.groups if group.attribute == attribute]
            body.append(f"<h3>By {escape(attribute)} (samples)</h3>{_rows(group_rows(some))}<br>")
    if result.comparison is not None:
        body.append(_comparison(result.comparison))
    if result.notes:
        notes = "".join(f"<li>{escape(note)}</li>" for note in result.notes)
        body.append(f"<h2>Notes</h2><ul>{notes}</ul>")
    body.append(
        f'<p class="quiet">drr-rate {escape(drr.__version__)}. Not for diagnosis. Intervals are '
        "percentiles of a bootstrap and know nothing of other hospitals, scanners or readers.</p>"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Evaluation of {escape(result.source)}</title>"
        f"<style>{STYLE}{PLOT_STYLE}{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _tiles(result: Evaluation) -> str:
    tiles: list[tuple[str, Estimate | int]] = [
        ("mean AUROC", result.macro_auroc),
        ("mean average precision", result.macro_average_precision),
        ("samples", result.samples),
    ]
    if result.by_patient:
        tiles.append(("patients", result.patients))
    return '<div class="tiles">' + "".join(map(_tile, tiles)) + "</div>"


def _tile(tile: tuple[str, Estimate | int]) -> str:
    name, value = tile
    more = ""
    if isinstance(value, Estimate):
        shown, _, rest = str(value).partition(" ")
        more = f" {rest}"
    else:
        shown = str(value)
    return f'<div class="tile"><b>{shown}</b><span>{name}{more}</span></div>'


def _forest(classes: Sequence[ClassResult], macro: Estimate) -> str:
    rows = [(c.label, c.auroc, False) for c in classes] + [("mean", macro, True)]
    ends = [e for _, estimate, _ in rows for e in (estimate.value, estimate.low)]
    lowest = min([0.5, *(end for end in ends if math.isfinite(end))])
    plot = forest_plot(
        rows,
        title="Areas under the ROC curve with intervals, also in the table below",
        low=math.floor(lowest * 10) / 10,
        high=1.0,
        reference=0.5,
    )
    return f'<div class="wide">{plot}</div>'


def _comparison(comparison: Comparison) -> str:
    every = [*comparison.classes, comparison.macro]
    reach = max(
        (abs(end) for row in every for end in (row.auroc.low, row.auroc.high, row.auroc.value)
         if math.isfinite(end)),
        default=0.0,
    )  # fmt: skip
    reach = max(0.02, math.ceil(reach * 50) / 50)
    rows = [(row.label, row.auroc, False) for row in comparison.classes]
    plot = forest_plot(
        [*rows, ("mean", comparison.macro.auroc, True)],
        title="Differences of the areas under the ROC curve, also in the table below",
        low=-reach,
        high=reach,
        reference=0.0,
    )
    return (
        f"<h2>{escape(comparison.first)} less {escape(comparison.second)}</h2>"
        f'<p class="quiet">On {shared(comparison)} that both predict. Differences above zero '
        "speak for the first. Intervals are of a paired bootstrap; p of an area under one ROC "
        "curve is DeLong's, for patients with several samples as Obuchowski extends it, other p "
        "are the bootstrap's; Holm adjusts for the number of findings.</p>"
        f'<div class="wide">{plot}</div>{_rows(comparison_rows(comparison))}'
    )


def _card(finding: ClassResult) -> str:
    head = f"<h3>{escape(finding.label)}</h3>"
    if not finding.roc:
        return f'<div class="card">{head}<p class="quiet">Not measured; see the notes.</p></div>'
    roc = pr = None
    if finding.point is not None:
        point = finding.point
        roc = (1 - point.specificity.value, point.sensitivity.value)
        pr = (point.sensitivity.value, point.precision.value)
    plots = [
        curve_plot(
            finding.roc,
            title=f"ROC curve of {finding.label}",
            across="1 - specificity",
            up="sensitivity",
            diagonal=True,
            mark=roc,
        ),
        curve_plot(
            finding.precision_recall,
            title=f"Precision-recall curve of {finding.label}",
            across="recall",
            up="precision",
            level=finding.positives / finding.samples,
            mark=pr,
        ),
    ]
    words = [
        f"AUROC {finding.auroc}",
        f"average precision {finding.average_precision}",
        f"{finding.positives} of {finding.samples} positive",
    ]
    if (calibration := finding.calibration) is not None:
        plots.append(reliability_plot(calibration.bins, title=f"Calibration of {finding.label}"))
        words.append(f"calibration error {calibration.expected_error:.3f}")
    text = escape("; ".join(words))
    return (
        f'<div class="card">{head}<p class="quiet">{text}</p>'
        f'<div class="plots">{"".join(plots)}</div></div>'
    )


def _rows(rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose first row has the titles."""
    return table(rows[0], rows[1:], mean="mean")
