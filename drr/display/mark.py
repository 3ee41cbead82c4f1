"""The visible mark: SYNTHETIC burned into a corner of a picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drr.errors import WriteError

__all__ = ["MARK_TEXT", "draw_mark"]

MARK_TEXT = "SYNTHETIC"

# Drawn here so that a marked picture is the same bit for bit wherever it is made.
_LETTERS = {
    "S": (".###.", "#...#", "#....", ".###.", "....#", "#...#", ".###."),
    "Y": ("#...#", "#...#", ".#.#.", "..#..", "..#..", "..#..", "..#.."),
    "N": ("#...#", "##..#", "##..#", "#.#.#", "#..##", "#..##", "#...#"),
    "T": ("#####", "..#..", "..#..", "..#..", "..#..", "..#..", "..#.."),
    "H": ("#...#", "#...#", "#...#", "#####", "#...#", "#...#", "#...#"),
    "E": ("#####", "#....", "#....", "####.", "#....", "#....", "#####"),
    "I": (".###.", "..#..", "..#..", "..#..", "..#..", "..#..", ".###."),
    "C": (".###.", "#...#", "#....", "#....", "#....", "#...#", ".###."),
}


def draw_mark(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a copy of a picture with SYNTHETIC in its lower left corner, white on black.

    Parameters
    ----------
    picture
        `(rows, columns)` float32 in [0, 1].

    Raises
    ------
    WriteError
        When the picture is too small for a legible mark.
    """
    letters = [
        np.array([[pixel == "#" for pixel in row] for row in _LETTERS[letter]], np.float32)
        for letter in MARK_TEXT
    ]
    text = np.hstack([np.pad(letter, ((2, 2), (1, 0))) for letter in letters])
    text = np.pad(text, ((0, 0), (1, 2)))
    rows, columns = picture.shape
    # About a quarter of the width, as large as a radiographer's side marker.
    scale = max(1, round(columns / 4 / text.shape[1]))
    label = np.kron(text, np.ones((scale, scale), np.float32))
    margin = scale
    if label.shape[0] + margin > rows or label.shape[1] + margin > columns:
        raise WriteError(
            f"a picture of {rows} x {columns} pixels is too small for the {MARK_TEXT} mark, which "
            f"needs {text.shape[0] + 1} x {text.shape[1] + 1}; use more pixels or no mark"
        )
    marked: NDArray[np.float32] = picture.copy()
    bottom = rows - margin
    marked[bottom - label.shape[0] : bottom, margin : margin + label.shape[1]] = label
    return marked
