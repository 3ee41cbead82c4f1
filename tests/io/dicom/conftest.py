"""Fixtures of the tests of DICOM."""

from __future__ import annotations

import numpy as np
import pytest
from dicom_files import COLUMNS, ROWS, SLICES


@pytest.fixture
def pixels() -> np.ndarray:
    """`(8, 6, 5)` stored values of a 12-bit scanner, air 24 and water 1024 among them."""
    rng = np.random.default_rng(4)
    return rng.integers(0, 4096, (SLICES, ROWS, COLUMNS)).astype(np.uint16)
