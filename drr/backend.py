"""Where projections are computed: which back-end runs, why, and the images it makes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from drr.errors import ProjectionError
from drr.kernels.cpu.projection.intermediate import dominant_axis
from drr.kernels.cpu.projection.project import project_channels
from drr.kernels.mapping import Mapping
from drr.kernels.rays import Rays

if TYPE_CHECKING:
    from drr.patient.prepare import Prepared

__all__ = ["BACKENDS", "Backend", "Images", "cast", "choose_backend", "find_backend"]

BACKENDS = ("auto", "cpu", "cuda")
# Views that the GPU is given at once: enough to keep it busy, few enough for the host's memory.
BATCH = 16


@dataclass(frozen=True, kw_only=True)
class Backend:
    """A back-end that can run.

    Parameters
    ----------
    name
        `cpu` or `cuda`.
    reason
        Why this one: what was asked for, or what was found.
    fallback
        Whether the CPU takes over when the GPU cannot.
    """

    name: str
    reason: str
    fallback: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class Images:
    """Line integrals of one view, and what computed them.

    Parameters
    ----------
    channels
        `(channels, rows, columns)` float32, dimensionless.
    method
        The one that ran: the GPU's `shear-warp` is `joseph`.
    quality
        The one that ran: a GPU always makes the finest one.
    backend
        The one that ran.
    """

    channels: NDArray[np.float32]
    method: str
    quality: str
    backend: Backend


def find_backend(backend: str) -> Backend:
    """The back-end that runs for a name, and why.

    Raises
    ------
    ProjectionError
        For an unknown name, or `cuda` where no GPU answers.
    """
    if backend not in BACKENDS:
        raise ProjectionError(
            f"there is no back-end {backend!r}; back-ends are {', '.join(BACKENDS)}"
        )
    if backend == "cpu":
        return Backend(name="cpu", reason="asked for")
    from drr.kernels.cuda.detect import detect

    found = detect()
    if found.available:
        return Backend(name="cuda", reason=f"{found.device} answers", fallback=backend == "auto")
    if backend == "cuda":
        raise ProjectionError(
            f"the CUDA back-end is not available: {found.reason}; {found.fix}, or use "
            "backend='cpu' or 'auto'"
        )
    return Backend(name="cpu", reason=f"no GPU: {found.reason}")


def choose_backend(backend: str) -> str:
    """The name of the back-end that runs, or an error that says why it cannot."""
    return find_backend(backend).name


def cast(
    prepared: Prepared,
    mappings: Sequence[Mapping],
    views: Sequence[Rays],
    *,
    backend: Backend,
    method: str,
    quality: str,
    anti_aliasing: bool,
    threads: int | None,
) -> Iterator[Images]:
    """Images of every view, in order, by the back-end or by the one it falls back to.

    Raises
    ------
    ProjectionError
        When the GPU cannot and nothing else was allowed; the message says why.
    """
    done = 0
    if backend.name == "cuda":
        from drr.kernels.cuda.errors import CudaError

        try:
            for images in _by_gpu(
                prepared, mappings, views, backend, method, anti_aliasing, threads
            ):
                yield images
                done += 1
        except CudaError as error:
            if not backend.fallback:
                raise ProjectionError(f"{prepared.volume.name}: {error}") from error
            backend = Backend(name="cpu", reason=str(error))
    # A transposed copy costs about what it saves in two lateral views.
    sideways = sum(dominant_axis(rays) == 0 for rays in views[done:]) * len(mappings)
    transpose = method == "shear-warp" and sideways > 2
    for rays in views[done:]:
        channels = project_channels(
            prepared.volume.hu,
            mappings,
            rays,
            method=method,
            quality=quality,
            anti_aliasing=anti_aliasing,
            threads=threads,
            transposed=prepared.transposed if transpose else None,
        )
        yield Images(channels=channels, method=method, quality=quality, backend=backend)


def _by_gpu(
    prepared: Prepared,
    mappings: Sequence[Mapping],
    views: Sequence[Rays],
    backend: Backend,
    method: str,
    anti_aliasing: bool,
    threads: int | None,
) -> Iterator[Images]:
    from drr.kernels.cuda.errors import translated
    from drr.kernels.cuda.launch import KERNELS, project_views
    from drr.kernels.cuda.residency import volumes

    for _, same_shape in itertools.groupby(views, key=lambda rays: rays.shape):
        group = list(same_shape)
        for start in range(0, len(group), BATCH):
            with translated():
                resident = volumes.get(prepared.volume.hu, threads=threads)
            batch = project_views(
                resident,
                mappings,
                group[start : start + BATCH],
                method=method,
                anti_aliasing=anti_aliasing,
            )
            volumes.trim()  # the copy with x and y exchanged may have come in addition
            for channels in batch:
                yield Images(
                    channels=channels, method=KERNELS[method], quality="finest", backend=backend
                )
