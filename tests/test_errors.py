"""Messages: one line, nothing in them that acts on a terminal, never too long."""

from __future__ import annotations

import unicodedata

import pytest

from drr.errors import LONGEST_MESSAGE, DRRError, ReadError, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ct.nii: is a picture", "ct.nii: is a picture"),
        ("Größe 3 µm, 胸部, ≤ 5", "Größe 3 µm, 胸部, ≤ 5"),
        ("  around  ", "around"),
        ("one\ntwo\r\n\tthree", "one\\ntwo\\r\\n\\tthree"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("\x00\x7f\x9b", "\\x00\\x7f\\x9b"),
        # A name that is displayed as `exe.gnp` and is not.
        ("\u202epng.exe", "\\u202epng.exe"),
        ("\u2066a\u2069\u200b", "\\u2066a\\u2069\\u200b"),
        ("a\u2028b\u2029c\x85d", "a\\u2028b\\u2029c\\x85d"),
        # As Python keeps the byte 0xff of a name.
        ("ct-\udcff.nii", "ct-\\xff.nii"),
        ("\ud800", "\\ud800"),
        ("\U000e0001\ue000", "\\U000e0001\\ue000"),
        (12.5, "12.5"),
        ("", ""),
    ],
)
def test_printable(text: object, shown: str) -> None:
    assert printable(text) == shown


def test_every_character_is_harmless_or_an_escape() -> None:
    for code in range(0x30000):
        shown = printable(f"a{chr(code)}b")
        if unicodedata.category(chr(code))[0] == "C" or code in (0x2028, 0x2029):
            assert shown.isascii()
            assert shown.isprintable()
            assert shown[1] == "\\"
        else:
            assert shown == f"a{chr(code)}b"


@pytest.mark.parametrize("length", [10, 11, 60, 499, 500])
def test_long_texts_keep_their_ends(length: int) -> None:
    text = "ct.nii: " + "x" * 10**6 + "; copy it again"
    shown = printable(text, most=length)
    assert len(shown) == length
    assert " ... " in shown
    assert text.startswith(shown.split(" ... ")[0])
    assert text.endswith(shown.split(" ... ")[1])
    assert printable("\n" * 10**6 + "a" + "\n" * 10**6 + "b", most=length) != ""
    assert len(printable("a" + "\x00" * 10**6 + "b", most=length)) == length


def test_texts_that_just_fit_are_whole() -> None:
    assert printable("x" * LONGEST_MESSAGE) == "x" * LONGEST_MESSAGE
    assert len(printable("x" * LONGEST_MESSAGE + "x")) == LONGEST_MESSAGE


def test_what_errors_say_is_printable() -> None:
    error = ReadError("evil\x1b]0;name\x07\nsecond line" + "z" * 10**5)
    assert isinstance(error, DRRError)
    assert str(error) == f"{error}" == printable(error.args[0])
    assert "\n" not in str(error)
    assert len(str(error)) == LONGEST_MESSAGE
