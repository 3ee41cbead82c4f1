"""NumPy's files: plain arrays are read, everything else is one error."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from drr.errors import DocumentError
from drr.files.arrays import map_npy, read_npz


def npy(header: bytes, content: bytes = b"", *, version: int = 1) -> bytes:
    size = 2 if version == 1 else 4
    return (
        b"\x93NUMPY" + bytes([version, 0]) + len(header).to_bytes(size, "little") + header + content
    )


SOUND = b"{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3), }\n"


def test_arrays_are_read_as_they_were_saved(tmp_path: Path) -> None:
    values = {
        "numbers": np.arange(12.0).reshape(3, 4),
        "turned": np.asfortranarray(np.arange(12, dtype=np.int16).reshape(3, 4)),
        "names": np.array(["a", "Größe"]),
        "one": np.array(7),
        "none": np.empty((0, 3), np.float32),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **values)
        found = read_npz(tmp_path / "a.npz")
        assert list(found) == list(values)
        for name, array in values.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype
            assert found[name].flags.writeable
    for name in ("numbers", "turned"):
        np.save(tmp_path / "a.npy", values[name])
        mapped = map_npy(tmp_path / "a.npy")
        np.testing.assert_array_equal(mapped, values[name])
        mapped[0, 0] = 99  # in memory, not in the file
        np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), values[name])


BAD = [
    b"",
    b"x" * 200,
    b"\x93NUMPY",
    npy(SOUND),
    npy(SOUND, bytes(11)),
    npy(SOUND, bytes(13)),
    npy(SOUND, bytes(12), version=9),
    npy(b"{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3"),
    npy(b"{'descr': '<i2', 'fortran_order': False, 'shape': (-2, 3), }"),
    npy(b"{'descr': '<i2', 'fortran_order': False, 'shape': (1" + b"0" * 400 + b",), }"),
    npy(b"{'descr': '<i2', 'fortran_order': False, 'shape': (99999999, 99999999), }", bytes(12)),
    npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (2,), }", bytes(16)),
    npy(b"{'descr': [('a', '<i2')], 'fortran_order': False, 'shape': (2,), }", bytes(4)),
    npy(b"{'descr': 'nonsense', 'fortran_order': False, 'shape': (2,), }", bytes(4)),
    npy(b"{'descr': '<i2', 'fortran_order': 3, 'shape': 7, }", bytes(14)),
    npy(b"[" * 5000),
    npy(b"{'descr': '\\xzz', 'fortran_order': False, 'shape': (2,), }", bytes(4)),
    npy(b"0if 1else 2"),
    npy(b"\xff\xfe\x00"),
    npy(b"{" + b"1:" * 60000, version=2),
]


@pytest.mark.parametrize("content", BAD, ids=range(len(BAD)))
def test_damaged_arrays_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(DocumentError) as info:
        map_npy(path)
    assert len(str(info.value)) < 300
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", content)
    with pytest.raises(DocumentError):
        read_npz(tmp_path / "a.npz")


@pytest.mark.parametrize("packed", [False, True])
def test_flipped_bytes_of_an_archive_are_refused_or_change_nothing(
    tmp_path: Path, packed: bool
) -> None:
    """Checksums hold the values; what a directory says besides may be of no consequence."""
    buffer = io.BytesIO()
    values = np.arange(50)
    (np.savez_compressed if packed else np.savez)(buffer, a=values)
    sound, path = buffer.getvalue(), tmp_path / "a.npz"
    refused = 0
    for place in range(0, len(sound), 3):
        content = bytearray(sound)
        content[place] ^= 0x55
        path.write_bytes(content)
        try:
            found = read_npz(path)
        except DocumentError:
            refused += 1
            continue
        for array in found.values():
            np.testing.assert_array_equal(array, values)
    assert refused > len(sound) // 6


def test_archives_that_unpack_to_more_than_they_may(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(10**6))
    with pytest.raises(DocumentError, match=r"holds 8000128 bytes; at most 1000000 are read"):
        read_npz(tmp_path / "a.npz", most=10**6)
    with pytest.raises(FileNotFoundError):
        read_npz(tmp_path / "none.npz")
    with pytest.raises(FileNotFoundError):
        map_npy(tmp_path / "none.npy")
