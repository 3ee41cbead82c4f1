"""JSON and YAML documents, read within limits: whoever wrote them may have made mistakes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drr.errors import DocumentError, printable

if TYPE_CHECKING:
    import yaml

__all__ = ["MAX_BYTES", "parse_json", "parse_yaml", "read_json", "read_limited", "read_yaml"]

MAX_BYTES = 16 << 20
"""Size of a document that is read at most: records take a few kilobytes."""

MAX_YAML_BYTES = 1 << 20
"""Size of a YAML document at most; people write them, and parsing is slow."""

MAX_KEYS = 10_000
"""Keys of one mapping."""

MAX_NODES = 100_000
"""Values of a YAML document, each alias counted as what it stands for."""

MAX_DEPTH = 100
"""Mappings and lists within each other."""

MAX_INTEGER = 1 << 128
"""Above the entropy of NumPy's seeds, the largest whole numbers that documents need."""


def read_json(path: Path, *, most: int = MAX_BYTES) -> Any:
    """The value of a JSON file in UTF-8.

    Raises
    ------
    DocumentError
        As `parse_json`, and where the file has more than `most` bytes; the file is not named.
    OSError
        Where the file cannot be opened or read.
    """
    return parse_json(read_limited(path, most=most))


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
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise DocumentError(f"has more than {most >> 20} MiB; is it the right file?")
    return content


def parse_json(content: str | bytes) -> Any:
    """The value of a JSON document.

    Raises
    ------
    DocumentError
        For text that is not JSON (NaN and Infinity are not), a key that occurs twice, a mapping
        of more than `MAX_KEYS` keys, a number that no float or 128-bit integer holds, and mappings
        or lists nested deeper than `MAX_DEPTH`.
    """
    try:
        value = json.loads(
            _decoded(content),
            object_pairs_hook=_unique_keys,
            parse_constant=_no_constant,
            parse_int=_integer,
            parse_float=_finite,
        )
    except RecursionError:
        raise DocumentError("is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise DocumentError(f"is not JSON: {printable(error, most=200)}") from None
    _check_depth(value)
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
        text = _decoded(content)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None:
            _count_nodes(node, {}, 0)
        value = yaml.safe_load(text)
    except RecursionError:
        raise DocumentError("is nested too deeply") from None
    except (yaml.YAMLError, ValueError, OverflowError, TypeError, AttributeError) as error:
        if isinstance(error, DocumentError):
            raise
        # PyYAML's constructors let errors of int() and datetime() through.
        raise DocumentError(
            f"is not YAML: {printable(' '.join(str(error).split()), most=200)}"
        ) from None
    return value


def _decoded(content: str | bytes) -> str:
    if isinstance(content, str):
        return content
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentError(f"is not text in UTF-8 (byte {error.start})") from None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _check_keys([key for key, _ in pairs])
    return dict(pairs)


def _check_keys(keys: list[str]) -> None:
    if len(keys) > MAX_KEYS:
        raise DocumentError(f"has a mapping of {len(keys)} keys; at most {MAX_KEYS} are read")
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


def _check_depth(value: Any, depth: int = 0) -> None:
    if depth > MAX_DEPTH:
        raise DocumentError("is nested too deeply")
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            if isinstance(item, dict | list):
                _check_depth(item, depth + 1)


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
        _check_keys([key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)])
        children = [part for pair in node.value for part in pair]
    count = 1 + sum(_count_nodes(child, known, depth + 1) for child in children)
    if count > MAX_NODES:
        raise DocumentError(f"has more than {MAX_NODES} values, aliases expanded")
    known[id(node)] = count
    return count
