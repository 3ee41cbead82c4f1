"""DRR-RATE: CT volumes to digitally reconstructed radiographs, and those to training data.

The public names below are imported on first use, so that `import drr` stays instant.
Not for diagnosis.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from drr.namesake import REMEDY, is_beside

__version__ = "0.1.0"

_HOME = {
    "Attenuation": "drr.physics.attenuation",
    "Beam": "drr.physics.beam",
    "Detector": "drr.physics.detector",
    "Geometry": "drr.geometry.geometry",
    "Projection": "drr.radiograph",
    "View": "drr.geometry.views",
    "Volume": "drr.volume",
    "Window": "drr.display.window",
    "parse_view": "drr.geometry.views",
    "policy": "drr.randomise.policy",
    "prepare": "drr.patient.prepare",
    "project": "drr.projector",
    "read": "drr.io",
    "write": "drr.io",
}

if TYPE_CHECKING:
    from drr.display.window import Window as Window
    from drr.geometry.geometry import Geometry as Geometry
    from drr.geometry.views import View as View
    from drr.geometry.views import parse_view as parse_view
    from drr.io.read import read as read
    from drr.io.write import write as write
    from drr.patient.prepare import prepare as prepare
    from drr.physics.attenuation import Attenuation as Attenuation
    from drr.physics.beam import Beam as Beam
    from drr.physics.detector import Detector as Detector
    from drr.projector import project as project
    from drr.radiograph import Projection as Projection
    from drr.randomise.policy import policy as policy
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


if is_beside(__path__[0]):
    import warnings

    warnings.warn(REMEDY, stacklevel=2)
