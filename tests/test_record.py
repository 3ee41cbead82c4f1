"""Records come back exactly, and anything else is refused by name."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from drr.display.window import Window
from drr.errors import ReadError
from drr.geometry.geometry import Geometry
from drr.randomise.policy import Draw
from drr.record import build_record, dump_record, load_record

WINDOW = Window(center=3.3, width=5.1, curve="sigmoid", invert=True)
GEOMETRY = Geometry(
    source=(0.1, 1650.0, 1 / 3),
    detector_center=(0.1, -math.pi * 50, 1 / 3),
    u=(0.42, 0.0, 0.0),
    v=(0.0, 0.0, -0.42),
    shape=(6, 9),
    view_position="PA",
)
PROJECTION = {
    "drr": "0.1.0",
    "input": {"sha256": "ab" * 32, "shape": [40, 50, 60], "spacing": [0.7, 0.7, 2.5]},
    "look": "film",
    "view": {"name": "pa"},
    "recipe": None,
    "attenuation": {"name": "water"},
    "detector": None,
    "seed": 7,
    "cleanup": None,
    "extension": {"superior_mm": 35.0, "inferior_mm": 0.0, "sides": False},
    "method": "shear-warp",
    "backend": "cpu",
    "anti_aliasing": True,
    "cpu": "generic",
}
DRAW = Draw(seed=3, index=5, gamma=1.1, bone=1.5)
OUTPUT = {
    "format": "png",
    "quantity": "picture",
    "dtype": "uint8",
    "bits": 8,
    "rows": 6,
    "columns": 9,
    "mark": False,
    "columns_reversed": False,
}


def record(**options: Any) -> dict[str, Any]:
    projection: Any = SimpleNamespace(
        record=PROJECTION,
        geometry=GEOMETRY,
        thickness=np.zeros((2, 6, 9), np.float32),
        labels=(5, 11),
        identifiers={"PatientID": "MRN-4711"},
        display=WINDOW,
        draw=DRAW,
    )
    return build_record(projection, output=OUTPUT, **options)


def save(folder: Path, content: Any) -> Path:
    path = folder / "a.png.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def test_everything_comes_back_exactly(tmp_path: Path) -> None:
    back = load_record(save(tmp_path, dump_record(record())))
    assert back.geometry == GEOMETRY
    assert back.display == WINDOW
    assert back.draw == DRAW
    assert back.projection == PROJECTION
    assert back.output == OUTPUT
    assert back.labels == (5, 11)
    assert back.identifiers == {}


def test_a_parallel_beam_and_line_integrals_come_back(tmp_path: Path) -> None:
    content = record()
    parallel = Geometry(
        direction=(0.6, -0.8, 0.0),
        detector_center=(0, 0, 0),
        u=(1, 0, 0),
        v=(0, 0, -1),
        shape=(2, 2),
    )
    content |= {"geometry": parallel.to_dict(), "geometry_repr": repr(parallel)}
    content |= {"display": None, "thickness": None}
    back = load_record(save(tmp_path, content))
    assert back.geometry == parallel
    assert back.display is None
    assert back.labels == ()


def test_identifiers_only_on_request(tmp_path: Path) -> None:
    assert "MRN" not in dump_record(record())
    back = load_record(save(tmp_path, record(keep_identifiers=True)))
    assert back.identifiers == {"PatientID": "MRN-4711"}


def test_text_is_ascii_and_says_what_it_is_for() -> None:
    content = record()
    content["projection"] = PROJECTION | {"view": {"name": "übersicht"}}
    text = dump_record(content)
    assert text.isascii()
    assert "Not for diagnosis" in text
    with pytest.raises(ValueError, match="JSON"):
        dump_record({"a": math.nan})


KEYS = [
    *((key,) for key in record()),
    *(("projection", key) for key in PROJECTION),
    *(("projection", "input", key) for key in ("sha256", "shape", "spacing")),
    *(("output", key) for key in OUTPUT),
    *(("thickness", key) for key in ("labels", "unit")),
]


@pytest.mark.parametrize("keys", KEYS, ids=".".join)
def test_a_missing_key_is_named(tmp_path: Path, keys: tuple[str, ...]) -> None:
    content = json.loads(dump_record(record()))
    del inside(content, keys[:-1])[keys[-1]]
    with pytest.raises(ReadError, match=rf"a\.png\.json.*{keys[-1]}"):
        load_record(save(tmp_path, content))


@pytest.mark.parametrize("keys", sorted({k[:-1] for k in KEYS}), ids=".".join)
def test_an_unknown_key_is_named(tmp_path: Path, keys: tuple[str, ...]) -> None:
    content = json.loads(dump_record(record()))
    inside(content, keys)["colour"] = 1
    name = ".".join([*keys, "colour"])
    with pytest.raises(ReadError, match=rf"a\.png\.json: unknown key '{name}'"):
        load_record(save(tmp_path, content))


@pytest.mark.parametrize("keys", KEYS, ids=".".join)
def test_a_value_of_the_wrong_kind_is_named(tmp_path: Path, keys: tuple[str, ...]) -> None:
    content = json.loads(dump_record(record()))
    inside(content, keys[:-1])[keys[-1]] = 1.5
    with pytest.raises(ReadError, match=keys[-1]):
        load_record(save(tmp_path, content))


@pytest.mark.parametrize("section", ["geometry", "display"])
def test_unknown_keys_of_geometry_and_display_are_named(tmp_path: Path, section: str) -> None:
    content = record()
    content[section] = {**content[section], "colour": 1}
    with pytest.raises(ReadError, match=r"a\.png\.json: its .* cannot be used.*colour"):
        load_record(save(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not a JSON record"),
        ("{", "is not a JSON record"),
        ("[1]", "holds a list, not a record"),
        ('{"a": NaN}', "NaN is not a JSON number"),
        ('{"a": 1, "a": 2}', "'a' occurs twice"),
        ("{}", "no record_version"),
        ('{"record_version": 1}', "record_version 1, but this release reads version 2"),
        ("[" * 100_000, "is not a JSON record"),
        ("\0\0", "is not a JSON record"),
    ],
    ids=["empty", "cut", "list", "nan", "twice", "none", "version", "deep", "binary"],
)
def test_other_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(ReadError, match=message):
        load_record(save(tmp_path, content))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"\xff\xfe\x00\x81\x8d")
    with pytest.raises(ReadError, match="is not a JSON record"):
        load_record(path)


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ReadError, match="has more than 4 MiB"):
        load_record(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"none\.json: cannot be read"):
        load_record(tmp_path / "none.json")
    with pytest.raises(ReadError, match="cannot be read"):
        load_record(tmp_path)


def test_an_edited_geometry_is_noticed(tmp_path: Path) -> None:
    content = record()
    content["geometry"] = content["geometry"] | {"u": [0.5, 0.0, 0.0]}
    with pytest.raises(ReadError, match="geometry_repr differ"):
        load_record(save(tmp_path, content))


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("geometry", "u"), [[1], 2, 3]),
        (("geometry", "u"), [10**30, 0, 0]),
        (("geometry", "shape"), [[1, 2], 3]),
        (("geometry", "shape"), 5),
        (("geometry", "source"), "far"),
        (("display", "kind"), ["window"]),
        (("display", "kind"), {}),
        (("display", "center"), [1, [2]]),
        (("display", "invert"), []),
    ],
)
def test_values_of_any_kind_inside_are_refused(
    tmp_path: Path, keys: tuple[str, ...], value: object
) -> None:
    content = json.loads(dump_record(record()))
    inside(content, keys[:-1])[keys[-1]] = value
    with pytest.raises(ReadError, match=rf"a\.png\.json: its {keys[0]}"):
        load_record(save(tmp_path, content))


@pytest.mark.parametrize("text", ["1" * 400, "-" + "9" * 50, "1e400"])
def test_numbers_of_too_many_digits_are_refused(tmp_path: Path, text: str) -> None:
    content = json.loads(dump_record(record()))
    content["projection"]["seed"] = "here"
    damaged = json.dumps(content).replace('"here"', text)
    with pytest.raises(ReadError, match="is not a JSON record"):
        load_record(save(tmp_path, damaged))


def test_very_many_keys_are_refused_at_once(tmp_path: Path) -> None:
    many = ", ".join(f'"{i}": 0' for i in range(330_000))
    with pytest.raises(ReadError, match="330001 keys"):
        load_record(save(tmp_path, f'{{{many}, "7": 1}}'))


def test_labels_must_be_whole_numbers(tmp_path: Path) -> None:
    content = record()
    content["thickness"] = {"labels": ["lung"], "unit": "mm"}
    with pytest.raises(ReadError, match="labels"):
        load_record(save(tmp_path, content))


def inside(content: dict[str, Any], keys: tuple[str, ...]) -> Any:
    for key in keys:
        content = content[key]
    return content
