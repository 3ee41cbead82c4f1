"""NumPy arrays: `.npy`, and `.npz` that says where its voxels lie."""

from __future__ import annotations

import tokenize
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.errors import ReadError
from drr.io.stored import Stored, check_grid, check_size
from drr.io.voxels import Mapped, Voxels, read_hu

__all__ = ["read_npy", "read_npz"]

NPY_MAGIC = b"\x93NUMPY"
GEOMETRY = ("affine", "spacing", "origin")
# NumPy parses headers as Python source, twice over.
BAD_HEADER = (ValueError, TypeError, SyntaxError, tokenize.TokenError)


def read_npy(path: Path, *, limit: int, threads: int | None = None) -> Stored:
    """Read a `(n2, n1, n0)` array of HU; a bare array has no affine."""
    with path.open("rb") as file:
        voxels = _read_array(file, str(path), None, limit, path.stat().st_size, threads)
    return Stored(
        voxels.hu,
        None,
        "NumPy array",
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
    try:
        with zipfile.ZipFile(path) as archive:
            members = {
                info.filename.removesuffix(".npy"): info
                for info in archive.infolist()
                if info.filename.endswith(".npy")
            }
            names = [key for key in members if key not in GEOMETRY]
            if "hu" in names:
                names = ["hu"]
            if len(names) != 1:
                raise ReadError(
                    f"{name}: holds {len(names)} arrays ({', '.join(names) or 'none'}) that could"
                    " be the voxels; save the volume as 'hu'"
                )
            geometry = {
                key: _small(archive, members[key], name) for key in GEOMETRY if key in members
            }
            affine, notes = _affine(geometry, name)
            with archive.open(members[names[0]]) as member:
                size = members[names[0]].file_size
                voxels = _read_array(member, name, affine, limit, size, threads)
                while member.read(1 << 20):  # to the end: verifies the checksum
                    pass
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise ReadError(f"{name}: not a whole .npz archive ({error}); save it again") from None
    return Stored(
        voxels.hu,
        affine,
        "NumPy archive",
        digests=voxels.digests,
        no_affine=(
            "holds neither 'affine' (4x4, index to LPS mm) nor 'spacing' (x, y, z in mm), so it "
            "does not say where its voxels lie; save one of them too, or pass affine= to drr.read"
        ),
        notes=notes + voxels.notes,
    )


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
        try:
            array: NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
            return array.astype(np.float64)
        except BAD_HEADER:
            raise ReadError(f"{name}: {info.filename} does not hold numbers") from None


def _read_array(
    file: Any,
    name: str,
    affine: NDArray[np.float64] | None,
    limit: int,
    size: int,
    threads: int | None,
) -> Voxels:
    """Voxels of an open `.npy` of `size` bytes."""
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    except BAD_HEADER as error:
        raise ReadError(
            f"{name}: not a whole NumPy array ({str(error).splitlines()[0]}); save it again"
        ) from None
    if dtype.kind not in "iufb":
        raise ReadError(f"{name}: an array of {dtype} does not hold CT numbers; save int16 HU")
    n2, n1, n0 = check_grid(shape[::-1], name) if len(shape) <= 3 else _squeeze(shape, name)
    check_size((n0, n1, n2), dtype.itemsize, name, limit, size - file.tell())
    source = file if isinstance(file, zipfile.ZipExtFile) else Mapped(file, file.tell())
    if not fortran:
        return read_hu([source], (n2, n1, n0), dtype, affine=affine, name=name, threads=threads)
    # Stored with the first axis fastest: the same array, its axes in the other order.
    if affine is not None and affine.shape == (4, 4):
        affine = affine[:, [2, 1, 0, 3]]
    turned = read_hu([source], (n0, n1, n2), dtype, affine=affine, name=name, threads=threads)
    return Voxels(turned.hu.transpose(), turned.digests)


def _squeeze(shape: tuple[int, ...], name: str) -> tuple[int, int, int]:
    """A leading axis of one frame is no fourth dimension."""
    return check_grid([*shape[-3:][::-1], *shape[:-3]], name)
