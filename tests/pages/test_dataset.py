"""The page about a data set: its tables, other people's text in it, and a real browser."""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from tiny_cohort import write_cohort

from drr.cli import main
from drr.datasets.build.build import build
from drr.datasets.build.plan import Configuration, Plan
from drr.datasets.schema import DatasetError, text_dtype
from drr.datasets.sources.ctrate import find_ct_rate
from drr.errors import WriteError
from drr.geometry.views import parse_view
from drr.pages.dataset import report_page, write_report
from drr.pages.images import choose_rows

EVIL = [
    "</script><script>window.hit = 1</script>",
    '"><img src=x onerror="window.hit = 2">',
    "<!--<script>",
    "{{details}}{{body}}",
    "</dialog></body>\u2028\u202e&lt;b&gt; 'quoted'",
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = write_cohort(tmp_path_factory.mktemp("cohort"), 6, bad=(1,))
    views = tuple(parse_view(view, shape=(40, 40)) for view in ("pa", "ll"))
    plan = Plan(cohort=find_ct_rate(source), configuration=Configuration(views=views))
    return build(plan, tmp_path_factory.mktemp("built") / "out.h5", workers=1).path


@pytest.fixture(scope="module")
def hostile(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with markup in every text."""
    path = tmp_path_factory.mktemp("hostile") / "a<b>&.h5"
    shutil.copy(built, path)
    with h5py.File(path, "a") as file:
        texts: list[str] = []
        file.visit(texts.append)
        for name in texts:
            if isinstance(file[name], h5py.Dataset) and file[name].dtype.kind == "O":
                count = len(file[name])
                values = [f"{i} {EVIL[i % len(EVIL)]}" for i in range(count)]
                if name not in ("samples/sex", "samples/split"):
                    file[name][...] = np.array(values, object)
        for name in ("licence", "attribution", "source_found", "configuration"):
            file.attrs[name] = EVIL[0]
        del file["notes"]
        file.create_dataset("notes", data=np.array(EVIL, object), dtype=text_dtype())
        file.move("views/ll", 'views/"><script>window.hit = 3<')
    return path


class Tags(HTMLParser):
    """Elements and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def tags(page: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(page)
    return parser.tags


def text_of(page: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "\n", page))


def test_counts_labels_and_failures_are_those_of_the_file(built: Path) -> None:
    page = report_page(built)
    assert "<b>5</b><span>samples</span>" in page
    assert "<b>1</b><span>failures</span>" in page
    with h5py.File(built) as file:
        reason = file["failures/reason"].asstr()[0]
        codes = file["samples/labels"][...]
        labels = file["label_names"].asstr()[...]
        distance = np.linalg.norm(file["views/pa/detector_center"][0] - file["views/pa/source"][0])
    assert reason in text_of(page)
    for column, label in enumerate(labels):
        row = re.search(rf'<tr><th scope="row">{re.escape(label)}</th>(.*?)</tr>', page)
        assert row is not None
        counts = re.findall(r">([\d,]+)</td>", row[1])[:4]
        found = [np.count_nonzero(codes[:, column] == code) for code in (1, 0, -1, -128)]
        assert counts == [str(n) for n in found]
    grid = re.search(r'<table class="grid">.*?<tbody>(.*?)</tbody>', page, re.DOTALL)
    assert grid is not None
    cells = np.array(re.findall(r">(\d+)</td>", grid[1]), int).reshape(18, 18)
    present = (codes == 1).astype(int)
    assert np.array_equal(cells, present.T @ present)
    assert f">{distance:.0f}</td>" in page


def test_pages_are_the_same_and_load_nothing(built: Path) -> None:
    page = report_page(built)
    assert page == report_page(built)
    for tag, attributes in tags(page):
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href"):
                assert (value or "").startswith(("data:image/jpeg;base64,", "#"))
    assert "http://" not in page
    assert "default-src 'none'" in page


def test_markup_in_texts_stays_text(built: Path, hostile: Path) -> None:
    plain = [tag for tag, _ in tags(report_page(built))]
    evil = [tag for tag, _ in tags(report_page(hostile))]
    assert evil.count("script") == plain.count("script") == 2
    assert evil.count("img") == plain.count("img")
    assert EVIL[0] in text_of(report_page(hostile))


def test_pictures_are_bounded(built: Path) -> None:
    page = report_page(built, samples=2, pixels=16)
    assert page.count('class="thumb"') == 4
    assert "2 of 5 samples" in page
    assert len(page) < len(report_page(built))
    assert 'class="thumb"' not in report_page(built, samples=0)
    assert choose_rows(50_000, 3) == [0, 25000, 49999]
    assert choose_rows(1, 5) == [0]
    assert choose_rows(0, 5) == []


def test_line_integrals_are_shown_where_there_are_no_pictures(built: Path, tmp_path: Path) -> None:
    path = tmp_path / "integrals.h5"
    shutil.copy(built, path)
    with h5py.File(path, "a") as file:
        del file["views/pa/picture"]
    assert "View pa (line integrals from 0 to 10)" in report_page(path)


def test_data_sets_without_labels_splits_or_samples(built: Path, tmp_path: Path) -> None:
    path = tmp_path / "bare.h5"
    shutil.copy(built, path)
    with h5py.File(path, "a") as file:
        file["samples/split"][...] = np.array([""] * 5, object)
        for name in ("label_names", "samples/labels"):
            del file[name]
        file.create_dataset("label_names", shape=(0,), dtype=text_dtype())
        file["samples/labels"] = np.zeros((5, 0), np.int8)
    page = report_page(path)
    assert "The data set has no labels." in page
    assert "(none)" in page


def test_damage_and_bad_options_are_named(built: Path, tmp_path: Path) -> None:
    path = tmp_path / "damaged.h5"
    shutil.copy(built, path)
    with h5py.File(path, "a") as file:
        del file["samples/age"]
    with pytest.raises(DatasetError, match=r"damaged.*drr verify"):
        report_page(path)
    for options in ({"samples": -1}, {"pixels": 1}):
        with pytest.raises(DatasetError, match="cannot be shown"):
            report_page(built, **options)
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(DatasetError, match="cannot be opened as HDF5"):
        report_page(tmp_path / "text.h5")
    with pytest.raises(DatasetError, match="is the data set itself"):
        write_report(built, built, force=True)


def test_pages_are_not_replaced_unasked(built: Path, tmp_path: Path) -> None:
    out = write_report(built, tmp_path / "page.html", samples=1)
    with pytest.raises(WriteError, match="exists already"):
        write_report(built, out)
    assert write_report(built, out, samples=0, force=True).stat().st_size > 0
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_command(built: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    done = CliRunner().invoke(main, ["report", str(built), "-o", str(out), "--samples", "1"])
    assert done.exit_code == 0, done.output
    assert done.output == f"{out}\n"
    assert out.read_text("utf-8").startswith("<!doctype html>")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no chromium with chromedriver here; install chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage",
                     "--window-size=1200,900"):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=driver)
    session = webdriver.Chrome(options=options, service=service)
    session.set_network_conditions(offline=True, latency=0, throughput=0)
    yield session
    session.quit()


def show(browser: Any, file: Path, folder: Path) -> None:
    browser.get(write_report(file, folder / "page.html").as_uri())


def test_enlarging_by_keyboard(browser: Any, built: Path, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    show(browser, built, tmp_path)
    thumbs = browser.find_elements(By.CLASS_NAME, "thumb")
    assert len(thumbs) == 10
    dialog = browser.find_element(By.ID, "dialog")
    name = browser.find_element(By.ID, "dialog-name")
    assert not dialog.is_displayed()
    thumbs[0].send_keys(Keys.ENTER)
    assert dialog.is_displayed()
    first = name.text
    with h5py.File(built) as file:
        assert first.startswith(file["samples/name"].asstr()[0])
    width = browser.execute_async_script(
        "const image = document.getElementById('dialog-image'), done = arguments[0];"
        "image.decode().then(() => done(image.naturalWidth), () => done(0))"
    )
    assert width == 40
    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert name.text != first
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not dialog.is_displayed()
    assert browser.switch_to.active_element.get_attribute("data-sample") == "1"
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_filters(browser: Any, built: Path, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select

    show(browser, built, tmp_path)
    with h5py.File(built) as file:
        label = file["label_names"].asstr()[0]
        count = np.count_nonzero(file["samples/labels"][:, 0] == 1)
    Select(browser.find_element(By.ID, "by-label")).select_by_visible_text(label)
    assert browser.find_element(By.ID, "matching").text == f"{count} of 5 samples"
    shown = [t for t in browser.find_elements(By.CLASS_NAME, "thumb") if t.is_displayed()]
    assert len(shown) == 2 * count
    browser.find_element(By.ID, "by-words").send_keys("no such words")
    assert browser.find_element(By.ID, "matching").text == "0 of 5 samples"


def test_hostile_texts_do_nothing(browser: Any, hostile: Path, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By

    show(browser, hostile, tmp_path)
    for thumb in browser.find_elements(By.CLASS_NAME, "thumb"):
        browser.execute_script("arguments[0].click()", thumb)
        assert browser.find_element(By.ID, "dialog-text").text
    text = browser.find_element(By.ID, "dialog-text").text
    assert "4 </dialog></body>" in text
    assert browser.execute_script("return window.hit") is None
    assert len(browser.find_elements(By.TAG_NAME, "script")) == 2
    # The policy refuses what escaping would have let through.
    browser.execute_script(
        "const s = document.createElement('div'); s.innerHTML = "
        "'<img src=x onerror=\"window.hit = 4\">'; document.body.append(s)"
    )
    assert browser.execute_async_script("setTimeout(arguments[0], 200, window.hit)") is None


def test_without_script_everything_but_enlarging_is_there(built: Path) -> None:
    page = re.sub(r"<script.*?</script>", "", report_page(built), flags=re.DOTALL)
    assert page.count('src="data:image/jpeg;base64,') == 10
    assert "Present together" in page
