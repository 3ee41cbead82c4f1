"""NumPy's files of plain arrays, read within limits: nothing in them is run or believed.

NumPy parses headers as Python source and allocates what they ask for; `zipfile` and `zlib` have
errors of their own. Here every array must have exactly the bytes that its header says, and
everything else is one `DocumentError`.
"""

from __future__ import annotations

import math
import warnings
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from drr.errors import DocumentError, printable

__all__ = ["MAX_BYTES", "map_npy", "read_npz"]

MAX_BYTES = 4 << 30
"""Of all arrays of an NPZ file, unpacked."""

# The third is for fields whose names are no Latin, and plain arrays have none.
_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def map_npy(path: Path) -> NDArray[Any]:
    """The array of an NPY file, mapped into memory; nothing that is done to it reaches the file.

    Raises
    ------
    DocumentError
        For a file that is no plain array; the file is not named.
    OSError
        Where it cannot be opened.
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        try:
            shape, order, dtype = _header(file, size)
            # Copy on write: kernels are compiled for arrays that may be written to.
            return np.asarray(np.memmap(file, dtype, "c", file.tell(), shape, order))
        except DocumentError:
            raise
        except Exception as error:  # whatever parsing a damaged header leads to
            raise DocumentError(f"is no NumPy array ({printable(error, most=150)})") from None


def read_npz(path: Path, *, most: int = MAX_BYTES) -> dict[str, NDArray[Any]]:
    """All arrays of an NPZ file by name.

    Raises
    ------
    DocumentError
        For a file that is not an archive of plain arrays, or holds more than `most` bytes of them;
        the file is not named.
    OSError
        Where it cannot be opened.
    """
    with path.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                total = sum(info.file_size for info in members)
                if total > most:
                    raise DocumentError(f"holds {total} bytes; at most {most} are read")
                return {i.filename.removesuffix(".npy"): _member(archive, i) for i in members}
        except (DocumentError, MemoryError):
            raise
        except Exception as error:  # zlib's, struct's and many others', by what is damaged
            raise DocumentError(
                f"is no NPZ file of plain arrays ({printable(error, most=150)})"
            ) from None


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(info) as member:
        shape, order, dtype = _header(member, info.file_size)
        content = bytearray(member.read())  # to the end, which verifies the checksum
    return np.frombuffer(content, dtype, count=math.prod(shape)).reshape(shape, order=order)


def _header(file: IO[bytes], size: int) -> tuple[tuple[int, ...], Any, np.dtype[Any]]:
    """Shape, order and type of an array in a file of `size` bytes, which is read up to it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python's, of the source that a header is
        version = np.lib.format.read_magic(file)
        read = _READERS.get(version)
        if read is None:
            raise DocumentError(f"is of NPY's version {version}")
        shape, fortran, dtype = read(file)
    if dtype.hasobject or dtype.names or dtype.subdtype or any(count < 0 for count in shape):
        raise DocumentError(f"holds an array of {printable(dtype, most=60)}, not plain values")
    expected = math.prod(shape) * dtype.itemsize
    if size - file.tell() != expected:
        raise DocumentError(
            f"holds {size - file.tell()} bytes of an array of {printable(expected, most=30)}; copy "
            "it again"
        )
    return shape, "F" if fortran else "C", dtype
