"""That the tests of the CUDA kernels can fail: mistakes planted in the sources are caught."""

from __future__ import annotations

import pytest
from cuda_host.build import needs_compiler
from cuda_host.mutations import MUTATIONS, PAGE, SOURCES, Mutation, caught_by


def named(*words: str) -> list[Mutation]:
    return [m for m in MUTATIONS if m.what in words]


def test_every_mutation_still_applies_and_is_in_the_table() -> None:
    table = PAGE.read_text(encoding="utf-8")
    for mutation in MUTATIONS:
        assert mutation.old in (SOURCES / mutation.file).read_text(encoding="utf-8")
        assert f"| {mutation.what} | `{mutation.file}` | " in table
    assert "**none**" not in table


@pytest.mark.parametrize(
    "mutation", named("half a voxel too far", "volume clipped by a voxel"), ids=lambda m: m.what
)
def test_a_few_mistakes_are_caught(mutation: Mutation) -> None:
    needs_compiler()
    assert caught_by(mutation, "-k", "equal_their_twins")


@pytest.mark.soak
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.what)
def test_every_mistake_is_caught(mutation: Mutation) -> None:
    needs_compiler()
    assert caught_by(mutation)
