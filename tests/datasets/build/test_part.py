"""One study's part: what is in it, what is recorded instead, and when it is stale."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from drr.datasets.build import part as part_module
from drr.datasets.build.part import fingerprint, is_finished, make, make_part, open_part
from drr.datasets.build.plan import Configuration
from drr.datasets.phantom.nifti import nifti_bytes
from drr.datasets.phantom.thorax import thorax_with_labels
from drr.datasets.schema import DatasetError, dequantise, pixels_digest
from drr.datasets.study import Study
from drr.errors import WriteError
from drr.geometry.views import parse_view
from drr.io.read import read
from drr.projector import project
from drr.randomise.policy import policy

PA, LL = parse_view("pa", shape=(40, 40)), parse_view("ll", shape=(40, 32))
STUDY = Study(sample="one", patient="p", path="ct.nii.gz", segmentation="labels.nii.gz")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    for volume, name in zip(thorax_with_labels(40), ("ct", "labels"), strict=True):
        path = folder / f"{name}.nii.gz"
        path.write_bytes(nifti_bytes(volume, path))
    return folder


def run(root: Path, target: Path, configuration: Configuration, study: Study = STUDY) -> str:
    return make_part(study, str(root), configuration, str(target), "key").reason


def test_a_part_holds_what_projecting_gives(root: Path, tmp_path: Path) -> None:
    configuration = Configuration(views=(PA, LL))
    assert run(root, tmp_path / "part.h5", configuration) == ""
    with open_part(tmp_path / "part.h5") as part:
        assert set(part["views"]) == {"pa", "ll"}
        group = part["views/ll"]
        assert group["picture"].shape == (1, 40, 32)
        wanted = project(read(root / "ct.nii.gz"), LL, seed=configuration.sample_seed("one"))
        stored = group["line_integrals"][0]
        values = dequantise(stored, group["scale"][0], group["offset"][0])
        step = group["scale"][0]
        assert np.abs(values - wanted.line_integrals).max() <= step / 2 + 1e-6
        assert np.abs(group["picture"][0] / 255 - wanted.picture()).max() <= 0.5 / 255 + 1e-6
        assert group["picture_sha256"].asstr()[0] == pixels_digest(group["picture"][0])
        assert tuple(group["source"][0]) == wanted.geometry.source
        assert np.isnan(group["direction"][0]).all()
        record = json.loads(group["record"].asstr()[0])
        assert record["projection"]["input"]["sha256"] == part["samples/voxels_sha256"].asstr()[0]
        assert "masks" not in group


def test_the_same_study_makes_the_same_bytes(root: Path, tmp_path: Path) -> None:
    varied = Configuration(views=(PA,), policy=policy("chest"), seed=3)
    for name in ("a", "b"):
        assert run(root, tmp_path / name, varied) == ""
    with open_part(tmp_path / "a") as a, open_part(tmp_path / "b") as b:
        assert np.array_equal(a["views/pa/picture"][...], b["views/pa/picture"][...])
        assert a["views/pa/record"][0] == b["views/pa/record"][0]
    other = make(replace(STUDY, sample="two"), root, varied)
    with open_part(tmp_path / "a") as a:
        assert not np.array_equal(other.views["pa"].picture, a["views/pa/picture"][0])


def test_masks_are_thickness_along_the_rays(root: Path) -> None:
    made = make(STUDY, root, Configuration(views=(PA,), masks=(2, 1, 99)))
    wanted = project(read(root / "ct.nii.gz"), PA, mask=read(root / "labels.nii.gz"))
    assert wanted.thickness is not None
    masks = made.views["pa"].masks
    assert masks is not None
    assert masks.shape == (3, 40, 40)
    for channel, label in enumerate((2, 1)):
        mm = wanted.thickness[wanted.labels.index(label)]
        assert mm.max() > 20
        assert np.abs(masks[channel] * 0.01 - np.maximum(mm, 0)).max() <= 0.0051
    assert not masks[2].any()


def test_without_a_segmentation_masks_are_empty_and_say_so(root: Path, tmp_path: Path) -> None:
    plain = replace(STUDY, segmentation=None)
    assert run(root, tmp_path / "p", Configuration(views=(PA,), masks=(1,)), plain) == ""
    with open_part(tmp_path / "p") as part:
        assert not part["views/pa/masks"][...].any()
        assert part["views/pa/masks_sha256"].asstr()[0] == ""


@pytest.mark.parametrize(
    ("options", "present"),
    [
        ({"line_integrals": "none"}, {"picture"}),
        ({"pictures": False}, {"line_integrals"}),
        ({"pictures": False, "line_integrals": "float32"}, {"line_integrals"}),
    ],
)
def test_only_what_was_asked_for_is_stored(
    root: Path, tmp_path: Path, options: dict, present: set[str]
) -> None:
    configuration = Configuration(views=(PA,), **options)
    assert run(root, tmp_path / "part.h5", configuration) == ""
    with open_part(tmp_path / "part.h5") as part:
        group = part["views/pa"]
        assert set(group) & {"picture", "line_integrals"} == present
        assert ("scale" in group) == ("line_integrals" in present)
        if options.get("line_integrals") == "float32":
            assert group["line_integrals"].dtype == np.float32
            assert (group["scale"][0], group["offset"][0]) == (1, 0)


def test_display_is_replaced_where_asked(root: Path) -> None:
    window = {"center": 2.0, "width": 3.0, "curve": "linear", "invert": True}
    made = make(STUDY, root, Configuration(views=(PA,), display=window, line_integrals="float32"))
    images = made.views["pa"]
    assert json.loads(images.record)["display"]["center"] == 2.0
    assert images.line_integrals is not None
    grey = 1 - np.clip((images.line_integrals - 0.5) / 3, 0, 1)
    assert images.picture is not None
    assert np.abs(images.picture / 255 - grey).max() < 0.01


def test_the_published_look(root: Path) -> None:
    made = make(STUDY, root, Configuration(look="drr-rate", views=("ap", "lateral")))
    assert set(made.views) == {"ap", "lateral"}
    assert made.views["ap"].picture is not None
    assert made.views["ap"].picture.max() == 255


def test_a_bad_ct_is_a_part_with_a_reason(root: Path, tmp_path: Path) -> None:
    (tmp_path / "ct.nii.gz").write_bytes((root / "ct.nii.gz").read_bytes()[:5000])
    plain = replace(STUDY, segmentation=None)
    reason = run(tmp_path, tmp_path / "part.h5", Configuration(views=(PA,)), plain)
    assert "truncated" in reason
    assert str(tmp_path) not in reason
    with open_part(tmp_path / "part.h5") as part:
        assert part.attrs["reason"] == reason
        assert "views" not in part
    gone = replace(plain, path="gone.nii.gz")
    assert "put it back" in run(tmp_path, tmp_path / "gone.h5", Configuration(), gone)


def test_a_wrong_segmentation_is_a_reason(root: Path, tmp_path: Path) -> None:
    swapped = replace(STUDY, segmentation="ct.nii.gz")
    reason = run(root, tmp_path / "part.h5", Configuration(views=(PA,), masks=(1,)), swapped)
    assert "labels are whole numbers" in reason


def test_a_source_that_changes_while_it_is_read_is_refused(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ct.nii.gz"
    path.write_bytes((root / "ct.nii.gz").read_bytes())
    real = part_module.make

    def touching(*args: object, **options: object) -> object:
        made = real(*args, **options)  # type: ignore[arg-type]
        os.utime(path, ns=(1, 1))
        return made

    monkeypatch.setattr(part_module, "make", touching)
    plain = replace(STUDY, segmentation=None)
    target = tmp_path / "part.h5"
    assert "changed while it was read" in run(tmp_path, target, Configuration(views=(PA,)), plain)
    # Once it is at rest, the part is not what its files are now.
    assert not is_finished(target, "key", plain, tmp_path)


def test_a_part_is_finished_for_its_key_and_untouched_files_only(
    root: Path, tmp_path: Path
) -> None:
    path = tmp_path / "ct.nii.gz"
    path.write_bytes((root / "ct.nii.gz").read_bytes())
    plain = replace(STUDY, segmentation=None)
    target = tmp_path / "part.h5"
    assert not is_finished(target, "key", plain, tmp_path)
    run(tmp_path, target, Configuration(views=(PA,)), plain)
    assert is_finished(target, "key", plain, tmp_path)
    assert not is_finished(target, "other", plain, tmp_path)
    os.utime(path, ns=(5, 5))
    assert not is_finished(target, "key", plain, tmp_path)
    target.write_bytes(target.read_bytes()[:1000])
    assert not is_finished(target, "key", plain, tmp_path)


def test_fingerprints_cover_every_file_of_a_folder(root: Path, tmp_path: Path) -> None:
    (tmp_path / "dicom").mkdir()
    for name in ("1", "2"):
        (tmp_path / "dicom" / name).write_bytes(b"x")
    study = Study(sample="a", patient="p", path="dicom")
    before = fingerprint(study, tmp_path)
    (tmp_path / "dicom" / "2").write_bytes(b"xy")
    assert fingerprint(study, tmp_path) != before
    with pytest.raises(DatasetError, match="put it back"):
        fingerprint(replace(study, path="else"), tmp_path)


def test_a_part_that_cannot_be_written_is_the_builds_error(root: Path, tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="does not exist"):
        run(root, tmp_path / "nowhere" / "part.h5", Configuration(views=(PA,)))


def test_values_that_are_no_hu_are_a_reason_unless_accepted(root: Path, tmp_path: Path) -> None:
    ct = read(root / "ct.nii.gz")
    path = tmp_path / "ct.nii.gz"
    path.write_bytes(nifti_bytes(replace(ct, hu=ct.hu + np.int16(1024)), path))
    study = Study(sample="one", patient="p", path="ct.nii.gz")
    for look, view in (("film", PA), ("drr-rate", "ap")):
        configuration = Configuration(views=(view,), look=look)
        reason = run(tmp_path, tmp_path / "part.h5", configuration, study)
        assert "without their intercept" in reason
        assert "--accept values" in reason
        accepting = replace(configuration, accept=("values",))
        assert Configuration.from_dict(accepting.to_dict()) == accepting
        assert run(tmp_path, tmp_path / "part.h5", accepting, study) == ""
