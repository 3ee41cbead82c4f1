"""`prepare`: the work on a volume that all its views share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drr.geometry.views import parse_view
from drr.kernels.cpu.projection.transpose import transposed_copy
from drr.patient import cleaning
from drr.patient.anatomy import Anatomy, find_anatomy
from drr.patient.collimation import extension_needed, fit_to_lungs
from drr.patient.coverage import Coverage, assess_coverage
from drr.patient.extension import Extension, extend
from drr.patient.fill import find_fill, with_notes, without_fill
from drr.patient.plausible import Accept, refuse_doubtful
from drr.sharing import kept_property
from drr.volume import Volume

__all__ = ["Prepared", "prepare"]

# The scan is extended for these, so that it is the same whichever views are asked for.
_STANDARD_VIEWS = tuple(
    parse_view(name, shape=(64, 64)) for name in ("pa", "ap-portable", "ll", "rl")
)
# What lies further beyond the scan is not known well enough to be made up.
_LONGEST_EXTENSION_MM = 60.0


@dataclass(frozen=True, eq=False)
class Prepared:
    """A volume ready to be projected many times: cleaned, with the anatomy that places views.

    Made by `prepare`; `drr.project` takes it wherever it takes a `Volume`.

    Parameters
    ----------
    source
        As read, with padding in place of fill (`drr.patient.fill`).
    volume
        What is projected: of a cleaned scan a copy of the body alone and what continues it.
    anatomy
        Anatomy of the source.
    cleaned
        Whether couch, blanket and padding became air.
    extension
        How far the scan was continued; None where that was not asked for.
    sha256
        Digest of the source's voxels as they were read.
    """

    source: Volume
    volume: Volume
    anatomy: Anatomy
    cleaned: bool
    extension: Extension | None
    sha256: str

    @kept_property
    def coverage(self) -> Coverage:
        """What the scan covers, and what it lacks."""
        return assess_coverage(self.source, self.anatomy)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to the scan and what it lacks, one sentence each."""
        return tuple(dict.fromkeys((*self.volume.notes, *self.anatomy.notes, *self.coverage.notes)))

    @kept_property
    def transposed(self) -> NDArray[np.int16]:
        """Copy with x and y exchanged; doubles the memory, for many lateral views."""
        return transposed_copy(self.volume.hu)


def prepare(
    volume: Volume,
    *,
    clean: bool = True,
    beyond: bool = True,
    accept: Accept = (),
    threads: int | None = None,
) -> Prepared:
    """Find the patient in a volume and, by default, remove everything else.

    Parameters
    ----------
    volume
        HU in the patient's frame.
    clean
        Replace couch, blanket and padding by air.
    beyond
        Continue the scan beyond its ends, and beyond a field of view that cuts the body, as far
        as chest films of the standard views reach.
    accept
        What to take although it is implausible, of a volume that `drr.read` judged: `values` that
        are not HU, a `size` that no patient has.
    threads
        CPU threads; all available ones by default.

    Raises
    ------
    VolumeError
        For a volume whose values or size are implausible and were not accepted.
    """
    refuse_doubtful(volume, accept)
    sha256 = volume.sha256
    fill = find_fill(volume.hu)
    scanned = without_fill(volume, fill)
    # What clean-up is not to touch is projected as it is, but never taken for the body.
    volume = scanned if clean else with_notes(volume, fill, "without clean-up it is projected")
    anatomy = find_anatomy(scanned, threads=threads)
    extension = _standard_extension(volume, anatomy) if beyond else None
    if clean:
        ready = cleaning.clean(volume, anatomy, extension=extension, crop=True, threads=threads)
    elif extension is not None:
        ready = extend(volume, anatomy, **extension.to_dict(), threads=threads)
    else:
        ready = volume
    return Prepared(scanned, ready, anatomy, clean, extension, sha256)


def _standard_extension(volume: Volume, anatomy: Anatomy) -> Extension:
    """As far as the fields of the standard views reach, in whole mm."""
    if anatomy.lungs is None:
        return Extension()
    needed = []
    for standard in _STANDARD_VIEWS:
        view = fit_to_lungs(standard, anatomy)
        needed.append(extension_needed(view.place(anatomy), volume, anatomy))
    superior, inferior = np.minimum(np.ceil(np.max(needed, axis=0)), _LONGEST_EXTENSION_MM)
    return Extension(
        superior_mm=float(superior), inferior_mm=float(inferior), sides=anatomy.truncated
    )
