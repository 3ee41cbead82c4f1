"""Decoders that die and hang, for the process that decodes DICOM frames."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from drr.io.dicom.frames import Encoded


def crash(frame: Encoded, folder: str) -> None:
    """Leaving a file behind, as one that dies does."""
    Path(folder, "left.dcm").write_bytes(frame.data)
    os.abort()


def spin(frame: Encoded, folder: str) -> None:
    threading.Event().wait(600)
