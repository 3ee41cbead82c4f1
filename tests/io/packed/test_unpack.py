"""Compression around files of any format, archives of slices, and what must not come of them."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import random
import struct
import sys
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

import drr
from drr.errors import MissingDependencyError, ReadError
from drr.io.packed import containers, unpack
from drr.io.packed.tar import tar_members


def zstd(data: bytes) -> bytes:
    zstandard = pytest.importorskip("zstandard")
    packed: bytes = zstandard.ZstdCompressor(write_checksum=True).compress(data)
    return packed


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstd,
}


@pytest.fixture
def image() -> SimpleITK.Image:
    rng = np.random.default_rng(4)
    made = SimpleITK.GetImageFromArray(rng.integers(-1000, 2000, (7, 6, 5)).astype(np.int16))
    made.SetSpacing([1, 2, 3])
    return made


def slice_file(number: int) -> bytes:
    """A CT slice of 4 x 5 pixels whose values count on from the slices before."""
    one = pydicom.Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = CTImageStorage
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = f"1.2.3.{number + 1}"
    one.Modality, one.SeriesInstanceUID, one.StudyInstanceUID = "CT", "1.2.3", "1.2"
    one.InstanceNumber = number
    one.ImagePositionPatient = [0, 0, 2.5 * number]
    one.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    one.PixelSpacing = [1, 1]
    one.RescaleSlope, one.RescaleIntercept = 1, -1000
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.Rows, one.Columns = 4, 5
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 0
    one.PixelData = np.arange(20 * number, 20 * (number + 1), dtype="<u2").tobytes()
    buffer = io.BytesIO()
    one.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


SLICES = np.arange(-1000, -1000 + 6 * 20).reshape(6, 4, 5)


def tarred(files: dict[str, bytes], kind: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(ReadError) as error:
        drr.read(path, **options)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(str(path.parent))
    return str(error.value)


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("suffix", [".nii", ".mha", ".mhd", ".nrrd", ".nhdr", ".npz"])
def test_any_compression_around_any_format(
    tmp_path: Path, image: SimpleITK.Image, suffix: str, packer: str
) -> None:
    plain = tmp_path / f"scan{suffix}"
    if suffix == ".npz":
        np.savez(plain, hu=SimpleITK.GetArrayFromImage(image), spacing=[1, 2, 3])
    else:
        SimpleITK.WriteImage(image, str(plain), useCompression=True)
    expected = drr.read(plain).sha256
    once, twice = tmp_path / f"scan{suffix}.{packer}", tmp_path / "twice"
    once.write_bytes(PACKERS[packer](plain.read_bytes()))
    assert drr.read(once).sha256 == expected
    twice.write_bytes(gzip.compress(once.read_bytes()))
    assert drr.read(twice).sha256 == expected
    # Cut within the compressed data, at its end or in its middle.
    for keep in (-1, len(once.read_bytes()) // 2):
        (tmp_path / "cut").write_bytes(once.read_bytes()[:keep])
        assert "truncated" in refusal(tmp_path / "cut")


@pytest.mark.parametrize("packer", PACKERS)
def test_concatenated_streams_and_padding(
    tmp_path: Path, image: SimpleITK.Image, packer: str
) -> None:
    SimpleITK.WriteImage(image, str(tmp_path / "scan.nii"))
    raw = (tmp_path / "scan.nii").read_bytes()
    packed = b"".join(PACKERS[packer](raw[k : k + 100]) for k in range(0, len(raw), 100))
    (tmp_path / "parts").write_bytes(packed + bytes(512))
    assert drr.read(tmp_path / "parts").sha256 == drr.read(tmp_path / "scan.nii").sha256


def test_bare_arrays_are_unpacked_too(tmp_path: Path) -> None:
    hu = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    np.save(tmp_path / "a.npy", hu)
    (tmp_path / "a.npy.bz2").write_bytes(bz2.compress((tmp_path / "a.npy").read_bytes()))
    np.testing.assert_array_equal(drr.read(tmp_path / "a.npy.bz2", affine=np.eye(4)).hu, hu)


def test_a_pair_in_any_compression_and_case(tmp_path: Path, image: SimpleITK.Image) -> None:
    SimpleITK.WriteImage(image, str(tmp_path / "scan.hdr"))
    expected = drr.read(tmp_path / "scan.hdr").sha256
    header, voxels = (tmp_path / f"scan{end}" for end in (".hdr", ".img"))
    (tmp_path / "SCAN.HDR.GZ").write_bytes(gzip.compress(header.read_bytes()))
    (tmp_path / "SCAN.IMG.BZ2").write_bytes(bz2.compress(voxels.read_bytes()))
    header.unlink()
    voxels.unlink()
    for name in ("SCAN.HDR.GZ", "SCAN.IMG.BZ2"):
        assert drr.read(tmp_path / name).sha256 == expected


def test_too_many_layers_and_nothing_inside(tmp_path: Path, image: SimpleITK.Image) -> None:
    SimpleITK.WriteImage(image, str(tmp_path / "scan.nii"))
    packed = (tmp_path / "scan.nii").read_bytes()
    for _ in range(unpack.MOST_LAYERS + 1):
        packed = gzip.compress(packed)
    (tmp_path / "scan.gz").write_bytes(packed)
    assert "compressed more than 3 times" in refusal(tmp_path / "scan.gz")
    (tmp_path / "scan.gz").write_bytes(gzip.compress(b""))
    assert "holds nothing" in refusal(tmp_path / "scan.gz")


def test_without_zstandard_the_command_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    (tmp_path / "scan.nii.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(100))
    if sys.version_info >= (3, 14):
        assert "corrupt" in refusal(tmp_path / "scan.nii.zst")
        return
    with pytest.raises(MissingDependencyError, match=r"scan\.nii\.zst: .*pip install zstandard"):
        drr.read(tmp_path / "scan.nii.zst")


@pytest.mark.parametrize("packer", PACKERS)
def test_a_bomb_stops_at_a_multiple_of_its_size(
    tmp_path: Path, packer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many bytes are allowed, and under however many compressions."""
    monkeypatch.setattr(unpack, "ALWAYS", 1 << 22)
    header = np.zeros(1, np.dtype("V352")).tobytes()
    rows = struct.pack("<8h", 3, 4096, 4096, 64, 1, 1, 1, 1)
    header = struct.pack("<i", 348) + header[4:40] + rows + header[56:70]
    header += struct.pack("<2h", 4, 16) + bytes(34) + struct.pack("<f", 352)
    header = header.ljust(344, b"\0") + b"n+1\0" + bytes(4)
    content = PACKERS[packer](header + bytes(1 << 25))
    (tmp_path / "bomb").write_bytes(gzip.compress(content) if packer == "gz" else content)
    tracemalloc.start()
    text = refusal(tmp_path / "bomb", affine=np.eye(4))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "more than any CT of its size" in text
    assert peak - 2 * 4096 * 4096 * 64 < 1 << 27


# ---- slices --------------------------------------------------------------------------------------


@pytest.mark.parametrize("packer", PACKERS)
def test_every_slice_compressed(tmp_path: Path, packer: str) -> None:
    for k in range(6):
        (tmp_path / f"{k}.dcm.{packer}").write_bytes(PACKERS[packer](slice_file(k)))
    for path in (tmp_path, tmp_path / f"3.dcm.{packer}"):
        np.testing.assert_array_equal(drr.read(path).hu, SLICES)


@pytest.mark.parametrize("outer", ["", *PACKERS])
@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_tar_archives(tmp_path: Path, outer: str, kind: int) -> None:
    long = "" if kind == tarfile.USTAR_FORMAT else "ä" * 150
    files = {f"study {long}/{k}.dcm": slice_file(k) for k in range(6)}
    files["study/notes.txt"] = b"nothing"
    content = tarred(files, kind)
    path = tmp_path / "scan.tar"
    path.write_bytes(PACKERS[outer](content) if outer else content)
    np.testing.assert_array_equal(drr.read(path).hu, SLICES)


@pytest.mark.parametrize("archive", ["zip", "tar"])
def test_compressed_slices_in_archives(tmp_path: Path, archive: str) -> None:
    files = {f"{k}.dcm.gz": gzip.compress(slice_file(k)) for k in range(6)}
    path = tmp_path / "scan"
    if archive == "tar":
        path.write_bytes(bz2.compress(tarred(files)))
    else:
        with zipfile.ZipFile(path, "w") as made:
            for name, content in files.items():
                made.writestr(name, content)
        path.write_bytes(gzip.compress(path.read_bytes()))
    np.testing.assert_array_equal(drr.read(path).hu, SLICES)


def test_links_and_devices_in_a_tar_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(slice_file(6))
    buffer = io.BytesIO(tarred({f"../../{k}.dcm": slice_file(k) for k in range(6)}))
    with tarfile.open(fileobj=buffer, mode="a") as archive:
        for name, kind in (("l", tarfile.SYMTYPE), ("h", tarfile.LNKTYPE), ("d", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, str(tmp_path / "secret")
            archive.addfile(info)
    path = tmp_path / "inner" / "scan.tar"
    path.parent.mkdir()
    path.write_bytes(buffer.getvalue())
    np.testing.assert_array_equal(drr.read(path).hu, SLICES)
    assert sorted(tmp_path.iterdir()) == [tmp_path / "inner", tmp_path / "secret"]


def test_a_tar_agrees_with_python(tmp_path: Path) -> None:
    files = {f"{'x' * n}/{n}.dcm": bytes([n]) * n for n in (1, 99, 100, 101, 160, 255)}
    for kind in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        buffer = io.BytesIO(tarred(files, kind))
        members = tar_members(buffer, name="x", most=100)
        with tarfile.open(fileobj=io.BytesIO(buffer.getvalue())) as archive:
            assert [(m.name, m.start, m.size) for m in members] == [
                (info.name, info.offset_data, info.size) for info in archive
            ]


def test_damaged_tars_are_refused(tmp_path: Path) -> None:
    content = tarred({f"{k}.dcm": slice_file(k) for k in range(6)})
    path = tmp_path / "scan.tar"
    size = len(slice_file(0)) + 512
    for keep in (size - 600, size + 100, 4 * size):
        path.write_bytes(content[:keep])
        assert "tar archive" in refusal(path) or "truncated" in refusal(path)
    # A size below zero, with the checksum that belongs to it: Python's tarfile never ends.
    block = bytearray(content[:512])
    block[124:136] = b"\xff" * 12
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    path.write_bytes(bytes(block) + content[512:])
    assert "damaged tar archive" in refusal(path)


def test_random_damage_to_tars_never_escapes(tmp_path: Path) -> None:
    content = tarred({f"{'n' * 90}/{'ü' * 30}/{k}.dcm": slice_file(k) for k in range(6)})
    rng = random.Random(7)
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(rng.choice([1, 3])):
            at = rng.randrange(0, 2048)
            damaged[at] = rng.randrange(256)
            block = at // 512 * 512
            if rng.random() < 0.7:  # and the checksum mended
                damaged[block + 148 : block + 156] = b" " * 8
                total = sum(damaged[block : block + 512])
                damaged[block + 148 : block + 156] = f"{total:06o}\0 ".encode()
        with contextlib.suppress(ReadError):
            tar_members(io.BytesIO(bytes(damaged)), name="x", most=1000)


def test_only_dicom_is_unpacked_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large label map or a bomb beside the slices costs its first bytes only."""
    for k in range(6):
        (tmp_path / f"{k}.dcm").write_bytes(slice_file(k))
    (tmp_path / "labels.nii.gz").write_bytes(gzip.compress(bytes(1 << 26)))
    monkeypatch.setattr(containers, "MOST_UNPACKED", 1 << 20)
    monkeypatch.setattr(containers, "SLICE_RATIO", 1)
    volume = drr.read(tmp_path)
    np.testing.assert_array_equal(volume.hu, SLICES)
    assert not any("damaged" in note for note in volume.notes)


def test_a_slice_that_is_a_bomb_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "MOST_UNPACKED", 1 << 20)
    for k in range(6):
        (tmp_path / f"{k}.dcm.gz").write_bytes(gzip.compress(slice_file(k)))
    (tmp_path / "6.dcm.gz").write_bytes(gzip.compress(slice_file(6) + bytes(1 << 26)))
    assert any("1 damaged" in note for note in drr.read(tmp_path).notes)


# ---- zips ----------------------------------------------------------------------------------------


def zipped(path: Path) -> bytearray:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for k in range(6):
            archive.writestr(f"{k}.dcm", slice_file(k))
    return bytearray(path.read_bytes())


def test_a_zip_of_a_version_to_come(tmp_path: Path) -> None:
    path = tmp_path / "scan.zip"
    content = zipped(path)
    content[content.find(b"PK\x01\x02") + 6] = 148
    path.write_bytes(bytes(content))
    assert "not a whole zip file (zip file version 14.8)" in refusal(path)


def test_a_zip_that_promises_far_more_than_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "scan.zip"
    content = zipped(path)
    at = content.find(b"PK\x01\x02")
    content[at + 24 : at + 28] = (1 << 30).to_bytes(4, "little")
    path.write_bytes(bytes(content))
    assert "far beyond what a CT of its size does" in refusal(path)


def test_damage_to_zips_never_escapes(tmp_path: Path) -> None:
    path = tmp_path / "scan.zip"
    content = zipped(path)
    rng = random.Random(11)
    directory = content.find(b"PK\x01\x02")
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(rng.choice([1, 4])):
            at = rng.choice([rng.randrange(directory), rng.randrange(directory, len(content))])
            damaged[at] ^= 1 << rng.randrange(8)
        path.write_bytes(bytes(damaged))
        with contextlib.suppress(ReadError):
            drr.read(path)
