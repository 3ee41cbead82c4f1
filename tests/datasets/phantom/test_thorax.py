"""The procedural thorax: anatomy on the right side, reproducible, honest about bad options."""

from __future__ import annotations

import functools

import nibabel
import numpy as np
import pytest
from click.testing import CliRunner, Result

import drr
from drr.cli import main
from drr.datasets.phantom.thorax import LABELS, thorax, thorax_labels, thorax_with_labels
from drr.errors import VolumeError, WriteError

VALUE = {name: value for value, name in LABELS.items()}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["phantom", *arguments], standalone_mode=False)


@functools.lru_cache(maxsize=1)
def scan():
    return thorax_with_labels(128, seed=0)


def center(labels, name):
    """LPS mm of the middle of an organ."""
    index = np.argwhere(labels.hu == VALUE[name]).mean(axis=0)[::-1]
    return labels.affine[:3, :3] @ index + labels.affine[:3, 3]


def millilitres(labels, name):
    return (labels.hu == VALUE[name]).sum() * abs(np.linalg.det(labels.affine[:3, :3])) / 1000


def test_organs_lie_where_they_belong():
    _, labels = scan()
    at = {name: center(labels, name) for name in VALUE}
    assert at["lung_right"][0] < -40 < 40 < at["lung_left"][0]
    assert at["heart"][0] > 8  # to the left
    assert at["heart"][1] < -10  # in front
    assert at["liver"][0] < -40
    assert at["stomach"][0] > 30
    assert at["spleen"][0] > 60
    assert at["spleen"][1] > 20
    assert at["spine"][1] > at["aorta"][1] > at["heart"][1] > at["sternum"][1]
    assert at["clavicles"][2] > at["heart"][2] > at["liver"][2]
    assert at["trachea"][2] > 40


def test_the_apex_of_the_heart_points_left_forward_and_down():
    _, labels = scan()
    index = np.argwhere(labels.hu == VALUE["heart"])[:, ::-1]
    points = index @ labels.affine[:3, :3].T + labels.affine[:3, 3]
    apex = points[points[:, 0] >= np.percentile(points[:, 0], 98)].mean(axis=0)
    middle = points.mean(axis=0)
    assert apex[0] - middle[0] > 50
    assert apex[1] < middle[1] - 10
    assert apex[2] < middle[2] - 10


def test_the_right_diaphragm_is_higher():
    _, labels = scan()
    x, y = (labels.affine[a, a] * np.arange(128) + labels.affine[a, 3] for a in (0, 1))
    height = {}
    for side, sign in (("right", -1), ("left", 1)):
        # Lowest lung voxel of each column beside and behind the heart.
        here = (np.abs(x - sign * 75) < 20) & (np.abs(y - 30) < 15)[:, None]
        lung = labels.hu[:, here] == VALUE[f"lung_{side}"]
        height[side] = labels.affine[2, 2] * np.argmax(lung, axis=0).mean()
    assert 4 < height["right"] - height["left"] < 30


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("lung_right", 2000, 4000),
        ("lung_left", 1800, 4000),
        ("heart", 500, 1000),
        ("liver", 900, 2200),
        ("spleen", 80, 300),
        ("aorta", 120, 400),
        ("ribs", 250, 700),
        ("spine", 300, 700),
    ],
)
def test_organs_have_plausible_volumes(name, low, high):
    assert low < millilitres(scan()[1], name) < high


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("lung_right", -880, -750),
        ("lung_left", -880, -750),
        ("heart", 20, 60),
        ("liver", 45, 75),
        ("trachea", -1010, -850),
        ("ribs", 250, 800),
    ],
)
def test_organs_have_plausible_hu(name, low, high):
    ct, labels = scan()
    assert low < ct.hu[labels.hu == VALUE[name]].mean() < high


def test_twelve_pairs_of_ribs_fall_from_back_to_front():
    _, labels = scan()
    x, y, z = (
        labels.affine[a, a] * np.arange(n) + labels.affine[a, 3]
        for a, n in enumerate(labels.hu.shape[::-1])
    )
    ribs = labels.hu == VALUE["ribs"]
    # Beside the spine each rib is cut once: count the runs along a column of voxels.
    for side in (-1, 1):
        behind = ribs[:, y > 45][:, :, np.abs(x - side * 62) < 5].any(axis=(1, 2))
        runs = (np.diff(behind.astype(int)) == 1).sum() + int(behind[0])
        assert 9 <= runs <= 12  # the first and last are shorter than that
    front = ribs[:, y < -60].any(axis=(1, 2))
    back = ribs[:, y > 60].any(axis=(1, 2))
    assert z[front].max() < z[back].max()


def test_grid_is_lps_and_centred():
    ct, labels = scan()
    assert np.allclose(ct.affine, np.diag(np.diag(ct.affine)) + np.pad(
        ct.affine[:, 3:] * [[1], [1], [1], [0]], ((0, 0), (3, 0))))  # fmt: skip
    assert (np.diag(ct.affine) > 0).all()
    assert np.allclose(ct.center, 0, atol=1e-9)
    assert np.array_equal(ct.affine, labels.affine)
    assert np.allclose(ct.spacing * 128, (419.5, 327.4, 434.9), atol=0.1)


def test_the_same_arguments_give_the_same_voxels():
    one, two = thorax(48, seed=7), thorax(48, seed=7)
    assert one.sha256 == two.sha256
    assert thorax(48, seed=8).sha256 != one.sha256
    labels = thorax_labels(48, seed=7)
    assert set(np.unique(labels.hu)) <= {0, *LABELS}
    assert np.array_equal(labels.hu, thorax_with_labels(48, seed=7)[1].hu)


def test_the_number_of_threads_changes_nothing(monkeypatch):
    expected = thorax(40, seed=2).sha256
    for threads in (1, 3):
        monkeypatch.setattr(
            "drr.datasets.phantom.thorax.available_cpus", lambda threads=threads: threads
        )
        assert thorax(40, seed=2).sha256 == expected


def test_the_anatomy_is_the_same_at_every_resolution():
    coarse, fine = thorax(80, noise=0), thorax(160, noise=0)
    blocks = fine.hu.reshape(80, 2, 80, 2, 80, 2).mean(axis=(1, 3, 5))
    # Voxels that hold an edge differ; the mass they add up to does not.
    assert abs(blocks.mean() - coarse.hu.mean()) < 5
    assert np.median(np.abs(blocks - coarse.hu)) < 5
    assert np.corrcoef(blocks.ravel(), coarse.hu.ravel())[0, 1] > 0.998


def test_noise_is_what_was_asked_for():
    quiet, noisy = thorax(64, noise=0), thorax(64, noise=25)
    inside = (quiet.hu > 0) & (quiet.hu < 200)
    difference = (noisy.hu - quiet.hu)[inside]
    assert difference.std() == pytest.approx(25, rel=0.05)
    assert abs(difference.mean()) < 1
    assert noisy.hu.min() >= -1024


def test_knobs_do_what_they_say():
    def mass(**knobs):
        ct, labels = thorax_with_labels(64, noise=0, **knobs)
        voxel = abs(np.linalg.det(ct.affine[:3, :3]))
        return ct, labels, ((ct.hu > -500).sum() * voxel, voxel)

    lean, _, (lean_body, _) = mass(bmi=19)
    _, _, (large_body, _) = mass(bmi=34)
    assert large_body > 1.2 * lean_body
    woman, _, _ = mass(sex="F", height=176)
    front = lambda ct: np.argmax((ct.hu > -500).any(axis=(0, 2)))  # noqa: E731
    man, _, _ = mass(sex="M", height=176)
    assert front(woman) < front(man)  # breasts
    young, bones, _ = mass(age=20)
    old, old_bones, _ = mass(age=90)
    spine = VALUE["spine"]
    assert young.hu[bones.hu == spine].mean() > old.hu[old_bones.hu == spine].mean() + 50
    small, tall = thorax(32, height=150), thorax(32, height=200)
    assert tall.spacing[0] / small.spacing[0] == pytest.approx(200 / 150)
    up, down = thorax(48, arms="up"), thorax(48, arms="down")
    assert (up.hu[-4:, :, :4] > -500).any()
    assert not (down.hu[-4:, :, :4] > -500).any()
    assert (down.hu[:4] > -500).sum() > (up.hu[:4] > -500).sum()
    assert lean.hu.shape == (64, 64, 64)


def test_the_couch_is_behind_the_patient_and_apart_from_the_anatomy():
    with_couch, without = thorax(96, noise=0, couch=True), thorax(96, noise=0)
    changed = np.argwhere(with_couch.hu != without.hu)
    assert len(changed) > 1000
    y = with_couch.affine[1, 1] * changed[:, 1] + with_couch.affine[1, 3]
    assert y.min() > 85
    assert (without.hu[tuple(changed.T)] < -100).all()


def test_spacing_sets_the_grid():
    ct = thorax(spacing=(6.0, 7.0, 8.0))
    assert np.allclose(ct.spacing, (6, 7, 8))
    assert np.allclose(ct.center, 0, atol=1e-9)
    assert thorax((20, 30, 40)).shape == (20, 30, 40)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 8}, "size 8 is outside"),
        ({"size": 10**6}, "size 1000000 is outside"),
        ({"size": (32, 32)}, "size must be"),
        ({"size": 32.5}, "size must be"),
        ({"size": "big"}, "size must be"),
        ({"spacing": 0.0}, "spacing 0.0 is outside"),
        ({"spacing": float("nan")}, "spacing nan is outside"),
        ({"spacing": (1, 2)}, "spacing must be"),
        ({"seed": -1}, "seed must be"),
        ({"seed": 1.5}, "seed must be"),
        ({"age": 5}, "age 5 is outside 18 to 100 years"),
        ({"age": "old"}, "age must be a number"),
        ({"bmi": 80}, "bmi 80 is outside"),
        ({"height": 90}, "height 90 is outside"),
        ({"sex": "X"}, "sex must be"),
        ({"arms": "crossed"}, "arms must be"),
        ({"noise": -1}, "noise -1 is outside"),
        ({"shoe_size": 44}, "no such option 'shoe_size'"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(VolumeError, match=message):
        thorax(**{"size": 32, **options})


def test_command_writes_a_nifti_that_reads_back(tmp_path):
    path, organs = tmp_path / "ct.nii.gz", tmp_path / "organs.nii"
    arguments = ["--size", "40", "--seed", "3", "--noise", "0"]
    result = run("-o", str(path), "--labels", str(organs), *arguments)
    assert result.exit_code == 0, result.output
    assert result.output.split() == [str(path), str(organs)]
    expected, labels = thorax_with_labels(40, seed=3, noise=0)
    read = drr.read(path)
    assert np.array_equal(read.hu, expected.hu)
    assert np.allclose(read.affine, expected.affine, atol=1e-4)
    assert np.array_equal(drr.read(organs).hu, labels.hu)
    # NIfTI is right-anterior-superior: the first two axes run backwards.
    assert nibabel.aff2axcodes(nibabel.load(path).affine) == ("L", "P", "S")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ct.nii.gz", "organs.nii"]


def test_command_is_reproducible_to_the_byte(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        assert run(str(tmp_path / name), "--size", "32").exit_code == 0
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_command_keeps_an_existing_file_without_force(tmp_path):
    path = tmp_path / "ct.nii.gz"
    path.write_bytes(b"mine")
    arguments = [str(path), "--size", "32"]
    result = run(*arguments)
    assert isinstance(result.exception, WriteError)
    assert "exists already" in str(result.exception)
    assert path.read_bytes() == b"mine"
    assert run(*arguments, "--force").exit_code == 0
    assert path.read_bytes() != b"mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ct.png"], "not a NIfTI name"),
        (["missing/ct.nii.gz"], "does not exist"),
        (["ct.nii.gz", "--size", "4"], "size 4 is outside"),
        (["ct.nii.gz", "--labels", "ct.nii.gz"], "different files"),
        ([], "give one output"),
        (["a.nii", "-o", "b.nii"], "give one output"),
    ],
)
def test_command_leaves_nothing_behind_on_bad_input(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code != 0
    assert message in f"{result.output}{result.exception}"
    assert list(tmp_path.iterdir()) == []
