"""One study's part of a data set: made whole, written once, never changed.

A part is an HDF5 file with a study's images as the data set will hold them, filters and all, or
the reason why there are none. It takes its name only when its bytes are on disk, so that whatever
is killed at whatever moment, a part that is there is whole.
"""

from __future__ import annotations

import errno
import io
import json
import os
import platform
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from drr.datasets.build.plan import Configuration
from drr.datasets.privacy.public_text import message_of, public_text
from drr.datasets.schema import (
    DatasetError,
    image_options,
    pixels_digest,
    quantise_line_integrals,
    quantise_thickness,
    text_dtype,
)
from drr.datasets.sources.source_files import Digests, fingerprint, stamp, study_digests
from drr.datasets.study import Study, read_volume
from drr.errors import DRRError, MissingDependencyError, printable
from drr.files.atomic import write_files

if TYPE_CHECKING:
    import h5py

    from drr.patient.prepare import Prepared
    from drr.radiograph import Projection
    from drr.volume import Volume

__all__ = [
    "Images",
    "Made",
    "Outcome",
    "fingerprint",
    "is_finished",
    "make",
    "make_part",
    "open_part",
]

LONGEST_TRACE = 60
"""Last lines of a traceback that the log keeps."""

_MOMENTARY = {
    *(errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM),
    *(errno.ENOSPC, errno.EDQUOT, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR),
}

_VECTORS = ("source", "direction", "detector_center", "u", "v")


@dataclass(frozen=True, kw_only=True, eq=False)
class Images:
    """What the file holds of one view of one sample.

    Parameters
    ----------
    picture
        `(rows, columns)` uint8, or None where pictures are not stored.
    line_integrals, scale, offset
        `(rows, columns)` uint16 with its step and offset, float32, or None.
    masks
        `(labels, rows, columns)` uint16 in steps of `MASK_STEP_MM`, or None.
    masked
        Whether there was a segmentation.
    record
        JSON of how it was made.
    vectors
        Source or direction, detector centre, `u` and `v`, LPS mm; NaN for what it has not.
    """

    picture: NDArray[np.uint8] | None
    line_integrals: NDArray[Any] | None
    scale: float
    offset: float
    masks: NDArray[np.uint16] | None
    masked: bool
    record: str
    vectors: Mapping[str, tuple[float, float, float]]

    @property
    def pixels(self) -> dict[str, NDArray[Any]]:
        """The arrays there are, by their names in the file."""
        found = {
            "picture": self.picture,
            "line_integrals": self.line_integrals,
            "masks": self.masks,
        }
        return {name: array for name, array in found.items() if array is not None}


@dataclass(frozen=True, kw_only=True, eq=False)
class Made:
    """What became of one study: images by view name, and where they came from."""

    views: Mapping[str, Images]
    notes: tuple[str, ...]
    source_sha256: str
    voxels_sha256: str
    segmentation_sha256: str
    seconds: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a worker says of a study, small enough to send anywhere.

    Parameters
    ----------
    reason
        Why there are no images; empty if there are.
    lasting
        Whether the CT is to blame and the part on disk: a want of memory, a package that is not
        installed and a bug are not recorded, but tried again next time.
    same
        Whether the content of the files is what it was, so that nothing was made.
    stamp
        Stamp of the source files as they were read (`source_files.stamp`).
    trace
        Traceback of what should not happen, for the log.
    seconds
        Seconds of each step: `hash`, `read`, `prepare`, `project`, `store`.
    processor_seconds
        Processor seconds of all threads together.
    size
        Bytes of the part.
    memory
        Most bytes that the process has held so far; 0 where the system does not say.
    process
        Host and process number.
    """

    reason: str = ""
    lasting: bool = True
    same: bool = False
    stamp: str = ""
    trace: str = ""
    seconds: Mapping[str, float]
    processor_seconds: float = 0.0
    size: int = 0
    memory: int = 0
    process: str = ""


def make_part(
    study: Study,
    root: str,
    configuration: Configuration,
    target: str,
    key: str,
    threads: int | None = 1,
    known: Digests | None = None,
) -> Outcome:
    """Make a study's part and write it; the worker's whole job.

    Parameters
    ----------
    root
        The cohort's.
    target, key
        File to write, and what identifies the part.
    threads
        CPU threads.
    known
        Stamp of the files that the sample was made from before: where they are the same, nothing is
        made.

    Raises
    ------
    WriteError
        When the part cannot be written: every other would fail, too. Whatever is wrong with the
        study is the part's reason instead.
    """
    start, processor = time.perf_counter(), time.process_time()
    made: Made | None = None
    reason = trace = state = ""
    lasting, same = True, False
    # Before anything is read: a change from here on is then noticed next time at the latest.
    mark = stamp(key, study, root)
    try:
        state = fingerprint(study, root)
        same = known is not None and _digests(study, root, configuration) == known
        if not same:
            made = make(study, root, configuration, threads=threads)
        if fingerprint(study, root) != state:
            made, same = None, False
            raise DatasetError(
                f"{study.path}: changed while it was read; build again when nothing writes to it"
            )
    except MemoryError:
        reason = "not enough memory for this CT; build again with fewer workers"
        lasting = False
    except DRRError as error:
        reason, lasting = message_of(error), not _of_the_moment(error)
    except Exception as error:
        lasting = False
        reason = f"{type(error).__name__}: {error}; this is a bug in drr, please report it"
        trace = traceback.format_exc()
    if reason:
        reason = printable(public_text(reason, study, root))
        lines = trace.splitlines()
        trace = "\n".join(public_text(line, study, root) for line in lines[-LONGEST_TRACE:])
    else_took = {"compared" if same else "failed": time.perf_counter() - start}
    seconds = dict(made.seconds) if made else else_took
    size = 0
    if lasting and not same:
        start = time.perf_counter()
        attributes = {"key": key, "state": state, "stamp": mark, "reason": reason}
        content = _part_bytes(made, configuration, attributes)
        write_files({Path(target): content}, force=True)
        seconds["store"] = time.perf_counter() - start
        size = len(content)
    return Outcome(
        reason=reason,
        lasting=lasting,
        same=same,
        stamp=mark,
        trace=trace,
        seconds=seconds,
        processor_seconds=time.process_time() - processor,
        size=size,
        memory=_most_memory(),
        process=f"{platform.node()}:{os.getpid()}",
    )


def make(
    study: Study,
    root: str | Path,
    configuration: Configuration,
    *,
    threads: int | None = None,
) -> Made:
    """All images of one study, as the file holds them.

    Raises
    ------
    DRRError
        For a CT that is missing, damaged, or cannot be projected as asked.
    """
    from drr.io.read import read
    from drr.looks import find_look
    from drr.patient.fill import find_fill, with_notes
    from drr.patient.prepare import prepare

    clock = _Clock()
    of_files = _digests(study, root, configuration)
    clock.lap("hash")
    mask = None
    segmentation = study.segmentation_file(root)
    if configuration.masks and segmentation is not None:
        # First: a wrong one is then told before the long part.
        mask = read(segmentation, threads=threads)
    volume = read_volume(study, root, threads=threads)
    voxels = volume.sha256
    clock.lap("read")
    notes = list(volume.notes)
    if volume.verdict is not None and not volume.verdict.is_hu:
        notes.append(str(volume.verdict))
    ready: Volume | Prepared = volume
    look = find_look(configuration.look)
    if look.recipe:
        notes += with_notes(volume, find_fill(volume.hu), "the published recipe projects it").notes
    else:
        ready = prepare(
            volume,
            clean=configuration.clean,
            beyond=look.beyond,
            accept=configuration.accept,
            threads=threads,
        )
        notes += ready.notes
    clock.lap("prepare")
    views = {}
    for name, projection in _projections(ready, study.sample, configuration, mask, threads):
        views[name] = _images(projection, configuration, mask)
    clock.lap("project")
    return Made(
        views=views,
        notes=tuple(dict.fromkeys(public_text(note, study, root) for note in notes)),
        source_sha256=of_files.source,
        voxels_sha256=voxels,
        segmentation_sha256=of_files.segmentation,
        seconds=clock.seconds,
    )


def open_part(path: Path) -> h5py.File:
    """A part, open for reading; `OSError` for what is none."""
    import h5py

    # What is written once and then never changed needs no lock, and some file systems have none.
    return h5py.File(path, "r", locking=False)


def is_finished(path: Path, key: str, study: Study, root: str | Path) -> bool:
    """Whether there is a whole part of this study as its files are now."""
    try:
        state = fingerprint(study, root)
    except DatasetError:
        state = ""
    try:
        with open_part(path) as part:
            return bool(part.attrs["key"] == key and part.attrs["state"] == state)
    except (OSError, KeyError):
        return False


def _digests(study: Study, root: str | Path, configuration: Configuration) -> Digests:
    return study_digests(study, root, segmentation=bool(configuration.masks))


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._start = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name], self._start = now - self._start, now


def _projections(
    ready: Volume | Prepared,
    sample: str,
    configuration: Configuration,
    mask: Volume | None,
    threads: int | None,
) -> Iterator[tuple[str, Projection]]:
    """One view after another, so that memory does not grow with their number."""
    from drr.looks import find_look
    from drr.projector import project

    c = configuration
    options: dict[str, Any] = {
        "look": c.look,
        "accept": c.accept,
        "threads": threads,
        "backend": c.backend,
    }
    if not find_look(c.look).recipe:
        options |= {
            "attenuation": c.attenuation,
            "detector": c.detector,
            "field": c.field,
            "method": c.method,
            "anti_aliasing": c.anti_aliasing,
            "seed": c.sample_seed(sample),
            "mask": mask,
        }
    for view, name in zip(c.views, c.view_names, strict=True):
        draw = c.draw(sample, name)
        projection = project(ready, view, **options | ({} if draw is None else {"draw": draw}))
        yield name, projection.displayed(c.display)


def _images(projection: Projection, configuration: Configuration, mask: Volume | None) -> Images:
    from drr.io.picture import quantise
    from drr.record import build_record

    rows, columns = projection.geometry.shape
    picture = quantise(projection.picture(), bits=8) if configuration.pictures else None
    scale, offset = 1.0, 0.0
    stored: NDArray[Any] | None = None
    if configuration.line_integrals == "uint16":
        stored, scale, offset = quantise_line_integrals(projection.line_integrals)
    elif configuration.line_integrals == "float32":
        stored = projection.line_integrals
    masks = None
    if configuration.masks:
        masks = np.zeros((len(configuration.masks), rows, columns), np.uint16)
        if projection.thickness is not None:
            for label, mm in zip(projection.labels, projection.thickness, strict=True):
                if label in configuration.masks:
                    masks[configuration.masks.index(label)] = quantise_thickness(mm)
    record = build_record(
        projection,
        output={
            "format": "hdf5",
            "quantity": "line integral" if picture is None else "picture",
            "dtype": configuration.line_integrals if picture is None else "uint8",
            "bits": 8 if picture is not None else 16 if stored is None else 8 * stored.itemsize,
            "rows": rows,
            "columns": columns,
            "mark": False,
            "columns_reversed": False,
        },
        keep_identifiers=configuration.keep_identifiers,
    )
    nothing = (np.nan,) * 3
    geometry = projection.geometry
    return Images(
        picture=picture,
        line_integrals=stored,
        scale=scale,
        offset=offset,
        masks=masks,
        masked=mask is not None,
        record=json.dumps(record, sort_keys=True, allow_nan=False),
        vectors={name: getattr(geometry, name, None) or nothing for name in _VECTORS},
    )


def _part_bytes(
    made: Made | None, configuration: Configuration, attributes: dict[str, str]
) -> bytes:
    """The part as bytes: nothing touches the disk before all of it is there."""
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, value in attributes.items():
            file.attrs[name] = value
        if made is not None:
            for column in ("source_sha256", "voxels_sha256", "segmentation_sha256"):
                _text(file, f"samples/{column}", getattr(made, column))
            _text(file, "samples/notes", json.dumps(list(made.notes)))
            for name, images in made.views.items():
                _put_view(file.create_group(f"views/{name}"), images, configuration.compression)
    return buffer.getvalue()


def _put_view(group: h5py.Group, images: Images, compression: int) -> None:
    for name, array in images.pixels.items():
        shape = (1,) * (array.ndim - 2) + array.shape[-2:]
        options = image_options(shape, array.dtype.name, compression)
        group.create_dataset(name, data=array[None], **options)
        digest = pixels_digest(array) if name != "masks" or images.masked else ""
        _text(group, f"{name}_sha256", digest)
    if images.line_integrals is not None:
        group["scale"], group["offset"] = np.array([images.scale]), np.array([images.offset])
    _text(group, "record", images.record)
    for name, vector in images.vectors.items():
        group[name] = np.array([vector], np.float64)


def _text(group: h5py.Group, name: str, value: str) -> None:
    group.create_dataset(name, data=[value], dtype=text_dtype())


def _of_the_moment(error: BaseException | None) -> bool:
    """Whether the machine is to blame and not the CT, which may then be read another time."""
    while error is not None:
        if isinstance(error, MemoryError | MissingDependencyError):
            return True
        if isinstance(error, OSError) and error.errno in _MOMENTARY:
            return True
        error = error.__cause__ or error.__context__
    return False


def _most_memory() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if platform.system() == "Darwin" else most * 1024
