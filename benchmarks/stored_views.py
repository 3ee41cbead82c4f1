"""A data set's file with pictures made by a benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from drr.datasets.schema import FORMAT, SCHEMA_VERSION, image_options, text_dtype

__all__ = ["write_views"]


def write_views(
    path: Path,
    pictures: NDArray[np.uint8],
    *,
    names: Sequence[str],
    labels: ArrayLike,
    label_names: Sequence[str],
    splits: Sequence[str] | None = None,
    view: str = "pa",
) -> Path:
    """Write `(n, rows, columns)` pictures of as many patients, and their label codes."""
    count = len(pictures)
    with h5py.File(path, "w") as file:
        file.attrs["format"], file.attrs["schema_version"] = FORMAT, SCHEMA_VERSION
        columns: dict[str, Sequence[str]] = {
            "samples/name": names,
            "samples/patient": names,
            "samples/split": splits or [""] * count,
            "samples/sex": [""] * count,
            "label_names": label_names,
        }
        for key, values in columns.items():
            file.create_dataset(key, data=np.array(values, object), dtype=text_dtype())
        file["samples/age"] = np.full(count, np.nan, np.float32)
        file["samples/labels"] = np.asarray(labels, np.int8).reshape(count, len(label_names))
        options = image_options((pictures.shape[1], pictures.shape[2]), "uint8", 4)
        file.create_dataset(f"views/{view}/picture", data=pictures, **options)
    return path
