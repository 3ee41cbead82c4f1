"""Plots as SVG text: they need no library, no network, and stay sharp in print.

Colours are classes, so that the page that holds the plots may be light or dark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from drr.evaluate.bootstrap import Estimate
from drr.evaluate.calibration import ReliabilityBin

__all__ = ["STYLE", "curve_plot", "forest_plot", "reliability_plot"]

STYLE = """
svg text { font: 11px system-ui, sans-serif; fill: var(--quiet); }
svg .label { fill: var(--ink); }
svg .frame { fill: none; stroke: var(--line); }
svg .grid { stroke: var(--line); stroke-width: .5; }
svg .reference { stroke: var(--quiet); stroke-dasharray: 3 3; fill: none; }
svg .curve { stroke: var(--accent); stroke-width: 1.8; fill: none; stroke-linejoin: round; }
svg .mark { fill: var(--accent); }
svg .threshold { fill: var(--paper); stroke: var(--accent); stroke-width: 1.8; }
svg .whisker { stroke: var(--accent); stroke-width: 1.8; }
svg .mean { fill: var(--second); } svg .mean.whisker { stroke: var(--second); }
"""

SIDE, LEFT, TOP, BOTTOM, RIGHT = 180, 36, 8, 34, 10
ROW = 22

Points = Sequence[tuple[float, float]]


def curve_plot(
    points: Points,
    *,
    title: str,
    across: str,
    up: str,
    diagonal: bool = False,
    level: float | None = None,
    mark: tuple[float, float] | None = None,
) -> str:
    """A curve in the unit square.

    Parameters
    ----------
    title
        What it shows, for those who cannot see it.
    across, up
        What the axes are.
    diagonal
        Draw the line of chance from corner to corner.
    level
        Draw a line of chance at this height.
    mark
        The point at the threshold.
    """
    parts = []
    if diagonal:
        parts.append(_line((0, 0), (1, 1), "reference"))
    if level is not None:
        parts.append(_line((0, level), (1, level), "reference"))
    path = " ".join(f"{_x(x):.1f},{_y(y):.1f}" for x, y in points)
    parts.append(f'<polyline class="curve" points="{path}"/>')
    if mark is not None and all(map(math.isfinite, mark)):
        parts.append(f'<circle class="threshold" {_at(mark)} r="3.5"/>')
    return _square(parts, title, across, up)


def reliability_plot(bins: Sequence[ReliabilityBin], *, title: str) -> str:
    """Observed share against mean probability; larger dots are more samples."""
    largest = max(part.samples for part in bins)
    parts = [_line((0, 0), (1, 1), "reference")]
    path = " ".join(f"{_x(b.predicted):.1f},{_y(b.observed):.1f}" for b in bins)
    parts.append(f'<polyline class="curve" points="{path}"/>')
    for part in bins:
        radius = 2 + 2 * math.sqrt(part.samples / largest)
        parts.append(
            f'<circle class="mark" {_at((part.predicted, part.observed))} r="{radius:.1f}">'
            f"<title>{part.samples} samples, predicted {part.predicted:.3f}, observed "
            f"{part.observed:.3f}</title></circle>"
        )
    return _square(parts, title, "predicted", "observed")


def forest_plot(
    rows: Sequence[tuple[str, Estimate, bool]],
    *,
    title: str,
    low: float,
    high: float,
    reference: float,
) -> str:
    """Figures with their intervals, one below the other.

    Parameters
    ----------
    rows
        Label, figure, and whether it is the mean, which is drawn in the second colour.
    low, high
        Ends of the axis.
    reference
        Where the dashed line stands: chance, or no difference.
    """
    labels, plot, values = 190, 300, 170
    width, height = labels + plot + values, ROW * len(rows) + 30
    axis = ROW * len(rows) + 4

    def place(value: float) -> float:
        return labels + plot * (min(max(value, low), high) - low) / (high - low)

    parts = []
    for tick in _ticks(low, high):
        x = place(tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{axis}"/>')
        parts.append(f'<text x="{x:.1f}" y="{axis + 16}" text-anchor="middle">{tick:.3g}</text>')
    x = place(reference)
    parts.append(f'<line class="reference" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{axis}"/>')
    for number, (label, estimate, mean) in enumerate(rows):
        y = ROW * number + ROW / 2 + 2
        kind = " mean" if mean else ""
        parts.append(
            f'<text class="label" x="{labels - 10}" y="{y + 4}" text-anchor="end">'
            f"{escape(_short(label))}</text>"
        )
        if math.isfinite(estimate.low + estimate.high):
            parts.append(
                f'<line class="whisker{kind}" x1="{place(estimate.low):.1f}" '
                f'x2="{place(estimate.high):.1f}" y1="{y}" y2="{y}"/>'
            )
        if math.isfinite(estimate.value):
            parts.append(
                f'<circle class="mark{kind}" cx="{place(estimate.value):.1f}" cy="{y}" r="4"/>'
            )
        parts.append(f'<text x="{labels + plot + 12}" y="{y + 4}">{estimate}</text>')
    return _svg(width, height, parts, title, "forest")


def _square(parts: Sequence[str], title: str, across: str, up: str) -> str:
    width, height = LEFT + SIDE + RIGHT, TOP + SIDE + BOTTOM
    frame = []
    for tick in (0.0, 0.5, 1.0):
        frame.append(
            f'<text x="{_x(tick)}" y="{TOP + SIDE + 13}" text-anchor="middle">{tick:g}</text>'
            f'<text x="{LEFT - 5}" y="{_y(tick) + 4}" text-anchor="end">{tick:g}</text>'
        )
    frame.append(_line((0.5, 0), (0.5, 1), "grid") + _line((0, 0.5), (1, 0.5), "grid"))
    middle = TOP + SIDE / 2
    frame.append(
        f'<text x="{LEFT + SIDE / 2}" y="{height - 4}" text-anchor="middle">{escape(across)}</text>'
        f'<text x="10" y="{middle}" text-anchor="middle" '
        f'transform="rotate(-90 10 {middle})">{escape(up)}</text>'
        f'<rect class="frame" x="{LEFT}" y="{TOP}" width="{SIDE}" height="{SIDE}"/>'
    )
    return _svg(width, height, [*frame, *parts], title, "square")


def _svg(width: float, height: float, parts: Sequence[str], title: str, kind: str) -> str:
    return (
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )


def _x(value: float) -> float:
    return LEFT + SIDE * value


def _y(value: float) -> float:
    return TOP + SIDE * (1 - value)


def _at(point: tuple[float, float]) -> str:
    return f'cx="{_x(point[0]):.1f}" cy="{_y(point[1]):.1f}"'


def _line(start: tuple[float, float], end: tuple[float, float], kind: str) -> str:
    return (
        f'<line class="{kind}" x1="{_x(start[0]):.1f}" y1="{_y(start[1]):.1f}" '
        f'x2="{_x(end[0]):.1f}" y2="{_y(end[1]):.1f}"/>'
    )


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between two, five or so."""
    step: float = 10.0 ** math.floor(math.log10(high - low))
    step = next(
        s for s in (step / 10, step / 5, step / 2, step, 2 * step) if (high - low) / s <= 6.001
    )
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 10) + 0.0 for number in range(first, last + 1)]


def _short(label: str) -> str:
    return label if len(label) <= 30 else label[:29] + "…"
