"""Effects on a finished picture: what scanners, films and viewers do to a radiograph.

Plain functions on `(rows, columns)` float32 grey pictures in [0, 1], 1 = white. Each returns a new
picture of the same shape and range. `drr.randomise.variation.Draw.picture` chains them with drawn
numbers.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.errors import PolicyError

__all__ = [
    "MARKERS",
    "MARKER_WIDTH",
    "affine",
    "blur",
    "border",
    "brightness",
    "checked",
    "clahe",
    "clip_percentiles",
    "contrast",
    "flip",
    "gain",
    "gamma",
    "invert",
    "marker",
    "noise",
    "sharpen",
]

Picture = NDArray[np.float32]


def checked(picture: Any) -> Picture:
    """A picture, or a `PolicyError` that says why it is none."""
    good = isinstance(picture, np.ndarray) and picture.ndim == 2 and picture.dtype == np.float32
    if not good or picture.size == 0:
        kind = type(picture).__name__
        shape = f" of {picture.dtype} {picture.shape}" if isinstance(picture, np.ndarray) else ""
        raise PolicyError(
            f"a picture is a (rows, columns) float32 array in [0, 1], got {kind}{shape}"
        )
    return picture


def invert(picture: Picture) -> Picture:
    """White for black, as a MONOCHROME1 film read as MONOCHROME2: 1 - x."""
    return _clipped(1 - checked(picture))


def gamma(picture: Picture, exponent: float) -> Picture:
    """x ** exponent: above 1 darkens the middle greys, below 1 brightens them; ends stay."""
    _require(0 < exponent < math.inf, "gamma", exponent, "above zero")
    return _clipped(checked(picture) ** np.float32(exponent))


def gain(picture: Picture, factor: float) -> Picture:
    """Every pixel times a factor, clipped at white: black stays."""
    _require(0 <= factor < math.inf, "gain", factor, "zero or more")
    return _clipped(checked(picture) * np.float32(factor))


def contrast(picture: Picture, factor: float) -> Picture:
    """Deviations from the picture's mean times a factor; clipped."""
    _require(0 <= factor < math.inf, "contrast", factor, "zero or more")
    picture = checked(picture)
    mean = np.float32(picture.mean(dtype=np.float64))
    return _clipped(mean + np.float32(factor) * (picture - mean))


def brightness(picture: Picture, shift: float) -> Picture:
    """Shift added to every pixel, in fractions of white; clipped."""
    _require(math.isfinite(shift), "brightness", shift, "finite")
    return _clipped(checked(picture) + np.float32(shift))


def blur(picture: Picture, sigma: float) -> Picture:
    """Gaussian blur; the picture is mirrored at its borders, which keeps its mean.

    The kernel is Lindeberg's discrete Gaussian exp(-s^2) I_n(s^2) (IEEE PAMI 12, 1990, 234-254):
    unlike samples of a Gaussian its variance is sigma^2 for small sigma, too. It is cut, and
    normalised, where less than about 1e-5 is left.

    Parameters
    ----------
    picture
        `(rows, columns)` float32.
    sigma
        Standard deviation in pixels, 0 (nothing) to 100.
    """
    _require(0 <= sigma <= 100, "the blur's sigma", sigma, "within 0 and 100 pixels")
    picture = checked(picture)
    weights = _gaussian(sigma)
    if len(weights) == 1:
        return picture.copy()
    across = _along_rows(picture.T, weights)
    return _clipped(_along_rows(across.T, weights))


def sharpen(picture: Picture, amount: float, *, sigma: float = math.sqrt(6 / 13)) -> Picture:
    """Move away from the blurred picture: blurred + amount * (x - blurred); clipped.

    Parameters
    ----------
    picture
        `(rows, columns)` float32.
    amount
        1 changes nothing, 0 gives the blurred picture, above 1 sharpens (unsharp masking).
    sigma
        Width of the blur in pixels. The default has the variance, 6/13, of the 3x3 smoothing kernel
        (1 1 1; 1 5 1; 1 1 1) / 13 with which Pillow, torchvision and Kornia define sharpness.
    """
    _require(0 <= amount < math.inf, "sharpness", amount, "zero or more")
    smooth = blur(picture, sigma)
    return _clipped(smooth + np.float32(amount) * (picture - smooth))


def clip_percentiles(picture: Picture, percent: float) -> Picture:
    """Stretch the grey levels between two percentiles to black and white; clip the rest.

    Parameters
    ----------
    picture
        `(rows, columns)` float32. One whose two percentiles are equal is returned as it is.
    percent
        Percentage of the pixels at either end: 0 (a plain stretch) to below 50.
    """
    _require(0 <= percent < 50, "the clipped percentile", percent, "within 0 and below 50")
    picture = checked(picture)
    low, high = np.percentile(picture, [percent, 100 - percent])
    if high <= low:
        return picture.copy()
    return _clipped((picture - np.float32(low)) / np.float32(high - low))


def noise(picture: Picture, sigma: float, *, seed: int) -> Picture:
    """Add independent Gaussian noise to every pixel; clipped.

    Parameters
    ----------
    picture
        `(rows, columns)` float32.
    sigma
        Standard deviation in fractions of white.
    seed
        The same seed, shape and NumPy give the same noise (Philox).
    """
    _require(0 <= sigma < math.inf, "the noise's sigma", sigma, "zero or more")
    picture = checked(picture)
    grains = np.random.Generator(np.random.Philox(seed)).standard_normal(picture.shape, np.float32)
    grains *= np.float32(sigma)
    grains += picture
    return _clipped(grains)


def clahe(picture: Picture, limit: float, *, tiles: int = 8) -> Picture:
    """Contrast-limited adaptive histogram equalisation.

    K. Zuiderveld, "Contrast Limited Adaptive Histogram Equalization", Graphics Gems IV (1994),
    474-485: the picture is cut into tiles; in each, histogram bins above the limit are cut, what
    was cut is spread evenly over all bins (once), and the cumulative histogram maps grey levels;
    a pixel's mapping is interpolated bilinearly between the four nearest tile centres, and is that
    of the nearest tile beyond them. 256 bins; levels in between are interpolated, so that no
    levels are lost.

    Parameters
    ----------
    picture
        `(rows, columns)` float32.
    limit
        Highest bin, as a multiple of the mean bin: 1 is close to no change, 256 plain equalisation.
    tiles
        Down and across; at most one a pixel is used.
    """
    _require(1 <= limit <= 256, "the CLAHE limit", limit, "within 1 and 256 mean bins")
    _require(tiles >= 1, "CLAHE tiles", tiles, "one or more")
    picture = checked(picture)
    rows, columns = picture.shape
    down, above, below_weight = _tile_neighbours(rows, tiles)
    across, left, right_weight = _tile_neighbours(columns, tiles)
    level = picture * np.float32(256)
    index = np.minimum(level.astype(np.int32), 255)
    level -= index
    tile = down[:, None] * (across[-1] + 1) + across
    counts = np.bincount((tile * 256 + index).ravel(), minlength=(tile[-1, -1] + 1) * 256)
    share = counts.reshape(-1, 256) / counts.reshape(-1, 256).sum(axis=1, keepdims=True)
    kept = np.minimum(share, limit / 256)
    kept += (1 - kept.sum(axis=1, keepdims=True)) / 256
    # Mapped levels at the 257 edges of the bins.
    edges = np.zeros((len(kept), 257), np.float32)
    np.cumsum(kept, axis=1, out=edges[:, 1:])
    maps = edges.reshape(down[-1] + 1, across[-1] + 1, 257)
    result = np.empty_like(picture)
    # Between two tile centres four maps are needed: blocks of pixels that share theirs.
    for top, bottom in _runs(above):
        for first, last in _runs(left):
            block = np.s_[top:bottom, first:last]
            r, c = above[top], left[first]
            below, beside = min(r + 1, maps.shape[0] - 1), min(c + 1, maps.shape[1] - 1)
            y, x = below_weight[top:bottom, None], right_weight[None, first:last]
            at, part = index[block], level[block]

            def mapped(curve: NDArray[np.float32], at: Any = at, part: Any = part) -> Picture:
                return np.asarray(curve[at] + part * np.diff(curve)[at])

            upper = (1 - x) * mapped(maps[r, c]) + x * mapped(maps[r, beside])
            lower = (1 - x) * mapped(maps[below, c]) + x * mapped(maps[below, beside])
            result[block] = (1 - y) * upper + y * lower
    return _clipped(result)


def flip(picture: Picture) -> Picture:
    """Left for right."""
    return checked(picture)[:, ::-1].copy()


def affine(
    picture: Picture,
    *,
    rotation: float = 0.0,
    scale: float = 1.0,
    shear: tuple[float, float] = (0.0, 0.0),
    shift: tuple[float, float] = (0.0, 0.0),
    outside: float = 0.0,
) -> Picture:
    """Turn, magnify, shear and move what the picture shows, about its middle.

    A point q (x right, y down, from the middle) moves to scale * R S q + shift with the rotation R
    and the shear S = (1, tan(across); tan(down), 1). Bilinear interpolation.

    Parameters
    ----------
    picture
        `(rows, columns)` float32.
    rotation
        Degrees, anticlockwise as seen.
    scale
        Above 1 magnifies.
    shear
        Degrees across and down, together less than 90.
    shift
        Pixels to the right and down.
    outside
        Grey level where there was no picture; it begins one pixel beyond the outermost centres.
    """
    _require(0 < scale < math.inf, "the scale", scale, "above zero")
    _require(abs(shear[0]) + abs(shear[1]) < 90, "the shear", shear, "less than 90 degrees in all")
    numbers = (rotation, *shear, *shift, outside)
    _require(all(map(math.isfinite, numbers)), "an affine's numbers", numbers, "finite")
    picture = checked(picture)
    rows, columns = picture.shape
    cosine, sine = math.cos(math.radians(rotation)), math.sin(math.radians(rotation))
    turn = np.array([[cosine, sine], [-sine, cosine]])  # y grows downwards
    slant = np.array([[1, math.tan(math.radians(shear[0]))], [math.tan(math.radians(shear[1])), 1]])
    back = np.linalg.inv(scale * turn @ slant)
    x = np.arange(columns) - (columns - 1) / 2 - shift[0]
    y = np.arange(rows)[:, None] - (rows - 1) / 2 - shift[1]
    # Where each pixel comes from, in a picture framed by two pixels of outside.
    framed = np.pad(picture, 2, constant_values=np.float32(outside))
    from_x = _inside(back[0, 0] * x + back[0, 1] * y + (columns - 1) / 2 + 2, columns + 4)
    from_y = _inside(back[1, 0] * x + back[1, 1] * y + (rows - 1) / 2 + 2, rows + 4)
    column, row = from_x.astype(np.int32), from_y.astype(np.int32)
    from_x -= column
    from_y -= row
    corner = row * np.int32(columns + 4) + column
    flat = framed.ravel()
    upper = flat[corner]
    upper += from_x * (flat[corner + 1] - upper)
    corner += np.int32(columns + 4)
    lower = flat[corner]
    lower += from_x * (flat[corner + 1] - lower)
    lower -= upper
    lower *= from_y
    return _clipped(upper + lower)


def border(
    picture: Picture,
    *,
    top: int = 0,
    right: int = 0,
    bottom: int = 0,
    left: int = 0,
    grey: float = 0.0,
) -> Picture:
    """Cover the edges: black where the collimator's shutter was, white round a scanned film.

    Parameters
    ----------
    picture
        `(rows, columns)` float32.
    top, right, bottom, left
        Width in pixels.
    grey
        Its grey level.
    """
    widths = (top, right, bottom, left)
    _require(min(widths) >= 0, "border widths", widths, "zero or more pixels")
    covered = checked(picture).copy()
    rows, columns = covered.shape
    covered[: min(top, rows)] = grey
    covered[max(rows - bottom, 0) :] = grey
    covered[:, : min(left, columns)] = grey
    covered[:, max(columns - right, 0) :] = grey
    return _clipped(covered)


MARKER_WIDTH = 0.62
"""Of a marker's box, as a fraction of its height."""

# Strokes of a letter in its box of height 1 (x right, y down).
_BOWL = [
    (0.30 + 0.26 * math.cos(a), 0.26 + 0.26 * math.sin(a)) for a in np.linspace(-1.5708, 1.5708, 9)
]
_STROKES: dict[str, list[list[tuple[float, float]]]] = {
    "L": [[(0.06, 0.0), (0.06, 1.0), (0.56, 1.0)]],
    "R": [[(0.06, 1.0), (0.06, 0.0), *_BOWL, (0.06, 0.52)], [(0.32, 0.52), (0.56, 1.0)]],
}
MARKERS = tuple(_STROKES)
"""The letters that `marker` can draw."""


def marker(
    picture: Picture, letter: str, *, row: float, column: float, height: float, grey: float = 1.0
) -> Picture:
    """Put a side marker on the picture: a letter in strokes, like a lead one.

    Parameters
    ----------
    picture
        `(rows, columns)` float32. What does not fit is cut off.
    letter
        `L` or `R`.
    row, column
        Pixels from the picture's top left corner to that of the letter's box.
    height
        Height of the letter in pixels; it is 0.62 as wide, its strokes 0.14 thick.
    grey
        Its grey level; the strokes' edges are anti-aliased over one pixel.
    """
    if letter not in _STROKES:
        raise PolicyError(f"a marker is one of {', '.join(MARKERS)}, got {letter!r}")
    _require(height >= 4, "the marker's height", height, "4 pixels or more")
    marked = checked(picture).copy()
    thick = 0.07 * height
    top, left = max(0, math.floor(row - thick)), max(0, math.floor(column - thick))
    bottom = math.ceil(row + height + thick) + 1
    right = math.ceil(column + MARKER_WIDTH * height + thick) + 1
    place = marked[top : max(bottom, 0), left : max(right, 0)]
    y = np.arange(top, top + place.shape[0])[:, None] + 0.5 - row
    x = np.arange(left, left + place.shape[1])[None, :] + 0.5 - column
    distance = np.full(place.shape, np.inf)
    for stroke in _STROKES[letter]:
        for (x0, y0), (x1, y1) in itertools.pairwise(stroke):
            across, down = (x1 - x0) * height, (y1 - y0) * height
            from_x, from_y = x - x0 * height, y - y0 * height
            along = np.clip((from_x * across + from_y * down) / (across**2 + down**2), 0, 1)
            to_stroke = np.hypot(from_x - along * across, from_y - along * down)
            distance = np.minimum(distance, to_stroke)
    cover = np.clip(thick + 0.5 - distance, 0, 1).astype(np.float32)
    place += cover * (np.float32(grey) - place)
    return _clipped(marked)


def _gaussian(sigma: float) -> NDArray[np.float32]:
    """Discrete Gaussian of variance sigma^2, odd length, sum 1."""
    radius = math.ceil(4.5 * sigma) + 2
    count = 4 * radius + 16
    # Its Fourier transform is exp(-sigma^2 (1 - cos f)), which spares the Bessel functions.
    cosine = np.cos(2 * np.pi * np.arange(count // 2 + 1) / count)
    kernel = np.fft.irfft(np.exp(-(sigma**2) * (1 - cosine)), count)
    half = np.maximum(kernel[: radius + 1], 0)
    while len(half) > 1 and half[-1] < 1e-6:
        half = half[:-1]
    weights = np.concatenate([half[:0:-1], half])
    return np.asarray(weights / weights.sum(), np.float32)


def _along_rows(picture: Picture, weights: NDArray[np.float32]) -> Picture:
    """Convolve every column (axis 0) with a symmetric kernel, mirrored at both ends."""
    rows, radius = picture.shape[0], len(weights) // 2
    long = np.pad(np.ascontiguousarray(picture), ((radius, radius), (0, 0)), mode="symmetric")
    result = long[radius : radius + rows] * weights[radius]
    pair = np.empty_like(result)
    for reach in range(1, radius + 1):
        before, after = radius - reach, radius + reach
        np.add(long[before : before + rows], long[after : after + rows], out=pair)
        pair *= weights[radius + reach]
        result += pair
    return result


def _tile_neighbours(
    count: int, tiles: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Of each pixel along an axis: its tile, the last centre before it, and the next's weight."""
    tiles = min(tiles, count)
    edges = np.arange(tiles + 1) * count // tiles
    own = np.repeat(np.arange(tiles), np.diff(edges))
    centres = (edges[1:] + edges[:-1] - 1) / 2
    position = np.interp(np.arange(count), centres, np.arange(tiles))
    before = np.minimum(position.astype(np.intp), max(tiles - 2, 0))
    return own, before, (position - before).astype(np.float32)


def _runs(values: NDArray[np.intp]) -> list[tuple[int, int]]:
    """Start and stop of each run of equal values."""
    ends = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    return list(itertools.pairwise(ends))


def _inside(position: NDArray[np.float64], count: int) -> NDArray[np.float32]:
    return np.asarray(np.clip(position, 0, count - 1.001), np.float32)


def _clipped(picture: NDArray[np.floating]) -> Picture:
    return np.clip(picture, np.float32(0), np.float32(1)).astype(np.float32, copy=False)


def _require(condition: bool, name: str, value: Any, rule: str) -> None:
    if not condition:
        raise PolicyError(f"{name} must be {rule}, got {value!r}")
