"""Names that are file names on any system, and paths that this one has."""

from __future__ import annotations

import sys

import pytest

from drr.datasets.names import (
    CohortError,
    check_name,
    check_place,
    folded,
    sample_from_path,
    stand_in,
)


@pytest.mark.parametrize(
    "name",
    [
        *("con", "NUL", "Aux.png", "com1", "LPT9.nii.gz", "CON .x", "COM²", "conin$"),
        *("a\u202eb", "a\u2066b", "a\u200fb", "a\x9bb", "a\u2028b", "..", "a/b", "a\\b", "a\0b"),
    ],
)
def test_names_that_are_no_file_somewhere(name: str) -> None:
    with pytest.raises(CohortError):
        check_name("sample", name)


@pytest.mark.parametrize(
    "name", ["console", "com", "com10", "nul_1", "Größe", "a.con", "山田", "=1"]
)
def test_names_that_are(name: str) -> None:
    check_name("sample", name)


@pytest.mark.parametrize(
    "path",
    [
        "con.nii.gz",
        "a\u202eb.nii",
        "aux/ct.nii",
        "- ct.nii",
        " .nii",
        "nul",
        "x\u2028y.mha",
        "...nii",
    ],
)
def test_samples_of_paths_are_names(path: str) -> None:
    check_name("sample", sample_from_path(stand_in(path)))


def test_one_file_on_some_system() -> None:
    assert folded("Müller") == folded("mu\u0308LLER") == folded("MÜLLER")
    assert folded("straße") == folded("STRASSE")
    assert folded("a") != folded("b")


@pytest.mark.skipif(sys.platform == "win32", reason="files cannot be called so there")
def test_places_are_any_files_of_the_system() -> None:
    for path in ("a:b.nii", "C:x", "a\\b.nii", "tab\t", "line\nfeed", "\udcff", ".", "...", "a/b"):
        assert check_place(path) == path
        check_name("sample", sample_from_path(stand_in(path if path != "." else "ct")))
    for path in ("", "/etc/passwd", "../x", "a/../../x", "a\0b"):
        with pytest.raises(CohortError):
            check_place(path)
