"""What a data set holds, as one HTML page that needs nothing beside it.

Reports, names and reasons are other people's text: in markup they are escaped, in the script's
data they cannot end it, and the page's policy runs no script but its own and loads nothing.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from drr.datasets.hdf5 import open_dataset, reading
from drr.datasets.labels import ABSENT, PRESENT, UNCERTAIN, UNKNOWN
from drr.datasets.schema import ATTRIBUTES, DatasetError
from drr.pages.images import choose_rows, jpeg
from drr.pages.page import STYLE, table

if TYPE_CHECKING:
    import h5py

__all__ = ["report_page", "write_report"]

MOST_ROWS = 500
"""Rows of a table of failures; more are counted, not listed."""

MOST_LABELS = 40
"""Labels of the table of co-occurrence, the most frequent ones."""

REPORT_PARTS = ("clinical_information", "technique", "findings", "impressions")


def write_report(
    file: str | Path, out: str | Path, *, samples: int = 200, pixels: int = 384, force: bool = False
) -> Path:
    """Write the page of `report_page` to a file, whole or not at all.

    Raises
    ------
    DatasetError
        For a file that is not a data set, or damaged.
    WriteError
        For an output that exists (unless `force`) or cannot be written.
    """
    from drr.files.atomic import refuse_existing, write_files

    out = Path(out)
    if out.exists() and Path(file).exists() and out.samefile(file):
        raise DatasetError(f"{out}: is the data set itself; choose another name for the page")
    refuse_existing([out], force=force)
    page = report_page(file, samples=samples, pixels=pixels)
    write_files({out: page.encode("utf-8", "replace")}, force=force)
    return out


def report_page(file: str | Path, *, samples: int = 200, pixels: int = 384) -> str:
    """The page as text.

    Parameters
    ----------
    file
        HDF5 file of `drr build`.
    samples
        How many are shown as pictures, spread evenly over the file; tables count all.
    pixels
        Longer side of their images at most. An image of 384 takes about 20 kB.

    Raises
    ------
    DatasetError
        For a file that is not a data set, lacks a column or has images that cannot be read.
    """
    if samples < 0 or not 16 <= pixels <= 4096:
        raise DatasetError(
            f"{samples} samples of {pixels} pixels cannot be shown; use 0 or more samples and "
            "16 to 4096 pixels"
        )
    path = Path(file)
    with open_dataset(path) as opened, reading(path):
        body, details = _body(opened, path.name, samples, pixels)
    template = files("drr.pages").joinpath("dataset.html").read_text("utf-8")
    script = re.search(r"<script>(.*?)</script>", template, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    parts = {
        "title": escape(f"Data set {path.name}"),
        "script-hash": f"sha256-{digest}",
        "style": STYLE,
        "body": body,
        "details": _json(details),
    }
    # In one pass: what is put in is never looked at again.
    return re.sub(r"\{\{([a-z-]+)\}\}", lambda match: parts[match[1]], template)


def _json(values: Any) -> str:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(values, ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _texts(file: h5py.File, name: str) -> list[str]:
    return [str(text) for text in file[name].asstr("utf-8", "replace")[...]]


def _body(
    file: h5py.File, name: str, samples: int, pixels: int
) -> tuple[str, list[dict[str, Any]]]:
    labels = _texts(file, "label_names")
    codes = file["samples/labels"][...]
    splits, patients = _texts(file, "samples/split"), _texts(file, "samples/patient")
    sexes, ages = _texts(file, "samples/sex"), file["samples/age"][...]
    scans = _texts(file, "samples/scan")
    failures = [_texts(file, f"failures/{column}") for column in ("name", "path", "reason")]
    problems = [_texts(file, f"problems/{column}") for column in ("name", "place", "reason")]
    views = sorted(file["views"])
    rows = choose_rows(len(splits), samples)
    tiles = [
        ("samples", len(splits)),
        ("patients", len(set(patients))),
        ("scans", len(set(scans))),
        ("views of each", len(views)),
        ("failures", len(failures[0])),
        ("problems of the source", len(problems[0])),
    ]
    notes = "".join(f"<li>{escape(text)}</li>" for text in _texts(file, "notes"))
    sections = {
        "Splits": _splits(splits, patients, scans, sexes, ages),
        "Labels": _labels(labels, codes, splits),
        "Age and sex": _ages(sexes, ages),
        "Geometry": _geometry(file, views),
        "Failures": _listing(("sample", "file", "reason"), failures, "Every CT was used."),
        "Problems of the source": _listing(("what", "where", "reason"), problems, "None."),
        "Notes": f"<ul>{notes}</ul>" if notes else "<p>None.</p>",
        "Pictures": _filters(labels, splits) + _sheets(file, views, rows, len(splits), pixels),
        "How it was made": _provenance(file),
    }
    links = "".join(f'<a href="#s{i}">{title}</a>' for i, title in enumerate(sections))
    licence = str(file.attrs.get("licence", "")) or "not stated"
    attribution = str(file.attrs.get("attribution", ""))
    body = [
        f"<h1>{escape(name)}</h1>",
        f'<p class="quiet">{escape(str(file.attrs.get("source_found", "")))}</p>',
        f'<p class="quiet">Licence: {escape(licence)}. {escape(attribution)}</p>',
        '<p class="quiet">Not for diagnosis: radiographs here are synthetic.</p>',
        f"<nav>{links}</nav>",
        '<div class="tiles">',
        *(f'<div class="tile"><b>{n:,}</b><span>{what}</span></div>' for what, n in tiles),
        "</div>",
        *(f'<h2 id="s{i}">{t}</h2>\n{text}' for i, (t, text) in enumerate(sections.items())),
    ]
    return "\n".join(body), _details(file, labels, rows)


def _splits(
    splits: list[str], patients: list[str], scans: list[str], sexes: list[str], ages: Any
) -> str:
    first = {"train": 0, "valid": 1, "test": 2}
    names = sorted(set(splits), key=lambda split: (first.get(split, 3), split))
    groups = [(name or "(none)", [i for i, s in enumerate(splits) if s == name]) for name in names]
    if len(groups) > 1:
        groups.append(("all", list(range(len(splits)))))
    rows = []
    owners: dict[str, set[str]] = {}
    for patient, split in zip(patients, splits, strict=True):
        owners.setdefault(patient, set()).add(split)
    for name, members in groups:
        known = ages[members][np.isfinite(ages[members])]
        row = [name, f"{len(members):,}", f"{len({patients[i] for i in members}):,}"]
        row.append(f"{len({scans[i] for i in members}):,}")
        row += [f"{sum(sexes[i] == sex for i in members):,}" for sex in ("F", "M")]
        row.append(f"{sum(sexes[i] not in ('F', 'M') for i in members):,}")
        ends = f"{known.min():.0f} to {known.max():.0f}" if len(known) else "unknown"
        rows.append([*row, f"{np.median(known):.0f}" if len(known) else "", ends])
    head = ("split", "samples", "patients", "scans", "women", "men", "other or unknown sex")
    leaks = sum(len(found) > 1 for found in owners.values())
    word = (
        f"<p><strong>{leaks} patients are in more than one split.</strong></p>"
        if leaks
        else '<p class="quiet">No patient is in two splits.</p>'
    )
    return table((*head, "median age", "ages"), rows) + word


def _labels(labels: list[str], codes: NDArray[Any], splits: list[str]) -> str:
    if not labels:
        return "<p>The data set has no labels.</p>"
    named: list[str] = [name for name in ("train", "valid", "test") if name in splits]
    named += sorted(set(splits) - {"", *named})
    head = ["label", "present", "absent", "uncertain", "unknown", "share present of known"]
    head += [f"{name}: share" for name in named]
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    lines = []
    which = np.array(splits, object)
    for column, label in enumerate(labels):
        values = codes[:, column]
        cells = [
            f"<td>{np.count_nonzero(values == code):,}</td>"
            for code in (PRESENT, ABSENT, UNCERTAIN, UNKNOWN)
        ]
        share = _share(values)
        cells.append(f'<td class="bar" style="--p: {share or 0:.1%}">{_percent(share)}</td>')
        cells += [f"<td>{_percent(_share(values[which == name]))}</td>" for name in named]
        lines.append(f'<tr><th scope="row">{escape(label)}</th>{"".join(cells)}</tr>')
    table = (
        f'<div class="wide"><table><thead><tr>{top}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )
    return table + _cooccurrence(labels, codes)


def _share(values: NDArray[Any]) -> float | None:
    known = np.count_nonzero((values == PRESENT) | (values == ABSENT))
    return np.count_nonzero(values == PRESENT) / known if known else None


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _cooccurrence(labels: list[str], codes: NDArray[Any]) -> str:
    present = (codes == PRESENT).astype(np.int64)
    order = np.argsort(-present.sum(0), kind="stable")[:MOST_LABELS]
    chosen = sorted(int(i) for i in order)
    both = present.T @ present
    top = "".join(f'<th scope="col">{escape(labels[i])}</th>' for i in chosen)
    lines = []
    for i in chosen:
        cells = []
        for j in chosen:
            share = both[i, j] / both[i, i] if both[i, i] else 0.0
            title = escape(f"{labels[j]} in {share:.0%} of {labels[i]}", quote=True)
            kind = ' class="self"' if i == j else f' style="--s: {share:.3f}" title="{title}"'
            cells.append(f"<td{kind}>{both[i, j]}</td>")
        lines.append(f'<tr><th scope="row">{escape(labels[i])}</th>{"".join(cells)}</tr>')
    return (
        '<h3>Present together</h3><p class="quiet">Samples in which both are present; the shade is '
        "their share of the row's samples.</p>"
        f'<div class="wide"><table class="grid"><thead><tr><th scope="col">label</th>{top}</tr>'
        f"</thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _ages(sexes: list[str], ages: NDArray[Any]) -> str:
    finite = np.isfinite(ages)
    if not finite.any():
        return "<p>No age is known.</p>"
    decades = np.clip(np.where(finite, ages, 0) // 10, 0, 13).astype(int)
    kinds = [("f", "women"), ("m", "men"), ("o", "other or unknown")]
    letters = [sex.lower() if sex in ("F", "M") else "o" for sex in sexes]
    counts = np.zeros((3, 14), np.int64)
    for letter, decade, known in zip(letters, decades, finite, strict=True):
        if known:
            counts["fmo".index(letter), decade] += 1
    low, high = np.flatnonzero(counts.sum(0))[[0, -1]]
    tallest = counts.sum(0).max()
    bars = []
    for place, decade in enumerate(range(low, high + 1)):
        base = 150.0
        for row, (letter, word) in enumerate(kinds):
            height = 120.0 * counts[row, decade] / tallest
            base -= height
            if height:
                bars.append(
                    f'<rect class="{letter}" x="{place * 46 + 6}" y="{base:.1f}" width="36" '
                    f'height="{height:.1f}"><title>{counts[row, decade]} {word}, '
                    f"{decade * 10} to {decade * 10 + 9} years</title></rect>"
                )
        middle = place * 46 + 24
        bars.append(
            f'<text x="{middle}" y="{base - 4:.1f}" text-anchor="middle">'
            f"{counts[:, decade].sum()}</text>"
            f'<text x="{middle}" y="166" text-anchor="middle">{decade * 10}s</text>'
        )
    width = (high - low + 1) * 46
    unknown = len(ages) - int(finite.sum())
    shown = [(letter, word) for row, (letter, word) in enumerate(kinds) if counts[row].any()]
    key = "".join(f'<i class="{letter}"></i>{word}' for letter, word in shown)
    return (
        f'<figure><svg role="img" aria-label="Samples by age and sex" width="{width}" height="172" '
        f'viewBox="0 0 {width} 172">{"".join(bars)}</svg></figure>'
        f'<p class="quiet key">Samples by age in years:{key}. Age unknown: {unknown:,}.</p>'
    )


def _geometry(file: h5py.File, views: list[str]) -> str:
    rows = []
    for view in views:
        group = file["views"][view]
        image = group["picture"] if "picture" in group else group["line_integrals"]
        u, v = group["u"][...], group["v"][...]
        centre, source = group["detector_center"][...], group["source"][...]
        normal = np.cross(u, v)
        with np.errstate(invalid="ignore", divide="ignore"):
            normal /= np.linalg.norm(normal, axis=1)[:, None]
            distance = np.abs(np.sum((centre - source) * normal, axis=1))
            d = np.where(np.isfinite(source), centre - source, group["direction"][...])
            d /= np.linalg.norm(d, axis=1)[:, None]
            primary = np.degrees(np.arctan2(d[:, 0], -d[:, 1]))
            secondary = np.degrees(np.arcsin(np.clip(d[:, 2], -1, 1)))
        stored = ", ".join(n for n in ("picture", "line_integrals", "masks") if n in group)
        rows.append(
            [
                view,
                f"{image.shape[1]} x {image.shape[2]}",
                stored.replace("_", " "),
                _spread(distance, 0) or "parallel",
                _spread(np.linalg.norm(u, axis=1), 3),
                _spread(np.linalg.norm(v, axis=1), 3),
                _spread(primary, 1),
                _spread(secondary, 1),
            ]
        )
    head = ["view", "rows x columns", "stored", "source to detector, mm", "pitch along rows, mm"]
    head += ["pitch down columns, mm", "to the central pixel: primary angle, °", "secondary, °"]
    return table(head, rows) + (
        '<p class="quiet">One value where all samples share it, else smallest, median and largest.'
        "</p>"
    )


def _spread(values: NDArray[Any], digits: int) -> str:
    known = values[np.isfinite(values)]
    if not len(known):
        return ""
    low, middle, high = (f"{f(known) + 0.0:.{digits}f}" for f in (np.min, np.median, np.max))
    return low if low == high else f"{low} / {middle} / {high}"


def _listing(head: Sequence[str], columns: Sequence[list[str]], none: str) -> str:
    rows = list(zip(*columns, strict=True))
    if not rows:
        return f"<p>{none}</p>"
    more = len(rows) - MOST_ROWS
    rest = f'<p class="quiet">And {more:,} more, which the file lists.</p>' if more > 0 else ""
    return table(head, rows[:MOST_ROWS], kind="text") + rest


def _filters(labels: list[str], splits: list[str]) -> str:
    def options(names: Iterable[str]) -> str:
        return '<option value="">all</option>' + "".join(
            f'<option value="{escape(name, quote=True)}">{escape(name)}</option>' for name in names
        )

    return (
        '<div class="filters">'
        f'<label>Split<select id="by-split">{options(sorted(set(splits) - {""}))}</select></label>'
        f'<label>Label present<select id="by-label">{options(labels)}</select></label>'
        '<label>Words in name or report<input id="by-words" type="search"></label>'
        '<span id="matching" class="quiet" role="status"></span></div>'
    )


def _sheets(file: h5py.File, views: list[str], rows: list[int], total: int, pixels: int) -> str:
    if not rows:
        return "<p>No sample is shown.</p>"
    names = file["samples/name"].asstr("utf-8", "replace")
    parts = []
    if len(rows) < total:
        parts.append(f'<p class="quiet">{len(rows)} of {total:,} samples, spread evenly.</p>')
    for view in views:
        buttons = []
        for place, row in enumerate(rows):
            content = base64.b64encode(jpeg(file["views"][view], row, pixels)).decode()
            name, safe = escape(str(names[row]), quote=True), escape(view, quote=True)
            buttons.append(
                f'<button type="button" class="thumb" data-sample="{place}" data-view="{safe}">'
                f'<img loading="lazy" decoding="async" alt="{safe} of {name}" '
                f'src="data:image/jpeg;base64,{content}"><span>{name}</span></button>'
            )
        scaled = "" if "picture" in file["views"][view] else " (line integrals from 0 to 10)"
        parts.append(f"<h3>View {escape(view)}{scaled}</h3>")
        parts.append(f'<div class="sheet">{"".join(buttons)}</div>')
    return "\n".join(parts)


def _details(file: h5py.File, labels: list[str], rows: list[int]) -> list[dict[str, Any]]:
    """What is told of a sample when its picture is enlarged."""

    def text(name: str, row: int) -> str:
        return str(file[name].asstr("utf-8", "replace")[row])

    result = []
    for row in rows:
        values = file["samples/labels"][row]
        age = float(file["samples/age"][row])
        facts = [
            ("Patient", text("samples/patient", row)),
            ("Split", text("samples/split", row) or "none"),
            ("Sex", text("samples/sex", row) or "unknown"),
            ("Age", f"{age:g}" if np.isfinite(age) else "unknown"),
            ("CT", text("samples/path", row)),
        ]
        report = [
            (part.replace("_", " ").capitalize(), written)
            for part in REPORT_PARTS
            if (written := text(f"reports/{part}", row))
        ]
        by_code = {
            code: [name for name, value in zip(labels, values, strict=True) if value == code]
            for code in (PRESENT, ABSENT, UNCERTAIN, UNKNOWN)
        }
        name = text("samples/name", row)
        rest = f"{len(by_code[ABSENT])} absent, {len(by_code[UNKNOWN])} unknown."
        result.append(
            {
                "name": name,
                "split": text("samples/split", row),
                "facts": facts,
                "present": by_code[PRESENT],
                "uncertain": by_code[UNCERTAIN],
                "rest": rest if by_code[PRESENT] else f"None present; {rest}",
                "report": report,
                "words": " ".join([name, *(written for _, written in report)]).lower(),
            }
        )
    return result


def _provenance(file: h5py.File) -> str:
    facts = []
    for name in ATTRIBUTES:
        if name not in ("configuration", "versions") and name in file.attrs:
            label = escape(name.replace("_", " "))
            facts.append(f"<dt>{label}</dt><dd>{escape(str(file.attrs[name]))}</dd>")
    blocks = []
    for name in ("configuration", "versions"):
        text = str(file.attrs.get(name, "{}"))
        with contextlib.suppress(ValueError):  # then shown as it is
            text = json.dumps(json.loads(text), indent=1, ensure_ascii=False)
        blocks.append(
            f"<details><summary>{name.capitalize()}</summary><pre>{escape(text)}</pre></details>"
        )
    return f"<dl>{''.join(facts)}</dl>{''.join(blocks)}"
