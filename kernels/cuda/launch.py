"""The CUDA back-end: batches of views of an int16 volume."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cpu.projection.project import sub_pixels
from drr.kernels.cuda.arrays import returned, taken
from drr.kernels.cuda.errors import CudaError, CudaMemoryError, megabytes, translated
from drr.kernels.cuda.modules import MOST_CHANNELS, kernel
from drr.kernels.cuda.residency import DeviceVolume, with_room
from drr.kernels.cuda.views import follows_x, is_swapped, is_turned, packed, turned
from drr.kernels.mapping import Mapping
from drr.kernels.rays import Rays

__all__ = ["KERNELS", "project_views"]

# Shear-warp reorders Joseph's sums so that a CPU's caches can be used; a GPU is as fast without,
# and then nothing is resampled twice.
KERNELS = {"shear-warp": "joseph", "joseph": "joseph", "siddon": "siddon"}
BLOCK = (32, 8, 1)
# Of a launch: views, and blocks down the detector.
MOST_IN_GRID = 65535


def project_views(
    volume: Any,
    mappings: Sequence[Mapping],
    views: Sequence[Rays],
    *,
    method: str = "joseph",
    anti_aliasing: bool = True,
    device: int | None = None,
) -> Any:
    """Line integrals of a batch of views.

    Work is queued on the current stream of the volume's library. A volume that is on the GPU is
    read where it is, and its images are not waited for; with one in the host's memory the images
    are in the host's memory when this returns.

    Parameters
    ----------
    volume
        `(nz, ny, nx)` int16, C-contiguous: NumPy array, CuPy array, torch tensor, anything else
        with DLPack, or a `DeviceVolume`.
    mappings
        Voxel value to attenuation, one for each channel.
    views
        In the volume's index space, all of one detector shape.
    method
        `siddon`, `joseph`, or `shear-warp`, which is `joseph` here (`KERNELS`).
    anti_aliasing
        Whether a pixel larger than the voxels it sees is the mean of sub-pixel rays.
    device
        Number of the GPU; that of the volume, or 0 for one in the host's memory.

    Returns
    -------
    `(views, channels, rows, columns)` float32, dimensionless, as an array of the volume's library
    in the memory that holds the volume.

    Raises
    ------
    CudaError
        For inputs that the kernels cannot take, or a GPU that fails.
    CudaMemoryError
        When the volume, or one of its views, does not fit the device's memory. A batch that does
        not fit is made in parts, if its images go to the host.
    """
    if method not in KERNELS:
        raise CudaError(f"there is no method {method!r}; methods are {', '.join(KERNELS)}")
    if not mappings or not views:
        raise CudaError("nothing to project: at least one mapping and one view are needed")
    _check_detector(views)
    with translated(), taken(volume, device) as resident:
        batch = _Batch(resident, mappings, method=KERNELS[method], anti_aliasing=anti_aliasing)
        if resident.kind in ("cupy", "torch-cuda"):
            return returned(batch.on_device(views), resident.kind)
        return returned(batch.on_host(views), resident.kind)


class _Batch:
    """One volume, what it is mapped to and by which kernel, for any number of views."""

    def __init__(
        self,
        volume: DeviceVolume,
        mappings: Sequence[Mapping],
        *,
        method: str,
        anti_aliasing: bool,
    ) -> None:
        self.volume = volume
        # The kernels index with unsigned values: the table from 0 on, then the negative ones.
        self.tables = np.stack([np.roll(mapping.table, -32768) for mapping in mappings])
        # Of the channels together, for there are none below zero but in tests.
        self.least = 0.0 if all(m.never_negative for m in mappings) else -math.inf
        self.method = method
        self.anti_aliasing = anti_aliasing

    def on_device(self, views: Sequence[Rays]) -> Any:
        """Images in one array on the device."""
        import cupy

        try:
            return with_room(lambda: self._launch(views))
        except cupy.cuda.memory.OutOfMemoryError:
            raise self._too_large(views) from None

    def on_host(self, views: Sequence[Rays]) -> NDArray[np.float32]:
        """Images in the host's memory, in as many parts as the device's memory asks for."""
        import cupy

        shape = len(views), len(self.tables), *views[0].shape
        out = np.empty(shape, np.float32)
        start, count = 0, len(views)
        while start < len(views):
            part = views[start : start + count]
            try:
                images = with_room(lambda part=part: self._launch(part))
            except cupy.cuda.memory.OutOfMemoryError:
                images = None
            if images is not None:
                images.get(out=out[start : start + len(part)])
                del images  # or it would take the room of the next part
                start += len(part)
            elif count > 1:
                count = -(-count // 2)
            else:
                raise self._too_large(part)
        return out

    def _launch(self, views: Sequence[Rays]) -> Any:
        import cupy

        rows, columns = views[0].shape
        out = cupy.empty((len(views), len(self.tables), rows, columns), np.float32)
        tables = _on_device(self.tables)
        groups: dict[tuple[bool, bool], list[int]] = {}
        for number, rays in enumerate(views):
            groups.setdefault((is_swapped(rays), is_turned(rays)), []).append(number)
        for (swap, turn), numbers in groups.items():
            along_x = self.method == "joseph" and any(
                follows_x(views[i], swapped=swap) for i in numbers
            )
            swapped = self.volume.swapped() if swap or along_x else None
            # Without room for the copy it is slower, but the same image.
            swap = swap and swapped is not None
            voxels, others = self.volume.voxels, swapped
            if swap:
                voxels, others = swapped, self.volume.voxels
            with self.volume.read_by_current_stream():
                for start in range(0, len(numbers), MOST_IN_GRID):
                    part = numbers[start : start + MOST_IN_GRID]
                    constants = [self._constants(views[i], i, swap, turn) for i in part]
                    self._run(voxels, others, np.stack(constants), tables, out, turn)
        return out

    def _constants(self, rays: Rays, image: int, swap: bool, turn: bool) -> NDArray[np.float32]:
        sub = sub_pixels(self.volume.shape, rays) if self.anti_aliasing else (1, 1)
        if turn:
            rays, sub = turned(rays), sub[::-1]
        return packed(rays, self.volume.shape, sub=sub, swapped=swap, image=image, least=self.least)

    def _run(
        self,
        voxels: Any,
        others: Any,
        constants: NDArray[np.float32],
        tables: Any,
        out: Any,
        turn: bool,
    ) -> None:
        _, channels, rows, columns = out.shape
        steps = columns, 1
        if turn:
            rows, columns, steps = columns, rows, steps[::-1]
        grid = -(-columns // BLOCK[0]), -(-rows // BLOCK[1]), len(constants)
        nz, ny, nx = voxels.shape
        sizes = nx, ny, nz, *((1, nx) if others is None else (ny, 1))
        views = _on_device(constants)
        for first in range(0, channels, MOST_CHANNELS):
            together = min(MOST_CHANNELS, channels - first)
            numbers = [rows, columns, *steps, channels, first]
            kernel(self.method, channels=together)(
                grid,
                BLOCK,
                (
                    voxels,
                    voxels if others is None else others,
                    *map(np.int32, sizes),
                    views,
                    tables[first : first + together],
                    out,
                    *map(np.int32, numbers),
                ),
            )

    def _too_large(self, views: Sequence[Rays]) -> CudaMemoryError:
        import cupy

        rows, columns = views[0].shape
        size = 4 * len(views) * len(self.tables) * rows * columns
        free, total = cupy.cuda.runtime.memGetInfo()
        what = "an image" if len(views) == 1 else f"{len(views)} images"
        return CudaMemoryError(
            f"{what} of {rows} x {columns} pixels and {len(self.tables)} channels with its tables "
            f"takes {megabytes(size + self.tables.nbytes)} of device memory beside the volume's "
            f"{megabytes(self.volume.nbytes)}, and {megabytes(free)} of {megabytes(total)} are "
            "free; ask for fewer views at once or fewer pixels, or use backend='cpu'"
        )


def _on_device(values: NDArray[np.float32]) -> Any:
    import cupy

    out = cupy.empty(values.shape, values.dtype)
    out.set(np.ascontiguousarray(values), stream=cupy.cuda.get_current_stream())
    return out


def _check_detector(views: Sequence[Rays]) -> None:
    rows, columns = views[0].shape
    if any(rays.shape != (rows, columns) for rays in views):
        shapes = sorted({rays.shape for rays in views})
        raise CudaError(f"the views of a batch have one detector shape, got {shapes}")
    most = MOST_IN_GRID * BLOCK[1]
    if min(rows, columns) < 1 or max(rows, columns) > most or rows * columns >= 2**31:
        raise CudaError(
            f"a detector of {rows} x {columns} pixels is beyond the CUDA kernels, which take 1 to "
            f"{most} rows and columns and fewer than 2^31 pixels; project it in parts"
        )
    for rays in views:
        values = (rays.source, rays.origin, rays.u, rays.v, rays.metric)
        if not all(np.isfinite(value).all() for value in values):
            raise CudaError("the rays of a view are not finite; check its geometry")
        if not np.abs(rays.central_direction).max() > 0:
            raise CudaError("the source lies on the detector; move it away")
