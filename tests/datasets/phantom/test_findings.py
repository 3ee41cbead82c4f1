"""Findings change the phantom where the disease would, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from drr.datasets.labels import CT_RATE_LABELS
from drr.datasets.phantom.finding import draw
from drr.datasets.phantom.thorax import thorax


@pytest.fixture(scope="module")
def healthy():
    return thorax(64, seed=5, noise=0)


@pytest.mark.parametrize("name", CT_RATE_LABELS)
def test_every_finding_shows_in_the_volume_and_repeats(name: str, healthy) -> None:
    finding = draw(name, np.random.default_rng(2))
    ill = thorax(64, seed=5, noise=0, findings=[finding])
    changed = ill.hu != healthy.hu
    assert 0 < changed.mean() < 0.25, "something changes, and most stays"
    again = thorax(64, seed=5, noise=0, findings=[draw(name, np.random.default_rng(2))])
    np.testing.assert_array_equal(again.hu, ill.hu)


def test_findings_have_the_sign_of_their_disease(healthy) -> None:
    def change(name: str) -> float:
        ill = thorax(64, seed=5, noise=0, findings=[draw(name, np.random.default_rng(2))])
        return float((ill.hu.astype(float) - healthy.hu).mean())

    assert change("Emphysema") < 0
    for name in ("Consolidation", "Pleural effusion", "Lung opacity", "Cardiomegaly"):
        assert change(name) > 0


def test_an_unknown_finding_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="Cardiomegaly"):
        draw("Cardiomegalie", np.random.default_rng(0))
