"""The one step of the build that pyproject.toml cannot say: kernels are lowered into the wheel."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

LOWER = "drr.kernels.cpu.compiler.lowered"


class BuildWithKernels(build_py):
    """Put LLVM text of all CPU kernels beside them, so that users need not wait for Numba."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            # There the package is laid out as it is installed, so that `drr.kernels` is found.
            folder = Path(self.build_lib).resolve()
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            command = [sys.executable, "-m", LOWER]
            subprocess.run(command, check=True, cwd=folder, env=environment)


setup(cmdclass={"build_py": BuildWithKernels})
