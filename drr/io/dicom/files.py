"""DICOM files: told from others and parsed, pixels left alone."""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
import zipfile
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, BinaryIO, cast

from drr.errors import ReadError, printable
from drr.io.dicom.deflated import Deflated, is_deflated
from drr.io.dicom.elements import convert, transfer_syntax
from drr.io.dicom.values import OVERLAYS
from drr.io.packed.containers import Source

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = [
    "IDENTIFIERS",
    "is_dicom",
    "load",
    "load_header",
    "pixel_bytes",
    "quiet",
]

IDENTIFIERS = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "OtherPatientIDs",
    "IssuerOfPatientID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "StudyID",
    "AccessionNumber",
    "StudyDate",
    "StudyTime",
    "SeriesDate",
    "SeriesTime",
    "AcquisitionDate",
    "AcquisitionTime",
    "ContentDate",
    "ContentTime",
    "ReferringPhysicianName",
    "InstitutionName",
    "StudyDescription",
    "SeriesDescription",
)
"""Attributes of the first slice that go to `Volume.identifiers`, and nowhere else."""

HEADER: tuple[str | int, ...] = (
    *IDENTIFIERS,
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "SeriesNumber",
    "ImageType",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PatientPosition",
    "PatientOrientation",
    "SliceLocation",
    "GantryDetectorTilt",
    "PixelSpacing",
    "ReconstructionDiameter",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "ModalityLUTSequence",
    "AcquisitionNumber",
    "TemporalPositionIdentifier",
    "NominalPercentageOfCardiacPhase",
    "ConvolutionKernel",
    "SliceThickness",
    "KVP",
    "InstanceNumber",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelPaddingValue",
    "PixelRepresentation",
    "LossyImageCompression",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    *(tag for tags in OVERLAYS for tag in tags),
)

PIXELS: tuple[str | int, ...] = (
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelData",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    *(tag for tags in OVERLAYS for tag in tags),
)

EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
PIXEL_DATA = b"\xe0\x7f\x10\x00"  # the tag (7FE0,0010), little-endian
UNDEFINED_LENGTH = 0xFFFFFFFF

LARGEST_HEADER = 1 << 28
"""Bytes of a deflated data set up to its pixels; per-frame groups of 10,000 frames take 20 MB."""

AT_ONCE = 1 << 26
"""Bytes of pixels read at a time, so that a damaged length asks for no more than there is."""


def is_dicom(head: bytes) -> bool:
    """Whether first bytes are DICOM: the prefix, or a bare data set that starts as they do."""
    if head[128:132] == b"DICM":
        return True
    # Without preamble: group 2 or 8, a low element, then a VR or an implicit short length.
    return (
        len(head) >= 132
        and head[0:2] in (b"\x02\x00", b"\x08\x00")
        and head[3] == 0
        and (head[4:6] in (b"UL", b"CS", b"UI", b"DA", b"LO") or head[5:8] == b"\x00\x00\x00")
    )


def load(
    source: Source, *, limit: int, name: str = "", keywords: Sequence[str | int] = PIXELS
) -> Dataset | None:
    """Parse the elements of one file that `keywords` lists, pixels among them.

    Returns None for a file that is not DICOM.

    Parameters
    ----------
    limit
        Bytes to which a deflated file may expand.
    name
        What error messages put before the name of the source.

    Raises
    ------
    ReadError
        For DICOM that cannot be parsed.
    """
    found = _load(source, keywords, limit=limit, name=name)
    return None if found is None else found[0]


def load_header(source: Source, *, limit: int) -> tuple[Dataset, int] | None:
    """Parse what `HEADER` lists, as `load` does; and the byte where parsing ended, at the pixels.

    The place is that in the file itself, or -1 where the file is not read as it is.
    """
    return _load(source, HEADER, limit=min(limit, LARGEST_HEADER), name="")


def pixel_bytes(source: Source, dataset: Dataset, at: int, *, limit: int) -> bytes | None:
    """Uncompressed little-endian pixel data, read without parsing the file once more.

    Returns None where it is not found at the byte `at`, whole and as the standard has it; `load`
    then tells what is there.
    """
    syntax = transfer_syntax(dataset)
    if at < 0 or syntax not in (IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN):
        return None
    explicit = syntax != IMPLICIT_LITTLE_ENDIAN
    try:
        with source.open() as file:
            file.seek(at)
            head = file.read(12 if explicit else 8)
            size = int.from_bytes(head[-4:], "little")
            if head[:4] != PIXEL_DATA or size > limit or size == UNDEFINED_LENGTH:
                return None
            if explicit and head[4:8] not in (b"OW\0\0", b"OB\0\0"):
                return None
            return _read_whole(file, size)
    except Exception:  # of a zip, of decompression, of a file that changed meanwhile
        return None


def _read_whole(file: IO[bytes], size: int) -> bytes | None:
    """Read so many bytes; None where there are fewer."""
    content = _InPieces(file).read(size)
    return content if len(content) == size else None


class _InPieces:
    """A file whose `read` asks for no more memory than it has bytes, whatever a header states."""

    def __init__(self, file: IO[bytes]) -> None:
        self._read, self.seek, self.tell, self.close = file.read, file.seek, file.tell, file.close

    def read(self, size: int = -1) -> bytes:
        """Read at most `size` bytes; all of them where it is negative."""
        if size <= AT_ONCE:
            return self._read(size)
        parts = []
        while size and (part := self._read(min(size, AT_ONCE))):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def _load(
    source: Source, keywords: Sequence[str | int], *, limit: int, name: str
) -> tuple[Dataset, int] | None:
    label = f"{name}: {source.label}" if name else source.label
    try:
        with source.open() as file:
            head = file.read(4096)
            if not is_dicom(head):
                return None
            file.seek(0)
            if not is_deflated(head):
                return _parse(cast(BinaryIO, _InPieces(file)), keywords), file.tell()
            stream = Deflated(file, name=label, limit=limit)
            dataset = _parse(cast(BinaryIO, stream), keywords)
            if keywords is not HEADER:
                stream.seek(0, os.SEEK_END)  # which fails where the rest is damaged or endless
            return dataset, -1
    except ReadError:
        raise
    except PermissionError:
        raise ReadError(f"{label}: may not be read; check its permissions") from None
    except (zipfile.BadZipFile, OSError) as error:
        raise ReadError(f"{label}: cannot be read ({error}); copy it again") from None
    except Exception as error:  # pydicom raises almost anything for a damaged file
        reason = printable(error, most=200) or type(error).__name__
        raise ReadError(f"{label}: is damaged DICOM ({reason}); copy it again") from None


def _parse(stream: BinaryIO, keywords: Sequence[str | int]) -> Dataset:
    """The elements that `keywords` lists, up to the pixels for `HEADER` or with them."""
    from pydicom.filereader import read_partial
    from pydicom.tag import Tag

    pixels = {Tag(keyword) for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")}
    last = False

    def stop(tag: int, _: str | None, __: int) -> bool:
        nonlocal last
        # What follows the pixels is padding, or whatever a disk had in its last sector.
        over, last = last, tag in pixels
        return over or (last and keywords is HEADER)

    with quiet():
        dataset = read_partial(
            stream, stop, force=True, specific_tags=[Tag(keyword) for keyword in keywords]
        )
        convert(dataset)
        if (meta := getattr(dataset, "file_meta", None)) is not None:
            convert(meta)
    return dataset


class _Quiet:
    """Warnings and pydicom's settings belong to the process: of the threads that want silence,
    the first one in makes it and the last one out ends it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> None:
        import pydicom

        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._undo.enter_context(warnings.catch_warnings())
                self._undo.enter_context(pydicom.config.disable_value_validation())
                warnings.simplefilter("ignore")

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._undo.close()

    def restart(self) -> None:
        """In the child of a fork, which has none of the parent's other threads."""
        self._undo.close()
        self._lock, self._inside = threading.Lock(), 0


_QUIET = _Quiet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_QUIET.restart)


def quiet() -> contextlib.AbstractContextManager[None]:
    """Keep pydicom's remarks on odd values off the user's screen."""
    return _QUIET
