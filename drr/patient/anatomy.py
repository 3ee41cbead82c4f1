"""Where the patient is in a volume: the body, the lungs, and what the scan cuts off.

Found on a grid of about 4.2 mm (5 mm along the patient), each block from a sample of its voxels,
so that it costs about as much as reading all voxels a few times.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drr.errors import VolumeError
from drr.kernels.cpu.body.block_means import block_means
from drr.kernels.cpu.body.morphology import Mask, components, dilate, erode, outermost, shadow
from drr.patient.fill import without_fill
from drr.sharing import kept_property
from drr.threads import available_cpus, each
from drr.volume import Volume

__all__ = [
    "ANATOMY_PARAMETERS",
    "Anatomy",
    "check_anatomy",
    "find_anatomy",
]

ANATOMY_PARAMETERS = {
    "adult_view_mm": 340.0,
    "smallest_scale": 0.5,
    "block_mm": 4.2,
    "block_z_mm": 5.0,
    "smallest_grid": 32,
    "floor_hu": -1000,
    "ceiling_hu": 0,
    "tissue_hu": -400,
    "opening_mm": 6.0,
    "smallest_part": 0.02,
    "smallest_body_of_volume": 0.001,
    "between_fraction": 0.5,
    "front_and_back_fraction": 0.05,
    "lung_hu": -500,
    "gas_hu": -975,
    "airway_mm": 9.0,
    "recess_mm": 60.0,
    "smallest_lung": 0.1,
    "smallest_lungs_of_body": 0.02,
    "padding_hu": -1024,
    "cut_mm2": 400.0,
}
"""Thresholds and lengths of `find_anatomy`, for records. HU are of block means, clamped between
floor and ceiling. Lengths are for fields of view as wide as adults need; narrower ones, as of
children, scale them down."""

SIDES = ("right", "left", "anterior", "posterior")


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The patient in a volume, as masks on a coarse grid.

    There always is a body: where none is found the whole volume counts as one, `found` is False,
    and a note says so. So views can be placed around test objects too.

    Parameters
    ----------
    body
        `(kz, ky, kx)` bool. True for blocks of the patient, air inside included.
    affine
        `(4, 4)` block index (x, y, z) to LPS mm; whole numbers at the blocks' centres.
    factors
        Voxels per block along z, y and x.
    lungs
        Both lungs (or the one there is) without the trachea, on the same grid; None if not found.
    truncated_sides
        Sides at which the field of view cuts the body, of `right`, `left`, `anterior` and
        `posterior`; `right` is the patient's. The ends of the scan always cut it.
    found
        Whether a body stands out from its surroundings.
    outside_view
        `(kz, ky, kx)` bool. True for blocks that hold nothing but padding, outside a round field
        of view; None where no body was looked for.
    notes
        What a user may want to know, one sentence each.
    """

    body: Mask
    affine: NDArray[np.float64]
    factors: tuple[int, int, int]
    lungs: Mask | None = None
    truncated_sides: tuple[str, ...] = ()
    found: bool = True
    outside_view: Mask | None = None
    notes: tuple[str, ...] = ()

    @property
    def truncated(self) -> bool:
        """Whether the field of view cuts the body's sides."""
        return bool(self.truncated_sides)

    @kept_property
    def footprint(self) -> Mask:
        """`(ky, kx)` bool. Where the body is in any plane."""
        return np.asarray(self.body.any(axis=0))

    @kept_property
    def body_box(self) -> NDArray[np.float64]:
        """`(2, 3)` lowest and highest x, y and z of the body, LPS mm."""
        return _box(self._surface)

    @kept_property
    def lungs_box(self) -> NDArray[np.float64] | None:
        """`(2, 3)` lowest and highest x, y and z of the lungs, LPS mm; None if not found."""
        return None if self.lungs is None else _box(self.lungs_points)

    @kept_property
    def lungs_points(self) -> NDArray[np.float64]:
        """`(n, 3)` LPS mm: corners of the lungs' blocks, the furthest in any direction among them;
        none where no lungs were found."""
        if self.lungs is None:
            return np.empty((0, 3))
        points = _outer_corners(self.lungs, self.affine)
        points.flags.writeable = False
        return points

    @kept_property
    def thorax_center(self) -> tuple[float, float, float]:
        """LPS mm of the middle of the lungs' box, or of the body's where there are no lungs."""
        box = self.body_box if self.lungs_box is None else self.lungs_box
        x, y, z = box.mean(axis=0).tolist()
        return x, y, z

    def surface_points(self) -> NDArray[np.float64]:
        """`(n, 3)` LPS mm: corners of blocks among which are the furthest in any direction."""
        return self._surface

    @kept_property
    def _surface(self) -> NDArray[np.float64]:
        points = _outer_corners(self.body, self.affine)
        points.flags.writeable = False
        return points

    @kept_property
    def _world_to_block(self) -> NDArray[np.float64]:
        return np.asarray(np.linalg.inv(self.affine), dtype=np.float64)

    def support(self, direction: ArrayLike) -> float:
        """How far the body reaches in a direction.

        Parameters
        ----------
        direction
            `(3,)` LPS, normally of unit length.

        Returns
        -------
        The largest dot product of the direction with a point of the body, mm from the origin of
        the patient's frame.
        """
        return float((self._surface @ np.asarray(direction, dtype=np.float64)).max())

    def contains(self, point: ArrayLike) -> bool:
        """Whether a `(3,)` LPS point in mm lies in a block of the body."""
        to_block = self._world_to_block
        x, y, z = np.floor(to_block[:3, :3] @ np.asarray(point, float) + to_block[:3, 3] + 0.5)
        kz, ky, kx = self.body.shape
        if not (0 <= x < kx and 0 <= y < ky and 0 <= z < kz):
            return False
        return bool(self.body[int(z), int(y), int(x)])


def find_anatomy(volume: Volume, *, threads: int | None = None) -> Anatomy:
    """Find the patient's body and lungs in a CT volume.

    Tissue is separated from couch and blanket by an opening in the axial plane, after the air
    with body in front of it and behind it has been filled plane by plane, so that neither an
    airway that leaves the scan nor a field of view that cuts the lung lets it leak.

    Parameters
    ----------
    volume
        HU in the patient's frame. Anything is accepted: where no body stands out, the whole
        volume is one.
    threads
        Threads for the pass over the voxels; all available ones by default.
    """
    p = ANATOMY_PARAMETERS
    volume = without_fill(volume)
    threads = threads or available_cpus()
    spacing = volume.spacing[::-1]
    scale = _scale(volume.shape, spacing)
    factors = _factors(volume.shape, spacing, scale)
    means, maxima = block_means(
        volume.hu,
        factors,
        floor=int(p["floor_hu"]),
        ceiling=int(p["ceiling_hu"]),
        # One slice and two rows of a block tell enough of it.
        every=(factors[0], -(-factors[1] // 2)),
        threads=threads,
    )
    # In adult mm: all lengths below scale with the patient.
    block = spacing * factors / scale
    outside_view = _outside_view(maxima)
    tissue = (means > p["tissue_hu"]) & ~outside_view
    mask = _find_body(tissue, block, threads)
    affine = _block_affine(volume.affine, factors)
    if mask is None:
        note = "no body stands out, so the whole volume is taken for one"
        return Anatomy(np.ones(means.shape, bool), affine, factors, found=False, notes=(note,))
    lungs = _find_lungs(means, mask, block)
    sides = _truncated_sides(mask, outside_view, block)
    notes = []
    if lungs is None:
        notes.append("no lungs were found, so views are centred on the body")
    if sides:
        notes.append(f"the field of view cuts the body ({', '.join(sides)})")
    return Anatomy(
        mask, affine, factors, lungs, sides, outside_view=outside_view, notes=tuple(notes)
    )


def check_anatomy(volume: Volume, anatomy: Anatomy) -> None:
    """Refuse an anatomy whose grid is not that of the volume.

    Raises
    ------
    VolumeError
        When its blocks do not cover the volume's voxels.
    """
    expected = tuple(-(-n // f) for n, f in zip(volume.shape, anatomy.factors, strict=True))
    if anatomy.body.shape != expected:
        raise VolumeError(
            f"{volume.name}: the anatomy's grid {anatomy.body.shape} does not cover the volume's "
            f"{volume.shape} voxels; pass the anatomy that find_anatomy gave for this volume"
        )


def _scale(shape: tuple[int, int, int], spacing: NDArray[np.float64]) -> float:
    p = ANATOMY_PARAMETERS
    view = float((np.array(shape) * spacing)[1:].max())
    return min(1.0, max(p["smallest_scale"], view / p["adult_view_mm"]))


def _factors(
    shape: tuple[int, int, int], spacing: NDArray[np.float64], scale: float
) -> tuple[int, int, int]:
    """Voxels per block: about `block_mm`, but small volumes keep a grid worth looking at."""
    p = ANATOMY_PARAMETERS
    sizes = (p["block_z_mm"], p["block_mm"], p["block_mm"])
    z, y, x = (
        int(max(1, min(round(size * scale / s), n // p["smallest_grid"])))
        for size, n, s in zip(sizes, shape, spacing, strict=True)
    )
    return z, y, x


def _block_affine(
    affine: NDArray[np.float64], factors: tuple[int, int, int]
) -> NDArray[np.float64]:
    scale = np.array(factors[::-1], dtype=np.float64)
    to_voxel = np.diag([*scale, 1.0])
    to_voxel[:3, 3] = (scale - 1) / 2
    return np.asarray(affine @ to_voxel)


def _outside_view(maxima: NDArray[np.int16]) -> Mask:
    """Blocks outside a round field of view.

    Below `padding_hu` no CT number exists. At it, air of a truncated scale looks the same, so
    that the shape decides: what is not padding must be a disc that spans the image.
    """
    padding = ANATOMY_PARAMETERS["padding_hu"]
    impossible = maxima < padding
    columns: Mask = np.asarray((maxima <= padding).all(axis=0))
    ky, kx = columns.shape
    y, x = np.ogrid[:ky, :kx]
    radius = np.hypot((2 * y - ky + 1) / ky, (2 * x - kx + 1) / kx)
    is_disc = bool(columns[radius > 1.1].all() and not columns[radius < 0.9].any())
    return np.asarray(impossible | columns) if is_disc else impossible


def _find_body(tissue: Mask, block: NDArray[np.float64], threads: int) -> Mask | None:
    p = ANATOMY_PARAMETERS
    if np.count_nonzero(tissue) < p["smallest_body_of_volume"] * tissue.size:
        return None
    core, _ = _core(tissue, block)
    # The opening would remove thin chest walls; with the lungs filled there are none.
    solid = tissue | _enclosed_air(tissue, core, threads)
    core, radii = _core(solid, block)
    body = _grow(core, solid, (0, 1, 1), max(radii) + 1)
    body |= _holes(body)
    # Growing back follows a couch top for a few blocks from where it touches the back.
    fringe = (0, min(radii[1], 1), min(radii[2], 1))
    return dilate(erode(body, fringe), fringe)


def _core(tissue: Mask, block: NDArray[np.float64]) -> tuple[Mask, tuple[int, int, int]]:
    """The body's thick parts, and the radii of the opening that isolated them."""
    p = ANATOMY_PARAMETERS
    radii = _in_plane(p["opening_mm"], block, tissue.shape)
    # What is small throughout is opened less, in the end not at all.
    while not (thick := erode(tissue, radii)).any():
        radii = (0, max(radii[1] - 1, 0), max(radii[2] - 1, 0))
    parts = components(thick)
    return parts.mask(parts.sizes >= p["smallest_part"] * parts.sizes.max()), radii


def _enclosed_air(tissue: Mask, core: Mask, threads: int) -> Mask:
    """Air that has thick parts of the body in front of it and behind it.

    Lungs have, also where their walls are thin, the field of view cuts them or the airway leaves
    the scan. The hollow of a couch has not, nor has the gap between couch and back.
    """
    p = ANATOMY_PARAMETERS
    in_front, behind = shadow(core), shadow(core, backward=True)
    air, holes = each(
        [
            # The dilation closes gaps in thin walls, through which the lung would leak.
            lambda: components(~dilate(tissue, (0, 1, 1)), planes=True),
            lambda: _holes(tissue),
        ],
        threads,
    )
    between = air.sums(in_front & behind) >= p["between_fraction"] * air.sizes
    air_mask = dilate(air.mask(between | ~air.at_edge()), (0, 1, 1)) & ~tissue
    # In space, so that thin crescents of lung hang together with the rest of it.
    air = components(air_mask | holes)
    least = p["front_and_back_fraction"] * air.sizes
    return air.mask((air.sums(in_front) >= least) & (air.sums(behind) >= least))


def _holes(mask: Mask) -> Mask:
    """What the mask encloses wholly in an axial plane."""
    parts = components(~mask, planes=True)
    return parts.mask(~parts.at_edge())


def _grow(seed: Mask, into: Mask, radii: tuple[int, int, int], times: int) -> Mask:
    """Dilate step by step, but only into a mask."""
    grown = seed.copy()
    for _ in range(times):
        grown |= dilate(grown, radii) & into
    return grown


def _find_lungs(means: NDArray[np.int16], body: Mask, block: NDArray[np.float64]) -> Mask | None:
    p = ANATOMY_PARAMETERS
    air = body & (means < p["lung_hu"])
    # Wider than any trachea.
    parts = components(erode(air, _in_plane(p["airway_mm"], block, air.shape)))
    # Gas in the stomach or bowel holds no blood.
    sizes = np.where(parts.sums(means) < p["gas_hu"] * parts.sizes, 0, parts.sizes)
    largest = np.argsort(sizes, kind="stable")[::-1][:2]
    if not largest.size or not sizes.max():
        return None
    chosen = np.zeros(sizes.size, bool)
    chosen[largest] = sizes[largest] >= max(1.0, p["smallest_lung"] * sizes.max())
    core = parts.mask(chosen)
    # Back into the costophrenic recesses, but neither up the trachea nor far down into the bowel.
    planes = np.flatnonzero(core.reshape(len(core), -1).any(axis=1))
    recess = int(np.rint(p["recess_mm"] / block[0]))
    air[planes[-1] + 2 :] = False
    air[: max(planes[0] - recess, 0)] = False
    parts = components(air & (means >= p["gas_hu"]))
    lungs = parts.mask(parts.sums(core) > 0)
    least = p["smallest_lungs_of_body"] * np.count_nonzero(body)
    return lungs if np.count_nonzero(lungs) >= least else None


def _truncated_sides(body: Mask, outside_view: Mask, block: NDArray[np.float64]) -> tuple[str, ...]:
    """Sides of the round or rectangular field of view that the body touches."""
    limit = dilate(outside_view, (0, 1, 1), cross=True)
    limit[:, [0, -1]] = True
    limit[:, :, [0, -1]] = True
    _, ky, kx = body.shape
    y, x = np.divmod(np.flatnonzero(body & limit) % (ky * kx), kx)
    across, along = (x - (kx - 1) / 2) / kx, (y - (ky - 1) / 2) / ky
    sideways = np.abs(across) > np.abs(along)
    counts = (
        (sideways & (across < 0)).sum(),
        (sideways & (across > 0)).sum(),
        (~sideways & (along < 0)).sum(),
        (~sideways & (along > 0)).sum(),
    )
    area = block[0] * (block[1] + block[2]) / 2
    least = ANATOMY_PARAMETERS["cut_mm2"]
    return tuple(s for s, n in zip(SIDES, counts, strict=True) if n * area >= least)


def _in_plane(
    length: float, block: NDArray[np.float64], shape: tuple[int, ...]
) -> tuple[int, int, int]:
    """Radii of a box of about `length` mm, flat along z and no larger than a grid needs."""
    y, x = (int(min(np.rint(length / block[axis]), shape[axis])) for axis in (1, 2))
    return 0, y, x


def _outer_corners(mask: Mask, affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """`(n, 3)` LPS mm: corners of the first and last block of rows of the mask.

    All that are corners of its convex hull are among them, so that no direction is lost; most
    others are left out.
    """
    nz, ny, count = mask.shape
    start, stop = outermost(mask)
    filled = start < stop
    corners = []
    for first, sign in ((start, 1.0), (count - stop, -1.0)):
        blocks = np.full((nz + 2, ny + 2), np.inf)
        blocks[1:-1, 1:-1] = np.where(filled, first, np.inf)
        # A corner is of the furthest out of the four blocks around it.
        depth = np.minimum(blocks[:-1], blocks[1:])
        depth = np.minimum(depth[:, :-1], depth[:, 1:])
        z, y = np.nonzero((depth < np.inf) & _convex(depth))
        x = depth[z, y] - 0.5
        corners.append(np.stack([x if sign > 0 else count - 1 - x, y - 0.5, z - 0.5], axis=-1))
    return np.asarray(np.concatenate(corners) @ affine[:3, :3].T + affine[:3, 3])


def _convex(depth: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether a surface lies below the middle of any two points at equal distances around."""
    convex = np.ones(depth.shape, bool)
    for dz, dy in ((0, 1), (0, 2), (0, 4), (1, 0), (2, 0), (4, 0)):
        nz, ny = depth.shape
        if nz > 2 * dz and ny > 2 * dy:
            here = (slice(dz, nz - dz), slice(dy, ny - dy))
            before, after = depth[: nz - 2 * dz, : ny - 2 * dy], depth[2 * dz :, 2 * dy :]
            convex[here] &= 2 * depth[here] < before + after
    return convex


def _box(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([points.min(axis=0), points.max(axis=0)])
