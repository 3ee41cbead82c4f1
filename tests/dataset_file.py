"""A data set's file, written through its schema, for tests of what reads it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from drr.datasets.schema import (
    FORMAT,
    SCHEMA_VERSION,
    image_options,
    quantise_line_integrals,
    text_dtype,
)


def write_dataset(
    path: Path,
    pictures: Any,
    *,
    labels: Any,
    label_names: Sequence[str],
    patients: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
    line_integrals: Any = None,
    quantised: bool = True,
    view: str = "pa",
) -> Path:
    """Write `(n, rows, columns)` uint8 pictures with their labels; other columns get defaults."""
    pictures = np.asarray(pictures, np.uint8)
    count = len(pictures)
    patients = list(patients or (f"p{i}" for i in range(count)))
    splits = list(splits or [""] * count)
    with h5py.File(path, "w") as file:
        file.attrs["format"], file.attrs["schema_version"] = FORMAT, SCHEMA_VERSION

        def text(name: str, values: Sequence[str]) -> None:
            file.create_dataset(name, data=np.array(values, object), dtype=text_dtype())

        text("samples/name", [f"s{i}" for i in range(count)])
        text("samples/patient", patients)
        text("samples/split", splits)
        text("samples/sex", ["FM"[i % 2] for i in range(count)])
        file["samples/age"] = np.arange(count, dtype=np.float32) + 40
        file["samples/labels"] = np.asarray(labels, np.int8).reshape(count, len(label_names))
        text("label_names", label_names)
        for name in sorted(set(splits) - {""}):
            file[f"splits/{name}"] = np.flatnonzero(np.array(splits) == name)
        group = file.create_group(f"views/{view}")
        group.create_dataset(
            "picture", data=pictures, **image_options(pictures.shape[1:], "uint8", 4)
        )
        if line_integrals is not None:
            values = np.asarray(line_integrals, np.float32)
            scales, offsets = np.ones(count), np.zeros(count)
            if quantised:
                made = [quantise_line_integrals(image) for image in values]
                values = np.stack([stored for stored, _, _ in made])
                scales = np.array([scale for _, scale, _ in made])
                offsets = np.array([offset for _, _, offset in made])
            options = image_options(values.shape[1:], values.dtype.name, 4)
            group.create_dataset("line_integrals", data=values, **options)
            group["scale"], group["offset"] = scales, offsets
    return path
