"""What runs inside a peer's environment: reads requests, line by line, and answers with times.

A peer's script calls `serve` with functions that load the volume, project it, and go the whole
way from a file to a picture. Needs NumPy, Pillow for `save_png`, and nothing of ours.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

View = dict[str, Any]


LONG_ENOUGH = 1.0
"""Seconds that a request is repeated for."""


def serve(
    load: Callable[[Any], Any] | None = None,
    project: Callable[[Any, View, int], Any] | None = None,
    *,
    project_views: Callable[[Any, list[View], int], Any] | None = None,
    picture: Callable[[str, str, View, int], None] | None = None,
) -> None:
    """Answer requests from standard input until it ends. What a peer lacks, it answers as an error.

    `load` has a `path`; `project` a `view`, `threads` and where to `save`; `project views` has
    `views` and `threads`; `picture` a `path`, `png`, `view` and `threads`. Answers have `seconds`
    and `peak_bytes`, or `error`. All but `load` is repeated until a second has passed, and its mean
    counts: all peers are looked at for about as long, and the quick ones not while they wake up.
    What is to be done `once` is.

    Parameters
    ----------
    load
        To whatever `project` wants from a mapping with `hu` and `attenuation`, `(nz, ny, nx)` int16
        and float32 in 1/mm, and `affine`, `(4, 4)` voxel index (x, y, z) to LPS mm. Not timed.
    project
        That, a view (source, detector_center, u, v in LPS mm, shape) and a number of threads to
        `(rows, columns)` line integrals, dimensionless. A tuple of image and seconds where the
        peer's own clock is to be believed.
    project_views
        The same for several views in one request, by default one after the other. Returns
        `(views, rows, columns)` or None, or a tuple of that and seconds.
    picture
        From a CT's file, HU, to a PNG of 8 bits of a view about the origin.
    """
    # Peers print; only answers may reach the pipe.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    volume: Any = None

    def one_by_one(volume: Any, views: list[View], threads: int) -> None:
        assert project is not None
        for view in views:
            project(volume, view, threads)

    def once(request: dict[str, Any]) -> Any:
        if request["do"] == "picture":
            assert picture is not None
            return picture(request["path"], request["png"], request["view"], request["threads"])
        if request["do"] == "project views":
            return (project_views or one_by_one)(volume, request["views"], request["threads"])
        assert project is not None
        return project(volume, request["view"], request["threads"])

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        nonlocal volume
        if request["do"] == "load":
            assert load is not None
            with np.load(request["path"]) as file:
                volume = load(file)
            return {}
        enough = 0.0 if request.get("once") else LONG_ENOUGH
        start, times, taken = time.perf_counter(), 0, 0.0
        while times == 0 or taken < enough:
            result = once(request)
            times, taken = times + 1, time.perf_counter() - start
        seconds = taken / times
        if isinstance(result, tuple):
            result, seconds = result
        if request.get("save"):
            np.save(request["save"], np.asarray(result, np.float32))
        return {"seconds": seconds}

    for line in sys.stdin:
        try:
            found = answer(json.loads(line))
        except Exception as error:
            found = {"error": f"{type(error).__name__}: {error}"}
        found["peak_bytes"] = peak_bytes()
        answers.write(json.dumps(found) + "\n")
        answers.flush()


def peak_bytes() -> int:
    """Most memory that this process has held."""
    try:  # what getrusage says may be the parent's on Linux
        with open("/proc/self/status") as file:
            return 1024 * int(next(s for s in file if s.startswith("VmHWM")).split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def camera(view: View) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
    """Unit vectors along rows and columns and from source to detector, pitches, distance (mm)."""
    u, v = np.array(view["u"]), np.array(view["v"])
    pitch = np.array([np.linalg.norm(u), np.linalg.norm(v)])
    across, down = u / pitch[0], v / pitch[1]
    ray = np.array(view["detector_center"]) - np.array(view["source"])
    normal = np.cross(across, down)
    normal *= np.sign(normal @ ray)
    return across, down, normal, pitch, float(normal @ ray)


def in_ras(view: View) -> View:
    """A view in RAS mm: as readers that keep NIfTI's frame place the volume."""
    turn = np.array([-1.0, -1.0, 1.0])
    vectors = ("source", "detector_center", "u", "v")
    return view | {name: (turn * view[name]).tolist() for name in vectors}


def eight_bits(image: np.ndarray) -> np.ndarray:
    """The image from its minimum to its maximum as uint8."""
    image = np.asarray(image, np.float32)
    low, high = image.min(), image.max()
    return ((image - low) * (255 / (high - low)) + 0.5).astype(np.uint8)


def save_png(path: str, image: np.ndarray) -> None:
    """`eight_bits` of the image, written by Pillow."""
    from PIL import Image

    Image.fromarray(eight_bits(image)).save(path)
