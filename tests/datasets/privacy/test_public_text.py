"""What is said of a CT without its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from drr.datasets.privacy.public_text import message_of, public_text, without_names
from drr.datasets.study import Place, Study
from drr.errors import ReadError, printable

PATH = "MUELLER_HANS_1960/1234567/Thorax nativ.nii.gz"


def study(path: str = PATH) -> Study:
    return Study(sample="s1", patient="p1", path="s1", place=Place(path=path))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("{root}/{path}: is empty; copy it again", "s1: is empty; copy it again"),
        ("{path}: 5 of 1234567 bytes", "s1: 5 of s1 bytes"),
        ("Thorax nativ: no CT in 'MUELLER_HANS_1960'", "s1: no CT in 's1'"),
        ("nothing of it, of 12345678 bytes", "nothing of it, of 12345678 bytes"),
        ("{root}: is full", "the source: is full"),
        ("series 1.3.6.1.4.1.14519.5.2 in 1.2.840.10008.1.2.4.90",
         "series (a UID) in 1.2.840.10008.1.2.4.90"),
    ],
)  # fmt: skip
def test_names_give_way(tmp_path: Path, text: str, shown: str) -> None:
    text = text.format(root=tmp_path, path=PATH)
    assert public_text(text, study(), tmp_path) == shown


def test_words_stay_words(tmp_path: Path) -> None:
    text = "ct.nii.gz: the CT has 1 slice, a series is needed in the scan"
    for path in ("ct.nii.gz", "scan/series/1", "a/ct.nii.gz"):
        shown = public_text(text, study(path), tmp_path)
        assert shown.removeprefix("s1").removeprefix("ct.nii.gz") == text.removeprefix("ct.nii.gz")


def test_the_root_goes_from_names_that_are_kept(tmp_path: Path) -> None:
    kept = Study(sample="a", patient="p", path="x/a.nii")
    assert public_text(f"{tmp_path}/x/a.nii: bad", kept, tmp_path) == "x/a.nii: bad"
    # A word that only begins like the root is no path.
    assert public_text("direction of ct", kept, "ct") == "direction of the source"


@pytest.mark.parametrize(
    "name", ["tab\there", "line\nfeed", "back\\slash", "no\udcff text", "Mu\u0308ller"]
)
def test_every_way_to_write_a_name(tmp_path: Path, name: str) -> None:
    path = f"Anna Huber/{name}.nii"
    for text in (path, printable(path), repr(path), ascii(path), f"{name}.nii", printable(name)):
        shown = public_text(f"{text}: is bad", study(path), tmp_path)
        assert shown.replace("'", "") == "s1: is bad"


def test_names_cut_by_a_long_message(tmp_path: Path) -> None:
    path = "/".join(["Wolfgang_Amadeus_Mozart_17560127"] * 30)
    error = ReadError(f"{tmp_path}/{path}: is bad")
    assert "Mozart" not in public_text(message_of(error), study(path), tmp_path)
    inner = ReadError(f"the folder has a problem: {error}")
    shown = public_text(message_of(inner), study(path), tmp_path)
    assert "Mozart" not in shown
    assert "Wolfgang" not in shown


def test_names_of_files_in_folders_and_archives(tmp_path: Path) -> None:
    import zipfile

    (tmp_path / "case" / "in").mkdir(parents=True)
    (tmp_path / "case" / "in" / "HUBER_0001.dcm").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "case.zip", "w") as archive:
        archive.writestr("in/HUBER_0002.dcm", b"")
    assert public_text("HUBER_0001.dcm: bad", study("case"), tmp_path) == "s1: bad"
    assert public_text("in/HUBER_0002.dcm: bad", study("case.zip"), tmp_path) == "s1: bad"


def test_a_text_without_names() -> None:
    assert without_names("all is well", ["", "."], stand_in="x") == "all is well"
