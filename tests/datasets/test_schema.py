"""The file of a data set: stored pixels, digests of content."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from places import ROOT

from drr.datasets.schema import (
    content_digest,
    dequantise,
    image_options,
    pixels_digest,
    quantise_line_integrals,
    quantise_thickness,
    schema_table,
    text_dtype,
)


def test_the_documented_table_is_the_schema() -> None:
    document = ROOT / "docs" / "dataset.md"
    text = document.read_text(encoding="utf-8")
    table = text.partition("<!-- schema -->")[2].partition("<!-- end of schema -->")[0]
    # To renew it: print(drr.datasets.schema.schema_table())
    assert table.strip() == schema_table()


def test_stored_line_integrals_are_within_half_a_step() -> None:
    values = np.random.default_rng(1).uniform(0, 8, (64, 48)).astype(np.float32)
    stored, scale, offset = quantise_line_integrals(values)
    assert stored.dtype == np.uint16
    assert (stored.min(), stored.max()) == (0, 65535)
    exact = stored * scale + offset
    assert np.abs(exact - values).max() <= scale / 2 * (1 + 1e-9)
    # As float32 there is a rounding on top, of 8 at most.
    assert np.abs(dequantise(stored, scale, offset) - values).max() <= scale / 2 + 2**-21


def test_an_even_image_is_stored_exactly() -> None:
    values = np.full((3, 4), 1.25, np.float32)
    stored, scale, offset = quantise_line_integrals(values)
    assert np.array_equal(dequantise(stored, scale, offset), values)


def test_float32_is_as_it_was() -> None:
    values = np.array([[0.1, 7.3]], np.float32)
    assert dequantise(values, 1.0, 0.0) is values


def test_stored_thickness_is_within_half_a_hundredth_of_a_mm() -> None:
    mm = np.array([-1e-5, 0, 0.004, 123.456, 655.35, 900], np.float32)
    stored = quantise_thickness(mm)
    assert stored.tolist() == [0, 0, 0, 12346, 65535, 65535]


def test_digests_of_pixels_know_no_byte_order_or_layout() -> None:
    image = np.arange(12, dtype=np.uint16).reshape(3, 4)
    assert pixels_digest(image) == pixels_digest(image.astype(">u2"))
    assert pixels_digest(image) == pixels_digest(np.asfortranarray(image))
    assert pixels_digest(image) != pixels_digest(image[::-1])


@pytest.mark.parametrize("compression", [0, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_one_image_is_one_chunk(tmp_path: Path, dtype: str, compression: int) -> None:
    images = np.arange(24).reshape(2, 3, 4).astype(dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        options = image_options((3, 4), dtype, compression)
        file.create_dataset("images", data=images, **options)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["images"].chunks == (1, 3, 4)
        assert np.array_equal(file["images"][...], images)


def write(path: Path, *, name: str = "one", digest: str = "d", compression: int = 0) -> str:
    """A small file; returns the digest of its content."""
    with h5py.File(path, "w") as file:
        file.attrs["notice"] = "not for diagnosis"
        file.create_dataset("samples/name", data=[name], dtype=text_dtype())
        file.create_dataset("samples/labels", data=np.array([[1, -128]], np.int8))
        options = image_options((3, 4), "uint8", compression)
        file.create_dataset("views/pa/picture", data=np.ones((1, 3, 4), np.uint8), **options)
        file.create_dataset("views/pa/picture_sha256", data=[digest], dtype=text_dtype())
        result = content_digest(file)
        file.attrs["content_sha256"] = result
        assert content_digest(file) == result
    return result


def test_content_digest_is_of_content_not_of_layout(tmp_path: Path) -> None:
    first = write(tmp_path / "a.h5")
    assert write(tmp_path / "b.h5", compression=4) == first
    assert write(tmp_path / "c.h5", name="two") != first
    assert write(tmp_path / "d.h5", digest="other") != first
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["samples/labels"][0, 1] = 0
        assert content_digest(file) != first
