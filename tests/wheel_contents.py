"""Say what is wrong with a wheel: `python wheel_contents.py drr_rate-*.whl`; silent if nothing."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Folder of the checkout, and where the wheel has it; the rest of a folder's tree follows.
FOLDERS = {"drr": "drr", "kernels": "drr/kernels", "datasets": "drr/datasets"}
SHIPPED = (".py", ".csv", ".cu", ".cuh", ".h", ".html", ".json", ".typed", ".zip")


def problems(wheel: Path) -> list[str]:
    """One line for every file that is missing from a wheel or does not belong there."""
    with zipfile.ZipFile(wheel) as archive:
        files = {name for name in archive.namelist() if not name.endswith("/")}
    expected = {
        f"{inside}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, inside in FOLDERS.items()
        for path in (ROOT / folder).rglob("*")
        if path.suffix in SHIPPED and "__pycache__" not in path.parts
    } | {"drr/py.typed", "drr/kernels/cpu/compiler/lowered.zip"}
    found = {name for name in files if not name.split("/")[0].endswith(".dist-info")}
    return [f"missing: {name}" for name in sorted(expected - found)] + [
        f"does not belong: {name}" for name in sorted(found - expected)
    ]


if __name__ == "__main__":
    lines = [f"{wheel}: {line}" for wheel in sys.argv[1:] for line in problems(Path(wheel))]
    print("\n".join(lines), end="\n" if lines else "")
    sys.exit(bool(lines) or len(sys.argv) < 2)
