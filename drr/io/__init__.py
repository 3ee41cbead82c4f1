"""Reading CT volumes and writing projections.

`drr.io.read` and `drr.io.write` are the functions; `drr.io.read_ahead` reads many, each while
the one before is worked on. They are bound here, at once, because the
modules that define them have the same names: whichever of the two Python bound last would win.
"""

from __future__ import annotations

from drr.io.ahead import read_ahead as read_ahead
from drr.io.read import read as read
from drr.io.write import write as write

__all__ = ["read", "read_ahead", "write"]
