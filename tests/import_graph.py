"""The import graph of the package: modules, the rooms they lie in, arrows and circles.

    python tests/import_graph.py [CHECKOUT]

prints how many there are. A room is a folder of the checkout, or a module that lies directly in
`drr/`, `kernels/` or `datasets/`. An arrow leads from a module or room to one that it imports,
anywhere in its code but for type checkers alone.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

__all__ = ["FOLDERS", "circles", "import_graph", "room", "rooms"]

FOLDERS = {"drr": "drr", "kernels": "drr.kernels", "datasets": "drr.datasets"}
"""Folder of the checkout to the package it is imported as."""

Graph = dict[str, set[str]]


def import_graph(checkout: Path) -> Graph:
    """Return for every module of the package those of the package that it imports."""
    files = dict(_modules(checkout))
    return {name: set(_imports(path, files)) - {name} for name, path in files.items()}


def _modules(checkout: Path) -> Iterator[tuple[str, Path]]:
    for folder, package in FOLDERS.items():
        for path in sorted((checkout / folder).rglob("*.py")):
            parts = path.relative_to(checkout / folder).with_suffix("").parts
            yield ".".join([package, *(part for part in parts if part != "__init__")]), path


def _imports(path: Path, files: Mapping[str, Path]) -> Iterator[str]:
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting.extend(node.orelse)
            continue
        if isinstance(node, ast.ImportFrom) and node.module in files:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in files else str(node.module)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{a.name}" for a in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in files)
        waiting.extend(ast.iter_child_nodes(node))


def room(module: str) -> str:
    """Return the room of a module; folders within a room of `drr/` belong to it."""
    for package in ("drr.kernels.cpu", "drr.kernels", "drr.datasets", "drr"):
        if module.startswith(f"{package}."):
            return f"{package}.{module.removeprefix(package + '.').split('.')[0]}"
    return module


def rooms(graph: Graph) -> Graph:
    """Return the graph of rooms, without arrows from a room to itself."""
    found: Graph = {}
    for module, imported in graph.items():
        found.setdefault(room(module), set()).update(map(room, imported))
    return {name: imported - {name} for name, imported in found.items()}


def circles(graph: Graph) -> list[list[str]]:
    """Return the groups of two or more nodes that reach each other (Tarjan 1972)."""
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = lowest[node] = len(index)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in index:
                visit(other)
                lowest[node] = min(lowest[node], lowest[other])
            elif other in stack:
                lowest[node] = min(lowest[node], index[other])
        if lowest[node] == index[node]:
            at = stack.index(node)
            group = stack[at:]
            del stack[at:]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def main() -> None:
    checkout = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent
    graph = import_graph(checkout)
    graph = {module: imported & graph.keys() for module, imported in graph.items()}
    for name, part in (("modules", graph), ("rooms", rooms(graph))):
        found = circles(part)
        print(
            f"{name}: {len(part)}, arrows: {sum(map(len, part.values()))}, circles: {len(found)} "
            f"of {sum(map(len, found))} {name}"
        )
        for group in found:
            print("  " + " ".join(group))


if __name__ == "__main__":
    main()
