"""JSON and YAML within limits: what is right is read, what is not is refused, nothing hangs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from drr.errors import DocumentError, DRRError
from drr.files.documents import (
    MAX_DEPTH,
    MAX_INTEGER,
    MAX_KEYS,
    MAX_NODES,
    parse_json,
    parse_yaml,
    read_json,
    read_limited,
    read_yaml,
)

VALUES = {
    "text": "Größe 胸",
    "list": [1, -2, 0.5, True, None, []],
    "empty": {},
    "seed": 2**64 + 1,
    "least": -MAX_INTEGER,
    "nested": {"a": {"b": ["c"]}},
}


@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_json_is_read_as_it_is(start: str) -> None:
    for ascii_only in (True, False):
        content = start + json.dumps(VALUES, ensure_ascii=ascii_only)
        assert parse_json(content.encode()) == VALUES
    assert parse_json("3") == 3


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"{'a': 1}", "is not JSON"),
        (b"[1] [2]", "is not JSON"),
        (b"\xff\xfe", "not text in UTF-8 .byte 0"),
        (b'{"a": "\xe4"}', "not text in UTF-8 .byte 7"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' occurs twice"),
        (b"[NaN]", "NaN is not a JSON number"),
        (b"[-Infinity]", "-Infinity is not a JSON number"),
        (b"[1e999]", "1e999 is too large"),
        (b"[-1e999]", "-1e999 is too large"),
        (b"1" * 400, "too many digits"),
        (b"[%d]" % (MAX_INTEGER + 1), "too many digits"),
        (b"-" + b"9" * 10**6, "too many digits"),
        (b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2), "nested too deeply"),
        (b"[" * 10**6, "nested too deeply|is not JSON"),
        (b'{"a":' * 10**5 + b"1" + b"}" * 10**5, "nested too deeply"),
        (rb'["\ud800"]', "is not Unicode"),
        (rb'{"\udfff\ud800": 1}', "is not Unicode"),
    ],
)
def test_json_that_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(DocumentError, match=words) as info:
        parse_json(content)
    assert isinstance(info.value, DRRError)
    assert isinstance(info.value, ValueError)
    assert "\n" not in str(info.value)


def test_keys_are_counted() -> None:
    content = json.dumps({str(i): i for i in range(MAX_KEYS + 1)})
    with pytest.raises(DocumentError, match=f"{MAX_KEYS + 1} keys; at most {MAX_KEYS}"):
        parse_json(content)
    assert len(parse_json(content, keys=MAX_KEYS + 1)) == MAX_KEYS + 1
    # Of 330,000 keys one is there twice: that was looked for in time quadratic in their number.
    many = ", ".join(f'"{i}": 0' for i in range(330_000))
    with pytest.raises(DocumentError, match="the key '7' occurs twice"):
        parse_json(f'{{{many}, "7": 1}}', keys=10**6)


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert parse_json(rb'"\ud83d\ude00"') == "\U0001f600"


def test_yaml_is_read_as_it_is() -> None:
    content = """
    look: film
    view: [pa, ll]
    pixels: 512
    window: &w [5.0, 10]
    again: *w
    merged: {<<: {a: 1}, b: 2}
    """
    assert parse_yaml(content) == {
        "look": "film",
        "view": ["pa", "ll"],
        "pixels": 512,
        "window": [5.0, 10],
        "again": [5.0, 10],
        "merged": {"a": 1, "b": 2},
    }
    assert parse_yaml("") is None
    assert parse_yaml(b"\xef\xbb\xbfa: \xc3\xa4") == {"a": "ä"}
    # Ten aliases of ten values are a hundred values and no more.
    assert len(parse_yaml("a: &a [1,2,3,4,5,6,7,8,9,0]\nb: [" + "*a," * 10 + "]")["b"]) == 10


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(levels):
        lines.append(f"a{level + 1}: &a{level + 1} [{', '.join([f'*a{level}'] * 10)}]")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: [1", "is not YAML"),
        ("a: b: c", "is not YAML"),
        ("a: 1\n--- \nb: 2", "is not YAML"),
        ("a: !!python/object/apply:os.system [true]", "is not YAML"),
        ("a: !!timestamp 2020-99-99", "is not YAML"),
        ("a: 2020-13-45", "is not YAML"),
        ("a: !!int x", "is not YAML"),
        ("a: !!float ''", "is not YAML"),
        ("a: !!int ''", "is not YAML"),
        ("a: !!bool maybe", "is not YAML"),
        ("a: !!binary ä", "is not YAML"),
        ("? [a]\n: 1", "is not YAML"),
        ("a: *b", "is not YAML"),
        ("a: 1\na: 2", "the key 'a' occurs twice"),
        ("a: {b: 1, b: 2}", "the key 'b' occurs twice"),
        ("a: &a [*a]", "contains itself"),
        ("a: " + "9" * 400, "too many digits"),
        ("a: " + "9" * 5000, "is not YAML|too many digits"),
        ("a: .inf", "is not a finite number"),
        ("a: [1, .nan]", "is not a finite number"),
        ("a: 1.0e+999", "is not a finite number"),
        ("[" * 50_000, "nested too deeply"),
        ("- " * 20_000, "nested too deeply|is not YAML"),
        (bomb(6), f"more than {MAX_NODES} values"),
        (bomb(30), f"more than {MAX_NODES} values"),
        ("b0: &b0 {a: 1}\n" + "\n".join(
            f"b{i + 1}: &b{i + 1} {{<<: [*b{i}, *b{i}]}}" for i in range(40)),
         f"more than {MAX_NODES} values"),
        (b"\xff", "not text in UTF-8"),
        ("a\x00b", "is not YAML"),
    ],
)  # fmt: skip
def test_yaml_that_is_refused(content: str | bytes, words: str) -> None:
    with pytest.raises(DocumentError, match=words) as info:
        parse_yaml(content)
    assert "\n" not in str(info.value)
    assert len(str(info.value)) < 300


def test_yaml_of_very_many_keys_is_refused() -> None:
    with pytest.raises(DocumentError, match=f"at most {MAX_KEYS}"):
        parse_yaml("\n".join(f"k{i}:" for i in range(MAX_KEYS + 1)))


def test_files_are_read_up_to_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"[1234]".ljust(1024))
    assert len(read_limited(path, most=1024)) == 1024
    assert read_json(path) == read_yaml(path) == [1234]
    path.write_bytes(b"[1234]".ljust(1025))
    with pytest.raises(DocumentError, match="has more than 1 KiB; is it the right file"):
        read_limited(path, most=1024)
    path.write_bytes(b" " * (3 << 20))
    with pytest.raises(DocumentError, match="more than 2 MiB"):
        read_json(path, most=2 << 20)
    with pytest.raises(DocumentError, match="more than 256 KiB"):
        read_yaml(path)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none.json")
    with pytest.raises(IsADirectoryError):
        read_json(tmp_path)
    endless = Path("/dev/zero")
    if endless.exists():
        with pytest.raises(DocumentError, match="more than 16 MiB"):
            read_json(endless)
