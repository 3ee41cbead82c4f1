"""Findings of a study: names, codes, and what they are called elsewhere.

A label is a whole number: 1 present, 0 absent, -1 uncertain (CheXpert's meaning: the report
mentions it without deciding), -128 unknown (nobody looked, or the set has no such column). Unknown
is exported blank and never filled in: what one set does not label stays unknown in another's terms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "ABSENT",
    "CHEXPERT_LABELS",
    "CODES",
    "CT_RATE_LABELS",
    "CT_RATE_TO_CHEXPERT",
    "CT_RATE_TO_TORCHXRAYVISION",
    "NIH_LABELS",
    "PRESENT",
    "TORCHXRAYVISION_LABELS",
    "UNCERTAIN",
    "UNKNOWN",
    "parse_label",
    "remap",
    "with_nan",
]

PRESENT = 1
ABSENT = 0
UNCERTAIN = -1
UNKNOWN = -128
CODES = (PRESENT, ABSENT, UNCERTAIN, UNKNOWN)

CT_RATE_LABELS = (
    "Medical material",
    "Arterial wall calcification",
    "Cardiomegaly",
    "Pericardial effusion",
    "Coronary artery wall calcification",
    "Hiatal hernia",
    "Lymphadenopathy",
    "Emphysema",
    "Atelectasis",
    "Lung nodule",
    "Lung opacity",
    "Pulmonary fibrotic sequela",
    "Pleural effusion",
    "Mosaic attenuation pattern",
    "Peribronchial thickening",
    "Consolidation",
    "Bronchiectasis",
    "Interlobular septal thickening",
)
"""The 18 findings of CT-RATE and DRR-RATE in the order of their label files.

A text classifier's reading of the report (Hamamci et al. 2024, arXiv:2403.17834), equal for all
reconstructions of a scan; not a radiologist's reading of the image.
"""

CHEXPERT_LABELS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
"""The 14 observations of CheXpert in the order of its files (Irvin et al. 2019, arXiv:1901.07031).

"No Finding" has no counterpart in CT-RATE: that 18 findings are absent does not say that CheXpert's
others are.
"""

NIH_LABELS = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
"""The 14 findings of NIH ChestX-ray14 (Wang et al. 2017, arXiv:1705.02315).

Its table lists the findings of a film, and "No Finding" where there is none of these.
"""

TORCHXRAYVISION_LABELS = (
    "Atelectasis",
    "Consolidation",
    "Infiltration",
    "Pneumothorax",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Effusion",
    "Pneumonia",
    "Pleural_Thickening",
    "Cardiomegaly",
    "Nodule",
    "Mass",
    "Hernia",
    "Lung Lesion",
    "Fracture",
    "Lung Opacity",
    "Enlarged Cardiomediastinum",
)
"""`torchxrayvision.datasets.default_pathologies` (Cohen et al. 2022, arXiv:2111.00595)."""

CT_RATE_TO_CHEXPERT: Mapping[str, str] = MappingProxyType(
    {
        # The six that the authors of DRR-RATE compare across the two sets.
        "Cardiomegaly": "Cardiomegaly",
        "Atelectasis": "Atelectasis",
        "Lung nodule": "Lung Lesion",
        "Lung opacity": "Lung Opacity",
        "Pleural effusion": "Pleural Effusion",
        "Consolidation": "Consolidation",
        # Lines, pacemakers and wires in both; CT-RATE also counts stents and clips.
        "Medical material": "Support Devices",
    }
)

CT_RATE_TO_TORCHXRAYVISION: Mapping[str, str] = MappingProxyType(
    {
        "Cardiomegaly": "Cardiomegaly",
        "Hiatal hernia": "Hernia",
        "Emphysema": "Emphysema",
        "Atelectasis": "Atelectasis",
        "Lung nodule": "Nodule",
        "Lung opacity": "Lung Opacity",
        "Pulmonary fibrotic sequela": "Fibrosis",
        "Pleural effusion": "Effusion",
        "Consolidation": "Consolidation",
    }
)


def parse_label(text: str) -> int:
    """Code of a label as CSV files write it.

    Parameters
    ----------
    text
        `1`, `0`, `-1`, `-128`, with or without `.0`; blank, `nan` or `NA` for unknown.

    Raises
    ------
    ValueError
        For anything else.
    """
    word = text.strip()
    if word.lower() in ("", "nan", "na", "n/a", "none", "null"):
        return UNKNOWN
    try:
        value = float(word) if word.isascii() and "_" not in word else math.nan
    except ValueError:
        value = math.nan
    if value not in CODES:
        raise ValueError(
            f"the label {text!r} is none of 1 (present), 0 (absent), -1 (uncertain) and blank "
            "(unknown)"
        )
    return int(value)


def remap(
    codes: ArrayLike,
    names: Sequence[str],
    targets: Sequence[str],
    *,
    mapping: Mapping[str, str] | None = None,
) -> NDArray[np.int8]:
    """Labels in another set's columns.

    Parameters
    ----------
    codes
        `(..., len(names))` codes.
    names, targets
        Columns there are, columns wanted.
    mapping
        Name to target, where they differ, one to one; by default a column keeps its name.

    Returns
    -------
    NDArray[np.int8]
        `(..., len(targets))`; unknown where nothing maps to a target.

    Raises
    ------
    ValueError
        For codes of another width, or two names for one target.
    """
    values = np.asarray(codes, np.int8)
    if values.shape[-1:] != (len(names),):
        raise ValueError(f"labels of shape {values.shape} do not have {len(names)} columns")
    result = np.full((*values.shape[:-1], len(targets)), UNKNOWN, np.int8)
    filled: dict[str, str] = {}
    for column, name in enumerate(names):
        target = name if mapping is None else mapping.get(name)
        if target is None or target not in targets:
            continue
        if target in filled:
            raise ValueError(f"{filled[target]!r} and {name!r} both map to {target!r}")
        filled[target] = name
        result[..., list(targets).index(target)] = values[..., column]
    return result


def with_nan(codes: ArrayLike) -> NDArray[np.float32]:
    """Labels as torchxrayvision keeps them: 1, 0, and NaN for uncertain and unknown alike."""
    values = np.asarray(codes, np.float32)
    return np.where(values < 0, np.float32(np.nan), values)
