"""Classes of blocks around a body: what stays whole, what goes whole, what walks judge."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cpu.body.morphology import Mask
from drr.kernels.cpu.compiler.jit import jit, uint8, uint64

__all__ = ["CLASS", "INSIDE", "OUTSIDE", "RIM", "SEEN", "SKIN", "START", "block_classes"]

# Classes of a block. Walks judge the voxels of rim and skin; where none comes, those of the rim
# go and those of the skin stay.
OUTSIDE, RIM, SKIN, INSIDE = 0, 1, 2, 3
CLASS = 3
# Flags beside the class: walks start here; walks may look here.
START, SEEN = 4, 8


def block_classes(
    mask: Mask, factors: tuple[int, int, int], shape: tuple[int, ...], lanes: int
) -> NDArray[np.uint8]:
    """The class of every block, and its flags, for walks of up to so many lanes.

    Inside is what has all its in-plane neighbours in the mask, which goes on beyond the array.
    Skin are the other blocks of the mask, and those above and below it, where no walk goes but
    which may hold the rest of a shoulder; the rim are the mask's other neighbours. Walks start in
    the inside where rim or skin is next to it, and look there and into both.

    Parameters
    ----------
    mask
        `(kz, ky, kx)` bool.
    factors
        Voxels per block along z, y and x.
    shape
        `(nz, ny, nx)` of the volume.
    lanes
        The most neighbouring walks that are one.

    Returns
    -------
    `(kz, ky, kx)` uint8: one of `OUTSIDE`, `RIM`, `SKIN` and `INSIDE`, and `START` and `SEEN`.
    """
    nz, ny, nx = mask.shape
    sizes = [size for f, n in zip(factors[1:], shape[1:], strict=True) for size in (f, n % f)]
    # A walk of one lane sees half of what lies beside it.
    beside = lanes == 1 or any(size % lanes == 1 for size in sizes)
    # Planes with a block more all around.
    padded = np.zeros((3, (ny + 2) * (nx + 2)), np.uint8)
    classes = np.empty(mask.shape, np.uint8)
    blocks = np.ascontiguousarray(mask).view(np.uint8).reshape(-1)
    _classify(blocks, nz, ny, nx, int(beside), *padded, classes.reshape(-1))
    return classes


@jit
def _classify(mask, nz, ny, nx, beside, known, shallow, seen, classes):
    """Plane by plane. In `known`, 3 is the mask, and 2 what lies beyond the array.

    With unsigned indices the loops along a row become vector instructions.
    """
    one, pitch, count = uint64(1), uint64(nx + 2), uint64(nx)
    for i in range(known.size):
        known[i] = 2
    for z in range(nz):
        plane = z * ny * nx
        below = uint64((ny * nx) if z > 0 else 0)
        above = uint64((ny * nx) if z + 1 < nz else 0)
        for y in range(ny):
            row, at = uint64(plane + y * nx), uint64(y + 1) * pitch + one
            for x in range(count):
                known[at + x] = uint8(3) * mask[row + x]
        for y in range(ny):
            row, at = uint64(plane + y * nx), uint64(y + 1) * pitch + one
            for x in range(count):
                i, here = row + x, at + x
                up, down = here - pitch, here + pitch
                left, right = known[here - one], known[here + one]
                rim = (known[here] | left | right | known[up] | known[down]) & uint8(1)
                deep = known[here] & left & right & known[up] & known[down]
                deep &= known[up - one] & known[up + one] & known[down - one] & known[down + one]
                deep >>= uint8(1)
                skin = mask[i] | mask[i - below] | mask[i + above]
                shallow[here] = (rim | skin) & ~deep
                # The bits of the class: RIM is 1, SKIN is 2, INSIDE both. All inside is skin.
                classes[i] = (rim & ~skin) | deep | (skin << uint8(1))
        for y in range(ny):
            row, at = uint64(plane + y * nx), uint64(y + 1) * pitch + one
            for x in range(count):
                i, here = row + x, at + x
                near = shallow[here - one] | shallow[here + one]
                near |= shallow[here - pitch] | shallow[here + pitch]
                start = classes[i] & (classes[i] >> uint8(1)) & near
                seen[here] = shallow[here] | start
                classes[i] |= start << uint8(2)
        for y in range(ny):
            row, at = uint64(plane + y * nx), uint64(y + 1) * pitch + one
            for x in range(count):
                i, here = row + x, at + x
                look = seen[here]
                if beside:
                    look |= seen[here - one] | seen[here + one]
                    look |= seen[here - pitch] | seen[here + pitch]
                classes[i] |= look << uint8(3)
