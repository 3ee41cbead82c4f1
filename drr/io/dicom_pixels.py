"""Stored pixel values of one DICOM file, native or compressed."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from drr.errors import ReadError
from drr.io.dicom_files import integer, printable, quiet, text
from drr.io.stored import check_size

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Pixels"]

_GDCM = threading.Lock()


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

    Raises
    ------
    ReadError
        For pixels that are absent, truncated, not grey or not decodable.
    """

    def __init__(
        self, dataset: Dataset, data: bytes | None = None, *, name: str, limit: int
    ) -> None:
        self._dataset = dataset
        self._data = data
        self.name = name
        self.frames = max(integer(dataset, "NumberOfFrames", 1), 1)
        self._shape = (integer(dataset, "Rows"), integer(dataset, "Columns"))
        self._allocated = integer(dataset, "BitsAllocated")
        self._stored = integer(dataset, "BitsStored", self._allocated)
        self._signed = integer(dataset, "PixelRepresentation") == 1
        self._check()
        check_size((*self._shape, self.frames), self._allocated // 8, name, limit)
        self._all: NDArray[Any] | None = None
        if not self._syntax.is_compressed:
            self._all = self._native()

    def frame(self, number: int) -> NDArray[Any]:
        """`(rows, columns)` stored values of a frame counted from 0; a read-only view maybe."""
        if self._all is None:
            return self._declared_bits(self._decode(number))
        return self._declared_bits(self._all[number])

    @property
    def _syntax(self) -> Any:
        return self._dataset.file_meta.TransferSyntaxUID

    def _check(self) -> None:
        from pydicom.uid import ImplicitVRLittleEndian

        dataset, name = self._dataset, self.name
        if self._data is None and "PixelData" not in dataset:
            raise ReadError(f"{name}: has no whole pixel data, so it is truncated; copy it again")
        if not getattr(dataset, "file_meta", None) or "TransferSyntaxUID" not in dataset.file_meta:
            from pydicom.dataset import FileMetaDataset

            dataset.file_meta = FileMetaDataset()
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        if not self._syntax.is_transfer_syntax:
            raise ReadError(
                f"{name}: transfer syntax {printable(self._syntax)} does not exist; copy it again"
            )
        grey = text(dataset, "PhotometricInterpretation") or "MONOCHROME2"
        if integer(dataset, "SamplesPerPixel", 1) != 1 or grey != "MONOCHROME2":
            raise ReadError(f"{name}: {grey} pixels are not CT numbers")
        if min(self._shape) < 1 or self._allocated not in (8, 16, 32):
            raise ReadError(
                f"{name}: an image of {self._shape[0]} x {self._shape[1]} pixels of "
                f"{self._allocated} bits is not CT"
            )
        high = integer(dataset, "HighBit", self._stored - 1)
        if not 1 <= self._stored <= self._allocated or high != self._stored - 1:
            raise ReadError(
                f"{name}: {self._stored} bits stored up to bit {high} of {self._allocated} is a "
                "layout that DICOM has retired; convert the file first"
            )

    def _native(self) -> NDArray[Any]:
        data = self._dataset.PixelData if self._data is None else self._data
        dtype = np.dtype(f"{'i' if self._signed else 'u'}{self._allocated // 8}")
        dtype = dtype.newbyteorder("<" if self._syntax.is_little_endian else ">")
        count = self.frames * self._shape[0] * self._shape[1]
        if len(data) < count * dtype.itemsize:
            raise ReadError(
                f"{self.name}: has {len(data)} of {count * dtype.itemsize} bytes of pixel data, "
                "so it is truncated; copy it again"
            )
        return np.frombuffer(data, dtype, count).reshape(self.frames, *self._shape)

    def _decode(self, number: int) -> NDArray[Any]:
        from pydicom.pixels.utils import pixel_array

        reasons = []
        try:
            with quiet():
                frame: NDArray[Any] = pixel_array(self._dataset, index=number, raw=True)
            if frame.shape == self._shape:
                return frame
            reasons.append(f"the decoded image is {frame.shape}")
        except Exception as error:  # any decoder, any damage
            reasons.append(printable(error))
        try:
            with _GDCM:  # whose tables belong to the process
                if self._all is None:
                    self._all = self._decode_with_gdcm()
            return np.asarray(self._all[number])
        except Exception as error:
            reasons.append(printable(error))
        raise ReadError(
            f"{self.name}: its {self._syntax.name} pixels cannot be decoded ({reasons[0]}); "
            "if the file is whole, decompress it first (gdcmconv --raw)"
        )

    def _decode_with_gdcm(self) -> NDArray[Any]:
        """All frames through SimpleITK, which carries decoders that pydicom may lack.

        The file handed over has no rescale slope and intercept, so that stored values come back.
        """
        import SimpleITK

        with tempfile.TemporaryDirectory(prefix="drr-") as folder:
            path = Path(folder) / "frames.dcm"
            _bare_copy(self._dataset, self.frames).save_as(path, enforce_file_format=True)
            frames = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
        if frames.size != self.frames * self._shape[0] * self._shape[1]:
            raise ValueError(f"the decoded image is {frames.shape}")
        return np.asarray(frames.reshape(self.frames, *self._shape))

    def _declared_bits(self, frame: NDArray[Any]) -> NDArray[Any]:
        """Values of `BitsStored` bits: bits above them may hold anything and do not count."""
        if self._stored == self._allocated or frame.dtype.kind not in "iu":
            return frame
        low, high = 0, 2**self._stored - 1
        if self._signed:
            low, high = -(2 ** (self._stored - 1)), 2 ** (self._stored - 1) - 1
        if low <= frame.min() and frame.max() <= high:
            return frame
        wide = frame.astype(np.int32)
        values: NDArray[Any] = wide & (2**self._stored - 1)
        if self._signed:
            values -= (values > high).astype(np.int32) << self._stored
        # Some scanners pad unsigned pixels with a negative number in all the allocated bits.
        if "PixelPaddingValue" in self._dataset:
            padding = integer(self._dataset, "PixelPaddingValue") % 2**self._allocated
            negative = padding - 2**self._allocated if padding >> (self._allocated - 1) else padding
            values[wide % 2**self._allocated == padding] = negative
        return values


def _bare_copy(dataset: Dataset, frames: int) -> Any:
    """A secondary capture of nothing but the pixels."""
    from pydicom.dataset import Dataset as NewDataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import (
        MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
        SecondaryCaptureImageStorage,
        generate_uid,
    )

    copy = NewDataset()
    for element in dataset:
        copy.add(element)
    copy.SOPClassUID = (
        SecondaryCaptureImageStorage
        if frames == 1
        else MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    )
    copy.SOPInstanceUID = generate_uid()
    copy.file_meta = FileMetaDataset()
    copy.file_meta.MediaStorageSOPClassUID = copy.SOPClassUID
    copy.file_meta.MediaStorageSOPInstanceUID = copy.SOPInstanceUID
    copy.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    return copy
