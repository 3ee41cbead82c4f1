"""`drr doctor`: what a bug report needs, and whether this installation projects correctly."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from drr.namesake import REMEDY

__all__ = ["command", "examine"]

DISTRIBUTION = "drr-rate"
METHODS = ("shear-warp", "joseph", "siddon")
# Mean line integral of the object below, from exact chords; and how far 2.5 mm voxels may be off.
EXACT_MEAN = 0.570602
MEAN_TOLERANCE = 3e-4
# Root mean square of the differences from exact line integrals, relative to the largest of them.
RMS_TOLERANCE = 0.01


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Check this installation; for bug reports.

    Prints versions, CPU, back-ends with reasons, and projects a small object whose radiograph is
    known exactly. No personal paths or names are printed. The exit status is 1 if a check fails.
    """
    report = examine()
    click.echo(json.dumps(report, indent=2) if as_json else _text(report))
    if not report["ok"]:
        context.exit(1)


def examine() -> dict[str, Any]:
    """Everything that `drr doctor --json` prints; a part that fails says why in `error`."""
    report: dict[str, Any] = {
        "drr": _version(DISTRIBUTION) or "not installed as a distribution",
        "namesake": _version("drr"),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "packages": _guarded(_packages),
        "cpu": _guarded(_cpu),
        "cache": _guarded(_cache),
        "backends": _guarded(_backends),
        "projection": _guarded(_projection),
    }
    checks = report["projection"].get("methods", {})
    report["ok"] = len(checks) == len(METHODS) and all(check["ok"] for check in checks.values())
    report["ok"] = report["ok"] and report["namesake"] is None
    return report


def _guarded(part: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A doctor must survive whatever is wrong with the patient."""
    try:
        return part()
    except Exception as error:
        return {"error": _without_home(f"{type(error).__name__}: {error}")}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _packages() -> dict[str, Any]:
    required: dict[str, str | None] = {}
    extras: dict[str, dict[str, Any]] = {}
    for requirement in importlib.metadata.requires(DISTRIBUTION) or []:
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        extra = re.search(r"extra\s*==\s*['\"]([\w.-]+)['\"]", requirement)
        if extra is None:
            required[name] = _version(name)
        else:
            found = extras.setdefault(extra[1], {"versions": {}, "missing": []})
            if (version := _version(name)) is None:
                found["missing"].append(name)
                found["install"] = f"pip install '{DISTRIBUTION}[{extra[1]}]'"
            else:
                found["versions"][name] = version
    return {"required": required, "extras": extras}


def _cpu() -> dict[str, Any]:
    from drr.threads import available_cpus

    cpu: dict[str, Any] = {
        "model": _cpu_model(),
        "cpus": os.cpu_count(),
        "available": available_cpus(),
        "cgroup_limit": _cgroup_limit(),
        "threads": available_cpus(),
    }
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    cpu["llvm_name"] = llvm.get_host_cpu_name()
    cpu["features"] = sorted(name for name, present in features.items() if present)
    return cpu


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _cgroup_limit() -> float | None:
    """CPUs that a container may use at a time; None where nothing limits them."""
    root = Path("/sys/fs/cgroup")
    try:
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (root / "cpu/cpu.cfs_quota_us").read_text()
            period = (root / "cpu/cpu.cfs_period_us").read_text()
        except OSError:
            return None
    if quota.strip() == "max" or int(quota) <= 0:
        return None
    return int(quota) / int(period)


def _cache() -> dict[str, Any]:
    from drr.kernels.cpu.compiler.jit import LOWERED, cache_folder

    folder = cache_folder()
    return {
        "contains_text": LOWERED.is_file(),
        "folder": None if folder is None else _without_home(str(folder)),
        "writable": folder is not None,
    }


def _backends() -> dict[str, Any]:
    from drr.kernels.cuda.detect import detect
    from drr.projector import choose_backend

    found = detect()
    cuda: dict[str, Any] = {"available": found.available, "device": found.device}
    if found.available:
        cuda["reason"] = f"{found.device} answers"
    else:
        cuda["stage"] = found.stage
        cuda["reason"] = f"CUDA fails at the stage {found.stage!r}: {found.reason}; {found.fix}"
    return {
        "auto": choose_backend("auto"),
        "cpu": {"available": True, "reason": "Numba kernels"},
        "cuda": cuda,
    }


def _projection() -> dict[str, Any]:
    """Project a solid by every method and compare with exact line integrals."""
    import numpy as np

    from drr.patient.prepare import prepare
    from drr.physics.attenuation import water
    from drr.projector import project

    start = time.perf_counter()
    volume, geometry, chords = _object()
    attenuation = water()
    exact = attenuation(0.0) * chords[0] + (attenuation(1000.0) - attenuation(0.0)) * chords[1]
    prepared = prepare(volume, clean=False)
    methods = {}
    for method in METHODS:
        image = project(prepared, geometry, attenuation=attenuation, method=method).line_integrals
        error = float(np.sqrt(np.mean((image - exact) ** 2)) / exact.max())
        mean = float(image.mean(dtype=np.float64))
        methods[method] = {
            "ok": error <= RMS_TOLERANCE and abs(mean / EXACT_MEAN - 1) <= MEAN_TOLERANCE,
            "error": round(error, 6),
            "mean": round(mean, 9),
            "exact_mean": EXACT_MEAN,
            "sha256": hashlib.sha256(image.astype("<f4").tobytes()).hexdigest(),
        }
    return {"seconds": round(time.perf_counter() - start, 2), "methods": methods}


def _object() -> tuple[Any, Any, list[Any]]:
    """An ellipsoid of water with a box of bone in it, a skewed cone-beam view of it, its chords."""
    import numpy as np

    from drr.datasets.phantom.shapes import Box, Ellipsoid, voxelize
    from drr.geometry.geometry import Geometry

    body = Ellipsoid((0.0, 0.0, 0.0), (70.0, 50.0, 60.0))
    bone = Box((20.0, 10.0, -5.0), (12.0, 8.0, 20.0))
    affine = np.diag([2.5, 2.5, 2.5, 1.0])
    affine[:3, 3] = (-78.75, -58.75, -68.75)
    volume = voxelize([body, bone], (56, 48, 64), affine, hu=[0.0, 0.0])
    source = (250.0, 800.0, 90.0)
    geometry = Geometry(
        source=source,
        detector_center=(-40.0, -120.0, -15.0),
        u=(1.9, -0.6, 0.0),
        v=(0.05, 0.15, -2.0),
        shape=(96, 112),
    )
    pixels = geometry.pixel_centers()
    return volume, geometry, [shape.chord(source, pixels) for shape in (body, bone)]


def _without_home(text: str) -> str:
    home = os.path.expanduser("~")
    return text.replace(home, "~") if len(home) > 1 else text


def _text(report: dict[str, Any]) -> str:
    rows = [
        ("drr-rate", report["drr"]),
        ("python", report["python"]),
        ("platform", report["platform"]),
        *([("namesake", f"FAIL: {REMEDY}")] if report["namesake"] else []),
        *_rows("packages", report["packages"], _package_rows),
        *_rows("cpu", report["cpu"], _cpu_rows),
        *_rows("cache", report["cache"], _cache_rows),
        *_rows("back-ends", report["backends"], _backend_rows),
        *_rows("projection", report["projection"], _projection_rows),
        ("result", "ok" if report["ok"] else "FAIL"),
    ]
    return "\n".join(f"{key:<14} {value}" for key, value in rows)


Rows = list[tuple[str, str]]


def _rows(title: str, part: dict[str, Any], rows: Callable[[dict[str, Any]], Rows]) -> Rows:
    return [(title, f"FAIL: {part['error']}")] if "error" in part else rows(part)


def _package_rows(part: dict[str, Any]) -> Rows:
    required = ", ".join(f"{name} {v or 'MISSING'}" for name, v in part["required"].items())
    rows = [("packages", required)]
    for name, extra in part["extras"].items():
        if extra["missing"]:
            text = f"without {', '.join(extra['missing'])}; {extra['install']}"
        else:
            text = ", ".join(f"{package} {v}" for package, v in extra["versions"].items())
        rows.append((f"extra {name}", text))
    return rows


def _cpu_rows(part: dict[str, Any]) -> Rows:
    limit = part["cgroup_limit"]
    limited = "" if limit is None else f", limited to {limit:g} by the container"
    vectors = [f for f in ("neon", "sve", "avx", "avx2", "fma", "avx512f") if f in part["features"]]
    return [
        ("cpu", f"{part['model']} ({part['llvm_name']}; {' '.join(vectors)})"),
        ("threads", f"{part['threads']} of {part['cpus']} CPUs{limited}"),
    ]


def _cache_rows(part: dict[str, Any]) -> Rows:
    how = "from LLVM text" if part["contains_text"] else "by Numba, which takes up to a minute"
    origin = f"compiled on their first use {how}"
    if part["writable"]:
        cache = f"{part['folder']} (writable)"
    else:
        cache = "no writable folder: what is compiled is compiled anew by every process"
    return [("kernels", origin), ("cache", cache)]


def _backend_rows(part: dict[str, Any]) -> Rows:
    return [("back-end auto", part["auto"])] + [
        (f"back-end {name}", ("ok: " if state["available"] else "no: ") + state["reason"])
        for name, state in part.items()
        if name != "auto"
    ]


def _projection_rows(part: dict[str, Any]) -> Rows:
    return [
        (
            method,
            f"{'ok' if check['ok'] else 'FAIL'}: error {check['error']:.2%}, mean "
            f"{check['mean']:.6f} (exact {check['exact_mean']:.6f}), "
            f"sha256 {check['sha256'][:16]}",
        )
        for method, check in part["methods"].items()
    ]
