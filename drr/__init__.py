"""DRR-RATE: CT volumes to digitally reconstructed radiographs, and those to training data.

The public names below are imported on first use, so that `import drr` stays instant.
Not for diagnosis.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Attenuation": "drr.physics.attenuation",
    "Geometry": "drr.geometry.geometry",
    "Projection": "drr.projector",
    "View": "drr.geometry.views",
    "Volume": "drr.volume",
    "project": "drr.projector",
    "read": "drr.io",
    "write": "drr.io",
}

if TYPE_CHECKING:
    from drr.geometry.geometry import Geometry as Geometry
    from drr.geometry.views import View as View
    from drr.io.read import read as read
    from drr.io.write import write as write
    from drr.physics.attenuation import Attenuation as Attenuation
    from drr.projector import Projection as Projection
    from drr.projector import project as project
    from drr.volume import Volume as Volume

__all__ = [*_HOME, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'drr' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
