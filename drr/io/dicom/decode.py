"""Compressed frames decoded, in another process where the decoder is not Python.

Decoders in C crash and run away over damaged data: a run-length frame without segments divides by
zero, a lossless JPEG of 17 bits writes past its end. What they do, they do to a child process with
limits; the frame is then refused. The child lives as long as its `Decoders`, for starting one takes
as long as decoding several slices.
"""

from __future__ import annotations

import atexit
import os
import tempfile
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from drr.errors import ReadError, printable
from drr.io.dicom.files import quiet
from drr.io.dicom.frames import Encoded, check
from drr.isolated import Isolated, IsolatedError

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Decoders", "lasting_decoders"]

DECODER = "drr.io.dicom.decode:decode_here"

MOST_PROCESSES = 8

BASE_MEMORY = 2 << 30
"""Bytes of address space for the libraries themselves; they take a quarter of it."""

MEMORY_PER_PIXEL = 64
"""Bytes of address space; decoders of JPEG 2000 take about 20."""

BASE_SECONDS = 120.0
"""For one frame, the start of the process included, on a busy machine."""

PIXELS_PER_SECOND = 1 << 18
"""Of larger frames; even slow decoders do ten times as many."""


class Decoders:
    """Processes that decode frames for the threads of this one; started when first needed.

    Used as a context manager, or closed by hand.

    Parameters
    ----------
    most
        Processes at a time; other threads wait for one.
    """

    def __init__(self, most: int = 1) -> None:
        self._idle: deque[Isolated] = deque()
        self._all: list[Isolated] = []
        self._places = threading.Semaphore(max(1, min(most, MOST_PROCESSES)))
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Decoders:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def decode(self, frame: Encoded, *, name: str) -> NDArray[Any]:
        """`(rows, columns)` words of a frame; signed ones if the frame says so.

        Raises
        ------
        ReadError
            For a frame that `check` refuses or no decoder takes, or that is the end of one.
        """
        check(frame, name=name)
        try:
            if _is_python(frame):
                return _with_pydicom(frame)
            return self._elsewhere(frame)
        except Exception as error:  # any decoder, any damage
            reason = printable(error, most=200) or type(error).__name__
        raise ReadError(
            f"{name}: its {_syntax_name(frame)} pixels cannot be decoded ({reason}); "
            "if the file is whole, decompress it first (gdcmconv --raw)"
        )

    def close(self) -> None:
        """End the processes."""
        with self._lock:
            for process in self._all:
                process.close()
            self._all.clear()
            self._idle.clear()
            if self._folder is not None:
                self._folder.cleanup()
                self._folder = None

    def _elsewhere(self, frame: Encoded) -> NDArray[Any]:
        pixels = frame.rows * frame.columns
        with self._places:
            process, folder = self._take()
            try:
                decoded: NDArray[Any] = process.call(
                    DECODER,
                    frame,
                    folder,
                    seconds=BASE_SECONDS + pixels / PIXELS_PER_SECOND,
                    max_bytes=BASE_MEMORY + MEMORY_PER_PIXEL * pixels,
                )
            except IsolatedError as error:
                raise ValueError(f"the decoder was stopped: {error}") from None
            finally:
                self._idle.append(process)
        return decoded

    def _take(self) -> tuple[Isolated, str]:
        with self._lock:
            if self._folder is None:
                # Of this process: one that was killed cannot clean up.
                self._folder = tempfile.TemporaryDirectory(prefix="drr-")
            if not self._idle:
                self._all.append(Isolated())
                self._idle.append(self._all[-1])
            return self._idle.popleft(), self._folder.name


_lasting: dict[int, Decoders] = {}


def lasting_decoders() -> Decoders:
    """One process that stays, for files that are read one by one all along."""
    pid = os.getpid()
    if pid not in _lasting:  # first use, or the child of a fork
        _lasting[pid] = Decoders()
        atexit.register(_lasting[pid].close)
    return _lasting[pid]


def decode_here(frame: Encoded, folder: str) -> NDArray[Any]:
    """Decode a frame with whatever decoders there are, at the risk of this process.

    Parameters
    ----------
    frame
        Compressed frame that `check` has passed.
    folder
        For files on the way to a decoder.

    Raises
    ------
    ValueError
        With the reason of the first decoder.
    """
    reasons = []
    for decode in (_with_pydicom, lambda frame: _with_gdcm(frame, folder)):
        try:
            decoded = decode(frame)
            if decoded.shape == (frame.rows, frame.columns) and decoded.dtype.kind in "iu":
                return np.ascontiguousarray(decoded)
            reasons.append(f"the decoded image is {decoded.shape}")
        except MemoryError:
            raise
        except Exception as error:  # any decoder, any damage
            reasons.append(printable(error, most=200))
    raise ValueError(reasons[0])


def _is_python(frame: Encoded) -> bool:
    from pydicom.uid import RLELossless

    return frame.syntax == RLELossless


def _with_pydicom(frame: Encoded) -> NDArray[Any]:
    from pydicom.pixels.utils import pixel_array

    with quiet():
        return pixel_array(
            _one_frame(frame),
            index=0,
            raw=True,
            decoding_plugin="pydicom" if _is_python(frame) else "",
        )


def _with_gdcm(frame: Encoded, folder: str) -> NDArray[Any]:
    """Through SimpleITK, which carries decoders that pydicom may lack."""
    import SimpleITK

    path = Path(folder) / f"{os.getpid()}.dcm"
    try:
        _one_frame(frame).save_as(path, enforce_file_format=True)
        decoded = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    finally:
        path.unlink(missing_ok=True)
    return np.asarray(decoded.reshape(decoded.shape[-2:]))


def _one_frame(frame: Encoded) -> Dataset:
    """A secondary capture of nothing but the frame: without a rescale slope, stored values come."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID, SecondaryCaptureImageStorage

    dataset = Dataset()
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = "2.25.1"
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = frame.rows, frame.columns
    dataset.BitsAllocated, dataset.BitsStored = frame.allocated, frame.stored
    dataset.HighBit = frame.stored - 1
    dataset.PixelRepresentation = int(frame.signed)
    dataset.add_new("PixelData", "OB", encapsulate([frame.data], has_bot=False))
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = UID(frame.syntax)
    return dataset


def _syntax_name(frame: Encoded) -> str:
    from pydicom.uid import UID

    return UID(frame.syntax).name
