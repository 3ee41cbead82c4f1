"""Pixels of one DICOM file, native or compressed, as words and as the values in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from drr.errors import ReadError, printable
from drr.io.dicom.decode import Decoders
from drr.io.dicom.elements import integer, text, transfer_syntax
from drr.io.dicom.frames import Encoded, split
from drr.io.dicom.layout import Layout
from drr.io.stored import check_size

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Pixels"]

GREY = ("MONOCHROME2", "MONOCHROME1")


class Pixels:
    """The frames of a parsed DICOM file, decoded on demand.

    Parameters
    ----------
    dataset
        Parsed, with its pixel data unless they are given.
    data
        Uncompressed pixel data.
    name
        What error messages call the file.
    limit
        Bytes that the frames may take.
    decoders
        For compressed ones.

    Raises
    ------
    ReadError
        For pixels that are absent, truncated, not grey or not decodable.
    """

    def __init__(
        self,
        dataset: Dataset,
        data: bytes | None = None,
        *,
        name: str,
        limit: int,
        decoders: Decoders,
    ) -> None:
        self.name = name
        self.frames = max(integer(dataset, "NumberOfFrames", 1), 1)
        self.layout = Layout.of(dataset)
        self.shape = (integer(dataset, "Rows"), integer(dataset, "Columns"))
        self._syntax = self._known_syntax(dataset)
        self._check(dataset, data)
        check_size((*self.shape, self.frames), self.layout.allocated // 8, name, limit)
        self._decoders = decoders
        self._native: NDArray[Any] | None = None
        self._encoded: list[bytes] = []
        if self._syntax.is_compressed:
            self._encoded = split(dataset, self.frames, name=name)
        else:
            self._native = self._as_words(dataset.PixelData if data is None else data)

    def words(self, number: int) -> NDArray[Any]:
        """`(rows, columns)` words of a frame counted from 0; a read-only view maybe."""
        if self._native is not None:
            return self._native[number]
        frame = Encoded(
            self._encoded[number],
            str(self._syntax),
            *self.shape,
            self.layout.allocated,
            self.layout.stored,
            self.layout.signed is True,
        )
        return self._decoders.decode(frame, name=self.name)

    def _known_syntax(self, dataset: Dataset) -> Any:
        from pydicom.uid import ImplicitVRLittleEndian

        syntax = transfer_syntax(dataset)
        if syntax is None:
            return ImplicitVRLittleEndian
        if not syntax.is_transfer_syntax:
            raise ReadError(
                f"{self.name}: transfer syntax {printable(syntax, most=80)} does not exist; "
                "copy it again"
            )
        return syntax

    def _check(self, dataset: Dataset, data: bytes | None) -> None:
        name, layout = self.name, self.layout
        if data is None and "PixelData" not in dataset:
            raise ReadError(f"{name}: has no whole pixel data, so it is truncated; copy it again")
        if data is None and not isinstance(dataset.PixelData, bytes):
            raise ReadError(
                f"{name}: its pixel data have the value representation "
                f"{printable(dataset['PixelData'].VR, most=10)}, which is not for pixels; "
                "copy it again"
            )
        grey = text(dataset, "PhotometricInterpretation") or GREY[0]
        if integer(dataset, "SamplesPerPixel", 1) != 1 or grey not in GREY:
            raise ReadError(f"{name}: {grey} pixels are not CT numbers")
        if min(self.shape) < 1 or layout.allocated not in (8, 16, 32):
            raise ReadError(
                f"{name}: an image of {self.shape[0]} x {self.shape[1]} pixels of "
                f"{layout.allocated} bits is not CT"
            )
        if not 1 <= layout.stored <= layout.allocated or not 0 <= layout.high < layout.allocated:
            raise ReadError(
                f"{name}: {layout.stored} bits stored up to bit {layout.high} of "
                f"{layout.allocated} do not fit; correct BitsStored and HighBit"
            )

    def _as_words(self, data: bytes) -> NDArray[Any]:
        layout = self.layout
        dtype = np.dtype(f"{'i' if layout.signed else 'u'}{layout.allocated // 8}")
        dtype = dtype.newbyteorder("<" if self._syntax.is_little_endian else ">")
        count = self.frames * self.shape[0] * self.shape[1]
        if len(data) < count * dtype.itemsize:
            raise ReadError(
                f"{self.name}: has {len(data)} of {count * dtype.itemsize} bytes of pixel data, "
                "so it is truncated; copy it again"
            )
        return np.frombuffer(data, dtype, count).reshape(self.frames, *self.shape)
