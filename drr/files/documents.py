"""JSON and YAML documents, read within limits: whoever wrote them may have made mistakes."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drr.errors import DocumentError, printable

if TYPE_CHECKING:
    import yaml

__all__ = [
    "MAX_BYTES",
    "check_keys",
    "kind_of",
    "parse_json",
    "parse_yaml",
    "read_json",
    "read_limited",
    "read_yaml",
]

MAX_BYTES = 16 << 20
"""Size of a document that is read at most: records take a few kilobytes."""

PIECE = 1 << 20
"""Bytes that are read at a time."""

MAX_YAML_BYTES = 1 << 18
"""Size of a YAML document at most; people write them, and parsing takes seconds a megabyte."""

MAX_KEYS = 10_000
"""Keys of one mapping, unless the reader of a kind of document expects more."""

MAX_NODES = 100_000
"""Values of a YAML document, each alias counted as what it stands for."""

MAX_DEPTH = 100
"""Mappings and lists within each other."""

MAX_INTEGER = 1 << 128
"""Above the entropy of NumPy's seeds, the largest whole numbers that documents need."""


def read_json(path: Path, *, most: int = MAX_BYTES, keys: int = MAX_KEYS) -> Any:
    """The value of a JSON file in UTF-8.

    Raises
    ------
    DocumentError
        As `parse_json`, and where the file has more than `most` bytes; the file is not named.
    OSError
        Where the file cannot be opened or read.
    """
    return parse_json(read_limited(path, most=most), keys=keys)


def read_yaml(path: Path, *, most: int = MAX_YAML_BYTES) -> Any:
    """The value of a YAML file in UTF-8; errors as `read_json`."""
    return parse_yaml(read_limited(path, most=most))


def read_limited(path: Path, *, most: int = MAX_BYTES) -> bytes:
    """The bytes of a file, counted while reading: devices and pipes have no size to ask for.

    Raises
    ------
    DocumentError
        For more than `most` bytes.
    OSError
        Where the file cannot be opened or read.
    """
    content = bytearray()
    with path.open("rb") as file:
        # In pieces: a single read would reserve the whole limit, however small the file.
        while len(content) <= most and (piece := file.read(min(PIECE, most + 1 - len(content)))):
            content += piece
    if len(content) > most:
        size = f"{most >> 20} MiB" if most >= 1 << 20 else f"{most >> 10} KiB"
        raise DocumentError(f"has more than {size}; is it the right file?")
    return bytes(content)


def parse_json(content: str | bytes, *, keys: int = MAX_KEYS) -> Any:
    """The value of a JSON document.

    Raises
    ------
    DocumentError
        For text that is not JSON (NaN and Infinity are not), a key that occurs twice, a mapping
        of more than `keys` keys, a number that no float or 128-bit integer holds, text that UTF-8
        cannot hold, and mappings or lists nested deeper than `MAX_DEPTH`.
    """
    try:
        value = json.loads(
            _decoded(content),
            object_pairs_hook=functools.partial(_unique_keys, most=keys),
            parse_constant=_no_constant,
            parse_int=_integer,
            parse_float=_finite,
        )
    except RecursionError:
        raise DocumentError("is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise DocumentError(f"is not JSON: {printable(error, most=200)}") from None
    _check_values(value)
    return value


def parse_yaml(content: str | bytes) -> Any:
    """The value of a YAML document of plain values: safe tags only, limits as `parse_json`.

    Raises
    ------
    DocumentError
        As `parse_json`, and for aliases that expand to more than `MAX_NODES` values.
    """
    import yaml

    try:
        loader = yaml.SafeLoader(_decoded(content))
        node = loader.get_single_node()
        if node is None:
            return None
        _count_nodes(node, {}, 0)
        value = loader.construct_document(node)
        _check_values(value)
    except RecursionError:
        raise DocumentError("is nested too deeply") from None
    except (yaml.YAMLError, ValueError, ArithmeticError, TypeError, LookupError,
            AttributeError) as error:  # fmt: skip
        if isinstance(error, DocumentError):
            raise
        # PyYAML's constructors let errors of int(), datetime() and their kind through.
        raise DocumentError(
            f"is not YAML: {printable(' '.join(str(error).split()), most=200)}"
        ) from None
    return value


_NAMES = {
    dict: "an object",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    type(None): "null",
}


def check_keys(
    values: Any,
    expected: Mapping[str, Any],
    *,
    optional: Mapping[str, Any] | None = None,
    prefix: str = "",
) -> None:
    """Refuse what is no mapping, unknown and missing keys, and values of another kind.

    Parameters
    ----------
    values
        What a document holds.
    expected, optional
        Type of each value, or several; `float` takes whole numbers, too, and `int` no booleans.
    prefix
        Put before the keys in messages.

    Raises
    ------
    DocumentError
        By the key.
    """
    if not isinstance(values, dict):
        raise DocumentError(f"{prefix.rstrip('.') or 'it'} is {kind_of(values)}, not an object")
    allowed = {**expected, **(optional or {})}
    for key in values:
        if key not in allowed:
            raise DocumentError(
                f"unknown key {printable(prefix + str(key), most=60)!r}; remove it, or use the "
                "release that wrote it"
            )
    for key in expected:
        if key not in values:
            raise DocumentError(f"the key {prefix + key!r} is missing")
    for key, value in values.items():
        kinds = allowed[key] if isinstance(allowed[key], tuple) else (allowed[key],)
        # JSON's true is a Python int, and JSON writes 1.0 also as 1.
        taken = (*kinds, int) if float in kinds else kinds
        wrong_bool = isinstance(value, bool) and bool not in kinds
        if wrong_bool or not isinstance(value, taken):
            wanted = " or ".join(_NAMES[kind] for kind in kinds)
            raise DocumentError(f"{prefix + key!r} must be {wanted}, not {kind_of(value)}")


def kind_of(value: Any) -> str:
    """What a value of a document is, in words."""
    return _NAMES.get(type(value), type(value).__name__)


def _decoded(content: str | bytes) -> str:
    if isinstance(content, str):
        return content
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentError(f"is not text in UTF-8 (byte {error.start})") from None


def _unique_keys(pairs: list[tuple[str, Any]], *, most: int) -> dict[str, Any]:
    _check_different([key for key, _ in pairs], most)
    return dict(pairs)


def _check_different(keys: list[str], most: int = MAX_KEYS) -> None:
    if len(keys) > most:
        raise DocumentError(f"has a mapping of {len(keys)} keys; at most {most} are read")
    seen = set()
    for key in keys:
        if key in seen:
            raise DocumentError(f"the key {printable(key, most=60)!r} occurs twice")
        seen.add(key)


def _no_constant(name: str) -> Any:
    raise DocumentError(f"{name} is not a JSON number")


def _integer(text: str) -> int:
    # Checked by length first: converting long decimals takes time quadratic in their length.
    if len(text) > 40 or abs(int(text)) > MAX_INTEGER:
        raise DocumentError(f"the number {printable(text, most=30)} has too many digits")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise DocumentError(f"the number {printable(text, most=30)} is too large")
    return value


def _check_values(value: Any, depth: int = 0) -> None:
    """Refuse what is nested too deeply, numbers beyond the limits, and text that is not Unicode."""
    if depth > MAX_DEPTH:
        raise DocumentError("is nested too deeply")
    if isinstance(value, dict):
        for part in (*value, *value.values()):
            _check_values(part, depth + 1)
    elif isinstance(value, list):
        for part in value:
            _check_values(part, depth + 1)
    elif isinstance(value, str):
        # JSON can spell half a surrogate pair, which nothing can write again.
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise DocumentError(f"the text {printable(value, most=60)!r} is not Unicode")
    elif isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise DocumentError("a number has too many digits")
    elif isinstance(value, float) and not math.isfinite(value):
        raise DocumentError(f"{value} is not a finite number")


def _count_nodes(node: yaml.Node, known: dict[int, int | None], depth: int) -> int:
    """Values below a node with aliases expanded; each node is visited once."""
    import yaml

    if depth > MAX_DEPTH:
        raise DocumentError("is nested too deeply")
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) in known:
        count = known[id(node)]
        if count is None:
            raise DocumentError("has an alias that contains itself")
        return count
    known[id(node)] = None
    children: list[yaml.Node] = list(node.value)
    if isinstance(node, yaml.MappingNode):
        _check_different([key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)])
        children = [part for pair in node.value for part in pair]
    count = 1 + sum(_count_nodes(child, known, depth + 1) for child in children)
    if count > MAX_NODES:
        raise DocumentError(f"has more than {MAX_NODES} values, aliases expanded")
    known[id(node)] = count
    return count
