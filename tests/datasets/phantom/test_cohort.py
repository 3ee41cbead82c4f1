"""The synthetic cohort: the same bytes every time, and read as CT-RATE is."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from drr.cli import main
from drr.datasets.labels import CT_RATE_LABELS
from drr.datasets.phantom.cohort import BAD, PREVALENCE, plan_scans, write_phantom_cohort
from drr.datasets.sources.ctrate import find_ct_rate
from drr.datasets.study import CohortError, read_volume
from drr.errors import DRRError, WriteError


def digest(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort") / "made"
    write_phantom_cohort(folder, 8, size=24, seed=5)
    return folder


def test_the_same_arguments_give_the_same_bytes(made: Path, tmp_path: Path) -> None:
    write_phantom_cohort(tmp_path / "again", 8, size=24, seed=5)
    assert digest(tmp_path / "again") == digest(made)
    write_phantom_cohort(tmp_path / "other", 2, size=24, seed=6)
    assert digest(tmp_path / "other").items() - digest(made).items()


def test_it_is_read_as_ct_rate(made: Path) -> None:
    scans = {scan.name: scan for scan in plan_scans(8, seed=5)}
    cohort = find_ct_rate(made, reconstructions="all")
    assert not cohort.problems
    assert cohort.attribution.startswith("Synthetic phantoms")
    assert not cohort.licence
    assert len(cohort) == sum(scan.reconstructions for scan in scans.values()) > 8
    assert {study.split for study in cohort.studies} == {"train", "valid"}
    usable = 0
    for study in cohort.studies:
        scan = scans[study.scan]
        names = {f.name for f in scan.findings}
        assert study.labels == tuple(int(name in names) for name in CT_RATE_LABELS)
        assert (study.sex, study.age) == (scan.patient["sex"], scan.patient["age"])
        for name in names:
            assert name.lower() in study.report.findings.lower()
        if scan.bad and study.sample.endswith(str(scan.reconstructions)):
            with pytest.raises(DRRError):
                read_volume(study, made)
            continue
        volume = read_volume(study, made)
        usable += 1
        assert volume.verdict.is_hu
        assert (volume.hu.min() == -8192) == scan.padded
    assert usable == len(cohort) - 2
    assert {scan.bad for scan in scans.values()} == {"", *BAD[:2]}


def test_version_1_has_the_same_voxels(made: Path, tmp_path: Path) -> None:
    write_phantom_cohort(tmp_path / "one", 8, size=24, seed=5, version=1)
    first, second = find_ct_rate(tmp_path / "one"), find_ct_rate(made)
    assert [study.sample for study in first.studies] == [study.sample for study in second.studies]
    scans = {scan.name: scan for scan in plan_scans(8, seed=5)}
    compared = 0
    for study, other in zip(first.studies, second.studies, strict=True):
        if scans[study.scan].bad or scans[study.scan].padded:
            continue
        a, b = read_volume(study, first.root), read_volume(other, second.root)
        np.testing.assert_array_equal(a.hu, b.hu)
        np.testing.assert_allclose(a.affine, b.affine, atol=1e-3)
        compared += 1
    assert compared > 2


def test_findings_are_about_as_common_as_they_should_be() -> None:
    scans = plan_scans(2000, seed=1)
    for name, share in PREVALENCE.items():
        found = np.mean([any(f.name == name for f in scan.findings) for scan in scans])
        assert abs(found - share) < 0.05
    patients = {scan.name.rpartition("_")[0] for scan in scans}
    assert len(patients) < 1900
    assert sum(scan.split == "valid" for scan in scans) == 400
    assert tuple(PREVALENCE) == CT_RATE_LABELS


def test_mistakes_are_told_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(WriteError, match="not an empty folder"):
        write_phantom_cohort(tmp_path / "full", 2, size=24)
    with pytest.raises(WriteError, match="create it first"):
        write_phantom_cohort(tmp_path / "no" / "where", 2, size=24)
    for wrong, words in (
        ({"count": 0}, "from 1 to 100000"),
        ({"count": 2, "size": 8}, "size must be"),
        ({"count": 2, "version": 3}, "versions 1 and 2"),
        ({"count": 2, "bad": 3}, "from 0 to 2"),
        ({"count": 2, "bad": 0, "seed": -1}, "seed"),
    ):
        with pytest.raises(CohortError, match=words):
            write_phantom_cohort(tmp_path / "out", **wrong)  # type: ignore[arg-type]

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_phantom_cohort(tmp_path / "out", 2, size=24, bad=0, report=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_the_command(tmp_path: Path) -> None:
    arguments = ["phantom-cohort", "4", "-o", str(tmp_path / "out"), "--size", "24"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert "1 files are deliberately bad" in done.output
    assert len(find_ct_rate(tmp_path / "out")) == 4
    assert CliRunner().invoke(main, arguments).exit_code == 2
