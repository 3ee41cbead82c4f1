"""Reading in blocks on several threads: the same voxels as nibabel's, whatever the file is like."""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import drr
from drr.errors import ReadError
from drr.io import voxels
from drr.io.packed import inflate
from drr.io.packed.inflate import Inflater
from drr.io.voxels import Mapped, PatientOrder, read_hu
from drr.volume import Volume

ORIENTATIONS = [
    (axes, signs)
    for axes in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]
ENGINES = ["zlib"] if inflate._isal() is None else ["isal", "zlib"]
SMALL = 256  # bytes of a block: a few slices of the files made here, or less than one


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every decompressor that is installed, one after another."""
    if request.param == "zlib":
        monkeypatch.setattr(inflate, "_isal", lambda: None)
    return request.param


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files have many blocks."""
    monkeypatch.setattr(voxels, "BLOCK", SMALL)


def nifti(
    values: np.ndarray,
    affine: np.ndarray,
    *,
    endian: str = "<",
    slope: float = 1.0,
    intercept: float = 0.0,
) -> bytes:
    """A NIfTI-1 file with these stored values, `(i, j, k)`."""
    header = nibabel.Nifti1Header(endianness=endian)
    header.set_data_dtype(values.dtype.newbyteorder(endian))
    header.set_data_shape(values.shape)
    header.set_sform(affine, 1)
    header.set_xyzt_units("mm")
    header.set_slope_inter(slope, intercept)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    stored = values.astype(values.dtype.newbyteorder(endian)).tobytes("F")
    return header.binaryblock + bytes(4) + stored


def turned(axes: tuple[int, ...], signs: tuple[int, ...]) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = (np.diag([0.7, 0.8, 2.5]) * signs)[:, axes]
    affine[:3, 3] = [-11, 7, -40]
    return affine


def same_digest(volume: Volume) -> bool:
    """Whether the digest made while reading is the one made of the voxels."""
    return volume.sha256 == Volume(hu=volume.hu, affine=volume.affine).sha256


@st.composite
def stored_values(draw: st.DrawFn) -> np.ndarray:
    kind = draw(st.sampled_from(["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]))
    shape = tuple(draw(st.integers(2, 12)) for _ in range(3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    low, high = (-100, 100) if kind == "i1" else (0, 200) if kind == "u1" else (-1024, 3000)
    if kind[0] == "u":
        low = 0
    values = rng.uniform(low, high, shape)
    return (values if kind[0] == "f" else np.rint(values)).astype(kind)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    values=stored_values(),
    endian=st.sampled_from("<>"),
    orientation=st.sampled_from(ORIENTATIONS),
    slope=st.sampled_from([1.0, 2.0, -1.0, 0.5, 0.1]),
    intercept=st.sampled_from([0.0, -1024.0, 0.25]),
    packed=st.sampled_from(["", "one member", "many members", "garbage"]),
    threads=st.integers(1, 5),
)
def test_equals_nibabel(
    tmp_path_factory: pytest.TempPathFactory,
    values: np.ndarray,
    endian: str,
    orientation: tuple[tuple[int, ...], tuple[int, ...]],
    slope: float,
    intercept: float,
    packed: str,
    threads: int,
) -> None:
    content = nifti(values, turned(*orientation), endian=endian, slope=slope, intercept=intercept)
    path = tmp_path_factory.mktemp("fuzz") / ("scan.nii.gz" if packed else "scan.nii")
    if packed == "many members":
        third = len(content) // 3
        parts = (content[:third], content[third : 2 * third], b"", content[2 * third :])
        path.write_bytes(b"".join(gzip.compress(part, 1) for part in parts))
    else:
        path.write_bytes(gzip.compress(content, 1) if packed else content)
    oracle = nibabel.load(path)
    expected = np.rint(np.asarray(oracle.dataobj, np.float64)).T
    if packed == "garbage":
        with path.open("ab") as file:
            file.write(bytes(100) + b"garbage")
    volume = drr.read(path, threads=threads)
    np.testing.assert_array_equal(volume.stored_order(), expected)
    np.testing.assert_allclose(volume.spacing, [0.7, 0.8, 2.5], rtol=1e-6)
    assert volume.hu.flags.c_contiguous
    assert volume.hu.flags.writeable
    assert same_digest(volume)


@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS)
def test_patient_order_is_what_a_volume_needs(
    axes: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    """No copy is made of it, and its digests are those of the volume's slices."""
    target = PatientOrder((3, 4, 5), turned(axes, signs))
    target.hu[...] = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    target.digest(0, 3)
    volume = Volume.from_stored(target.hu, turned(axes, signs))
    assert np.shares_memory(volume.hu, target.hu)
    np.testing.assert_array_equal(volume.stored_order(), target.hu)
    digests = target.finish("scan").digests
    assert (digests is not None) == (volume.stored_axes[0] == 0)
    if digests is not None:
        assert volume.digest_of(digests) == volume.sha256


def test_patient_order_without_an_affine() -> None:
    for affine in (None, np.zeros((4, 4)), np.full((4, 4), np.nan), np.eye(3)):
        assert PatientOrder((3, 4, 5), affine).hu.flags.c_contiguous


def test_digest_is_of_what_was_read(tmp_path: Path) -> None:
    values = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(gzip.compress(nifti(values, turned((0, 1, 2), (-1, 1, -1)))))
    volume = drr.read(path)
    assert "sha256" in vars(volume)  # made on the way
    assert same_digest(volume)
    # An affine that is given may turn the voxels once more.
    for signs in itertools.product((1, -1), repeat=3):
        for axes in itertools.permutations(range(3)):
            assert same_digest(drr.read(path, affine=turned(axes, signs)))


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("orientation", ORIENTATIONS[::5])
def test_numpy_orders(
    tmp_path: Path,
    order: str,
    suffix: str,
    orientation: tuple[tuple[int, ...], tuple[int, ...]],
) -> None:
    values = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)
    affine, path = turned(*orientation), tmp_path / f"scan{suffix}"
    if suffix == ".npz":
        np.savez_compressed(path, hu=np.asarray(values, order=order), affine=affine)
        volume = drr.read(path)
    else:
        np.save(path, np.asarray(values, order=order))
        volume = drr.read(path, affine=affine)
    np.testing.assert_array_equal(volume.stored_order(), values)
    assert same_digest(volume)


# Inflating


def packings(data: bytes) -> dict[str, bytes]:
    """gzip and zlib streams of the same content, in every form that writers produce."""
    found = {f"gzip level {level}": gzip.compress(data, level) for level in range(10)}
    found |= {f"zlib level {level}": zlib.compress(data, level) for level in range(10)}
    for bits in range(9, 16):
        packer = zlib.compressobj(6, zlib.DEFLATED, bits)
        found[f"window of 2^{bits}"] = packer.compress(data) + packer.flush()
    for strategy in (zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE, zlib.Z_FIXED, zlib.Z_FILTERED):
        packer = zlib.compressobj(6, zlib.DEFLATED, 31, 8, strategy)
        found[f"strategy {strategy}"] = packer.compress(data) + packer.flush()
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    flushed = [
        packer.compress(data[k : k + 999]) + packer.flush(zlib.Z_FULL_FLUSH)
        for k in range(0, len(data), 999)
    ]
    found["flushed often"] = b"".join(flushed) + packer.flush()
    body = zlib.compress(data, 6)[2:-4]
    tail = struct.pack("<II", zlib.crc32(data), len(data))
    for flags in range(32):  # text, header checksum, extra field, name, comment
        head = b"\x1f\x8b\x08" + bytes([flags]) + bytes(4) + b"\0\x03"
        head += struct.pack("<H", 6) + b"abcdef" if flags & 4 else b""
        head += b"name.nii\0" if flags & 8 else b""
        head += b"comment\0" if flags & 16 else b""
        head += struct.pack("<H", zlib.crc32(head) & 0xFFFF) if flags & 2 else b""
        found[f"header flags {flags}"] = head + body + tail
    return found


def content(size: int) -> bytes:
    """Bytes that compress, with stretches that do not."""
    rng = np.random.default_rng(size)
    smooth = np.cumsum(rng.integers(-2, 3, size // 2)).astype(np.int16).tobytes()
    return smooth[: size // 2] + rng.bytes(size - size // 2)


@pytest.mark.usefixtures("engine")
def test_inflates_what_writers_produce() -> None:
    data = content(30_000)
    for name, packed in packings(data).items():
        stream = Inflater(io.BytesIO(packed), name="x", limit=1 << 20)
        buffer = bytearray(20_001)
        assert stream.read(777) == data[:777], name
        assert stream.readinto(memoryview(buffer)) == len(buffer)
        assert buffer == data[777 : 777 + len(buffer)], name
        assert stream.read(1 << 20) == data[777 + len(buffer) :], name
        stream.finish()
        assert stream.read(1) == b""


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("after", [b"", bytes(1), bytes(5000), b"garbage", b"\x1f", b"\x1f\x8c"])
def test_members_and_what_follows(after: bytes) -> None:
    data = content(200_000)
    parts = [data[:7], data[7:7], data[7:150_000], data[150_000:]]
    packed = b"".join(gzip.compress(part, 1) for part in parts) + after
    stream = Inflater(io.BytesIO(packed), name="x", limit=1 << 20)
    assert stream.read(1 << 20) == data
    stream.finish()


@pytest.mark.usefixtures("engine")
def test_many_small_members() -> None:
    """As bgzip writes them."""
    data = content(100_000)
    packed = b"".join(gzip.compress(data[k : k + 1000], 1) for k in range(0, len(data), 1000))
    assert Inflater(io.BytesIO(packed), name="x", limit=1 << 20).read(1 << 20) == data


@pytest.mark.usefixtures("engine")
def test_a_damaged_member_after_the_first() -> None:
    packed = gzip.compress(b"a" * 1000) + gzip.compress(content(5000))[:-700]
    stream = Inflater(io.BytesIO(packed), name="scan", limit=1 << 20)
    with pytest.raises(ReadError, match=r"^scan: the compressed data ends early after"):
        stream.read(1 << 20)


@pytest.mark.usefixtures("engine")
def test_expansion_stays_bounded() -> None:
    packed = zlib.compress(bytes(50_000_000), 9)
    stream = Inflater(io.BytesIO(packed), name="scan", limit=1_000_000)
    with pytest.raises(ReadError, match=r"^scan: expands beyond"):
        stream.readinto(memoryview(bytearray(50_000_000)))
    stream = Inflater(io.BytesIO(packed), name="scan", limit=1 << 30)
    assert stream.read(10) == bytes(10)
    with pytest.raises(ReadError, match="goes on far beyond"):
        stream.finish()


def test_bzip2_and_foreign_bytes() -> None:
    data = content(30_000)
    stream = Inflater(io.BytesIO(bz2.compress(data)), name="x", limit=1 << 20, codec="bzip2")
    assert stream.read(1 << 20) == data
    for codec in ("zlib", "bzip2"):
        stream = Inflater(io.BytesIO(b"neither"), name="scan", limit=1 << 20, codec=codec)
        with pytest.raises(ReadError, match=r"^scan: the compressed data"):
            stream.read(5)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_file_is_refused_or_harmless(tmp_path: Path, seed: int) -> None:
    """Bytes flipped, lost, doubled or cut off: an error that names the file, never other voxels."""
    rng = np.random.default_rng(seed)
    values = rng.integers(-1000, 1000, (9, 10, 11)).astype(np.int16)
    whole = gzip.compress(nifti(values, turned((0, 1, 2), (-1, -1, 1))), 1 + 4 * (seed % 2))
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(whole)
    expected = drr.read(path)
    before = threading.active_count()
    refused = 0
    for turn in range(120):
        damaged, at = bytearray(whole), int(rng.integers(len(whole)))
        if turn % 4 == 0:
            damaged[at] ^= 1 << int(rng.integers(8))
        elif turn % 4 == 1:
            del damaged[at : at + int(rng.integers(1, 50))]
        elif turn % 4 == 2:
            damaged[at:at] = damaged[at : at + 20]
        else:
            del damaged[at:]
        path.write_bytes(damaged)
        message = ""
        try:
            assert drr.read(path, threads=1 + turn % 3).sha256 == expected.sha256
        except ReadError as error:
            message = str(error)
            refused += 1
        assert not message or (message.startswith(str(path)) and "\n" not in message)
    assert refused > 100
    assert threading.active_count() <= before + 8  # the kernels' pool may have started
    assert not [t.name for t in threading.enumerate() if t.name.startswith("drr-read")]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


# Sources


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("bad", [np.nan, 1e6])
def test_a_bad_value_anywhere_is_found(
    tmp_path: Path, threads: int, suffix: str, bad: float
) -> None:
    path = tmp_path / f"scan{suffix}"
    for place in (0, 200, 8 * 9 * 10 - 1):
        values = np.zeros((8, 9, 10), np.float32)
        values.reshape(-1)[place] = bad
        raw = nifti(values, np.eye(4))
        path.write_bytes(gzip.compress(raw) if suffix == ".nii.gz" else raw)
        if np.isnan(bad):
            volume = drr.read(path, threads=threads)
            assert any(note.startswith("1 voxels") and "NaN" in note for note in volume.notes)
            assert same_digest(volume)
            continue
        with pytest.raises(ReadError, match="do not fit") as error:
            drr.read(path, threads=threads)
        assert str(error.value).startswith(str(path))


def test_mapped_at_any_offset(tmp_path: Path) -> None:
    values = np.random.default_rng(3).integers(-1000, 1000, (20, 30, 40)).astype("<i2")
    for offset in (0, 1, 352, 4095, 4096, 70_001):
        path = tmp_path / "scan.raw"
        path.write_bytes(bytes(offset) + values.tobytes())
        with path.open("rb") as file:
            found = read_hu([Mapped(file, offset)], (20, 30, 40), values.dtype, name="x", threads=3)
        np.testing.assert_array_equal(found.hu, values)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_file_that_cannot_be_mapped_is_read(threads: int) -> None:
    values = np.random.default_rng(3).integers(-1000, 1000, (20, 30, 40)).astype(">i2")
    file = io.BytesIO(bytes(17) + values.tobytes())
    found = read_hu([Mapped(file, 17)], (20, 30, 40), values.dtype, name="x", threads=threads)
    np.testing.assert_array_equal(found.hu, values)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_file_that_shrank_meanwhile(tmp_path: Path, threads: int) -> None:
    path = tmp_path / "scan.raw"
    path.write_bytes(bytes(20 * 30 * 40 * 2 - 1))
    with (
        path.open("rb") as file,
        pytest.raises(ReadError, match=r"^scan\.raw: the voxels end after \d+ of 48000 bytes"),
    ):
        read_hu([Mapped(file, 0)], (20, 30, 40), np.dtype("<i2"), name="scan.raw", threads=threads)


def test_a_volume_does_not_change_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii"
    values = np.ones((8, 9, 10), np.int16)
    path.write_bytes(nifti(values, np.diag([-1.0, -1, 1, 1])))
    volume = drr.read(path)
    path.write_bytes(b"")
    assert volume.hu.min() == volume.hu.max() == 1


@pytest.mark.parametrize("parts", [1, 2, 5, 10])
@pytest.mark.parametrize("threads", [1, 3])
def test_parts_are_joined(parts: int, threads: int) -> None:
    values = np.random.default_rng(3).integers(-1000, 1000, (10, 6, 7)).astype("<i2")
    pieces = [piece.tobytes() for piece in np.split(values, parts)]
    for affine in (None, turned((2, 0, 1), (1, -1, -1))):
        found = read_hu(
            (io.BytesIO(piece) for piece in pieces),
            (10, 6, 7),
            values.dtype,
            affine=affine,
            parts=parts,
            name="x",
            threads=threads,
        )
        np.testing.assert_array_equal(found.hu, values)


class Dripping(io.BytesIO):
    """A stream that never gives all that is asked for."""

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        return super().readinto(buffer[: max(1, min(len(buffer), 37))])


def test_short_reads_are_no_end() -> None:
    values = np.arange(4 * 5 * 6, dtype="<i2").reshape(4, 5, 6)
    found = read_hu([Dripping(values.tobytes())], (4, 5, 6), values.dtype, name="x")
    np.testing.assert_array_equal(found.hu, values)
    with pytest.raises(ReadError, match="end after 239 of 240 bytes"):
        read_hu([Dripping(values.tobytes()[:-1])], (4, 5, 6), values.dtype, name="x")


MEMORY = """
import re, sys, drr
def peak():
    return 1024 * int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])
drr.read(sys.argv[2], threads=2)
before = peak()
volume = drr.read(sys.argv[1], threads=2)
print((peak() - before) / volume.hu.nbytes)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the peak on Linux only")
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1)])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_peak_memory(tmp_path: Path, suffix: str, signs: tuple[int, ...]) -> None:
    """Below 1.3 volumes of int16, whether or not axes are reversed."""
    plane = np.random.default_rng(5).integers(-1000, 1000, (64, 64)).astype(np.int16)
    files = []
    for name, shape in (("large", (512, 512, 160)), ("small", (64, 64, 16))):
        values = np.tile(plane, (shape[0] // 64, shape[1] // 64))[..., None]
        raw = nifti(np.broadcast_to(values, shape), turned((0, 1, 2), signs))
        files.append(tmp_path / f"{name}{suffix}")
        files[-1].write_bytes(gzip.compress(raw, 1) if suffix == ".nii.gz" else raw)
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, *map(str, files)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert 0.9 < float(done.stdout) < 1.3


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.tuples(st.integers(2, 40), st.integers(1, 9), st.integers(1, 90)),
    threads=st.integers(1, 6),
)
def test_blocks_cover_every_slice(sizes: tuple[int, int, int], threads: int) -> None:
    values = np.arange(np.prod(sizes)).astype("<u2").reshape(sizes) % 3000
    found = read_hu([io.BytesIO(values.tobytes())], sizes, values.dtype, name="x", threads=threads)
    np.testing.assert_array_equal(found.hu, values)
