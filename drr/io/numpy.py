"""NumPy arrays: `.npy`, and `.npz` that says where its voxels lie."""

from __future__ import annotations

import contextlib
import io
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from drr.errors import DRRError, ReadError, printable
from drr.io.packed.inflate import drain
from drr.io.packed.unpack import open_seekable, open_unpacked
from drr.io.stored import Stored, check_grid, check_size
from drr.io.voxels import Mapped, Voxels, read_hu

__all__ = ["is_npy", "read_npy", "read_npz"]

NPY_MAGIC = b"\x93NUMPY"
GEOMETRY = ("affine", "spacing", "origin")


def is_npy(head: bytes) -> bool:
    """Whether the first bytes are those of a NumPy array."""
    return head.startswith(NPY_MAGIC)


def read_npy(path: Path, *, limit: int, threads: int | None = None) -> Stored:
    """Read a `(n2, n1, n0)` array of HU; a bare array has no affine."""
    with open_unpacked(path, limit=limit) as unpacked:
        size = None if unpacked.layers else path.stat().st_size
        voxels = _read_array(unpacked.stream, str(path), None, limit, size, threads)
    return Stored(
        voxels.hu,
        None,
        f"NumPy array{unpacked.label}",
        notes=voxels.notes,
        digests=voxels.digests,
        no_affine=(
            "a bare array does not say where its voxels lie; save it with "
            "numpy.savez(file, hu=array, affine=index_to_lps), or pass affine= to drr.read"
        ),
    )


def read_npz(path: Path, *, limit: int, threads: int | None = None) -> Stored:
    """Read an `.npz` archive.

    It holds one three-dimensional array, `(n2, n1, n0)` HU, under any name (`hu` where there are
    several), and either `affine`, `(4, 4)` from index `(i0, i1, i2, 1)` to LPS mm, or `spacing`,
    `(3,)` mm along x, y and z of an array whose axes run towards +z, +y and +x, with an optional
    `origin`, `(3,)` LPS mm of the first voxel.
    """
    name = str(path)
    with contextlib.ExitStack() as stack:
        file, label = stack.enter_context(open_seekable(path, limit=limit))
        with _whole(name):
            archive = stack.enter_context(zipfile.ZipFile(file))
            members = _members(archive, name)
            voxels_in = _voxels_in(members, name)
            geometry = {
                key: _small(archive, members[key], name) for key in GEOMETRY if key in members
            }
            affine, notes = _affine(geometry, name)
            member = _Member(stack.enter_context(archive.open(voxels_in)), name)
        voxels = _read_array(member, name, affine, limit, voxels_in.file_size, threads)
    return Stored(
        voxels.hu,
        affine,
        f"NumPy archive{label}",
        digests=voxels.digests,
        no_affine=(
            "holds neither 'affine' (4x4, index to LPS mm) nor 'spacing' (x, y, z in mm), so it "
            "does not say where its voxels lie; save one of them too, or pass affine= to drr.read"
        ),
        notes=notes + voxels.notes,
    )


@contextlib.contextmanager
def _whole(name: str) -> Iterator[None]:
    """Say of whatever `zipfile` and its decompressors raise that the archive is damaged."""
    try:
        yield
    except (DRRError, MemoryError):
        raise
    except Exception as error:
        text = printable(error, most=100) or type(error).__name__
        raise ReadError(f"{name}: not a whole .npz archive ({text}); save it again") from None


class _Member:
    """A file in the archive, as a stream of voxels."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file, self._name = file, name
        self.taken = 0

    def read(self, size: int) -> bytes:
        with _whole(self._name):
            part = self._file.read(size)
        self.taken += len(part)
        return part

    def readinto(self, buffer: memoryview, /) -> int:
        with _whole(self._name):
            count: int = self._file.readinto(buffer)  # type: ignore[attr-defined]
        return count

    def finish(self) -> None:
        """Read to the end, which verifies the checksum."""
        drain(self, self._name)


def _members(archive: zipfile.ZipFile, name: str) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        if info.filename.endswith(".npy"):
            key = info.filename.removesuffix(".npy")
            if key in members:
                raise ReadError(
                    f"{name}: holds two arrays {printable(key, most=40)!r}; save it again"
                )
            members[key] = info
    return members


def _voxels_in(members: dict[str, zipfile.ZipInfo], name: str) -> zipfile.ZipInfo:
    names = [key for key in members if key not in GEOMETRY]
    if "hu" in names:
        names = ["hu"]
    if len(names) != 1:
        listed = printable(", ".join(names[:10]), most=100) or "none"
        raise ReadError(
            f"{name}: holds {len(names)} arrays ({listed}) that could be the voxels; save the "
            "volume as 'hu'"
        )
    return members[names[0]]


def _affine(
    geometry: dict[str, NDArray[Any]], name: str
) -> tuple[NDArray[np.float64] | None, tuple[str, ...]]:
    if "affine" in geometry:
        return np.asarray(geometry["affine"], np.float64), ()
    if "spacing" not in geometry:
        return None, ()
    spacing = np.asarray(geometry["spacing"], np.float64).reshape(-1)
    origin = np.asarray(geometry.get("origin", np.zeros(3)), np.float64).reshape(-1)
    if spacing.size == 1:
        spacing = np.repeat(spacing, 3)
    if spacing.shape != (3,) or not np.isfinite(spacing).all() or (spacing <= 0).any():
        raise ReadError(
            f"{name}: 'spacing' is {spacing.tolist()}; three positive numbers (x, y, z in mm) "
            "are needed"
        )
    if origin.shape != (3,) or not np.isfinite(origin).all():
        raise ReadError(f"{name}: 'origin' is {origin.tolist()}; three numbers are needed")
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    return affine, ("Only a spacing is given; the axes were taken as (z, y, x) towards +LPS.",)


def _small(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> NDArray[Any]:
    if info.file_size > 4096:
        raise ReadError(f"{name}: {info.filename} is far too large to be a geometry")
    with archive.open(info) as member:
        content = io.BytesIO(member.read())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            array: NDArray[Any] = np.lib.format.read_array(content, allow_pickle=False)
        if array.dtype.kind not in "iuf":
            raise ValueError
        return array.astype(np.float64)
    except Exception:  # NumPy parses headers as Python source, which raises almost anything
        raise ReadError(
            f"{name}: {printable(info.filename, most=40)} does not hold numbers"
        ) from None


def _header(file: Any, name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether the first axis is fastest, and type."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            version = np.lib.format.read_magic(file)
            if version == (1, 0):
                return np.lib.format.read_array_header_1_0(file)
            return np.lib.format.read_array_header_2_0(file)
    except (DRRError, MemoryError):
        raise
    except Exception as error:  # as for geometry
        text = (str(error).splitlines() or [type(error).__name__])[0]
        raise ReadError(
            f"{name}: not a whole NumPy array ({printable(text, most=100)}); save it again"
        ) from None


def _read_array(
    file: Any,
    name: str,
    affine: NDArray[np.float64] | None,
    limit: int,
    size: int | None,
    threads: int | None,
) -> Voxels:
    """Voxels of an open `.npy` of `size` bytes; None where nobody knows."""
    shape, fortran, dtype = _header(file, name)
    if dtype.kind not in "iufb":
        raise ReadError(f"{name}: an array of {dtype} does not hold CT numbers; save int16 HU")
    n2, n1, n0 = check_grid(shape[::-1], name) if len(shape) <= 3 else _squeeze(shape, name)
    source: Any = file
    at = file.taken if isinstance(file, _Member) else 0 if size is None else file.tell()
    if size is not None and not isinstance(file, _Member):
        source = Mapped(file, at)
    check_size((n0, n1, n2), dtype.itemsize, name, limit, None if size is None else size - at)
    if not fortran:
        return read_hu([source], (n2, n1, n0), dtype, affine=affine, name=name, threads=threads)
    # Stored with the first axis fastest: the same array, its axes in the other order.
    if affine is not None and affine.shape == (4, 4):
        affine = affine[:, [2, 1, 0, 3]]
    turned = read_hu([source], (n0, n1, n2), dtype, affine=affine, name=name, threads=threads)
    return Voxels(turned.hu.transpose(), turned.digests, turned.notes)


def _squeeze(shape: tuple[int, ...], name: str) -> tuple[int, int, int]:
    """Axes of one element, of channels or frames, are no dimensions of the volume."""
    longer = [n for n in shape if n != 1]
    if len(longer) == 3:
        return check_grid(longer[::-1], name)
    return check_grid([*shape[-3:][::-1], *shape[:-3]], name)
