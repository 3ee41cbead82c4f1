"""Find the types that the package calls its CPU kernels with: `make signatures`.

Everything that calls kernels is done once here, on small volumes, and the types of every call are
noted in `kernels/cpu/compiler/signatures.json`.
"""

from __future__ import annotations

import json

import numpy as np

import drr
from drr.datasets.labels import CT_RATE_LABELS
from drr.datasets.phantom.finding import draw
from drr.datasets.phantom.thorax import thorax
from drr.io.picture import quantise
from drr.kernels.cpu.compiler import jit
from drr.kernels.cpu.compiler.lowered import SIGNATURES
from drr.patient.prepare import prepare
from drr.physics.beam import Beam
from drr.physics.detector import DETECTORS

Signatures = dict[str, dict[str, list[str]]]


def exercise() -> None:
    """Call every kernel in every way that the package does."""
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


def signatures() -> Signatures:
    """Return the types of all calls so far in this process, by module and kernel."""
    found: Signatures = {}
    for kernel in jit.kernels:
        if kernel.signatures:
            function = kernel.function
            types = sorted(" ".join(signature) for signature in kernel.signatures)
            found.setdefault(function.__module__, {})[function.__name__] = types
    return {module: dict(sorted(found[module].items())) for module in sorted(found)}


def main() -> None:
    exercise()
    SIGNATURES.write_text(json.dumps(signatures(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
