from __future__ import annotations

import numpy as np
import pytest

from drr.kernels.cpu.body.block_means import block_means


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.mark.parametrize("factors", [(1, 1, 1), (2, 3, 5), (4, 4, 4), (9, 10, 11)])
@pytest.mark.parametrize("every", [(1, 1), (2, 1), (1, 3)])
@pytest.mark.parametrize("threads", [1, 3])
def test_block_means_are_those_of_numpy(
    rng: np.random.Generator,
    factors: tuple[int, int, int],
    every: tuple[int, int],
    threads: int,
) -> None:
    values = rng.integers(-3000, 3000, (9, 10, 11)).astype(np.int16)
    means, maxima = block_means(
        values, factors, floor=-1000, ceiling=0, every=every, threads=threads
    )
    for k, j, i in np.ndindex(means.shape):
        z, y, x = (slice(n * f, n * f + f) for n, f in zip((k, j, i), factors, strict=True))
        block = values[z, y, x]
        first = [(min(n, size) - 1) // 2 for n, size in zip(every, block.shape, strict=False)]
        block = block[first[0] :: every[0], first[1] :: every[1]]
        assert means[k, j, i] == int(np.clip(block, -1000, 0).mean())
        assert maxima[k, j, i] == block.max()
