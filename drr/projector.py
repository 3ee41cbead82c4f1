"""`project`: a volume and its views to line integrals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

import drr
from drr.anatomy import Anatomy, find_anatomy
from drr.attenuation import Attenuation, water
from drr.cleanup import CLEANUP_PARAMETERS
from drr.cleanup import clean as clean_volume
from drr.errors import ProjectionError
from drr.geometry import Geometry
from drr.kernels.cpu.intermediate import dominant_axis
from drr.kernels.cpu.project import METHODS
from drr.kernels.cpu.project import project as project_on_cpu
from drr.kernels.cpu.transpose import transposed_copy
from drr.masks import check_mask, thickness
from drr.views import View, check_geometry, parse_view
from drr.volume import Volume

__all__ = ["BACKENDS", "Prepared", "Projection", "prepare", "project"]

BACKENDS = ("auto", "cpu", "cuda")

ViewLike = str | View | Geometry


@dataclass(frozen=True, eq=False)
class Projection:
    """Line integrals of one view and how they were made.

    Parameters
    ----------
    line_integrals
        `(rows, columns)` float32, attenuation along each ray, dimensionless.
    geometry
        Source, detector and pixels, LPS mm.
    record
        Everything needed to repeat the image, ready for JSON.
    thickness, labels
        With a mask: `(labels, rows, columns)` float32, mm of each label along each ray, and the
        labels' values.
    identifiers
        The input's patient and study attributes; written nowhere unless asked for.
    """

    line_integrals: NDArray[np.float32]
    geometry: Geometry
    record: dict[str, Any]
    thickness: NDArray[np.float32] | None = None
    labels: tuple[int, ...] = ()
    identifiers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A volume ready to be projected many times: cleaned, with the anatomy that places views.

    Made by `prepare`; `project` takes it wherever it takes a `Volume`.
    """

    source: Volume
    volume: Volume
    anatomy: Anatomy
    cleaned: bool
    sha256: str

    @property
    def notes(self) -> tuple[str, ...]:
        """What reader, anatomy finder and clean-up did, one sentence each."""
        return tuple(dict.fromkeys((*self.volume.notes, *self.anatomy.notes)))

    @cached_property
    def transposed(self) -> NDArray[np.int16]:
        """Copy with x and y exchanged; doubles the memory, for many lateral views."""
        return transposed_copy(self.volume.hu)


def prepare(
    volume: Volume, *, clean: bool = True, in_place: bool = False, threads: int | None = None
) -> Prepared:
    """Find the patient in a volume and, by default, remove everything else.

    Parameters
    ----------
    volume
        HU in the patient's frame.
    clean
        Replace couch, blanket and padding by air.
    in_place
        Overwrite the voxels of `volume` instead of copying them; for callers that own it.
    threads
        CPU threads; all available ones by default.
    """
    digest = volume.sha256  # of what was read, before anything is overwritten
    anatomy = find_anatomy(volume, threads=threads)
    ready = volume
    if clean:
        ready = clean_volume(volume, anatomy, out=volume.hu if in_place else None, threads=threads)
    return Prepared(volume, ready, anatomy, clean, digest)


@overload
def project(  # type: ignore[overload-overlap] # a str is also a sequence of str
    volume: Volume | Prepared,
    views: ViewLike = ...,
    *,
    attenuation: Attenuation | None = ...,
    method: str = ...,
    backend: str = ...,
    threads: int | None = ...,
    anti_aliasing: bool = ...,
    clean: bool = ...,
    mask: Volume | None = ...,
) -> Projection: ...
@overload
def project(
    volume: Volume | Prepared,
    views: Sequence[ViewLike],
    *,
    attenuation: Attenuation | None = ...,
    method: str = ...,
    backend: str = ...,
    threads: int | None = ...,
    anti_aliasing: bool = ...,
    clean: bool = ...,
    mask: Volume | None = ...,
) -> list[Projection]: ...
def project(
    volume: Volume | Prepared,
    views: ViewLike | Sequence[ViewLike] = "pa",
    *,
    attenuation: Attenuation | None = None,
    method: str = "shear-warp",
    backend: str = "auto",
    threads: int | None = None,
    anti_aliasing: bool = True,
    clean: bool = True,
    mask: Volume | None = None,
) -> Projection | list[Projection]:
    """Project a CT volume.

    Parameters
    ----------
    volume
        From `drr.read`, or `prepare` to share its work between calls.
    views
        A view's name (`pa`, `ap-portable`, `ll`, `lao30`), angles (`30,15`), a `View` or a
        `Geometry`; a sequence of them gives a list.
    attenuation
        HU to attenuation; water at 60 keV by default.
    method
        `shear-warp` (Joseph's sums, fastest), `joseph` (the same, ray by ray) or `siddon` (exact
        paths through piecewise-constant voxels).
    backend
        `cpu`; `auto` takes the fastest that answers.
    threads
        CPU threads; all available ones by default.
    anti_aliasing
        Whether a pixel larger than the voxels it sees is the mean of sub-pixel rays.
    clean
        Whether couch, blanket and padding become air first. Ignored for a prepared volume.
    mask
        Labels in the patient's frame, on any grid: each label's thickness is projected too.

    Returns
    -------
    A `Projection`, or a list of them for a sequence of views.

    Raises
    ------
    GeometryError
        For views that cannot be placed or see nothing.
    ProjectionError
        For an unknown method or back-end, a mask that is not of this patient, or a blank image.
    """
    if method not in METHODS:
        raise ProjectionError(f"there is no method {method!r}; methods are {', '.join(METHODS)}")
    backend = choose_backend(backend)
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise ProjectionError(f"threads must be a whole number above zero, got {threads!r}")
    single = isinstance(views, str | View | Geometry)
    wanted: Sequence[ViewLike] = [views] if single else list(views)  # type: ignore[list-item,arg-type]
    if not wanted:
        raise ProjectionError("no views were asked for; name at least one, such as 'pa'")
    if not isinstance(volume, Volume | Prepared):
        raise ProjectionError(
            f"project needs a Volume (from drr.read), got {type(volume).__name__}; "
            "for a plain array use Volume.from_stored(array, affine)"
        )
    # Refuse bad names before the work starts.
    parsed = [view if isinstance(view, Geometry) else parse_view(view) for view in wanted]
    prepared = (
        prepare(volume, clean=clean, threads=threads) if isinstance(volume, Volume) else volume
    )
    if mask is not None:
        check_mask(mask, prepared.volume)
    attenuation = water() if attenuation is None else attenuation
    placed = [_place(view, prepared) for view in parsed]
    rays = [geometry.rays(prepared.volume.affine) for geometry in placed]
    # A transposed copy costs about what it saves in two lateral views.
    sideways = sum(dominant_axis(bundle) == 0 for bundle in rays)
    transpose = method == "shear-warp" and sideways > 2
    projections = []
    for view, geometry, bundle in zip(parsed, placed, rays, strict=True):
        image = project_on_cpu(
            prepared.volume.hu,
            attenuation.mapping,
            bundle,
            method=method,
            anti_aliasing=anti_aliasing,
            threads=threads,
            transposed=prepared.transposed if transpose else None,
        )
        if not image.any():
            raise ProjectionError(
                f"the image of {prepared.volume.name} is blank: no ray meets anything denser than "
                f"{attenuation.hu[0]:g} HU before the detector; 'drr inspect' shows what the scan "
                "holds"
            )
        values: NDArray[np.float32] | None = None
        labels: tuple[int, ...] = ()
        if mask is not None:
            values, labels = thickness(
                mask, geometry, method=method, anti_aliasing=anti_aliasing, threads=threads
            )
        projections.append(
            Projection(
                line_integrals=image,
                geometry=geometry,
                record={
                    "drr": drr.__version__,
                    "input": {
                        "sha256": prepared.sha256,
                        "shape": list(prepared.volume.shape),
                        "spacing": prepared.volume.spacing.round(6).tolist(),
                    },
                    "view": view.to_dict() if isinstance(view, View) else None,
                    "attenuation": attenuation.to_dict(),
                    "cleanup": dict(CLEANUP_PARAMETERS) if prepared.cleaned else None,
                    "method": method,
                    "backend": backend,
                    "anti_aliasing": anti_aliasing,
                    "cpu": _cpu(),
                },
                thickness=values,
                labels=labels,
                identifiers=prepared.source.identifiers,
            )
        )
    return projections[0] if single else projections


def choose_backend(backend: str) -> str:
    """The back-end that runs, or an error that says why it cannot."""
    if backend not in BACKENDS:
        raise ProjectionError(
            f"there is no back-end {backend!r}; back-ends are {', '.join(BACKENDS)}"
        )
    if backend == "cuda":
        raise ProjectionError(
            f"drr {drr.__version__} has no CUDA kernels yet; use backend='cpu' or 'auto'"
        )
    return "cpu"


def _place(view: View | Geometry, prepared: Prepared) -> Geometry:
    if isinstance(view, View):
        return view.place(prepared.anatomy)
    check_geometry(view, prepared.anatomy)
    return view


def _cpu() -> str:
    import llvmlite.binding as llvm

    return str(llvm.get_host_cpu_name())
