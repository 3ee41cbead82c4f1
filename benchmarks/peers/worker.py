"""What runs inside a peer's environment: reads requests, line by line, and answers with times.

A peer's script calls `serve` with a function that loads the volume and one that projects it.
Needs NumPy and nothing of ours.
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


def serve(
    load: Callable[[Any], Any],
    project: Callable[[Any, dict[str, Any], int], np.ndarray],
) -> None:
    """Answer requests from standard input until it ends.

    Parameters
    ----------
    load
        To whatever `project` wants from a mapping with `hu` and `attenuation`, `(nz, ny, nx)` int16
        and float32 in 1/mm, and `affine`, `(4, 4)` voxel index (x, y, z) to LPS mm. Not timed.
    project
        That, a view (source, detector_center, u, v in LPS mm, shape) and a number of threads to
        `(rows, columns)` line integrals, dimensionless. A tuple of image and seconds where the
        peer's own clock is to be believed.
    """
    # Peers print; only answers may reach the pipe.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    volume = None
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "load":
            with np.load(request["path"]) as file:
                volume = load(file)
            answer: dict[str, Any] = {}
        else:
            start = time.perf_counter()
            image = project(volume, request["view"], request["threads"])
            seconds = time.perf_counter() - start
            if isinstance(image, tuple):
                image, seconds = image
            answer = {"seconds": seconds}
            if request.get("save"):
                np.save(request["save"], np.asarray(image, np.float32))
        answer["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def camera(view: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
    """Unit vectors along rows and columns and from source to detector, pitches, distance (mm)."""
    u, v = np.array(view["u"]), np.array(view["v"])
    pitch = np.array([np.linalg.norm(u), np.linalg.norm(v)])
    across, down = u / pitch[0], v / pitch[1]
    ray = np.array(view["detector_center"]) - np.array(view["source"])
    normal = np.cross(across, down)
    normal *= np.sign(normal @ ray)
    return across, down, normal, pitch, float(normal @ ray)
