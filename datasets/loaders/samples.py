"""What stored and projected views share as data sets: keys, labels, epochs, subsets, styles.

A data set here is a plain sequence of samples, which `torch.utils.data.DataLoader` takes as it
is; nothing of this module needs torch. A key is an index, or `(epoch, index)` as `EpochSampler`
hands out, so that workers know the epoch however long they live.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.checks import did_you_mean
from drr.datasets.labels import remap, with_nan
from drr.datasets.schema import DatasetError
from drr.datasets.splits import check_leakage
from drr.datasets.study import CohortError
from drr.errors import MissingDependencyError
from drr.sharing import kept_property

__all__ = ["STYLES", "EpochSampler", "Key", "Samples", "chosen_labels", "generator", "in_split"]

Key = int | tuple[int, int]
Transform = Callable[[NDArray[np.float32]], Any]

STYLES = ("plain", "torchxrayvision")


class Samples:
    """A data set of images with labels.

    Parameters
    ----------
    names, patients, sexes, ages, splits
        One value for each sample; empty text and NaN where unknown.
    pathologies
        Names of the labels.
    codes
        `(samples, labels)` int8 codes of `drr.datasets.labels`.
    view
        What the images show, for `csv`.
    style
        `plain`: a sample is a dictionary of `image`, `(channels, rows, columns)` float32 from 0
        (black) to 1 (white), `labels`, float32 with NaN where uncertain or unknown, `index`,
        `name` and `patient`. `torchxrayvision`: of `img`, `(1, rows, columns)` float32 from -1024
        to 1024, `lab` and `idx`, as that package's data sets give them.
    transform
        Called with the image, last of all.

    Attributes
    ----------
    labels
        `(samples, labels)` float32: 1, 0, and NaN where uncertain or unknown.
    epoch
        Epoch of samples that are asked for by index alone; see `set_epoch`.
    """

    def __init__(
        self,
        *,
        names: Sequence[str],
        patients: Sequence[str],
        sexes: Sequence[str],
        ages: NDArray[np.float32],
        splits: Sequence[str],
        pathologies: Sequence[str],
        codes: NDArray[np.int8],
        view: str,
        style: str = "plain",
        transform: Transform | None = None,
    ) -> None:
        if style not in STYLES:
            raise DatasetError(f"there is no style {style!r}; styles are {', '.join(STYLES)}")
        if transform is not None and not callable(transform):
            raise DatasetError(f"a transform is called with the image; {transform!r} cannot be")
        self.names, self.patients = list(names), list(patients)
        self.sexes, self.ages, self.splits = list(sexes), ages, list(splits)
        self.pathologies = list(pathologies)
        self.codes = codes
        self.labels: NDArray[np.float32] = with_nan(codes)
        self.view = view
        self.style = style
        self.transform = transform
        self.epoch = 0

    def image(self, epoch: int, index: int) -> NDArray[np.float32]:
        """`(channels, rows, columns)` float32; grey levels from 0 to 1 in the first channel."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, key: Key) -> dict[str, Any]:
        epoch, index = self.position(key)
        image: Any = self.image(epoch, index)
        if self.style == "torchxrayvision":
            image = image[:1] * np.float32(2048) - np.float32(1024)
        if self.transform is not None:
            image = self.transform(image)
        if self.style == "torchxrayvision":
            return {"idx": index, "lab": self.labels[index], "img": image}
        return {
            "image": image,
            "labels": self.labels[index],
            "index": index,
            "name": self.names[index],
            "patient": self.patients[index],
        }

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        people = len(set(self.patients))
        return (
            f"<{type(self).__name__}: {len(self)} samples of {people} patients, view {self.view}, "
            f"{len(self.pathologies)} labels>"
        )

    def position(self, key: Key) -> tuple[int, int]:
        """Epoch and index, from 0 up, that a key means."""
        epoch, index = key if isinstance(key, tuple) else (self.epoch, key)
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        return int(epoch), int(index) % len(self)

    def set_epoch(self, epoch: int) -> None:
        """Choose the random views and effects of the next pass, where there are any.

        `EpochSampler` makes this unnecessary. Without it call this before every pass, and do not
        let workers persist: they would keep the epoch they were started in.
        """
        if epoch < 0:
            raise DatasetError(f"epochs are counted from 0, got {epoch}")
        self.epoch = int(epoch)

    def subset(self, indices: Iterable[int]) -> Samples:
        """The same data set with these samples only, in this order.

        Raises
        ------
        DatasetError
            Where that leaves none.
        """
        chosen = [range(len(self))[index] for index in indices]
        if not chosen:
            raise DatasetError("no sample is left of the data set; choose at least one")
        part = copy.copy(self)
        part.__dict__.pop("csv", None)
        part.names, part.patients, part.sexes, part.splits = (
            [values[index] for index in chosen]
            for values in (self.names, self.patients, self.sexes, self.splits)
        )
        part.ages, part.codes, part.labels = (
            self.ages[chosen],
            self.codes[chosen],
            self.labels[chosen],
        )
        part._keep(np.array(chosen, np.int64))
        return part

    def _keep(self, indices: NDArray[np.int64]) -> None:
        """Keep what a kind of data set holds of these samples."""
        raise NotImplementedError

    @kept_property
    def csv(self) -> Any:
        """What is known of every sample, as `pandas.DataFrame` in torchxrayvision's terms."""
        try:
            import pandas as pd
        except ImportError:
            raise MissingDependencyError(
                "the table of a data set needs pandas; install it with: pip install pandas"
            ) from None
        return pd.DataFrame(
            {
                "name": self.names,
                "patientid": self.patients,
                "sex_male": np.array([sex == "M" for sex in self.sexes], bool),
                "sex_female": np.array([sex == "F" for sex in self.sexes], bool),
                "age_years": self.ages,
                "view": self.view,
                "split": self.splits,
            }
        )


class EpochSampler:
    """Order of the samples of every epoch, shuffled anew, the same on any machine.

    Hands out `(epoch, index)`. Every pass is the next epoch, unless `set_epoch` says which
    (Lightning calls it). In a distributed run each process gets its share, padded to equal
    lengths with samples from the start.

    Parameters
    ----------
    data
        A data set of this package, or anything with a length whose items take such keys.
    seed
        Seed of the order.
    shuffle
        Whether the order is random.
    """

    def __init__(self, data: Sized, *, seed: int = 0, shuffle: bool = True) -> None:
        self.data, self.seed, self.shuffle = data, seed, shuffle
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass."""
        self.epoch = int(epoch)

    def __len__(self) -> int:
        _, processes = _distributed()
        return -(-len(self.data) // processes)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        count = len(self.data)
        order = np.arange(count)
        if self.shuffle:
            order = np.random.default_rng((self.seed, epoch)).permutation(count)
        rank, processes = _distributed()
        length = -(-count // processes) * processes
        for index in np.resize(order, length)[rank::processes]:
            yield epoch, int(index)


def generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """Random numbers of one sample in one epoch; depend on nothing else."""
    return np.random.default_rng((seed, epoch, index))


def chosen_labels(
    codes: NDArray[np.int8], names: Sequence[str], wanted: Sequence[str] | None, place: str
) -> tuple[list[str], NDArray[np.int8]]:
    """The labels that were asked for, or all.

    Raises
    ------
    DatasetError
        For a label that does not exist, with the nearest that does, and one named twice.
    """
    if wanted is None:
        return list(names), codes
    if isinstance(wanted, str):
        wanted = (wanted,)
    for name in wanted:
        if name not in names:
            hint = did_you_mean(name, names)
            have = f"; there are {', '.join(names)}" if names else "; there are none"
            raise DatasetError(f"{place}: there is no label {name!r}{hint}{have}")
    if not wanted or len(set(wanted)) < len(wanted):
        raise DatasetError(f"labels are different names, one at least; got {tuple(wanted)}")
    return list(wanted), remap(codes, names, wanted)


def in_split(
    patients: Sequence[str], splits: Sequence[str], wanted: str | None, place: str
) -> NDArray[np.int64]:
    """Indices of the samples of a split; all where none is asked for.

    Raises
    ------
    DatasetError
        For a split that does not exist or is empty.
    CohortError
        Where a patient is in two splits, by name.
    """
    if wanted is None:
        indices = np.arange(len(splits))
        if not len(indices):
            raise DatasetError(f"{place}: holds no samples")
        return indices
    decided = [position for position, split in enumerate(splits) if split]
    try:
        check_leakage([patients[i] for i in decided], [splits[i] for i in decided])
    except CohortError as error:
        raise CohortError(f"{place}: {error}") from None
    indices = np.array([i for i, split in enumerate(splits) if split == wanted], np.int64)
    if not len(indices):
        have = sorted({split for split in splits if split})
        raise DatasetError(
            f"{place}: no sample is in a split {wanted!r}; "
            + (f"there are {', '.join(have)}" if have else "no sample has a split at all")
        )
    return indices


def _distributed() -> tuple[int, int]:
    """Rank of this process and how many there are."""
    import sys

    torch = sys.modules.get("torch")
    if torch is None or not torch.distributed.is_available():
        return 0, 1
    if not torch.distributed.is_initialized():
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()
