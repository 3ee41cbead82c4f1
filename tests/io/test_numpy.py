"""NumPy files: with and without geometry."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

import drr
from drr.errors import ReadError


@pytest.fixture
def hu() -> np.ndarray:
    return np.arange(-1000, -1000 + 3 * 4 * 5).reshape(3, 4, 5).astype(np.int16)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_affine(tmp_path: Path, hu: np.ndarray, save: object) -> None:
    affine = np.array([[-2.0, 0, 0, 5], [0, 2, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1]])
    save(tmp_path / "scan.npz", hu=hu, affine=affine)  # type: ignore[operator]
    volume = drr.read(tmp_path / "scan.npz")
    np.testing.assert_array_equal(volume.hu, hu[:, :, ::-1])
    assert volume.orientation == "RPS"
    np.testing.assert_allclose(volume.affine[:3, 3], [-3, 6, 7])


def test_spacing_and_origin(tmp_path: Path, hu: np.ndarray) -> None:
    np.savez(tmp_path / "scan.npz", hu, spacing=[1, 2, 3], origin=[4, 5, 6])
    volume = drr.read(tmp_path / "scan.npz")
    np.testing.assert_array_equal(volume.hu, hu)
    np.testing.assert_allclose(volume.spacing, [1, 2, 3])
    np.testing.assert_allclose(volume.affine[:3, 3], [4, 5, 6])
    assert len(volume.notes) == 1


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<i2", ">i2", "u1", "<f4", ">f8"])
def test_bare_array_with_affine(tmp_path: Path, hu: np.ndarray, order: str, dtype: str) -> None:
    values = np.asarray(np.abs(hu) % 200, dtype, order=order)
    np.save(tmp_path / "scan.npy", values)
    volume = drr.read(tmp_path / "scan.npy", affine=np.diag([1, 1, 2, 1]))
    np.testing.assert_array_equal(volume.hu, values)
    assert volume.hu.dtype == np.int16


def test_bare_array_is_refused_with_a_hint(tmp_path: Path, hu: np.ndarray) -> None:
    np.save(tmp_path / "scan.npy", hu)
    with pytest.raises(ReadError, match=r"scan\.npy: a bare array .*numpy\.savez"):
        drr.read(tmp_path / "scan.npy")
    np.savez(tmp_path / "scan.npz", hu=hu)
    with pytest.raises(ReadError, match="neither 'affine'"):
        drr.read(tmp_path / "scan.npz")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"spacing": [1, 0, 1]}, "three positive"),
        ({"spacing": [1, -1, 1]}, "three positive"),
        ({"spacing": [1, 1]}, "three positive"),
        ({"spacing": [1, 1, 1], "origin": [1, 2]}, "three numbers"),
        ({"affine": np.zeros((4, 4))}, "singular"),
        ({"affine": np.eye(3)}, "4x4"),
        ({"affine": np.eye(4), "other": np.zeros(3), "hu": None}, "1 arrays|single slice|not a"),
        ({"affine": np.array(["a"] * 3)}, "does not hold numbers"),
    ],
)
def test_bad_geometry(
    tmp_path: Path, hu: np.ndarray, arrays: dict[str, object], message: str
) -> None:
    content = {"hu": hu, **arrays}
    if content["hu"] is None:
        del content["hu"]
    np.savez(tmp_path / "scan.npz", **content)  # type: ignore[arg-type]
    with pytest.raises(ReadError, match=message):
        drr.read(tmp_path / "scan.npz")


def test_several_arrays(tmp_path: Path, hu: np.ndarray) -> None:
    np.savez(tmp_path / "scan.npz", a=hu, b=hu, affine=np.eye(4))
    with pytest.raises(ReadError, match=r"2 arrays \(a, b\)"):
        drr.read(tmp_path / "scan.npz")


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", np.array([[[print]]], dtype=object), allow_pickle=True)
    with pytest.raises(ReadError, match="does not hold CT numbers"):
        drr.read(tmp_path / "scan.npy", affine=np.eye(4))


def test_shapes(tmp_path: Path, hu: np.ndarray) -> None:
    np.save(tmp_path / "one.npy", hu[None])
    assert drr.read(tmp_path / "one.npy", affine=np.eye(4)).shape == (3, 4, 5)
    for array, message in ((np.stack([hu, hu]), "4 dimensions"), (hu[0], "single slice")):
        np.save(tmp_path / "bad.npy", array)
        with pytest.raises(ReadError, match=message):
            drr.read(tmp_path / "bad.npy", affine=np.eye(4))


@pytest.mark.parametrize("keep", [7, 60, 140, 200])
def test_truncated_array(tmp_path: Path, hu: np.ndarray, keep: int) -> None:
    path = tmp_path / "scan.npy"
    np.save(path, hu)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ReadError, match=r"truncated|not a whole"):
        drr.read(path, affine=np.eye(4))


@pytest.mark.parametrize("header", ["{'shape': (99999, 9999, }", "(" * 40, "\\", "{'shape': 1}"])
def test_corrupt_header(tmp_path: Path, hu: np.ndarray, header: str) -> None:
    (tmp_path / "scan.npy").write_bytes(b"\x93NUMPY\x01\x00\x76\x00" + header.ljust(118).encode())
    with pytest.raises(ReadError, match=r"scan\.npy: not a whole NumPy array"):
        drr.read(tmp_path / "scan.npy")
    (tmp_path / "affine.npy").write_bytes((tmp_path / "scan.npy").read_bytes())
    np.save(tmp_path / "hu.npy", hu)
    with zipfile.ZipFile(tmp_path / "scan.npz", "w") as archive:
        archive.write(tmp_path / "hu.npy", "hu.npy")
        archive.write(tmp_path / "affine.npy", "affine.npy")
    with pytest.raises(ReadError, match=r"affine\.npy does not hold numbers"):
        drr.read(tmp_path / "scan.npz")


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.99])
def test_truncated_archive(tmp_path: Path, hu: np.ndarray, keep: float) -> None:
    path = tmp_path / "scan.npz"
    np.savez(path, hu=hu, affine=np.eye(4))
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * keep)])
    with pytest.raises(ReadError, match="not a whole"):
        drr.read(path)


def test_corrupt_archive(tmp_path: Path, hu: np.ndarray) -> None:
    path = tmp_path / "scan.npz"
    np.savez(path, hu=hu, affine=np.eye(4))
    raw = bytearray(path.read_bytes())
    raw[200] ^= 0xFF
    path.write_bytes(bytes(raw))
    with pytest.raises(ReadError, match="not a whole"):
        drr.read(path)


def test_bomb(tmp_path: Path) -> None:
    header = np.lib.format.header_data_from_array_1_0(np.zeros((2, 2, 2), np.int16))
    header["shape"] = (60000, 60000, 60000)
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("hu.npy", "w") as member:
            np.lib.format.write_array_header_1_0(member, header)
            member.write(bytes(1 << 20))
        with archive.open("affine.npy", "w") as member:
            np.lib.format.write_array(member, np.eye(4))
    with pytest.raises(ReadError, match="beyond the limit"):
        drr.read(path)


def test_not_finite(tmp_path: Path, hu: np.ndarray) -> None:
    values = hu.astype(np.float32)
    values[0, 0, 0] = np.inf
    np.save(tmp_path / "scan.npy", values)
    volume = drr.read(tmp_path / "scan.npy", affine=np.eye(4))
    assert any("NaN or infinite" in note for note in volume.notes)
    values[:] = np.nan
    np.save(tmp_path / "scan.npy", values)
    with pytest.raises(ReadError, match="NaN or infinite"):
        drr.read(tmp_path / "scan.npy", affine=np.eye(4))


def test_axes_of_one_are_left_out(tmp_path: Path, hu: np.ndarray) -> None:
    for place in range(4):
        np.save(tmp_path / "scan.npy", np.expand_dims(hu, place))
        np.testing.assert_array_equal(drr.read(tmp_path / "scan.npy", affine=np.eye(4)).hu, hu)


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(ReadError) as error:
        drr.read(path, **options)  # type: ignore[arg-type]
    text = str(error.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    assert "damaged" not in text  # foreseen, not caught
    return text


def test_damage_in_compressed_voxels(tmp_path: Path) -> None:
    """In every byte of the member: deflate, then the checksum."""
    path = tmp_path / "scan.npz"
    hu = np.random.default_rng(5).integers(-1000, 1000, (4, 5, 6)).astype(np.int16)
    np.savez_compressed(path, hu=hu, affine=np.eye(4))
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("hu.npy")
    start = info.header_offset + 30 + len("hu.npy")
    for at in range(start, start + info.compress_size, 3):
        damaged = bytearray(content)
        damaged[at] ^= 0xFF
        damaged[min(at + 1, len(damaged) - 1)] ^= 0x55
        path.write_bytes(bytes(damaged))
        try:
            volume = drr.read(path)
        except ReadError:
            refusal(path)
        else:  # padding bits after the last code mean nothing
            np.testing.assert_array_equal(volume.hu, hu)


@pytest.mark.parametrize(
    ("at", "value"),
    [(6, 148), (10, 99), (8, 1), (42, 0xFF)],
    ids=["version", "method", "encrypted", "offset"],
)
def test_damage_in_the_directory(tmp_path: Path, hu: np.ndarray, at: int, value: int) -> None:
    path = tmp_path / "scan.npz"
    np.savez(path, hu=hu, affine=np.eye(4))
    content = bytearray(path.read_bytes())
    content[content.find(b"PK\x01\x02") + at] = value
    path.write_bytes(bytes(content))
    refusal(path)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<i2', 'fortran_order': False, 'shape': (3, 4, " + "9" * 400 + ")}",
        "{'descr': '<i2', 'fortran_order': False, 'shape': (3, 4, -5)}",
        "{'descr': '<i2', 'fortran_order': False, 'shape': (3, 4, 10**9)}",
        "{'descr': '<i2', 'fortran_order': False, 'shape': ()}",
        "{'descr': '<V99999999', 'fortran_order': False, 'shape': (3, 4, 5)}",
        "{'descr': [('a', '<i2')], 'fortran_order': False, 'shape': (3, 4, 5)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (3, 4, 5)}",
        "{'descr': '\\d', 'fortran_order': False, 'shape': (3, 4, 5)}",
        "{'descr': '<c8', 'fortran_order': False, 'shape': (3, 4, 5)}",
        "{" * 900,
        "[" * 4000 + "]" * 4000,
    ],
)
@pytest.mark.filterwarnings("error")
def test_headers_of_every_kind(tmp_path: Path, hu: np.ndarray, header: str) -> None:
    text = header.encode()
    start = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    (tmp_path / "scan.npy").write_bytes(start + hu.tobytes())
    refusal(tmp_path / "scan.npy", affine=np.eye(4))
    with zipfile.ZipFile(tmp_path / "scan.npz", "w") as archive:
        archive.writestr("hu.npy", start + hu.tobytes())
    refusal(tmp_path / "scan.npz", affine=np.eye(4))


def test_two_arrays_of_one_name(tmp_path: Path, hu: np.ndarray) -> None:
    np.save(tmp_path / "hu.npy", hu)
    with zipfile.ZipFile(tmp_path / "scan.npz", "w") as archive:
        archive.write(tmp_path / "hu.npy", "hu.npy")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.write(tmp_path / "hu.npy", "hu.npy")
    assert "two arrays 'hu'" in refusal(tmp_path / "scan.npz", affine=np.eye(4))
