"""`StoredDRRs`: the views that a data set's file holds, as a data set to train on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from drr.checks import did_you_mean
from drr.datasets.hdf5 import DAMAGED, open_again, open_dataset, reading
from drr.datasets.loaders.samples import Samples, Transform, chosen_labels, in_split
from drr.datasets.schema import IMAGES, DatasetError, dequantise
from drr.errors import PolicyError

if TYPE_CHECKING:
    import h5py

    from drr.randomise.policy import Policy

__all__ = ["StoredDRRs"]

# A side marker on a lateral names the side at the detector.
_MARKERS = {"ll": "LL", "rl": "RR"}


class StoredDRRs(Samples):
    """One view of every sample of a file that `drr build` made.

    The file is opened on first use in every process, so that the data set may be handed to workers
    that are forked, spawned or come from a fork server.

    Parameters
    ----------
    file
        HDF5 file.
    view
        Name of a view in it; may be left out where there is one.
    labels
        Names of the labels wanted, in this order; all by default.
    split
        `train`, `valid`, ...; all samples by default.
    quantity
        `picture`, or `line_integrals`: those are scaled so that 0 is 0 and `white` is 1.
    white
        Line integral that becomes 1; 10 is more than a chest attenuates at film energies.
    policy
        Random effects on the picture (`drr.randomise.policy.Policy`, or the name of a preset),
        drawn anew in every epoch. What a policy varies before the projection is left alone.
    seed
        Seed of the random effects.
    style, transform
        See `drr.datasets.loaders.samples.Samples`.

    Raises
    ------
    DatasetError
        For a file that is none or of another version, a view, label or split that does not exist,
        and a split without samples.
    CohortError
        For patients in two splits, by name.
    """

    def __init__(
        self,
        file: str | Path,
        *,
        view: str | None = None,
        labels: Sequence[str] | None = None,
        split: str | None = None,
        quantity: str = "picture",
        white: float = 10.0,
        policy: str | Policy | None = None,
        seed: int = 0,
        style: str = "plain",
        transform: Transform | None = None,
    ) -> None:
        from drr.randomise.policy import policy as find_policy

        self.path = Path(file)
        if quantity not in IMAGES:
            raise DatasetError(f"there is no quantity {quantity!r}; use {' or '.join(IMAGES)}")
        if not white > 0:
            raise DatasetError(f"white is a line integral above zero, got {white!r}")
        self.quantity, self.white = quantity, float(white)
        self.policy = None if policy is None else find_policy(policy)
        if self.policy is not None and quantity != "picture":
            raise PolicyError("effects are drawn for pictures; leave the policy of others out")
        self.seed = seed
        self._file: h5py.File | None = None
        self._process = 0
        with open_dataset(self.path, everything=False) as opened, reading(self.path):
            name = _view(opened, view, self.path)
            group = opened["views"][name]
            if quantity not in group:
                have = ", ".join(image for image in IMAGES if image in group)
                raise DatasetError(
                    f"{self.path}: the view {name!r} has no {quantity}; it has {have}"
                )
            samples = opened["samples"]
            text = {
                key: samples[key].asstr()[...].tolist()
                for key in ("name", "patient", "sex", "split")
            }
            known = opened["label_names"].asstr()[...].tolist()
            pathologies, codes = chosen_labels(
                samples["labels"][...], known, labels, str(self.path)
            )
            self._rows = in_split(text["patient"], text["split"], split, str(self.path))
            ages = samples["age"][...]
            self._scale = group["scale"][...] if "scale" in group else np.ones(len(ages))
            self._offset = group["offset"][...] if "offset" in group else np.zeros(len(ages))
            self.shape: tuple[int, int] = group[quantity].shape[1:]
        chosen = self._rows
        super().__init__(
            names=[text["name"][i] for i in chosen],
            patients=[text["patient"][i] for i in chosen],
            sexes=[text["sex"][i] for i in chosen],
            splits=[text["split"][i] for i in chosen],
            ages=ages[chosen],
            pathologies=pathologies,
            codes=codes[chosen],
            view=name,
            style=style,
            transform=transform,
        )

    def image(self, epoch: int, index: int) -> NDArray[np.float32]:
        """`(1, rows, columns)` float32 from 0 to 1.

        Raises
        ------
        DatasetError
            For an image that cannot be read or is not finite, with its sample.
        """
        row = int(self._rows[index])
        try:
            stored = self._images()[row]
        except DAMAGED as error:
            raise DatasetError(
                f"{self.path}: the {self.quantity} of {self.names[index]} cannot be read "
                f"({error}); 'drr verify' tells what else is damaged"
            ) from None
        if self.quantity == "picture":
            grey = stored.astype(np.float32) / np.float32(255)
        else:
            values = dequantise(stored, self._scale[row], self._offset[row])
            if not np.isfinite(values).all():
                raise DatasetError(
                    f"{self.path}: the line integrals of {self.names[index]} are not all finite; "
                    "build the data set again"
                )
            grey = np.clip(values / np.float32(self.white), 0, 1).astype(np.float32)
        if self.policy is not None:
            # The order of samples in the file, so that a subset draws the same.
            draw = self.policy.draw(self.seed, (epoch << 32) | row)
            grey = draw.picture(grey, sides=_MARKERS.get(self.view.lower(), "RL"))
        return grey[None]

    def _keep(self, indices: NDArray[np.int64]) -> None:
        self._rows = self._rows[indices]

    def _images(self) -> Any:
        # A handle must not cross a fork: parent and child would share HDF5's state of the file.
        if self._file is None or self._process != os.getpid():
            self._file, self._process = open_again(self.path), os.getpid()
            self._dataset = self._file[f"views/{self.view}/{self.quantity}"]
        return self._dataset

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__ | {"_file": None}
        state.pop("_dataset", None)
        return state

    def __copy__(self) -> StoredDRRs:
        copied = object.__new__(type(self))
        copied.__dict__.update(self.__getstate__())
        return copied


def _view(file: h5py.File, wanted: str | None, path: Path) -> str:
    names = sorted(file["views"])
    if wanted is None:
        if len(names) != 1:
            raise DatasetError(f"{path}: has the views {', '.join(names)}; choose one with view=")
        return names[0]
    if wanted not in names:
        hint = did_you_mean(wanted, names)
        raise DatasetError(f"{path}: there is no view {wanted!r}{hint}; it has {', '.join(names)}")
    return wanted
