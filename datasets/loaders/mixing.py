"""`MixedDRRs`: stored and projected views in one data set, by ratio."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.datasets.loaders.samples import Key, Samples
from drr.datasets.schema import DatasetError

__all__ = ["MixedDRRs"]


class MixedDRRs:
    """Samples of two data sets in one, in the same proportion in every epoch.

    Which sample comes from which, and which one it is, is drawn from the seed and the epoch; a data
    set that is asked for fewer samples than it has gives others every time, and one that is asked
    for more gives all of them about equally often.

    Parameters
    ----------
    stored, projected
        Two data sets with the same labels, style and number of channels.
    projected_fraction
        Part of the samples that is projected, 0 to 1; rounded to a whole number of samples.
    length
        Samples in an epoch; as many as are stored by default.
    seed
        Seed of the choice between the data sets.

    Raises
    ------
    DatasetError
        For data sets that do not match, and a fraction or length that cannot be.
    """

    def __init__(
        self,
        stored: Samples,
        projected: Samples,
        *,
        projected_fraction: float = 0.5,
        length: int | None = None,
        seed: int = 0,
    ) -> None:
        if stored.pathologies != projected.pathologies:
            raise DatasetError(
                f"the two data sets have different labels: {', '.join(stored.pathologies)} and "
                f"{', '.join(projected.pathologies)}; choose the same with labels="
            )
        if stored.style != projected.style:
            raise DatasetError(
                f"the two data sets have different styles, {stored.style!r} and "
                f"{projected.style!r}; choose one"
            )
        if not 0 <= projected_fraction <= 1:
            raise DatasetError(f"projected_fraction is within 0 and 1, got {projected_fraction!r}")
        if length is not None and length < 1:
            raise DatasetError(f"length is one or more samples, got {length}")
        self.stored, self.projected = stored, projected
        self.pathologies = list(stored.pathologies)
        self.projected_fraction, self.seed = float(projected_fraction), seed
        self.length = len(stored) if length is None else length
        self.epoch = 0
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: Key) -> dict[str, Any]:
        epoch, index = key if isinstance(key, tuple) else (self.epoch, key)
        if not -self.length <= index < self.length:
            raise IndexError(f"sample {index} of {self.length}")
        source, place = self.source((epoch, index % self.length))
        sample = source[epoch, place]
        sample["idx" if source.style == "torchxrayvision" else "index"] = index % self.length
        return sample

    def set_epoch(self, epoch: int) -> None:
        """As `Samples.set_epoch`."""
        self.epoch = int(epoch)

    def source(self, key: tuple[int, int]) -> tuple[Samples, int]:
        """The data set a sample comes from, and its index there."""
        epoch, index = key
        code = int(self._choice(epoch)[index])
        return (self.projected, code) if code >= 0 else (self.stored, -1 - code)

    def _choice(self, epoch: int) -> NDArray[np.int64]:
        """For every position the index of a projected sample, or -1 minus that of a stored one."""
        if self._order[0] != epoch:
            rng = np.random.default_rng((self.seed, epoch))
            projected = round(self.projected_fraction * self.length)
            codes = np.concatenate(
                [
                    _some(len(self.projected), projected, rng),
                    -1 - _some(len(self.stored), self.length - projected, rng),
                ]
            )
            self._order = epoch, rng.permutation(codes)
        return self._order[1]


def _some(available: int, wanted: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices, each as often as any other give or take one."""
    rounds = [rng.permutation(available) for _ in range(-(-wanted // available))]
    return np.concatenate([*rounds, np.empty(0, np.int64)])[:wanted].astype(np.int64)
