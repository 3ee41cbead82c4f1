"""The rooms of the package: nothing imports upwards, nothing imports in circles.

`docs/architecture.md` and CONTRIBUTING.md describe them; `python tests/import_graph.py` counts.
"""

from __future__ import annotations

import re

import pytest
from import_graph import circles, import_graph, room, rooms
from places import ROOT

FLOORS = (
    (
        "drr", "drr.namesake", "drr.errors", "drr.checks", "drr.threads", "drr.sharing",
        "drr.memory", "drr.isolated", "drr.files", "drr.svg",
    ),
    ("drr.kernels",),
    ("drr.padding", "drr.unusual"),
    ("drr.geometry", "drr.volume"),
    ("drr.patient", "drr.physics"),
    ("drr.randomise", "drr.backend", "drr.display"),
    ("drr.published", "drr.radiograph", "drr.thickness"),
    ("drr.looks", "drr.record", "drr.exposure"),
    ("drr.io", "drr.projector"),
    ("drr.datasets",),
    ("drr.reports",),
    ("drr.evaluate",),
    ("drr.train", "drr.pages"),
    ("drr.cli",),
)  # fmt: skip
"""Rooms and modules from the ground up."""

UPWARDS: dict[tuple[str, str], str] = {}
"""Module and room above it that it may import, with the reason."""

_COMPILER = "drr.kernels.cpu.compiler"

TOGETHER = {
    # A kernel is made on its first call, by modules that know what a kernel is.
    frozenset({f"{_COMPILER}.jit", f"{_COMPILER}.lowering", f"{_COMPILER}.native"}),
}
"""Groups of modules that import each other."""

GRAPH = import_graph(ROOT)


def floor(module: str) -> int:
    """Return the number of a module's floor, from the ground."""
    found = {
        name: number
        for number, names in enumerate(FLOORS)
        for name in names
        if module == name or (name != "drr" and module.startswith(f"{name}."))
    }
    assert found, f"{module} lies on no floor: give its room one in FLOORS"
    return found[max(found, key=len)]


def test_nothing_imports_upwards() -> None:
    upwards = {
        (module, other)
        for module, imported in GRAPH.items()
        if module != "drr"  # its public names come from everywhere, on first use
        for other in imported & GRAPH.keys()
        if floor(other) > floor(module)
    }
    assert upwards == UPWARDS.keys(), "an exception is missing in UPWARDS, or no longer needed"


def test_no_modules_import_each_other() -> None:
    graph = {module: imported & GRAPH.keys() for module, imported in GRAPH.items()}
    del graph["drr"]
    assert {frozenset(group) for group in circles(graph)} == TOGETHER


def test_no_rooms_import_each_other() -> None:
    graph = {name: others - {"drr"} for name, others in rooms(GRAPH).items() if name != "drr"}
    assert circles(graph) == []


def test_twins_of_kernels_are_for_tests_alone() -> None:
    users = {
        module
        for module, imported in GRAPH.items()
        if any(room(other) == "drr.kernels.reference" for other in imported)
        and room(module) != "drr.kernels.reference"
    }
    assert users == set()


@pytest.mark.parametrize("name", ["jit", "vectors"])
def test_the_compiler_has_few_doors(name: str) -> None:
    """Kernels take `jit` and `vectors`; how machine code comes about is nobody else's business."""
    inside = "drr.kernels.cpu.compiler"
    others = {
        (module, other)
        for module, imported in GRAPH.items()
        for other in imported
        if other.startswith(f"{inside}.") and not module.startswith(inside)
    }
    doors = {f"{inside}.{door}" for door in ("jit", "vectors", "native")}
    assert {other for _, other in others} <= doors


def test_every_room_is_listed_for_packaging() -> None:
    listed = re.search(r"packages = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL)
    assert listed is not None
    packages = set(re.findall(r'"([\w.]+)"', listed[1]))
    folders = {
        ".".join([package, *path.parent.relative_to(ROOT / folder).parts])
        for folder, package in (
            ("drr", "drr"),
            ("kernels", "drr.kernels"),
            ("datasets", "drr.datasets"),
        )
        for path in (ROOT / folder).rglob("__init__.py")
    }
    assert packages == folders


def test_tests_lie_in_the_rooms_of_what_they_test() -> None:
    for path in (ROOT / "tests").rglob("test_*.py"):
        inside = path.parent.relative_to(ROOT / "tests")
        homes = [ROOT / inside, ROOT / "drr" / inside]
        assert any(home.is_dir() for home in homes), path
