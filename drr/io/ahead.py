"""Read the next CT while this one is worked on."""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from drr.io.read import read
from drr.volume import Volume

__all__ = ["read_ahead"]


def read_ahead(
    paths: Iterable[str | os.PathLike[str]], **options: Any
) -> Generator[Callable[[], Volume], None, None]:
    """Read volumes in the background, in order, one ahead of the caller.

    The first is read with all threads, the others with one, since the caller keeps the rest busy.
    Two volumes are in memory at a time: the caller's and the next one.

    Parameters
    ----------
    paths
        As for `drr.read`.
    options
        Options of `drr.read`, the same for every path.

    Yields
    ------
    callable
        For each path one without arguments, to be called once: waits for the volume and returns
        it, or raises what `drr.read` raised, so that one bad file does not end the others.
        Nothing here holds a volume that was taken.

    Examples
    --------
    >>> for take in read_ahead(paths):  # doctest: +SKIP
    ...     projection = drr.project(take(), "pa")
    """
    waiting: deque[list[Future[Volume]]] = deque()
    with ThreadPoolExecutor(1, "drr-ahead") as pool:
        try:
            for place, path in enumerate(paths):
                alone = {} if place == 0 else {"threads": 1}
                waiting.append([pool.submit(read, path, **{**alone, **options})])
                if len(waiting) > 1:
                    yield functools.partial(_take, waiting.popleft())
            while waiting:
                yield functools.partial(_take, waiting.popleft())
        finally:
            # Whoever stops early waits for the one that is being read, and no other.
            for (future,) in waiting:
                future.cancel()


def _take(place: list[Future[Volume]]) -> Volume:
    return place.pop().result()
