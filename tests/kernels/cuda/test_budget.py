"""The CUDA kernels on every architecture that NVRTC knows, within a recorded budget."""

from __future__ import annotations

import pytest
from cuda_host import budget, nvrtc, sass

from drr.kernels.cuda.modules import MOST_CHANNELS
from drr.kernels.cuda.sources import OPTIONS, module_source

OLDEST = 75


def capabilities() -> list[int]:
    """Those of the compiler, or the oldest alone where there is none: the test says so."""
    return list(nvrtc.supported()) if nvrtc.library() is not None else [OLDEST]


@pytest.mark.parametrize("capability", capabilities())
def test_kernels_stay_within_their_budget(capability: int) -> None:
    nvrtc.needs_nvrtc()
    sass.needs_nvdisasm()
    measured = budget.measure(capability)
    assert list(measured) == [str(n) for n in range(1, MOST_CHANNELS + 1)]
    for channels, kernels in measured.items():
        assert {"siddon", "joseph"} <= kernels.keys()
        for name, figures in kernels.items():
            where = f"sm_{capability}, {channels} channels, {name}"
            # Whatever the compiler: nothing leaves the registers, nothing is computed in double.
            assert figures["spills"] == 0, where
            assert figures["stack"] == 0, where
            assert figures["doubles"] == 0, where
            # Two blocks of 256 threads fit a multiprocessor's 65536 registers, at the least.
            assert figures["registers"] <= 128, where
            if name in budget.VOXELS_A_STEP:
                assert figures["instructions_a_step"], where


@pytest.mark.parametrize("capability", capabilities())
def test_the_recorded_budget_is_kept(capability: int) -> None:
    nvrtc.needs_nvrtc()
    sass.needs_nvdisasm()
    if nvrtc.version() != nvrtc.PINNED:
        pytest.skip(f"the budget is that of NVRTC {nvrtc.PINNED}, this is {nvrtc.version()}")
    allowed = budget.load()[str(capability)]
    measured = budget.measure(capability)
    for channels, kernels in measured.items():
        for name, figures in kernels.items():
            limits = allowed[channels][name]
            for key in ("registers", "instructions_a_step"):
                assert (figures[key] or 0) <= (limits[key] or 0), (
                    f"sm_{capability}, {channels} channels, {name}: {key} {figures[key]}, "
                    f"allowed {limits[key]}; if that is meant, run tests/cuda_host/budget.py"
                )


def test_the_record_covers_what_the_compiler_knows() -> None:
    nvrtc.needs_nvrtc()
    if nvrtc.version() != nvrtc.PINNED:
        pytest.skip(f"the budget is that of NVRTC {nvrtc.PINNED}, this is {nvrtc.version()}")
    assert set(budget.load()) == {str(capability) for capability in nvrtc.supported()}
    assert min(nvrtc.supported()) <= OLDEST


def test_ptx_for_gpus_to_come() -> None:
    """The newest virtual architecture compiles, so that a driver can translate it for its GPU."""
    nvrtc.needs_nvrtc()
    newest = max(nvrtc.supported())
    for channels in range(1, MOST_CHANNELS + 1):
        source = module_source(channels=channels)
        made = nvrtc.compile_for(f"compute_{newest}", source, OPTIONS)
        assert b".entry joseph" in made.binary
        assert b".f64" not in made.binary
