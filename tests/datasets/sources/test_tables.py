"""CSV tables about a cohort, and the files below a folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from drr.datasets.privacy.identifying import identifying
from drr.datasets.sources.tables import parse_age, parse_sex, read_table
from drr.datasets.sources.walk import walk
from drr.datasets.study import CohortError, Problem


def table(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    return path


def test_rows_are_counted_as_a_spreadsheet_does(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbfname, text\r\na,"one\r\ntwo"\r\n\r\nb,three\r\nc\r\n'
    found = read_table(table(tmp_path, content), name="metadata/table.csv")
    assert found.columns == ("name", "text")
    rows = list(found)
    assert [row.place for row in rows] == [f"metadata/table.csv, row {n}" for n in (2, 4, 5)]
    assert rows[0].values == {"name": "a", "text": "one\r\ntwo"}
    assert [row.problem for row in rows[:2]] == ["", ""]
    assert "1 fields, the header 2" in rows[2].problem
    found.require(("name",))
    with pytest.raises(CohortError, match="has no column 'label'; its columns are 'name', 'text'"):
        found.require(("label",))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"a,b\ngr\xf6sser,1\n", "line 2 is not UTF-8 .byte 0xf6."),
        ("a,b\n".encode("utf-16"), "is UTF-16"),
        (b"a,b\n\0,1\n", "zero byte in line 2"),
        (b"a;b\n1;2\n", "not separated by commas"),
        (b"a\tb\n", "not separated by commas"),
        (b"a,a\n1,2\n", "has the column 'a' twice"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(CohortError, match=words):
        read_table(table(tmp_path, content))


def test_tables_of_very_many_columns(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    path.write_text(",".join(f"c{i}" for i in range(300_000)) + "\n")
    with pytest.raises(CohortError, match=r"wide\.csv: has 300000 columns; at most 10000"):
        read_table(path)


def test_a_missing_table(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"none\.csv: cannot be read"):
        read_table(tmp_path / "none.csv")


def test_identifying_columns() -> None:
    yes = ("PatientName", "Patient ID", "patients_birth_date", "StudyDate", "SOPInstanceUID", "MRN")
    no = ("PatientSex", "PatientAge", "Manufacturer", "ConvolutionKernel", "ZSpacing", "Rows")
    assert all(map(identifying, yes))
    assert not any(map(identifying, no))


def test_ages_and_sexes() -> None:
    assert parse_age("036Y") == 36
    assert parse_age("018M") == 1.5
    assert parse_age("61.5") == 61.5
    assert [parse_age(text) for text in ("", "old", "200Y")] == [None] * 3
    assert [parse_sex(text) for text in ("female", "M", " o ", "?")] == ["F", "M", "O", None]


def test_files_in_order_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b/2", "b/1", "a", ".hidden/x", "c/.DS_Store"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    problems: list[Problem] = []
    assert list(walk(tmp_path, problems)) == [("", "a"), ("b", "1"), ("b", "2")]
    assert list(walk(tmp_path, problems, below="b")) == [("b", "1"), ("b", "2")]
    assert not problems
    with pytest.raises(CohortError, match="cannot be read"):
        list(walk(tmp_path, problems, below="none"))


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_links_are_followed_once(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "ct").write_text("")
    (tmp_path / "again").symlink_to("real")
    (tmp_path / "real" / "loop").symlink_to(tmp_path)
    (tmp_path / "dead").symlink_to("nothing")
    os.mkfifo(tmp_path / "pipe")
    problems: list[Problem] = []
    found = list(walk(tmp_path, problems))
    assert found == [("again", "ct"), ("real", "ct")]
    assert [problem.name for problem in problems] == ["dead", "again/loop", "real/loop"]
    assert "leads nowhere" in problems[0].reason
    assert "a link back" in problems[1].reason
