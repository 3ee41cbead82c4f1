"""`ProjectedDRRs`: a fresh random view of a CT for every sample, projected while training."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.datasets.loaders.samples import Key, Samples, Transform, chosen_labels, in_split
from drr.datasets.loaders.store import PreparedStore
from drr.datasets.schema import DatasetError
from drr.errors import GeometryError, ProjectionError
from drr.geometry.views import View, parse_view
from drr.looks import find_look
from drr.projector import choose_backend, project
from drr.randomise.policy import Draw, Policy
from drr.randomise.policy import policy as find_policy
from drr.thickness import thickness
from drr.volume import Volume

__all__ = ["THICKNESS_MM", "ProjectedDRRs"]

THICKNESS_MM = 100.0
"""Thickness of an organ along a ray that is 1 in its channel."""

# A policy may draw what no room allows, such as a source inside the patient; then it draws again.
_ATTEMPTS = 16


class ProjectedDRRs(Samples):
    """Views of prepared CTs, projected when they are asked for.

    A sample depends on the store, the options, the seed, the epoch and the index, and on nothing
    else: not on the number of workers, how they are started, or the order of samples.

    Parameters
    ----------
    volumes
        Store of prepared CTs (`drr prepare`), or its folder.
    views
        A view or several, of which one is drawn for every sample.
    policy
        What varies, and how far: a `Policy`, the name of a preset, or None for nothing.
    look
        `film`, `physical` or `raw`.
    shape
        Rows and columns.
    labels, split
        As `StoredDRRs` takes them.
    masks
        Labels of the CTs' segmentations (whole numbers). Each is one more channel of the image:
        thickness along the rays in units of `THICKNESS_MM`; 0 where a CT has no such organ. They
        follow the geometry of the picture, mirror image and affine map included.
    samples_per_volume
        Views of each CT in an epoch.
    seed
        Seed of everything that is drawn at random.
    backend
        `cpu`; `auto` projects on the GPU where there is one, but only in the main process.
    threads
        CPU threads of a projection; by default one in a worker, and all available ones in the main
        process.
    style, transform
        See `drr.datasets.loaders.samples.Samples`.

    Raises
    ------
    DatasetError, CohortError
        As `StoredDRRs`; also for CTs without the segmentation that `masks` needs.
    PolicyError, DisplayError, GeometryError, ProjectionError
        For a policy, look, view or back-end that does not exist.
    """

    def __init__(
        self,
        volumes: PreparedStore | str | Path,
        *,
        views: str | View | Sequence[str | View] = "pa",
        policy: str | Policy | None = "chest",
        look: str = "film",
        shape: tuple[int, int] = (224, 224),
        labels: Sequence[str] | None = None,
        split: str | None = None,
        masks: Sequence[int] = (),
        samples_per_volume: int = 1,
        seed: int = 0,
        backend: str = "auto",
        threads: int | None = None,
        style: str = "plain",
        transform: Transform | None = None,
    ) -> None:
        store = volumes if isinstance(volumes, PreparedStore) else PreparedStore(volumes)
        self.store = store
        place = str(store.folder)
        wanted = [views] if isinstance(views, str | View) else list(views)
        if not wanted:
            raise DatasetError("no views were asked for; name at least one, such as 'pa'")
        rows, columns = (int(count) for count in shape)
        self.views = tuple(replace(parse_view(view), shape=(rows, columns)) for view in wanted)
        if find_look(look).recipe:
            raise ProjectionError(
                "the look 'drr-rate' is made of scans as they are read, not of prepared ones; "
                "build a data set with it and use StoredDRRs"
            )
        self.look = look
        self.policy = None if policy is None else find_policy(policy)
        self.masks = tuple(int(label) for label in masks)
        if any(label <= 0 for label in self.masks) or len(set(self.masks)) < len(self.masks):
            raise DatasetError(f"masks are different labels above zero, got {tuple(masks)}")
        if samples_per_volume < 1:
            raise DatasetError(f"samples_per_volume is one or more, got {samples_per_volume}")
        choose_backend(backend)
        self.backend, self.threads, self.seed = backend, threads, int(seed)
        entries = store.entries
        pathologies, codes = chosen_labels(store.codes, store.label_names, labels, place)
        chosen = in_split([e.patient for e in entries], [e.split or "" for e in entries], split,
                          place)  # fmt: skip
        for index in chosen if self.masks else ():
            if entries[index].mask_affine is None:
                raise DatasetError(
                    f"{place}: {entries[index].sample} has no segmentation; leave masks out, or "
                    "prepare the CTs with theirs"
                )
        volumes_of = np.tile(chosen, samples_per_volume)
        # Epoch and sample make the index of a draw; a subset draws as the whole does.
        self._volumes, self._numbers = volumes_of, np.arange(len(volumes_of))
        self._organs: dict[int, Volume] = {}
        self._stream: Any = None  # of the GPU, made when it is first used
        super().__init__(
            names=[entries[i].sample for i in volumes_of],
            patients=[entries[i].patient for i in volumes_of],
            sexes=[entries[i].sex or "" for i in volumes_of],
            ages=np.array(
                [np.nan if (age := entries[i].age) is None else age for i in volumes_of], np.float32
            ),
            splits=[entries[i].split or "" for i in volumes_of],
            pathologies=pathologies,
            codes=codes[volumes_of],
            view="+".join(dict.fromkeys(view.label for view in self.views)),
            style=style,
            transform=transform,
        )

    def image(self, epoch: int, index: int) -> NDArray[np.float32]:
        """`(1 + masks, rows, columns)` float32, grey levels from 0 to 1 first.

        Raises
        ------
        GeometryError
            For a policy of which no draw can be placed round this patient.
        """
        volume = int(self._volumes[index])
        prepared, mask = self.store.load(volume)
        in_worker = _is_worker()
        threads = 1 if self.threads is None and in_worker else self.threads
        for attempt in range(_ATTEMPTS):
            draw, view = self._drawn(epoch, index, attempt)
            try:
                with self._own_stream(in_worker):
                    projection = project(
                        prepared,
                        view,
                        look=self.look,
                        draw=draw,
                        seed=0 if draw is None else draw.noise_seed,
                        backend=self._backend(in_worker),
                        threads=threads,
                    )
                break
            except GeometryError as error:
                if draw is None or attempt == _ATTEMPTS - 1:
                    raise GeometryError(f"{self.names[index]}: {error}") from None
        picture = projection.picture()[None]
        if not self.masks or mask is None:
            return picture
        organs = self._organs_of(volume, mask)
        values, labels = thickness(organs, projection.geometry, threads=threads)
        channels = np.zeros((len(self.masks), *picture.shape[1:]), np.float32)
        for value, label in zip(values, labels, strict=True):
            channels[self.masks.index(label)] = _follow(draw, value)
        return np.concatenate([picture, channels])

    def draw(self, key: Key) -> Draw | None:
        """What was drawn for a sample, before any attempt that could not be placed."""
        epoch, index = self.position(key)
        return self._drawn(epoch, index, 0)[0]

    def _drawn(self, epoch: int, index: int, attempt: int) -> tuple[Draw | None, View]:
        number = int(self._numbers[index])
        place = (attempt << 56) | (epoch << 32) | number
        choice = np.random.default_rng((self.seed, place)).integers(len(self.views))
        draw = None if self.policy is None else self.policy.draw(self.seed, place)
        return draw, self.views[int(choice)]

    def _backend(self, in_worker: bool) -> str:
        if not in_worker:
            return self.backend
        if self.backend == "cuda":
            raise ProjectionError(
                "backend='cuda' cannot run in a worker of a loader; use num_workers=0, or "
                "backend='cpu'"
            )
        return "cpu"

    @contextlib.contextmanager
    def _own_stream(self, in_worker: bool) -> Iterator[None]:
        """On a GPU, a stream of the loader's own: it does not wait for the network's kernels."""
        if choose_backend(self._backend(in_worker)) != "cuda":
            yield
            return
        import cupy

        if self._stream is None:
            self._stream = cupy.cuda.Stream(non_blocking=True)
        with self._stream:
            yield

    def _organs_of(self, volume: int, mask: Volume) -> Volume:
        """The segmentation with the wanted labels only."""
        if volume not in self._organs:
            if len(self._organs) >= 16:
                self._organs.clear()
            kept = np.where(np.isin(mask.hu, self.masks), mask.hu, 0).astype(np.int16)
            self._organs[volume] = replace(mask, hu=kept)
        return self._organs[volume]

    def _keep(self, indices: NDArray[np.int64]) -> None:
        self._volumes, self._numbers = self._volumes[indices], self._numbers[indices]
        self._organs = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_organs": {}, "_stream": None}


def _follow(draw: Draw | None, thickness_mm: NDArray[np.float32]) -> NDArray[np.float32]:
    """Thickness moved as the draw moves the picture."""
    # Sums of ones and minus ones may end a hair below zero.
    thickness_mm = np.maximum(thickness_mm, np.float32(0))
    if draw is None:
        return np.asarray(thickness_mm / np.float32(THICKNESS_MM))
    moves = Draw(
        **{
            key: getattr(draw, key)
            for key in ("flip", "rotation", "scale", "shear_across", "shear_down", "shift_across",
                        "shift_down")
        }
    )  # fmt: skip
    # Pictures are moved within 0 and 1; no ray crosses 10 m of an organ.
    moved = moves.picture(np.minimum(thickness_mm / np.float32(1e4), np.float32(1)))
    return np.asarray(moved * np.float32(1e4 / THICKNESS_MM))


def _is_worker() -> bool:
    """Whether this is a worker process of torch's loader."""
    data = sys.modules.get("torch.utils.data")
    return data is not None and data.get_worker_info() is not None
