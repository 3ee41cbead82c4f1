"""Label names, codes and mappings."""

from __future__ import annotations

import numpy as np
import pytest

from drr.datasets.labels import (
    CHEXPERT_LABELS,
    CT_RATE_LABELS,
    CT_RATE_TO_CHEXPERT,
    CT_RATE_TO_TORCHXRAYVISION,
    TORCHXRAYVISION_LABELS,
    UNKNOWN,
    remap,
    with_nan,
)


def test_order_starts_and_ends_as_published() -> None:
    assert CT_RATE_LABELS[0] == "Medical material"
    assert CT_RATE_LABELS[12] == "Pleural effusion"
    assert CT_RATE_LABELS[-1] == "Interlobular septal thickening"


@pytest.mark.parametrize(
    ("mapping", "targets"),
    [
        (CT_RATE_TO_CHEXPERT, CHEXPERT_LABELS),
        (CT_RATE_TO_TORCHXRAYVISION, TORCHXRAYVISION_LABELS),
    ],
)
def test_what_has_no_counterpart_is_unknown_never_imputed(mapping, targets) -> None:
    codes = np.ones((2, 18), np.int8)
    mapped = remap(codes, CT_RATE_LABELS, targets, mapping=mapping)
    assert mapped.shape == (2, len(targets))
    known = {targets.index(target) for target in mapping.values()}
    for column in range(len(targets)):
        assert (mapped[:, column] == (1 if column in known else UNKNOWN)).all()


def test_remap_refuses_another_width_and_two_for_one() -> None:
    with pytest.raises(ValueError, match="do not have 2 columns"):
        remap(np.zeros(3), ("a", "b"), ("a",))
    with pytest.raises(ValueError, match="both map"):
        remap(np.zeros(2), ("a", "b"), ("c",), mapping={"a": "c", "b": "c"})


def test_nan_is_for_uncertain_and_unknown() -> None:
    values = with_nan([1, 0, -1, UNKNOWN])
    np.testing.assert_array_equal(values, np.array([1, 0, np.nan, np.nan], np.float32))
