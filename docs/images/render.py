"""Make the pictures of the README with `drr project`, three views side by side.

    python docs/images/render.py CT OUT.png

`lidc_views.png` is made from the scan that `drr sample` fetches.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

VIEWS = ("pa", "ll", "lao45")
PIXELS = 480
GAP = 8


def main(ct: str, out: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        views = [word for view in VIEWS for word in ("--view", view)]
        subprocess.run(
            ["drr", "project", ct, "-o", f"{folder}/{{view}}.png", "--pixels", str(PIXELS), *views],
            check=True,
        )
        row = Image.new("L", (len(VIEWS) * (PIXELS + GAP) - GAP, PIXELS), 255)
        for place, view in enumerate(VIEWS):
            with Image.open(Path(folder) / f"{view}.png") as picture:
                row.paste(picture, (place * (PIXELS + GAP), 0))
    row.save(out, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
