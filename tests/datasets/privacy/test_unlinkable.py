"""Digests by which whoever has a CT could know it, and outputs without them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import h5py
import pydicom
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import drr
from drr.cli import main
from drr.datasets.build.verify import verify
from drr.datasets.phantom.nifti import nifti_bytes
from drr.datasets.phantom.thorax import thorax
from drr.datasets.privacy.pseudonyms import key_beside
from drr.record import load_record, salted


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scans") / "ct.nii.gz"
    path.write_bytes(nifti_bytes(thorax(32), path))
    return path


@pytest.fixture(scope="module")
def digests(ct: Path) -> list[bytes]:
    """What whoever has the CT can compute."""
    voxels = drr.read(ct).sha256
    return [voxels.encode(), hashlib.sha256(ct.read_bytes()).hexdigest().encode()]


def run(*words: object) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result


def test_a_data_set(ct: Path, digests: list[bytes], tmp_path: Path) -> None:
    options = ("--pixels", "24", "--workers", "1", "--keep-names")
    linked, out = tmp_path / "linked.h5", tmp_path / "o.h5"
    run("build", ct.parent, "-o", linked, *options)
    assert all(digest in linked.read_bytes() for digest in digests)
    run("build", ct.parent, "-o", out, *options, "--unlinkable")
    assert not any(digest in out.read_bytes() for digest in digests)
    with h5py.File(out) as file:
        salt = bytes.fromhex(key_beside(out).read_text().split("salt,,")[1].split()[0])
        assert file["samples/voxels_sha256"].asstr()[0] == salted(digests[0].decode(), salt)
        stated = json.loads(file["views/pa/record"].asstr()[0])["projection"]["input"]
        assert stated["salted"] is True
    assert verify(out, source=ct.parent, remake=1).problems == ()
    other = ct.parent.parent / "other"
    other.mkdir(exist_ok=True)
    (other / "ct.nii.gz").write_bytes(nifti_bytes(thorax(32, seed=1), ct))
    assert "no longer the file" in verify(out, source=other, remake=1).problems[0]
    key_beside(out).unlink()
    assert verify(out).problems == ()
    assert "is missing" in verify(out, source=ct.parent, remake=1).problems[0]


def test_an_export(ct: Path, digests: list[bytes], tmp_path: Path) -> None:
    file = tmp_path / "o.h5"
    run("build", ct.parent, "-o", file, "--pixels", "24", "--workers", "1")
    for flag, there in ((), True), (("--unlinkable",), False):
        out = tmp_path / f"export{there}"
        run("export", file, "--format", "png", "-o", out, *flag)
        (picture,) = (out / "pa").iterdir()
        with Image.open(picture) as image:
            record = json.dumps(image.info)
        assert "projection" in record
        assert (digests[0].decode() in record) is there


def test_images_and_their_uids(ct: Path, digests: list[bytes], tmp_path: Path) -> None:
    views = ("-v", "pa", "-v", "ll", "--pixels", "24")
    studies = []
    for name, flag in (("plain", ()), ("one", ("--unlinkable",)), ("two", ("--unlinkable",))):
        run("project", ct, "-o", tmp_path / name / "{view}.dcm", *views, *flag)
        files = sorted((tmp_path / name).iterdir())
        content = b"".join(file.read_bytes() for file in files)
        assert (digests[0] in content) is (name == "plain")
        images = [pydicom.dcmread(file) for file in files if file.suffix == ".dcm"]
        assert len({image.StudyInstanceUID for image in images}) == 1
        studies.append(images[0].StudyInstanceUID)
    # Views of a run share a study; runs do not.
    assert len(set(studies)) == 3
    again = tmp_path / "again.png"
    record = tmp_path / "one" / "pa.dcm.json"
    assert load_record(record).projection["input"]["salted"] is True
    result = run("project", ct, "--from", record, "-o", again, "--format", "png")
    assert "does not tell which CT" in result.stderr
    assert again.exists()
