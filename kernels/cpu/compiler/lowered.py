"""Lower all kernels to LLVM text: `python -m drr.kernels.cpu.compiler.lowered`, or `make kernels`.

The wheel's build does this too (`setup.py`), so that users never wait for Numba. What Numba makes
of a kernel depends on the types that it is called with: `signatures.json` lists those that the
package uses. The text lies in `lowered.zip`; text of kernels that did not change is kept.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from drr.kernels.cpu.compiler import jit

__all__ = ["SIGNATURES", "declared", "main", "write"]

SIGNATURES = jit.HERE / "signatures.json"
"""Module to kernel to signatures; types of arguments are written as in `jit.Signature`."""

_EPOCH = (1980, 1, 1, 0, 0, 0)


def declared() -> Iterator[tuple[jit.Kernel, jit.Signature]]:
    """Yield every kernel with each signature that the package calls it with."""
    for module, kernels in json.loads(SIGNATURES.read_text("utf-8")).items():
        for name, signatures in kernels.items():
            for signature in signatures:
                yield getattr(importlib.import_module(module), name), tuple(signature.split())


def write(path: Path, content: Mapping[str, str | bytes]) -> None:
    """Write a zip that is the same for the same content, at once or not at all."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        target = Path(folder) / path.name
        with zipfile.ZipFile(target, "w") as archive:
            for name in sorted(content):
                archive.writestr(
                    zipfile.ZipInfo(name, _EPOCH), content[name], zipfile.ZIP_DEFLATED, 9
                )
        target.replace(path)


def _lowered(place: int) -> str:
    """Text of the kernel at a place of `declared`."""
    from drr.kernels.cpu.compiler.lowering import lower

    kernel, signature = list(declared())[place]
    return lower(kernel, signature)


def main() -> None:
    """Bring `lowered.zip` up to date with the sources, and say so on stderr while it takes long."""
    names = [f"{kernel.file_name(signature)}.ll" for kernel, signature in declared()]
    content: dict[str, str | bytes] = {}
    for name in names:
        present = jit.shipped(name)
        if present is not None:
            content[name] = present
    missing = [place for place, name in enumerate(names) if name not in content]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(os.cpu_count() or 1, 8), mp_context=context) as pool:
        for done, (place, text) in enumerate(
            zip(missing, pool.map(_lowered, missing), strict=True), 1
        ):
            content[names[place]] = text
            print(f"\rLowering kernels: {done} of {len(missing)}", end="", file=sys.stderr)
    if missing:
        print(file=sys.stderr)
    write(jit.LOWERED, content)


if __name__ == "__main__":
    main()
