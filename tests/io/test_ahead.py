"""Volumes read in the background: in order, errors where they belong, two at most in memory."""

from __future__ import annotations

import contextlib
import gc
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest

import drr
from drr.errors import ReadError
from drr.io import ahead, read_ahead
from drr.volume import Volume


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    found = []
    for k in range(5):
        found.append(tmp_path / f"{k}.npz")
        np.savez(found[-1], hu=np.full((4, 5, 6), k, np.int16), spacing=[1, 2, 3])
    return found


def test_in_order(paths: list[Path]) -> None:
    values = [int(take().hu[0, 0, 0]) for take in read_ahead(paths)]
    assert values == [0, 1, 2, 3, 4]
    assert list(read_ahead([])) == []


def test_equals_read(paths: list[Path]) -> None:
    for path, take in zip(paths, read_ahead(paths, affine=np.diag([1, 1, 2, 1])), strict=True):
        volume = take()
        assert volume.sha256 == drr.read(path, affine=np.diag([1, 1, 2, 1])).sha256
        assert volume.name == path.name


def test_one_bad_file_does_not_end_the_others(paths: list[Path]) -> None:
    paths[1].write_bytes(b"PK\x03\x04 but no archive")
    paths[3].unlink()
    found = []
    for path, take in zip(paths, read_ahead(paths), strict=True):
        if path in (paths[1], paths[3]):
            with pytest.raises(ReadError) as error:
                take()
            assert str(error.value).startswith(str(path))
        else:
            found.append(int(take().hu[0, 0, 0]))
    assert found == [0, 2, 4]


def test_reads_the_next_while_this_one_is_used(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    started = [threading.Event() for _ in paths]
    threads: list[int | None] = []

    def read(path: Path, **options: int | None) -> Volume:
        started[paths.index(path)].set()
        threads.append(options.get("threads"))
        return drr.read(path)

    monkeypatch.setattr(ahead, "read", read)
    for place, take in enumerate(read_ahead(paths)):
        take()
        if place + 1 < len(paths):
            assert started[place + 1].wait(10)
        # Not further: memory holds two.
        assert not any(event.is_set() for event in started[place + 2 :])
    assert threads == [None, 1, 1, 1, 1]


def test_taken_volumes_are_let_go(paths: list[Path]) -> None:
    taken = []
    for take in read_ahead(paths):
        gc.collect()
        assert all(reference() is None for reference in taken)
        volume = take()
        taken.append(weakref.ref(volume))
        del volume
    assert len(taken) == len(paths)


def test_stopping_early_leaves_no_thread(paths: list[Path]) -> None:
    with contextlib.closing(read_ahead(paths)) as volumes:
        next(volumes)()
    assert not [t for t in threading.enumerate() if t.name.startswith("drr-ahead")]
