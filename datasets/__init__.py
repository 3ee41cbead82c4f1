"""Data: phantoms and samples to start from, data sets to train on.

`phantom` makes a procedural chest CT, `shapes` solids with known line integrals, `sample` fetches
a real public scan. `StoredDRRs`, `ProjectedDRRs`, `MixedDRRs` and `EpochSampler` are for training.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOME = {
    "EpochSampler": "drr.datasets.loaders.samples",
    "MixedDRRs": "drr.datasets.loaders.mixing",
    "PreparedStore": "drr.datasets.loaders.store",
    "ProjectedDRRs": "drr.datasets.loaders.projected",
    "StoredDRRs": "drr.datasets.loaders.stored",
}

if TYPE_CHECKING:
    from drr.datasets.loaders.mixing import MixedDRRs as MixedDRRs
    from drr.datasets.loaders.projected import ProjectedDRRs as ProjectedDRRs
    from drr.datasets.loaders.samples import EpochSampler as EpochSampler
    from drr.datasets.loaders.store import PreparedStore as PreparedStore
    from drr.datasets.loaders.stored import StoredDRRs as StoredDRRs

__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'drr.datasets' has no attribute {name!r}")
