"""A training's curves as a picture: losses above, AUROC below."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

__all__ = ["curves_svg"]

_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 520, 170, 64, 28, 52
_COLOURS = {"train_loss": "#888888", "valid_loss": "#1f5fa8", "valid_auroc": "#1f5fa8"}


def curves_svg(rows: Sequence[Mapping[str, float]]) -> str:
    """Training and validation loss, and the macro AUROC, by epoch.

    Parameters
    ----------
    rows
        With `epoch`, `train_loss`, `valid_loss` and `valid_auroc`; values that are not finite are
        left out.
    """
    panels = [("loss", ["train_loss", "valid_loss"]), ("macro AUROC", ["valid_auroc"])]
    height = _TOP + len(panels) * (_HEIGHT + _GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 24}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for number, (title, keys) in enumerate(panels):
        parts += _panel(rows, title, keys, _TOP + number * (_HEIGHT + _GAP))
    return "\n".join([*parts, "</svg>", ""])


def _panel(
    rows: Sequence[Mapping[str, float]], title: str, keys: Sequence[str], top: float
) -> list[str]:
    values = [row[key] for row in rows for key in keys if math.isfinite(row[key])]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    span = high - low or 1.0
    last = max([1.0, *(row["epoch"] for row in rows)])

    def place(epoch: float, value: float) -> str:
        x = _LEFT + _WIDTH * epoch / last
        return f"{x:.1f},{top + _HEIGHT * (high - value) / span:.1f}"

    bottom = top + _HEIGHT
    parts = [
        f'<rect x="{_LEFT}" y="{top}" width="{_WIDTH}" height="{_HEIGHT}" fill="none" '
        'stroke="#cccccc"/>',
        f'<text x="{_LEFT}" y="{top - 8}" font-weight="bold">{title}</text>',
        f'<text x="{_LEFT - 6}" y="{top + 10}" text-anchor="end">{high:.3g}</text>',
        f'<text x="{_LEFT - 6}" y="{bottom}" text-anchor="end">{low:.3g}</text>',
        f'<text x="{_LEFT}" y="{bottom + 16}">0</text>',
        f'<text x="{_LEFT + _WIDTH}" y="{bottom + 16}" text-anchor="end">epoch {last:.0f}</text>',
    ]
    for position, key in enumerate(keys):
        points = [place(row["epoch"], row[key]) for row in rows if math.isfinite(row[key])]
        colour = _COLOURS[key]
        parts += [
            f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" '
            'stroke-width="2"/>',
            *(
                f'<circle cx="{p.split(",")[0]}" cy="{p.split(",")[1]}" r="2.5" fill="{colour}"/>'
                for p in points
            ),
            f'<text x="{_LEFT + _WIDTH - 110 * position}" y="{top - 8}" text-anchor="end" '
            f'fill="{colour}">{key.replace("_", " ")}</text>',
        ]
    return parts
