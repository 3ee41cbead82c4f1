"""What can go wrong, one family per concern.

Every message says what was wrong, with the value, and what to do about it. The command line
prints any `DRRError` as one line and exits with status 2; anything else is a bug.
"""

from __future__ import annotations

__all__ = [
    "BeamError",
    "DRRError",
    "DisplayError",
    "GeometryError",
    "MissingDependencyError",
    "PolicyError",
    "ProjectionError",
    "ReadError",
    "VolumeError",
    "WriteError",
]


class DRRError(Exception):
    """Base of every error this package raises on purpose."""


class VolumeError(DRRError, ValueError):
    """Voxels or an affine that cannot be a CT volume."""


class ReadError(DRRError):
    """An input that cannot be read as a CT volume; the message names the file."""


class GeometryError(DRRError, ValueError):
    """A source, detector or angle that cannot make a radiograph."""


class ProjectionError(DRRError, ValueError):
    """A projection asked for with a method, back-end or option that does not exist here."""


class BeamError(DRRError, ValueError):
    """A material, energy, spectrum or detector that does not exist or is outside its tables."""


class DisplayError(DRRError, ValueError):
    """A look or display mapping that does not exist or cannot make a picture."""


class PolicyError(DRRError, ValueError):
    """A randomisation policy with an unknown key or a range that cannot be drawn from."""


class WriteError(DRRError):
    """An output that cannot be written; nothing half-written is left behind."""


class MissingDependencyError(DRRError, ImportError):
    """An optional package is not installed; the message gives the command that installs it."""
