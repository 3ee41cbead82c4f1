"""The plan of a data set: its digest, its parts' keys, and what identifies patients."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from drr.datasets.build.plan import Configuration, Plan, public_metadata, public_series
from drr.datasets.schema import DatasetError
from drr.datasets.study import Cohort, Study
from drr.geometry.geometry import Geometry
from drr.physics.beam import Beam
from drr.physics.detector import DETECTORS
from drr.randomise.policy import policy

STUDIES = tuple(Study(sample=name, patient="p", path=f"{name}.nii.gz") for name in "abc")
COHORT = Cohort(kind="folder", root=Path("here"), studies=STUDIES)
GEOMETRY = Geometry(
    source=(0, 1500, 0), detector_center=(0, -300, 0), u=(1, 0, 0), v=(0, 0, -1), shape=(8, 8)
)


@pytest.mark.parametrize(
    "configuration",
    [
        Configuration(),
        Configuration(views=("pa", "lao30"), policy=policy("chest"), seed=3),
        Configuration(views=("pa", GEOMETRY), display={"center": 2.5, "width": 4.0}),
        Configuration(look="drr-rate", views=("AP", "lateral"), line_integrals="none"),
        Configuration(masks=(2, 7)),
        Configuration(attenuation=Beam(kvp=90), detector=DETECTORS["portable"]),
    ],
)
def test_configurations_survive_json_and_processes(configuration: Configuration) -> None:
    text = json.dumps(configuration.to_dict())
    assert Configuration.from_dict(json.loads(text)) == configuration
    assert pickle.loads(pickle.dumps(configuration)) == configuration


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"views": ()}, "no views"),
        ({"views": ("pa", "pa")}, "different names"),
        ({"view_names": ("a/b",)}, "cannot name a view"),
        ({"look": "drr-rate", "views": ("pa",)}, "'ap' and 'lateral'"),
        ({"line_integrals": "uint61"}, "did you mean 'uint16'"),
        ({"line_integrals": "none", "pictures": False}, "neither"),
        ({"compression": 10}, "from 0 to 9"),
        ({"masks": (0,)}, "different labels"),
        ({"masks": (2, 2)}, "different labels"),
        ({"look": "drr-rate", "views": ("ap",), "masks": (1,)}, "has no masks"),
        ({"seed": -1}, "zero or more"),
    ],
)
def test_configurations_that_cannot_be_are_refused(options: dict, words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        Configuration(**options)


def test_an_unknown_key_is_refused_with_the_nearest() -> None:
    with pytest.raises(DatasetError, match="did you mean 'views'"):
        Configuration.from_dict({"view": ["pa"]})


def test_the_same_plan_elsewhere_has_the_same_digest() -> None:
    plan = Plan(cohort=COHORT, configuration=Configuration())
    moved = Plan(cohort=replace(COHORT, root=Path("there")), configuration=Configuration())
    assert moved.digest == plan.digest
    assert moved.keys == plan.keys
    assert len(set(plan.keys)) == 3


def test_a_part_depends_on_its_study_and_the_configuration_only() -> None:
    plan = Plan(cohort=COHORT, configuration=Configuration())
    fewer = Plan(cohort=replace(COHORT, studies=STUDIES[1:]), configuration=Configuration())
    assert fewer.digest != plan.digest
    assert fewer.keys == plan.keys[1:]
    other = Plan(cohort=COHORT, configuration=Configuration(seed=1))
    assert not set(other.keys) & set(plan.keys)


def test_draws_and_noise_differ_between_samples_and_views_and_repeat() -> None:
    configuration = Configuration(views=("pa", "ll"), policy=policy("chest"), seed=5)
    draws = [configuration.draw(name, view) for name in "ab" for view in ("pa", "ll")]
    assert all(a != b for i, a in enumerate(draws) for b in draws[:i])
    assert configuration.draw("a", "pa") == draws[0]
    assert configuration.sample_seed("a") != configuration.sample_seed("b")
    assert Configuration().draw("a", "pa") is None


def test_what_identifies_a_patient_stays_out_unless_asked() -> None:
    metadata = {
        "StudyDate": "20210427",
        "Series Instance UID": "x",
        "Anything": "1.2.840.113619.2",
        "PatientName": "Doe",
        "patient_id": "7",
        "StudyTime": "101010",
        "ExposureTime": "500",
        "XYSpacing": "[0.34, 0.34]",
        "Manufacturer": "Maker",
    }
    study = Study(sample="a", patient="p", path="a", series="1.2.840.1", metadata=metadata)
    kept = public_metadata(study, keep_identifiers=False)
    assert set(kept) == {"ExposureTime", "XYSpacing", "Manufacturer"}
    assert public_metadata(study, keep_identifiers=True) == metadata
    assert public_series(study, keep_identifiers=False) == ""
    assert public_series(study, keep_identifiers=True) == "1.2.840.1"
    assert public_series(replace(study, series="lung"), keep_identifiers=False) == "lung"
