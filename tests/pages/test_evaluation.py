"""Reports as text and as a page: everything is in them, nothing of the input becomes markup."""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from drr.evaluate.bootstrap import Bootstrap, Estimate
from drr.evaluate.cases import align
from drr.evaluate.evaluate import evaluate
from drr.evaluate.predictions import Predictions
from drr.evaluate.results import Evaluation
from drr.evaluate.text import format_p, to_text
from drr.evaluate.truth import Truth
from drr.pages.evaluation import to_html
from drr.pages.plots import curve_plot, forest_plot

EVIL = "<script>alert('x')</script>"
VOID = {"meta", "br", "link", "img"}


def made(label: str = "Edema", *, draws: int = 100) -> Evaluation:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2, (80, 3))
    codes[:, 2] = 0
    names = (label, "Mass", "Hernia")
    truth = Truth(
        codes=codes,
        labels=names,
        patients=tuple(f"p{i // 2}" for i in range(80)),
        sex=tuple("MF"[i % 4 > 1] for i in range(80)),
        source="truth.csv",
    )
    first, second = (
        align(
            Predictions(
                scores=np.clip(rng.random((80, 3)) + gain * codes, 0, 1),
                labels=names,
                source=f"folder/{label.replace('/', '')}{gain}.csv",
            ),
            truth,
        )
        for gain in (0.4, 0.1)
    )
    boot = Bootstrap(draws=draws)
    return evaluate(first, truth="folder/truth.csv", bootstrap=boot, other=second)


class Checker(HTMLParser):
    """Tags are closed in order; collects them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_text_holds_all_figures() -> None:
    result = made()
    text = to_text(result)
    for finding in result.classes:
        assert str(finding.auroc) in text
    assert str(result.macro_auroc) in text
    assert "80 samples of 40 patients; 95 % intervals from 100 draws of patients" in text
    assert "By sex, AUROC" in text
    assert "Edema0.4.csv less Edema0.1.csv" in text
    assert "folder" not in text
    assert "for no positives: Hernia" in text
    assert max(map(len, text.split("\n- ")[-1].splitlines())) <= 100
    tables = re.findall(r"^-{20,}$", text, re.MULTILINE)
    assert len(tables) == 3


def test_text_without_intervals() -> None:
    text = to_text(made(draws=0))
    assert "no intervals" in text
    assert "nan" not in text


def test_page_is_whole_and_needs_nothing_else() -> None:
    page = to_html(made())
    tags = Checker(page).seen
    assert [tag for tag, _ in tags].count("svg") == 1 + 2 * 3 + 1
    assert all(attributes.get("aria-label") for tag, attributes in tags if tag == "svg")
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in tags}
    assert "http" not in page
    assert "url(" not in page
    assert "nan" not in re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    assert "folder" not in page
    assert "prefers-color-scheme: dark" in page


def test_nothing_of_the_input_becomes_markup() -> None:
    page = to_html(made(EVIL))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    Checker(page)


def test_page_without_intervals() -> None:
    page = to_html(made(draws=0))
    Checker(page)
    assert "whisker" not in page.split("</style>")[1]


def test_plots_are_sound_and_within_their_box() -> None:
    figure = Estimate(value=0.8, low=-3, high=9)
    plot = forest_plot(
        [("a & b" * 20, figure, False), ("c", Estimate(value=math.nan), True)],
        title="<plot>",
        low=0.5,
        high=1,
        reference=0.5,
    )
    root = ElementTree.fromstring(plot)
    assert root.get("aria-label") == "<plot>"
    width = float(root.get("width", 0))
    for element in root:
        for key in ("x", "x1", "x2", "cx"):
            assert 0 <= float(element.get(key, 0)) <= width
    assert len(root.findall("circle")) == 1
    curve = curve_plot([(0, 0), (0, 1), (1, 1)], title="t", across="x", up="y", mark=(math.nan, 1))
    assert ElementTree.fromstring(curve).find("circle") is None


def test_p() -> None:
    assert [format_p(p) for p in (0.0312, 0.0004, 1.0, math.nan)] == [
        "0.031",
        "<0.001",
        "1.000",
        "-",
    ]


def test_a_browser_shows_it(tmp_path: Path) -> None:
    """Chromium lays the page out; a picture of it is no blank."""
    from PIL import Image

    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if browser is None:
        pytest.skip("no chromium here to look at the page with")
    (tmp_path / "page.html").write_text(to_html(made()), encoding="utf-8")
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1300,1400",
         f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={tmp_path / 'page.png'}",
         (tmp_path / "page.html").as_uri()],
        capture_output=True, timeout=120, check=False, env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    if not (tmp_path / "page.png").exists():
        pytest.skip(f"chromium does not start here: {done.stderr[-200:]!r}")
    picture = np.asarray(Image.open(tmp_path / "page.png").convert("RGB")).astype(int)
    colours = np.unique(picture.reshape(-1, 3), axis=0)
    assert len(colours) > 50
    # The plots' blue, and the mean's orange.
    assert (np.abs(colours - [0x0B, 0x63, 0xB5]).sum(axis=1) < 12).any()
    assert (np.abs(colours - [0xB3, 0x47, 0x0E]).sum(axis=1) < 12).any()
