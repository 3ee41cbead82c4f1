"""DICOM files: told from others and parsed, pixels left alone."""

from __future__ import annotations

import contextlib
import io
import os
import threading
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any

from drr.errors import ReadError
from drr.io.containers import Source
from drr.io.inflate import inflate_raw

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = [
    "IDENTIFIERS",
    "integer",
    "is_dicom",
    "load",
    "load_header",
    "pixel_bytes",
    "printable",
    "quiet",
    "text",
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

HEADER = (
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
)

PIXELS = (
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
)

DEFLATED = b"1.2.840.10008.1.2.1.99"
EXPLICIT_LITTLE_ENDIAN = b"1.2.840.10008.1.2.1"
IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
PIXEL_DATA = b"\xe0\x7f\x10\x00"  # the tag (7FE0,0010), little-endian
UNDEFINED_LENGTH = 0xFFFFFFFF


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


def load(source: Source, *, limit: int, name: str = "") -> Dataset | None:
    """Parse what `PIXELS` lists of one file.

    Returns None for a file that is not DICOM.

    Raises
    ------
    ReadError
        For DICOM that cannot be parsed.
    """
    found = _load(source, PIXELS, limit=limit, name=name)
    return None if found is None else found[0]


def load_header(source: Source, *, limit: int) -> tuple[Dataset, int] | None:
    """Parse what `HEADER` lists, as `load` does; and the byte where parsing ended, at the pixels.

    The place is that in the file itself, or -1 where the file is not read as it is.
    """
    return _load(source, HEADER, limit=limit, name="")


def pixel_bytes(source: Source, dataset: Dataset, at: int, *, limit: int) -> bytes | None:
    """Uncompressed little-endian pixel data, read without parsing the file once more.

    Returns None where it is not found at the byte `at`, whole and as the standard has it; `load`
    then tells what is there.
    """
    syntax = str(getattr(dataset, "file_meta", {}).get("TransferSyntaxUID", ""))
    if at < 0 or syntax not in (IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN.decode()):
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
            data = file.read(size)
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error):
        return None
    return data if len(data) == size else None


def _load(
    source: Source, keywords: Sequence[str], *, limit: int, name: str
) -> tuple[Dataset, int] | None:
    label = f"{name}: {source.label}" if name else source.label
    try:
        with source.open() as file:
            head = file.read(4096)
            if not is_dicom(head):
                return None
            stream: IO[bytes] = file
            if DEFLATED in head:
                stream = io.BytesIO(_inflate(head + file.read(limit), label, limit))
            else:
                file.seek(0)
            dataset = _parse(stream, keywords, stop=keywords is HEADER)
            return dataset, stream.tell() if stream is file else -1
    except ReadError:
        raise
    except PermissionError:
        raise ReadError(f"{label}: may not be read; check its permissions") from None
    except (zipfile.BadZipFile, OSError) as error:
        raise ReadError(f"{label}: cannot be read ({error}); copy it again") from None
    except Exception as error:  # pydicom raises almost anything for a damaged file
        raise ReadError(
            f"{label}: is damaged DICOM ({printable(error) or type(error).__name__}); copy it again"
        ) from None


def printable(value: object) -> str:
    """One line without control characters, fit for a message, of whatever a file holds."""
    lines = str(value).strip().splitlines() or [""]
    return "".join(c if c.isprintable() else "?" for c in lines[0][:200])


def text(dataset: Dataset, keyword: str) -> str:
    """A value as printable text; empty where it is absent."""
    value = dataset.get(keyword)
    return "" if value is None else printable(value)


def integer(dataset: Dataset, keyword: str, default: int = 0) -> int:
    """A whole number, or the default where it is absent, empty or damaged."""
    value = dataset.get(keyword)
    try:
        return default if value is None else int(value)
    except (TypeError, ValueError, OverflowError):
        return default


def _parse(stream: IO[bytes], keywords: Sequence[str], *, stop: bool) -> Dataset:
    import pydicom

    with quiet():
        dataset = pydicom.dcmread(
            stream, stop_before_pixels=stop, specific_tags=list(keywords), force=True
        )
        _convert(dataset)
        _convert(getattr(dataset, "file_meta", {}))
    return dataset


def _convert(dataset: Dataset | dict[Any, Any]) -> None:
    """Convert every value now, while warnings are off; drop those that cannot be."""
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
            for item in element.value if element.VR == "SQ" else ():
                _convert(item)
        except RecursionError:
            raise
        except Exception:  # an absent value is asked for again and then named
            del dataset[tag]


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


def _inflate(data: bytes, label: str, limit: int) -> bytes:
    """The same file with its data set inflated, within the limit (pydicom has none)."""
    start = 144 + int.from_bytes(data[140:144], "little")
    meta = data[:start].replace(DEFLATED, EXPLICIT_LITTLE_ENDIAN.ljust(len(DEFLATED), b"\0"))
    return meta + inflate_raw(data[start:], name=label, limit=limit)
