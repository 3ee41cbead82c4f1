"""Vectors in kernels, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from drr.kernels.cpu.compiler.jit import float32, jit
from drr.kernels.cpu.compiler.vectors import (
    LANES,
    any_from,
    bits_set,
    exchange_block,
    hat,
    larger,
    load,
    ramp,
    splat,
    store,
    unit,
    widen,
    zeros_below,
)
from drr.kernels.cpu.projection.transpose import transposed_copy

GENERATOR = np.random.default_rng(0)
A = GENERATOR.uniform(-2, 2, 40).astype(np.float32)
B = GENERATOR.uniform(-2, 2, 40).astype(np.float32)
VOXELS = GENERATOR.integers(-32768, 32767, 300, endpoint=True).astype(np.int16)


@jit
def arithmetic(a, b, number, out):
    store(out, 0, load(a, 3) + load(b, 5))
    store(out, LANES, load(a, 3) - load(b, 5))
    store(out, 2 * LANES, load(a, 3) * load(b, 5))
    store(out, 3 * LANES, (load(a, 3) + number) * number - number)


def test_arithmetic_rounds_lane_by_lane_as_numpy_does():
    out = np.zeros(4 * LANES, np.float32)
    number = np.float32(0.3)
    arithmetic(A, B, number, out)
    a, b = A[3 : 3 + LANES], B[5 : 5 + LANES]
    expected = np.concatenate([a + b, a - b, a * b, (a + number) * number - number])
    np.testing.assert_array_equal(out, expected)


@jit
def functions(a, number, out):
    store(out, 0, larger(load(a, 0), splat(float32(0))))
    store(out, LANES, hat(load(a, 0)))
    store(out, 2 * LANES, unit(load(a, 0)))
    store(out, 3 * LANES, splat(number))
    store(out, 4 * LANES, ramp())


def test_functions_of_vectors():
    out = np.zeros(5 * LANES, np.float32)
    functions(A, np.float32(1.25), out)
    a = A[:LANES]
    expected = [
        np.maximum(a, 0),
        np.maximum(1 - np.abs(a), 0),
        np.clip(a, 0, 1),
        np.full(LANES, 1.25),
        np.arange(LANES),
    ]
    np.testing.assert_array_equal(out, np.concatenate(expected).astype(np.float32))


@jit
def widened(voxels, out):
    store(out, 0, widen(voxels, 7))


def test_voxels_become_float32():
    out = np.zeros(LANES, np.float32)
    widened(VOXELS, out)
    np.testing.assert_array_equal(out, VOXELS[7 : 7 + LANES])


@jit
def compared(voxels, index, lowest, out):
    out[0] = any_from(voxels, index, lowest)


@pytest.mark.parametrize("place", [0, 7, 15])
@pytest.mark.parametrize("lowest", [-32768, -999, 32767])
def test_any_voxel_from_a_value_on(place, lowest):
    out = np.zeros(1, bool)
    voxels = np.full(24, max(lowest - 1, -32768), np.int16)
    compared(voxels, 3, lowest, out)
    assert out[0] == (lowest == -32768)
    voxels[3 + place] = lowest
    compared(voxels, 3, lowest, out)
    assert out[0]
    compared(np.roll(voxels, -place - 4 if place < 12 else 8), 3, lowest, out)
    assert out[0] == (lowest == -32768)


@jit
def exchanged(voxels, out):
    exchange_block(voxels, 5, 30, out, 3, 9)


def test_a_block_of_voxels_is_exchanged():
    out = np.zeros(100, np.int16)
    exchanged(VOXELS, out)
    block = np.lib.stride_tricks.as_strided(VOXELS[5:], (8, 8), (60, 2))
    placed = np.lib.stride_tricks.as_strided(out[3:], (8, 8), (18, 2))
    np.testing.assert_array_equal(placed, block.T)
    placed[:] = 0
    assert not out.any()


@pytest.mark.parametrize("shape", [(2, 8, 16), (3, 17, 29), (1, 33, 64), (2, 5, 7), (1, 1, 50)])
def test_a_transposed_copy_of_any_size(shape):
    volume = np.resize(VOXELS, shape)
    copy = transposed_copy(volume, threads=2)
    np.testing.assert_array_equal(copy, volume.transpose(0, 2, 1))


@jit
def read(values, i, out):
    store(out, 0, load(values, i))


@jit
def write(values, i):
    store(values, i, splat(float32(0)))


@pytest.mark.parametrize("index", [-1, 40 - LANES + 1, 40])
def test_indices_are_checked_where_kernels_are_compiled_with_checks(index, monkeypatch):
    monkeypatch.setenv("NUMBA_BOUNDSCHECK", "1")
    for kernel in (read, write):
        kernel._ready.clear()
    with pytest.raises(IndexError):
        read(A, index, np.zeros(LANES, np.float32))
    with pytest.raises(IndexError):
        write(A.copy(), index)
    for kernel in (read, write):
        kernel._ready.clear()


@jit
def bits(words, out):
    for n in range(words.size):
        out[2 * n] = bits_set(words[n])
        out[2 * n + 1] = zeros_below(words[n])


def test_bits_of_words():
    words = GENERATOR.integers(1, 2**64 - 1, 60, dtype=np.uint64, endpoint=True)
    words <<= np.arange(60, dtype=np.uint64)
    words = np.concatenate([words[words > 0], np.array([1, 1 << 63, 2**64 - 1], np.uint64)])
    out = np.empty(2 * words.size, np.int64)
    bits(words, out)
    for word, (count, zeros) in zip(words.tolist(), out.reshape(-1, 2).tolist(), strict=True):
        assert count == word.bit_count()
        assert word >> zeros & 1
        assert word & ((1 << zeros) - 1) == 0
