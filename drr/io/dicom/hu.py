"""The frames of a series, decoded and rescaled to HU, each in its place."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from drr.errors import ReadError
from drr.io.dicom.decode import Decoders
from drr.io.dicom.elements import integer
from drr.io.dicom.files import load, pixel_bytes
from drr.io.dicom.layout import Evidence, Layout, settle
from drr.io.dicom.pixels import Pixels
from drr.io.dicom.values import Remark, Words, notes_on, stored_values
from drr.io.stored import rescale
from drr.io.voxels import PatientOrder
from drr.threads import available_cpus, run, split

if TYPE_CHECKING:
    from drr.io.dicom.groups import Header
    from drr.io.dicom.slices import Frame

__all__ = ["read_frames"]

BESIDE_PIXELS = 1 << 26
"""Bytes of a deflated file beyond those of its pixels."""

Task = Callable[[int, Pixels], None]


def read_frames(
    path: Path,
    frames: Sequence[Frame],
    target: PatientOrder,
    *,
    limit: int,
    threads: int | None = None,
) -> tuple[str, ...]:
    """Fill `target` with the HU of all frames; returns notes on what was assumed.

    Parameters
    ----------
    path
        The input, for messages.
    frames
        In the order of the target's slices.
    limit
        Bytes that the frames of one file may take.
    threads
        CPU threads; all available ones by default.

    Raises
    ------
    ReadError
        For pixels that are absent, damaged, not decodable or no HU.
    """
    threads = threads or available_cpus()
    with Decoders(threads) as decoders:
        reading = _Reading(path, frames, limit, threads, decoders)
        layouts, notes = reading.settle()
        remarks: list[Remark] = []

        def read(place: int, pixels: Pixels) -> None:
            frame = frames[place]
            words = Words.of(frame.header.dataset, layouts.get(pixels.layout, pixels.layout))
            values = stored_values(reading.words(place, pixels), words, remarks, name=pixels.name)
            rescale(
                values,
                frame.slope,
                frame.intercept,
                out=target.hu[place],
                name=pixels.name,
                found=target.found,
            )
            target.digest(place, place + 1)

        reading.each(range(len(frames)), read)
    return (*notes, *notes_on(remarks))


@dataclass(frozen=True)
class _Reading:
    """What reading frames takes; each file is opened once a pass."""

    path: Path
    frames: Sequence[Frame]
    limit: int
    threads: int
    decoders: Decoders

    def settle(self) -> tuple[dict[Layout, Layout], list[str]]:
        """For each layout that is not sure, the one that its frames' words show; and notes."""
        doubtful = [
            place
            for place, frame in enumerate(self.frames)
            if not Layout.of(frame.header.dataset).is_sure
        ]
        evidence: dict[Layout, list[Evidence]] = {}

        def gather(place: int, pixels: Pixels) -> None:
            frame = self.frames[place]
            found = Evidence.of(
                self.words(place, pixels), pixels.layout, frame.slope, frame.intercept
            )
            evidence.setdefault(pixels.layout, []).append(found)

        if doubtful:
            self.each(doubtful, gather)
        settled, notes = {}, []
        for layout, found in evidence.items():
            settled[layout], more = settle(layout, found, name=str(self.path))
            notes += more
        return settled, notes

    def each(self, places: Sequence[int], task: Task) -> None:
        """Do a task with every place and the pixels of its file."""
        by_file: dict[int, list[int]] = {}
        for place in places:
            by_file.setdefault(id(self.frames[place].header), []).append(place)
        files = list(by_file.values())

        def of_files(start: int, stop: int) -> None:
            for own in files[start:stop]:
                pixels = self.pixels(self.frames[own[0]].header)
                for place in own:
                    task(place, pixels)

        if len(files) > 1:
            run(of_files, split(len(files), 8 * self.threads), self.threads)
            return
        pixels = self.pixels(self.frames[places[0]].header)

        def of_places(start: int, stop: int) -> None:
            for k in range(start, stop):
                task(places[k], pixels)

        run(of_places, split(len(places), 8 * self.threads), self.threads)

    def pixels(self, header: Header) -> Pixels:
        """Of one file."""
        source, dataset = header.source, header.dataset
        single = self.path.name == source.label
        name = str(self.path) if single else f"{self.path}: {source.label}"
        data = pixel_bytes(source, dataset, header.pixels_at, limit=self.limit)
        if data is None:
            promised = math.prod(
                integer(dataset, key) for key in ("Rows", "Columns", "BitsAllocated")
            )
            most = header.frames * max(promised, 0) // 8 + BESIDE_PIXELS
            found = load(source, limit=min(self.limit, most), name=str(self.path))
            if found is None:
                raise ReadError(f"{name}: changed while it was read; try again")
            dataset = found
        return Pixels(dataset, data, name=name, limit=self.limit, decoders=self.decoders)

    def words(self, place: int, pixels: Pixels) -> NDArray[Any]:
        """Of one frame, which must be as its header has it."""
        frame = self.frames[place]
        if frame.number >= pixels.frames:
            raise ReadError(f"{pixels.name}: holds {pixels.frames} frames, fewer than it describes")
        words = pixels.words(frame.number)
        if words.shape != frame.shape:
            raise ReadError(f"{pixels.name}: its pixels do not fit the size in its header")
        return words
