"""Make what is shipped of all kernels: `python -m drr.kernels.cpu.compiler.lowered`, or `make
kernels`.

That is LLVM text for any CPU, and machine code of it for the most common ones. What Numba makes of
a kernel depends on the types it is called with. So everything that calls kernels is done once here,
on small volumes, and the types of every call are noted.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from drr.kernels.cpu.compiler import jit

__all__ = ["codes", "exercise", "main", "texts"]

EPOCH = (1980, 1, 1, 0, 0, 0)


def exercise() -> None:
    """Call every kernel in every way that the package does."""
    import drr
    from drr.datasets.labels import CT_RATE_LABELS
    from drr.datasets.phantom.finding import draw
    from drr.datasets.phantom.thorax import thorax
    from drr.io.picture import quantise
    from drr.patient.prepare import prepare
    from drr.physics.beam import Beam
    from drr.physics.detector import DETECTORS

    ct = thorax((48, 64, 64), couch=True)
    rng = np.random.default_rng(0)
    thorax((24, 32, 32), findings=[draw(name, rng) for name in CT_RATE_LABELS])
    scan = prepare(ct)
    prepare(ct, clean=False)
    mask = drr.Volume(hu=(ct.hu > 0).astype(np.int16), affine=ct.affine, name="mask")
    for look in ("film", "physical"):
        for made in drr.project(scan, ("pa", "ll", "lao30", "30,15"), look=look, backend="cpu"):
            for bits in (8, 16):
                quantise(made.picture(), bits=bits)
    drr.project(scan, ["ll"] * 3, backend="cpu")
    drr.project(scan, ("pa", "lao30"), quality="preview", backend="cpu")
    drr.project(scan, "pa", attenuation=Beam(), backend="cpu")
    for method in ("siddon", "joseph"):
        drr.project(scan, "pa", method=method, mask=mask, backend="cpu")
    for detector in DETECTORS.values():
        drr.project(scan, "pa", detector=detector, backend="cpu")
    drr.project(ct, "ap", look="drr-rate")


def texts() -> dict[str, str]:
    """File name to text, of every kernel and signature that this process has called."""
    from drr.kernels.cpu.compiler.lowering import lower

    return {
        f"{kernel.file_name(signature)}.ll": lower(kernel, signature)
        for kernel in jit.kernels
        for signature in kernel.signatures
    }


def codes(texts: dict[str, str]) -> dict[str, bytes]:
    """File name to machine code of each text."""
    from drr.kernels.cpu.compiler.native import LEVEL, code_of_level

    return {f"{LEVEL}/{Path(n).stem}.o": code_of_level(text) for n, text in texts.items()}


def write(path: Path, content: Mapping[str, str | bytes]) -> None:
    """A zip that is the same for the same content."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in sorted(content):
            info = zipfile.ZipInfo(name, EPOCH)
            archive.writestr(info, content[name], zipfile.ZIP_DEFLATED, 9)


def main() -> None:
    exercise()
    content = texts()
    made = codes(content)
    with tempfile.TemporaryDirectory(dir=jit.LOWERED.parent) as folder:
        target = Path(folder) / jit.LOWERED.name
        write(target, {**content, **made})
        target.replace(jit.LOWERED)
    print(f"{jit.LOWERED}: {len(content)} kernels, {jit.LOWERED.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
