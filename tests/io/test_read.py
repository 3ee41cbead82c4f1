"""`drr.read` as a whole: what a path is, and what it is not."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from PIL import Image

import drr
from drr.errors import DRRError, ReadError


@pytest.fixture
def image() -> SimpleITK.Image:
    made = SimpleITK.GetImageFromArray(np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    made.SetSpacing([1, 2, 3])
    return made


def refusal(path: Path | str, **options: object) -> str:
    """The one line that `drr.read` refuses a path with."""
    with pytest.raises(ReadError) as error:
        drr.read(path, **options)  # type: ignore[arg-type]
    assert isinstance(error.value, DRRError)
    text = str(error.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    return text


def test_every_container_gives_the_same_volume(tmp_path: Path, image: SimpleITK.Image) -> None:
    digests = set()
    for suffix in (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr"):
        path = tmp_path / f"scan{suffix}"
        SimpleITK.WriteImage(image, str(path))
        volume = drr.read(path)
        assert volume.name == path.name
        assert volume.verdict is not None
        digests.add(volume.sha256)
    np.savez(tmp_path / "scan.npz", hu=SimpleITK.GetArrayFromImage(image), spacing=[1, 2, 3])
    digests.add(drr.read(str(tmp_path / "scan.npz")).sha256)
    assert len(digests) == 1


def test_content_decides_not_the_name(tmp_path: Path, image: SimpleITK.Image) -> None:
    for suffix in (".nii", ".mha", ".nrrd"):
        path = tmp_path / f"scan{suffix}"
        SimpleITK.WriteImage(image, str(path))
        path.rename(tmp_path / "scan.dcm")
        assert drr.read(tmp_path / "scan.dcm").shape == (3, 4, 5)


def test_voxels_are_owned_and_writable(tmp_path: Path, image: SimpleITK.Image) -> None:
    SimpleITK.WriteImage(image, str(tmp_path / "scan.nii"))
    volume = drr.read(tmp_path / "scan.nii")
    assert volume.hu.flags.c_contiguous
    assert volume.hu.flags.writeable


def test_missing(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "scan.nii.gz")
    assert "no such file" in refusal(str(tmp_path / "folder" / "scan.nii"))


@pytest.mark.parametrize(
    "name", ["scan.nii.gz", "scan.nii", "scan.dcm", "scan.mha", "scan.zip", "scan"]
)
def test_empty_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    assert "is empty" in refusal(tmp_path / name)


@pytest.mark.skipif(
    os.name == "nt" or (hasattr(os, "geteuid") and os.geteuid() == 0),
    reason="permissions do not bind this user",
)
def test_unreadable(tmp_path: Path, image: SimpleITK.Image) -> None:
    path = tmp_path / "scan.nii"
    SimpleITK.WriteImage(image, str(path))
    path.chmod(0)
    assert "check its permissions" in refusal(path)


def test_permission_error_is_one_line(
    tmp_path: Path, image: SimpleITK.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The same for users, as root, whom permissions do not bind.
    path = tmp_path / "scan.nii"
    SimpleITK.WriteImage(image, str(path))

    def refuse(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    assert "check its permissions" in refusal(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_do_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.nii")
    assert "neither a file nor a folder" in refusal(tmp_path / "pipe.nii")
    assert "holds no files" in refusal(tmp_path)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "GIF", "BMP"])
def test_pictures(tmp_path: Path, form: str) -> None:
    path = tmp_path / "scan.nii"
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(path, form)
    assert f"{form} picture, not a CT volume" in refusal(path)


def test_foreign_files(tmp_path: Path) -> None:
    path = tmp_path / "scan.bin"
    rng = np.random.default_rng(8)
    for content in (b"hello", b"{}" * 500, bytes(4096), rng.bytes(4096)):
        path.write_bytes(content)
        assert "not a CT volume" in refusal(path)
    path.write_bytes(gzip.compress(b"hello" * 1000))
    assert "is compressed (gzip), and what is in it is not a CT volume" in refusal(path)
    with io.BytesIO() as buffer:
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            archive.addfile(tarfile.TarInfo("a.dcm"))
        path.write_bytes(buffer.getvalue())
    assert "holds no DICOM among its 1 files" in refusal(path)
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert "Git LFS pointer" in refusal(path)


def test_bare_voxels(tmp_path: Path) -> None:
    (tmp_path / "scan.raw").write_bytes(np.random.default_rng(1).bytes(1000))
    assert "header file that belongs to it" in refusal(tmp_path / "scan.raw")


def test_series_of_another_format(tmp_path: Path, image: SimpleITK.Image) -> None:
    SimpleITK.WriteImage(image, str(tmp_path / "scan.nii"))
    assert "only DICOM has series" in refusal(tmp_path / "scan.nii", series=3)


def test_given_affine_replaces_the_files(tmp_path: Path, image: SimpleITK.Image) -> None:
    SimpleITK.WriteImage(image, str(tmp_path / "scan.mha"))
    affine = np.diag([-1.0, 1, 5, 1])
    volume = drr.read(tmp_path / "scan.mha", affine=affine)
    np.testing.assert_allclose(volume.spacing, [1, 1, 5])
    assert volume.orientation == "RPS"
    assert "given by the caller" in volume.notes[-1]
    assert "4x4" in refusal(tmp_path / "scan.mha", affine=[1, 2, 3])
    assert "4x4" in refusal(tmp_path / "scan.mha", affine="abc")


def test_reader_and_function_share_a_name() -> None:
    """`drr.read` is the function, whichever module is imported first."""
    code = (
        "import drr.io.read, drr.io.write, drr, drr.io;"
        "assert callable(drr.read) and callable(drr.io.read) and callable(drr.io.write);"
        "from drr.io import read; assert read is drr.read"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_readers_load_their_libraries_only_when_needed() -> None:
    code = (
        "import sys, drr.io;"
        "heavy = {'nibabel', 'pydicom', 'SimpleITK', 'PIL'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_no_reader_foresaw_is_said_of_the_file(
    tmp_path: Path, image: SimpleITK.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line that names file and format; the exception itself is kept as the cause."""
    from drr.io import metaimage, nifti, nrrd, numpy

    def stumble(*_: object, **__: object) -> None:
        raise KeyError("\x1b[31mred\n" + "x" * 1000)

    np.savez(tmp_path / "scan.npz", hu=SimpleITK.GetArrayFromImage(image), spacing=[1, 2, 3])
    for module, suffix, name in (
        (nifti, ".nii", "NIfTI"),
        (metaimage, ".mha", "MetaImage"),
        (nrrd, ".nrrd", "NRRD"),
        (numpy, ".npz", "NumPy"),
    ):
        path = tmp_path / f"scan{suffix}"
        if suffix != ".npz":
            SimpleITK.WriteImage(image, str(path))
        with monkeypatch.context() as patch:
            patch.setattr(module, "check_grid", stumble)
            with pytest.raises(ReadError, match=f"is damaged {name} \\(KeyError") as error:
                drr.read(path)
        assert isinstance(error.value.__cause__, KeyError)
        text = str(error.value)
        assert text.startswith(str(path))
        assert text.isprintable()
        assert len(text) <= 500


def test_mistakes_in_the_call_are_not_blamed_on_the_file(
    tmp_path: Path, image: SimpleITK.Image
) -> None:
    SimpleITK.WriteImage(image, str(tmp_path / "scan.nii"))
    with pytest.raises(TypeError):
        drr.read(tmp_path / "scan.nii", max_bytes="8 GiB")  # type: ignore[arg-type]


@pytest.mark.filterwarnings("error")
def test_numbers_that_overflow_give_no_warning(tmp_path: Path, image: SimpleITK.Image) -> None:
    path = tmp_path / "scan.nrrd"
    SimpleITK.WriteImage(image, str(path))
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"(1,0,0)", b"(1e300,0,1e300)"))
    assert "\n" not in refusal(path)
